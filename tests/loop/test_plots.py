import re
from xml.etree import ElementTree

import pytest

from loop.canary import Measured, Trial
from loop.canary import decide as compare
from loop.checks import Score
from loop.comparison import costs, passed
from loop.gate import Report, decide
from loop.plots import COLOURS, gate_bars, loss_curve, side_by_side

CURVE = [(10, 2.0), (20, 0.5), (30, 0.1)]
COST = Measured(tokens_per_s=41.5, first_token_s=0.12, peak_mb=310.0)


def gate(right: int, wrong: int = 0) -> Report:
    return decide("core", scores(right, wrong))


def scores(right: int, wrong: int = 0) -> tuple[Score, ...]:
    return tuple(
        Score(scenario=str(i), severity=True, root_cause=i < right, actions=True)
        for i in range(right + wrong)
    )


def canary_plot() -> str:
    trial = Trial(scores=scores(3), measured=COST)
    report = compare(trial, trial)
    return side_by_side([passed(report), *costs(report)])


DRAWN = {
    "loss": loss_curve(CURVE, 0.2),
    "gates": gate_bars([("adapter", gate(19, 1)), ("merged", gate(20)), ("incumbent", gate(3, 9))]),
    "canary": canary_plot(),
}


@pytest.mark.parametrize("svg", DRAWN.values(), ids=DRAWN)
def test_a_plot_is_one_element_that_can_stand_beside_others(svg):
    root = ElementTree.fromstring(svg)  # noqa: S314  (drawn here)

    assert root.tag.endswith("svg")
    assert root.attrib["aria-label"]
    assert not list(root.iter("{http://www.w3.org/2000/svg}style"))  # it would rule the page
    assert not re.findall(r'id="(figure|axes|patch|text)_', svg)


@pytest.mark.parametrize("svg", DRAWN.values(), ids=DRAWN)
def test_every_colour_is_one_of_the_page(svg):
    named = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg)) - {"none"}

    assert named <= set(COLOURS.values())


@pytest.mark.parametrize("svg", DRAWN.values(), ids=DRAWN)
def test_text_stays_text_in_the_font_of_the_page(svg):
    assert "<text" in svg
    assert "font-family" not in svg


def test_the_gate_plot_names_forms_metrics_and_thresholds():
    words = re.findall(r"<text[^>]*>([^<]*)</text>", DRAWN["gates"])

    for needed in ("adapter", "merged", "incumbent", "root cause", "≥ 90%", "95%", "25%"):
        assert needed in words


def test_the_canary_plot_shows_each_measure_of_both_sides():
    words = re.findall(r"<text[^>]*>([^<]*)</text>", DRAWN["canary"])

    assert words.count("candidate") == words.count("incumbent") == 4
    assert words.count("310.0 MB") == 2


def test_the_same_figures_make_the_same_plot():
    assert loss_curve(CURVE, 0.2) == DRAWN["loss"]


@pytest.mark.parametrize("curve", [[(10, 0.4)], [(10, 0.0), (20, 0.0)]])
def test_a_curve_with_hardly_anything_in_it_can_be_drawn(curve):
    assert "step" in loss_curve(curve, None)


def test_a_gate_without_any_judged_scenario_can_be_drawn():
    assert "0%" in gate_bars([("adapter", gate(0))])
