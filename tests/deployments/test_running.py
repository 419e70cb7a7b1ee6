import subprocess
import sys
from pathlib import Path

import pytest

from deployments.preflight import ADDRESSES, is_locked
from deployments.running import (
    Addresses,
    InUse,
    bloxloop,
    environment,
    locked,
    read_addresses,
    write_addresses,
)
from loop.settings import Settings


def test_addresses_are_found_again(tmp_path):
    write_addresses(tmp_path, Addresses(intake=9999))

    assert read_addresses(tmp_path) == Addresses(intake=9999)


@pytest.mark.parametrize("text", ["", "{", '{"prefect": "here"}', '{"unknown": 1}'])
def test_addresses_that_cannot_be_read_are_none(tmp_path, text):
    (tmp_path / ADDRESSES).write_text(text)

    assert read_addresses(tmp_path) is None


def test_a_home_belongs_to_one_start_at_a_time(tmp_path):
    second = "import sys, pathlib; from deployments.running import locked\n"
    second += "with locked(pathlib.Path(sys.argv[1])): pass"

    def try_another():
        command = [sys.executable, "-c", second, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with locked(tmp_path):
        refused = try_another()
        assert is_locked(tmp_path)
    taken = try_another()

    assert not is_locked(tmp_path)
    assert refused.returncode == 1
    assert f"{InUse.__name__}: {tmp_path} is used by another `make run`" in refused.stderr
    assert taken.returncode == 0


def test_a_rehearsal_raises_the_limits_of_intake_for_its_simulated_phones(tmp_path):
    told = environment(Settings(home=tmp_path), Addresses())

    assert int(told["LOOP_UPLOADS_PER_SOURCE"]) > 100_000
    assert int(told["LOOP_UPLOADS_PER_DAY"]) > 100_000
    assert told["LOOP_FREE_SHARE"] == "0"


def test_a_limit_that_the_operator_chose_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("LOOP_UPLOADS_PER_SOURCE", "7")
    told = environment(Settings(home=tmp_path, free_share=0.2), Addresses())

    assert (told["LOOP_UPLOADS_PER_SOURCE"], told["LOOP_FREE_SHARE"]) == ("7", "0.2")


def test_children_find_everything_whatever_their_working_folder_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = environment(Settings(home="state", depot="elsewhere"), Addresses(labeller=9000))

    assert told["LOOP_HOME"] == str(tmp_path / "state")
    assert told["LOOP_DEPOT"] == str(tmp_path / "elsewhere")
    assert told["LOOP_LABELLER_URL"] == "http://127.0.0.1:9000"
    assert told["PREFECT_HOME"].startswith(told["LOOP_HOME"])
    assert told["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"


def test_children_find_a_bucket_by_its_own_address(tmp_path):
    told = environment(Settings(home=tmp_path, depot="s3://loop/blox/"), Addresses())

    assert Settings(depot=told["LOOP_DEPOT"]).depot_place == "s3://loop/blox"


PROGRAM = Path(sys.executable).with_name("bloxloop")


def test_a_command_names_its_program_by_its_path_from_here(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(PROGRAM.parents[1])

    assert bloxloop(Path(".loop"), "status") == "bin/bloxloop status"


def test_a_command_elsewhere_names_the_whole_path_and_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    home = Path("my homes/blox")

    assert bloxloop(home, "status") == f"LOOP_HOME='{tmp_path}/my homes/blox' {PROGRAM} status"
    assert bloxloop(tmp_path / ".loop", "status") == f"{PROGRAM} status"


def test_a_program_that_the_shell_finds_is_called_by_its_name(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(PROGRAM.parent))
    monkeypatch.chdir(tmp_path)

    assert bloxloop(tmp_path / ".loop", "status") == "bloxloop status"


def test_another_program_of_that_name_is_not_taken_for_ours(monkeypatch, tmp_path):
    other = tmp_path / "bloxloop"
    other.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    assert bloxloop(tmp_path / ".loop", "status") == f"{PROGRAM} status"
