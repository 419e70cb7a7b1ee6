"""What only a depot in an object store can meet; what all depots promise is in test_depot.py."""

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from botocore.exceptions import ClientError

from loop.depots import open_depot
from loop.errors import DepotAway, DepotError, NotFound
from loop.s3_depot import LARGEST
from loop.settings import Settings
from loop.values import digest_bytes
from tests.object_store import BUCKET, CREDENTIALS

DATA = b'{"an":"upload"}'
RAW = f"raw/0f/{digest_bytes(DATA)}.json"


@pytest.fixture
def place(object_store):
    return object_store.new_place()


@pytest.fixture
def proxy(object_store):
    object_store.proxy.asked.clear()
    yield object_store.proxy
    object_store.proxy.once.clear()
    object_store.proxy.fail(None)


def depot_at(object_store, place, home, seconds=20.0):
    settings = Settings(home=home, depot=place, **object_store.settings(s3_seconds=seconds))
    return open_depot(settings.depot_place, settings)


@pytest.fixture
def depot(object_store, proxy, place, tmp_path):
    return depot_at(object_store, place, tmp_path)


def methods(proxy):
    return [asked.method for asked in proxy.asked]


# ------------------------------------------------------------------ writing


def test_a_key_that_names_the_bytes_is_confirmed_without_reading(depot, proxy):
    assert [depot.put(RAW, DATA) for _ in range(3)] == [True, False, False]
    assert methods(proxy) == ["PUT"] * 3


def test_every_write_carries_its_condition_and_the_checksum_of_its_bytes(depot, proxy, tmp_path):
    (tmp_path / "model").write_bytes(b"weights")
    depot.put(RAW, DATA)
    depot.put_file("models/a", tmp_path / "model")
    depot.swap_pointer("current", b"1", expected=None)
    depot.swap_pointer("current", b"2", expected=b"1")

    writes = [asked for asked in proxy.asked if asked.method == "PUT"]
    assert [asked.headers.get("if-none-match") for asked in writes] == ["*"] * 3 + [None]
    assert "if-match" in writes[3].headers
    assert all(asked.headers["x-amz-checksum-sha256"] and asked.is_whole() for asked in writes)


def test_bytes_that_change_on_their_way_are_not_kept(object_store, proxy, place):
    sent = {
        "Bucket": BUCKET,
        "Key": f"{place.rpartition('/')[2]}/a",
        "Body": b"x",
        "ChecksumAlgorithm": "SHA256",
        "ChecksumSHA256": "A" * 43 + "=",
    }
    with pytest.raises(ClientError, match="BadDigest"):
        boto3.client("s3", endpoint_url=proxy.url).put_object(**sent)
    before = object_store.versions(place)
    object_store.behind.put_object(**sent)

    assert before == 0
    assert object_store.versions(place) == 1  # moto alone does not compare: the proxy is needed


def test_an_object_that_the_store_does_not_accept_is_named_with_its_word(depot, proxy):
    proxy.once = ["refused"]
    with pytest.raises(DepotError, match=f"expected it to accept {RAW}, got 400 InvalidRequest"):
        depot.put(RAW, DATA)


@pytest.mark.parametrize("key", [RAW, "models/a"])
@pytest.mark.parametrize("fault", ["lost", "half", "conflict"])
def test_a_write_whose_answer_is_lost_is_asked_again_and_there_once(
    object_store, depot, proxy, place, key, fault
):
    proxy.once = [fault]
    depot.put(key, DATA)

    assert object_store.objects(place) == {key: DATA}
    assert object_store.versions(place) == 1


def test_an_endless_conflict_is_a_store_that_is_away(depot, proxy):
    proxy.fail("conflict")
    with pytest.raises(DepotAway, match="409 ConditionalRequestConflict") as told:
        depot.put(RAW, DATA)

    assert told.value.reason == "unavailable"
    assert len(proxy.asked) == 3


def test_an_object_without_a_sha256_is_compared_by_reading_it(object_store, depot, place):
    key = f"{place.rpartition('/')[2]}/models/a"
    object_store.behind.put_object(Bucket=BUCKET, Key=key, Body=b"from elsewhere")

    assert depot.put("models/a", b"from elsewhere") is False
    with pytest.raises(DepotError, match="keys are written once"):
        depot.put("models/a", b"another")


def test_a_file_larger_than_one_request_may_carry_is_refused_before_it_is_sent(
    depot, proxy, tmp_path
):
    with (tmp_path / "model").open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(DepotError, match=f"expected {LARGEST} bytes at most"):
        depot.put_file("models/a", tmp_path / "model")

    assert proxy.asked == []


def test_a_swap_whose_answer_is_lost_says_so_and_a_look_tells(depot, proxy):
    depot.swap_pointer("current", b"1", expected=None)
    proxy.once = [None, "lost"]
    with pytest.raises(DepotAway):
        depot.swap_pointer("current", b"2", expected=b"1")

    assert depot.read_pointer("current") == b"2"


def test_a_swap_that_meets_another_refuses(depot, proxy):
    depot.swap_pointer("current", b"1", expected=None)
    proxy.once = [None, "conflict"]
    with pytest.raises(DepotError, match="somebody else changed it"):
        depot.swap_pointer("current", b"2", expected=b"1")

    assert depot.read_pointer("current") == b"1"


# ------------------------------------------------------------------ a store that is away


REASONS = {
    "down": "unavailable",
    "error_500": "unavailable",
    "slow": "unavailable",
    "hang": "unavailable",
    "denied": "denied",
    "skewed": "clock",
    "no_bucket": "no_bucket",
    "full": "full",
    "over_quota": "full",
    "over_bucket_quota": "full",
}


@pytest.mark.parametrize("fault", REASONS)
def test_a_store_that_is_away_says_why_and_nothing_else(
    object_store, proxy, place, tmp_path, fault
):
    depot = depot_at(object_store, place, tmp_path, seconds=0.2)
    depot.read_pointer("warm")
    proxy.late_s = 1
    proxy.fail(fault)
    with pytest.raises(DepotAway) as told:
        depot.put(RAW, DATA)

    assert told.value.reason == REASONS[fault]
    assert str(told.value).startswith(f"{place}: expected ")
    hidden = [RAW, digest_bytes(DATA), *CREDENTIALS.values(), "Signature", "Authorization"]
    assert [word for word in hidden if word in str(told.value)] == []
    assert str(pickle.loads(pickle.dumps(told.value))) == str(told.value)


@pytest.mark.parametrize("fault", REASONS)
def test_reading_from_a_store_that_is_away_is_no_missing_key(
    object_store, proxy, place, tmp_path, fault
):
    depot = depot_at(object_store, place, tmp_path, seconds=0.2)
    proxy.late_s = 1
    proxy.fail(fault)

    for ask in (lambda: depot.get(RAW), lambda: list(depot.keys("raw/"))):
        with pytest.raises(DepotAway):
            ask()


def test_without_credentials_a_depot_says_so_when_it_is_used(
    object_store, place, tmp_path, monkeypatch
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    depot = depot_at(object_store, place, tmp_path)
    with pytest.raises(DepotAway, match="NoCredentialsError") as told:
        depot.put(RAW, DATA)

    assert told.value.reason == "denied"


def test_a_store_that_dies_between_two_blocks_is_away(object_store, depot, proxy):
    depot.put("models/a", b"w" * 3_000_000)
    proxy.once = ["half"]
    with pytest.raises(DepotAway):
        depot.get("models/a")


# ------------------------------------------------------------------ listing, copies, deleting


def test_a_listing_of_many_pages_is_whole_and_knows_no_folders(
    object_store, depot, proxy, place, monkeypatch
):
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")  # of the server in this process
    for number in range(10):
        depot.put(f"raw/{number}/a", b"x")
    prefix = place.rpartition("/")[2]
    object_store.behind.put_object(Bucket=BUCKET, Key=f"{prefix}/raw/5/", Body=b"")
    proxy.asked.clear()

    assert list(depot.keys("raw/")) == [f"raw/{number}/a" for number in range(10)]
    assert methods(proxy) == ["GET"] * 4


def test_a_copy_is_fetched_once_and_again_where_it_is_spoilt(depot, proxy, tmp_path):
    (made := tmp_path / "made").mkdir()
    (made / "weights").write_bytes(b"right")
    digest = depot.put_tree("forms", made)
    folder = depot.fetch_tree("forms", digest)
    proxy.asked.clear()
    again = depot.fetch_tree("forms", digest)
    listed = methods(proxy)
    (folder / "weights").chmod(0o644)
    (folder / "weights").write_bytes(b"wrong")
    mended = depot.fetch_tree("forms", digest)

    assert folder == again == mended
    assert folder.is_relative_to(tmp_path / "copies")
    assert listed == ["GET"]
    assert (mended / "weights").read_bytes() == b"right"
    assert (mended / "weights").stat().st_mode & 0o222 == 0


def test_of_many_that_want_a_copy_at_once_one_fetches_it(depot, proxy, tmp_path):
    depot.put("models/a", b"weights")
    depot.get("models/a")
    proxy.asked.clear()
    with ThreadPoolExecutor(4) as pool:
        files = pool.map(lambda _: depot.fetch_file("models/a", digest_bytes(b"weights")), range(8))

    assert {file.read_bytes() for file in files} == {b"weights"}
    assert sorted(methods(proxy)) == ["GET"] + ["HEAD"] * 8


def test_what_a_killed_process_fetched_half_is_no_copy(object_store, depot, place, tmp_path):
    (made := tmp_path / "made").mkdir()
    for name in "ab":
        (made / name).write_bytes(name.encode())
    digest = depot.put_tree("forms", made)
    (half := tmp_path / "copies" / BUCKET / place.rpartition("/")[2] / ".new" / digest).mkdir(
        parents=True
    )
    (half / "a").write_bytes(b"half of")

    assert {
        file.name: file.read_bytes() for file in depot.fetch_tree("forms", digest).iterdir()
    } == {
        "a": b"a",
        "b": b"b",
    }
    assert not half.exists()


def test_a_key_in_the_bucket_that_climbs_out_of_the_copy_is_refused(
    object_store, depot, place, tmp_path
):
    digest = digest_bytes(b"")
    key = f"{place.rpartition('/')[2]}/forms/{digest}/../../../climbed"
    object_store.behind.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    with pytest.raises(DepotError, match="leaves the depot"):
        depot.fetch_tree("forms", digest)

    assert list(tmp_path.rglob("climbed")) == []


def test_a_deleted_object_leaves_no_version_and_no_copy(object_store, depot, place, tmp_path):
    depot.put("models/a", DATA)
    depot.put("models/a.txt", DATA)
    copy = depot.fetch_file("models/a", digest_bytes(DATA))
    object_store.behind.delete_object(Bucket=BUCKET, Key=f"{place.rpartition('/')[2]}/models/a")

    assert depot.delete("models/a") is True
    assert object_store.versions(place) == 1
    assert not copy.exists()


def test_a_bucket_that_keeps_no_versions_deletes_as_well(object_store, proxy, tmp_path):
    where = {"LocationConstraint": CREDENTIALS["AWS_DEFAULT_REGION"]}
    object_store.behind.create_bucket(Bucket="plain-tests", CreateBucketConfiguration=where)
    depot = depot_at(object_store, "s3://plain-tests", tmp_path)
    depot.put(RAW, DATA)

    assert (depot.delete(RAW), depot.delete(RAW)) == (True, False)
    with pytest.raises(NotFound):
        depot.get(RAW)


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    "text", ["s3://", "s3://B", "s3://bucket//x", "s3://bucket/../x", "s3:///x"]
)
def test_an_address_that_is_no_bucket_is_refused_when_settings_are_read(text):
    with pytest.raises(ValueError, match="expected a folder, s3://bucket or s3://bucket/prefix"):
        Settings(depot=text)


def test_an_endpoint_is_a_web_address():
    with pytest.raises(ValueError, match="s3_endpoint"):
        Settings(s3_endpoint="store.example")


def test_a_folder_needs_no_boto3(tmp_path):
    look = "import sys, intake.parts, loop.places; sys.exit('boto3' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", look], env={**os.environ, "LOOP_HOME": str(tmp_path)}, check=False
    )

    assert done.returncode == 0
