"""What decides in core: a small model compares no numbers."""

from collections.abc import Iterator
from random import Random

import pytest

from loop.faults import SUMMARY, Fault, faults, show
from loop.healthy import HEALTHY
from loop.scenario import Scenario, read_suite
from loop.values import Json
from tests.loop.test_scenario import FAULTS, family

ENUMS = {"status", "state", "smartctl_health", "pool_member_reason", "online_recent_reason"}
"""Fields whose words are one of a few; `status` is a subsystem's in the summary."""


def marks(answer: Json, place: str = "") -> Iterator[tuple[str, Json]]:
    """Each boolean, null and enum of an answer, and whether a list is empty; never a number."""
    if isinstance(answer, dict):
        for key, value in answer.items():
            yield from marks(value, f"{place}.{key}")
    elif isinstance(answer, list):
        yield f"{place}[]", not answer
        for entry in answer:
            yield from marks(entry, f"{place}[{entry['name']}]")
    elif isinstance(answer, bool) or answer is None or place.rpartition(".")[2] in ENUMS:
        yield place, answer


def always(fault: Fault) -> dict[str, Json]:
    """The marks that every device with a fault shows, healthy where the fault does not reach."""
    devices = [
        dict(marks({tool: usual(rng) for tool, usual in HEALTHY.items()} | show(fault, rng)))
        for rng in map(Random, range(40))
    ]
    return dict(set.intersection(*(set(device.items()) for device in devices)))


ALWAYS = {fault.cause: always(fault) for fault in faults()}


def differ(some: dict[str, Json], others: dict[str, Json]) -> set[str]:
    return {place for place in some.keys() & others.keys() if some[place] != others[place]}


def deciding(scenario: Scenario) -> dict[str, Json]:
    """The marks of its fault that a scenario shows to who looks where a good session looks."""
    looked_at = {tool: scenario.diagnostics[tool] for tool in {SUMMARY, *scenario.expect.mentions}}
    return dict(set(marks(looked_at)) & ALWAYS[scenario.expect.root_cause].items())


def words_exclude(scenario: Scenario, fault: Fault) -> bool:
    """Users with the fault speak of another family, or of one where the scenario's names none."""
    named, spoken = family(scenario), set(fault.symptoms)
    return not named <= spoken if named else spoken <= {"earn", "join"}


@pytest.mark.parametrize("scenario", read_suite("core"), ids=lambda s: s.id)
def test_no_number_decides_between_a_core_scenario_and_another_core_fault(scenario):
    others = [f for f in faults() if f.core and f.cause != scenario.expect.root_cause]
    alike = [f for f in others if not differ(deciding(scenario), ALWAYS[f.cause])]

    assert [f.cause for f in alike if not words_exclude(scenario, f)] == []


def test_zero_reservations_are_told_from_all_else_by_a_status_and_a_boolean():
    stale = ALWAYS["no_relay_reservation"]
    relay = ".diag/summary.subsystems.relay.status"

    assert differ(stale, ALWAYS["no_issue"]) == {relay}
    assert differ(stale, ALWAYS["kubo_api_unresponsive"]) == {".diag/kubo_health.daemon_reachable"}


def test_faults_that_numbers_alone_tell_apart_count_as_alike():
    assert differ(ALWAYS["ext4_errors_present"], ALWAYS["disk_io_errors"]) == set()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"containers[fula_go].restart_count": 900}, set()),
        ({"containers[fula_go].oom_killed": True}, {"[fula_go].oom_killed"}),
        ({"containers[fula_go].state": "exited"}, {"[fula_go].state"}),
        ({"containers": []}, {"[]"}),
    ],
)
def test_flags_enums_and_empty_lists_tell_faults_apart_and_numbers_do_not(change, place):
    changes = {"path": (SUMMARY, "diag/containers"), "evidence": {"diag/containers": change}}
    broken = always(FAULTS["no_issue"].model_copy(update=changes))

    prefix = ".diag/containers.containers"
    assert differ(broken, ALWAYS["no_issue"]) == {f"{prefix}{end}" for end in place}
