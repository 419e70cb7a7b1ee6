"""Plots as inline SVG whose colours are the page's own, so that they follow light and dark.

Drawn with stand-in colours that `_svg` turns into CSS variables of the page; text stays text.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from io import StringIO
from typing import Any

from loop.comparison import SIDES, Measure
from loop.gate import THRESHOLDS, Report

COLOURS = {
    "#0a0a01": "var(--ink)",
    "#0a0a02": "var(--quiet)",
    "#0a0a03": "var(--line)",
    "#0a0a04": "var(--bad)",
    "#0a0a05": "var(--one)",
    "#0a0a06": "var(--two)",
    "#0a0a07": "var(--three)",
    "#0a0a08": "var(--other)",
    "#0a0a09": "var(--before)",
}
INK, QUIET, LINE, BAD, ONE, TWO, THREE, OTHER, BEFORE = COLOURS
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bloxloop",
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": QUIET,
    "grid.color": LINE,
    "legend.frameon": False,
}
INCUMBENT = "incumbent"
WIDTH = 9.5
"""Inches of 72 points: the width of the page."""
SHADES = (ONE, TWO, THREE, OTHER)
"""Of the forms in their order; the last is every further one's."""


def loss_curve(curve: Sequence[tuple[int, float]], validation: float | None) -> str:
    """The training loss by step, and where the validation loss came to lie."""
    with _drawing(WIDTH, 2.6) as figure:
        axes = figure.subplots()
        steps, losses = zip(*curve, strict=True)
        axes.plot(steps, losses, color=THREE, linewidth=2)
        axes.set(
            xlabel="step", ylabel="loss per token", ylim=(0, None), xlim=(0, max(1, steps[-1]))
        )
        axes.tick_params(length=0)
        axes.grid(axis="y", linewidth=0.6)
        if validation is not None:
            axes.axhline(validation, color=BAD, linestyle=(0, (4, 3)), linewidth=1.3)
            _note(axes, f"validation {validation:.3g}", (steps[-1], validation))
        return _svg(figure, f"Training loss by step: from {losses[0]:.3g} to {losses[-1]:.3g}")


def gate_bars(gates: Sequence[tuple[str, Report]]) -> str:
    """Every metric of every form with the lower end of its interval, against its threshold.

    Args:
        gates: Name and report of each form, in the order in which they are drawn.
    """
    with _drawing(WIDTH, 3.2) as figure:
        axes = figure.subplots()
        width = 0.76 / len(gates)
        for place, (name, report) in enumerate(gates):
            colour = BEFORE if name == INCUMBENT else SHADES[min(place, len(SHADES) - 1)]
            at = [i - 0.38 + width * (place + 0.5) for i in range(len(report.metrics))]
            _bars(axes, at, report, width * 0.88, colour, name)
        _thresholds(axes)
        figure.legend(loc="outside upper left", ncols=5, fontsize=9, handlelength=1)
        return _svg(figure, "Share of scenarios answered right, by metric and form")


def _bars(
    axes: Any, at: Sequence[float], report: Report, width: float, colour: str, name: str
) -> None:
    rates = [metric.rate for metric in report.metrics]
    below = [metric.rate - metric.low for metric in report.metrics]
    bars = axes.bar(at, rates, width, color=colour, label=name)
    axes.errorbar(at, rates, [below, [0.0] * len(below)], fmt="none", ecolor=INK, elinewidth=0.9)
    axes.bar_label(bars, [f"{rate:.0%}" for rate in rates], fontsize=8.5, padding=2)


def _thresholds(axes: Any) -> None:
    for i, share in enumerate(THRESHOLDS.values()):
        axes.hlines(share, i - 0.41, i + 0.41, color=BAD, linewidth=1.5)
        axes.annotate(
            f"≥ {share:.0%}",
            (i + 0.41, share),
            xytext=(1, 0),
            textcoords="offset points",
            color=BAD,
            fontsize=8.5,
            va="center",
        )
    axes.set_xticks(range(len(THRESHOLDS)), [name.replace("_", " ") for name in THRESHOLDS])
    axes.set(ylim=(0, 1.08), yticks=[0, 0.25, 0.5, 0.75, 1], xlim=(-0.55, len(THRESHOLDS) - 0.3))
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.tick_params(length=0)
    axes.grid(axis="y", linewidth=0.6)


def side_by_side(measures: Sequence[Measure]) -> str:
    """One small panel for each thing that was measured of candidate and incumbent."""
    with _drawing(WIDTH, 1.9) as figure:
        figure.get_layout_engine().set(wspace=0.12)
        for axes, measure in zip(
            figure.subplots(1, len(measures), squeeze=False)[0], measures, strict=True
        ):
            values = [value or 0.0 for value in measure.values]
            bars = axes.bar(SIDES, values, 0.62, color=(THREE, BEFORE))
            axes.bar_label(bars, measure.texts(), fontsize=9, padding=2)
            axes.set_title(measure.name, fontsize=9, color=QUIET)
            axes.set(yticks=[], ylim=(0, 1.25 * max(*values, 1e-9)))
            axes.spines["left"].set_visible(False)
            axes.tick_params(length=0, labelsize=8.5)
        return _svg(figure, "What the canary measured of candidate and incumbent")


def _note(axes: Any, text: str, at: tuple[float, float]) -> None:
    axes.annotate(
        text,
        at,
        xytext=(-2, 4),
        textcoords="offset points",
        color=BAD,
        fontsize=9,
        ha="right",
    )


@contextmanager
def _drawing(width: float, height: float) -> Iterator[Any]:
    """A figure of so many inches, without pyplot's global state."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Any, title: str) -> str:
    """The figure as an `<svg>` element that can stand in a page beside others."""
    written = StringIO()
    nobody = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(written, format="svg", transparent=True, metadata=nobody)
    text = written.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # it would rule the whole page
    text = re.sub(r'<g id="[a-zA-Z.]+_\d+">', "<g>", text)  # every figure has the same ids
    text = re.sub(r"font-family: [^;\"]+;? ?", "", text)
    for stand_in, variable in COLOURS.items():
        text = text.replace(stand_in, variable)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)
