"""The store: opening it, and every query that more than one place asks."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, event, func, make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlmodel import Session, SQLModel, col, create_engine, select

from loop.errors import NotFound, StoreError
from loop.tables import (
    Card,
    Cycle,
    CycleEnd,
    CycleTranscript,
    Dataset,
    Forgotten,
    Label,
    ModelForm,
    OpenCycle,
    Release,
    SignOff,
    StageMark,
    Transcript,
    WaitDecision,
)
from loop.values import Digest, Form, digest_bytes

MIGRATIONS = Path(__file__).parent / "migrations"
SQLITE, POSTGRES = "sqlite", "postgresql+psycopg"
DRIVERS = {SQLITE: SQLITE, "postgres": POSTGRES, "postgresql": POSTGRES, POSTGRES: POSTGRES}
"""Dialects that an address may name, and the driver that serves each."""
EXPECTED = "sqlite:///file or postgresql://user@host/database"
ONE_AT_A_TIME = {
    SQLITE: "BEGIN IMMEDIATE",  # else its driver would commit each statement of a migration
    POSTGRES: "SELECT pg_advisory_xact_lock(66876)",  # any number that every bloxloop uses
}
"""What lets one transaction of this kind run at a time, on all machines."""


def open_store(url: str) -> Engine:
    """An engine on the store at `url`, migrated to the tables of this code.

    Args:
        url: `sqlite:///file` or `postgresql://…`.

    Raises:
        StoreError: It cannot be opened, or was written by newer code.
    """
    address = _read_url(url)
    if address.drivername == SQLITE:
        _make_sqlite(Path(address.database or ""))
    engine = create_engine(address, hide_parameters=True)  # else errors would quote transcripts
    if address.drivername == SQLITE:
        event.listen(engine, "connect", _prepare_sqlite)
    try:
        migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _read_url(url: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError as error:
        raise StoreError(f"LOOP_DATABASE_URL: expected {EXPECTED}; {error}") from error
    driver = DRIVERS.get(address.drivername, address.drivername)
    if driver not in DRIVERS.values():
        raise StoreError(f"LOOP_DATABASE_URL: expected {EXPECTED}, got {address}")
    return address.set(drivername=driver)


def _make_sqlite(file: Path) -> None:
    """An empty database in WAL mode, put there whole: switching a shared one may fail."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        with NamedTemporaryFile(dir=file.parent, prefix=f"{file.name}.new-") as made:
            with closing(sqlite3.connect(made.name)) as empty:
                empty.execute("PRAGMA journal_mode=WAL")
            with suppress(FileExistsError):
                os.link(made.name, file)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    for pragma in ("busy_timeout=30000", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def migrate(engine: Engine) -> None:
    """Bring the tables up to the newest revision this code knows.

    Raises:
        StoreError: It cannot be opened, or its revision is unknown here, so newer code wrote it.
    """
    try:
        _migrate(engine)
    except OperationalError as error:
        raise StoreError(f"{engine.url}: {error.orig}; see LOOP_DATABASE_URL") from error


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    with engine.begin() as connection:
        connection.exec_driver_sql(ONE_AT_A_TIME[engine.url.drivername])
        found = MigrationContext.configure(connection).get_current_revision()
        if found is not None and found not in known:
            raise StoreError(
                f"the store is at revision {found}, this code knows up to "
                f"{scripts.get_current_head()}: it was written by newer code; "
                "upgrade bloxloop, or point LOOP_DATABASE_URL at another store"
            )
        if found != scripts.get_current_head():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """A session that commits at the end, or leaves nothing behind."""
    with Session(engine, expire_on_commit=False) as session:
        yield session
        session.commit()


@contextmanager
def writing_alone(engine: Engine) -> Iterator[Session]:
    """`writing`, for what must not happen between another's look and what it then writes.

    It keeps out all others that are in here; in an SQLite store, everybody who writes.
    """
    with writing(engine) as session:
        session.connection().exec_driver_sql(ONE_AT_A_TIME[engine.url.drivername])
        yield session


def keep(engine: Engine, *rows: SQLModel) -> None:
    """Write some rows together, or none of them."""
    with writing(engine) as session:
        session.add_all(rows)


def scrub(engine: Engine) -> None:
    """Write the file of an SQLite store anew, so that no page holds what was deleted or moved.

    It needs as much free disk again and keeps other writers waiting. Other databases are looked
    after by who runs them.

    Raises:
        StoreError: Somebody is writing or reading all the time.
    """
    if engine.dialect.name == SQLITE:
        with _in_no_transaction(engine) as connection:
            try:
                connection.exec_driver_sql("VACUUM")
            except OperationalError as error:
                raise StoreError(f"{engine.url}: {error.orig}; it was not written anew") from error
        empty_log(engine)


def empty_log(engine: Engine) -> None:
    """Empty the log beside an SQLite store, in which deleted rows still stand.

    In the file itself SQLite overwrites them, as every connection asks it to.

    Raises:
        StoreError: Somebody is reading all the time.
    """
    if engine.dialect.name == SQLITE:
        with _in_no_transaction(engine) as connection:
            busy = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
        if busy:
            raise StoreError(f"{engine.url}: it is in use; deleted rows are still in its log")


def _in_no_transaction(engine: Engine) -> Connection:
    return engine.connect().execution_options(isolation_level="AUTOCOMMIT")


def upload_digest(upload_id: str) -> Digest:
    """What is remembered of an upload id that was forgotten."""
    return digest_bytes(upload_id.encode())


def is_forgotten(session: Session, upload_id: str) -> bool:
    """Whether nothing of this upload may be kept any more."""
    return session.get(Forgotten, upload_digest(upload_id)) is not None


def get_transcript(session: Session, transcript_id: str) -> Transcript:
    """One transcript by its upload id."""
    if (found := session.get(Transcript, transcript_id)) is None:
        raise NotFound(f"transcript {transcript_id} is not in the store")
    return found


def current_labels(session: Session) -> dict[str, Label]:
    """The newest label of each transcript that has one and is not quarantined."""
    rows = session.exec(
        select(Label)
        .join(Transcript, col(Label.transcript_id) == Transcript.id)
        .where(col(Transcript.quarantined).is_(None))
        .order_by(col(Label.made_at), col(Label.id))
    )
    return {row.transcript_id: row for row in rows}


def unlabelled(session: Session, limit: int = 1000) -> Sequence[Transcript]:
    """Transcripts without any label, oldest day first."""
    labelled = select(Label.transcript_id)
    return session.exec(
        select(Transcript)
        .where(col(Transcript.id).not_in(labelled), col(Transcript.quarantined).is_(None))
        .order_by(col(Transcript.received), col(Transcript.id))
        .limit(limit)
    ).all()


def count_new_labels(session: Session, model: str = "") -> int:
    """How many labelled transcripts, quarantined ones apart, no cycle has frozen yet.

    With a model named, no cycle of that model: another's learns from the same labels.
    """
    frozen = select(CycleTranscript.transcript_id)
    if model:
        of_cycle = col(CycleTranscript.cycle_id) == Cycle.id
        frozen = frozen.join(Cycle, of_cycle).where(Cycle.model == model)
    asked = (
        select(func.count(func.distinct(Label.transcript_id)))
        .join(Transcript, col(Label.transcript_id) == Transcript.id)
        .where(col(Transcript.quarantined).is_(None), col(Label.transcript_id).not_in(frozen))
    )
    return session.exec(asked).one()


def open_cycle_of(session: Session, model: str) -> Cycle | None:
    """The open cycle of a model, if there is one."""
    if (lock := session.get(OpenCycle, model)) is None:
        return None
    return session.get(Cycle, lock.cycle_id)


def last_cycle_of(session: Session, model: str) -> Cycle | None:
    """The newest cycle of a model, open or ended."""
    return session.exec(
        select(Cycle).where(Cycle.model == model).order_by(col(Cycle.number).desc())
    ).first()


def get_cycle(session: Session, cycle_id: str) -> Cycle:
    """One cycle by its id."""
    if (found := session.get(Cycle, cycle_id)) is None:
        raise NotFound(f"cycle {cycle_id} is not in the store")
    return found


def end_of(session: Session, cycle_id: str) -> CycleEnd | None:
    """How a cycle ended, if it has."""
    return session.get(CycleEnd, cycle_id)


def marks_of(session: Session, cycle_id: str) -> Sequence[StageMark]:
    """The stage marks of a cycle, oldest first."""
    return session.exec(
        select(StageMark).where(StageMark.cycle_id == cycle_id).order_by(col(StageMark.at))
    ).all()


def wait_decision(session: Session, cycle_id: str) -> WaitDecision | None:
    """The newest decision about a cycle's labelling wait, if anybody made one."""
    return session.exec(
        select(WaitDecision)
        .where(WaitDecision.cycle_id == cycle_id)
        .order_by(col(WaitDecision.made_at).desc())
    ).first()


def dataset_of(session: Session, cycle_id: str) -> Dataset | None:
    """The dataset that a cycle froze, if it has."""
    return session.exec(select(Dataset).where(Dataset.cycle_id == cycle_id)).first()


def find_form(session: Session, inputs: Digest) -> ModelForm | None:
    """The model form made from exactly these inputs, if it was made before."""
    return session.get(ModelForm, inputs)


def forms_of(session: Session, version: str) -> dict[Form, ModelForm]:
    """The forms of one model version."""
    rows = session.exec(select(ModelForm).where(ModelForm.version == version))
    return {row.form: row for row in rows}


def get_card(session: Session, digest: Digest) -> Card:
    """One sign-off card by its digest, or by the digest's first characters (at least 12).

    Raises:
        NotFound: No card, or more than one, begins like this.
    """
    rows = session.exec(
        select(Card).where(col(Card.digest).startswith(digest, autoescape=True))
    ).all()
    if len(digest) < 12 or len(rows) != 1:
        raise NotFound(
            f"card {digest!r}: expected the first 12 or more characters of one card's digest, "
            f"got {len(digest)} that fit {len(rows)}"
        )
    return rows[0]


def sign_off_of(session: Session, card: Digest) -> SignOff | None:
    """The newest sign-off of a card, if anybody signed."""
    return session.exec(
        select(SignOff).where(SignOff.card == card).order_by(col(SignOff.made_at).desc())
    ).first()


def releases_of(session: Session, repository: str) -> Sequence[Release]:
    """The releases of a repository, oldest first."""
    return session.exec(
        select(Release).where(Release.repository == repository).order_by(col(Release.number))
    ).all()
