import json
from pathlib import Path

import pytest

from loop.cycle_facts import read_cycle_facts
from loop.figures import percent
from loop.report import summary_text
from loop.settings import Settings
from loop.store import keep
from loop.tables import StageMark
from loop.whereabouts import report_file, whereabouts
from tests.factories import empty_places
from tests.whole_cycles import open_cycle


@pytest.fixture(scope="module")
def summary(released):
    return summary_text(*released)


@pytest.fixture(scope="module")
def facts(released):
    return read_cycle_facts(*released)


def test_the_summary_says_what_came_of_the_cycle(summary):
    headline, reason = summary.split("\n\n")[:2]

    assert headline == "# blox-tiny cycle 2: released"
    assert reason.startswith("**Manifest 2: blox-tiny-")


def test_the_summary_names_everything_a_newcomer_wants_to_see(summary, facts, released):
    places, _ = released
    for needed in (
        "labels by simulated-ada",
        "| root cause",
        "corrections",
        "| needed | adapter |  merged | gguf Q8_0 | gguf Q4_K_M | incumbent |",
        "| root cause             |  ≥ 90% |",
        "with 95 % confidence",
        "## Canary: passed",
        "| peak memory",
        "approve by simulated-approver (form)",
        facts.release.sha256,
        f"{places.settings.releases_url}/ai-manifest.json",
        f"{places.settings.releases_url}/manifests/ai-manifest.2.json",
        facts.dataset.digest,
        "| scenarios judged (n)   |",
        f'"sha256": "{facts.release.sha256}"',
    ):
        assert needed in summary


def test_the_summary_holds_the_manifest_as_devices_read_it(summary, facts):
    shown = summary.partition("```json\n")[2].partition("\n```")[0]

    assert json.loads(shown) == facts.release.manifest


def test_each_rate_of_each_gate_stands_beside_its_lower_bound(summary, facts):
    names = ["severity", "root cause", "actions"]
    for name, *metrics in zip(names, *(gate.report.metrics for gate in facts.gates), strict=True):
        bounds = [f"≥ {percent(metric.low)}" for metric in metrics]
        line = next(row for row in summary.splitlines() if row.startswith(f"| {name}, 95 % bound"))
        assert [cell.strip() for cell in line.split("|")[3:-1]] == bounds


def test_every_place_that_the_summary_names_is_there(released):
    places, cycle = released
    report_file(places.settings, cycle).parent.mkdir(exist_ok=True)
    report_file(places.settings, cycle).touch()
    (places.settings.home / "logs").mkdir(exist_ok=True)  # `make run` keeps them there
    found = whereabouts(places.settings, read_cycle_facts(places, cycle))
    missing = [one.place for one in found if one.what != "store" and not exists(one.place)]

    assert not missing
    assert len(found) == 11


def test_the_password_of_the_store_is_not_shown(tmp_path, released):
    places, cycle = released
    settings = Settings(home=tmp_path, database_url="postgresql://loop:secret@db/loop")
    shown = whereabouts(settings, read_cycle_facts(places, cycle))[-1].place

    assert shown == "postgresql://loop:***@db/loop"


@pytest.mark.parametrize(
    ("mark", "sentence"),
    [
        ("started", "Stage train runs for "),
        ("waiting", "Stage train waits for people for "),
        ("failed", "Stage train failed"),
        ("finished", "Stage train is finished"),
    ],
)
def test_an_open_cycle_says_what_it_is_doing(tmp_path, mark, sentence):
    places = empty_places(tmp_path)
    cycle = open_cycle(places)
    keep(places.store, StageMark(cycle_id=cycle.id, stage="train", mark=mark))

    assert f"**{sentence}" in summary_text(places, cycle)


def exists(place: str) -> bool:
    return Path(place).exists()
