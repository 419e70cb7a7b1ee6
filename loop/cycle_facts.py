"""Everything the store knows about one cycle, for the people who read about it.

A cycle that is not finished, or was rejected half way, simply has fewer facts.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from loop import canary, gate, store
from loop.card import Card
from loop.dataset import DatasetCard
from loop.errors import NotFound
from loop.examples import CORRECTION, read_examples
from loop.places import Places
from loop.tables import (
    CanaryReport,
    Cycle,
    CycleEnd,
    CycleTranscript,
    Dataset,
    GateReport,
    Label,
    ModelForm,
    Release,
    SignOff,
)
from loop.tables import Card as CardRow
from loop.timeline import Span, spans
from loop.values import CycleRef, Digest, Form, utc_now


@dataclass(frozen=True)
class Learnt:
    """How many examples of one root cause a dataset holds."""

    cause: str
    corrections: int
    agreements: int

    @property
    def examples(self) -> int:
        """All of them."""
        return self.corrections + self.agreements


@dataclass(frozen=True)
class DatasetFacts:
    """What a cycle learnt from, and whose judgement that was."""

    digest: Digest
    card: DatasetCard
    learnt: tuple[Learnt, ...]
    """Most corrected first; empty where the dataset's bytes are gone."""
    labels: Mapping[str, int]
    """By the person who gave them."""


@dataclass(frozen=True)
class Gated:
    """One form of the model, or the incumbent, and what it did on the cycle's suite."""

    name: str
    decides: bool
    """False: measured for the report only."""
    report: gate.Report


@dataclass(frozen=True)
class CycleFacts:
    """One cycle as it stands."""

    cycle: Cycle
    end: CycleEnd | None
    until: datetime
    """When it ended; now, while it is open."""
    stages: tuple[Span, ...]
    dataset: DatasetFacts | None
    forms: tuple[ModelForm, ...]
    """Of the model version that it made, as they were made."""
    gates: tuple[Gated, ...]
    """Adapter, merged weights, the bytes that ship, other forms; last the incumbent, if gated."""
    canary_report: canary.Report | None
    card: Card | None
    card_digest: Digest
    """Empty where there is no card."""
    sign_off: SignOff | None
    incumbent: Release | None
    """What devices were told to run before."""
    release: Release | None

    @property
    def artifact(self) -> ModelForm | None:
        """The converted bytes that ship, or would have."""
        return _artifact(self.forms, self.card)

    @property
    def adapter(self) -> ModelForm | None:
        """What training left."""
        return next((form for form in self.forms if form.form == Form.ADAPTER), None)

    @property
    def version(self) -> str:
        """The model version it made; empty before training."""
        return self.forms[0].version if self.forms else ""


def read_cycle_facts(places: Places, cycle: CycleRef) -> CycleFacts:
    """The facts of one cycle, as the store and the depot have them now."""
    with Session(places.store) as session:
        row, end = store.get_cycle(session, cycle.id), store.end_of(session, cycle.id)
        until = end.at if end else utc_now()
        dataset = store.dataset_of(session, cycle.id)
        signed = _card(session, cycle.id)
        card = Card.model_validate(signed.card) if signed else None
        forms = _forms(session, dataset, card)
        incumbent, release = _releases(session, cycle.id, until)
        return CycleFacts(
            cycle=row,
            end=end,
            until=until,
            stages=tuple(spans(store.marks_of(session, cycle.id), until)),
            dataset=_dataset(places, session, dataset) if dataset else None,
            forms=forms,
            gates=tuple(_gates(session, row.suite, forms, card, incumbent)),
            canary_report=_canary(session, _artifact(forms, card)),
            card=card,
            card_digest=signed.digest if signed else "",
            sign_off=store.sign_off_of(session, signed.digest) if signed else None,
            incumbent=incumbent,
            release=release,
        )


def _card(session: Session, cycle_id: str) -> CardRow | None:
    """The cycle's newest card."""
    return session.exec(
        select(CardRow).where(CardRow.cycle_id == cycle_id).order_by(col(CardRow.at).desc())
    ).first()


def _forms(session: Session, dataset: Dataset | None, card: Card | None) -> tuple[ModelForm, ...]:
    """Every form of the version that the card names, or that was trained on the dataset."""
    version = card.artifact.model_version if card else _trained_on(session, dataset)
    found = select(ModelForm).where(ModelForm.version == version).order_by(col(ModelForm.at))
    return tuple(session.exec(found))


def _trained_on(session: Session, dataset: Dataset | None) -> str:
    if dataset is None:
        return ""
    adapter = session.exec(
        select(ModelForm)
        .where(ModelForm.form == Form.ADAPTER)
        .where(col(ModelForm.facts)["dataset"].as_string() == dataset.digest)
        .order_by(col(ModelForm.at).desc())
    ).first()
    return adapter.version if adapter else ""


def _artifact(forms: Iterable[ModelForm], card: Card | None) -> ModelForm | None:
    """The form on the card; without a card the one converted first, others are only measured."""
    converted = [form for form in forms if form.form in (Form.GGUF, Form.RKLLM)]
    if card:
        converted = [form for form in converted if form.digest == card.artifact.digest]
    return converted[0] if converted else None


def _dataset(places: Places, session: Session, row: Dataset) -> DatasetFacts:
    return DatasetFacts(
        digest=row.digest,
        card=DatasetCard.model_validate(row.card),
        learnt=_learnt(places, row.digest),
        labels=_labels(session, row),
    )


def _learnt(places: Places, dataset: Digest) -> tuple[Learnt, ...]:
    try:
        folder = places.depot.fetch_tree("datasets", dataset)
    except NotFound:  # an old cycle, whose sessions are no longer kept
        return ()
    files = [read_examples(file.read_text()) for file in folder.glob("*.jsonl")]
    examples = [example for file in files for example in file]
    corrections = Counter(e.cause for e in examples if e.weight == CORRECTION)
    agreements = Counter(e.cause for e in examples if e.weight != CORRECTION)
    causes = sorted({e.cause for e in examples})
    found = [Learnt(cause, corrections[cause], agreements[cause]) for cause in causes]
    return tuple(sorted(found, key=lambda one: (-one.corrections, -one.agreements, one.cause)))


def _labels(session: Session, dataset: Dataset) -> dict[str, int]:
    """Whose labels the dataset was made from: of each transcript, the newest of that moment."""
    labels = session.exec(
        select(Label)
        .join(CycleTranscript, col(CycleTranscript.transcript_id) == Label.transcript_id)
        .where(CycleTranscript.cycle_id == dataset.cycle_id, Label.made_at <= dataset.at)
        .order_by(col(Label.made_at), col(Label.id))
    )
    newest = {label.transcript_id: label.made_by for label in labels}
    return dict(Counter(newest.values()).most_common())


def _releases(
    session: Session, cycle_id: str, until: datetime
) -> tuple[Release | None, Release | None]:
    """What devices were told to run before the cycle published, and what it published."""
    cards = set(session.exec(select(CardRow.digest).where(CardRow.cycle_id == cycle_id)))
    made = select(Release).where(Release.at <= until).order_by(col(Release.at), col(Release.number))
    releases = session.exec(made).all()
    own = [release for release in releases if release.card in cards]
    before = releases[: releases.index(own[0])] if own else releases
    return (before[-1] if before else None), (own[-1] if own else None)


def _gates(
    session: Session,
    suite: str,
    forms: Sequence[ModelForm],
    card: Card | None,
    incumbent: Release | None,
) -> list[Gated]:
    artifact = _artifact(forms, card)
    found = [
        Gated(form_name(form), form.form in (Form.ADAPTER, Form.MERGED) or form is artifact, report)
        for form in sorted(forms, key=lambda form: _place(form, artifact))
        if (report := _report(session, form.digest, suite))
    ]
    before = _report_of_bytes(session, incumbent.sha256, suite) if incumbent else None
    return [*found, Gated("incumbent", decides=False, report=before)] if before else found


def form_name(form: ModelForm) -> str:
    """What people call a form: `adapter`, `merged`, `gguf Q8_0`."""
    return f"{Form(form.form).value} {form.facts.get('quantisation', '')}".strip()


def _place(form: ModelForm, artifact: ModelForm | None) -> tuple[int, datetime]:
    order = {Form.ADAPTER: 0, Form.MERGED: 1}
    return (2 if form is artifact else order.get(Form(form.form), 3)), form.at


def _report(session: Session, digest: Digest, suite: str) -> gate.Report | None:
    row = session.exec(
        select(GateReport)
        .where(GateReport.digest == digest, GateReport.suite == suite)
        .order_by(col(GateReport.at).desc())
    ).first()
    return gate.Report.model_validate(row.report) if row else None


def _report_of_bytes(session: Session, sha256: Digest, suite: str) -> gate.Report | None:
    form = session.exec(select(ModelForm).where(ModelForm.sha256 == sha256)).first()
    return _report(session, form.digest, suite) if form else None


def _canary(session: Session, artifact: ModelForm | None) -> canary.Report | None:
    if artifact is None:
        return None
    row = session.exec(
        select(CanaryReport)
        .where(CanaryReport.sha256 == artifact.sha256)
        .order_by(col(CanaryReport.at).desc())
    ).first()
    return canary.Report.model_validate(row.report) if row else None
