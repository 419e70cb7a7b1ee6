"""Sign-off: the card a person reads, and their yes or no to exactly that card."""

import logging
from collections.abc import Sequence
from typing import Literal

from sqlmodel import Session

from loop import card as cards
from loop.errors import ReleaseError
from loop.evidence import find_gate, require_canary, require_gate
from loop.forms import row_of
from loop.places import Places
from loop.recipe import Recipe
from loop.repository import JournalEntry, Repository, artifact_file, read_fleet, read_repository
from loop.store import dataset_of, get_card, keep, sign_off_of
from loop.tables import Card, SignOff
from loop.values import CardRef, CycleRef, Form, FormRef, Outcome, digest_json, short

logger = logging.getLogger(__name__)

GATED_BEFORE = (Form.ADAPTER, Form.MERGED)
"""The forms that pass the gate before the bytes that ship do."""


def make_card(
    places: Places,
    cycle: CycleRef,
    artifact: FormRef,
    gates: Sequence[Outcome],
    canary: Outcome,
    recipe: Recipe,
) -> CardRef:
    """The card of one candidate; the same facts make the same card, however often it is asked for.

    Raises:
        NotFound: The artifact was not made here.
        ReleaseError: A gate or the canary is missing, failed, or speaks of other bytes.
    """
    repository, fleet = read_repository(places.releases), read_fleet(places.releases)
    before = fleet.last_but(artifact.sha256)
    with Session(places.store) as session:
        paper = cards.Card(
            rehearsal=recipe.rehearsal,
            cycle=cards.CycleLine(id=cycle.id, model=cycle.model, number=cycle.number),
            artifact=_artifact_line(places, artifact, recipe),
            dataset=_dataset_line(session, cycle),
            recipe=_recipe_line(cycle, recipe),
            gates=_gate_lines(session, gates, artifact, recipe.suite),
            canary=_canary_line(session, canary, artifact, fleet.form_of(before)),
            incumbent=_fleet_line(repository, before),
        )
    return _keep(places, paper)


def _artifact_line(places: Places, artifact: FormRef, recipe: Recipe) -> cards.ArtifactLine:
    found = row_of(places, artifact).facts.get("quantisation")
    if found != recipe.publish:
        raise ReleaseError(
            f"artifact {short(artifact.digest)}: expected the form that the recipe publishes "
            f"({recipe.publish}), got {found}"
        )
    return cards.ArtifactLine(
        form=artifact.form,
        digest=artifact.digest,
        model_version=artifact.version,
        sha256=artifact.sha256,
        size_bytes=artifact_file(places.depot, artifact).stat().st_size,
        quantisation=recipe.publish,
    )


def _dataset_line(session: Session, cycle: CycleRef) -> cards.DatasetLine:
    if (found := dataset_of(session, cycle.id)) is None:
        raise ReleaseError(f"cycle {cycle.id}: expected a frozen dataset, found none")
    return cards.DatasetLine.of(found.digest, found.card)


def _recipe_line(cycle: CycleRef, recipe: Recipe) -> cards.RecipeLine:
    return cards.RecipeLine(
        name=cycle.recipe,
        digest=recipe.digest,
        base_made=recipe.base.made is not None,
        base_licence=recipe.base.licence,
        releasable=recipe.base.releasable,
    )


def _gate_lines(
    session: Session, gates: Sequence[Outcome], artifact: FormRef, suite: str
) -> tuple[cards.GateLine, ...]:
    rows = [find_gate(session, gate.inputs) for gate in gates]
    expected = (*GATED_BEFORE, artifact.form)
    if (found := tuple(Form(row.form) for row in rows)) != expected:
        raise ReleaseError(f"gates: expected those of {_listed(expected)}, got {_listed(found)}")
    if failed := [row for row in rows if not row.passed]:
        raise ReleaseError(f"gate of the {failed[0].form} form: expected passed, got held")
    require_gate(session, gates[-1].inputs, artifact, suite)
    return tuple(
        cards.GateLine.of(row.inputs, Form(row.form), row.passed, row.report) for row in rows
    )


def _listed(forms: Sequence[Form]) -> str:
    return ", ".join(forms) or "none"


def _canary_line(
    session: Session, canary: Outcome, artifact: FormRef, incumbent: FormRef
) -> cards.CanaryLine:
    row = require_canary(session, canary.inputs, artifact)
    if row.incumbent not in (incumbent.sha256, incumbent.digest):
        raise ReleaseError(
            f"canary {short(row.inputs)}: expected a comparison with what devices run "
            f"({incumbent.version}), got one with {short(row.incumbent)}"
        )
    return cards.CanaryLine.of(row.inputs, row.report)


def _fleet_line(repository: Repository, entry: JournalEntry) -> cards.FleetLine:
    return cards.FleetLine(
        repository=repository.id,
        kind=repository.kind,
        release=entry.number,
        model_version=entry.effective.model_version,
        sha256=entry.effective.sha256,
        factory=entry.verb == "factory",
    )


def _keep(places: Places, paper: cards.Card) -> CardRef:
    ref = CardRef(cards.card_digest(paper), paper.artifact.sha256)
    with Session(places.store) as session:
        known = session.get(Card, ref.digest) is not None
    if not known:
        stored = paper.model_dump(mode="json")
        row = Card(digest=ref.digest, cycle_id=paper.cycle.id, sha256=ref.sha256, card=stored)
        keep(places.store, row)
        logger.info("card %s: made for %s", short(ref.digest), paper.artifact.model_version)
    return ref


def sign(
    places: Places,
    card: str,
    decision: Literal["approve", "reject"],
    made_by: str,
    via: Literal["command", "form"],
) -> SignOff:
    """Keep a person's yes or no to one card; the same answer twice is one sign-off.

    Args:
        places: Where the card is, and the repository that it would be published to.
        card: The first 12 or more characters of the card's digest.
        decision: The answer.
        made_by: Who gives it.
        via: How; a form or a simulated person counts for rehearsal repositories only.

    Raises:
        NotFound: No single card begins like this.
        ReleaseError: Nobody signs, or this way of signing does not count here.
    """
    if decision not in ("approve", "reject") or via not in ("command", "form"):
        raise ReleaseError(f"sign-off: expected approve or reject, got {decision!r} via {via!r}")
    if not made_by.strip():
        raise ReleaseError("sign-off: expected the name of a person, got none")
    _require_way(read_repository(places.releases).kind == "rehearsal", made_by, via)
    with Session(places.store) as session:
        row = get_card(session, card)
        last = sign_off_of(session, row.digest)
    if last and (last.decision, last.made_by, last.via) == (decision, made_by, via):
        return last
    made = SignOff(card=row.digest, sha256=row.sha256, decision=decision, made_by=made_by, via=via)
    keep(places.store, made)
    logger.info("card %s: %s by %s (%s)", short(row.digest), decision, made_by, via)
    return made


def _require_way(rehearsal: bool, made_by: str, via: str) -> None:
    if rehearsal:
        return
    if via != "command" or made_by.startswith("simulated-"):
        raise ReleaseError(
            f"sign-off by {made_by} via {via}: for a production repository expected a person "
            "who uses the command"
        )


def require_approval(session: Session, card: CardRef) -> SignOff:
    """The newest sign-off of a card, which approves exactly these bytes.

    Raises:
        ReleaseError: There is none, it rejects, or it speaks of other bytes.
    """
    paper = read_card(session, card)
    name, found = f"card {short(card.digest)}", sign_off_of(session, card.digest)
    if found is None:
        raise ReleaseError(f"{name}: expected an approving sign-off, found none")
    if found.sha256 != card.sha256:
        raise ReleaseError(
            f"{name}: expected a sign-off for {card.sha256}, got one for {found.sha256}"
        )
    if found.decision != "approve":
        raise ReleaseError(f"{name}: expected approve, got {found.decision} by {found.made_by}")
    _require_way(paper.rehearsal, found.made_by, found.via)
    return found


def read_card(session: Session, card: CardRef) -> cards.Card:
    """The card behind a reference, unchanged since it was made.

    Raises:
        NotFound: It was never made.
        ReleaseError: The stored card is not the one with this digest, or not for these bytes.
    """
    row = get_card(session, card.digest)
    if (found := digest_json(row.card)) != card.digest:
        raise ReleaseError(f"card {card.digest}: the stored card hashes to {found}")
    paper = cards.Card.model_validate(row.card)
    if not paper.artifact.sha256 == row.sha256 == card.sha256:
        raise ReleaseError(
            f"card {short(card.digest)}: expected bytes {card.sha256}, "
            f"it speaks of {paper.artifact.sha256}"
        )
    return paper
