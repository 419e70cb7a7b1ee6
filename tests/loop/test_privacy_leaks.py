"""How much of the corpus of leaks the rules stop; docs/privacy.md shows the figures to people."""

from collections import defaultdict
from pathlib import Path

import pytest

from loop.errors import PrivacyError
from loop.figures import percent, table
from loop.privacy import redact
from loop.sessions import generate
from loop.upload import read_upload
from tests.factories import event, upload
from tests.golden import golden_block
from tests.leaks import half, leaks, look_alikes, structural, surviving
from tests.phone import anonymise

PAGE = Path(__file__).parents[2] / "docs/privacy.md"
SEEDS = range(3)
CORPUS = [leak for seed in SEEDS for leak in (*leaks(seed), *structural(seed))]
PROMISED = {"IPv4", "IPv6", "MAC", "libp2p / IPFS", "paths", "SSID", "time", "named key"}
"""Kinds of which the phone promises to strip at least one form."""
LIKE_WORDS = 34
"""The form that is six characters after an ellipsis: in capitals alone it reads as a word."""
LEAST = 0.95


def sent(value):
    kind = "thought" if isinstance(value, str) else "tool_result"
    return upload(events=[event(kind, value)])


def became(uploaded):
    """The payload that would be stored; nothing where the upload is refused."""
    try:
        found, _ = redact(read_upload(uploaded))
    except PrivacyError:
        return None
    return found.as_json()["events"][0]["payload"]


def stopped(leak, uploaded):
    found = became(uploaded)
    return found is None or not surviving(leak, found)


def rates(judged, wanted):
    """By kind of identifier: how many of one half are stopped after the phone, and of how many."""
    found = defaultdict(list)
    for leak in CORPUS:
        if leak.judged == judged and half(leak.template) == wanted:
            found[leak.kind].append(stopped(leak, anonymise(sent(leak.value))))
    return {kind: (sum(results), len(results)) for kind, results in sorted(found.items())}


@pytest.mark.parametrize("reach", [anonymise, lambda uploaded: uploaded], ids=["phone", "no phone"])
def test_every_form_of_what_the_phone_promises_to_strip_is_refused_or_replaced(reach):
    survivors = [
        leak.value
        for leak in CORPUS
        if leak.kind in PROMISED and leak.judged == "gated" and leak.number != LIKE_WORDS
        if not stopped(leak, reach(sent(leak.value)))
    ]

    assert survivors == []


@pytest.mark.parametrize("wanted", ["develop", "report"])
def test_nearly_all_of_every_kind_is_stopped_in_both_halves(wanted):
    assert [kind for kind, (n, of) in rates("gated", wanted).items() if n < LEAST * of] == []


def test_nothing_that_the_phone_sends_is_refused():
    refused = [leak.value for leak in CORPUS if became(anonymise(sent(leak.value))) is None]

    assert refused == []


def test_no_session_that_the_phone_sends_is_refused_whatever_its_user_wrote():
    texts = [leak.value for leak in CORPUS if isinstance(leak.value, str)]
    for session, text in zip(generate(seed=11, count=200), texts, strict=False):
        found, _ = redact(read_upload(anonymise({**session.upload, "user_comment": text})))

        assert found.upload_id == session.upload["upload_id"]


@pytest.mark.parametrize("look_alike", look_alikes(), ids=lambda one: str(one.number))
def test_a_look_alike_stays_as_it_is_and_so_does_what_the_phone_makes_of_it(look_alike):
    assert became(sent(look_alike.text)) == look_alike.text
    assert became(sent(look_alike.phone)) == look_alike.phone


def test_the_figures_on_the_page_are_measured():
    kept, wanted = golden_block(PAGE, "figures", figures())

    assert kept == wanted


def figures():
    judged = {"": rates("gated", "report"), " (in prose)": rates("reported", "report")}
    rows = [
        (kind + note, f"{n} of {of}", percent(n / of))
        for note, found in judged.items()
        for kind, (n, of) in found.items()
    ]
    return table(("identifier", "stopped", ""), rows) + "\n"
