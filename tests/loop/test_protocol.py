import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.protocol import (
    FORCED_VERDICT,
    MAX_TURNS,
    Conversation,
    Recommendation,
    Verdict,
    answer_text,
    call_block,
    converse,
    first_message,
    parse,
    recommendation_block,
    render_chat,
    response_block,
    verdict_block,
)
from loop.values import Action, Severity
from tests.golden import golden
from tests.oracle import Scripted, answer, look

CALL = '<tool_call>{"name":"diag/time","arguments":{}}</tool_call>'
GOOD = '{"summary":"s","severity":"red","root_cause":"clock_unsynced"}'
SAID = '{"action_name":"ntp.resync","args":{},"reasoning":"r","confidence":0.8,"tier":2}'
VERDICT = f"<verdict>{GOOD}</verdict>"
ADVICE = f"<recommendation>{SAID}</recommendation>"
DROPPED = ADVICE.replace('"tier":2', '"tier":1')


# --- writing -------------------------------------------------------------------------------------

# A `}` right before an opening tag inside a string breaks a block on the device; targets avoid it.
plain = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="<"), max_size=60)
verdicts = st.builds(
    Verdict, st.sampled_from(Severity), plain.filter(lambda text: text.strip() != ""), plain
)
actions = st.builds(
    Action,
    name=plain,
    args=st.dictionaries(plain, st.none() | st.booleans() | st.integers() | plain, max_size=3),
)
recommendations = st.builds(
    Recommendation,
    actions,
    plain.filter(bool),
    st.floats(0, 1),
    st.sampled_from([2, 3]),
)


@given(verdicts, st.lists(recommendations, max_size=3))
def test_an_answer_reads_back_as_it_was_written(verdict, said):
    turn = parse(answer_text(verdict, said))

    assert (turn.verdict, turn.verdict_blocks) == (verdict, 1)
    assert turn.recommendations == tuple(said)
    assert turn.calls == ()


@given(st.lists(plain.map("diag/".__add__), min_size=1, max_size=4, unique=True))
def test_calls_read_back_in_their_order(tools):
    assert [call.tool for call in parse(look(*tools)).calls] == tools


def test_blocks_are_compact_and_keep_the_order_of_keys():
    action = Action(name="docker.restart", args={"container": "fula_go"})

    assert call_block("diag/time") == CALL
    assert verdict_block(Verdict(Severity.RED, "clock_unsynced", "s")) == VERDICT
    assert recommendation_block(Recommendation(action, "é", 0.6, 2)) == (
        '<recommendation>{"action_name":"docker.restart","args":{"container":"fula_go"},'
        '"reasoning":"é","confidence":0.6,"tier":2}</recommendation>'
    )


def test_a_failed_tool_answers_with_an_error():
    assert response_block("diag/time", {"b": 1, "a": None}) == (
        '<tool_response>{"name":"diag/time","result":{"b":1,"a":null}}</tool_response>'
    )
    assert response_block("diag/time", None, "timed out") == (
        '<tool_response>{"name":"diag/time","error":"timed out"}</tool_response>'
    )


def test_rules_and_request_share_the_first_user_turn():
    assert first_message("Be brief.\nBe right.", "why?") == {
        "role": "user",
        "content": "Instructions:\nBe brief.\nBe right.\n\nRequest: why?",
    }


# --- the turn loop -------------------------------------------------------------------------------

RESULTS = {"diag/time": {"synced": False}, "diag/power": {"uptime_s": 5}}


def talk(*texts: str, thinking: bool = False) -> Conversation:
    conversation = Conversation("why?", RESULTS, "Be brief.", thinking)
    for text in texts:
        assert not conversation.done
        conversation.take(text)
    return conversation


def heard(conversation: Conversation) -> str:
    return conversation.messages[-1]["content"]


def test_a_call_is_answered_in_one_user_turn():
    conversation = talk(look("diag/time", "diag/relay"))

    assert [message["role"] for message in conversation.messages] == ["user", "assistant", "user"]
    assert heard(conversation) == (
        '<tool_response>{"name":"diag/time","result":{"synced":false}}</tool_response>\n'
        '<tool_response>{"name":"diag/relay","error":"unavailable"}</tool_response>'
    )


def test_a_verdict_without_a_call_ends_the_session():
    assert talk(CALL, VERDICT).ended == "verdict"


def test_a_verdict_beside_a_call_waits_for_the_results():
    conversation = talk(VERDICT + CALL)

    assert not conversation.done
    assert heard(conversation).startswith("<tool_response>")


def test_a_verdict_beside_a_call_ends_where_a_recommendation_survives():
    assert talk(VERDICT + CALL + ADVICE).ended == "verdict"
    assert not talk(VERDICT + CALL + DROPPED).done


def test_the_first_verdict_counts():
    conversation = talk(VERDICT + CALL, VERDICT.replace("clock_unsynced", "later"))

    assert conversation.ended == "verdict"
    assert conversation.verdict == Verdict(Severity.RED, "clock_unsynced", "s")


@pytest.mark.parametrize("prose", ["Let me see.", "", "<user_question>{}", DROPPED])
def test_a_turn_without_blocks_is_told_once_to_come_to_a_verdict(prose):
    conversation = talk(prose)

    assert heard(conversation) == FORCED_VERDICT
    conversation.take(prose)
    assert conversation.ended == "no_verdict_emitted"


def test_a_verdict_on_demand_is_a_verdict():
    assert talk("Let me see.", VERDICT).ended == "verdict"


def test_the_demand_for_a_verdict_is_made_with_thinking_off():
    assert talk(VERDICT, VERDICT, thinking=True).ended == "verdict"


def test_calls_after_the_demand_are_still_run():
    conversation = talk("Let me see.", CALL)

    assert heard(conversation).startswith("<tool_response>")
    assert not conversation.done


def test_before_the_last_turn_a_verdict_is_demanded():
    conversation = talk(*[CALL] * (MAX_TURNS - 1))

    assert heard(conversation) == FORCED_VERDICT
    conversation.take(VERDICT)
    assert conversation.ended == "verdict"


def test_after_eight_turns_it_is_over():
    assert talk(*[CALL] * MAX_TURNS).ended == "max_turns_exceeded"
    assert talk(*[CALL] * (MAX_TURNS - 1), "hm").ended == "max_turns_exceeded"


def test_the_demand_is_made_only_once():
    conversation = talk("hm", *[CALL] * (MAX_TURNS - 2))

    assert heard(conversation).startswith("<tool_response>")


def test_a_turn_of_recommendations_only_hears_the_last_message_again():
    conversation = talk(CALL, ADVICE)

    assert heard(conversation) == conversation.messages[-3]["content"]
    assert not conversation.forced


def test_a_thought_without_an_end_is_an_empty_turn():
    assert heard(talk(f"<think>{VERDICT}", thinking=True)) == FORCED_VERDICT


def test_everything_said_is_kept_in_order():
    conversation = talk(look("diag/time", "diag/power"), CALL + ADVICE, VERDICT)

    assert [call.tool for call in conversation.calls] == ["diag/time", "diag/power", "diag/time"]
    assert [said.action.name for said in conversation.recommendations] == ["ntp.resync"]
    assert len(conversation.texts) == len(conversation.turns) == 3


turns = st.sampled_from([CALL, VERDICT, ADVICE, "hm", "", VERDICT + CALL, CALL + ADVICE, DROPPED])


@given(st.lists(turns, min_size=MAX_TURNS, max_size=MAX_TURNS))
def test_every_conversation_ends_within_eight_turns(texts):
    conversation = Conversation("why?", RESULTS, "Be brief.")
    for text in texts:
        if not conversation.done:
            conversation.take(text)

    assert conversation.done
    assert (conversation.verdict is not None) == (conversation.ended == "verdict")


def test_many_conversations_are_played_together():
    lines = {"slow": [CALL, VERDICT], "quick": [VERDICT], "mute": ["", ""]}
    played = [Conversation(prompt, RESULTS, "Be brief.") for prompt in lines]
    told: list[int] = []
    converse(Scripted(lines), played, told.append)

    assert [c.ended for c in played] == ["verdict", "verdict", "no_verdict_emitted"]
    assert told == [1, 3]


# --- the text a model is given -------------------------------------------------------------------

RULE_TEXT = "You are Blox AI.\nSpeak only in blocks."
CONVERSATIONS = {
    "request": ("Où est passée ma Blox ? 🙂", []),
    "diagnosis": (
        "my blox is slow",
        [look("diag/time"), f"Hm.\n{look('diag/power', 'diag/relay')}"],
    ),
    "demand": ("is it ok", ["I will have a look.", answer("green", "no_issue") + CALL]),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversations_render_as_kept(name):
    prompt, texts = CONVERSATIONS[name]
    conversation = Conversation(prompt, RESULTS, RULE_TEXT)
    for text in texts:
        conversation.take(text)

    rendered = render_chat(conversation.messages)

    assert rendered == golden(f"chatml_{name}.txt", rendered)
