from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.chat_tokens import IGNORED, prompt_ids, tokenise
from loop.errors import DatasetError
from loop.tiny_base import make_tokenizer

ASKED: Any = {"role": "user", "content": "Request: hello", "learn": False}
SAID: Any = {
    "role": "assistant",
    "content": '<tool_call>{"name":"diag/summary"}</tool_call>',
    "learn": True,
}


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer([SAID["content"], ASKED["content"], "user assistant"] * 5, 400)


def learnt(tokenizer, messages):
    return tokenizer.decode([t for t in tokenise(tokenizer, messages).labels if t != IGNORED])


def test_only_the_turns_to_learn_and_their_ends_are_labels(tokenizer):
    context = {**SAID, "learn": False}

    assert learnt(tokenizer, [ASKED, context, ASKED, SAID]) == f"{SAID['content']}<|im_end|>"


def test_a_model_is_asked_with_the_tokens_it_learnt_after(tokenizer):
    tokens = tokenise(tokenizer, [ASKED, SAID])
    first = next(at for at, label in enumerate(tokens.labels) if label != IGNORED)

    assert tokens.ids[:first] == prompt_ids(tokenizer, [ASKED])


def test_a_conversation_without_anything_to_learn_is_refused(tokenizer):
    with pytest.raises(DatasetError, match="read back"):
        tokenise(tokenizer, [ASKED])


@given(st.text(st.characters(codec="utf-8", exclude_characters="<|>"), min_size=1, max_size=60))
def test_whatever_users_write_the_labels_are_the_answer(tokenizer, words):
    asked = {**ASKED, "content": f"Request: {words}"}

    assert learnt(tokenizer, [asked, SAID]) == f"{SAID['content']}<|im_end|>"
