import re
from datetime import date

import pytest

from loop.store import keep
from tests.factories import answer_events, event, tool_events, transcript_row

FIRST = "/transcripts/00000000-0000-4000-8000-000000000001"


def goes_to(client, path):
    answer = client.get(path, follow_redirects=False)
    assert answer.status_code == 303
    return answer.headers["location"]


def test_next_is_the_oldest_that_waits(places, client):
    keep(places.store, transcript_row(2), transcript_row(1, received=date(2026, 3, 5)))

    assert goes_to(client, "/next").endswith("2")


def test_a_skipped_session_comes_back_at_the_end(places, client):
    rows = [transcript_row(n) for n in (1, 2, 3)]
    keep(places.store, *rows)

    assert goes_to(client, f"/next?after={rows[0].id}") == f"/transcripts/{rows[1].id}"
    assert goes_to(client, f"/next?after={rows[2].id}") == f"/transcripts/{rows[0].id}"


def test_without_another_one_next_is_the_list(places, client):
    assert goes_to(client, "/next") == "/"

    row = transcript_row(1)
    keep(places.store, row)

    assert goes_to(client, f"/next?after={row.id}") == "/"


def test_the_list_shows_the_users_words_and_the_counts(places, client):
    keep(places.store, transcript_row(1, prompt="pool sync is stuck"))
    page = client.get("/").text

    assert "pool sync is stuck" in page
    assert "1 waiting" in page


def test_an_empty_list_says_so(client):
    assert "No session waits for a label." in client.get("/").text
    assert "No session is labelled yet." in client.get("/?state=labelled").text


def test_a_users_words_are_text_and_never_markup(places, client):
    hostile = "<script>alert(1)</script>' onload='x"
    odd = [
        *tool_events({"diag/events": {"events": [{"ts": "<TS>", "detail": hostile}]}}),
        *answer_events(summary=hostile, root_cause=hostile, actions=[(hostile, {"a": hostile})]),
    ]
    keep(places.store, transcript_row(1, prompt=hostile, user_comment=hostile, events=odd))
    pages = client.get(FIRST).text + client.get("/").text

    assert "alert(1)" in pages
    assert "<script>alert" not in pages
    assert "' onload='" not in pages


def test_corrections_are_hidden_and_empty_before_a_part_is_judged_wrong(places, client):
    keep(places.store, transcript_row(1))
    page = client.get(FIRST).text
    corrections = re.findall(r'<div class="correction"[^>]*>', page)

    assert len(corrections) == 3
    assert all(" hidden" in tag for tag in corrections)
    assert not re.search(r"<input[^>]* checked", page)
    assert 'name="root_cause"' in page
    assert not re.search(r'id="root_cause"[^>]* value=', page)


def test_an_action_that_the_whitelist_forbids_cannot_be_accepted(places, client):
    forbidden = answer_events(actions=[("docker.restart", {"container": "ipfs_host"})])
    keep(places.store, transcript_row(1, events=forbidden))
    page = client.get(FIRST).text

    assert "Forbidden today: docker.restart container" in page
    assert re.search(r'value="accept"[^>]* disabled', page)


@pytest.mark.parametrize(
    "events",
    [
        [event("session_started")],
        [event("thought", "x" * 4000), event("error")],
        [event("tool_call", {"tool": "diag/time"}), event("tool_result")],
        [event("verdict", {"severity": "green"})],
        [event("user_question", {"question": "Which app?"}), event("user_reply_received")],
    ],
)
def test_a_session_with_holes_still_has_a_page(places, client, events):
    keep(places.store, transcript_row(1, events=events))

    assert client.get(FIRST).status_code == 200


def test_a_control_has_its_key_and_no_key_stands_twice(places, client):
    keep(places.store, transcript_row(1))
    keys = re.findall(r'data-key="([^"]+)"', client.get(FIRST).text)

    assert sorted(keys) == sorted("1 2 3 s c a t S C A T g y 0 w x u e ?".split())  # noqa: SIM905


def test_the_help_names_every_key(places, client):
    silent = [event("tool_call", {"tool": "diag/time"}), event("recommended_action")]
    keep(places.store, transcript_row(1, events=silent))
    page = client.get(FIRST).text
    told = set(re.findall(r"<kbd[^>]*>([^<]+)</kbd>", page[page.index("<dialog") :]))

    assert set(re.findall(r'data-key="([^"]+)"', page)) <= told


# ------------------------------------------------------------------ what cannot be read


def written_by_newer_code(number):
    """A row whose body has a field that this version does not know."""
    row = transcript_row(number)
    row.body = {**row.body, "mood": "sunny"}
    return row


@pytest.fixture
def unreadable(places):
    row = written_by_newer_code(1)
    keep(places.store, row, transcript_row(2, prompt="pool sync is stuck"))
    return row.id


def test_a_session_that_cannot_be_read_keeps_no_other_off_the_list(client, unreadable):
    page = client.get("/").text
    listed = client.get("/api/transcripts").json()

    assert "pool sync is stuck" in page
    assert "This version cannot read 1 more" in page
    assert [item["id"][-1] for item in listed] == ["2"]


def test_a_session_that_cannot_be_read_says_so_and_leads_on_to_the_next(client, unreadable):
    answer = client.get(goes_to(client, "/next"))
    (onward,) = re.findall(r'href="(/next[^"]+)"', answer.text)

    assert answer.status_code == 422
    assert "cannot read session" in answer.text
    assert "ValidationError" in answer.text
    assert goes_to(client, onward).endswith("2")


def test_a_session_that_cannot_be_read_cannot_be_judged(client, unreadable, agreement):
    judged = client.post("/api/labels", json=agreement)
    answers = judged, client.get(f"/api/transcripts/{unreadable}")

    assert [answer.status_code for answer in answers] == [422, 422]
    assert {answer.json()["error"] for answer in answers} == {"unreadable"}


def test_what_cannot_be_read_is_logged_without_its_text(client, unreadable, caplog):
    client.get("/")

    assert f"transcript {unreadable}: ValidationError at " in caplog.text
    assert "sunny" not in caplog.text
