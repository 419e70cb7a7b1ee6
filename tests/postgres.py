"""A real Postgres server of one's own: a fresh cluster in a temporary folder, on a Unix socket."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from tests.processes import until

INSTALLED = Path("/usr/lib/postgresql")
"""Where Debian keeps the programs of each version, away from PATH."""


def programs() -> str:
    """The search path for `initdb` and `postgres`, the newest version first."""
    versions = sorted(INSTALLED.glob("*/bin"), key=lambda folder: int(folder.parent.name))
    return os.pathsep.join([*map(str, reversed(versions)), os.environ.get("PATH", "")])


@contextmanager
def running_postgres(initdb: str) -> Iterator[Path]:
    """The folder of a running server's socket; as root, it runs as the user `postgres`."""
    with tempfile.TemporaryDirectory(prefix="bloxloop-pg-") as name:
        folder, data = Path(name), f"{name}/data"
        who: list[str] = []
        if os.geteuid() == 0:
            who = ["runuser", "-u", "postgres", "--"]
            shutil.chown(folder, "postgres")
        asked = ["-D", data, "-A", "trust", "-U", "loop", "-E", "UTF8", "--no-sync"]
        options = ["-D", data, "-k", name, "-c", "listen_addresses=", "-c", "fsync=off"]
        postgres = str(Path(initdb).with_name("postgres"))
        with (folder / "log.txt").open("wb") as log:
            here: dict[str, Any] = {"cwd": folder, "stdout": log, "stderr": log}
            subprocess.run([*who, initdb, *asked], check=True, **here)
            server = subprocess.Popen([*who, postgres, *options], **here)
            try:
                until(lambda: answers(folder) or server.poll() is not None)
                assert server.poll() is None, (folder / "log.txt").read_text()
                yield folder
            finally:
                server.terminate()
                server.wait(60)


def answers(folder: Path) -> bool:
    """Whether a server takes connections there."""
    try:
        psycopg.connect(f"host={folder} user=loop dbname=postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def new_database(folder: Path) -> str:
    """The address of a new, empty database."""
    name = f"loop_{uuid4().hex}"
    with psycopg.connect(f"host={folder} user=loop dbname=postgres", autocommit=True) as session:
        session.execute(f"CREATE DATABASE {name}".encode())
    return f"postgresql://loop@/{name}?host={folder}"
