"""The store on SQLite and on a real Postgres: one suite for both."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event, inspect, text
from sqlalchemy.exc import IntegrityError, StatementError
from sqlmodel import Session, SQLModel, create_engine, select

from deployments.releases import create_app
from loop import cycles, store
from loop.errors import CycleError, NotFound, StoreError
from loop.places import open_places
from loop.publishing import add_factory
from loop.repository import init_repository, read_fleet
from loop.settings import Settings
from loop.store import open_store
from loop.tables import CycleEnd, OpenCycle, Quarantined, Release, StageMark, Transcript
from loop.values import digest_json
from tests.candidates import FACTORY, keep_form, serving
from tests.factories import transcript_row
from tests.whole_cycles import released_cycle


@pytest.fixture
def engine(store_url):
    opened = open_store(store_url)
    yield opened
    opened.dispose()


def quarantined(name="raw/1", **fields):
    return Quarantined(name=name, record=digest_json(name), reason="not_json", **fields)


def tables(engine):
    return set(inspect(engine).get_table_names())


def test_the_migrations_make_exactly_the_tables_of_the_code(engine):
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})

        assert compare_metadata(context, SQLModel.metadata) == []


def test_who_looks_and_then_writes_alone_sees_what_all_others_wrote_before(engine):
    def add_one(_):
        with store.writing_alone(engine) as session:
            there = len(session.exec(select(Quarantined)).all())
            session.add(quarantined(f"raw/{there}"))  # a second of this name would be refused

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add_one, range(24)))

    with Session(engine) as session:
        assert len(session.exec(select(Quarantined)).all()) == 24


def test_a_store_that_is_opened_again_keeps_what_it_holds(engine, store_url):
    store.keep(engine, quarantined())
    again = open_store(store_url)

    with Session(again) as session:
        assert len(session.exec(select(Quarantined)).all()) == 1
    again.dispose()


def test_a_store_of_older_code_is_brought_up_with_its_rows(engine, store_url):
    store.keep(engine, transcript_row())
    config = Config()
    config.set_main_option("script_location", str(store.MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    before = tables(engine)
    again = open_store(store_url)

    assert tables(again) - before == {"forgotten"}
    with Session(again) as session:
        assert session.exec(select(Transcript)).one().body == transcript_row().body
    again.dispose()


def test_a_store_of_newer_code_is_refused_with_a_sentence(engine, store_url):
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(StoreError, match=r"at revision 9999, this code knows up to \d{4}.*upgrade"):
        open_store(store_url)


def test_a_migration_that_is_interrupted_leaves_nothing_and_the_next_start_makes_it(
    store_url, monkeypatch
):
    said, engines = [], []

    def die_at_the_third(_connection, _cursor, statement, *_rest):
        said.append(statement)
        if sum("CREATE TABLE" in one for one in said) == 3:
            raise InterruptedError

    def dying(address, **options):
        engines.append(engine := create_engine(address, **options))
        event.listen(engine, "before_cursor_execute", die_at_the_third)
        return engine

    monkeypatch.setattr(store, "create_engine", dying)
    with pytest.raises(InterruptedError):
        open_store(store_url)
    said.clear()
    survivors = tables(engines[0])
    monkeypatch.undo()
    engines.append(open_store(store_url))

    assert survivors == set()
    assert tables(engines[1]) == set(SQLModel.metadata.tables) | {"alembic_version"}
    for engine in engines:
        engine.dispose()


def test_two_processes_may_open_an_empty_store_at_once(store_url):
    with ThreadPoolExecutor(4) as pool:
        engines = list(pool.map(open_store, [store_url] * 4))

    assert tables(engines[0]) >= set(SQLModel.metadata.tables)
    for engine in engines:
        engine.dispose()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://loop:geheim@127.0.0.1:1/loop", "see LOOP_DATABASE_URL"),
        ("sqlite:////proc", "see LOOP_DATABASE_URL"),
        ("mysql://loop:geheim@host/loop", "LOOP_DATABASE_URL: expected sqlite:///file or"),
        ("store.db", "LOOP_DATABASE_URL: expected sqlite:///file or"),
    ],
)
def test_a_store_that_cannot_be_opened_says_why_and_no_password(url, said):
    with pytest.raises(StoreError, match=said) as error:
        open_store(url)

    assert "geheim" not in str(error.value)


def test_times_come_back_in_utc_and_one_without_a_zone_is_refused(engine):
    noon = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    store.keep(engine, quarantined(at=noon))

    with Session(engine) as session:
        (row,) = session.exec(select(Quarantined))
    assert row.at == noon
    assert row.at.tzinfo == UTC
    with pytest.raises(StatementError, match="timezone"):
        store.keep(engine, quarantined("raw/2", at=noon.replace(tzinfo=None)))


def test_rows_are_kept_together_or_not_at_all(engine):
    with pytest.raises(IntegrityError):
        store.keep(engine, quarantined("raw/1"), quarantined("raw/2"), quarantined("raw/1"))

    with Session(engine) as session:
        assert session.exec(select(Quarantined)).all() == []


def test_a_row_that_refers_to_nothing_is_refused(engine):
    with pytest.raises(IntegrityError):
        store.keep(engine, StageMark(cycle_id="no such cycle", stage="train", mark="started"))


def test_what_is_not_there_is_said_by_its_name(engine):
    with Session(engine) as session:
        with pytest.raises(NotFound, match="transcript 7 is not in the store"):
            store.get_transcript(session, "7")
        with pytest.raises(NotFound, match="cycle 7 is not in the store"):
            store.get_cycle(session, "7")
        with pytest.raises(NotFound, match="12 or more characters"):
            store.get_card(session, "0123456789ab")


@pytest.fixture
def places(tmp_path, store_url):
    with serving(create_app(tmp_path / "releases")) as url:
        settings = Settings(home=tmp_path, database_url=store_url, releases_url=url)
        made = open_places(settings)
        yield made
        made.store.dispose()


def test_of_runs_that_open_a_cycle_at_once_one_has_it(places):
    plan = cycles.plan_cycle("blox-tiny", "tiny-cpu", 60, dry_run=False)

    def attempt(run):
        try:
            return cycles.open_cycle(places, plan, run, lambda other: True)
        except CycleError:
            return None

    with ThreadPoolExecutor(6) as pool:
        opened = [cycle for cycle in pool.map(attempt, "abcdef") if cycle]

    assert len(opened) == 1
    with Session(places.store) as session:
        assert len(session.exec(select(OpenCycle)).all()) == 1


def test_two_cycles_run_from_upload_to_release(places):
    init_repository(places.releases, "rehearsal")
    add_factory(places, keep_form(places, "factory-1", FACTORY))

    released_cycle(places, 1)
    released_cycle(places, 2)

    with Session(places.store) as session:
        outcomes = [end.outcome for end in session.exec(select(CycleEnd))]
        numbers = [release.number for release in session.exec(select(Release))]
    assert outcomes == ["released", "released"]
    assert sorted(numbers) == [0, 1, 2]
    assert read_fleet(places.releases).number == 2


def test_an_error_of_the_database_quotes_no_row(engine):
    store.keep(engine, quarantined(detail="geheim"))

    with pytest.raises(IntegrityError) as error:
        store.keep(engine, quarantined(detail="geheim"))
    assert "geheim" not in str(error.value)
