import pickle
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.causes import causes
from loop.errors import LabelError
from loop.labels import check_label, one_line
from loop.tables import Decision, LabelIn
from loop.transcript import Recommended, Session, Verdict
from loop.values import Action, Severity
from loop.whitelist import allowed_actions

RESYNC = Action(name="ntp.resync")
RESTART = Action(name="restart_fula")


def sent(**changes):
    """An agreement with `ANSWERED`."""
    usual = {
        "transcript_id": "t",
        "decision": "accept",
        "severity_correct": True,
        "root_cause_correct": True,
        "actions_correct": True,
        "severity": "red",
        "root_cause": "clock_unsynced",
        "actions": [RESYNC],
    }
    return LabelIn.model_validate(usual | changes)


def answered(cause="clock_unsynced", actions=(RESYNC,), severity=Severity.RED):
    recommended = None if actions is None else tuple(Recommended(a, "", 0.9, 2) for a in actions)
    return Session("offline", (), Verdict(severity, cause, "The clock is wrong."), recommended)


ANSWERED = answered()
SILENT = Session("offline", (), None, ())


def problems(label, session=None):
    with pytest.raises(LabelError) as caught:
        check_label(label, made_by="ann", session=session)
    return caught.value.problems


def test_an_agreement_is_kept_with_the_name_of_the_person():
    label = check_label(sent(), made_by="ann", session=ANSWERED)

    assert (label.made_by, label.root_cause, label.decision) == ("ann", "clock_unsynced", "accept")
    assert label.actions == [{"name": "ntp.resync", "args": {}}]


def test_a_cause_is_kept_by_its_id():
    label = check_label(sent(root_cause=" NTP-unsynced "), made_by="ann")

    assert label.root_cause == "clock_unsynced"


def test_an_unknown_cause_is_answered_with_the_nearest_ones():
    found = problems(sent(root_cause="clock_unsinced"))

    assert "'clock_unsinced' is no root cause" in found["root_cause"]
    assert "nearest: clock_unsynced" in found["root_cause"]


def test_no_cause_is_a_problem_too():
    assert problems(sent(root_cause="  ")) == {"root_cause": "expected a root cause, got none"}


def test_an_action_that_the_whitelist_forbids_is_refused():
    found = problems(sent(actions=[Action(name="docker.restart", args={"container": "ipfs_host"})]))

    assert "whitelist" in found["actions"]
    assert "ipfs_host" in found["actions"]


def test_superfluous_arguments_are_refused():
    found = problems(sent(actions=[Action(name="ntp.resync", args={"now": True})]))

    assert "no arguments" in found["actions"]


def test_the_same_action_twice_is_refused():
    assert "twice" in problems(sent(actions=[RESYNC, RESYNC]))["actions"]


@pytest.mark.parametrize("part", ["severity", "root_cause", "actions", "tools"])
def test_accept_means_that_every_part_is_right(part):
    found = problems(sent(**{f"{part}_correct": False}))

    assert "accept means that all is right" in found["decision"]


@pytest.mark.parametrize("decision", ["partial", "reject"])
def test_partial_and_reject_mean_that_some_part_is_wrong(decision):
    assert "something is wrong" in problems(sent(decision=decision))["decision"]


def test_partial_means_that_some_part_is_right():
    nothing_right = {"severity_correct": False, "root_cause_correct": False}
    found = problems(sent(decision="partial", actions_correct=False, **nothing_right))

    assert "choose reject" in found["decision"]


def test_all_problems_are_told_at_once():
    found = problems(sent(severity_correct=False, root_cause="x y z", actions=[Action(name="rm")]))

    assert set(found) == {"decision", "root_cause", "actions"}


@pytest.mark.parametrize("marker", ["<|im_end|>", "</verdict>", "<tool_call", "<THINK>"])
@pytest.mark.parametrize("field", ["summary", "reasoning"])
def test_words_that_would_end_a_block_are_refused(field, marker):
    found = problems(sent(**{field: f"All is {marker} well."}))

    assert "expected plain words" in found[field]


def test_a_note_may_quote_anything():
    label = check_label(sent(note="it said <verdict>\x00 twice"), made_by="ann")

    assert label.note == "it said <verdict>  twice"


def test_learnt_words_stand_on_one_line():
    label = check_label(sent(summary=" The clock\nis  wrong. "), made_by="ann")

    assert label.summary == "The clock is wrong."


# --- against what the device answered ------------------------------------------------------------


def test_right_means_the_same_as_the_device_said():
    changed = sent(severity="yellow", root_cause="no_issue", actions=[])

    assert set(problems(changed, ANSWERED)) == {"severity", "root_cause", "actions"}


def test_wrong_means_something_else_than_the_device_said():
    wrong = {"severity_correct": False, "root_cause_correct": False, "actions_correct": False}

    assert set(problems(sent(decision="reject", **wrong), ANSWERED)) == {
        "severity",
        "root_cause",
        "actions",
    }


def test_an_alias_of_the_same_cause_is_no_correction():
    wrong = sent(decision="partial", root_cause_correct=False, root_cause="ntp_unsynced")

    assert "what the device answered" in problems(wrong, ANSWERED)["root_cause"]


def test_a_cause_in_the_devices_own_words_may_be_right():
    label = check_label(sent(), made_by="ann", session=answered(cause="its clock is off"))

    assert label.root_cause == "clock_unsynced"


def test_a_verdict_that_is_not_there_cannot_be_right():
    assert set(problems(sent(actions=[]), SILENT)) == {"severity", "root_cause"}


def test_a_missing_verdict_can_be_written_down():
    missing = {"severity_correct": False, "root_cause_correct": False, "actions_correct": False}
    label = check_label(sent(decision="reject", **missing), made_by="ann", session=SILENT)

    assert label.severity is Severity.RED


def test_the_order_of_actions_is_no_difference():
    both = sent(actions=[RESTART, RESYNC])

    assert check_label(both, made_by="ann", session=answered(actions=(RESYNC, RESTART)))


def test_writing_down_lost_actions_is_no_correction():
    lost = answered(actions=None)

    assert check_label(sent(), made_by="ann", session=lost).actions_correct
    assert "lost" in problems(sent(decision="partial", actions_correct=False), lost)["actions"]


def test_the_error_survives_pickling_with_its_fields():
    error = pickle.loads(pickle.dumps(LabelError({"severity": "expected one"})))

    assert error.problems == {"severity": "expected one"}
    assert str(error) == "severity: expected one"


concrete = [
    Action(name=each.name, args={each.argument: value} if each.argument else {})
    for each in allowed_actions()
    for value in (each.allowed or ("",))
]
labels = st.builds(
    lambda **fields: LabelIn.model_validate({"transcript_id": "t", **fields}),
    decision=st.sampled_from(Decision),
    severity_correct=st.booleans(),
    root_cause_correct=st.booleans(),
    actions_correct=st.booleans(),
    tools_correct=st.booleans(),
    severity=st.sampled_from(Severity),
    root_cause=st.sampled_from(sorted(causes())),
    actions=st.lists(st.sampled_from(concrete), max_size=2),
    summary=st.text(max_size=40),
)


@given(labels, st.sampled_from([ANSWERED, SILENT, answered(actions=None), answered("odd words")]))
def test_what_is_kept_contradicts_nothing(label, session):
    kept = None
    with suppress(LabelError):
        kept = check_label(label, made_by="ann", session=session)
    if kept is None:
        return
    parts = (kept.severity_correct, kept.root_cause_correct, kept.actions_correct)

    assert (kept.decision == Decision.ACCEPT) == all((*parts, kept.tools_correct))
    assert session.verdict is not None or parts[:2] == (False, False)
    assert kept.root_cause in causes()


@given(st.text())
def test_one_line_is_stable_and_has_no_breaks(text):
    once = one_line(text)

    assert one_line(once) == once
    assert len(once.splitlines()) <= 1
