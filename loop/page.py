"""One cycle as one HTML page that needs nothing else: no script, no file, no network.

The words and their order are in data/report.html; here is what they speak of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from loop.card import card_markdown
from loop.comparison import SIDES, all_measures, costs, passed, tallies
from loop.cycle_facts import CycleFacts, form_name
from loop.cycles import name_of
from loop.failures import Failure, failures_of
from loop.figures import at_most, counted, duration, figure, moment, percent, size
from loop.gate import zero_failures_bound
from loop.plots import gate_bars, loss_curve, side_by_side
from loop.settings import Settings
from loop.summary import decision_of, outcome_of, reason_of
from loop.timeline import Span
from loop.values import Json, short
from loop.whereabouts import whereabouts

SHOWN_FAILURES = 12
"""The others can be unfolded."""
TEMPLATES = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Tile:
    """One figure that a person looks for first."""

    name: str
    value: str
    note: str = ""
    good: bool | None = None
    """None: neither good nor bad."""


@dataclass(frozen=True)
class Bar:
    """One stage on the time axis."""

    span: Span
    at: float
    """Where it begins, in percent of the axis."""
    long: float


def cycle_page(settings: Settings, facts: CycleFacts) -> str:
    """The page of one cycle, as far as it has come."""
    return (
        _environment()
        .get_template("report.html")
        .render(
            facts=facts,
            cycle=facts.cycle,
            name=name_of(facts.cycle),
            outcome=outcome_of(facts),
            reason=reason_of(facts),
            simulated=_simulated(facts),
            tiles=_tiles(facts),
            bars=_bars(facts.stages),
            training=facts.adapter.facts if facts.adapter else {},
            plots=_plots(facts),
            failures=_failures(facts),
            shown=SHOWN_FAILURES,
            gates=facts.gates,
            canary=facts.canary_report,
            measures=all_measures(facts.canary_report) if facts.canary_report else [],
            sides=SIDES,
            card=facts.card,
            card_text=card_markdown(facts.card) if facts.card else "",
            signed=facts.sign_off,
            release=facts.release,
            places=whereabouts(settings, facts),
        )
    )


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    written = (
        at_most,
        counted,
        decision_of,
        duration,
        figure,
        form_name,
        moment,
        percent,
        short,
        size,
        zero_failures_bound,
    )
    made.filters |= {function.__name__: function for function in written}
    return made


def _simulated(facts: CycleFacts) -> bool:
    """Whether any judgement in it was made by no person."""
    people = list(facts.dataset.labels) if facts.dataset else []
    people += [facts.sign_off.made_by] if facts.sign_off else []
    return any(name.startswith("simulated-") for name in people)


def _tiles(facts: CycleFacts) -> list[Tile]:
    tiles = []
    if facts.dataset:
        card = facts.dataset.card
        note = f"{card.corrections} corrections, {card.agreements} agreements"
        tiles.append(Tile("examples", str(card.train + card.validation), note))
    if decided := [gate for gate in facts.gates if gate.decides]:
        report, form = decided[-1].report, decided[-1].name
        tiles += [
            Tile(
                metric.name.replace("_", " "),
                percent(metric.rate),
                f"needed {metric.threshold:.0%}, {form}",
                metric.passed,
            )
            for metric in report.metrics
        ]
        bound = f"{at_most(report.violation_bound)} with 95 % confidence"
        broken = report.violations
        tiles.append(
            Tile("forbidden actions", str(broken), "none allowed" if broken else bound, not broken)
        )
    if tried := facts.canary_report:
        now, before = (f"{side.passed}/{side.n}" for side in tallies(tried))
        tiles.append(Tile("canary scenarios", now, f"incumbent {before}", tried.passed))
    return tiles


def _bars(stages: Sequence[Span]) -> list[Bar]:
    """The stages one after the other; waiting for people never takes more than the longest work."""
    work = max((span.seconds for span in stages if not span.waited), default=0.0)
    lengths = [min(span.seconds, work) if span.waited else span.seconds for span in stages]
    total = sum(lengths) or 1.0
    return [
        Bar(span, 100 * sum(lengths[:i]) / total, 100 * length / total)
        for i, (span, length) in enumerate(zip(stages, lengths, strict=True))
    ]


def _plots(facts: CycleFacts) -> dict[str, Markup]:
    """The plots there is something to draw for; trusted, for no word in them comes from a model."""
    training: dict[str, Json] = facts.adapter.facts if facts.adapter else {}
    drawn = dict.fromkeys(("loss", "gates", "canary"), "")
    if curve := training.get("loss_curve"):
        drawn["loss"] = loss_curve(curve, training.get("validation_loss"))
    if facts.gates:
        drawn["gates"] = gate_bars([(gate.name, gate.report) for gate in facts.gates])
    if (report := facts.canary_report) and report.speed:
        drawn["canary"] = side_by_side([passed(report), *costs(report)])
    return {name: Markup(svg) for name, svg in drawn.items()}  # noqa: S704  (see above)


def _failures(facts: CycleFacts) -> list[Failure]:
    return failures_of([(gate.name, gate.report) for gate in facts.gates if gate.decides])
