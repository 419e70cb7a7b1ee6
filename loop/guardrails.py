"""What the device shows after its guardrails, beside what its model said.

The gate scores the raw answer; this is for the report, so that a person sees both.

Source:
    functionland/blox-ai 6bf006a, src/runtime/rkllm_runtime.py.
"""

import re
from dataclasses import dataclass, replace

from loop.protocol import Conversation, Recommendation, Verdict
from loop.values import Json, Severity
from loop.whitelist import shown_confidence

_CONNECTIVITY = re.compile(
    r"disconnect|not reachable|unreachable|can'?t see|cannot see|can'?t reach|cannot reach|offline",
    re.IGNORECASE,
)
NO_VERDICT = {
    "no_verdict_emitted": "The model gave no verdict.",
    "max_turns_exceeded": "The model did not come to an end.",
}


@dataclass(frozen=True)
class Shown:
    """What the user's app receives."""

    verdict: Verdict
    recommendations: tuple[Recommendation, ...]


def shown(conversation: Conversation) -> Shown:
    """The verdict and recommendations that reach the user of a finished conversation."""
    verdict = conversation.verdict
    if verdict is None:
        ended = conversation.ended if conversation.ended in NO_VERDICT else "no_verdict_emitted"
        verdict = Verdict(Severity.YELLOW, ended, NO_VERDICT[ended])
    elif not _evidence(conversation) and verdict.root_cause != "insufficient_data":
        verdict = Verdict(Severity.YELLOW, "insufficient_data", "No diagnostic returned data.")
        return Shown(verdict, ())
    kept = [said for said in conversation.recommendations if said.tier is not None]
    if _contradicts(conversation):
        kept = [said for said in kept if said.action.name != "restart_fula"]
    return Shown(verdict, tuple(_capped(said, verdict.severity) for said in kept))


def _evidence(conversation: Conversation) -> bool:
    return any(conversation.results.get(call.tool) is not None for call in conversation.calls)


def _contradicts(conversation: Conversation) -> bool:
    """The user speaks of a lost connection while the last summary's heartbeat got through."""
    asked = any(call.tool == "diag/summary" for call in conversation.calls)
    summary = conversation.results.get("diag/summary") if asked else None
    beat: Json = (summary or {}).get("subsystems", {}).get("heartbeat", {})
    alive = beat.get("status") == "green" and beat.get("key_metrics", {}).get("http_status") == 200
    return alive and bool(_CONNECTIVITY.search(conversation.prompt))


def _capped(said: Recommendation, severity: Severity) -> Recommendation:
    confidence = shown_confidence(said.action.name, severity, said.confidence)
    return replace(said, confidence=confidence)
