"""The pages about retention name the settings that there are, with their defaults."""

import re
from pathlib import Path

from loop.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
PERIODS = {
    name: field.default
    for name, field in Settings.model_fields.items()
    if name.startswith("keep_") and name.endswith("_days")
}


def test_the_operators_page_has_every_period_with_its_default():
    rows = re.findall(
        r"^\| `LOOP_(KEEP_\w+)` \| (\d+) \|", (DOCS / "retention.md").read_text(), re.M
    )

    assert {name.lower(): int(days) for name, days in rows} == PERIODS


def test_users_are_told_the_same_numbers():
    said = (DOCS / "privacy.md").read_text()

    assert f"{PERIODS['keep_raw_days']} days after it came" in said
    assert f"24 months ({PERIODS['keep_session_days']} days)" in said
    assert f"{PERIODS['keep_quarantine_days']} days after that" in said
