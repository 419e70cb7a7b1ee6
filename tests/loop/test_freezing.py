import json
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
from sqlmodel import Session, col, select

from loop.causes import causes
from loop.cycles import plan_cycle
from loop.dataset import MIN_EXAMPLES, MOST_ALIKE, OVERLAPS, UNREADABLE
from loop.depot import FolderDepot
from loop.errors import CycleError, DatasetError
from loop.examples import Example, read_examples
from loop.forgetting import Asked, forget
from loop.freezing import freeze_dataset
from loop.importing import import_labelled
from loop.labels import check_label
from loop.reading import reading
from loop.sessions import generate
from loop.store import count_new_labels, current_labels, get_transcript, keep, writing
from loop.tables import CycleEnd, CycleTranscript, Dataset, Decision, LabelIn, Transcript
from loop.values import Action, Severity
from tests.factories import empty_places, transcript_row
from tests.labelled import cycle, labelled

LABELLED = Path(__file__).parents[1] / "data/labelled"


@pytest.fixture
def places(tmp_path):
    made = empty_places(tmp_path)
    yield made
    made.store.dispose()


def test_a_cycle_freezes_once_whatever_is_labelled_later(places):
    labelled(places, 1, 60)
    first = freeze_dataset(places, open_cycle := cycle(places, 1))
    labelled(places, 2, 30)

    assert freeze_dataset(places, open_cycle) == first


def test_the_next_cycle_learns_from_all_labels_and_knows_what_is_new(places):
    labelled(places, 1, 60)
    first = freeze_dataset(places, cycle(places, 1))
    labelled(places, 2, 30)
    second = freeze_dataset(places, cycle(places, 2))

    card = card_of(places, second)
    assert card["previous"] == first.digest
    assert card["new"] == second.train + second.validation - first.train - first.validation > 0
    assert card["gone"] == 0


def test_the_same_labels_are_the_same_dataset_in_another_cycle(places):
    labelled(places, 1, 60)
    first = freeze_dataset(places, cycle(places, 1))

    assert freeze_dataset(places, cycle(places, 2)).digest == first.digest


def test_a_changed_mind_counts_once_and_as_the_newer_says(places):
    generated = labelled(places, 1, 60)
    again = next(one.truth for one in generated if one.truth.decision == Decision.ACCEPT)
    other = next(name for name in causes() if name != again.root_cause)
    wrong = {"decision": Decision.PARTIAL, "root_cause": other, "root_cause_correct": False}
    keep(places.store, check_label(again.model_copy(update=wrong), made_by="ann"))

    found = freeze_dataset(places, cycle(places, 1))

    folder = places.depot.fetch_tree("datasets", found.digest)
    text = (folder / "train.jsonl").read_text() + (folder / "validation.jsonl").read_text()
    assert text.count(f'"cause":"{other}"') >= 1


def test_every_label_of_the_moment_belongs_to_the_cycle(places):
    labelled(places, 1, 60)
    freeze_dataset(places, cycle(places, 1))

    with writing(places.store) as session:
        assert len(session.exec(select(CycleTranscript)).all()) == 60
        assert session.exec(select(CycleEnd)).all() == []


def test_the_dataset_card_counts_both_overlaps_also_where_there_is_none(places):
    labelled(places, 1, 60)
    found = freeze_dataset(places, cycle(places, 1))

    card = card_of(places, found)
    assert [card["excluded"][why] for why in OVERLAPS] == [0, 0]


def card_of(places, found):
    with Session(places.store) as session:
        asked = select(Dataset).where(Dataset.digest == found.digest)
        return session.exec(asked.order_by(col(Dataset.at))).all()[-1].card


def test_a_transcript_that_cannot_be_read_is_counted_and_holds_up_no_other(places):
    first = labelled(places, 1, 60)[0].upload["upload_id"]
    with writing(places.store) as session:
        row = get_transcript(session, first)
        row.body = {**row.body, "mood": "written by newer code"}
    card = card_of(places, freeze_dataset(places, cycle(places, 1)))

    assert card["excluded"][UNREADABLE] == 1
    assert card["train"] + card["validation"] + sum(card["excluded"].values()) == 60
    with Session(places.store) as session:
        assert count_new_labels(session) == 1  # it waits for code that can read it


def test_what_no_transcript_can_cause_stops_the_freeze(places):
    """A disk or a database that fails is no reason to leave a transcript out."""
    with pytest.raises(OSError, match="disk"), reading("some id"):
        raise OSError("disk")


LINE_ENDS = "\u2028\u2029\x85\x0b\x0c\x1c"
"""What Python's `splitlines` takes for the end of a line, and JSON may hold as it is."""


def test_any_character_may_stand_in_a_users_words(places):
    told = f"it went{LINE_ENDS}away"
    for number in range(30):
        row = transcript_row(number, prompt=f"{told} {number} times", user_comment=told)
        keep(places.store, row)
        keep(places.store, check_label(correction(row.id), made_by="ann"))
    first = freeze_dataset(places, cycle(places, 1))
    second = freeze_dataset(places, cycle(places, 2))

    assert first.train + first.validation == MOST_ALIKE
    assert (card_of(places, second)["new"], card_of(places, second)["gone"]) == (0, 0)


def correction(transcript_id):
    return LabelIn(
        transcript_id=transcript_id,
        decision=Decision.PARTIAL,
        severity_correct=False,
        root_cause_correct=True,
        actions_correct=True,
        severity=Severity.YELLOW,
        root_cause="clock_unsynced",
        actions=[Action(name="ntp.resync")],
    )


def test_every_example_leads_back_to_a_transcript_and_its_label(places):
    labelled(places, 1, 60)
    found = freeze_dataset(places, cycle(places, 1))
    folder = places.depot.fetch_tree("datasets", found.digest)
    examples = [one for file in folder.glob("*.jsonl") for one in read_examples(file.read_text())]

    with Session(places.store) as session:
        rows = {row.digest: row for row in session.exec(select(Transcript))}
        labels = current_labels(session)
        frozen = {one.transcript_id for one in session.exec(select(CycleTranscript))}
    assert len(examples) == found.train + found.validation
    for example in examples:
        row = rows[example.transcript]
        assert row.id in frozen
        assert (labels[row.id].root_cause, row.received) == (example.cause, example.day)


def records(folder, notes):
    """Forty records that differ in their words alone, in ten families."""
    folder.mkdir()
    record = json.loads((LABELLED / "01_nothing_to_repair.json").read_text())
    for number, made in enumerate(generate(4, 40)):
        name = f"20000000-0000-4000-8000-{number:012d}"
        said = {"upload_id": name, "user_prompt": made.upload["user_prompt"]}
        changed = {"upload_id": name, "notes": notes.format(number % 10)}
        transcript = {**record["transcript"], **said}
        text = json.dumps({**record, **changed, "transcript": transcript})
        (folder / f"{number}.json").write_text(text)
    return folder


def torn(places, found):
    """The families of which some records train and others validate."""
    folder = places.depot.fetch_tree("datasets", found.digest)
    numbers = {made.upload["user_prompt"]: n % 10 for n, made in enumerate(generate(4, 40))}
    parts = [
        {numbers[prompt_of(line)] for line in (folder / name).read_text().splitlines()}
        for name in ("train.jsonl", "validation.jsonl")
    ]
    assert all(parts)
    return parts[0] & parts[1]


def prompt_of(line):
    return Example.model_validate_json(line).messages[0]["content"].partition("Request: ")[2]


def test_records_of_one_family_never_straddle(places, tmp_path):
    import_labelled(places, records(tmp_path / "records", "v1; scenario=family {}; variation=3"))

    assert torn(places, freeze_dataset(places, cycle(places, 1))) == set()


def test_records_that_name_no_family_are_split_by_their_words(places, tmp_path):
    import_labelled(places, records(tmp_path / "records", "number {}"))

    assert torn(places, freeze_dataset(places, cycle(places, 1))) != set()


def test_too_few_labels_are_refused_with_the_reasons_for_the_rest(places):
    labelled(places, 1, 12)

    with pytest.raises(DatasetError, match=r"expected at least 20; left out: \d+ "):
        freeze_dataset(places, cycle(places, 1))


def test_a_cycle_never_wants_fewer_labels_than_a_dataset_needs():
    plan = plan_cycle("blox-tiny", "tiny-cpu", MIN_EXAMPLES, dry_run=True)
    with pytest.raises(CycleError, match=r"labels_wanted: expected at least 20, .* got 19"):
        plan_cycle("blox-tiny", "tiny-cpu", MIN_EXAMPLES - 1, dry_run=True)

    assert plan.labels_wanted == MIN_EXAMPLES


class LastLookDepot(FolderDepot):
    """A depot in which something happens at the last look for a dataset that was deleted."""

    def __init__(self, places, late):
        super().__init__(places.settings.depot_place)
        self.late, self.deleted = late, False

    def delete(self, key):
        self.deleted |= key.startswith("datasets/")
        return super().delete(key)

    def keys(self, prefix):
        if self.deleted and prefix.startswith("datasets/") and (late := self.late):
            if not (found := list(super().keys(prefix))):
                self.late = None
                late()
            return iter(found)
        return super().keys(prefix)


def test_who_freezes_between_the_last_look_and_the_rows_makes_no_dataset_with_it(places):
    upload_id = labelled(places, 1, 60)[0].upload["upload_id"]
    freeze_dataset(places, cycle(places, 1))
    late, said = cycle(places, 2), []

    def freeze():
        try:
            freeze_dataset(places, late)
        except DatasetError as error:
            said.append(str(error))

    freezing = Thread(target=freeze)

    def freeze_meanwhile():
        freezing.start()
        freezing.join(2)

    forget(
        replace(places, depot=LastLookDepot(places, freeze_meanwhile)),
        [upload_id],
        Asked("asked", "ada"),
    )
    freezing.join()

    assert "a session in it was deleted" in said[0]
    with writing(places.store) as session:
        assert session.get(Dataset, late.id) is None
