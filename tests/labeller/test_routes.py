import json
from datetime import date

import pytest
from sqlmodel import Session, select

from labeller.app import create_app
from loop.store import keep
from loop.tables import Label
from tests.factories import answer_events, empty_places, event, open_cycle, transcript_row
from tests.golden import golden


def kept_labels(places):
    with Session(places.store) as session:
        return session.exec(select(Label)).all()


def test_unlabelled_sessions_come_oldest_first(places, client):
    keep(
        places.store,
        transcript_row(1, received=date(2026, 3, 2)),
        transcript_row(2, received=date(2026, 3, 1)),
    )
    listed = client.get("/api/transcripts", params={"state": "unlabelled"}).json()

    assert [item["received"] for item in listed] == ["2026-03-02", "2026-03-01"][::-1]
    assert listed[0]["root_cause"] == "clock_unsynced"


def test_the_limit_is_kept(places, client):
    keep(places.store, *(transcript_row(n) for n in range(1, 5)))

    assert len(client.get("/api/transcripts?limit=3").json()) == 3
    assert client.get("/api/transcripts?limit=0").status_code == 422


def test_one_session_tells_all_that_is_needed_to_judge_it(places, client):
    keep(places.store, transcript_row(1))
    told = client.get("/api/transcripts/00000000-0000-4000-8000-000000000001").json()

    assert told["session"]["prompt"] == "my blox is offline"
    assert told["session"]["steps"][0]["calls"][0]["result"] == {"synced": False}
    assert told["session"]["actions"][0]["action"] == {"name": "ntp.resync", "args": {}}
    assert (told["cause"], told["lost"], told["label"]) == ("clock_unsynced", [], None)


def test_what_the_upload_lost_is_told(places, client):
    lost = [*answer_events(actions=()), event("recommended_action"), event("execution_result")]
    keep(places.store, transcript_row(1, events=lost))
    told = client.get("/api/transcripts/00000000-0000-4000-8000-000000000001").json()

    assert told["session"]["actions"] is None
    assert told["lost"] == [
        "what the device recommended (1 event)",
        "whether a repair worked (1 event)",
    ]


def test_a_label_is_kept_with_the_person_of_this_machine(places, client, agreement):
    keep(places.store, transcript_row(1))
    answer = client.post("/api/labels", json=agreement)

    assert answer.status_code == 201
    assert answer.json()["made_by"] == "ann"
    assert [label.made_by for label in kept_labels(places)] == ["ann"]


def test_a_simulated_person_is_named_so(places, client, agreement):
    keep(places.store, transcript_row(1))
    name = {"X-Simulated-Person": "simulated-carla"}
    answer = client.post("/api/labels", json=agreement, headers=name)

    assert answer.json()["made_by"] == "simulated-carla"


@pytest.mark.parametrize(
    "name", ["bob", "simulated-", "Simulated-x", "simulated-x\u00e9", "simulated-a b"]
)
def test_no_other_name_can_be_claimed(places, client, agreement, name):
    keep(places.store, transcript_row(1))
    answer = client.post(
        "/api/labels", json=agreement, headers={"X-Simulated-Person": name.encode()}
    )

    assert answer.status_code == 422
    assert kept_labels(places) == []


def test_a_labelled_session_leaves_the_queue(places, client, agreement):
    keep(places.store, transcript_row(1), transcript_row(2))
    client.post("/api/labels", json=agreement)
    waiting = client.get("/api/transcripts").json()
    labelled = client.get("/api/transcripts?state=labelled").json()

    assert [item["id"][-1] for item in waiting] == ["2"]
    assert [(item["id"][-1], item["decision"]) for item in labelled] == [("1", "accept")]


def test_a_changed_mind_is_a_new_row_and_the_newest_counts(places, client, agreement):
    keep(places.store, transcript_row(1))
    client.post("/api/labels", json=agreement)
    second = {"decision": "partial", "severity_correct": False, "severity": "yellow"}
    client.post("/api/labels", json=agreement | second)
    told = client.get(f"/api/transcripts/{agreement['transcript_id']}").json()

    assert len(kept_labels(places)) == 2
    assert told["label"]["severity"] == "yellow"
    assert len(client.get("/api/transcripts?state=labelled").json()) == 1


def test_progress_counts_towards_the_open_cycle(places, client, agreement):
    open_cycle(places, wanted=50)
    keep(places.store, transcript_row(1), transcript_row(2, received=date(2026, 2, 27)))
    client.post("/api/labels", json=agreement)

    assert client.get("/api/progress").json() == {
        "labelled": 1,
        "wanted": 50,
        "cycle": 1,
        "waiting": 1,
        "oldest": "2026-02-27",
    }


def test_progress_without_a_cycle_wants_nothing(client):
    assert client.get("/api/progress").json() == {
        "labelled": 0,
        "wanted": None,
        "cycle": None,
        "waiting": 0,
        "oldest": None,
    }


def test_a_contradiction_is_refused_by_field_and_not_kept(places, client, agreement):
    keep(places.store, transcript_row(1))
    answer = client.post("/api/labels", json=agreement | {"severity": "green"})

    assert answer.status_code == 422
    assert list(answer.json()["fields"]) == ["severity"]
    assert kept_labels(places) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"severity": "purple"}, "severity"),
        ({"summary": "x" * 501}, "summary"),
        ({"actions": [{"name": "reset", "argz": {}}]}, "actions"),
        ({"note": "\ud83d"}, "note"),
        ({"root_cuase": "no_issue"}, "root_cuase"),
    ],
)
def test_an_ill_shaped_label_is_refused_by_field(places, client, agreement, change, field):
    keep(places.store, transcript_row(1))
    body = json.dumps(agreement | change)
    answer = client.post("/api/labels", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert list(answer.json()["fields"]) == [field]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null"])
def test_what_is_no_label_at_all_is_refused(client, body):
    answer = client.post("/api/labels", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422


def test_a_form_of_another_page_is_no_label(places, client, agreement):
    keep(places.store, transcript_row(1))
    answer = client.post(
        "/api/labels", content=json.dumps(agreement), headers={"Content-Type": "text/plain"}
    )

    assert answer.status_code == 422
    assert kept_labels(places) == []


def test_what_was_set_aside_is_neither_shown_nor_judged(places, client, agreement):
    row = transcript_row(1)
    row.quarantined = "found_later"
    keep(places.store, row)

    assert client.get("/api/transcripts").json() == []
    assert client.get(f"/api/transcripts/{row.id}").status_code == 404
    assert client.get(f"/transcripts/{row.id}").status_code == 404
    assert client.post("/api/labels", json=agreement).status_code == 404


def test_an_unknown_session_is_not_found(client, agreement):
    assert client.get("/api/transcripts/nope").status_code == 404
    assert client.post("/api/labels", json=agreement).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_another_page_cannot_post(places, client, agreement, headers):
    keep(places.store, transcript_row(1))
    answer = client.post("/api/labels", json=agreement, headers=headers)

    assert answer.status_code == 403
    assert kept_labels(places) == []


def test_every_answer_forbids_foreign_scripts_and_frames(client):
    for path in ("/", "/health", "/nope", "/static/labeller.js"):
        headers = client.get(path).headers

        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_transcripts_stay_out_of_caches(client):
    kept = {path: client.get(path).headers["cache-control"] for path in ("/", "/api/transcripts")}

    assert set(kept.values()) == {"no-store"}
    assert client.get("/static/labeller.js").headers["cache-control"] == "no-cache"


def test_it_says_that_it_runs(client):
    assert client.get("/health").json() == {"ok": True}


def test_the_api_is_the_kept_one(tmp_path):
    places = empty_places(tmp_path)
    found = create_app(places, person="ann").openapi()
    places.store.dispose()

    kept = golden("labeller.openapi.json", json.dumps(found, indent=2) + "\n")
    assert found == json.loads(kept)
