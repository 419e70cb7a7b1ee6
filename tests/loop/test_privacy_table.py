"""The table of identifiers keeps what each of its rows says of itself."""

from pathlib import Path

import pytest

from loop import privacy
from loop.privacy import found_in
from loop.privacy_rules import rules
from loop.values import digest_json
from tests.factories import event, upload
from tests.leaks import leaks, structural

ROWS = {rule.id: rule for rule in rules().rules}
HITS = [(rule.id, text) for rule in rules().rules for text in rule.hits]
CLEAN = [(rule.id, text) for rule in rules().rules for text in rule.clean]
PLACEHOLDERS = sorted({rule.placeholder for rule in rules().rules})
VERSIONS = Path(__file__).parents[1] / "golden/privacy_version.txt"
NAMED = [("network_key", rules().network_key), *((one.id, one) for one in rules().numbers)]


def hits(rule, text):
    """As the engine asks: only where a first look says that it is worth it."""
    return rule in rules().likely(text) and any(rule.found(text))


@pytest.mark.parametrize(("rule", "text"), HITS)
def test_a_rule_hits_what_it_is_for(rule, text):
    assert hits(ROWS[rule], text)


@pytest.mark.parametrize(("row", "text"), CLEAN)
def test_no_rule_hits_a_look_alike(row, text):
    assert [rule.id for rule in rules().rules if hits(rule, text)] == []


def found_alone(payload):
    return found_in(upload(events=[event("tool_result", payload)]))


@pytest.mark.parametrize(
    ("rule", "payload"), [(name, hit) for name, row in NAMED for hit in row.hits]
)
def test_a_key_makes_its_value_telling(rule, payload):
    assert rule in found_alone(payload)


@pytest.mark.parametrize("payload", [clean for _, row in NAMED for clean in row.clean])
def test_no_key_makes_a_look_alike_telling(payload):
    assert found_alone(payload) == []


@pytest.mark.parametrize("placeholder", PLACEHOLDERS)
@pytest.mark.parametrize("around", ["{}", "/home/{}/x", "::{}", "{}%wlan0", "ssid:  {}", "{}{}"])
def test_no_rule_hits_a_placeholder_or_what_the_phone_leaves_around_it(placeholder, around):
    text = around.replace("{}", placeholder)

    assert [rule.id for rule in rules().rules if hits(rule, text)] == []


@pytest.mark.parametrize("rule", ROWS.values(), ids=ROWS)
def test_a_row_is_complete(rule):
    assert rule.placeholder[0] + rule.placeholder[-1] == "<>"


def test_rules_that_find_anything_else_have_a_new_version():
    """To be mended by raising `VERSION` and one more line in the file; no line ever changes."""
    kept = dict(line.split() for line in VERSIONS.read_text().splitlines())
    texts = [text for row in ROWS.values() for text in (*row.hits, *row.clean)]
    values = [*texts, *(leak.value for leak in (*leaks(), *structural()))]

    assert kept[privacy.VERSION] == digest_json([found_alone({"a": value}) for value in values])
