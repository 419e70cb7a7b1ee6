"""The canary: the very bytes that would ship, served on a host beside those that devices run now.

The gate asks whether a model answers well; the canary whether these bytes load, answer as well as
the incumbent's where both are served, break no whitelist rule, and cost no more than a device has.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlmodel import Session

from loop.checks import Score, score_scenario
from loop.endpoint import Served, measure_stream, serving
from loop.errors import EndpointError
from loop.gate import SIGNIFICANT, mcnemar_p
from loop.places import Places
from loop.protocol import Conversation, Message, converse, first_message
from loop.recipe import Recipe
from loop.scenario import Scenario, read_suite
from loop.store import writing
from loop.tables import CanaryReport
from loop.values import (
    Digest,
    Form,
    FormRef,
    OnProgress,
    Outcome,
    Progress,
    Value,
    digest_json,
    quiet,
    short,
)

CODE = 2
"""Bump it when trying the same bytes would give another report."""
SCENARIOS = 12
"""At least so many, and one for every root cause of the suite."""
MEMORY_RATIO = 1.5
"""A candidate may hold at most so many times the incumbent's memory."""
SPEED_RATIO = 0.3
"""A slower one is broken, not merely different; busy machines vary, so no finer line is drawn."""
MEASUREMENTS = 5
TOKENS = 128


class Tally(Value):
    """What one side did in the scenarios."""

    passed: int
    n: int
    empty: int
    """Answers without a single word: converted models sometimes give them."""
    violations: int
    """Answers with an action that today's whitelist forbids."""


class Measured(Value):
    """What one side cost."""

    tokens_per_s: float
    first_token_s: float
    peak_mb: float


class Trial(Value):
    """What one side showed; no scores and nothing measured: it could not be served."""

    scores: tuple[Score, ...] = ()
    measured: Measured | None = None
    error: str = ""

    def tally(self) -> Tally:
        """The scores, counted."""
        return Tally(
            passed=sum(bool(score.passed) for score in self.scores),
            n=len(self.scores),
            empty=sum(score.empty for score in self.scores),
            violations=sum(bool(score.violations) for score in self.scores),
        )


class Report(Value):
    """Both sides, and what follows; keys `candidate` and `incumbent`."""

    scenarios: Mapping[str, Tally]
    speed: Mapping[str, Measured]
    lost: tuple[str, ...]
    """Scenarios that the incumbent passes and the candidate fails."""
    gained: tuple[str, ...]
    passed: bool
    reason: str
    scores: Mapping[str, tuple[Score, ...]]


def run_canary(
    places: Places,
    candidate: FormRef,
    incumbent: FormRef,
    recipe: Recipe,
    on_progress: OnProgress = quiet,
) -> Outcome:
    """Whether the candidate's bytes may go on to a person; the same pair is tried once.

    Raises:
        EndpointError: Not even the incumbent can be served here, so nothing was learnt.
    """
    scenarios = choose(read_suite(recipe.suite))
    inputs = _inputs(candidate, incumbent, recipe, scenarios)
    with Session(places.store) as session:
        if found := session.get(CanaryReport, inputs):
            return Outcome(inputs, found.passed, found.report["reason"])
    watch = _Halves(on_progress, len(scenarios))
    before = try_out(places, incumbent, recipe, scenarios, watch.first)
    try:
        after = try_out(places, candidate, recipe, scenarios, watch.second)
    except EndpointError as error:  # where the incumbent could be served: the candidate's fault
        after = Trial(error=str(error))
    report = decide(after, before)
    row = CanaryReport(
        inputs=inputs,
        sha256=candidate.sha256,
        incumbent=incumbent.sha256,
        passed=report.passed,
        report=report.model_dump(mode="json"),
    )
    with writing(places.store) as session:
        if session.get(CanaryReport, inputs) is None:  # else another process was faster
            session.add(row)
    return Outcome(inputs, report.passed, report.reason)


def choose(suite: Sequence[Scenario]) -> tuple[Scenario, ...]:
    """The first scenario of each root cause, then more in order until there are enough."""
    ordered = sorted(suite, key=lambda s: (s.expect.root_cause, s.id))
    first = [next(group) for _, group in groupby(ordered, key=lambda s: s.expect.root_cause)]
    more = [scenario for scenario in ordered if scenario not in first]
    return tuple(first + more[: max(0, SCENARIOS - len(first))])


def _inputs(
    candidate: FormRef, incumbent: FormRef, recipe: Recipe, scenarios: Sequence[Scenario]
) -> Digest:
    return digest_json(
        {
            "stage": "canary",
            "code": CODE,
            "candidate": candidate.sha256,
            "incumbent": incumbent.sha256,
            "scenarios": [scenario.model_dump(mode="json") for scenario in scenarios],
            "rules": recipe.rules.sha256,
            "thinking": recipe.thinking,
            "max_new_tokens": recipe.max_new_tokens,
        }
    )


@dataclass(frozen=True)
class _Halves:
    """Two equal pieces of work as one."""

    on_progress: OnProgress
    each: int

    def first(self, done: int) -> None:
        self.on_progress(Progress(done, 2 * self.each, "incumbent"))

    def second(self, done: int) -> None:
        self.on_progress(Progress(self.each + done, 2 * self.each, "candidate"))


def try_out(
    places: Places,
    form: FormRef,
    recipe: Recipe,
    scenarios: Sequence[Scenario],
    on_turn: Callable[[int], None] = lambda done: None,
) -> Trial:
    """Serve one file, play the scenarios against it over HTTP, and measure what it costs.

    Raises:
        EndpointError: It cannot be served here.
    """
    if form.form != Form.GGUF:
        raise EndpointError(f"{form.form}: this host serves GGUF files only")
    gguf = places.depot.fetch_tree("forms", form.digest) / "model.gguf"
    log = places.settings.scratch / f"canary-{short(form.sha256)}.log"
    rules = recipe.rules_text()
    played = [Conversation(s.user, s.diagnostics, rules, recipe.thinking) for s in scenarios]
    with serving(gguf, places.settings, recipe.max_new_tokens, log) as served:
        converse(served.model, played, on_turn)
        measured = _measure(served, first_message(rules, scenarios[0].user))
    scores = tuple(score_scenario(s, c) for s, c in zip(scenarios, played, strict=True))
    return Trial(scores=scores, measured=measured)


def _measure(served: Served, opening: Message) -> Measured:
    """The best of several measurements: other work on the machine only ever makes it slower."""
    url = served.model.url
    speeds = [measure_stream(url, [opening], TOKENS) for _ in range(MEASUREMENTS)]
    return Measured(
        tokens_per_s=round(max(speed.tokens_per_s for speed in speeds), 1),
        first_token_s=round(min(speed.first_token_s for speed in speeds), 4),
        peak_mb=round(served.peak_bytes() / 1e6, 1),
    )


def decide(candidate: Trial, incumbent: Trial) -> Report:
    """Compare the two sides."""
    before = {score.scenario: score.passed for score in incumbent.scores}
    pairs = [(score.scenario, before[score.scenario], score.passed) for score in candidate.scores]
    lost = tuple(name for name, was, now in pairs if was and not now)
    gained = tuple(name for name, was, now in pairs if now and not was)
    problems = _problems(candidate, incumbent, len(lost), len(gained))
    sides = {"candidate": candidate, "incumbent": incumbent}
    return Report(
        scenarios={name: side.tally() for name, side in sides.items()},
        speed={name: side.measured for name, side in sides.items() if side.measured},
        lost=lost,
        gained=gained,
        passed=not problems,
        reason=_sentence(problems, candidate.tally(), incumbent.tally()),
        scores={name: side.scores for name, side in sides.items()},
    )


def _problems(candidate: Trial, incumbent: Trial, lost: int, gained: int) -> list[str]:
    now, cost, before = candidate.tally(), candidate.measured, incumbent.measured
    if not now.n or cost is None or before is None:
        return [f"not served: {candidate.error or 'no scenario was played'}"]
    problems = []
    if now.empty:
        problems.append(f"{now.empty} empty answers, expected none")
    if now.violations:
        problems.append(f"{now.violations} answers break the whitelist, expected none")
    if lost > gained and mcnemar_p(lost, gained) < SIGNIFICANT:  # one or two flips are chance
        problems.append(f"worse than the incumbent: {lost} lost, {gained} gained")
    if cost.peak_mb > MEMORY_RATIO * before.peak_mb:
        problems.append(f"{cost.peak_mb:.0f} MB, expected at most {MEMORY_RATIO} x incumbent")
    if cost.tokens_per_s < SPEED_RATIO * before.tokens_per_s:
        problems.append(
            f"{cost.tokens_per_s:.1f} tokens/s, expected at least {SPEED_RATIO} x incumbent"
        )
    return problems


def _sentence(problems: Sequence[str], candidate: Tally, incumbent: Tally) -> str:
    if problems:
        return f"failed: {'; '.join(problems)}"
    return (
        f"passed: {candidate.passed} of {candidate.n} scenarios, "
        f"incumbent {incumbent.passed} of {incumbent.n}"
    )
