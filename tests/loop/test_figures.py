import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.figures import code, duration, figure, size, sparkline, table

cells = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=12)


@given(st.lists(st.tuples(cells, cells, cells), max_size=6))
def test_every_line_of_a_table_is_equally_wide_and_has_every_column(rows):
    lines = table(("a", "b", "c"), rows).splitlines()

    assert len(lines) == len(rows) + 2
    assert len({len(line) for line in lines}) == 1
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}


@given(st.floats(0, 1e9))
def test_a_duration_has_at_most_two_units(seconds):
    assert len(duration(seconds).split()) in (2, 4)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (3_740_000_000, "3.7 GB")]
)
def test_sizes_are_decimal(count, text):
    assert size(count) == text


@given(st.lists(st.floats(-1e3, 1e3), max_size=300))
def test_a_sparkline_is_short_and_spans_all_heights(values):
    drawn = sparkline(values)

    assert len(drawn) <= 40
    assert bool(drawn) == bool(values)
    if len(set(values)) > 1 and len(values) <= 40:
        assert {"▁", "█"} <= set(drawn)


def test_words_of_a_model_cannot_leave_their_code_span():
    assert code("`</script>` ok") == "`'</script>' ok`"
    assert code("") == ""


def test_no_figure_turns_truth_into_a_number():
    assert figure(True) == "True"
