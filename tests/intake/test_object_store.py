"""The real intake before an object store that fails: each 200 is one object there, in the end."""

import signal
from functools import partial
from pathlib import Path

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError

from intake.spool import Room, Spool
from loop.depots import open_depot
from loop.errors import DepotAway
from loop.settings import Settings
from loop.upload import Record
from loop.values import digest_bytes
from tests.factories import upload
from tests.fault_proxy import Policy
from tests.intake.served import free_port, measured, served
from tests.object_store import BUCKET, CREDENTIALS
from tests.processes import until

POLICY = Path(__file__).parents[2] / "deployments/intake-s3-policy.json"
ROOM = 12
"""So many may wait before uploads are refused; more than are tried in one pass."""
REASONS = {
    "down": "unavailable",
    "error_500": "unavailable",
    "slow": "unavailable",
    "hang": "unavailable",
    "lost": "unavailable",
    "refused": "refused",
    "denied": "denied",
    "skewed": "clock",
    "no_bucket": "no_bucket",
    "full": "full",
    "over_quota": "full",
    "over_bucket_quota": "full",
}
"""How each fault is counted."""


class Phones:
    """Uploads of ever new sessions, and the list of those that were answered 200."""

    def __init__(self, url):
        self.url, self.sent, self.kept = url, 0, []

    def upload(self):
        self.sent += 1
        sent = upload(self.sent)
        answer = httpx.post(f"{self.url}/transcripts", json=sent)
        if answer.status_code == 200:
            self.kept.append(sent["upload_id"])
        return answer

    def upload_until_refused(self):
        return until(lambda: (answer := self.upload()).status_code != 200 and answer)


class Intake:
    """One running intake, its phones, and the place in the bucket that it ships to."""

    def __init__(self, url, home, private, place):
        self.phones, self.home, self.private, self.place = Phones(url), home, private, place

    def waiting(self):
        return len(list(Spool(self.home / "spool", Room()).waiting()))

    def failures(self, reason):
        name = f'intake_ship_failures_total{{reason="{reason}"}} '
        return next(
            float(one[len(name) :]) for one in measured(self.private) if one.startswith(name)
        )

    def unready(self):
        return httpx.get(f"http://127.0.0.1:{self.private}/ready").json()["unready"]


@pytest.fixture(scope="module")
def intake(object_store, tmp_path_factory):
    home, private, place = tmp_path_factory.mktemp("intake"), free_port(), object_store.new_place()
    with served(home, private, **told(object_store, place)) as (url, _process):
        yield Intake(url, home, private, place)


@pytest.fixture
def proxy(object_store):
    object_store.proxy.late_s = 0.5
    object_store.proxy.asked.clear()
    yield object_store.proxy
    object_store.proxy.policy = None
    object_store.proxy.once = []
    object_store.proxy.fail(None)


def policy_for(place):
    """What intake may do, where its depot lies at a place."""
    return Policy(POLICY, place.removeprefix("s3://"))


def in_bucket(object_store, place):
    """The upload ids of all objects, after a look whether each is what its key says."""
    objects = object_store.objects(place)
    for key, data in objects.items():
        upload_id = Record.from_bytes(data).upload["upload_id"]
        assert key == f"raw/{upload_id}/{digest_bytes(data)}.json"
    return sorted(key.split("/")[1] for key in objects)


def told(object_store, place, **more):
    """Settings of an intake that loses patience quickly."""
    return {
        "depot": place,
        **object_store.settings(s3_seconds=0.2, ship_retry_seconds=0.2, spool_uploads=ROOM),
        **more,
    }


@pytest.mark.parametrize("fault", REASONS)
def test_uploads_go_on_until_the_guard_and_all_are_there_once_when_the_fault_is_over(
    object_store, proxy, intake, fault
):
    before, counted = len(intake.phones.kept), intake.failures(REASONS[fault])
    proxy.fail(fault)
    refused = intake.phones.upload_until_refused()
    taken, unready = len(intake.phones.kept) - before, intake.unready()
    until(lambda: intake.failures(REASONS[fault]) > counted)
    proxy.fail(None)
    until(lambda: not intake.waiting())
    until(lambda: intake.phones.upload().status_code == 200)
    until(lambda: not intake.waiting())

    assert (refused.status_code, refused.json()) == (503, {"error": "storage_unavailable"})
    assert int(refused.headers["Retry-After"]) > 0
    assert taken >= ROOM
    assert unready == ["spool"]  # and never the shipper
    assert in_bucket(object_store, intake.place) == sorted(intake.phones.kept)
    assert object_store.versions(intake.place) == len(intake.phones.kept)


def test_half_an_answer_confirms_or_is_asked_for_again(object_store, proxy, intake):
    proxy.fail("half")
    for _ in range(ROOM):
        intake.phones.upload()
    proxy.fail(None)
    until(lambda: not intake.waiting())

    assert in_bucket(object_store, intake.place) == sorted(intake.phones.kept)
    assert object_store.versions(intake.place) == len(intake.phones.kept)


def test_all_that_intake_asked_for_lies_within_its_policy(object_store, proxy, intake):
    proxy.once = ["lost", "conflict", "error_500"]
    for _ in range(ROOM):
        intake.phones.upload()
    until(lambda: not intake.waiting())

    policy = policy_for(intake.place)
    assert {asked.action for asked in proxy.asked} == {"s3:PutObject"}
    assert [asked.path for asked in proxy.asked if not policy.allows(asked)] == []
    assert len(proxy.asked) >= ROOM


def test_with_that_policy_nothing_can_be_read_listed_replaced_deleted_or_put_elsewhere(
    object_store, proxy, tmp_path
):
    place = object_store.new_place()
    settings = Settings(home=tmp_path, depot=place, **object_store.settings())
    depot = open_depot(place, settings)
    proxy.policy = policy_for(place)
    depot.put("raw/1/a.json", b"one")
    bare = boto3.client("s3", endpoint_url=proxy.url)
    key = f"{place.rpartition('/')[2]}/raw/1/a.json"

    for ask in (
        lambda: depot.get("raw/1/a.json"),
        lambda: depot.put("raw/1/a.json", b"another"),  # which needs a look at what is there
        lambda: list(depot.keys("raw/")),
        lambda: depot.delete("raw/1/a.json"),
        lambda: depot.put("models/a", b"elsewhere"),
    ):
        with pytest.raises(DepotAway, match="said: 403"):
            ask()
    for refused in (bare.put_object, bare.create_multipart_upload):
        with pytest.raises(ClientError, match="AccessDenied"):
            refused(Bucket=BUCKET, Key=key)
    assert object_store.objects(place) == {"raw/1/a.json": b"one"}
    assert object_store.versions(place) == 1


def test_intake_starts_takes_and_stops_in_time_while_its_store_hangs(object_store, proxy, tmp_path):
    place, private = object_store.new_place(), free_port()
    proxy.fail("hang")
    with served(tmp_path, private, **told(object_store, place, s3_seconds=40)) as (url, process):
        phones = Phones(url)
        phones.upload_until_refused()
        until(lambda: proxy.asked)
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=60)  # a supervisor gives 90; the store would take as long
    waiting = len(list(Spool(tmp_path / "spool", Room()).waiting()))
    proxy.fail(None)
    with served(tmp_path, private, **told(object_store, place)):
        until(lambda: not list(Spool(tmp_path / "spool", Room()).waiting()))

    assert status in (0, -signal.SIGTERM)
    assert waiting == len(phones.kept)
    assert in_bucket(object_store, place) == sorted(phones.kept)


def test_an_intake_that_is_killed_while_it_ships_ships_the_rest_and_nothing_twice(
    object_store, proxy, tmp_path
):
    place, kept = object_store.new_place(), []
    proxy.late_s = 0.05
    for start in (0, 100, 200):
        proxy.fail("slow")
        roomy = told(object_store, place, spool_uploads=1000)
        with served(tmp_path, **roomy) as (url, process):
            phones = Phones(url)
            phones.sent = start
            for _ in range(30):
                phones.upload()
            process.kill()
            process.wait()
            kept += phones.kept
    proxy.fail(None)
    with served(tmp_path, **told(object_store, place)):
        until(lambda: not list(Spool(tmp_path / "spool", Room()).waiting()))

    assert len(kept) == 90
    assert in_bucket(object_store, place) == sorted(kept)
    assert object_store.versions(place) == 90


def test_the_log_says_what_is_wrong_with_the_store_and_names_no_upload_and_no_secret(
    object_store, proxy, tmp_path
):
    place, private = object_store.new_place(), free_port()
    with served(tmp_path, private, **told(object_store, place)) as (url, process):
        running = Intake(url, tmp_path, private, place)
        for fault in ("down", "skewed", "denied", "full", "refused"):
            proxy.fail(fault)
            running.phones.upload()
            until(partial(running.failures, REASONS[fault]))
        process.send_signal(signal.SIGTERM)
        process.wait()

    said = (tmp_path / "intake.log").read_text()
    hidden = [*running.phones.kept, *list(CREDENTIALS.values())[:2], "Signature", "raw/"]
    sentences = ("clock to be the store's; set it", "look at the credentials", "got none", "room")
    for sentence in sentences:
        assert f"{place}: expected" in said
        assert sentence in said
    assert [word for word in hidden if word in said] == []
