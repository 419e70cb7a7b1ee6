"""Whether a person's judgement may be kept: it names known things and contradicts nothing.

What training makes of a label is `dataset`'s business.
"""

import difflib
import re

from loop.causes import cause_of, causes, normal
from loop.errors import LabelError
from loop.tables import Decision, Label, LabelIn
from loop.transcript import Session
from loop.values import Action
from loop.whitelist import violation

Problems = dict[str, str]
"""A sentence by field of the label."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_BLOCK = re.compile(
    r"<\||</?(?:think|tool_call|tool_response|verdict|recommendation|user_question)\b", re.I
)
"""Chat markers and the device's block tags: inside a learnt sentence they would end its block."""


def check_label(sent: LabelIn, *, made_by: str, session: Session | None = None) -> Label:
    """The label to keep: its cause by id, its words tidied.

    Args:
        sent: What the person sent.
        made_by: Who judged; `simulated-…` for a simulated person.
        session: What the device answered, to compare the judgement with; None: compare nothing.

    Raises:
        LabelError: With every problem found, by field.
    """
    problems = _decision_problems(sent) | _correction_problems(sent) | _word_problems(sent)
    if session is not None and not problems:
        problems = _comparison_problems(sent, session)
    if problems:
        raise LabelError(problems)
    tidied = {
        "root_cause": cause_of(sent.root_cause),
        "actions": [action.model_dump(mode="json") for action in sent.actions],
        "summary": one_line(sent.summary),
        "reasoning": one_line(sent.reasoning),
        "note": _CONTROL.sub(" ", sent.note).strip(),
        "made_by": made_by,
    }
    return Label.model_validate(sent, update=tidied)


def one_line(text: str) -> str:
    r"""The words of a text with single spaces between them, as a model learns to say them.

    >>> one_line(" The clock\n is\x00wrong. ")
    'The clock is wrong.'
    """
    return " ".join(_CONTROL.sub(" ", text).split())


def marker_in(text: str) -> str | None:
    """The first marker that would end a learnt sentence's block or turn; None: plain words.

    >>> marker_in("it said </verdict> and stopped"), marker_in("a <b>bold</b> word")
    ('</verdict', None)
    """
    found = _BLOCK.search(text)
    return found.group() if found else None


def _decision_problems(sent: LabelIn) -> Problems:
    wrong = _wrong_parts(sent)
    nothing_right = not (sent.severity_correct or sent.root_cause_correct or sent.actions_correct)
    if sent.decision is Decision.ACCEPT and wrong:
        return {"decision": f"accept means that all is right, but wrong: {', '.join(wrong)}"}
    if sent.decision is not Decision.ACCEPT and not wrong:
        return {"decision": f"{sent.decision} means that something is wrong; mark at least one"}
    if sent.decision is Decision.PARTIAL and nothing_right:
        return {"decision": "partial means that something is right; choose reject"}
    return {}


def _wrong_parts(sent: LabelIn) -> list[str]:
    parts = {
        "severity": sent.severity_correct,
        "root cause": sent.root_cause_correct,
        "actions": sent.actions_correct,
        "tool calls": sent.tools_correct,
    }
    return [name for name, correct in parts.items() if not correct]


def _correction_problems(sent: LabelIn) -> Problems:
    problems: Problems = {}
    if cause_of(sent.root_cause) is None:
        problems["root_cause"] = _unknown_cause(sent.root_cause)
    if forbidden := [found for action in sent.actions if (found := violation(action))]:
        problems["actions"] = "today's whitelist forbids this. " + "; ".join(forbidden)
    elif len(_keys(sent.actions)) != len(sent.actions):
        problems["actions"] = "the same action stands twice; expected each once"
    return problems


def _unknown_cause(text: str) -> str:
    if not text.strip():
        return "expected a root cause, got none"
    near = difflib.get_close_matches(normal(text), causes(), n=3, cutoff=0.4)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    return f"{text.strip()!r:.80} is no root cause of the vocabulary{hint}"


def _keys(actions: list[Action]) -> set[str]:
    return {action.key() for action in actions}


def _word_problems(sent: LabelIn) -> Problems:
    words = {"summary": sent.summary, "reasoning": sent.reasoning}
    return {
        name: f"expected plain words, got the marker {marker!r}"
        for name, text in words.items()
        if (marker := marker_in(text))
    }


def _comparison_problems(sent: LabelIn, session: Session) -> Problems:
    return _verdict_problems(sent, session) | _action_problems(sent, session)


def _verdict_problems(sent: LabelIn, session: Session) -> Problems:
    if session.verdict is None:
        said_right = {"severity": sent.severity_correct, "root_cause": sent.root_cause_correct}
        sentence = "the device gave no verdict, so nothing of it can be right"
        return {field: sentence for field, right in said_right.items() if right}
    problems: Problems = {}
    given = session.verdict.severity
    if sent.severity_correct != (sent.severity == given):
        problems["severity"] = _contradiction(sent.severity_correct, given, sent.severity)
    cause, theirs = cause_of(sent.root_cause), cause_of(session.verdict.root_cause)
    unnamed = theirs is None and sent.root_cause_correct  # right, in words of the device's own
    if sent.root_cause_correct != (cause == theirs) and not unnamed:
        problems["root_cause"] = _contradiction(sent.root_cause_correct, theirs, cause)
    return problems


def _action_problems(sent: LabelIn, session: Session) -> Problems:
    if session.actions is None:
        sentence = "the upload lost what the device recommended, so it cannot be judged wrong"
        return {} if sent.actions_correct else {"actions": sentence}
    theirs = _keys([recommended.action for recommended in session.actions])
    if sent.actions_correct != (_keys(sent.actions) == theirs):
        return {"actions": _contradiction(sent.actions_correct, _listed(theirs), _listed(sent))}
    return {}


def _listed(actions: LabelIn | set[str]) -> str:
    keys = _keys(actions.actions) if isinstance(actions, LabelIn) else actions
    return ", ".join(sorted(keys)) or "nothing"


def _contradiction(said_right: bool, given: str | None, corrected: str | None) -> str:
    if said_right:
        return f"judged right, but {corrected} differs from the device's {given}"
    return f"judged wrong, but {given} is what the device answered; expected something else"
