import pytest
from pydantic import TypeAdapter

from loop.errors import FactsError
from loop.wire import Count, Instant, Level, Maybe, Number, Wire, check_wire


class Probe(Wire):
    when: Instant
    level: Level
    count: Maybe[Count] = None
    value: Maybe[Number] = None


PROBE = TypeAdapter(Probe)
GOOD = {"when": "2026-01-02T03:04:05Z", "level": "red"}


def test_what_was_read_is_written_back_without_the_missing_keys():
    read = check_wire(PROBE, {**GOOD, "count": 3}, where="probe")

    assert read.model_dump(mode="json", exclude_unset=True) == {**GOOD, "count": 3}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"count": -1}, "probe: count: Input should be greater than or equal to 0, got -1"),
        ({"count": None}, "probe: count: Value error, expected a value or no such key, got None"),
        ({"value": float("nan")}, "probe: value: Input should be a finite number, got nan"),
        ({"when": "yesterday", "extra": []}, "got str of length 9 (and 1 more)"),
    ],
)
def test_the_message_says_where_what_was_expected_and_what_came(changed, said):
    with pytest.raises(FactsError) as refused:
        check_wire(PROBE, GOOD | changed, where="probe")

    assert said in str(refused.value)


def test_the_message_for_something_else_altogether_names_the_whole():
    with pytest.raises(FactsError, match=r"^probe: whole: .*, got list of length 0$"):
        check_wire(PROBE, [], where="probe")
