import random
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.causes import causes
from loop.dataset import (
    MOST_ALIKE,
    OVERLAPS,
    SURPLUS,
    UNREADABLE,
    grouped,
    make_card,
    select,
    split,
)
from loop.examples import (
    AGREEMENT,
    CORRECTION,
    Judged,
    evidence_digest,
    fill_instants,
    make_example,
)
from loop.protocol import parse
from loop.scenario import Scenario
from loop.sessions import generate
from loop.tables import Decision, LabelIn
from loop.transcript import Transcript, read_session, transcript_of
from loop.upload import read_upload
from loop.values import Action, Origin, Severity, digest_json
from loop.whitelist import confidence_cap, tier_of
from tests.factories import answer_events, tool_events, transcript_row

RULES = "Speak only in blocks."
RESYNC = Action(name="ntp.resync")


def label(**changes):
    right = {
        "transcript_id": "1",
        "decision": Decision.ACCEPT,
        "severity_correct": True,
        "root_cause_correct": True,
        "actions_correct": True,
        "severity": Severity.RED,
        "root_cause": "clock_unsynced",
        "actions": [RESYNC],
    }
    return LabelIn(**{**right, **changes})


CORRECTED = label(decision=Decision.PARTIAL, severity_correct=False)


def judged(given_label=None, number=1, **more):
    row = transcript_row(number, **more)
    body = Transcript.model_validate(row.body)
    day = row.received
    return Judged(read_session(body), given_label or label(), row.origin, day, row.digest)


def left_out(selection):
    return {why: n for why, n in selection.excluded.items() if n}


def final_turn(example):
    return parse(example.messages[-1]["content"])


def scenario(user="the hour on my box is nonsense", results=None):
    return Scenario.model_construct(
        id="x",
        suite="core",
        about="",
        user=user,
        diagnostics=results or {"diag/time": {"synced": False}},
        expect=type("Expect", (), {"root_cause": "clock_unsynced"})(),
    )


# ------------------------------------------------------------------ one example


def test_the_target_is_what_the_label_says_and_not_what_the_device_said():
    wrong = answer_events("green", "no_issue", [("restart_fula", {})])
    events = [*tool_events({"diag/time": {"synced": False}}), *wrong]
    said = label(decision=Decision.PARTIAL, severity_correct=False, root_cause_correct=False)

    turn = final_turn(make_example(judged(said, events=events), RULES))

    assert turn.verdict.severity == Severity.RED
    assert turn.verdict.root_cause == "clock_unsynced"
    assert [r.action for r in turn.recommendations] == [RESYNC]


def test_a_correction_weighs_twice_an_agreement():
    agreed = make_example(judged(), RULES)
    corrected = make_example(judged(CORRECTED), RULES)

    assert (agreed.weight, corrected.weight) == (AGREEMENT, CORRECTION) == (0.5, 1.0)


def test_writing_down_an_action_that_the_upload_lost_is_an_agreement():
    lost = [*tool_events({"diag/time": {"synced": False}}), answer_events()[0]]
    lost.append({"type": "recommended_action", "relative_ts": "+9s", "payload": {}})

    example = make_example(judged(events=lost), RULES)

    assert example.weight == AGREEMENT
    assert [r.action for r in final_turn(example).recommendations] == [RESYNC]


def test_tool_calls_that_were_judged_wrong_are_context_and_never_targets():
    example = make_example(judged(label(tools_correct=False)), RULES)

    learnt = [turn["content"] for turn in example.messages if turn["learn"]]
    assert learnt == [example.messages[-1]["content"]]


def test_user_turns_are_never_targets():
    example = make_example(judged(), RULES)

    assert not any(turn["learn"] for turn in example.messages if turn["role"] == "user")


def test_tier_and_confidence_come_from_the_whitelist():
    restart = Action(name="restart_fula")
    said = label(severity=Severity.YELLOW, root_cause="no_relay_reservation", actions=[restart])

    recommendation = final_turn(make_example(judged(said), RULES)).recommendations[0]

    assert recommendation.tier == tier_of("restart_fula")
    assert recommendation.confidence <= confidence_cap("restart_fula", Severity.YELLOW)


def test_the_labellers_words_win_over_the_devices_and_the_devices_over_the_template():
    own = final_turn(make_example(judged(), RULES)).verdict.summary
    corrected = label(decision=Decision.PARTIAL, root_cause_correct=False)
    template = final_turn(make_example(judged(corrected), RULES)).verdict.summary
    written = final_turn(make_example(judged(label(summary="Mine.")), RULES)).verdict.summary

    assert own == "The clock of your Blox is wrong."
    assert template == causes()["clock_unsynced"].summary
    assert written == "Mine."


def test_no_placeholder_of_the_phone_reaches_the_model():
    result = {"last_sync_ts": "<TS>", "list": ["<TS>"]}

    filled = fill_instants(result, random.Random(1))

    assert "<TS>" not in str(filled)


def test_evidence_does_not_depend_on_the_hour():
    early = [("diag/time", {"last_sync_ts": "2026-01-01T00:00:00Z"})]
    late = [("diag/time", {"last_sync_ts": "<TS>"})]

    assert evidence_digest(early) == evidence_digest(late)


# ------------------------------------------------------------------ what is left out


def test_a_session_that_looked_at_too_little_teaches_nothing():
    blind = label(decision=Decision.REJECT, tools_correct=False, root_cause="insufficient_data")

    chosen = select([judged(blind)], [], RULES)

    assert left_out(chosen) == {"too little was looked at to tell": 1}


def test_an_answer_that_was_all_wrong_is_a_correction():
    wrong = label(
        decision=Decision.REJECT,
        severity_correct=False,
        root_cause_correct=False,
        actions_correct=False,
    )

    chosen = select([judged(wrong)], [], RULES)

    assert [e.weight for e in chosen.train + chosen.validation] == [CORRECTION]


@pytest.mark.parametrize("origin", [Origin.TREE, Origin.MOCK, Origin.UNKNOWN])
def test_agreeing_with_an_answer_that_no_model_gave_teaches_nothing(origin):
    chosen = select([judged(origin=origin)], [], RULES)

    assert left_out(chosen) == {"agreement with an answer that no model gave": 1}


@pytest.mark.parametrize("origin", list(Origin))
def test_a_correction_teaches_whatever_it_corrects(origin):
    chosen = select([judged(CORRECTED, origin=origin)], [], RULES)

    assert len(chosen.train + chosen.validation) == 1


def test_the_same_session_under_two_ids_is_one_example():
    chosen = select([judged(number=1), judged(number=2)], [], RULES)

    assert left_out(chosen) == {"same content as another transcript": 1}


def test_an_example_in_the_words_of_a_scenario_is_left_out():
    one = judged(prompt="The hour on my box is NONSENSE!")

    chosen = select([one], [scenario(results={"diag/time": {"synced": True}})], RULES)

    assert left_out(chosen) == {"shares the words of a scenario": 1}


def test_eight_words_in_a_row_are_a_scenarios_words():
    said = "hello there one two three four five six seven eight and more"
    held_out = "so one two three four five six seven eight ok"

    chosen = select([judged(prompt=said)], [scenario(user=held_out, results={"x": 1})], RULES)

    assert left_out(chosen) == {"shares the words of a scenario": 1}


def test_cause_and_evidence_of_a_scenario_are_left_out_where_that_evidence_varies():
    same = judged(number=1)
    later = tool_events({"diag/time": {"synced": False, "offset_ms": 9}})
    other = judged(
        number=2,
        events=[*later, *answer_events()],
    )

    varied = select([same, other], [scenario()], RULES)
    uniform = select([same], [scenario()], RULES)

    assert left_out(varied) == {"shares cause and evidence with a scenario": 1}
    assert left_out(uniform) == {}


def test_both_overlaps_are_counted_also_where_there_is_none():
    chosen = select([judged()], [], RULES)

    assert dict(chosen.excluded) == dict.fromkeys(OVERLAPS, 0)


# ------------------------------------------------------------------ near-duplicates

PROMPT = "since the storm the app cannot reach the box in the attic"


def asked(prompt, offset=5, number=1, received=date(2026, 3, 1), **evidence):
    """A session about a clock, with some evidence."""
    events = [*tool_events({"diag/time": {"synced": False, "offset_ms": offset, **evidence}})]
    told = {"prompt": prompt, "events": [*events, *answer_events()], "received": received}
    return judged(number=number, **told)


def groups_of(*judgements):
    examples = grouped([make_example(one, RULES) for one in judgements])
    return [example.group for example in examples]


def swapped(prompt, at):
    """The prompt with two neighbouring letters in each other's place."""
    return prompt[:at] + prompt[at + 1] + prompt[at] + prompt[at + 2 :]


@given(st.integers(0, len(PROMPT) - 2), st.integers(-9, 9))
def test_a_copy_with_one_slip_of_the_fingers_stays_with_its_original(at, offset):
    one, copy = groups_of(asked(PROMPT), asked(swapped(PROMPT, at), offset))

    assert one == copy


def test_other_words_over_the_same_evidence_are_another_group():
    one, other = groups_of(asked(PROMPT), asked("rewards stopped and nobody tells me why"))

    assert one != other


def test_the_same_words_over_other_evidence_are_another_group():
    one, other = groups_of(asked(PROMPT), asked(PROMPT, service="chronyd"))

    assert one != other


def test_what_only_a_third_one_links_is_one_group():
    ends = ["the box is offline", "the box is offline since the storm last night"]
    apart = groups_of(*map(asked, ends))
    linked = groups_of(*map(asked, [*ends, "the box is offline since the storm"]))

    assert (len(set(apart)), len(set(linked))) == (2, 1)


def test_what_was_imported_of_one_family_is_one_group():
    one, other = asked(PROMPT), asked("rewards stopped and nobody tells me why", service="chronyd")

    together = groups_of(replace(one, family="drift"), replace(other, family="drift"))
    apart = groups_of(replace(one, family="drift"), replace(other, family="portal"))

    assert (len(set(together)), len(set(apart))) == (1, 2)


def test_of_many_near_duplicates_the_oldest_few_are_learnt_and_the_rest_is_counted():
    flood = [
        asked(f"{PROMPT} {n}", number=n, received=date(2026, 3, 1 + n % 28)) for n in range(200)
    ]
    others = many(40)
    chosen = select([*flood, *others], [], RULES)
    examples = chosen.train + chosen.validation
    alike = [example for example in examples if example.words.startswith(PROMPT)]

    assert len(alike) == MOST_ALIKE
    assert left_out(chosen)[SURPLUS] == 200 - MOST_ALIKE
    assert max(example.day for example in alike) <= date(2026, 3, 4)
    assert len({example.group for example in alike}) == 1


def test_a_flood_that_comes_later_changes_none_of_the_examples_that_were_there():
    before = select(JUDGED, [], RULES)
    flood = [typed_again(JUDGED[0], at) for at in range(30)]
    after = select([*JUDGED, *flood], [], RULES)

    assert digests(before) <= digests(after)
    assert len(digests(after)) <= len(digests(before)) + MOST_ALIKE - 1


def digests(selection):
    return {example.transcript for example in selection.train + selection.validation}


# ------------------------------------------------------------------ labels that contradict


def test_contradicting_labels_of_near_duplicates_are_both_learnt_and_never_straddle():
    """Who is right nobody can tell; the gate compares the model, and no answer leaks."""
    agreed = asked(PROMPT, number=1)
    denied = replace(asked(PROMPT, 6, number=2), label=label(**AS_NOTHING))
    chosen = select([agreed, denied, *many(40)], [], RULES)
    found = [e for e in chosen.train + chosen.validation if e.words == PROMPT]

    assert {e.cause for e in found} == {"clock_unsynced", "no_issue"}
    assert len({e.group for e in found}) == 1
    assert [e in chosen.train for e in found] in ([True, True], [False, False])


def test_of_contradicting_labels_of_the_same_content_the_one_of_the_earlier_session_counts():
    early = judged(number=1, received=date(2026, 3, 1))
    late = replace(judged(label(**AS_NOTHING), number=2, received=date(2026, 3, 2)))

    for order in ([early, late], [late, early]):
        chosen = select(order, [], RULES)
        assert [e.cause for e in chosen.train + chosen.validation] == ["clock_unsynced"]
        assert left_out(chosen) == {"same content as another transcript": 1}


AS_NOTHING = {
    "decision": Decision.PARTIAL,
    "severity_correct": False,
    "root_cause_correct": False,
    "actions_correct": False,
    "severity": Severity.GREEN,
    "root_cause": "no_issue",
    "actions": [],
}


@pytest.mark.parametrize(
    "said", [{"root_cause": "a_cause_of_old"}, {"actions": [Action(name="format_disk")]}]
)
def test_a_label_in_words_that_todays_tables_do_not_know_teaches_nothing(said):
    chosen = select([judged(label(**said))], [], RULES)

    assert left_out(chosen) == {"judged in words that today's tables do not know": 1}


def test_a_session_that_a_rule_fails_over_is_counted_and_holds_up_no_other():
    chosen = select([replace(judged(number=1), session=None), *many(10)], [], RULES)

    assert left_out(chosen)[UNREADABLE] == 1
    assert len(chosen.train + chosen.validation) > 5


# ------------------------------------------------------------------ the split


def many(count, seed=3):
    days = [date(2026, 1, 1) + timedelta(days=n % 9) for n in range(count)]
    judgements = []
    for day, one in zip(days, generate(seed, count), strict=True):
        body = transcript_of(read_upload(one.upload))
        judgements.append(Judged(read_session(body), one.truth, body.origin, day, body.digest()))
    return judgements


JUDGED = many(40)
EXAMPLES = [make_example(one, RULES) for one in many(120)]


def typed_again(one, at):
    """The same session a month later, its prompt with a slip of the fingers."""
    session = replace(one.session, prompt=swapped(one.session.prompt, at))
    return replace(one, session=session, digest=digest_json([one.digest, at]), day=date(2026, 2, 1))


def parts(examples):
    return split(grouped(examples))


@given(st.permutations(range(len(EXAMPLES))), st.integers(0, len(EXAMPLES)))
def test_the_split_does_not_depend_on_the_order(order, count):
    chosen = [EXAMPLES[n] for n in order[:count]]

    assert parts(chosen) == parts(sorted(chosen, key=lambda e: e.transcript))


@given(st.lists(st.integers(0, len(EXAMPLES) - 1)))
def test_no_group_is_in_both_parts(numbers):
    examples = [EXAMPLES[n] for n in numbers]

    train, validation = parts(examples)

    assert {e.group for e in train}.isdisjoint(e.group for e in validation)
    assert len(train) + len(validation) == len(examples)


def test_the_newest_fifth_validates():
    train, validation = parts(EXAMPLES)

    assert len(validation) == pytest.approx(len(EXAMPLES) / 5, abs=2)
    assert max(e.day for e in train) <= min(e.day for e in validation)


def test_generated_sessions_are_few_near_duplicates_and_a_fifth_of_them_validates():
    chosen = select(many(800), [], RULES)
    examples = chosen.train + chosen.validation

    assert len({e.group for e in examples}) > 0.97 * len(examples)
    assert len(chosen.validation) == pytest.approx(len(examples) / 5, abs=2)


@given(st.lists(st.tuples(st.integers(0, len(JUDGED) - 1), st.integers(0, 12)), max_size=8))
def test_a_slip_of_the_fingers_carries_nothing_into_validation(slips):
    again = [(JUDGED[n], typed_again(JUDGED[n], at)) for n, at in slips]
    chosen = select([*JUDGED, *(copy for _, copy in again)], [], RULES)
    learnt, checked = ({e.transcript for e in part} for part in (chosen.train, chosen.validation))

    assert not [1 for one, copy in again if one.digest in learnt and copy.digest in checked]
    assert not [1 for one, copy in again if one.digest in checked and copy.digest in learnt]


@given(st.permutations(range(40)))
def test_selecting_gives_the_same_examples_in_any_order(order):
    assert select([JUDGED[n] for n in order], [], RULES) == select(JUDGED, [], RULES)


def test_the_card_counts_what_is_new_and_what_is_gone():
    selection = select(many(60), [], RULES)
    known = {e.transcript for e in selection.train[:10]} | {"f" * 64}

    card = make_card(selection, "a" * 64, known)

    assert card.train + card.validation == sum(card.causes.values())
    assert card.new == card.train + card.validation - 10
    assert card.gone == 1
    assert card.corrections + card.agreements == card.train + card.validation
