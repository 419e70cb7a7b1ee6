"""Texts of full size made from what each rule looks for, whole and broken off: they come to an end.

No time is asserted. A rule that is not linear would need minutes for one of them, where all need
seconds together.
"""

from collections import Counter

import pytest

from loop.privacy import redact_text
from loop.privacy_rules import rules

FULL = 64 * 1024
MAIL = "write to ola@example.org"


def units(hit):
    """A hit and beginnings of it, each close together and apart."""
    cuts = {max(1, len(hit) * part // 4) for part in (1, 2, 3, 4)}
    return [hit[:cut] + between for cut in sorted(cuts) for between in ("", " ")]


def filled(unit):
    return (unit * (FULL // len(unit) + 1))[: FULL - len(MAIL) - 1]


@pytest.mark.parametrize("rule", rules().rules, ids=lambda rule: rule.id)
def test_what_a_rule_looks_for_over_and_over_is_scanned_to_its_end(rule):
    for unit in [unit for hit in rule.hits for unit in units(hit)]:
        counts: Counter[str] = Counter()
        redacted = redact_text(f"{filled(unit)} {MAIL}", counts)

        assert redacted.endswith("<MAIL>") or redacted == "<REMOVED>", unit
        assert counts["mail"] + counts["endless"] > 0
