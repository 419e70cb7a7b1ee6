"""What intake accepts is what the contract says, for bodies that nobody thought of.

`FUZZ=10000` (`make fuzz`) tries so many of each kind instead of a few hundred.
"""

import json
import os
import re
from dataclasses import dataclass

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from intake.app import create_app
from intake.parts import make_parts
from loop.privacy_rules import rules
from tests.conftest import CONTRACTS
from tests.factories import upload
from tests.intake.contract import KEPT, LEAKING, VERSIONS, answer_to
from tests.intake.near import AS_TEXT, FULL, near, near_values
from tests.intake.private_api import describe
from tests.intake.served import NEAR, settings_in
from tests.mutations import near_misses
from tests.strategies import uploads

MANY = int(os.environ.get("FUZZ", "300"))
thorough = settings(max_examples=MANY, deadline=None, suppress_health_check=[HealthCheck.too_slow])
HEADERS = {"Content-Type": "application/json", "X-Anonymizer-Version": "0.1.0"}
TOLD = {"content-length", "content-type"}
"""Every header that an answer to a body has."""


@pytest.fixture(scope="module")
def phone(tmp_path_factory):
    app = create_app(make_parts(settings_in(tmp_path_factory.mktemp("fuzz"))))
    with TestClient(app, client=NEAR) as client:
        yield client


def post(phone, body):
    return phone.post("/transcripts", content=body, headers=HEADERS)


def told(response):
    return response.status_code, response.json()


def check(phone, body):
    """The answer is the one that the contract asks for, to the byte."""
    response = post(phone, body)
    status, said = answer_to(body)

    assert told(response) == (status, said)
    assert response.content == json.dumps(said, separators=(",", ":")).encode()
    assert set(response.headers) == TOLD


# ------------------------------------------------------------------ made from the schema


@pytest.fixture(scope="module")
def operation(phone):
    return schemathesis.openapi.from_dict(describe(phone.app))["/transcripts"]["POST"]


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def try_out(phone, case):
    """Send a case as it stands; returns what was sent."""
    sent = case.as_transport_kwargs(base_url="http://intake")
    body = sent["data"] if sent.get("data") is not None else json.dumps(sent["json"]).encode()
    case.validate_response(post(phone, body), checks=CHECKS)
    return body


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_what_schemathesis_makes_of_the_private_api_is_answered_as_the_contract_says(
    phone, operation, mode
):
    @thorough
    @given(operation.as_strategy(generation_mode=mode))
    def each(case):
        check(phone, try_out(phone, case))

    each()


# ------------------------------------------------------------------ one change from valid


@thorough
@given(near | uploads.map(json.dumps).map(str.encode) | st.binary(max_size=80))
def test_what_differs_in_one_thing_is_kept_exactly_where_the_contract_keeps_it(phone, body):
    check(phone, body)


@pytest.mark.parametrize("name", AS_TEXT)
def test_what_differs_as_text_is_kept_exactly_where_the_contract_keeps_it(phone, name):
    check(phone, AS_TEXT[name](json.dumps(upload()).encode()))


def test_both_kinds_of_bodies_are_tried():
    whole = json.dumps(upload()).encode()
    tried = {name: change(whole) for name, change in AS_TEXT.items()}
    kept = {name for name, body in tried.items() if answer_to(body) == KEPT}

    assert len(set(tried.values())) == len(tried)
    assert kept == {
        "as it is",
        "32 digits",
        "a tiny number",
        "rating -0",
        "half a pair",
        "the other half",
        "a whole pair",
        "NUL",
        "spaces around it",
        "32 levels",
        "20 000 values",
        "64 KiB",
        "64 KiB less a byte",
        "64 KiB of two bytes each",
        "64 KiB of halves",
    }


@pytest.mark.parametrize("full", [upload(user_comment="x"), FULL], ids=["v1", "v2"])
def test_every_near_miss_of_every_field_is_judged_alike(phone, full):
    for value in near_misses(full):
        check(phone, json.dumps(value).encode())


HITS = [text for rule in rules().rules for text in rule.hits]


@thorough
@given(uploads, st.sampled_from(HITS), st.sampled_from(["user_comment", "user_prompt"]))
def test_an_identifier_that_the_phone_promised_to_strip_is_all_that_refuses_a_valid_upload(
    phone, sent, text, field
):
    check(phone, json.dumps({**sent, field: text}).encode())


def test_a_hit_of_tier_a_is_refused_and_one_of_tier_b_is_not():
    for rule in rules().rules:
        body = json.dumps(upload(user_comment=rule.hits[0])).encode()

        assert answer_to(body) == (LEAKING if rule.tier == "A" else KEPT), rule.id


# ------------------------------------------------------------------ the checks see what they seek


@dataclass
class Always:
    """An app that answers every upload with the same."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)

    async def __call__(self, _scope, _receive, send):
        headers = [*self.headers, (b"content-length", b"%d" % len(self.body))]
        start = {"type": "http.response.start", "status": self.status, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": self.body})


@pytest.mark.parametrize(
    "broken",
    [
        Always(500, b"{}"),
        Always(418, b'{"error":"body_invalid"}'),
        Always(400, b'{"error":"body_invalid at user_rating"}'),
        Always(400, b"{}"),
        Always(200, b'{"upload_id":"00000000-0000-4000-8000-000000000001"}'),
        Always(200, b"null"),
        Always(200, b"{}", ((b"content-type", b"text/html"),)),
    ],
    ids=str,
)
def test_an_answer_outside_of_the_private_api_is_seen(operation, broken):
    case = operation.Case(body=upload(), media_type="application/json")

    with pytest.raises(FailureGroup):
        try_out(TestClient(broken), case)


@pytest.mark.parametrize(
    ("broken", "body"),
    [
        (Always(200, b"{}"), b"{"),
        (Always(400, b'{"error":"body_invalid"}'), json.dumps(upload()).encode()),
        (
            Always(400, b'{"error":"body_invalid"}'),
            json.dumps(upload(user_comment=HITS[0])).encode(),
        ),
        (Always(200, b"{ }"), json.dumps(upload()).encode()),
    ],
)
def test_a_wrong_decision_or_another_byte_is_seen(broken, body):
    check(TestClient(Always(200, b"{}")), json.dumps(upload()).encode())
    with pytest.raises(AssertionError):
        check(TestClient(broken), body)


def test_a_header_that_tells_more_is_seen():
    headers = (
        (b"content-type", b"application/json"),
        (b"x-upload", b"1"),
    )

    with pytest.raises(AssertionError):
        check(TestClient(Always(200, b"{}", headers)), json.dumps(upload()).encode())


# ------------------------------------------------------------------ against the phone's own schema

if CONTRACTS.is_dir():
    THEIRS = Draft202012Validator(
        json.loads((CONTRACTS / "data/anonymized_transcript.schema.json").read_text())
    )

    @thorough
    @given(near_values())
    def test_the_judge_is_the_phones_schema_with_its_holes_closed(value):
        theirs = THEIRS.is_valid(value) and is_tight(value)

        assert VERSIONS[0].is_valid(value) == theirs


def is_tight(value):
    """Whether a valid upload uses no hole of the schema: floats, newlines, other or many digits."""
    counted = [value["consent"]["anonymizer_version"], *(e["relative_ts"] for e in value["events"])]
    whole = type(value["schema_version"]) is type(value["user_rating"]) is int
    plain = all(one.isascii() and one.isprintable() for one in (value["upload_id"], *counted))
    return whole and plain and not any(re.search(r"\d{10}", one) for one in counted)
