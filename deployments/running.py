"""Where the processes of one LOOP_HOME listen, and the lock that keeps a second `make run` away."""

import fcntl
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from deployments.preflight import ADDRESSES, LOCAL, LOCK, PORTS
from loop.errors import LoopError
from loop.settings import Settings
from loop.values import Value

ANY = 1_000_000
"""More uploads than any rehearsal sends in a day."""


class InUse(LoopError):
    """Another `make run` works in the same folder."""


class Addresses(Value):
    """The port of each service; kept, so that the next start prefers the same ones."""

    prefect: int = PORTS["prefect"]
    intake: int = PORTS["intake"]
    intake_private: int = PORTS["intake_private"]
    labeller: int = PORTS["labeller"]
    releases: int = PORTS["releases"]
    reports: int = PORTS["reports"]

    def url(self, service: str) -> str:
        """Where people and programs find a service."""
        return f"http://{LOCAL}:{getattr(self, service)}"

    @property
    def api(self) -> str:
        """Prefect's API."""
        return f"{self.url('prefect')}/api"


def read_addresses(home: Path) -> Addresses | None:
    """Where the services of this home listened last; None before its first start."""
    try:
        return Addresses.model_validate_json((home / ADDRESSES).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_addresses(home: Path, addresses: Addresses) -> None:
    """Remember where the services listen."""
    (home / f".{ADDRESSES}").write_text(addresses.model_dump_json(indent=1))
    (home / f".{ADDRESSES}").rename(home / ADDRESSES)


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """This home is ours until the block or the process ends.

    Raises:
        InUse: It is somebody else's now.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise InUse(
                f"{home} is used by another `make run` (process {lock.read() or 'unknown'}): "
                "stop that one, or choose another LOOP_HOME"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def bloxloop(home: Path, *words: str) -> str:
    """How a person in this folder types a `bloxloop` command for this home."""
    program, here = Path(sys.executable).with_name("bloxloop"), Path.cwd()
    if shutil.which("bloxloop") == str(program):
        program = Path(program.name)
    elif program.is_relative_to(here):
        program = program.relative_to(here)
    usual = home.absolute() == (here / Settings.model_fields["home"].default)
    told = "" if usual else f"LOOP_HOME={shlex.quote(str(home.absolute()))} "
    return " ".join([told + shlex.quote(str(program)), *words])


def environment(settings: Settings, addresses: Addresses) -> dict[str, str]:
    """What every process of the loop needs to know, wherever its working folder is."""
    return _ours(settings, addresses) | {
        "PREFECT_HOME": str(settings.home.resolve() / "prefect"),
        "PREFECT_API_URL": addresses.api,
        "PREFECT_SERVER_API_HOST": LOCAL,
        "PREFECT_SERVER_API_PORT": str(addresses.prefect),
        "PREFECT_UI_URL": addresses.url("prefect"),
        **_guarded(addresses),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "HF_HUB_OFFLINE": "1",
        "MPLCONFIGDIR": str(settings.home.resolve() / "matplotlib"),
    }


def _guarded(addresses: Addresses) -> dict[str, str]:
    """Keeps pages elsewhere out: whatever the operator's browser opens can send requests here.

    CORS alone is not enough: `POST /flow_runs/bulk_delete` without a body needs no permission.
    """
    own = addresses.url("prefect"), f"http://localhost:{addresses.prefect}"
    return {
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(own),
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    }


def _ours(settings: Settings, addresses: Addresses) -> dict[str, str]:
    urls = {f"{name}_url": addresses.url(name) for name in Addresses.model_fields}
    given = settings.model_dump(exclude_none=True) | _for_one_machine(settings) | urls
    given.pop("prefect_url")
    return {f"LOOP_{name.upper()}": _text(value) for name, value in given.items()}


def _for_one_machine(settings: Settings) -> dict[str, int]:
    """Limits of intake for simulated phones that all upload from here, unless the operator chose.

    The share of the disk that must stay free is a server's; a laptop's preflight looks at bytes.
    """
    wanted = {"uploads_per_source": ANY, "uploads_per_day": ANY, "free_share": 0}
    return {name: value for name, value in wanted.items() if name not in settings.model_fields_set}


def _text(value: object) -> str:
    return str(value.absolute()) if isinstance(value, Path) else str(value)
