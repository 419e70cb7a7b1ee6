import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loop.causes import Cause, Vocabulary, cause_of, causes, normal
from loop.values import Severity

SHARED = Path(__file__).parents[2] / "../shared"

# The causes of the device's three trees, in the contract's words.
TREES = """
captive_portal discovery_unreachable dns_unreachable disconnected_indeterminate disk_io_errors
docker_images_outdated docker_service_inactive ext4_errors_present fula_go_crash_loop
fula_go_inactive fula_service_inactive kubo_api_unresponsive no_relay_reservation storage_full
uniondrive_not_mounted chain_rpc_unreachable chain_not_configured cluster_identity_is_directory
cluster_not_running cluster_oom_killed earnings_indeterminate earnings_should_accrue
not_pool_member not_reporting_online pool_id_not_configured already_pool_member
join_indeterminate join_not_submitted join_pending_approval
"""

SYNTHETIC = ("no_verdict_emitted", "max_turns_exceeded", "tree_indeterminate")

known = st.sampled_from([n for c in causes().values() for n in (c.id, *c.aliases)])


def cause(**changed: object) -> Cause:
    fields: dict[str, object] = {
        "id": "a",
        "severity": "red",
        "about": "x",
        "summary": "So.",
        "reasoning": "So.",
    }
    return Cause.model_validate(fields | changed)


def test_every_cause_of_the_trees_is_in_the_vocabulary_under_its_own_name():
    assert len(TREES.split()) == 29
    assert [name for name in TREES.split() if cause_of(name) != name] == []


@pytest.mark.parametrize("name", SYNTHETIC)
def test_what_the_runtime_makes_up_is_never_a_diagnosis(name):
    assert cause_of(name) is None


@pytest.mark.parametrize(
    ("name", "severity"),
    [
        ("captive_portal", "yellow"),
        ("no_relay_reservation", "yellow"),
        ("dns_unreachable", "red"),
        ("cluster_oom_killed", "yellow"),
        ("clock_unsynced", "red"),
        ("kubo_api_unresponsive", "red"),
        ("insufficient_data", "yellow"),
        ("no_issue", "green"),
    ],
)
def test_where_sources_disagree_the_written_choice_holds(name, severity):
    assert causes()[name].severity == Severity(severity)


@given(known, st.sampled_from([" ", "-", "_", "  ", "\t", "\u2013", " - ", "\u00a0"]))
def test_spelling_does_not_change_a_cause(name, gap):
    spelt = f" {name.upper().replace('_', gap)} "

    assert cause_of(spelt) == cause_of(name)


def test_wide_letters_are_letters():
    assert cause_of("\uff43lock_unsynced") == "clock_unsynced"


@given(known, st.from_regex(r"[a-z]{1,8}", fullmatch=True))
def test_a_cause_inside_other_words_is_no_cause(name, word):
    assert cause_of(f"{word} {name} xyz") is None
    assert cause_of(f"{name}, because {word}") is None


@pytest.mark.parametrize("text", ["", " ", "_", "-", "clock", "unsynced", "no"])
def test_parts_and_emptiness_name_no_cause(text):
    assert cause_of(text) is None


@given(st.text())
def test_normalising_twice_changes_nothing(text):
    assert normal(normal(text)) == normal(text)


def test_every_cause_has_its_own_words():
    summaries = [one.summary for one in causes().values()]

    assert len(set(summaries)) == len(summaries)


def test_a_name_of_two_causes_is_an_error():
    with pytest.raises(ValidationError, match="expected each id and alias once, got b again"):
        Vocabulary(causes=(cause(id="a", aliases=["b"]), cause(id="b")))


@pytest.mark.parametrize("name", ["Clock", "a b", "a-b", "_a", ""])
def test_a_name_that_is_not_in_normal_form_is_an_error(name):
    with pytest.raises(ValidationError, match="expected the normal form"):
        cause(id=name)


@pytest.mark.parametrize("text", ["No full stop", "Has {holes}.", " ".join(["word"] * 13) + "."])
def test_a_template_is_one_short_plain_sentence(text):
    with pytest.raises(ValidationError, match="one plain sentence of at most 12 words"):
        cause(summary=text)


if SHARED.is_dir():

    def test_every_labelled_root_cause_has_a_name_in_the_vocabulary():
        files = sorted((SHARED / "real/labelled").glob("*.json"))
        found = {
            event["payload"]["root_cause"]
            for file in files
            for event in json.loads(file.read_text())["transcript"]["events"]
            if event["type"] == "verdict"
        }

        assert len(found) == 16
        assert sorted(name for name in found if cause_of(name) is None) == []
