"""Labelled records in the device's wire form, turned into uploads of schema 2, or refused.

Every repair and every refusal has a code; nothing passes silently. Who keeps the result is
`importing`'s business.

Source:
    The deviations and what to do about each: the table of importer duties beside the records.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import ValidationError

from loop.causes import cause_of
from loop.diagnostics import check_result, rescored, summary_problems
from loop.errors import FactsError, TranscriptError
from loop.tables import Decision
from loop.transcript import OWN_FIELDS
from loop.upload import UNSENDABLE, Upload, parse_json, read_upload
from loop.values import Action, Json, Severity, Value
from loop.whitelist import shown_confidence, violation

Code: TypeAlias = Literal[
    "wire_form",
    "no_relative_ts",
    "wallclock",
    "home_path",
    "protocol_3",
    "unknown_anonymizer",
    "think_in_thought",
    "confidence_above_cap",
    "summary_impossible",
    "summary_rescored",
    "label_disputed",
]
"""What was repaired or flagged in a record that was taken."""
REFUSALS = (
    "action_not_in_whitelist",
    "block_unsupported_by_runtime",
    "bad_record",
    "bad_event",
    "result_impossible",
)
"""Why a record is not taken; beside these, the reasons of `loop.upload`."""
FOR_A_LABELLER: frozenset[Code] = frozenset({"confidence_above_cap", "label_disputed"})
"""The record's own label does not hold; a person has to judge."""

PROTOCOL_VERSION = 4
ANONYMIZERS = frozenset({"0.1.0"})
DISPUTED = frozenset({("captive_portal", Severity.RED)})
"""Cause and severity on which the sources disagree: trees say that a portal is yellow."""
BESIDE: Mapping[str, frozenset[str]] = {
    "session_started": frozenset({"session_id", "protocol_version", "ttl_seconds"}),
    "tool_call": frozenset({"call_id"}),
    "tool_result": frozenset({"call_id", "ok", "error"}),
    "recommended_action": frozenset(
        {"action_id", "action_name", "args", "reasoning", "confidence", "tier"}
        | {"approval_token", "expected_duration_s"}
    ),
    "execution_result": frozenset(
        {"action_id", "success", "exit_code", "stdout_excerpt", "stderr_excerpt"}
        | {"duration_ms", "follow_up"}
    ),
    "error": frozenset({"code", "message", "recoverable"}),
}
"""The fields that stand beside payload on the wire, by event type."""

_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})"
)
_TS, _SOME_INSTANT = re.compile("<TS>"), "2000-01-01T00:00:00Z"
_HOME = re.compile(r"/(home|Users)/[A-Za-z0-9_.-]{1,32}")
_FAMILY = re.compile(r"(?:^|;)\s*scenario=([^;]+)")
_THINK = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)

Object: TypeAlias = dict[str, Json]


class LabelledRecord(Value):
    """One file: a transcript in wire form, and what its author said about it."""

    upload_id: str
    transcript: Object
    label_decision: Decision
    verdict_correct: bool
    root_cause_correct: bool
    actions_correct: bool
    notes: str = ""
    labelled_at: str = ""

    @property
    def family(self) -> str | None:
        """The scenario that a generator varied into this record, where its notes name one."""
        named = _FAMILY.search(self.notes)
        return named[1].strip() if named else None


@dataclass(frozen=True)
class Repaired:
    """A record that can be taken."""

    record: LabelledRecord
    upload: Upload
    codes: tuple[Code, ...]


def repair(data: bytes) -> Repaired:
    """The upload in a labelled record, and what had to be done to it.

    Raises:
        TranscriptError: With a reason of `REFUSALS` or of `loop.upload`.
    """
    record = _read(data)
    codes: set[Code] = set()
    upload = read_upload(_upload(record.transcript, codes))
    return Repaired(record, upload, tuple(sorted(codes)))


def _read(data: bytes) -> LabelledRecord:
    try:
        record = LabelledRecord.model_validate(parse_json(data))
    except ValidationError:
        raise TranscriptError("bad_record") from None
    if record.upload_id != record.transcript.get("upload_id"):
        raise TranscriptError("bad_record", "the two upload ids differ")
    return record


def _upload(sent: Object, codes: set[Code]) -> Object:
    """The record's transcript as an upload of schema 2."""
    homeless = _replaced(sent, _HOME, r"/\1/<USER>")
    upload = _lifted(homeless, codes)
    timeless: Object = _replaced(upload, _INSTANT, "<TS>")
    codes |= {"home_path"} if homeless != sent else set()
    codes |= {"wallclock"} if timeless != upload else set()
    return timeless


def _lifted(sent: Object, codes: set[Code]) -> Object:
    events = _events(sent)
    severity, cause = _diagnosis(events)
    if (cause_of(cause), severity) in DISPUTED:
        codes.add("label_disputed")
    if sent["consent"].get("anonymizer_version") not in ANONYMIZERS:
        codes.add("unknown_anonymizer")
    lift = _Lift(severity, codes)
    lifted = [lift.event(event, number) for number, event in enumerate(events)]
    version = lift.protocol_version
    told = {} if version is None else {"protocol_version": version}
    return {**sent, **told, "schema_version": 2, "events": lifted}


def _events(sent: Object) -> list[Object]:
    events, consent = sent.get("events"), sent.get("consent")
    if not (isinstance(events, list) and isinstance(consent, dict)):
        raise TranscriptError("bad_record", "expected events and consent")
    for number, event in enumerate(events):
        _check_event(event, number)
    return events


def _check_event(event: Json, number: int) -> None:
    kind = event.get("type") if isinstance(event, dict) else None
    if not isinstance(kind, str):
        raise TranscriptError("bad_event", f"event {number}: expected an object with a type")
    if kind == "user_question":
        raise TranscriptError("block_unsupported_by_runtime", f"event {number}: {kind}")
    known = {"type", "payload", "relative_ts"} | BESIDE.get(kind, frozenset())
    if not known.issuperset(event):
        raise TranscriptError("bad_event", f"event {number}: unknown fields beside its payload")


def _diagnosis(events: list[Object]) -> tuple[Severity | None, str]:
    """What the last verdict says; without a usable one, nothing."""
    payloads = [event.get("payload") for event in events if event["type"] == "verdict"]
    last = payloads[-1] if payloads and isinstance(payloads[-1], dict) else {}
    named = last.get("severity") in list(Severity)
    return Severity(last["severity"]) if named else None, str(last.get("root_cause", ""))


class _Lift:
    """Lifts the events of one record out of the wire form, in order."""

    def __init__(self, severity: Severity | None, codes: set[Code]) -> None:
        self.severity, self.codes = severity, codes
        self.protocol_version: int | None = None
        self._calls: list[tuple[Json, str]] = []
        self._open: list[int] = []

    def event(self, event: Object, number: int) -> Object:
        """One event as an upload has it, its former siblings in its payload."""
        if "relative_ts" not in event:
            self.codes.add("no_relative_ts")
        if BESIDE.get(event["type"], frozenset()).intersection(event):
            self.codes.add("wire_form")
        lifted = {"type": event["type"], "relative_ts": event.get("relative_ts", f"+{number}s")}
        lift = _LIFTS.get(event["type"], _Lift.siblings)
        payload = lift(self, event)
        return (
            lifted if payload is None and "payload" not in event else lifted | {"payload": payload}
        )

    def siblings(self, event: Object) -> Json:
        """The payload with what stood beside it, but nothing that must stay on the device."""
        beside = BESIDE.get(event["type"], frozenset()) - UNSENDABLE
        kept = {key: value for key, value in event.items() if key in beside}
        payload = event.get("payload")
        return {**(payload if isinstance(payload, dict) else {}), **kept} if kept else payload

    def session_started(self, event: Object) -> Json:
        """Protocol 3 differs from 4 in nothing that an upload shows."""
        version = event.get("protocol_version", PROTOCOL_VERSION)
        if version not in (3, PROTOCOL_VERSION):
            raise TranscriptError("bad_event", "expected protocol version 3 or 4")
        if version != PROTOCOL_VERSION:
            self.codes.add("protocol_3")
        self.protocol_version = version
        return self.siblings(event)

    def thought(self, event: Object) -> Json:
        """What the user saw; the device strips what stands between think tags."""
        payload = event.get("payload")
        if not isinstance(payload, str) or "<think>" not in payload:
            return payload
        self.codes.add("think_in_thought")
        return _THINK.sub("", payload).strip()

    def tool_call(self, event: Object) -> Json:
        """Numbered in order, because ids repeat in every session."""
        payload = event.get("payload")
        if not isinstance(payload, dict) or not isinstance(payload.get("tool"), str):
            raise TranscriptError("bad_event", "a tool call without a tool")
        self._open.append(len(self._calls))
        self._calls.append((event.get("call_id"), payload["tool"]))
        return {**payload, "call_index": self._open[-1]}

    def tool_result(self, event: Object) -> Json:
        """Checked against what the tool can return, and paired with its call."""
        index = self._answered(event)
        tool, payload = self._calls[index][1], event.get("payload")
        if not event.get("ok", payload not in (None, {})):
            return _failure(tool, event) | {"call_index": index}
        return self._result(tool, payload) | {"call_index": index}

    def recommended_action(self, event: Object) -> Json:
        """Allowed by today's whitelist, and as sure as the device would show it."""
        lifted = self.siblings(event)
        if not lifted:
            return lifted  # lost by a phone
        action = _action(lifted)
        if problem := violation(action):
            raise TranscriptError("action_not_in_whitelist", problem)
        stated = lifted.get("confidence")
        if isinstance(stated, int | float):
            lifted["confidence"] = shown_confidence(action.name, self.severity, stated)
            if lifted["confidence"] != stated:
                self.codes.add("confidence_above_cap")
        return lifted

    def _answered(self, event: Object) -> int:
        ids = [self._calls[index][0] for index in self._open]
        if event.get("call_id") not in ids:
            raise TranscriptError("bad_event", "a tool result without its call")
        return self._open.pop(ids.index(event.get("call_id")))

    def _result(self, tool: str, result: Json) -> Object:
        dated = _replaced(result, _TS, _SOME_INSTANT)  # shapes want instants where phones put <TS>
        try:
            check_result(tool, dated)
            if tool != "diag/summary" or not summary_problems(dated):
                return dict(result)
            self.codes.add("summary_impossible")
            again = rescored(dated)
            if not summary_problems(again):
                self.codes.add("summary_rescored")
        except FactsError as error:
            raise TranscriptError("result_impossible", str(error)) from error
        return {**again, "generated_at": result["generated_at"]}


_LIFTS: Mapping[str, Callable[[_Lift, Object], Json]] = {
    "session_started": _Lift.session_started,
    "thought": _Lift.thought,
    "tool_call": _Lift.tool_call,
    "tool_result": _Lift.tool_result,
    "recommended_action": _Lift.recommended_action,
}


def _action(lifted: Json) -> Action:
    try:
        return Action(name=lifted["action_name"], args=lifted.get("args", {}))
    except (KeyError, TypeError, ValidationError):
        raise TranscriptError("bad_event", "a recommendation without an action") from None


def _failure(tool: str, event: Object) -> Object:
    """A failed result; `ok` and `error` that are a tool's own fields would read as its answer."""
    beside = {"ok": False, "error": event.get("error", "")}
    return {key: value for key, value in beside.items() if key not in OWN_FIELDS.get(tool, ())}


def _replaced(value: Json, pattern: re.Pattern[str], by: str) -> Json:
    """The value with a replacement made in all its texts; its keys stay."""
    if isinstance(value, list):
        return [_replaced(inner, pattern, by) for inner in value]
    if isinstance(value, dict):
        return {key: _replaced(inner, pattern, by) for key, inner in value.items()}
    return pattern.sub(by, value) if isinstance(value, str) else value
