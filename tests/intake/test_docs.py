"""What the operator's page names, and what intake says, are the same."""

import re
from pathlib import Path

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from intake.app import create_app
from intake.parts import make_parts
from intake.refusals import ANSWERS, REASONS
from intake.seen import OUTCOMES
from intake.shipper import FAILURES
from intake.spool import ASIDE_REASONS
from loop.settings import Settings
from tests.intake.served import NEAR, settings_in

PAGE = (Path(__file__).parents[2] / "docs/intake.md").read_text()
ROWS = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in PAGE.splitlines()
    if line.startswith("| `")
]


def words(cell):
    return re.findall(r"`([^`]+)`", cell)


def test_every_metric_is_explained_and_no_other(tmp_path):
    parts = make_parts(settings_in(tmp_path))
    with TestClient(create_app(parts), client=NEAR):
        text = parts.metrics.text().decode()
    families = text_string_to_metric_families(text)
    said = {
        family.name + "_total" * (family.type == "counter")
        for family in families
        if not family.name.endswith("_created")
    }

    assert {words(row[0])[0].partition("{")[0] for row in ROWS if "`intake_" in row[0]} == said


def test_every_reason_is_explained_with_its_answer():
    told = ((reason, row[1]) for row in ROWS if len(row) == 3 for reason in words(row[0]))
    explained = {reason: answer for reason, answer in told if reason in REASONS}

    assert set(explained) == set(REASONS)
    for reason, answer in ANSWERS.items():
        assert explained[reason] == f"{answer.status} `{answer.error}`"


def test_every_outcome_and_every_reason_to_set_aside_or_to_wait_is_explained():
    words_of_metrics = (*OUTCOMES, *ASIDE_REASONS, *FAILURES)

    assert [word for word in words_of_metrics if f"`{word}`" not in PAGE] == []


def test_every_setting_that_it_names_exists_with_its_default():
    named = set(re.findall(r"`LOOP_([A-Z0-9_]+)", PAGE))

    assert {name.lower() for name in named} <= set(Settings.model_fields)
    assert {"upload_bytes", "proxies", "rate_keys"} <= {name.lower() for name in named}
    assert "| 100, 10 000 |" in PAGE
    assert (Settings().uploads_per_source, Settings().uploads_per_day) == (100, 10_000)
    assert "| `LOOP_S3_SECONDS` | 20 |" in PAGE
    assert "| `LOOP_SHIP_RETRY_SECONDS` | 300 |" in PAGE
    assert (Settings().s3_seconds, Settings().ship_retry_seconds) == (20, 300)
