"""Whatever intake accepts can be shown, judged and learnt from: no odd session ends anybody's work.

Payloads are free in the schema, so they come here in the device's shapes with anything inside.
"""

import json
from datetime import date
from itertools import count

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlmodel import Session

from labeller.app import create_app
from labeller.evidence import ABNORMAL, EVERYWHERE
from loop.causes import causes
from loop.dataset import UNREADABLE, select
from loop.errors import LabelError, PrivacyError
from loop.examples import Judged, make_example, read_examples
from loop.ingest import ingest_uploads
from loop.labels import check_label
from loop.privacy import redact
from loop.store import get_transcript, keep
from loop.tables import Decision, LabelIn
from loop.transcript import Transcript, read_session
from loop.upload import Record, parse_upload
from loop.values import Severity, digest_bytes
from tests.factories import empty_places, event, upload
from tests.strategies import event_types, json_values, payloads, scalars, texts

DAY = date(2026, 3, 1)
NUMBERS = count(1)
NAMES = sorted({name for tests in ABNORMAL.values() for name in tests} | set(EVERYWHERE))
names = st.sampled_from([*NAMES, "name", "subsystems", "key_metrics", "[0]", "[", "", "."]) | texts
answers = st.recursive(
    scalars | json_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)
whole_numbers = st.integers(-(10**30), 10**30)
"""Intake takes no number that is longer, and none that is not finite."""
tools = st.sampled_from([f"diag/{tool}" for tool in (*ABNORMAL, "summary")]) | texts


def shaped(kind, **fields):
    """An event of a kind whose payload has these fields, each of the right shape or of any."""
    said = {name: right | json_values for name, right in fields.items()}
    return st.fixed_dictionaries({}, optional=said).map(lambda payload: event(kind, payload))


events = st.one_of(
    shaped("tool_call", tool=tools, args=answers, call_index=whole_numbers),
    answers.filter(lambda told: not isinstance(told, list)).map(
        lambda told: event("tool_result", told)
    ),
    shaped(
        "verdict",
        severity=st.sampled_from(["green", "yellow", "red"]),
        root_cause=st.sampled_from([*causes()]),
        summary=texts,
    ),
    shaped(
        "recommended_action",
        action_name=st.sampled_from(["docker.restart", "ntp.resync"]),
        args=st.dictionaries(st.just("container"), texts),
        confidence=st.floats(allow_nan=False, allow_infinity=False),
        tier=whole_numbers,
        reasoning=texts,
    ),
    shaped("user_question", question=texts),
    shaped("user_reply_received", reply_text=texts),
    shaped("execution_result", success=st.booleans()),
    shaped("error", code=texts, message=texts),
    st.builds(event, event_types, payloads),
)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    opened = empty_places(tmp_path_factory.mktemp("odd"))
    yield opened
    opened.store.dispose()


@pytest.fixture(scope="module")
def labeller(places):
    with TestClient(create_app(places, person="ann"), base_url="http://127.0.0.1") as client:
        yield client


def taken_in(places, sent):
    """The row of an upload after intake and ingest, as both really do it."""
    try:
        checked, redacted = redact(parse_upload(json.dumps(sent).encode()))
    except PrivacyError:
        assume(False)
    data = Record(
        received=DAY, privacy="1", redacted=dict(redacted), upload=checked.as_json()
    ).to_bytes()
    places.depot.put(f"raw/{sent['upload_id']}/{digest_bytes(data)}.json", data)
    assert ingest_uploads(places).ingested == 1
    with Session(places.store) as session:
        return get_transcript(session, sent["upload_id"])


def judgement(row, session):
    """A label that a person could give: everything wrong that can be."""
    given = session.verdict.severity if session.verdict else Severity.GREEN
    told = LabelIn(
        transcript_id=row.id,
        decision=Decision.PARTIAL,
        severity_correct=False,
        root_cause_correct=False,
        actions_correct=True,
        severity=next(one for one in Severity if one != given),
        root_cause="no_issue",
        actions=[],
    )
    wrong = {"actions_correct": False, "decision": Decision.REJECT}
    may_be = [sent for sent in (told, told.model_copy(update=wrong)) if fits(sent, session)]
    assume(may_be)
    return may_be[0]


def fits(sent, session):
    try:
        check_label(sent, made_by="ann", session=session)
    except LabelError:
        return False
    return True


# on a busy machine even the making of ten sessions may take a second
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(events, min_size=1, max_size=10), st.text(max_size=60))
def test_an_odd_session_is_shown_judged_and_learnt_from(places, labeller, sent, words):
    row = taken_in(places, upload(next(NUMBERS), events=sent, user_prompt=words))
    pages = [f"/transcripts/{row.id}", f"/api/transcripts/{row.id}", "/", "/?state=labelled"]
    session = read_session(Transcript.model_validate(row.body))
    told = judgement(row, session)
    keep(places.store, check_label(told, made_by="ann", session=session))
    one = Judged(session, told, row.origin, row.received, row.digest)
    example = make_example(one, "Speak only in blocks.")

    assert [labeller.get(page).status_code for page in pages] == [200] * len(pages)
    assert "This version cannot read" not in labeller.get("/").text
    assert read_examples(f"{example.model_dump_json()}\n") == [example]
    assert UNREADABLE not in select([one], [], "Speak only in blocks.").excluded
