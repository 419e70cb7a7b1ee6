"""The oracle of the fault tests can itself see a loss and a repeat."""

import pytest

from tests.intake.ledger import Kept, Verdict, compared

ACKNOWLEDGED = {"a": "1", "b": "2"}
KEPT = [Kept("a", "1", "2026-03-01"), Kept("b", "2", "2026-03-01")]
FINE = Verdict([], [])


def test_everything_kept_once_is_fine():
    assert compared(ACKNOWLEDGED, KEPT) == FINE


def test_what_was_kept_and_never_answered_is_fine():
    assert compared(ACKNOWLEDGED, [*KEPT, Kept("c", "3", "2026-03-01")]) == FINE


def test_the_same_upload_again_on_another_day_is_fine():
    assert compared(ACKNOWLEDGED, [*KEPT, Kept("a", "1", "2026-03-02")]) == FINE


@pytest.mark.parametrize(
    "kept",
    [KEPT[1:], [KEPT[0]._replace(digest="other"), KEPT[1]], [KEPT[0]._replace(upload_id="c")]],
    ids=["nowhere", "another body", "another id"],
)
def test_what_is_not_there_as_it_was_sent_is_lost(kept):
    assert "a" in compared(ACKNOWLEDGED, [*kept, KEPT[1]]).lost


@pytest.mark.parametrize("again", [KEPT[0], KEPT[0]._replace(digest="other")])
def test_what_is_there_twice_on_one_day_is_doubled(again):
    assert compared(ACKNOWLEDGED, [*KEPT, again]).doubled == ["a"]
