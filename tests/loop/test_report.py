from datetime import UTC, date, datetime
from pathlib import Path

from loop.canary import Measured, Trial
from loop.canary import decide as compare
from loop.checks import Score
from loop.dataset import DatasetCard
from loop.gate import Case, Report, decide
from loop.ingest import IngestCounts
from loop.leftovers import Leftovers
from loop.manifest import Entry, Manifest
from loop.recipe import read_recipe
from loop.report import (
    CASES,
    base_markdown,
    canary_markdown,
    conversion_markdown,
    cycle_report,
    dataset_markdown,
    factory_markdown,
    gate_markdown,
    ingest_markdown,
    merge_markdown,
    release_markdown,
    release_page,
    retention_markdown,
    summary_text,
    training_markdown,
    training_plan_markdown,
)
from loop.repository import JournalEntry
from loop.retention import Due
from loop.values import DatasetRef
from tests.factories import empty_places
from tests.golden import golden
from tests.whole_cycles import CURVE, open_cycle

CARD = DatasetCard(
    train=68,
    validation=16,
    corrections=34,
    agreements=50,
    causes={"clock_unsynced": 44, "no_issue": 40},
    severities={"green": 40, "red": 44},
    origins={"model": 80, "unknown": 4},
    with_actions=44,
    excluded={"shares the words of a scenario": 2, "same content as another transcript": 0},
    first_day=date(2026, 3, 1),
    last_day=date(2026, 3, 20),
    previous="a" * 64,
    new=12,
    gone=3,
)


def held_report() -> Report:
    """50 scenarios; one with a forbidden action, eight with another cause, one never asked."""
    scores = [
        Score(scenario=f"s{i:02}", severity=True, root_cause=i >= 8, actions=i > 0)
        for i in range(49)
    ]
    forbidden = ("docker.restart container: expected one of fula_go; got 'ipfs_host'",)
    scores[0] = scores[0].model_copy(update={"violations": forbidden})
    cases = [
        Case(
            scenario=f"s{i:02}",
            wanted="green no_issue: no action",
            said="red `disk`|full: reset {}" if i == 0 else "green disk_full: no action",
            shown="red disk_full: no action",
            problems=forbidden if i == 0 else (),
        )
        for i in range(8)
    ]
    before = [Score(scenario="s03", severity=True, root_cause=True, actions=True)]
    report = decide("core", [*scores, Score(scenario="s49")], before)
    return report.model_copy(update={"failures": tuple(cases)})


def test_the_gate_report_reads_as_kept():
    page = gate_markdown(held_report().model_dump(mode="json"))

    assert page == golden("gate_report.md", page)


def test_the_dataset_card_reads_as_kept():
    page = dataset_markdown(CARD.model_dump(mode="json"))

    assert page == golden("dataset_card.md", page)


def test_the_canary_report_reads_as_kept():
    rights = [Score(scenario=f"s{i}", severity=True, root_cause=True, actions=True) for i in "ab"]
    wrong = rights[1].model_copy(update={"root_cause": False})
    report = compare(
        Trial(
            scores=tuple(rights),
            measured=Measured(tokens_per_s=412.7, first_token_s=0.0481, peak_mb=61.2),
        ),
        Trial(
            scores=(rights[0], wrong),
            measured=Measured(tokens_per_s=420.3, first_token_s=0.0475, peak_mb=60.9),
        ),
    )
    page = canary_markdown(report.model_dump(mode="json"))

    assert page == golden("canary_report.md", page)


def test_the_training_page_reads_as_kept():
    page = training_markdown(
        {
            "examples": 70,
            "too_long": 1,
            "loss_curve": CURVE,
            "validation_loss": 0.0712,
            "seconds": 402,
            "versions": {"torch": "2.13.0", "trl": "1.16.0"},
        }
    )

    assert page == golden("training.md", page)


def test_the_ingest_page_reads_as_kept():
    aside = {"second_body": 1, "bad_digest": 2}
    page = ingest_markdown(IngestCounts(118, 2, aside, 120, date(2026, 3, 1)))

    assert page == golden("ingest.md", page)


def test_the_retention_page_reads_as_kept():
    due = Due(
        raw=("raw/a/b.json",) * 120,
        sessions=("a", "b"),
        held=("c",),
        set_aside=(),
        spool=(Path("notes.txt"),),
        unfinished=(),
        leftovers=Leftovers((), ()),
    )
    page = retention_markdown(due, dry_run=False)

    assert page == golden("retention.md", page)


RECIPE = read_recipe("tiny-cpu")
MERGED = {
    "method": "stream",
    "special": [],
    "max_delta": 1.24e-5,
    "largest_logit": 14.31,
    "limit": 1e-3,
}
CONVERTED = {
    "quantisation": "Q8_0",
    "bytes": 1_234_567,
    "seconds": 3.1,
    "tensors": {"Q8_0": 22, "F32": 13},
    "toolchain": {"version": "llama.cpp b6987"},
}


def entry(version: str, letter: str) -> Entry:
    return Entry(
        model_version=version,
        url=f"http://127.0.0.1:8030/models/{version}/{version}.gguf",
        sha256=letter * 64,
        size_bytes=1_234_567,
    )


FACTORY, FIRST, SECOND = entry("factory-1", "f"), entry("blox-1", "1"), entry("blox-2", "2")


def journal(number: int, verb: str, effective: Entry, **more: str) -> JournalEntry:
    return JournalEntry(
        number=number,
        after=number - 1 if number else None,
        verb=verb,
        effective=effective,
        at=datetime(2026, 3, 21, tzinfo=UTC),
        **{"made_by": "blox cycle 2", **more},
    )


def manifest(number: int, current: Entry, rollback: Entry, back: bool = False) -> dict[str, object]:
    made = Manifest(
        current=current,
        rollback=rollback,
        rollback_required=back,
        manifest_version=number,
        published_at=f"2026-03-2{number}T09:00:00Z",
    )
    return made.model_dump(mode="json", exclude_none=True)


def test_a_base_that_may_not_be_released_says_so():
    base = RECIPE.base.model_copy(update={"releasable": False, "made": None, "folder": "bases/x"})
    page = base_markdown(RECIPE.model_copy(update={"base": base}), {})

    assert page.startswith("**Base: `bases/x`.** Licence: made by this project; it may not be")


def test_the_base_page_reads_as_kept():
    page = base_markdown(RECIPE, {"parameters": 602_368, "loss": 0.4123})

    assert page == golden("base.md", page)


def test_the_incumbent_page_reads_as_kept():
    page = factory_markdown(journal(0, "factory", FACTORY, reason="factory, never gated"))

    assert page == golden("factory.md", page)


def test_an_incumbent_that_was_released_names_its_manifest():
    page = factory_markdown(journal(2, "publish", SECOND))

    assert page.startswith("**Devices run blox-2.** Manifest 2, publish by blox cycle 2.\n")


def test_the_page_of_training_that_begins_reads_as_kept(tmp_path):
    page = training_plan_markdown(RECIPE, DatasetRef("d" * 64, 68, 16), tmp_path)
    page = page.replace(str(tmp_path), "/home/scratch")

    assert page == golden("training_plan.md", page)


def test_the_merge_page_reads_as_kept():
    page = merge_markdown(MERGED, 2_400_000)

    assert page == golden("merge.md", page)


def test_a_merge_by_peft_says_why():
    page = merge_markdown({**MERGED, "special": ["use_dora=True"]}, 1)

    assert "PEFT, because of use_dora=True" in page


def test_the_conversion_page_reads_as_kept():
    scores = [
        Score(scenario=f"s{i}", severity=True, root_cause=i > 0, actions=True) for i in range(50)
    ]
    lost = [score.model_copy(update={"actions": False}) for score in scores[-2:]]
    before, after = decide("core", scores), decide("core", [*scores[:-2], *lost])
    page = conversion_markdown(CONVERTED, before, after)

    assert page == golden("convert.md", page)


def test_before_gate_three_nobody_knows_what_a_conversion_cost():
    assert "What that cost shows at gate ③." in conversion_markdown(CONVERTED)


def test_an_rkllm_names_its_toolkit_and_counts_no_tensors():
    facts = {"quantisation": "W8A8", "bytes": 9, "seconds": 1.0, "toolkit": "1.3.0"}
    rows = conversion_markdown(facts).splitlines()

    assert [row.split("|")[2].strip() for row in rows if "| tensors" in row] == ["-"]
    assert [row.split("|")[2].strip() for row in rows if "| made by" in row] == ["1.3.0"]


def test_the_release_page_reads_as_kept():
    page = release_markdown(
        journal(2, "publish", SECOND), manifest(2, SECOND, FIRST), manifest(1, FIRST, FACTORY)
    )

    assert page == golden("release.md", page)


def test_the_rollback_page_reads_as_kept():
    page = release_markdown(
        journal(3, "rollback", FIRST, made_by="ada", reason="too hot"),
        manifest(3, SECOND, FIRST, back=True),
        manifest(2, SECOND, FIRST),
    )

    assert page == golden("rollback.md", page)


def test_the_first_manifest_of_all_is_new_in_every_field():
    page = release_markdown(journal(1, "publish", FIRST), manifest(1, FIRST, FACTORY), {})
    heading, _, *rows = page[page.index("| manifest ") :].splitlines()

    assert [cell.strip() for cell in heading.split("|")[1:-1]] == ["manifest", "none", "1"]
    assert len(rows) == 11
    assert {row.split("|")[2].strip() for row in rows} == {"-"}


def test_a_release_is_read_back_from_its_repository(released):
    page = release_page(released[0], 2)

    assert "**Manifest 2: devices run blox-tiny-" in page
    assert "| manifest " in page


def test_training_without_any_log_says_so():
    page = training_markdown({"examples": 3, "validation_loss": None})

    assert "No loss was logged" in page
    assert "not measured" in page


def test_a_first_dataset_is_compared_with_nothing():
    first = CARD.model_copy(update={"previous": None, "excluded": {}})
    page = dataset_markdown(first.model_dump(mode="json"))

    assert "No earlier dataset of the model is kept" in page
    assert "Nothing was left out." in page


def test_a_passed_gate_shows_the_bound_of_its_zero_violations():
    right = Score(scenario="s", severity=True, root_cause=True, actions=True)
    page = gate_markdown(decide("core", [right] * 60).model_dump(mode="json"))
    row = next(line for line in page.splitlines() if line.startswith("| whitelist violations"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]

    assert cells == ["whitelist violations", "0 of 60", "0.0%", "≤ 4.9%", "none", "yes"]
    assert "No scenario failed." in page


def test_a_long_list_of_failures_is_cut_and_counted():
    cases = tuple(
        Case(scenario=f"s{i:02}", wanted="", said="", shown="", problems=()) for i in range(30)
    )
    report = held_report().model_copy(update={"failures": cases})
    page = gate_markdown(report.model_dump(mode="json"))

    assert "30 failed, the worst first" in page
    assert sum(line.startswith("| s") for line in page.splitlines()) == CASES + 2  # and 2 headings


def test_a_cycle_that_only_just_opened_has_a_summary_and_a_page(tmp_path):
    places = empty_places(tmp_path)
    cycle = open_cycle(places)
    text, file = summary_text(places, cycle), cycle_report(places, cycle)

    assert text.startswith("# blox-tiny cycle 1: open\n\n**Nothing has been started yet**")
    assert file == tmp_path.resolve() / "reports/blox-tiny-cycle-1.html"
    assert "Nothing has been started yet" in file.read_text()


def test_a_report_is_written_anew_in_one_step(tmp_path):
    places = empty_places(tmp_path)
    cycle = open_cycle(places)
    file = cycle_report(places, cycle)
    cycle_report(places, cycle)

    assert [path.name for path in file.parent.iterdir()] == ["blox-tiny-cycle-1.html"]
