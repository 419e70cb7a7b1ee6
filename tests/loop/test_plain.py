import json
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from loop.plain import Span, as_read, is_plain, plain

FULL_WIDTH = {ord("0") + n: 0xFF10 + n for n in range(10)}
PLAIN = st.text(st.characters(codec="ascii", exclude_characters="%\\"))


@given(PLAIN)
def test_a_plain_text_is_read_as_it_is_written(text):
    assert is_plain(text)
    assert plain(text) == (text, tuple(Span(at, at + 1) for at in range(len(text))))


@given(st.text(max_size=60))
def test_every_character_remembers_a_part_of_the_source_in_order(text):
    read = plain(text)

    assert len(read.text) == len(read.sources)
    assert all(0 <= span.start < span.end <= len(text) for span in read.sources)
    assert list(read.sources) == sorted(read.sources)


@given(st.from_regex(r"[0-9a-z. /:@-]{1,30}", fullmatch=True))
def test_the_same_text_is_read_however_it_was_disguised(text):
    for disguised in (
        quote(text, safe=""),
        json.dumps(text)[1:-1].replace("/", "\\/"),
        "".join(f"\\u{ord(one):04x}" for one in text),
        text.translate(FULL_WIDTH),
        "\u200b".join(text),
        text.replace(".", "\u3002"),
    ):
        assert plain(disguised).text == text


def test_only_one_round_is_decoded():
    assert plain("%2541").text == "%41"


ESCAPED = st.sampled_from(
    ["%C3%A9", "%CC%81", "%ff", "\\ud83d", "\\u0031", "\\n", "%", "\\", "\uff11"]
)


@given(st.lists(ESCAPED | st.text(max_size=5), max_size=8).map("".join))
def test_the_quick_reading_is_the_same_text(text):
    assert as_read(text) == plain(text).text


def test_half_of_an_escaped_pair_is_no_character():
    assert plain("\\ud83d!").text == "\ufffd!"
