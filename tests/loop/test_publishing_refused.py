"""What publishing refuses; each refusal leaves every byte and every release as it was."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deployments.releases import create_app
from loop.depot import FolderDepot
from loop.errors import ManifestError, ReleaseError
from loop.places import Places
from loop.publishing import (
    add_factory,
    incumbent,
    publish_release,
    roll_back,
    unroll_back,
)
from loop.recipe import Recipe
from loop.repository import (
    init_repository,
    model_key,
    written_numbers,
)
from loop.signing import read_card, sign
from loop.store import keep, writing
from loop.tables import CanaryReport, CycleEnd, CycleOutcome, GateReport, SignOff
from loop.values import CardRef, Form, FormRef
from tests.candidates import (
    RECIPE,
    keep_canary,
    keep_candidate,
    keep_form,
    keep_gate,
    recipe_with,
    released_places,
    serving,
    signed_card,
)
from tests.repositories import contents, publish, rows, runs


@pytest.fixture
def places(tmp_path):
    with released_places(tmp_path) as places:
        yield places


def no_sign_off(places: Places, card: CardRef) -> CardRef:
    return card


def approved(places: Places, card: CardRef) -> CardRef:
    sign(places, card.digest, "approve", "ada", "command")
    return card


def rejected(places: Places, card: CardRef) -> CardRef:
    sign(places, card.digest, "reject", "ada", "command")
    return card


def approved_then_rejected(places: Places, card: CardRef) -> CardRef:
    return rejected(places, approved(places, card))


def signed_for_other_bytes(places: Places, card: CardRef) -> CardRef:
    keep(
        places.store,
        SignOff(
            card=card.digest, sha256="0" * 64, decision="approve", made_by="eve", via="command"
        ),
    )
    return card


def asked_for_other_bytes(places: Places, card: CardRef) -> CardRef:
    other = keep_form(places, "blox-tiny-other", b"other")
    return CardRef(approved(places, card).digest, other.sha256)


def without_gate(places: Places, card: CardRef) -> CardRef:
    with writing(places.store) as session:
        for row in session.exec(select(GateReport).where(GateReport.form == Form.GGUF)):
            session.delete(row)
    return approved(places, card)


def without_canary(places: Places, card: CardRef) -> CardRef:
    with writing(places.store) as session:
        for row in session.exec(select(CanaryReport)):
            session.delete(row)
    return approved(places, card)


def canary_of_other_bytes(places: Places, card: CardRef) -> CardRef:
    with writing(places.store) as session:
        session.exec(select(CanaryReport)).one().sha256 = "0" * 64
    return approved(places, card)


def gate_of_other_bytes(places: Places, card: CardRef) -> CardRef:
    with writing(places.store) as session:
        found = select(GateReport).where(GateReport.form == Form.GGUF)
        session.exec(found).one().digest = "0" * 64
    return approved(places, card)


def held_since(places: Places, card: CardRef) -> CardRef:
    artifact = form_on(places, card)
    keep_gate(places, artifact, passed=False, again=1)
    return approved(places, card)


def failed_canary_since(places: Places, card: CardRef) -> CardRef:
    artifact = form_on(places, card)
    keep_canary(places, artifact, incumbent(places), passed=False, again=1)
    return approved(places, card)


def form_on(places: Places, card: CardRef) -> FormRef:
    with Session(places.store) as session:
        made = read_card(session, card).artifact
    return FormRef(made.form, made.digest, made.model_version, made.sha256)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_sign_off, "expected an approving sign-off, found none"),
        (rejected, "expected approve, got reject by ada"),
        (approved_then_rejected, "expected approve, got reject by ada"),
        (signed_for_other_bytes, "got one for 0000"),
        (asked_for_other_bytes, "it speaks of"),
        (without_gate, "gate report .* found none"),
        (without_canary, "canary report .* found none"),
        (gate_of_other_bytes, "expected it to judge"),
        (canary_of_other_bytes, "expected it to run"),
        (held_since, "expected passed, got held"),
        (failed_canary_since, "expected passed, got failed"),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_nothing_is_published_without_evidence_for_exactly_these_bytes(
    places: Places, spoil: Callable[[Places, CardRef], CardRef], message: str
) -> None:
    card = spoil(places, keep_candidate(places, incumbent(places)).card(places))
    before = contents(places)

    with pytest.raises(ReleaseError, match=message):
        publish_release(places, card, RECIPE, "ada")
    assert contents(places) == before
    assert rows(places) == [(0, "factory", "factory-1")]


def refused(places: Places, card: CardRef, recipe: Recipe, message: str) -> None:
    before, known = contents(places), rows(places)

    with pytest.raises(ReleaseError, match=message):
        publish_release(places, card, recipe, "ada")
    assert contents(places) == before
    assert rows(places) == known


def test_a_production_recipe_cannot_write_to_a_rehearsal_repository(places):
    card = signed_card(places, incumbent(places))

    refused(places, card, recipe_with(rehearsal=False), "marked rehearsal: expected one marked pro")


def test_a_rehearsal_cannot_write_to_a_production_repository(places, tmp_path):
    card, factory = signed_card(places, incumbent(places)), incumbent(places)
    releases = FolderDepot(tmp_path / "production")
    init_repository(releases, "production")
    before = sorted(releases.keys(""))
    production = replace(places, releases=releases)

    with pytest.raises(ReleaseError, match="marked production: expected one marked rehearsal"):
        publish_release(production, card, RECIPE, "ada")
    for write in (
        lambda: publish_release(production, card, recipe_with(rehearsal=False), "ada"),
        lambda: add_factory(production, factory),
        lambda: roll_back(production, "ada", "why not"),
        lambda: unroll_back(production, "ada", "why not"),
    ):
        with pytest.raises(ReleaseError, match="need a signature by an operator's key"):
            write()
    assert sorted(releases.keys("")) == before == ["repository.json"]


def test_a_repository_that_nobody_marked_is_not_written_to(places, tmp_path):
    card = signed_card(places, incumbent(places))
    unmarked = replace(places, releases=FolderDepot(tmp_path / "unmarked"))

    with pytest.raises(ReleaseError, match=r"no repository\.json"):
        publish_release(unmarked, card, RECIPE, "ada")


def test_a_card_is_published_with_its_own_recipe_only(places):
    card = signed_card(places, incumbent(places))

    refused(places, card, recipe_with(version=99), "expected the one on the card")


def test_a_base_whose_licence_forbids_it_is_not_published(places):
    base = RECIPE.base.model_copy(update={"releasable": False, "licence": "research only"})
    recipe = recipe_with(base=base)
    card = keep_candidate(places, incumbent(places)).card(places, recipe)
    sign(places, card.digest, "approve", "ada", "command")

    refused(places, card, recipe, r"licence of the base \(research only\) forbids a release")


def test_a_card_is_void_once_devices_run_something_else(places):
    factory = incumbent(places)
    late = signed_card(places, factory, 2)
    publish(places, 1)

    refused(places, late, RECIPE, "devices run blox-tiny-1 .* compares with factory-1")


def test_a_card_for_another_repository_is_void(places, tmp_path):
    card = signed_card(places, incumbent(places))
    other = replace(places, releases=FolderDepot(tmp_path / "other"))
    init_repository(other.releases, "rehearsal")
    add_factory(other, incumbent(places))

    with pytest.raises(ReleaseError, match="make a new card"):
        publish_release(other, card, RECIPE, "ada")
    assert list(other.releases.keys("manifests/")) == []


def test_a_model_version_is_never_used_for_other_bytes(places):
    card = signed_card(places, incumbent(places))
    places.releases.put(model_key("blox-tiny-1", "blox-tiny-Q8_0.gguf"), b"other")

    refused(places, card, RECIPE, "model version blox-tiny-1 is taken by other bytes")


def test_a_model_version_is_never_used_for_another_file(places):
    card = signed_card(places, incumbent(places))
    places.releases.put(model_key("blox-tiny-1", "blox-tiny-Q4_K_M.gguf"), b"other")

    refused(places, card, RECIPE, "is taken by models/blox-tiny-1/blox-tiny-Q4_K_M.gguf")


def test_a_model_version_that_devices_had_is_never_used_again(places):
    publish(places, 1)
    roll_back(places, "ada", "bad")
    card = keep_candidate(places, incumbent(places), 2, version="blox-tiny-1").card(places)
    sign(places, card.digest, "approve", "ada", "command")

    refused(places, card, RECIPE, "model version blox-tiny-1: expected a new one, release 1 has it")


def test_an_address_that_devices_would_refuse_is_noticed_before_any_upload(places):
    card = signed_card(places, incumbent(places))
    settings = places.settings.model_copy(update={"releases_url": "http://models.example"})
    elsewhere, before = replace(places, settings=settings), contents(places)

    with pytest.raises(ManifestError, match="to start with"):
        publish_release(elsewhere, card, RECIPE, "ada")
    assert contents(places) == before


def test_a_byte_that_flips_on_the_public_path_stops_the_release_before_its_manifest(places):
    card = signed_card(places, incumbent(places))

    def flipping(request: Request) -> Response:
        data = places.releases.get(request.url.path[1:])
        return Response(b"X" + data[1:], headers={"Accept-Ranges": "bytes"})

    with serving(Starlette(routes=[Route("/{path:path}", flipping)])) as url:
        settings = places.settings.model_copy(update={"releases_url": url})
        with pytest.raises(ReleaseError, match="sha256"):
            publish_release(replace(places, settings=settings), card, RECIPE, "ada")

    assert (written_numbers(places.releases), runs(places)) == ([], "factory-1")


def test_a_rejection_during_the_upload_counts(places):
    card = signed_card(places, incumbent(places))

    class SlowDepot(FolderDepot):
        def put_file(self, key: str, file: Path) -> bool:
            sign(places, card.digest, "reject", "bob", "command")
            return super().put_file(key, file)

    slow = replace(places, releases=SlowDepot(places.settings.releases_root))

    with pytest.raises(ReleaseError, match="got reject by bob"):
        publish_release(slow, card, RECIPE, "ada")
    assert runs(places) == "factory-1"


def test_a_public_address_that_lags_is_told_not_hidden(places, caplog):
    card = signed_card(places, incumbent(places))
    real = create_app(places.settings.releases_root)

    async def lagging(scope: Any, receive: Any, send: Any) -> None:
        path = "/health" if scope.get("path") == "/ai-manifest.json" else scope.get("path")
        await real({**scope, "path": path}, receive, send)

    with serving(lagging) as url, caplog.at_level(logging.WARNING, "loop"):
        settings = places.settings.model_copy(update={"releases_url": url})
        publish_release(replace(places, settings=settings), card, RECIPE, "ada")

    assert "does not show the newest manifest yet" in caplog.text


def test_a_cycle_that_somebody_ended_publishes_nothing_more(places):
    card = signed_card(places, incumbent(places))
    end = CycleEnd(cycle_id="cycle-1", outcome=CycleOutcome.CANCELLED, reason="the wrong recipe")
    keep(places.store, end)

    refused(places, card, RECIPE, "its cycle ended as cancelled: the wrong recipe")
