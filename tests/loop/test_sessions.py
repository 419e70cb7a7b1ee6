from collections import Counter
from random import Random

import pytest

from loop.causes import causes
from loop.diagnostics import check_result, summary_problems
from loop.examples import fill_instants
from loop.faults import faults
from loop.healthy import HEALTHY
from loop.labels import check_label
from loop.sessions import SLIPS, generate
from loop.tables import Decision
from loop.transcript import read_session, transcript_of
from loop.upload import read_upload
from loop.values import Origin
from loop.whitelist import violation


@pytest.fixture(scope="module")
def generated():
    return generate(seed=1, count=400)


@pytest.fixture(scope="module")
def sessions(generated):
    return [read_session(transcript_of(read_upload(g.upload))) for g in generated]


def test_the_same_seed_tells_the_same_sessions():
    assert generate(seed=7, count=20) == generate(seed=7, count=20)


def test_two_seeds_share_no_upload_id(generated):
    others = generate(seed=2, count=400)

    ids = {g.upload["upload_id"] for g in generated}
    assert ids.isdisjoint(g.upload["upload_id"] for g in others)


def test_every_session_is_a_valid_upload_of_either_schema(generated):
    versions = Counter(read_upload(g.upload).as_json()["schema_version"] for g in generated)

    assert set(versions) == {1, 2}


def test_every_diagnostic_has_a_shape_that_a_device_can_send(sessions):
    for session in sessions:
        for call in (call for step in session.steps for call in step.calls):
            result = fill_instants(call.result, Random(0))
            check_result(call.tool, result)
            assert call.tool != "diag/summary" or not summary_problems(result)


def test_every_truth_is_a_label_that_the_labeller_accepts(generated):
    for one in generated:
        label = check_label(one.truth, made_by="simulated-labeller")

        assert label.root_cause in causes()


def test_devices_are_wrong_in_every_way_and_right_most_of_the_time(generated):
    decisions = Counter(g.truth.decision for g in generated)

    assert decisions[Decision.ACCEPT] > len(generated) / 2
    assert decisions[Decision.PARTIAL] > len(generated) / 6
    assert decisions[Decision.REJECT] > 0
    assert sum(SLIPS.values()) == pytest.approx(1.0)


def test_some_devices_recommend_what_the_whitelist_forbids_and_no_truth_does(generated, sessions):
    said = [s.action for session in sessions for s in session.actions or ()]
    meant = [action for g in generated for action in g.truth.actions]

    assert any(violation(action) for action in said)
    assert not any(violation(action) for action in meant)


def test_a_v1_upload_has_lost_its_actions_and_its_origin(generated):
    old = [g for g in generated if g.upload["schema_version"] == 1]
    read = [transcript_of(read_upload(g.upload)) for g in old]

    assert {transcript.origin for transcript in read} == {Origin.UNKNOWN}
    lost = [read_session(t).actions for t in read]
    assert None in lost
    assert all(actions in (None, ()) for actions in lost)


@pytest.mark.parametrize("fault", faults(), ids=lambda fault: fault.cause)
def test_a_fault_has_a_known_cause_legal_actions_and_known_diagnostics(fault):
    assert fault.cause in causes()
    assert not [s for action in fault.actions if (s := violation(action))]
    assert set(fault.path) <= {"diag/summary", *HEALTHY}
    assert set(fault.evidence) <= set(fault.path)


@pytest.mark.parametrize("tool", sorted(HEALTHY))
def test_a_healthy_diagnostic_fits_its_schema(tool):
    for seed in range(20):
        check_result(tool, fill_instants(HEALTHY[tool](Random(seed)), Random(seed)))
