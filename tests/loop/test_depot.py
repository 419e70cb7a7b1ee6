"""What every depot promises; each backend is one more parameter of `backend`."""

import functools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.depot import FolderDepot
from loop.depots import open_depot
from loop.errors import DepotError, NotFound
from loop.settings import Settings
from loop.values import digest_bytes, utc_now
from tests.object_store import BUCKET
from tests.processes import until


class InFolders:
    """Depots in folders, and what a bad disk does to them."""

    def __init__(self, root):
        self.root, self.count = root, 0

    def new(self):
        """Settings that name a depot that nobody has used."""
        self.count += 1
        return Settings(home=self.root / str(self.count))

    def spoil(self, settings, key, data):
        kept = settings.depot_place / key
        kept.chmod(0o644)
        kept.write_bytes(data)

    def lose(self, settings, key):
        (settings.depot_place / key).unlink()

    def names_left(self, settings):
        """Below the first part of all keys."""
        return [path.name for path in settings.depot_place.glob("*/**/*")]


class InBuckets:
    """Depots in an object store, and what somebody with more rights than ours does to them."""

    def __init__(self, store, root):
        self.store, self.root = store, root

    def new(self):
        """Settings that name a depot that nobody has used."""
        place = self.store.new_place()
        home = self.root / place.rpartition("/")[2]
        return Settings(home=home, depot=place, **self.store.settings())

    def spoil(self, settings, key, data):
        self.store.behind.put_object(**self._named(settings, key), Body=data)

    def lose(self, settings, key):
        self.store.behind.delete_object(**self._named(settings, key))

    def names_left(self, settings):
        """Of objects, and of files that were copied from the store."""
        copied = [path for path in settings.copies.glob("*/*/[!.]*/**/*") if path.is_file()]
        prefix = self._named(settings, "")["Key"]
        listed = self.store.behind.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return copied + [one["Key"] for one in listed.get("Contents", ())]

    def _named(self, settings, key):
        prefix = settings.depot_place.removeprefix(f"s3://{BUCKET}/")
        return {"Bucket": BUCKET, "Key": f"{prefix}/{key}"}


@pytest.fixture(scope="session", params=["folder", "s3"])
def backend(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("depots")
    if request.param == "folder":
        return InFolders(root)
    return InBuckets(request.getfixturevalue("object_store"), root)


@pytest.fixture
def settings(backend):
    return backend.new()


@pytest.fixture
def depot(settings):
    return depot_of(settings)


def depot_of(settings):
    return open_depot(settings.depot_place, settings)


def folder_of(path, **files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def test_a_key_is_written_once(depot):
    first = depot.put("raw/1/a.json", b"one")
    again = depot.put("raw/1/a.json", b"one")
    with pytest.raises(DepotError, match="keys are written once"):
        depot.put("raw/1/a.json", b"other")

    assert (first, again) == (True, False)
    assert depot.get("raw/1/a.json") == b"one"


def test_a_key_that_is_there_already_is_made_durable_too(tmp_path, monkeypatch):
    depot, synced = FolderDepot(tmp_path), []
    depot.put("raw/1/a.json", b"one")
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    depot.put("raw/1/a.json", b"one")

    assert (tmp_path / "raw/1").stat().st_ino in synced


def test_a_file_is_kept_like_its_bytes(depot, tmp_path):
    (tmp_path / "model").write_bytes(b"weights")
    depot.put_file("models/a", tmp_path / "model")

    assert depot.get("models/a") == b"weights"
    assert depot.put("models/a", b"weights") is False
    assert (tmp_path / "model").read_bytes() == b"weights"


def test_what_is_missing_is_not_found(depot):
    for ask in (
        lambda: depot.get("raw/none"),
        lambda: depot.fetch_tree("forms", digest_bytes(b"")),
        lambda: depot.fetch_file("models/none", digest_bytes(b"")),
    ):
        with pytest.raises(NotFound, match="the depot has no"):
            ask()
    assert depot.read_pointer("current.json") is None


def test_keys_come_in_order_and_only_those_that_begin_so(depot):
    for key in ("raw/b/2", "raw/a/1", "rawer/3", "raw/b/1", "raw/a-b", "datasets/1"):
        depot.put(key, key.encode())

    assert list(depot.keys("raw/")) == ["raw/a-b", "raw/a/1", "raw/b/1", "raw/b/2"]
    assert list(depot.keys("raw/b")) == ["raw/b/1", "raw/b/2"]
    assert list(depot.keys("none/")) == []


def test_what_is_deleted_is_gone_for_good_and_only_that(depot):
    for key in ("raw/1/a", "raw/1/b", "raw/2/a"):
        depot.put(key, key.encode())
    done = [depot.delete(key) for key in ("raw/1/a", "raw/1/a", "raw/2/a", "raw/1", "raw/none/x")]

    assert done == [True, False, True, False, False]
    assert list(depot.keys("")) == ["raw/1/b"]
    with pytest.raises(NotFound):
        depot.get("raw/1/a")
    assert depot.put("raw/1/a", b"other bytes") is True


def test_no_name_and_no_copy_is_left_of_what_is_gone(backend, settings, depot, tmp_path):
    digest = depot.put_tree("forms", folder_of(tmp_path / "made", **{"a": b"1", "b/c": b"2"}))
    depot.fetch_tree("forms", digest)
    there = len(backend.names_left(settings))
    for key in list(depot.keys("forms/")):
        depot.delete(key)

    assert (there, backend.names_left(settings)) == (4, [])
    with pytest.raises(NotFound, match="the depot has no forms/"):
        depot.fetch_tree("forms", digest)


def test_of_many_that_delete_a_key_at_once_one_did_it_and_writers_go_on(depot):
    def one(number):
        depot.put(f"raw/{number}/kept", b"kept")
        depot.put(f"raw/{number % 2}/gone", b"same")
        return depot.delete(f"raw/{number % 2}/gone")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(2, 400)))

    assert len(list(depot.keys("raw/"))) == 398


def test_when_a_key_was_written_can_be_asked(depot):
    before = utc_now()
    depot.put("raw/1/a", b"1")

    assert abs(depot.arrived("raw/1/a") - before) < timedelta(minutes=1)
    with pytest.raises(NotFound, match="the depot has no raw/1/b"):
        depot.arrived("raw/1/b")


@pytest.mark.parametrize("key", ["../outside", "raw/../../outside", "/etc/passwd", "", "."])
def test_a_key_that_leaves_the_depot_is_refused(depot, key):
    with pytest.raises(DepotError, match="leaves the depot"):
        depot.put(key, b"x")
    with pytest.raises(DepotError, match="leaves the depot"):
        depot.get(key)
    with pytest.raises(DepotError, match="leaves the depot"):
        depot.delete(key)


def test_of_many_that_write_a_key_at_once_one_wins_and_no_byte_is_mixed(depot):
    with ThreadPoolExecutor(8) as pool:
        wrote = list(pool.map(lambda _: depot.put("raw/a", b"same" * 10_000), range(40)))

    assert wrote.count(True) == 1
    assert depot.get("raw/a") == b"same" * 10_000
    assert list(depot.keys("")) == ["raw/a"]


def test_a_folder_is_kept_under_the_digest_of_its_files(depot, tmp_path):
    made = folder_of(tmp_path / "made", **{"weights.bin": b"w", "tokenizer/vocab.json": b"{}"})
    digest = depot.put_tree("forms", made)
    fetched = depot.fetch_tree("forms", digest)

    assert depot.put_tree("forms", made) == digest
    assert (fetched / "tokenizer/vocab.json").read_bytes() == b"{}"
    assert {path.name for path in fetched.iterdir()} == {"weights.bin", "tokenizer"}


def test_bytes_that_changed_where_they_lie_are_never_handed_out(backend, settings, tmp_path):
    depot = depot_of(settings)
    digest = depot.put_tree("forms", folder_of(tmp_path / "made", weights=b"right"))
    depot.put("models/a", b"right")
    for key in (f"forms/{digest}/weights", "models/a"):
        backend.spoil(settings, key, b"wrong")

    with pytest.raises(DepotError, match="expected"):
        depot.fetch_tree("forms", digest)
    with pytest.raises(DepotError, match="expected sha256"):
        depot.fetch_file("models/a", digest_bytes(b"right"))


def test_half_a_folder_is_no_folder_and_keeping_it_again_completes_it(backend, settings, tmp_path):
    depot = depot_of(settings)
    made = folder_of(tmp_path / "made", a=b"1", b=b"2")
    digest = depot.put_tree("forms", made)
    backend.lose(settings, f"forms/{digest}/b")

    with pytest.raises(DepotError, match="expected"):
        depot.fetch_tree("forms", digest)
    assert depot.put_tree("forms", made) == digest
    assert (depot.fetch_tree("forms", digest) / "b").read_bytes() == b"2"


def test_a_pointer_moves_only_from_what_was_read(depot):
    depot.swap_pointer("current.json", b"1", expected=None)
    depot.swap_pointer("current.json", b"2", expected=b"1")

    with pytest.raises(DepotError, match="somebody else changed it"):
        depot.swap_pointer("current.json", b"3", expected=b"1")
    with pytest.raises(DepotError, match="somebody else changed it"):
        depot.swap_pointer("current.json", b"3", expected=None)
    assert depot.read_pointer("current.json") == b"2"


def test_of_many_that_move_a_pointer_at_once_each_step_is_taken_once(depot):
    depot.swap_pointer("count", b"0", expected=None)

    def count_one(_):
        while True:
            seen = depot.read_pointer("count")
            try:
                return depot.swap_pointer("count", str(int(seen) + 1).encode(), expected=seen)
            except DepotError:
                continue

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count_one, range(20)))

    assert depot.read_pointer("count") == b"20"


def test_what_is_deleted_is_gone_and_its_key_is_free(depot):
    depot.put("raw/1/a.json", b"one")
    depot.put("raw/1/b.json", b"two")
    deleted = depot.delete("raw/1/a.json"), depot.delete("raw/1/a.json")
    nothing = [depot.delete(key) for key in ("raw/1", "none/at/all", "raw/1/a.json/x")]

    assert (deleted, nothing) == ((True, False), [False] * 3)
    assert list(depot.keys("raw/")) == ["raw/1/b.json"]
    assert depot.put("raw/1/a.json", b"another") is True
    with pytest.raises(DepotError, match="leaves the depot"):
        depot.delete("raw/../outside")


def test_a_deleted_file_is_fetched_no_more(depot):
    digest = digest_bytes(b"weights")
    depot.put("models/a", b"weights")
    depot.fetch_file("models/a", digest)
    depot.delete("models/a")

    with pytest.raises(NotFound):
        depot.fetch_file("models/a", digest)


def test_a_writer_that_is_killed_leaves_no_key_or_a_whole_one(settings):
    depot = depot_of(settings)
    told = settings.model_dump(exclude_none=True)
    env = os.environ | {f"LOOP_{name.upper()}": str(value) for name, value in told.items()}
    for prefix in "abcde":
        writer = subprocess.Popen([sys.executable, "-c", WRITER, prefix], env=env)
        until(functools.partial(written, depot, prefix))
        writer.kill()
        writer.wait()

    for key in depot.keys(""):
        assert digest_bytes(depot.get(key)) == key.rpartition("/")[2]


def written(depot, prefix):
    return len(list(depot.keys(f"{prefix}/"))) > 5


WRITER = """
import sys
from loop.depots import open_depot
from loop.settings import get_settings
from loop.values import digest_bytes
settings, number = get_settings(), 0
depot = open_depot(settings.depot_place, settings)
while True:
    data = str(number).encode() * 100_000
    depot.put(f"{sys.argv[1]}/{digest_bytes(data)}", data)
    number += 1
"""


@pytest.fixture(scope="session")
def shared(backend):
    """One depot for many examples: to make a client takes longer than to use it."""
    return depot_of(backend.new())


@given(data=st.binary(max_size=200), name=st.from_regex(r"[a-z0-9._-]{1,20}", fullmatch=True))
def test_any_bytes_come_back_as_they_were(shared, data, name):
    folder = f"raw/{uuid4()}"
    key = f"{folder}/x{name}/{digest_bytes(data)}"
    shared.put(key, data)

    assert shared.get(key) == data
    assert list(shared.keys(f"{folder}/")) == [key]
    assert shared.fetch_file(key, digest_bytes(data)).read_bytes() == data
