import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deployments import preflight, running
from deployments.preflight import ADDRESSES, LOCAL, PORTS, Unfit, choose_ports, is_free
from deployments.running import Addresses


@pytest.fixture
def roomy(monkeypatch):
    """This machine has disk and memory enough, whatever else it does just now."""
    monkeypatch.setattr(preflight, "FREE_DISK", 0)
    monkeypatch.setattr(preflight, "FREE_MEMORY", 0)


@pytest.fixture
def taken():
    """A port on which somebody listens."""
    with socket.socket() as listener:
        listener.bind((LOCAL, 0))
        listener.listen()
        yield listener.getsockname()[1]


def silent(text):
    raise AssertionError(text)


def free_port_after(port):
    return next(one for one in range(port, port + 500) if is_free(one))


def test_a_free_port_is_taken_as_wanted():
    port = free_port_after(26000)

    assert choose_ports({"intake": port}, silent, settling=0) == {"intake": port}


def test_for_a_taken_port_the_next_free_one_is_chosen_and_told(taken):
    said: list[str] = []
    chosen = choose_ports({"intake": taken}, said.append, settling=0)

    assert chosen["intake"] > taken
    assert said == [f"port {taken} is taken: intake listens on {chosen['intake']}"]


def test_two_services_never_get_the_same_port(taken):
    wanted = dict.fromkeys(Addresses.model_fields, taken)
    chosen = choose_ports(wanted, lambda text: None, settling=0)

    assert len(set(chosen.values())) == len(wanted)


def test_a_machine_that_lacks_something_is_told_everything_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "FREE_DISK", 2**70)
    monkeypatch.setattr(preflight, "FREE_MEMORY", 2**70)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.delenv("CXX", raising=False)

    with pytest.raises(Unfit) as unfit:
        preflight.check_machine(tmp_path / "not/there/yet", llama_built=False)

    kinds = [problem.partition(":")[0] for problem in unfit.value.problems]
    assert kinds == ["disk", "memory", "compiler", "compiler"]


def test_a_built_llama_needs_no_compiler(tmp_path, monkeypatch, roomy):
    monkeypatch.setenv("PATH", str(tmp_path / "no/programs/here"))

    preflight.check_machine(tmp_path, llama_built=True)


def usual_ports_are(home, port):
    """The home whose services all listened at one port last."""
    ports = dict.fromkeys(PORTS, port)
    (home / ADDRESSES).write_text(json.dumps(ports))


def test_ports_are_announced_and_nothing_is_written(tmp_path, taken, monkeypatch):
    monkeypatch.setattr(preflight, "SETTLING", 0.0)
    usual_ports_are(tmp_path, taken)
    said: list[str] = []
    preflight.announce_ports(tmp_path, said.append)

    assert [line.split()[4] for line in said] == list(PORTS)
    assert json.loads((tmp_path / ADDRESSES).read_bytes()) == dict.fromkeys(PORTS, taken)
    assert [path.name for path in tmp_path.iterdir()] == [ADDRESSES]


def test_ports_of_a_make_run_that_works_are_not_called_taken(tmp_path, taken):
    usual_ports_are(tmp_path, taken)
    with running.locked(tmp_path):
        preflight.announce_ports(tmp_path, silent)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"prefect": "here"}', '{"prefect": 4200}'])
def test_ports_that_cannot_be_read_are_not_known(tmp_path, text):
    (tmp_path / ADDRESSES).write_text(text)

    assert preflight.known_ports(tmp_path) == {}


def test_the_usual_ports_are_where_the_services_listen_at_first():
    assert Addresses().model_dump() == PORTS


def test_it_runs_before_anything_is_installed(tmp_path):
    usual_ports_are(tmp_path, free_port_after(27000))
    (tmp_path / "llama.cpp").mkdir()
    (tmp_path / "llama.cpp/build.json").touch()
    bare = [sys.executable, "-I", "-S", "-c", BARE, str(Path(__file__).parents[2])]
    env = {"LOOP_HOME": str(tmp_path)}
    done = subprocess.run(bare, capture_output=True, text=True, check=False, env=env)

    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[4] for line in done.stdout.splitlines()] == list(PORTS)[1:]


BARE = """
import sys
sys.path.insert(0, sys.argv[1])
from deployments import preflight
preflight.FREE_DISK = preflight.FREE_MEMORY = 0
sys.exit(preflight.main(["--ports"]))
"""
