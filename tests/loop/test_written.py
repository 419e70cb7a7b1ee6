from typing import Any

import pytest
from pydantic import Field

from loop.errors import RecipeError
from loop.values import Value
from loop.written import read_written


class Pot(Value):
    """Something with a list and a map in it."""

    tea: str
    cups: tuple[int, ...] = ()
    extras: dict[str, Any] = Field(default_factory=dict)
    hot: bool = True


@pytest.fixture
def write(tmp_path):
    def written(text: str | bytes) -> Pot:
        path = tmp_path / "pot.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_written(path, Pot, RecipeError)

    return written


def refusal(write: Any, text: str | bytes) -> str:
    with pytest.raises(RecipeError) as caught:
        write(text)
    return str(caught.value)


@pytest.mark.parametrize("word", ["no", "yes", "on", "off", "y", "N", "Yes", "TRUE", "False"])
def test_words_stay_words(write, word):
    assert write(f"tea: {word}").tea == word


@pytest.mark.parametrize(("word", "truth"), [("true", True), ("false", False)])
def test_two_words_are_truth_values(write, word, truth):
    assert write(f"tea: green\nhot: {word}").hot is truth


def test_a_word_is_no_truth_value_for_a_map_either(write):
    assert write("tea: green\nextras: {milk: no, sugar: false}").extras == {
        "milk": "no",
        "sugar": False,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tea: green\nsugar: 1", "pot.yaml:2: sugar: Extra inputs are not permitted, got 1"),
        ("cups: [1]\ntea: 3", "pot.yaml:2: tea: Input should be a valid string, got 3"),
        ("tea: a\ncups:\n  - 1\n  - x", "pot.yaml:4: cups.1: Input should be a valid integer"),
        ("cups: []", "pot.yaml:1: tea: Field required"),
        ("", "pot.yaml:1: : Input should be a valid dictionary"),
        ("- tea", "pot.yaml:1: : Input should be a valid dictionary"),
        ("tea: a\ntea: b", "'tea' stands twice"),
        ("tea: a\nextras:\n  milk: 1\n  milk: 2", "'milk' stands twice"),
        ("tea: [", "pot.yaml: while parsing"),
        ("tea: !!python/object:os.system {}", "could not determine a constructor"),
        ("tea: a\n---\ntea: b", "expected a single document"),
        (b"tea: \xff", "pot.yaml: 'utf-8' codec can't decode"),
        ("tea: \x07", "pot.yaml: unacceptable character"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(write, text, expected):
    assert expected in refusal(write, text)


@pytest.mark.parametrize("text", ["tea: a\ntea: b", "tea: a\nextras: {a: 1, a: 2}"])
def test_a_repeated_key_is_refused_with_its_line(write, text):
    assert "line 2" in refusal(write, text)


def test_all_faults_are_told_at_once(write):
    told = refusal(write, "tea: 1\ncups: [x]\nhot: maybe").splitlines()

    assert [line.split(":")[1] for line in told] == ["1", "2", "3"]


def test_long_input_is_cut(write):
    assert len(refusal(write, f"tea: {list(range(500))}")) < 300


def test_a_missing_file_is_said_to_be_missing(tmp_path):
    with pytest.raises(RecipeError, match=r"pot\.yaml: no such file"):
        read_written(tmp_path / "pot.yaml", Pot, RecipeError)
