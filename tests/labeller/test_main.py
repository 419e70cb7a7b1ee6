import os
import socket
import subprocess
import sys
import time

import httpx


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def wait_for(url, process):
    """The first answer; the process ending instead fails the test at once."""
    while process.poll() is None:
        try:
            return httpx.get(url)
        except httpx.ConnectError:
            time.sleep(0.1)
    raise AssertionError(process.stderr.read())


def test_it_runs_as_a_program_and_stops_when_told(tmp_path):
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "labeller", "--port", str(port)],
        env={**os.environ, "LOOP_HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        answer = wait_for(f"http://127.0.0.1:{port}/health", process)
        process.terminate()
        process.communicate()

    assert answer.json() == {"ok": True}
    assert "server" not in answer.headers
    assert process.returncode in (0, -15)
