"""The one place where a cycle waits for people.

Prefect carries the patience and the form; the decision is a row in the store, asked for before and
after each wait. A resume that brought no decision waits again, so that no button, retry or reminder
ever walks past a person.
"""

import logging
from typing import Any, Literal, TypeAlias, TypeVar

from prefect import runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.flow_runs import pause_flow_run, suspend_flow_run
from prefect.input import RunInput
from pydantic import Field, ValidationError

from loop import card, cycles, signing, store, waiting
from loop.errors import LoopError
from loop.places import Places, get_places
from loop.tables import SignOff
from loop.values import CardRef, CycleRef, short, utc_now
from tasks import show

logger = logging.getLogger(__name__)

PLAIN_WAIT = 28 * 24 * 3600
"""Seconds that a run without deployment waits; a deployed one waits for ever."""
LABELS_PAGE, SIGN_OFF_PAGE = "waiting-labels", "waiting-sign-off"
LabelsDecision: TypeAlias = Literal[
    "go on with the labels there are", "stop the cycle", "check again"
]
SignOffDecision: TypeAlias = Literal["approve", "reject", "check again"]
DECISIONS: dict[LabelsDecision, str] = {
    "go on with the labels there are": waiting.GO_ON,
    "stop the cycle": waiting.STOP,
}


class LabelsForm(RunInput):
    """What a person may answer while labels are missing."""

    name: str = Field(title="Your name", min_length=1, max_length=80)
    decision: LabelsDecision = Field(title="Decision")


class SignOffForm(RunInput):
    """What an approver answers to one card."""

    name: str = Field(title="Your name", min_length=1, max_length=80)
    decision: SignOffDecision = Field(title="Decision")
    card: str = Field(
        title="Card",
        description="The first 12 characters of the card's digest, as shown above",
        pattern=r"^[0-9a-f]{12,64}$",
    )


FormT = TypeVar("FormT", bound=RunInput)


def wait_for_labels(cycle: CycleRef) -> bool:
    """True when enough is labelled or a person said to go on, False when one said to stop."""
    turn = 0
    while True:
        turn += 1
        if (wait := look_at_labels(cycle)).over:
            return not wait.stopped
        answer = _ask(LabelsForm, labels_key(cycle, turn), _labels_text(wait))
        if answer and answer.decision in DECISIONS:
            keep_labels_answer(cycle, answer.decision, answer.name)


def wait_for_sign_off(cycle: CycleRef, asked: CardRef) -> str:
    """What a person decided about exactly this card: `approve` or `reject`."""
    note, turn = "", 0
    while True:
        turn += 1
        if signed := look_at_sign_off(cycle, asked):
            return signed.decision
        answer = _ask(SignOffForm, sign_off_key(asked, turn), note + _card_text(asked))
        note = keep_sign_off_answer(asked, answer) if answer else ""


def labels_key(cycle: CycleRef, turn: int) -> str:
    """Names one asking for labels; a retried run that opens another cycle asks anew."""
    return f"labels-{cycle.number}-{turn}"


def sign_off_key(asked: CardRef, turn: int) -> str:
    """Names one asking for a sign-off of one card."""
    return f"sign-off-{short(asked.digest)}-{turn}"


def nothing_new(key: str) -> dict[str, Any]:
    """The answer that decides nothing: it only makes the waiting run ask the store again."""
    answer = {"name": "upkeep", "decision": "check again"}
    return answer if key.startswith("labels-") else answer | {"card": _card_in(key)}


def page_now(places: Places, cycle: CycleRef, key: str) -> tuple[str, str, bool]:
    """The artifact of the wait with this key, its text by what the store says now, and if over."""
    with store.writing(places.store) as session:
        if key.startswith("labels-"):
            wait = waiting.label_wait(session, cycle)
            return LABELS_PAGE, _labels_text(wait), wait.over
        row = store.get_card(session, _card_in(key))
        signed = store.sign_off_of(session, row.digest)
        return SIGN_OFF_PAGE, _sign_off_text(CardRef(row.digest, row.sha256), signed), bool(signed)


def _card_in(key: str) -> str:
    return key.split("-")[2]


@task(task_run_name="look-at-labels", cache_policy=NO_CACHE)
def look_at_labels(cycle: CycleRef) -> waiting.LabelWait:
    """How far the labelling is; a wait that is not over is marked and shown."""
    places = get_places()
    with store.writing(places.store) as session:
        wait = waiting.label_wait(session, cycle)
    _show(cycle, "label", LABELS_PAGE, _labels_text(wait), wait.over)
    return wait


@task(task_run_name="look-at-sign-off", cache_policy=NO_CACHE)
def look_at_sign_off(cycle: CycleRef, asked: CardRef) -> SignOff | None:
    """The newest sign-off of a card; a wait that is not over is marked and shown."""
    places = get_places()
    with store.writing(places.store) as session:
        signed = store.sign_off_of(session, asked.digest)
    _show(cycle, "sign-off", SIGN_OFF_PAGE, _sign_off_text(asked, signed), signed is not None)
    return signed


def _show(cycle: CycleRef, stage: str, key: str, text: str, over: bool) -> None:
    cycles.mark(get_places(), cycle, stage, "finished" if over else "waiting", text)
    show.page(key, text)


@task(task_run_name="keep-labels-answer", cache_policy=NO_CACHE)
def keep_labels_answer(cycle: CycleRef, decision: LabelsDecision, name: str) -> None:
    """Write down what a person answered about the labels."""
    waiting.decide_label_wait(get_places(), cycle, DECISIONS[decision], name)


@task(task_run_name="keep-sign-off-answer", cache_policy=NO_CACHE)
def keep_sign_off_answer(asked: CardRef, answer: SignOffForm) -> str:
    """Write down an approver's answer; returns why not, where nothing was written."""
    if answer.decision == "check again":
        return ""
    if not asked.digest.startswith(answer.card):
        return f"**Nothing was written:** `{answer.card}` is another card.\n\n"
    try:
        signing.sign(get_places(), asked.digest, answer.decision, answer.name, via="form")
    except LoopError as error:
        return f"**Nothing was written:** {error}\n\n"
    return ""


def _ask(form: type[FormT], key: str, text: str) -> FormT | None:
    """What a person answered, or None where the run was resumed without a usable answer."""
    asked = form.with_initial_data(description=text)  # never a field: it would lose its rules
    try:
        if runtime.deployment.id is None:
            return pause_flow_run(asked, key=key, timeout=PLAIN_WAIT, poll_interval=2)
        return suspend_flow_run(asked, key=key, timeout=None)
    except ValidationError:  # a retry by force skips the form and leaves its answer empty
        logger.warning("resumed without an answer to %s: waiting again", key)
        return None


def _labels_text(wait: waiting.LabelWait) -> str:
    url = get_places().settings.labeller_url
    sentence = wait.sentence(utc_now().date(), url)
    if wait.over:
        return f"Over: {sentence}\n"
    return (
        f"**{sentence}**\n\n{wait.unlabelled} sessions have no label yet. The cycle goes on by "
        f"itself once {wait.wanted} are labelled."
    )


def _card_text(asked: CardRef) -> str:
    with store.writing(get_places().store) as session:
        return card.card_markdown(signing.read_card(session, asked))


def _sign_off_text(asked: CardRef, signed: SignOff | None) -> str:
    if signed:
        return f"Over: {signed.decision} by {signed.made_by} ({signed.via})\n\n{_card_text(asked)}"
    begin = short(asked.digest)
    return (
        f"**Card {begin} waits for a sign-off:** `bloxloop approve {begin} --name …`, "
        f"or resume the run with its form.\n\n{_card_text(asked)}"
    )
