import re
from concurrent.futures import ThreadPoolExecutor

import hyperscan
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.privacy_rules import rules
from loop.sieve import Sieve

EXAMPLES = [text for rule in rules().rules for text in (*rule.hits, *rule.clean)]
GLUED = st.lists(st.sampled_from(EXAMPLES) | st.text(max_size=3), max_size=5).map("".join)

AROUND = ["", " ", "\n", "a", "\u5730", "x.", '"', "\0"]


def missed(text):
    """The rules that find something in a text and are not named."""
    named = rules().likely(text)
    return [rule.id for rule in rules().rules if rule not in named and any(rule.found(text))]


@given(GLUED)
def test_every_rule_that_finds_something_is_named(text):
    assert missed(text) == []


@pytest.mark.parametrize("rule", rules().rules, ids=lambda rule: rule.id)
def test_what_a_rule_describes_names_it_wherever_it_stands(rule):
    @given(st.from_regex(rule.compiled), st.sampled_from(AROUND))
    def is_named(text, around):
        assert rule in rules().likely(text)
        assert missed(f"{around}{text}{around}") == []

    is_named()


@pytest.mark.parametrize("rule", rules().rules, ids=lambda rule: rule.id)
def test_no_rule_is_written_with_what_means_something_else_in_joined_texts(rule):
    """Ends of a text are no ends where texts are joined; the rest PCRE reads otherwise."""
    outside = re.sub(r"\[(?:\\.|[^\]\\])*\]", "", rule.pattern)

    assert re.findall(r"(?<!\\)[$^]|\\[AZzG]|\{,", outside) == []
    assert "\\\\u" not in rule.pattern


def test_a_text_that_no_rule_is_made_for_names_none():
    assert rules().likely("my blox went offline after the storm") == []
    assert rules().likely("") == []


def test_names_come_once_each_and_in_order():
    assert Sieve(["b+", "a", "z"]).named("aabbab") == [0, 1]


def test_an_expression_that_cannot_be_read_is_an_error():
    with pytest.raises(hyperscan.error):
        Sieve(["(unclosed"])


def test_threads_look_at_once_without_getting_in_each_others_way():
    sieve = Sieve(["needle"])
    texts = ["hay " * 20_000 + needle for needle in ("needle", "none") * 20]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(sieve.named, texts))

    assert found == [[0], []] * 20
