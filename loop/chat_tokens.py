"""From chat turns to token ids and back, for a tokenizer that has ChatML's turn markers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from loop.errors import DatasetError
from loop.protocol import Message, render_chat

IGNORED = -100
"""The label of a token that the model does not learn to say."""
END = "<|im_end|>"


class Tokens(NamedTuple):
    """One conversation, tokenised; both lists have the same length."""

    ids: list[int]
    labels: list[int]
    """`ids` where the model learns, IGNORED elsewhere."""


def tokenise(tokenizer: Any, messages: Sequence[dict[str, Any]]) -> Tokens:
    """The conversation with exactly the learnt turns, and their end markers, as labels.

    Raises:
        DatasetError: The labels do not read back as the learnt turns, or there are none.
    """
    ids: list[int] = []
    labels: list[int] = []
    for turn in messages:
        head, body = f"<|im_start|>{turn['role']}\n", f"{turn['content']}{END}"
        for text, learn in ((head, False), (body, turn["learn"]), ("\n", False)):
            piece = tokenizer.encode(text, add_special_tokens=False)
            ids += piece
            labels += piece if learn else [IGNORED] * len(piece)
    _check(tokenizer, messages, ids, labels)
    return Tokens(ids, labels)


def _check(
    tokenizer: Any, messages: Sequence[dict[str, Any]], ids: list[int], labels: list[int]
) -> None:
    wanted = "".join(f"{turn['content']}{END}" for turn in messages if turn["learn"])
    learnt = tokenizer.decode([token for token in labels if token != IGNORED])
    if not wanted or learnt != wanted:
        raise DatasetError(f"labels read back as {learnt[:80]!r}, expected {wanted[:80]!r}")
    whole = "".join(f"<|im_start|>{t['role']}\n{t['content']}{END}\n" for t in messages)
    if ids != tokenizer.encode(whole, add_special_tokens=False):
        raise DatasetError(f"piecewise tokens differ from those of the whole: {whole[:80]!r}")


def prompt_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """What a model is given before it answers."""
    found: list[int] = tokenizer.encode(render_chat(messages), add_special_tokens=False)
    return found
