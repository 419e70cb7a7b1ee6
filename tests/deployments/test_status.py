from dataclasses import replace
from datetime import timedelta

import pytest

from deployments.status import age, answering, read_status
from labeller.app import create_app
from loop import cycles, store
from loop.depot import FolderDepot
from loop.errors import DepotAway
from loop.ingest import ingest_uploads
from loop.tables import Card, CycleTranscript
from loop.upload import Record
from loop.values import digest_bytes, digest_json, utc_now
from tests.candidates import serving
from tests.factories import empty_places, open_cycle, transcript_row, upload


@pytest.fixture
def places(tmp_path):
    return empty_places(tmp_path)


EVERYTHING = frozenset({"prefect", "intake", "labeller"})
NOTHING: frozenset[str] = frozenset()


def lines(places, later=timedelta(), there=EVERYTHING):
    return {line.stage: line for line in read_status(places, utc_now() + later, there)}


def test_where_nothing_waits_nothing_is_to_do(places):
    assert {line.next_step for line in lines(places).values()} == {"nothing"}


def test_sessions_without_a_label_name_the_oldest_and_where_to_go(places):
    today = utc_now().date()
    store.keep(places.store, transcript_row(1, received=today - timedelta(days=3)))
    store.keep(places.store, transcript_row(2, received=today))

    line = lines(places)["label"]
    assert (line.what, age(line.seconds)) == ("2 sessions without a label", "3 days")
    assert places.settings.labeller_url in line.next_step


def test_no_address_is_named_where_nobody_answers(places):
    store.keep(places.store, transcript_row(1))
    step = lines(places, there=EVERYTHING - {"labeller"})["label"].next_step

    assert "http" not in step
    assert "make run" in step


def test_a_started_stage_works_only_where_something_runs(places):
    cycles.mark(places, cycles.ref_of(open_cycle(places)), "train", "started")

    assert lines(places)["train"].next_step == "nothing, while its run works"
    step = lines(places, there=NOTHING)["train"].next_step
    assert step == "nothing runs here; `make run` continues it"


def test_who_answers_is_asked_over_http(places):
    dead = "http://127.0.0.1:9"
    with serving(create_app(places)) as url:
        urls = {"labeller_url": url, "intake_url": dead}
        here = replace(places, settings=places.settings.model_copy(update=urls))

        assert answering(here, dead) == answering(here, "") == {"labeller"}


def test_uploads_in_the_spool_are_the_first_line(places):
    places.settings.spool.mkdir(parents=True)
    (places.settings.spool / "one.json").write_text("{}")

    line = lines(places, later=timedelta(hours=2))["upload"]
    assert (line.what, age(line.seconds)) == ("1 upload in the spool", "2 h")
    assert line.next_step == "nothing; intake ships them"
    assert "make run" in lines(places, there=NOTHING)["upload"].next_step


def shipped(places, number, day):
    record = Record(received=day, privacy="2", redacted={}, upload=upload(number))
    data = record.to_bytes()
    places.depot.put(f"raw/{upload(number)['upload_id']}/{digest_bytes(data)}.json", data)


def test_uploads_that_nobody_read_into_the_store_are_named_with_the_oldest(places):
    today = utc_now().date()
    shipped(places, 1, today)
    fresh = lines(places)["ingest"]
    shipped(places, 2, today - timedelta(days=3))
    late = lines(places)["ingest"]
    ingest_uploads(places)

    assert (fresh.what, fresh.next_step) == (
        "1 upload in the depot, not read yet",
        "nothing; a cycle reads them first",
    )
    assert (late.what, age(late.seconds)) == ("2 uploads in the depot, not read yet", "3 days")
    assert "hourly" in late.next_step
    assert "ingest" not in lines(places)


class AwayDepot(FolderDepot):
    """A depot that does not answer."""

    def keys(self, prefix):
        raise DepotAway("unavailable", "s3://blox", "503")


def test_while_the_depot_is_away_everything_else_is_still_said(places):
    away = replace(places, depot=AwayDepot(places.settings.depot_place))
    found = lines(away)

    assert "s3://blox" in found["ingest"].what
    assert "label" in found


def test_an_upload_that_cannot_be_read_is_counted_all_the_same(places):
    places.depot.put("raw/x/y.json", b"no record")

    assert lines(places)["ingest"].what == "1 upload in the depot, not read yet"


def test_an_upload_that_can_never_be_read_raises_the_alarm_by_when_it_came(places):
    places.depot.put("raw/x/y.json", b"no record")

    line = lines(places, later=timedelta(days=3))["ingest"]
    assert age(line.seconds) == "3 days"
    assert "hourly" in line.next_step


def test_what_is_kept_for_longer_than_users_are_told_is_named(places):
    shipped(places, 1, utc_now().date())
    ingest_uploads(places)

    assert "retention" not in lines(places, later=timedelta(days=32))
    line = lines(places, later=timedelta(days=33))["retention"]
    assert line.what == "kept too long: objects that were read into the store: 1"
    assert "switch the schedule `daily`" in line.next_step


def test_an_open_cycle_that_holds_old_sessions_is_named_too(places):
    row = transcript_row(1, received=utc_now().date())
    cycle = open_cycle(places)
    store.keep(places.store, row)
    store.keep(places.store, CycleTranscript(cycle_id=cycle.id, transcript_id=row.id))

    line = lines(places, later=timedelta(days=733))["retention"]
    assert line.what == "kept too long: sessions that an open cycle learns from: 1"
    assert "bloxloop cancel" in line.next_step


def test_a_failed_stage_says_why_and_what_to_do(places):
    cycle = cycles.ref_of(open_cycle(places))
    cycles.mark(places, cycle, "train", "failed", "out of memory")

    line = lines(places)["train"]
    assert line.what == "blox cycle 1 failed: out of memory"
    assert "bloxloop retry" in line.next_step


def test_an_unsigned_card_says_how_to_sign_it(places):
    cycle = open_cycle(places)
    digest = digest_json("card")
    card = Card(digest=digest, cycle_id=cycle.id, sha256=digest_json("bytes"), card={})
    store.keep(places.store, card)

    assert f"bloxloop approve {digest[:12]}" in lines(places)["sign-off"].next_step
