"""What waits for people, and whether the wait is over: always a question to the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import func
from sqlmodel import Session, col, select

from loop import store
from loop.errors import CycleError
from loop.places import Places
from loop.tables import Card, Label, OpenCycle, Transcript, WaitDecision
from loop.values import CycleRef

GO_ON, STOP = "go on", "stop"
"""What a person may decide about the labelling wait."""


@dataclass(frozen=True)
class LabelWait:
    """How far a cycle's labelling is."""

    labelled: int
    """Transcripts with a label that no cycle has frozen yet."""
    wanted: int
    unlabelled: int
    oldest: date | None
    """Day on which the oldest unlabelled transcript was received."""
    decision: str | None
    """`go on`, `stop`, or None while nobody decided."""
    frozen: bool
    """The cycle has its dataset, so it wants no more labels."""

    @property
    def stopped(self) -> bool:
        """A person ended the wait, and with it the cycle."""
        return self.decision == STOP and not self.frozen

    @property
    def over(self) -> bool:
        """Nothing is left to wait for."""
        return self.frozen or self.labelled >= self.wanted or self.decision is not None

    def sentence(self, today: date, url: str) -> str:
        """What a person should know, in one line."""
        old = f", oldest {age_in_words(today, self.oldest)}" if self.oldest else ""
        return f"{self.labelled} of {self.wanted} labelled{old}, go to {url}"


def label_wait(session: Session, cycle: CycleRef) -> LabelWait:
    """How far the labelling of a cycle is now."""
    waiting = store.unlabelled(session, limit=1)
    decision = store.wait_decision(session, cycle.id)
    return LabelWait(
        labelled=store.count_new_labels(session, cycle.model),
        wanted=cycle.labels_wanted,
        unlabelled=count_unlabelled(session),
        oldest=waiting[0].received if waiting else None,
        decision=decision.decision if decision else None,
        frozen=store.dataset_of(session, cycle.id) is not None,
    )


def count_unlabelled(session: Session) -> int:
    """How many sessions nobody has judged yet."""
    labelled = select(Label.transcript_id)
    asked = select(func.count()).where(
        col(Transcript.id).not_in(labelled), col(Transcript.quarantined).is_(None)
    )
    return session.exec(asked).one()


def decide_label_wait(places: Places, cycle: CycleRef, decision: str, made_by: str) -> None:
    """Keep what a person decided about the labelling wait.

    Raises:
        CycleError: The decision is neither `go on` nor `stop`, or nobody made it.
    """
    if decision not in (GO_ON, STOP) or not made_by.strip():
        raise CycleError(
            f"expected {GO_ON!r} or {STOP!r} by a name, got {decision!r} by {made_by!r}"
        )
    store.keep(places.store, WaitDecision(cycle_id=cycle.id, decision=decision, made_by=made_by))


def unsigned_cards(session: Session) -> Sequence[Card]:
    """The newest card of each open cycle, where nobody has signed it yet; oldest first."""
    cards = session.exec(
        select(Card)
        .join(OpenCycle, col(OpenCycle.cycle_id) == Card.cycle_id)
        .order_by(col(Card.at))
    )
    newest = {card.cycle_id: card for card in cards}
    return [card for card in newest.values() if store.sign_off_of(session, card.digest) is None]


def age_in_words(today: date, then: date) -> str:
    """How long ago a day was.

    >>> age_in_words(date(2026, 11, 3), date(2026, 11, 1))
    '2 days'
    >>> age_in_words(date(2026, 11, 3), date(2026, 11, 3))
    'today'
    """
    days = (today - then).days
    if days <= 0:
        return "today"
    return "1 day" if days == 1 else f"{days} days"
