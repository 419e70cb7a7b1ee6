"""`make run` as a process of its own, with quick stages, and what a person does to it over HTTP."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx

from deployments.build_llama import identity
from deployments.preflight import is_free
from deployments.running import Addresses, environment, write_addresses
from loop.leash import descendants
from loop.places import Places, open_places
from loop.settings import Settings

REPOSITORY = Path(__file__).parents[2]
STARTUP = REPOSITORY / "tests/startup"
PATIENCE = 600.0
"""Seconds; far more than anything here takes."""
FoundT = TypeVar("FoundT")


def until(ask: Callable[[], FoundT | None], what: str) -> FoundT:
    """The first answer that says something."""
    deadline = time.monotonic() + PATIENCE
    while not (found := ask()):
        assert time.monotonic() < deadline, f"not after {PATIENCE:.0f} s: {what}"
        time.sleep(0.2)
    return found


def csrf_headers(token: dict[str, Any]) -> dict[str, str]:
    """What a request to Prefect carries that comes from its own pages."""
    return {"Prefect-Csrf-Token": token["token"], "Prefect-Csrf-Client": token["client"]}


def ask_prefect(api: str, method: str, path: str, **content: Any) -> httpx.Response | None:
    """One request with a token, as Prefect's own pages send it.

    Returns:
        None where the server does not answer yet, or could not, as with a locked database.
    """
    try:
        token = httpx.get(f"{api}/csrf-token?client=tests", timeout=30).raise_for_status()
        headers = csrf_headers(token.json()) | content.pop("headers", {})
        answer = httpx.request(method, f"{api}{path}", headers=headers, timeout=30, **content)
    except httpx.HTTPError:
        return None
    return None if answer.is_server_error else answer


def _hear_ctrl_c() -> None:
    """Tests that a script runs in the background start with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Started:
    """One LOOP_HOME, and the processes that work in it."""

    def __init__(self, home: Path, first_port: int) -> None:
        (home / "llama.cpp").mkdir(parents=True)  # quick stages convert nothing
        (home / "llama.cpp/build.json").write_text(json.dumps(identity()))
        names = list(Addresses.model_fields)
        ports = [port for port in range(first_port, first_port + 500) if is_free(port)]
        self.addresses = Addresses(**dict(zip(names, ports, strict=False)))
        write_addresses(home, self.addresses)
        self.home, self.log = home, home / "up.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def places(self) -> Places:
        """What its processes see; the store must have been made already."""
        urls = {
            name.lower().removeprefix("loop_"): value
            for name, value in environment(Settings(home=self.home), self.addresses).items()
            if name.startswith("LOOP_")
        }
        return open_places(Settings(**urls))  # type: ignore[arg-type]

    def up(self, *options: str) -> None:
        """Start it; it goes on by itself."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deployments.up", *options],
                env={**self._plain_environment(), "LOOP_HOME": str(self.home)},
                cwd=REPOSITORY,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                preexec_fn=_hear_ctrl_c,
            )

    def ended(self) -> int:
        """The exit status of `up`, after it ended by itself."""
        assert self.process
        return self.process.wait(PATIENCE)

    def interrupt(self) -> int:
        """Ctrl-C."""
        assert self.process
        self.process.send_signal(signal.SIGINT)
        return self.ended()

    def kill_everything(self) -> None:
        """The power fails: every process at once, without a word."""
        assert self.process
        for pid in (self.process.pid, *descendants(self.process.pid)):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(PATIENCE)
        until(lambda: not self.left(), "every process is gone")

    def left(self) -> list[int]:
        """Processes that still work in this home."""
        mark = f"LOOP_HOME={self.home}".encode()
        found = []
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in environ.read_bytes().split(b"\0"):
                    found.append(int(environ.parent.name))
            except OSError:
                continue
        return found

    def stop(self) -> None:
        """Whatever happened, nothing stays behind."""
        if self.process and self.process.poll() is None:
            self.kill_everything()

    # what a person does over HTTP, as the Prefect UI does

    def api(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """An answer of the Prefect server, which may have to start, or to unlock its database."""
        return until(lambda: ask_prefect(self.addresses.api, method, path, json=body), path)

    def start_improve(self, **parameters: Any) -> None:
        """As the button of the UI does, with these parameters in its form."""
        found = self.api("GET", "/deployments/name/improve/monthly").json()
        path = f"/deployments/{found['id']}/create_flow_run"
        assert self.api("POST", path, {"parameters": parameters}).is_success

    def runs(self) -> list[dict[str, Any]]:
        """The runs of `improve`, the newest first."""
        body = {"flows": {"name": {"any_": ["improve"]}}, "sort": "EXPECTED_START_TIME_DESC"}
        found: list[dict[str, Any]] = self.api("POST", "/flow_runs/filter", body).json()
        return found

    def paused(self, key: str) -> dict[str, Any] | None:
        """The newest run, once it is paused at a wait whose key begins like this."""
        for run in self.runs()[:1]:
            if run["state_type"] == "PAUSED" and self.key_of(run).startswith(key):
                return run
        return None

    def key_of(self, run: dict[str, Any]) -> str:
        """The key of the wait that a run is paused at."""
        return str(run["state"]["state_details"]["pause_key"])

    def wait_paused(self, key: str) -> dict[str, Any]:
        """The newest run, when it is paused there and its form is stored."""
        run = until(lambda: self.paused(key), f"paused at {key}")
        form = f"/flow_runs/{run['id']}/input/suspended-{self.key_of(run)}-schema"
        until(lambda: self.api("GET", form).is_success, "its form is stored")
        return run

    def resume(self, run: dict[str, Any], **answer: str) -> str:
        """Send an answer; what the server made of it."""
        path = f"/flow_runs/{run['id']}"
        status = self.api("POST", f"{path}/resume", {"run_input": answer}).json()["status"]
        if self.api("GET", path).json()["state_type"] != "PAUSED":
            return "ACCEPT"  # it may have been taken at a first try, whose answer was lost
        return str(status)

    def cancel(self, run: dict[str, Any]) -> None:
        """As the button of the UI does; returns once nobody watches the run any more."""
        self._force(run, "CANCELLED", "Cancelled")
        until(lambda: "the run ended as" in self.log.read_text(), "nobody watches the run")

    def cancel_and_retry_by_force(self, run: dict[str, Any]) -> None:
        """As two buttons of the UI do: the server then takes every fired wait as answered."""
        self.cancel(run)
        self._force(run, "SCHEDULED", "AwaitingRetry")

    def _force(self, run: dict[str, Any], kind: str, name: str) -> None:
        body = {"state": {"type": kind, "name": name}, "force": True}
        path = f"/flow_runs/{run['id']}/set_state"
        assert self.api("POST", path, body).json()["status"] == "ACCEPT"

    def switch_on(self, slug: str) -> None:
        """Let a schedule run, as the switch in the UI does."""
        deployment, schedule = self._schedule(slug)
        path = f"/deployments/{deployment}/schedules/{schedule['id']}"
        assert self.api("PATCH", path, {"active": True}).is_success

    def is_on(self, slug: str) -> bool:
        """Whether a schedule runs."""
        return bool(self._schedule(slug)[1]["active"])

    def _schedule(self, slug: str) -> tuple[str, dict[str, Any]]:
        deployments = self.api("POST", "/deployments/filter", {}).json()
        found = [(one["id"], s) for one in deployments for s in one["schedules"]]
        return next((of, s) for of, s in found if s["slug"] == slug)

    def bloxloop(self, *words: str) -> str:
        """What the command says for this home."""
        done = subprocess.run(
            [sys.executable, "-m", "deployments.cli", *words],
            env={**self._plain_environment(), "LOOP_HOME": str(self.home), "COLUMNS": "200"},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    def _plain_environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("LOOP_", "PREFECT_"))}
        return kept | {"PYTHONPATH": f"{STARTUP}:{REPOSITORY}"}
