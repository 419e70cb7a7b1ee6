"""What a device's session stream carries: the ten events of schema 4, closed, in typed models.

Uploads have another, older shape; that is `loop.transcript`.

Source:
    functionland/blox-ai 6bf006a, src/routes: the events of schema version 4.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter, model_validator

from loop.diagnostics import TOOLS
from loop.errors import FactsError
from loop.values import Json
from loop.wire import Count, Level, Maybe, Object, Whole, Wire, check_wire

PROTOCOL_VERSION = 4

Id = Annotated[str, Field(min_length=1, max_length=128)]
Excerpt = Annotated[str, Field(max_length=2048)]


class SessionStarted(Wire):
    """The model's path begins; trees send none."""

    type: Literal["session_started"]
    session_id: Id
    protocol_version: Annotated[Whole, Field(ge=PROTOCOL_VERSION, le=PROTOCOL_VERSION)]
    ttl_seconds: Maybe[Annotated[Whole, Field(ge=60, le=86400)]] = None


class Thought(Wire):
    """Text the user sees between blocks."""

    type: Literal["thought"]
    payload: Annotated[str, Field(min_length=1, max_length=4000)]


class Call(Wire):
    """Which tool runs."""

    tool: str
    args: Object

    @model_validator(mode="after")
    def _tool_is_known(self) -> Self:
        if self.tool not in TOOLS:
            raise ValueError(f"tool: expected one of {', '.join(TOOLS)}")
        return self


class ToolCall(Wire):
    """A diagnostic starts."""

    type: Literal["tool_call"]
    call_id: Id
    payload: Call


class ToolResult(Wire):
    """A diagnostic ended; it carries an error exactly when it failed."""

    type: Literal["tool_result"]
    call_id: Id
    ok: bool
    payload: Json
    error: Maybe[Annotated[str, Field(max_length=2000)]] = None

    @model_validator(mode="after")
    def _error_exactly_when_it_failed(self) -> Self:
        if self.ok == (self.error is not None):
            raise ValueError("expected an error exactly when ok is false")
        return self


class Diagnosis(Wire):
    """What the device's model found."""

    summary: Annotated[str, Field(min_length=1, max_length=500)]
    severity: Level
    root_cause: Annotated[str, Field(min_length=1, max_length=200)]


class Verdict(Wire):
    """The diagnosis of the session."""

    type: Literal["verdict"]
    payload: Diagnosis


class RecommendedAction(Wire):
    """A repair offered to the user; the stream does not ask the whitelist."""

    type: Literal["recommended_action"]
    action_id: Id
    action_name: Annotated[str, Field(min_length=1, max_length=64)]
    args: Object
    reasoning: Annotated[str, Field(min_length=1, max_length=1000)]
    confidence: Annotated[float, Field(ge=0, le=1)]
    tier: Annotated[Whole, Field(ge=1, le=3)]
    approval_token: Annotated[str, Field(min_length=64, max_length=2048)]
    expected_duration_s: Maybe[Annotated[float, Field(ge=0, le=600)]] = None


class ExecutionResult(Wire):
    """An approved repair ended."""

    type: Literal["execution_result"]
    action_id: Id
    success: bool
    duration_ms: Count
    exit_code: Maybe[Annotated[Whole, Field(ge=-255, le=255)]] = None
    stdout_excerpt: Maybe[Excerpt] = None
    stderr_excerpt: Maybe[Excerpt] = None
    follow_up: Maybe[Annotated[str, Field(max_length=1000)]] = None


Option = Annotated[str, Field(min_length=1, max_length=100)]


class Question(Wire):
    """What the user is asked; a choice needs options, a yes or no forbids them."""

    question: Annotated[str, Field(min_length=1, max_length=1000)]
    expected_response_type: Maybe[Literal["text", "boolean", "choice"]] = None
    options: Maybe[Annotated[list[Option], Field(min_length=2, max_length=8)]] = None

    @model_validator(mode="after")
    def _options_fit_the_answer(self) -> Self:
        if self.expected_response_type == "choice" and self.options is None:
            raise ValueError("options: expected 2 to 8 for a choice, got none")
        if self.expected_response_type == "boolean" and self.options is not None:
            raise ValueError("options: expected none for a yes or no")
        return self


class UserQuestion(Wire):
    """The session waits for the user."""

    type: Literal["user_question"]
    question_id: Id
    payload: Question


class UserReplyReceived(Wire):
    """The user answered; the words themselves are not repeated."""

    type: Literal["user_reply_received"]
    question_id: Id
    session_id: Id


class ErrorEvent(Wire):
    """Something failed."""

    type: Literal["error"]
    code: Annotated[str, Field(min_length=1, max_length=64)]
    message: Annotated[str, Field(min_length=1, max_length=2000)]
    recoverable: bool


Event = Annotated[
    SessionStarted
    | Thought
    | ToolCall
    | ToolResult
    | Verdict
    | RecommendedAction
    | ExecutionResult
    | UserQuestion
    | UserReplyReceived
    | ErrorEvent,
    Field(discriminator="type"),
]

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def check_event(event: Json) -> Event:
    """One event of the stream as its typed form.

    Raises:
        FactsError: Not an event of schema 4; the message has the event's type and the field.
    """
    kind = event.get("type") if isinstance(event, dict) else None
    if not isinstance(kind, str):
        raise FactsError("event: expected an object with a type")
    return check_wire(_EVENT, event, where="event")
