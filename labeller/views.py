"""What the pages and the API show of a transcript, in plain values; nothing here asks the store."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

from labeller.evidence import Evidence, read_evidence
from loop.causes import cause_of
from loop.tables import Decision, Label, LabelIn
from loop.tables import Transcript as Row
from loop.transcript import Call, Session, Transcript, read_session
from loop.values import Action, Json, Origin, Severity
from loop.whitelist import allowed_actions, tier_of, violation


class LabelOut(LabelIn):
    """One kept label."""

    id: str
    made_by: str
    made_at: datetime


@dataclass(frozen=True)
class Item:
    """One line of the list."""

    id: str
    received: date
    origin: Origin
    prompt: str
    severity: Severity | None
    """The device's; None: it gave no verdict."""
    root_cause: str | None
    decision: Decision | None = None
    """Of the current label; None: nobody has judged it."""
    made_by: str | None = None
    made_at: datetime | None = None


@dataclass(frozen=True)
class Detail:
    """One transcript with everything a person needs to judge it."""

    id: str
    received: date
    origin: Origin
    source: str
    model_version: str | None
    scenario_id: str | None
    user_rating: int
    user_comment: str | None
    reasons: list[str]
    """Codes of what was repaired or flagged on the way in."""
    session: Session
    cause: str | None
    """The id that the device's root cause names; None: it names none."""
    lost: list[str]
    """What the upload did not carry, in sentences."""
    label: LabelOut | None


@dataclass(frozen=True)
class CallView:
    """One tool call on the page."""

    call: Call
    evidence: Evidence

    @property
    def failed(self) -> bool:
        """The device said so, or nothing came back."""
        return not self.call.ok

    @property
    def open(self) -> bool:
        """Short answers need no click."""
        rows = self.evidence.rows
        return len(rows) <= 8 and all(len(row.text) <= 300 for row in rows)


@dataclass(frozen=True)
class ActionView:
    """One action, recommended or choosable."""

    action: Action
    text: str
    tier: int | None
    about: str = ""
    forbidden: str | None = None
    """Why today's whitelist forbids it."""


def body_of(row: Row) -> Transcript:
    """The session in a row of the store."""
    return Transcript.model_validate(row.body)


def item(row: Row, label: Label | None = None) -> Item:
    """A row as one line of the list."""
    session = read_session(body_of(row))
    judged = (label.decision, label.made_by, label.made_at) if label else (None, None, None)
    return Item(
        row.id,
        row.received,
        row.origin,
        session.prompt,
        session.verdict.severity if session.verdict else None,
        session.verdict.root_cause if session.verdict else None,
        *judged,
    )


def detail(row: Row, label: Label | None) -> Detail:
    """A row with everything a person needs to judge it."""
    transcript = body_of(row)
    session = read_session(transcript)
    return Detail(
        id=row.id,
        received=row.received,
        origin=row.origin,
        source=row.source,
        model_version=row.model_version,
        scenario_id=transcript.scenario_id,
        user_rating=transcript.user_rating,
        user_comment=transcript.user_comment,
        reasons=row.reasons,
        session=session,
        cause=cause_of(session.verdict.root_cause) if session.verdict else None,
        lost=list(losses(transcript)),
        label=LabelOut.model_validate(label, from_attributes=True) if label else None,
    )


_LOST = {
    "recommended_action": "what the device recommended",
    "execution_result": "whether a repair worked",
    "user_reply_received": "what the user replied",
    "error": "which error the device reported",
}


def losses(transcript: Transcript) -> Iterator[str]:
    """What the upload did not carry, one sentence per kind of event, in the order above."""
    empty: Counter[str] = Counter(event.type for event in transcript.events if not event.payload)
    for kind, what in _LOST.items():
        if times := empty[kind]:
            yield f"{what} ({times} event{'s' if times > 1 else ''})"


def asides(transcript: Transcript) -> list[str]:
    """What else happened and was uploaded: questions, replies, repairs, errors."""
    return [text for event in transcript.events if (text := _aside(event.type, event.payload))]


def _aside(kind: str, payload: Json) -> str | None:
    told = payload if isinstance(payload, dict) else {}
    if kind == "user_question" and told.get("question"):
        return f"The device asked: {told['question']}"
    if kind == "user_reply_received" and told.get("reply_text"):
        return f"The user replied: {told['reply_text']}"
    if kind == "execution_result" and "success" in told:
        return f"A repair was carried out; success: {str(told['success']).lower()}"
    if kind == "error" and told:
        return f"Error {told.get('code', '')}: {told.get('message', '')}"
    return None


def call_views(session: Session) -> list[list[CallView]]:
    """The calls of each step, ready to show."""
    return [
        [CallView(call, read_evidence(call.tool, call.result)) for call in step.calls]
        for step in session.steps
    ]


def action_view(action: Action, about: str = "") -> ActionView:
    """One action as a line of text."""
    values = " ".join(str(value) for value in action.args.values())
    text = f"{action.name} {values}".strip()
    return ActionView(action, text, tier_of(action.name), about, violation(action))


def choosable_actions() -> list[ActionView]:
    """Every action that today's whitelist allows, with each value of its argument."""
    return [
        action_view(Action(name=allowed.name, args=args), allowed.about)
        for allowed in allowed_actions()
        for args in (
            [{allowed.argument: value} for value in allowed.allowed] if allowed.argument else [{}]
        )
    ]
