"""Freezing: today's labels become one immutable dataset, and the cycle remembers which."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from loop.dataset import (
    MIN_EXAMPLES,
    UNREADABLE,
    Selection,
    make_card,
)
from loop.dataset import select as select_examples
from loop.errors import DatasetError, UnreadableError
from loop.examples import Example, Judged, read_examples
from loop.importing import family_of
from loop.places import Places
from loop.reading import reading
from loop.recipe import read_recipe
from loop.scenario import all_scenarios
from loop.store import current_labels, dataset_of, get_transcript, writing_alone
from loop.tables import Cycle, CycleTranscript, Dataset, Label, LabelIn
from loop.tables import Transcript as Row
from loop.transcript import Transcript, read_session
from loop.values import Action, CycleRef, DatasetRef, Digest, short

DATASETS = "datasets"
"""Where a depot keeps them."""


def freeze_dataset(places: Places, cycle: CycleRef) -> DatasetRef:
    """The dataset of a cycle: frozen once, from the labels of that moment.

    Raises:
        DatasetError: Too few labels can be learnt from; says how many, and why the others not. Or a
            session was deleted or quarantined while it was being frozen.
    """
    with Session(places.store) as session:
        if found := dataset_of(session, cycle.id):
            return _ref(found)
        judged, unread = _read_all(places, session)
        previous = _previous(places, session, cycle)
    rules = read_recipe(cycle.recipe).rules_text()
    selection = select_examples(judged, all_scenarios(), rules).without(UNREADABLE, unread)
    _refuse_too_few(selection)
    known = _transcripts_in(places, previous)
    card = make_card(selection, previous, known)
    with _written(places, selection) as folder:
        digest = places.depot.put_tree(DATASETS, folder)
        row = Dataset(cycle_id=cycle.id, digest=digest, card=card.model_dump(mode="json"))
        _keep(places, row, [judgement.label.transcript_id for judgement in judged], folder)
    return _ref(row)


def _keep(places: Places, row: Dataset, ids: Iterable[str], folder: Path) -> None:
    """The row, and which transcripts it was made from: all of them may be learnt from, or none.

    Nobody forgets one of them or deletes leftovers meanwhile. What may have gone as a leftover
    just before, because a killed freeze had written the same files, is put again.
    """
    try:
        with writing_alone(places.store) as session:
            session.add(row)
            session.add_all(CycleTranscript(cycle_id=row.cycle_id, transcript_id=i) for i in ids)
            session.flush()
            if _has_quarantined(session, row):
                raise _disturbed(row, "a session in it was quarantined")
            if not is_kept(places, row.digest):
                places.depot.put_tree(DATASETS, folder)
    except IntegrityError as error:
        gone = "a session in it was deleted, or another run froze this cycle,"
        raise _disturbed(row, gone) from error


def _has_quarantined(session: Session, row: Dataset) -> bool:
    frozen = (
        select(Row.id)
        .join(CycleTranscript, col(CycleTranscript.transcript_id) == Row.id)
        .where(CycleTranscript.cycle_id == row.cycle_id, col(Row.quarantined).is_not(None))
    )
    return session.exec(frozen).first() is not None


def _disturbed(row: Dataset, how: str) -> DatasetError:
    return DatasetError(f"dataset {short(row.digest)}: {how} at this very moment; retry the cycle")


def _ref(row: Dataset) -> DatasetRef:
    return DatasetRef(row.digest, row.card["train"], row.card["validation"])


def _read_all(places: Places, session: Session) -> tuple[list[Judged], int]:
    """The labelled transcripts, and how many others this code cannot read."""
    judged, labels = [], current_labels(session).values()
    for label in labels:
        with suppress(UnreadableError), reading(label.transcript_id):
            judged.append(_judged(places, session, label))
    return judged, len(labels) - len(judged)


def _judged(places: Places, session: Session, label: Label) -> Judged:
    row = get_transcript(session, label.transcript_id)
    sent = label.model_dump(include=set(LabelIn.model_fields), exclude={"actions"})
    actions = [Action.model_validate(action) for action in label.actions]
    read = read_session(Transcript.model_validate(row.body))
    return Judged(
        session=read,
        label=LabelIn(**sent, actions=actions),
        origin=row.origin,
        day=row.received,
        digest=row.digest,
        family=family_of(places, row),
    )


def _previous(places: Places, session: Session, cycle: CycleRef) -> Digest | None:
    """The dataset of the model's last cycle that froze one, if its files are still kept."""
    asked = (
        select(Dataset.digest)
        .join(Cycle, col(Dataset.cycle_id) == Cycle.id)
        .where(Cycle.model == cycle.model, Cycle.number < cycle.number)
        .order_by(col(Cycle.number).desc())
    )
    return next((one for one in session.exec(asked) if is_kept(places, one)), None)


def is_kept(places: Places, dataset: Digest) -> bool:
    """Whether a frozen dataset's files are there; they go with the first session in it."""
    return next(places.depot.keys(f"{DATASETS}/{dataset}/"), None) is not None


def _refuse_too_few(selection: Selection) -> None:
    found = len(selection.train) + len(selection.validation)
    if found < MIN_EXAMPLES or not selection.train:
        reasons = ", ".join(f"{n} {why}" for why, n in selection.excluded.items() if n) or "none"
        raise DatasetError(
            f"{found} labels can be learnt from, expected at least {MIN_EXAMPLES}; "
            f"left out: {reasons}; label more sessions, then retry the cycle"
        )


@contextmanager
def _written(places: Places, selection: Selection) -> Iterator[Path]:
    """A folder with the files of a dataset, as long as it is needed."""
    places.settings.scratch.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=places.settings.scratch, prefix="dataset-") as made:
        folder = Path(made)
        (folder / "train.jsonl").write_text(_lines(selection.train))
        (folder / "validation.jsonl").write_text(_lines(selection.validation))
        yield folder


def _lines(examples: Iterable[Example]) -> str:
    return "".join(f"{example.model_dump_json()}\n" for example in examples)


def _transcripts_in(places: Places, dataset: Digest | None) -> set[Digest]:
    if dataset is None:
        return set()
    folder = places.depot.fetch_tree(DATASETS, dataset)
    files = [read_examples(file.read_text()) for file in folder.glob("*.jsonl")]
    return {example.transcript for examples in files for example in examples}
