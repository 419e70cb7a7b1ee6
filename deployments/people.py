"""Simulated phones, labellers and approvers; each uses the way in that real ones use.

They are named `simulated-…` wherever they leave a trace, and act only where the cycle waits.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx
from sqlmodel import col, select

from deployments.services import RefusedError
from loop import signing, store, waiting
from loop.places import Places
from loop.sessions import Generated, generate
from loop.tables import Card, Label, LabelIn, Transcript
from loop.values import CycleRef

LABELLER, APPROVER = "simulated-labeller", "simulated-approver"
LEFT_TO_PEOPLE = 20
"""How many sessions `PEOPLE=real` leaves to label."""
BATCH = 100
"""Labels between two looks at the cycle."""
PATIENCE = 60.0


@dataclass(frozen=True)
class Crowd:
    """The phones and people around one cycle."""

    sessions: tuple[Generated, ...]
    left_to_people: int
    """Of these sessions, so many of the last are a real person's to label; 0: nobody is real."""

    @property
    def real(self) -> bool:
        """A real person takes part: the last labels and the sign-off are theirs."""
        return self.left_to_people > 0

    @property
    def truths(self) -> Mapping[str, LabelIn]:
        """What the simulated labeller knows, by transcript."""
        known = self.sessions[: len(self.sessions) - self.left_to_people]
        return {one.truth.transcript_id: one.truth for one in known}


def crowd_of(number: int, labels_wanted: int, real: bool) -> Crowd:
    """The crowd of one cycle, always the same for the same number."""
    left = min(LEFT_TO_PEOPLE, labels_wanted) if real else 0
    return Crowd(generate(number, labels_wanted), left)


def upload(places: Places, crowd: Crowd, on_progress: Callable[[int, int], None]) -> int:
    """Send the sessions that are not in the store yet to intake, as the phone app does.

    Returns:
        How many were sent; an upload that arrived before is answered, and changes nothing.

    Raises:
        RefusedError: Intake refused one.
    """
    missing = _not_ingested(places, crowd)
    with httpx.Client(base_url=places.settings.intake_url, timeout=PATIENCE) as phone:
        for done, session in enumerate(missing, start=1):
            told = {"X-Anonymizer-Version": session.upload["consent"]["anonymizer_version"]}
            _expect(phone.post("/transcripts", json=session.upload, headers=told), 200)
            on_progress(done, len(missing))
    return len(missing)


def arrived(places: Places, crowd: Crowd) -> bool:
    """Whether everything that was uploaded lies in the depot, where ingest looks for it."""
    there = {key.split("/")[1] for key in places.depot.keys("raw/")}
    return all(one.truth.transcript_id in there for one in _not_ingested(places, crowd))


def _not_ingested(places: Places, crowd: Crowd) -> list[Generated]:
    with store.writing(places.store) as session:
        wanted = [one.truth.transcript_id for one in crowd.sessions]
        asked = select(Transcript.id).where(col(Transcript.id).in_(wanted))
        there = set(session.exec(asked))
    return [one for one in crowd.sessions if one.truth.transcript_id not in there]


def label(places: Places, crowd: Crowd) -> int:
    """Label a few sessions through the labeller's API, as its page does.

    Which of theirs wait, they ask the store: the labeller's list shows the oldest of everybody's.

    Returns:
        How many were labelled now; 0 once the rest is a real person's.

    Raises:
        RefusedError: The labeller refused one.
    """
    mine, headers = _unlabelled(places, crowd)[:BATCH], {"X-Simulated-Person": LABELLER}
    with httpx.Client(base_url=places.settings.labeller_url, timeout=PATIENCE) as client:
        for truth in mine:
            sent = truth.model_dump(mode="json")
            _expect(client.post("/api/labels", json=sent, headers=headers), 201)
    return len(mine)


def _unlabelled(places: Places, crowd: Crowd) -> list[LabelIn]:
    truths = crowd.truths
    asked = select(Transcript.id).where(
        col(Transcript.id).in_(truths),
        col(Transcript.id).not_in(select(Label.transcript_id)),
        col(Transcript.quarantined).is_(None),
    )
    with store.writing(places.store) as session:
        waiting_ids = set(session.exec(asked))
    return [truth for id_, truth in truths.items() if id_ in waiting_ids]


def approve(places: Places, cycle: CycleRef) -> list[str]:
    """Sign the cards of a cycle that nobody signed, by the way the command takes."""
    found = cards_to_sign(places, cycle)
    for card in found:
        signing.sign(places, card.digest, "approve", APPROVER, via="command")
    return [card.digest for card in found]


def cards_to_sign(places: Places, cycle: CycleRef) -> list[Card]:
    """The cards of a cycle that nobody signed."""
    with store.writing(places.store) as session:
        return [card for card in waiting.unsigned_cards(session) if card.cycle_id == cycle.id]


def _expect(answer: httpx.Response, status: int) -> None:
    if answer.status_code != status:
        request = f"{answer.request.method} {answer.request.url}"
        raise RefusedError(request, status, answer.status_code, answer.text[:200])
