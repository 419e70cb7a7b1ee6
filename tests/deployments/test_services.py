"""Processes as `make run` starts them; one real Prefect server for all the tests here."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments import people
from deployments.preflight import is_free
from deployments.running import Addresses, environment
from deployments.services import (
    WORKER,
    Machine,
    Patience,
    RefusedError,
    Service,
    ServiceError,
    machine,
    services,
)
from loop.leash import descendants
from loop.places import open_places
from loop.settings import Settings
from tests.conftest import needs_program
from tests.deployments.started import ask_prefect, until

EVIL = "https://evil.example"
STORE = "postgresql://loop:secret@db/loop"
FIRST_PORT = 25200
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]


@contextmanager
def started(home: Path, *names: str) -> Iterator[Addresses]:
    """The named services of a home, healthy; and their addresses."""
    free = [port for port in range(FIRST_PORT, FIRST_PORT + 500) if is_free(port)]
    addresses = Addresses(**dict(zip(Addresses.model_fields, free, strict=False)))
    wanted = [service for service in services(addresses, home) if service.name in names]
    told = environment(Settings(home=home), addresses) | {"LOOP_DATABASE_URL": STORE}
    with machine(home / "logs") as made:
        with pytest.MonkeyPatch.context() as patched:
            for name, value in told.items():
                patched.setenv(name, value)
            for service in wanted:
                made.start(service)
        for service in wanted:
            made.wait_healthy(service)
        yield addresses


@pytest.fixture(scope="module")
def prefect(tmp_path_factory):
    with started(tmp_path_factory.mktemp("prefect"), "prefect") as addresses:
        yield addresses


@pytest.fixture
def client(prefect):
    """Prefect's own client, as the worker and our commands use it."""
    with temporary_settings({PREFECT_API_URL: prefect.api}), get_client(sync_client=True) as made:
        yield made


def flow_names(client: SyncPrefectClient) -> set[str]:
    return {flow.name for flow in client.read_flows()}


def own_origins(prefect: Addresses) -> list[str]:
    return [f"http://127.0.0.1:{prefect.prefect}", f"http://localhost:{prefect.prefect}"]


def allowed(prefect: Addresses, origin: str) -> set[str | None]:
    """Which origins a real request and the question before it say are allowed."""
    asks = {"Origin": origin, "Access-Control-Request-Method": "DELETE"}
    before = httpx.options(f"{prefect.api}/flows/filter", headers=asks)
    real = httpx.get(f"{prefect.api}/health", headers={"Origin": origin})
    return {answer.headers.get("Access-Control-Allow-Origin") for answer in (before, real)}


def test_prefect_lets_only_its_own_pages_read_its_answers(prefect):
    assert [allowed(prefect, origin) for origin in own_origins(prefect)] == [
        {origin} for origin in own_origins(prefect)
    ]
    assert allowed(prefect, EVIL) == {None}
    assert allowed(prefect, "null") == {None}


@pytest.mark.parametrize(
    ("path", "body"), [("/flows/", b'{"name": "evil"}'), ("/flows/bulk_delete", b"")]
)
def test_a_page_elsewhere_changes_nothing_in_prefect(prefect, client, path, body):
    client.create_flow_from_name("ours")
    # what a browser sends without asking first
    headers = {"Origin": EVIL, "Content-Type": "text/plain"}
    answer = httpx.post(f"{prefect.api}{path}", content=body, headers=headers)

    assert answer.status_code == 403
    assert flow_names(client) == {"ours"}


def test_a_token_does_not_make_text_a_command(prefect, client):
    sent = {"content": b'{"name": "text"}', "headers": {"Content-Type": "text/plain"}}
    answer = until(lambda: ask_prefect(prefect.api, "POST", "/flows/", **sent), "it answers")

    assert answer.status_code == 422
    assert "text" not in flow_names(client)


def test_the_pages_of_prefect_work_under_both_names_of_this_machine(prefect, client):
    path = needs_program("chromium")
    client.create_flow_from_name("ours")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        for origin in own_origins(prefect):
            page = browser.new_page()
            page.goto(f"{origin}/flows")  # its list is a POST, with a token
            expect(page.get_by_text("ours").first).to_be_visible(timeout=60_000)
        browser.close()


def environments(home: Path) -> dict[str, str]:
    """What each process below us was told about the store, by its command."""
    found = {}
    for pid in descendants(os.getpid()):
        with suppress(OSError):
            told = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")
            if f"LOOP_HOME={home}" in told and "loop.leash" not in command:
                found[command] = next(one for one in told if one.startswith("LOOP_DATABASE_URL="))
    return found


def test_intake_is_not_told_where_the_store_is(tmp_path):
    with started(tmp_path, "intake"):
        told = environments(tmp_path)

    assert told
    assert {value for command, value in told.items() if "intake" in command} == {
        "LOOP_DATABASE_URL=sqlite://"
    }


def test_simulated_phones_get_more_through_than_a_network_may_send_in_a_day(tmp_path):
    sessions = Settings().uploads_per_source + 20
    with started(tmp_path, "intake") as addresses:
        found = Settings(home=tmp_path, database_url="", intake_url=addresses.url("intake"))
        places = open_places(found)
        crowd = people.crowd_of(1, sessions, real=False)
        sent = people.upload(places, crowd, lambda done, of: None)
        counts = httpx.get(f"{addresses.url('intake_private')}/metrics").text
        places.store.dispose()

    assert sent == sessions
    assert f'intake_uploads_total{{outcome="accepted"}} {float(sessions)}' in counts


def test_only_labeller_and_worker_open_the_store(tmp_path):
    everything = [*services(Addresses(), tmp_path), WORKER]

    assert {one.name for one in everything if one.opens_store} == {"labeller", "worker"}


def test_a_service_that_ends_is_told_with_the_end_of_its_log(tmp_path):
    last_words = Service("brief", ["-c", "import sys; sys.exit('no more')"], None)
    with machine(tmp_path) as made:
        made.start(last_words)
        with pytest.raises(ServiceError, match="no more"):
            check_until_it_ends(made)


def check_until_it_ends(made: Machine) -> None:
    while True:
        made.check()


def test_impatience_is_ignored_only_while_the_processes_end(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with machine(tmp_path):
        pass

    assert signal.getsignal(signal.SIGINT) == before


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


REQUEST = httpx.Request("GET", "http://127.0.0.1:9/api")


def answered(status: int) -> httpx.HTTPStatusError:
    return httpx.HTTPStatusError(
        f"{status}\nmore", request=REQUEST, response=httpx.Response(status, request=REQUEST)
    )


PASSING = [
    httpx.ConnectError("connection refused"),
    httpx.ReadTimeout(""),
    answered(500),
    RefusedError("POST /api/labels", 201, 503, "later"),
]


@pytest.fixture
def said():
    return []


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def patience(said, clock):
    return Patience(said.append, 300.0, clock)


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_passes_by_itself_is_borne_and_told_once(patience, said, clock, error):
    for _ in range(3):
        with patience.bearing():
            raise error
        clock.now += 100

    assert len(said) == 1
    assert said[0].startswith("no good answer, trying again for 300 s: ")
    assert "\n" not in said[0]


def test_after_its_time_patience_ends_with_a_sentence(patience, clock):
    with patience.bearing():
        raise PASSING[0]
    clock.now += 301

    with (
        pytest.raises(ServiceError, match="no good answer for 300 s, the last was: connection"),
        patience.bearing(),
    ):
        raise PASSING[0]


def test_one_good_answer_gives_all_the_time_again(patience, said, clock):
    for _ in range(3):
        with patience.bearing():
            raise PASSING[0]
        clock.now += 299
        with patience.bearing():
            pass
        clock.now += 299

    assert said[1::2] == ["it answers again"] * 3


@pytest.mark.parametrize(
    "error", [answered(422), RefusedError("POST /api/labels", 201, 422, "no"), KeyError("model")]
)
def test_what_is_wrong_for_good_is_not_borne(patience, error):
    with pytest.raises(type(error)), patience.bearing():
        raise error
