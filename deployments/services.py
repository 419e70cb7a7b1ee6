"""The processes of one machine, each on a leash: started in order, healthy before it is needed."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from deployments.preflight import LOCAL
from deployments.running import Addresses
from loop.errors import LoopError
from loop.jobs import Server, start_server, tail_of

REPOSITORY = Path(__file__).parents[1]
POOL = "local"
PATIENCE = 180.0
"""Seconds until a service must be healthy; the first start of Prefect makes its database."""
BORNE = 300.0
"""Seconds for which services may fail to answer before a watcher gives up."""
NO_STORE = ("env", "LOOP_DATABASE_URL=sqlite://")
"""Starts a program with an empty store in memory; no value at all would make it look in .env."""


class ServiceError(LoopError):
    """A process of the loop that did not start, or ended by itself."""


class RefusedError(LoopError):
    """A service of ours that did not take what was sent."""

    def __init__(self, request: str, expected: int, status: int, said: str) -> None:
        super().__init__(request, expected, status, said)
        self.request, self.expected, self.status, self.said = request, expected, status, said

    def __str__(self) -> str:
        return f"{self.request}: expected {self.expected}, got {self.status}: {self.said}"


@dataclass(frozen=True)
class Service:
    """One process: how it is started, and the address that answers once it is healthy."""

    name: str
    command: Sequence[str]
    health: str | None
    opens_store: bool = False
    """The others, intake above all, are not told where the store is, nor its password."""


def services(addresses: Addresses, reports: Path) -> list[Service]:
    """Everything but the worker, which comes after the deployments."""
    serve = ["-m", "prefect", "server", "start", "--host", LOCAL, "--port", str(addresses.prefect)]
    files = ["-m", "http.server", "--bind", LOCAL, "--directory", str(reports)]
    return [
        Service("prefect", serve, f"{addresses.api}/health"),
        _intake(addresses),
        _own("labeller", "labeller", addresses, opens_store=True),
        _own("releases", "deployments.releases", addresses),
        Service("reports", [*files, str(addresses.reports)], addresses.url("reports")),
    ]


def _intake(addresses: Addresses) -> Service:
    """Phones see one port, the operator the other; healthy is what phones see."""
    own, private = _own("intake", "intake", addresses), str(addresses.intake_private)
    return replace(own, command=[*own.command, "--private-port", private])


def _own(name: str, module: str, addresses: Addresses, opens_store: bool = False) -> Service:
    command = ["-m", module, "--port", str(getattr(addresses, name))]
    return Service(name, command, f"{addresses.url(name)}/health", opens_store)


WORKER = Service(
    # no --limit: such a worker dies when a run comes back while its last process is still ending
    "worker",
    ["-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"],
    None,
    opens_store=True,
)


class Machine:
    """The running processes; none of them outlives us."""

    def __init__(self, logs: Path, stack: ExitStack) -> None:
        self.logs, self._stack = logs, stack
        self._running: dict[str, Server] = {}

    def start(self, service: Service) -> None:
        """Start one process and keep its output in a log of its own."""
        told = () if service.opens_store else NO_STORE
        command = [*told, sys.executable, *service.command]
        log = self.logs / f"{service.name}.log"
        self._running[service.name] = self._stack.enter_context(start_server(command, log))

    def wait_healthy(self, service: Service, patience: float = PATIENCE) -> None:
        """Return once a service answers.

        Raises:
            ServiceError: It ended, or does not answer in time.
        """
        deadline = time.monotonic() + patience
        while service.health and not _answers(service.health):
            self.check()
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"{service.name}: no answer from {service.health} after {patience:.0f} s; "
                    f"see {self.logs / service.name}.log"
                )
            time.sleep(0.2)

    def check(self) -> None:
        """Nothing, while every process runs.

        Raises:
            ServiceError: One ended by itself; with the end of its log.
        """
        for name, server in self._running.items():
            if not server.running:
                raise ServiceError(
                    f"{name} ended with status {server.process.returncode}, expected it to run on; "
                    f"{server.log} ends with:\n{tail_of(server.log)}"
                )


@contextmanager
def machine(logs: Path) -> Iterator[Machine]:
    """An empty machine; at the end of the block its processes end, the last started first."""
    impatience = signal.SIGINT, signal.SIGTERM  # which must not leave any behind
    with ExitStack() as stack:
        for number in impatience:
            stack.callback(signal.signal, number, signal.getsignal(number))
        try:
            yield Machine(logs, stack)
        finally:
            for number in impatience:
                signal.signal(number, signal.SIG_IGN)


class Patience:
    """Bears failures that pass by themselves (a locked database, a connection refused) for a while.

    `bearing` is put around one attempt; the next one comes from the caller's own loop.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        seconds: float = BORNE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.say, self.seconds, self.clock = say, seconds, clock
        self._since: float | None = None

    @contextmanager
    def bearing(self) -> Iterator[None]:
        """One attempt, which may fail.

        Raises:
            ServiceError: None has gone well for too long.
        """
        try:
            yield
        except (httpx.HTTPError, RefusedError) as error:
            if not passes(error):
                raise
            self._bear(error)
        else:
            if self._since is not None:
                self.say("it answers again")
            self._since = None

    def _bear(self, error: Exception) -> None:
        why = (str(error) or type(error).__name__).partition("\n")[0]
        if self._since is None:
            self._since = self.clock()
            self.say(f"no good answer, trying again for {self.seconds:.0f} s: {why}")
        elif self.clock() - self._since > self.seconds:
            raise ServiceError(
                f"no good answer for {self.seconds:.0f} s, the last was: {why}; see the folder of "
                "logs; `make run` continues where the facts end"
            ) from error


def passes(error: Exception) -> bool:
    """Whether a failure may pass by itself: no answer, or one that blames the server."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.is_server_error
    if isinstance(error, RefusedError):
        return error.status >= httpx.codes.INTERNAL_SERVER_ERROR
    return isinstance(error, httpx.TransportError)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


def deploy_all() -> None:
    """Make the deployments of prefect.yaml, and of nothing else.

    Raises:
        ServiceError: Prefect refused one; with what it said.
    """
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(  # noqa: S603  (a command of our own)
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ServiceError(f"prefect deploy failed:\n{done.stdout}{done.stderr}")
