"""Gating: every form of a model answers the same suite and is judged by the same code."""

import json
import shutil
from collections.abc import Mapping, Sequence

from sqlmodel import Session, col, select

from loop.answer import AnswerJob, Asked
from loop.checks import Score, score_scenario, unjudged
from loop.endpoint import serving
from loop.errors import EndpointError
from loop.forms import row_of
from loop.gate import Case, Report, decide
from loop.guardrails import shown
from loop.jobs import run_job
from loop.places import Places
from loop.protocol import Conversation, converse
from loop.recipe import Recipe
from loop.scenario import Scenario, read_suite, suite_digest
from loop.store import writing
from loop.tables import GateReport
from loop.values import (
    Digest,
    Form,
    FormRef,
    OnProgress,
    Outcome,
    Progress,
    digest_json,
    quiet,
    short,
)

CODE = 2
"""Bump it when judging the same answers would give another report."""
SLOTS = 4
SECONDS = 4 * 3600.0


def gate_form(
    places: Places,
    form: FormRef,
    recipe: Recipe,
    on_progress: OnProgress = quiet,
    incumbent: FormRef | None = None,
) -> Outcome:
    """Whether one form passes the recipe's suite; the same form is asked the same suite once.

    Args:
        places: Where forms and reports are kept.
        form: What is judged.
        recipe: Names the suite and how the device asks.
        on_progress: Told how many scenarios are done.
        incumbent: What devices run now; the form must not do significantly worse. It is asked the
            suite first where nobody asked it yet, as after a new scenario.
    """
    question = gate_question(form, recipe)
    inputs = digest_json([question, incumbent.digest if incumbent else None])
    with Session(places.store) as session:
        if found := session.get(GateReport, inputs):
            return Outcome(inputs, found.passed, found.report["reason"])
    scenarios = read_suite(recipe.suite)
    before = _scores_of(places, incumbent, recipe) if incumbent else ()
    played = play(places, form, recipe, scenarios, on_progress)
    report = judge(recipe.suite, scenarios, played, before)
    row = GateReport(
        inputs=inputs,
        question=question,
        form=form.form,
        digest=form.digest,
        suite=recipe.suite,
        passed=report.passed,
        report=report.model_dump(mode="json"),
    )
    with writing(places.store) as session:
        if session.get(GateReport, inputs) is None:  # else another process was faster
            session.add(row)
    return Outcome(inputs, report.passed, report.reason)


def gate_question(form: FormRef, recipe: Recipe) -> Digest:
    """Names the question: these bytes, this suite, these rules, this way of asking."""
    return digest_json(
        {
            "stage": "gate",
            "code": CODE,
            "form": form.digest,
            "suite": suite_digest(recipe.suite),
            "rules": recipe.rules.sha256,
            "thinking": recipe.thinking,
            "max_new_tokens": recipe.max_new_tokens,
        }
    )


def play(
    places: Places,
    form: FormRef,
    recipe: Recipe,
    scenarios: Sequence[Scenario],
    on_progress: OnProgress = quiet,
) -> list[Conversation]:
    """The finished conversations of one form with some scenarios, in their order."""
    if form.form in (Form.GGUF, Form.RKLLM):
        return _play_served(places, form, recipe, scenarios, on_progress)
    return _play_weights(places, form, recipe, scenarios, on_progress)


def _play_served(
    places: Places,
    form: FormRef,
    recipe: Recipe,
    scenarios: Sequence[Scenario],
    on_progress: OnProgress,
) -> list[Conversation]:
    if form.form == Form.RKLLM:
        raise EndpointError("a .rkllm file answers on a device only, and none is configured here")
    played = [_fresh(scenario, recipe) for scenario in scenarios]
    gguf = places.depot.fetch_tree("forms", form.digest) / "model.gguf"
    log = places.settings.scratch / f"gate-{short(form.digest)}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with serving(gguf, places.settings, recipe.max_new_tokens, log, slots=SLOTS) as served:
        converse(served.model, played, lambda n: on_progress(Progress(n, len(played))))
    return played


def _play_weights(
    places: Places,
    form: FormRef,
    recipe: Recipe,
    scenarios: Sequence[Scenario],
    on_progress: OnProgress,
) -> list[Conversation]:
    folder = places.depot.fetch_tree("forms", form.digest)
    parent = row_of(places, form).parent if form.form == Form.ADAPTER else None
    job = AnswerJob(
        folder=places.depot.fetch_tree("forms", parent) if parent else folder,
        adapter=folder if parent else None,
        rules=recipe.rules_text(),
        thinking=recipe.thinking,
        max_new_tokens=recipe.max_new_tokens,
        threads=places.settings.threads,
        scenarios=[Asked(id=s.id, user=s.user, diagnostics=s.diagnostics) for s in scenarios],
    )
    work = places.settings.scratch / f"gate-{short(form.digest)}"
    out = run_job("answer", job, work, on_progress, SECONDS)
    texts = json.loads((out / "answers.json").read_bytes())
    shutil.rmtree(work)
    return [_replayed(scenario, recipe, texts) for scenario in scenarios]


def _fresh(scenario: Scenario, recipe: Recipe) -> Conversation:
    rules = recipe.rules_text()
    return Conversation(scenario.user, scenario.diagnostics, rules, recipe.thinking)


def _replayed(
    scenario: Scenario, recipe: Recipe, texts: Mapping[str, Sequence[str]]
) -> Conversation:
    conversation = _fresh(scenario, recipe)
    for text in texts.get(scenario.id, ()):
        conversation.take(text)
    return conversation


def judge(
    suite: str,
    scenarios: Sequence[Scenario],
    played: Sequence[Conversation],
    incumbent_scores: Sequence[Score] = (),
) -> Report:
    """The report on some finished conversations; unfinished ones count as unjudged."""
    pairs = list(zip(scenarios, played, strict=True))
    scores = [score_scenario(s, c) if c.done else unjudged(s) for s, c in pairs]
    report = decide(suite, scores, incumbent_scores)
    failed = zip(pairs, scores, strict=True)
    cases = tuple(_case(s, c, score) for (s, c), score in failed if score.passed is False)
    return report.model_copy(update={"failures": cases})


def _case(scenario: Scenario, played: Conversation, score: Score) -> Case:
    expect, device = scenario.expect, shown(played)
    actions = ", ".join(action.key() for action in expect.actions) or "no action"
    device_actions = ", ".join(s.action.key() for s in device.recommendations) or "no action"
    return Case(
        scenario=scenario.id,
        wanted=f"{expect.severity} {expect.root_cause}: {actions}",
        said=score.said,
        shown=f"{device.verdict.severity} {device.verdict.root_cause}: {device_actions}",
        problems=score.violations + score.broken_rules + _unseen(score),
    )


def _unseen(score: Score) -> tuple[str, ...]:
    return tuple(f"never looked at {tool}" for tool in score.overlooked)


def _scores_of(places: Places, form: FormRef, recipe: Recipe) -> tuple[Score, ...]:
    """What a form does when it is asked the very same; it is asked now if it never was."""
    asked = select(GateReport).where(GateReport.question == gate_question(form, recipe))
    newest = asked.order_by(col(GateReport.at).desc())
    with Session(places.store) as session:
        if found := session.exec(newest).first():
            return Report.model_validate(found.report).scores
    gate_form(places, form, recipe)
    return _scores_of(places, form, recipe)
