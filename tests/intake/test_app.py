import asyncio
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from intake import routes
from intake.app import create_app
from intake.parts import Limits, make_parts
from intake.spool import Room, Spool
from loop import privacy
from loop.depot import FolderDepot
from loop.errors import TranscriptError
from loop.upload import Record
from loop.values import utc_now
from tests.factories import event, upload
from tests.golden import FOLDER, golden
from tests.intake.forgetful import ForgetfulDisk
from tests.intake.private_api import describe
from tests.intake.served import NEAR, settings_in
from tests.strategies import uploads

CANONICAL = (FOLDER / "canonical_upload.json").read_bytes()
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "X-Anonymizer-Version": "0.1.0",
}
INVALID = {"error": "body_invalid"}
CAP = 256 * 1024
FULL = 1 << 62
"""So many free bytes no disk has."""


def app_in(home, free_bytes=0):
    return create_app(make_parts(settings_in(home, free_bytes=free_bytes)))


@pytest.fixture
def client(tmp_path):
    with TestClient(app_in(tmp_path), client=NEAR) as client:
        yield client


def post(client, body, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post("/transcripts", content=data, headers={**HEADERS, **headers})


def told(response):
    return response.status_code, response.json()


def stored(home):
    """Every record that was kept, shipped or not."""
    spool, depot = Spool(home / "spool", Room()), FolderDepot(home / "depot")
    waiting = [one.path.read_bytes() for one in spool.waiting()]
    return [Record.from_bytes(data) for data in waiting] + [
        Record.from_bytes(depot.get(key)) for key in depot.keys("raw/")
    ]


# ------------------------------------------------------------------ kept


def test_the_output_of_the_first_anonymiser_gets_200_and_an_empty_object(client, tmp_path):
    response = post(client, CANONICAL)

    assert (response.status_code, response.content) == (200, b"{}")
    assert [record.upload for record in stored(tmp_path)] == [json.loads(CANONICAL)]


@pytest.mark.parametrize("body", [b"{", b'{"schema_version": 9}', CANONICAL.replace(b"+0s", b"0")])
def test_a_refusal_carries_nothing_of_what_was_parsed(body):
    with pytest.raises(TranscriptError) as refused:
        routes._read(body)

    assert (refused.value.__context__, refused.value.__cause__) == (None, None)


def test_a_record_says_the_day_and_the_privacy_engine_and_what_was_redacted(client, tmp_path):
    post(client, upload(user_comment="write to ola@example.org"))

    (record,) = stored(tmp_path)
    assert record.received == utc_now().date()
    assert (record.privacy, record.redacted) == (privacy.VERSION, {"mail": 1})
    assert record.upload["user_comment"] == "write to <MAIL>"


def test_half_a_surrogate_pair_is_no_fault_of_the_user(client, tmp_path):
    sent = json.dumps(upload(user_comment="cut @")).replace("@", r"\ud83d").encode()

    assert told(post(client, sent)) == (200, {})
    assert stored(tmp_path)[0].upload["user_comment"] == "cut \ufffd"


def test_schema_2_is_kept_beside_schema_1(client):
    assert told(post(client, upload(schema_version=2, origin="model"))) == (200, {})


def test_the_header_is_advice_only(client):
    sent = {"X-Anonymizer-Version": "9.9.9"}

    assert told(post(client, upload(1), **sent)) == (200, {})
    assert told(client.post("/transcripts", json=upload(2))) == (200, {})


def test_the_same_body_again_gets_200_and_is_kept_once(client, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: told(post(client, upload())), range(40)))

    assert answers == [(200, {})] * 40
    assert len(stored(tmp_path)) == 1


def test_another_body_under_one_id_gets_200_and_overwrites_nothing(client, tmp_path):
    assert told(post(client, upload())) == (200, {})
    assert told(post(client, upload(user_comment="another"))) == (200, {})

    comments = [record.upload.get("user_comment") for record in stored(tmp_path)]
    assert sorted(comments, key=str) == [None, "another"]


def test_a_body_of_exactly_the_cap_is_accepted(client):
    sent = json.dumps(upload()).encode()

    assert told(post(client, sent + b" " * (CAP - len(sent)))) == (200, {})


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
def test_the_media_type_may_have_parameters_and_capitals(client, kind):
    assert told(post(client, upload(), **{"Content-Type": kind})) == (200, {})


def test_an_answer_of_200_comes_after_a_power_cut_could_lose_nothing(tmp_path):
    parts = make_parts(settings_in(tmp_path))
    disk = ForgetfulDisk(tmp_path / "spool")
    parts.spool._sync = disk.sync
    stay_in_spool(tmp_path)
    with TestClient(create_app(parts), client=NEAR) as client:
        assert told(post(client, upload())) == (200, {})
        (left,) = disk.after_power_cut().values()

    assert Record.from_bytes(left).upload["upload_id"] == upload()["upload_id"]


def stay_in_spool(home):
    """The depot takes nothing."""
    (home / "depot").write_text("no folder")


# ------------------------------------------------------------------ refused


def test_a_declared_length_over_the_cap_is_refused(client):
    assert told(post(client, b"{}" + b" " * CAP)) == (413, {"error": "body_too_large"})


def test_a_body_without_declared_length_is_counted_while_it_comes(client, tmp_path):
    def chunks():
        for _ in range(5):
            yield b" " * (CAP // 4)

    response = client.post("/transcripts", content=chunks(), headers=HEADERS)

    assert told(response) == (413, {"error": "body_too_large"})
    assert stored(tmp_path) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "br"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": ""},
    ],
    ids=str,
)
def test_other_codings_and_media_types_are_refused(client, headers):
    assert told(post(client, upload(), **headers)) == (415, INVALID)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b'{"kind": "diagnostics"}', b"[" * 100_000, b"\xff\xfe{\x00}\x00"],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_upload_is_refused(client, body):
    assert told(post(client, body)) == (400, INVALID)


def answer_to_a_body_that(app, receive):
    """What the app sends to a phone whose body arrives like this."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/transcripts",
        "query_string": b"",
        "client": NEAR,
        "headers": [(b"content-type", b"application/json")],
        "app": app,
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_a_body_that_never_ends_is_answered_all_the_same(tmp_path):
    async def hang():
        await asyncio.Event().wait()

    app = app_in(tmp_path)
    app.state.parts = replace(app.state.parts, limits=Limits((), CAP, 1.0, body_seconds=0.01))

    assert answer_to_a_body_that(app, hang) == (400, INVALID)


def test_a_phone_that_leaves_in_the_middle_is_no_server_error(tmp_path):
    messages = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def leave():
        return messages.pop(0)

    assert answer_to_a_body_that(app_in(tmp_path), leave) == (400, INVALID)


def test_an_upload_with_a_promised_identifier_is_refused_and_not_kept(client, tmp_path):
    response = post(client, upload(user_comment="peer at 192.168.1.7"))

    assert told(response) == (400, {"error": "anonymization_check_failed"})
    assert stored(tmp_path) == []


def test_a_nearly_full_disk_answers_503_and_when_to_come_back(tmp_path):
    with TestClient(app_in(tmp_path, FULL), client=NEAR) as client:
        response = post(client, upload())

    assert told(response) == (503, {"error": "storage_unavailable"})
    assert int(response.headers["Retry-After"]) > 0
    assert stored(tmp_path) == []


def test_a_disk_that_fails_answers_503_and_recovers_without_a_restart(client, tmp_path):
    (tmp_path / "spool").rename(tmp_path / "away")
    refused = post(client, upload())
    (tmp_path / "away").rename(tmp_path / "spool")

    assert told(refused) == (503, {"error": "storage_unavailable"})
    assert told(post(client, upload())) == (200, {})


def test_a_network_that_sent_too_much_gets_429_and_when_to_come_back(tmp_path):
    parts = make_parts(settings_in(tmp_path, uploads_per_source=2))
    with TestClient(create_app(parts), client=NEAR) as client:
        answers = [post(client, b"{}"), post(client, upload()), post(client, upload())]

    assert [answer.status_code for answer in answers] == [400, 200, 429]
    assert answers[-1].json() == {"error": "rate_limit"}
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 24 * 3600


def test_the_refusals_come_in_the_contracts_order(tmp_path):
    """Each request has every fault from its own on; the first of them is told."""
    gzip = {"Content-Encoding": "gzip"}

    spent = settings_in(tmp_path, uploads_per_source=0, free_bytes=FULL)
    with TestClient(create_app(make_parts(spent)), client=NEAR) as client:
        in_spent = [post(client, b" " * (CAP + 1), **gzip), post(client, b"{", **gzip)]
    with TestClient(app_in(tmp_path, FULL), client=NEAR) as full:
        in_full = [post(full, b" " * (CAP + 1), **gzip), post(full, b"{", **gzip)]
    with TestClient(app_in(tmp_path), client=NEAR) as client:
        bad = upload(user_comment="at 192.168.1.7", more=1)
        in_empty = [post(client, b"{", **gzip), post(client, bad)]

    answers = (*in_spent, *in_full, *in_empty)
    assert [answer.status_code for answer in answers] == [413, 429, 413, 503, 415, 400]
    assert in_empty[-1].json() == INVALID


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/docs"),
        ("GET", "/redoc"),
        ("GET", "/openapi.json"),
        ("GET", "/transcripts"),
        ("PUT", "/transcripts"),
        ("POST", "/health"),
        ("POST", "/diagnostics"),
        ("GET", "/admin/issues"),
        ("GET", "/ready"),
        ("GET", "/metrics"),
    ],
)
def test_there_is_nothing_else(client, method, path):
    assert told(client.request(method, path)) == (404, {"error": "not_found"})


def test_health_is_a_constant(client):
    assert told(client.get("/health")) == (200, {"ok": True})


# ------------------------------------------------------------------ what is never told


def test_no_answer_and_no_log_line_tells_anything_of_an_upload(client, caplog):
    caplog.set_level(logging.DEBUG)
    marks = ["planted-words", "planted@example.org", "192.168.77.7", upload()["upload_id"]]
    sent = [
        upload(user_comment=f"planted-words {marks[1]}"),
        upload(user_comment=f"planted-words {marks[2]}"),
        upload(planted="planted-words"),
        upload(events=[event("planted-words")]),
    ]

    answers = [post(client, body, **{"X-Anonymizer-Version": "planted-words"}) for body in sent]

    said = caplog.text + "".join(str(answer.headers) + answer.text for answer in answers)
    assert [answer.status_code for answer in answers] == [200, 400, 400, 400]
    assert [mark for mark in marks if mark in said] == []


# ------------------------------------------------------------------ any body


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_no_body_is_a_server_error_and_a_valid_one_is_kept(tmp_path_factory, data):
    home = tmp_path_factory.mktemp("intake")
    body = data.draw(uploads.map(json.dumps).map(str.encode) | st.binary(max_size=80))

    with TestClient(app_in(home), client=NEAR) as client:
        status = post(client, body).status_code

    assert status in (200, 400)
    assert len(stored(home)) == (status == 200)


def test_the_api_is_the_kept_one(tmp_path):
    api = json.dumps(describe(app_in(tmp_path)), indent=2, sort_keys=True) + "\n"

    assert api == golden("intake.openapi.json", api)
