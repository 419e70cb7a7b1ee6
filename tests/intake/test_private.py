"""What operators see, asked over the private app while the public one is used."""

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from intake.app import create_app
from intake.parts import make_parts
from intake.private import create_private_app
from intake.rates import Allowance, Forgetter, Rates
from intake.refusals import REASONS
from intake.spool import ASIDE
from tests.factories import upload
from tests.intake.served import NEAR, settings_in
from tests.processes import until


@pytest.fixture
def parts(tmp_path):
    return make_parts(settings_in(tmp_path))


@pytest.fixture
def phone(parts):
    with TestClient(create_app(parts), client=NEAR) as client:
        yield client


@pytest.fixture
def operator(parts, phone):
    return TestClient(create_private_app(parts))


def measured(operator):
    """Every sample by its name and labels."""
    families = text_string_to_metric_families(operator.get("/metrics").text)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_outcome_is_counted(phone, operator):
    for sent in (upload(1), upload(1), upload(1, user_comment="another"), upload(2)):
        assert phone.post("/transcripts", json=sent).status_code == 200

    found = measured(operator)
    assert found["intake_uploads_total", "accepted"] == 2
    assert found["intake_uploads_total", "duplicate"] == 1
    assert found["intake_uploads_total", "divergent"] == 1


def test_every_refusal_is_counted_by_its_reason_and_all_reasons_are_there_from_the_start(
    phone, operator
):
    before = measured(operator)
    phone.post("/transcripts", content=b"{")
    phone.post("/transcripts", json=[])
    phone.post("/transcripts", json=upload(user_comment="peer at 192.168.1.7"))
    after = measured(operator)

    assert {before["intake_refused_total", reason] for reason in REASONS} == {0}
    assert {reason for reason in REASONS if after["intake_refused_total", reason]} == {
        "media_type",
        "not_an_object",
        "identifier",
    }


def test_redactions_are_counted_by_rule_and_by_an_anonymiser_version_that_exists(phone, operator):
    consent = {"explicit_opt_in": True, "preview_shown": True}
    for number, version in enumerate(["0.1.0", "479001600.12.7"]):
        sent = upload(
            number,
            user_comment="write to ola@example.org",
            consent={**consent, "anonymizer_version": version},
        )
        phone.post("/transcripts", json=sent)

    found = measured(operator)
    assert found["intake_redactions_total", "0.1.0", "mail"] == 1
    assert found["intake_redactions_total", "other", "mail"] == 1
    assert "479001600" not in operator.get("/metrics").text


def test_no_metric_holds_anything_of_an_upload(phone, operator):
    marks = ["planted-words", "planted@example.org", "192.168.77.7", upload()["upload_id"]]
    for mark in marks[:3]:
        phone.post("/transcripts", json=upload(user_comment=f"planted-words {mark}"))
        phone.post("/transcripts", json=upload(planted=mark))

    text = operator.get("/metrics").text
    assert [mark for mark in marks if mark in text] == []


def test_what_waits_and_what_was_shipped_is_told(parts, tmp_path):
    operator = TestClient(create_private_app(parts))
    (tmp_path / "depot").write_text("not a folder: every write fails")
    with TestClient(create_app(parts), client=NEAR) as phone:
        phone.post("/transcripts", json=upload())
        until(lambda: measured(operator)["intake_ship_failures_total", "other"])
        waiting = measured(operator)
        (tmp_path / "depot").unlink()
    shipped = measured(operator)

    assert waiting["intake_spool_uploads",] == 1
    assert waiting["intake_oldest_waiting_seconds",] > 0
    assert shipped["intake_spool_uploads",] == 0
    assert shipped["intake_oldest_waiting_seconds",] == 0
    assert shipped["intake_shipped_total",] == 1


def test_a_file_set_aside_rings(parts, tmp_path):
    (tmp_path / "spool" / ASIDE).mkdir(parents=True)
    (tmp_path / "spool/notes.txt").write_text("foreign")
    with TestClient(create_app(parts), client=NEAR):
        found = measured(TestClient(create_private_app(parts)))

    assert found["intake_set_aside_total", "foreign"] == 1
    assert found["intake_set_aside_total", "corrupt"] == 0
    assert found["intake_spool_aside_files",] == 1


def test_without_its_spool_there_are_still_metrics_and_ready_says_why(tmp_path, phone, operator):
    (tmp_path / "spool").rename(tmp_path / "away")
    found, ready = measured(operator), operator.get("/ready").json()
    (tmp_path / "away").rename(tmp_path / "spool")

    assert ("intake_spool_uploads",) not in found
    assert found["intake_uploads_total", "accepted"] == 0
    assert ready["unready"] == ["spool"]


def test_ready_while_it_can_take_and_ship(operator):
    answer = operator.get("/ready")

    assert (answer.status_code, answer.json()) == (200, {"ready": True, "unready": []})


def test_not_ready_without_room(tmp_path):
    parts = make_parts(settings_in(tmp_path, free_bytes=1 << 62))
    with TestClient(create_app(parts), client=NEAR):
        answer = TestClient(create_private_app(parts)).get("/ready")

    assert (answer.status_code, answer.json()["unready"]) == (503, ["spool"])


def test_not_ready_and_closed_to_all_while_uploads_cannot_be_counted(tmp_path, phone, operator):
    (tmp_path / "keys").chmod(0o755)
    refused = phone.post("/transcripts", json=upload())
    unready = operator.get("/ready").json()["unready"]
    (tmp_path / "keys").chmod(0o700)

    assert refused.status_code == 503
    assert unready == ["limits"]
    assert phone.post("/transcripts", json=upload()).status_code == 200


def test_not_ready_without_a_living_shipper(parts, phone, operator):
    parts.shipper.stop()

    assert operator.get("/ready").json() == {"ready": False, "unready": ["shipper"]}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_not_ready_once_a_bug_has_ended_the_thread_that_forgets(parts, tmp_path):
    forgetter = Forgetter(BuggyRates(tmp_path, tmp_path / "keys", Allowance(1, 1)))
    buggy = replace(parts, forgetter=forgetter)
    with TestClient(create_app(buggy), client=NEAR):
        until(lambda: buggy.unready())
        answer = TestClient(create_private_app(buggy)).get("/ready")

    assert (answer.status_code, answer.json()["unready"]) == (503, ["forgetter"])


class BuggyRates(Rates):
    def forget(self):
        raise KeyError("a bug")


def test_a_shipper_that_hangs_is_stuck_and_one_that_waits_for_its_depot_is_not(parts, phone):
    assert not parts.shipper.is_stuck()
    assert parts.shipper.is_stuck(after_s=-1)


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/transcripts", "/health"])
def test_operators_find_nothing_else_there(operator, path):
    assert operator.get(path).status_code == 404
