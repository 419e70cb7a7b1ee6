import json
import shutil
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest
from sqlmodel import Session, select

from loop import store
from loop.errors import NotFound
from loop.importing import NOT_KEPT, ImportedRecord, ImportReport, family_of, import_labelled
from loop.repair import REFUSALS, Code
from loop.tables import Label, Quarantined, Transcript
from loop.transcript import Transcript as Content
from loop.transcript import read_session
from loop.values import Origin, digest_bytes, digest_file
from tests.factories import empty_places, transcript_row

LABELLED = Path(__file__).parents[1] / "data/labelled"
SHARED = Path(__file__).parents[2] / "../shared/real/labelled"


@pytest.fixture
def places(tmp_path):
    return empty_places(tmp_path / "home")


def folder_of(tmp_path, *names):
    folder = tmp_path / "records"
    folder.mkdir()
    for name in names:
        (file,) = LABELLED.glob(f"??_{name}.json")
        shutil.copy(file, folder)
    return folder


def rows(places, table):
    with Session(places.store) as session:
        return session.exec(select(table)).all()


def test_our_own_records_are_taken_or_refused_as_their_names_say(places):
    assert import_labelled(places, LABELLED) == ImportReport(
        files=15,
        outcomes={"labelled": 4, "unlabelled": 3, "excluded": 1, "rejected": 7},
        rejected=dict.fromkeys([*REFUSALS, *NOT_KEPT], 1),
        codes={
            "confidence_above_cap": 1,
            "home_path": 1,
            "label_disputed": 1,
            "label_unusable": 1,
            "no_relative_ts": 1,
            "protocol_3": 1,
            "summary_impossible": 2,
            "summary_rescored": 1,
            "think_in_thought": 1,
            "unknown_anonymizer": 1,
            "wallclock": 1,
            "wire_form": 7,
        },
    )


def test_every_code_and_refusal_that_exists_is_covered(places):
    report = import_labelled(places, LABELLED)

    assert set(report.codes) == {*get_args(Code), "label_unusable"}
    assert set(report.rejected) == {*REFUSALS, *NOT_KEPT}


@pytest.mark.parametrize("reason", [*REFUSALS, *NOT_KEPT])
def test_a_record_is_refused_for_the_reason_it_was_written_for(places, reason):
    import_labelled(places, LABELLED)

    (aside,) = [row for row in rows(places, Quarantined) if row.reason == reason]
    assert aside.name[3:] == f"{reason}.json"


def test_importing_again_changes_nothing(places):
    first = import_labelled(places, LABELLED)
    before = [len(rows(places, table)) for table in (Transcript, Label, Quarantined)]

    again = import_labelled(places, LABELLED)

    assert again.outcomes == {"known": 8, "rejected": 7}
    assert (again.rejected, again.codes) == (first.rejected, first.codes)
    assert [len(rows(places, table)) for table in (Transcript, Label, Quarantined)] == before


def test_a_label_that_holds_is_kept_with_its_cause_by_id(places, tmp_path):
    import_labelled(places, folder_of(tmp_path, "wire_form"))

    (label,) = rows(places, Label)
    assert (label.made_by, label.severity, label.root_cause) == ("import", "red", "clock_unsynced")
    assert label.actions == [{"name": "ntp.resync", "args": {}}]


@pytest.mark.parametrize("name", ["confidence_above_cap", "label_disputed", "label_unusable"])
def test_where_the_label_does_not_hold_a_person_has_to_judge(places, tmp_path, name):
    import_labelled(places, folder_of(tmp_path, name))

    with Session(places.store) as session:
        (waiting,) = store.unlabelled(session)
    assert name in waiting.reasons
    assert rows(places, Label) == []


def test_a_summary_that_no_device_can_show_is_kept_and_never_learnt_from(places, tmp_path):
    import_labelled(places, folder_of(tmp_path, "summary_impossible"))

    with Session(places.store) as session:
        assert store.unlabelled(session) == []
        assert store.current_labels(session) == {}
    assert rows(places, Transcript)[0].quarantined == "summary_impossible"


def test_a_recommendation_that_was_lost_is_not_a_judgement_to_do_nothing(places, tmp_path):
    folder = folder_of(tmp_path, "nothing_to_repair")
    (file,) = folder.iterdir()
    record = json.loads(file.read_text())
    record["transcript"]["events"][-1]["payload"] = {}
    file.write_text(json.dumps(record))

    assert import_labelled(places, folder).codes == {"label_unusable": 1}
    assert rows(places, Label) == []


def test_a_decision_that_says_wrong_without_saying_what_is_right_is_no_label(places, tmp_path):
    folder = folder_of(tmp_path, "nothing_to_repair")
    (file,) = folder.iterdir()
    record = {**json.loads(file.read_text()), "label_decision": "reject", "verdict_correct": False}
    file.write_text(json.dumps(record))

    assert import_labelled(places, folder).outcomes == {"unlabelled": 1}


def test_every_row_says_where_it_comes_from(places, tmp_path):
    folder = folder_of(tmp_path, "wire_form")
    (file,) = folder.iterdir()

    import_labelled(places, folder)

    (row,) = rows(places, Transcript)
    data = places.depot.get(f"imports/{row.id}/{row.record}.json")
    record = ImportedRecord.model_validate_json(data)
    assert (row.origin, row.source) == (Origin.SYNTHETIC, f"import:{file.name}")
    assert digest_bytes(data) == row.record
    assert (record.file, record.sha256) == (file.name, digest_file(file))
    assert list(record.codes) == row.reasons


@pytest.mark.parametrize("name", ["nothing_to_repair", "label_disputed"])
def test_a_record_knows_its_family_whoever_labels_it(places, tmp_path, name):
    folder = folder_of(tmp_path, name)
    (file,) = folder.iterdir()
    notes = "synthetic v1; scenario=hotel_portal; category=network"
    file.write_text(json.dumps({**json.loads(file.read_text()), "notes": notes}))
    import_labelled(places, folder)

    (row,) = rows(places, Transcript)
    assert family_of(places, row) == "hotel_portal"


def test_a_record_whose_notes_name_nothing_and_an_upload_have_no_family(places, tmp_path):
    import_labelled(places, folder_of(tmp_path, "nothing_to_repair"))
    (row,) = rows(places, Transcript)

    assert [family_of(places, one) for one in (row, transcript_row())] == [None, None]


def test_a_rejected_file_is_named_with_its_reason(places, tmp_path):
    folder = folder_of(tmp_path, "action_not_in_whitelist")

    import_labelled(places, folder)

    (aside,) = rows(places, Quarantined)
    assert aside.name == "04_action_not_in_whitelist.json"
    assert aside.reason == "action_not_in_whitelist"
    assert "ipfs_host" in aside.detail


def test_an_identifier_that_no_repair_removes_is_refused(places, tmp_path):
    folder = folder_of(tmp_path, "nothing_to_repair")
    (file,) = folder.iterdir()
    file.write_text(file.read_text().replace("this morning", "192.168.1.7"))

    assert import_labelled(places, folder).rejected == {"identifiers_left": 1}
    assert "192.168" not in rows(places, Quarantined)[0].detail


def test_another_record_under_a_known_id_is_refused(places, tmp_path):
    folder = folder_of(tmp_path, "nothing_to_repair")
    (file,) = folder.iterdir()
    import_labelled(places, folder)
    file.write_text(file.read_text().replace("this morning", "yesterday"))

    assert import_labelled(places, folder).rejected == {"second_body": 1}
    assert len(rows(places, Transcript)) == 1


def test_a_file_that_is_no_record_stops_no_other(places, tmp_path):
    folder = folder_of(tmp_path, "wire_form")
    (folder / "00_not.json").write_bytes(b"\xff")

    assert import_labelled(places, folder).outcomes == {"rejected": 1, "labelled": 1}


def test_a_folder_that_is_not_there_is_said(places, tmp_path):
    with pytest.raises(NotFound, match="expected a folder"):
        import_labelled(places, tmp_path / "nowhere")


if SHARED.is_dir():

    @pytest.fixture(scope="module")
    def imported(tmp_path_factory):
        places = empty_places(tmp_path_factory.mktemp("imported"))
        return places, import_labelled(places, SHARED)

    def test_the_174_records_are_taken_or_refused_as_they_were_counted(imported):
        _, report = imported

        assert report == ImportReport(
            files=174,
            outcomes={"labelled": 136, "unlabelled": 20, "rejected": 18},
            rejected={"action_not_in_whitelist": 10, "block_unsupported_by_runtime": 8},
            codes={
                "confidence_above_cap": 10,
                "home_path": 3,
                "label_disputed": 10,
                "no_relative_ts": 156,
                "protocol_3": 156,
                "summary_impossible": 132,
                "summary_rescored": 132,
                "think_in_thought": 156,
                "unknown_anonymizer": 156,
                "wallclock": 156,
                "wire_form": 156,
            },
        )

    def test_the_records_taken_are_of_fifteen_families(imported):
        places, _ = imported
        sizes = Counter(family_of(places, row) for row in rows(places, Transcript))

        assert None not in sizes
        assert (len(sizes), sizes.total()) == (15, 156)

    def test_every_session_taken_has_answered_calls_a_verdict_and_known_actions(imported):
        sessions = [
            read_session(Content.model_validate(row.body)) for row in rows(imported[0], Transcript)
        ]

        recommended = [session.actions for session in sessions if session.actions is not None]
        assert all(session.verdict for session in sessions)
        assert all(call.ok for session in sessions for step in session.steps for call in step.calls)
        assert (len(recommended), sum(map(len, recommended))) == (156, 50)
