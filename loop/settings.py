"""What differs between machines: places, addresses and limits, read from LOOP_* and .env."""

import os
import re
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from loop.errors import SettingsError

S3 = "s3://"
_S3_PLACE = re.compile(
    r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/(?!\.{1,2}(/|$))[\w.-]+)*/?", re.ASCII
)


def _place(given: object) -> Path | str:
    """A folder, or the address of a bucket, which is no path: it has two slashes."""
    text = str(given)
    if not text.startswith(S3):
        return Path(text)
    if not _S3_PLACE.fullmatch(text):
        raise ValueError(f"expected a folder, s3://bucket or s3://bucket/prefix, got {text}")
    return text


Place = Annotated[Path | str, BeforeValidator(_place)]
Days = Annotated[int, Field(ge=1)]


class Settings(BaseSettings):
    """Machines and secrets; a flow parameter belongs to one run, a recipe to one model."""

    model_config = SettingsConfigDict(
        env_prefix="LOOP_", env_file=".env", env_ignore_empty=True, extra="ignore"
    )

    home: Path = Path(".loop")
    """All state lives under this folder, unless one of the next three points elsewhere."""
    database_url: str = ""
    """An SQLAlchemy URL; empty: SQLite in `home`."""
    depot: Place | None = None
    """The depot: a folder or s3://bucket/prefix; None: `home`/depot."""
    releases: Place | None = None
    """The release repository, likewise; None: `home`/releases."""
    s3_endpoint: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""
    """The address of an object store that is not Amazon's. Credentials come from where boto3 looks:
    AWS_* in the environment, its files, the machine's role."""
    s3_seconds: Annotated[float, Field(gt=0, le=40)] = 20.0
    """An object store that says nothing for so long is away; intake calls a shipper that is at one
    thing for two minutes stuck, so not more."""

    intake_url: str = "http://127.0.0.1:8010"
    intake_private_url: str = "http://127.0.0.1:8011"
    labeller_url: str = "http://127.0.0.1:8020"
    releases_url: str = "http://127.0.0.1:8030"
    """Where phones upload, operators ask after intake, people label and devices download."""
    reports_url: str = "http://127.0.0.1:8040"
    """Where the HTML reports of cycles are read."""

    llama_cpp: Path | None = None
    """A built llama.cpp with `bin/` and `source/`; None: `home`/llama.cpp."""
    rkllm_python: Path | None = None
    """The interpreter of an environment with rkllm-toolkit; None: no .rkllm conversion here."""
    threads: int = 2
    """Threads for training and inference; part of a training run's fingerprint."""
    upload_bytes: int = 256 * 1024
    """The largest upload accepted."""
    uploads_per_source: int = 100
    uploads_per_day: int = 10_000
    """Uploads accepted from midnight to midnight UTC, of one IPv4 /24 or IPv6 /64 and of all."""
    rate_keys: Path | None = None
    """Where the key of the day lies that hides networks, shared by all processes of one intake;
    None: a folder of this user in /dev/shm, which is memory, or where there is none in `home`."""
    proxies: str = ""
    """Addresses or networks of reverse proxies, by commas, whose X-Forwarded-* are believed."""
    uploads_at_once: int = 256
    """So many bodies are in memory at most; more are refused with 503."""
    source_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """And this share of them of one IPv4 /24 or IPv6 /64."""
    header_seconds: float = 5.0
    body_seconds: float = 10.0
    """Slower uploads are ended: one that hangs would hold its user's dialog for ever."""
    free_bytes: int = 1024**3
    free_share: float = 0.05
    """Uploads are refused with 503 while the spool's disk has less left than the larger of the two:
    bytes, and share of the whole."""
    spool_uploads: int = 100_000
    """And while this many wait for the depot."""
    ship_retry_seconds: Annotated[float, Field(gt=0)] = 300.0
    """While the depot is away, the pauses between attempts grow up to this."""

    keep_raw_days: Days = 30
    """Days after receipt on which the object of an upload that was read into the store goes."""
    keep_session_days: Days = 730
    """And its session with all labels, and every dataset that was frozen with it: 24 months."""
    keep_quarantine_days: Days = 90
    """Days that something stays that ingest, an import or a rescan set aside."""
    keep_aside_days: Days = 90
    """Days that a file stays in the spool that nobody can ship."""

    @property
    def store_url(self) -> str:
        """The database that holds the facts."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'store.db'}"

    @property
    def depot_place(self) -> Path | str:
        """Where the bytes lie: a folder, or s3://bucket/prefix."""
        return _whole(self.depot or self.home / "depot")

    @property
    def releases_place(self) -> Path | str:
        """Where releases lie, likewise."""
        return _whole(self.releases or self.home / "releases")

    @property
    def releases_root(self) -> Path:
        """The folder that devices download from.

        Raises:
            SettingsError: It is no folder.
        """
        if isinstance(place := self.releases_place, Path):
            return place
        raise SettingsError(
            f"LOOP_RELEASES={place}: expected a folder, which is served from here; give devices "
            "the bucket's own public address, or name a folder"
        )

    @property
    def copies(self) -> Path:
        """Copies of what was fetched from an object store; may be deleted while nothing runs."""
        return (self.home / "copies").resolve()

    @property
    def spool(self) -> Path:
        """Where intake keeps what it accepted until the depot has it."""
        return (self.home / "spool").resolve()

    @property
    def aside(self) -> Path:
        """Where intake puts files of its spool that nobody can ship."""
        return self.spool / "aside"

    @property
    def rate_keys_root(self) -> Path:
        """The folder of the key of the day."""
        memory = Path("/dev/shm")  # noqa: S108  (a folder of this user's own in it, checked)
        there = os.access(memory, os.W_OK)
        own = memory / f"bloxloop-{os.getuid()}" if there else self.home / "keys"
        return (self.rate_keys or own).absolute()  # not resolved: a link there must be seen as one

    @property
    def trusted_proxies(self) -> tuple[str, ...]:
        """The proxies, each as a network."""
        return tuple(str(ip_network(one.strip())) for one in self.proxies.split(",") if one.strip())

    @property
    def scratch(self) -> Path:
        """Working folders of child processes; anything in it may be deleted between runs."""
        return (self.home / "scratch").resolve()

    @property
    def llama_root(self) -> Path:
        """The folder of the llama.cpp build."""
        return (self.llama_cpp or self.home / "llama.cpp").resolve()


def _whole(place: Path | str) -> Path | str:
    return place.resolve() if isinstance(place, Path) else place.rstrip("/")


@cache
def get_settings() -> Settings:
    """The settings of this process, read once and never at import."""
    return Settings()
