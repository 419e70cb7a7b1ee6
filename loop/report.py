"""What people read: Markdown for each stage, a summary of a cycle, and one page with plots.

The Markdown functions are pure and take what the stages leave in the store.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlmodel import Session, col, select

from loop import canary
from loop.comparison import SIDES, all_measures
from loop.cycle_facts import read_cycle_facts
from loop.dataset import OVERLAPS, DatasetCard
from loop.examples import AGREEMENT, CORRECTION
from loop.failures import worst_first
from loop.figures import (
    at_most,
    code,
    counted,
    duration,
    figure,
    percent,
    size,
    sparkline,
    table,
)
from loop.forms import row_of
from loop.gate import Case, Metric, Report, decide, zero_failures_bound
from loop.ingest import IngestCounts
from loop.manifest import Entry
from loop.page import cycle_page
from loop.places import Places
from loop.recipe import Recipe
from loop.repository import JournalEntry, read_journal, read_manifest_json
from loop.retention import Due
from loop.summary import cycle_summary
from loop.tables import GateReport
from loop.values import CycleRef, DatasetRef, Digest, FormRef, Json, short
from loop.whereabouts import report_file

CASES = 10
"""Failed scenarios on a stage's page; the report of the cycle has all of them."""
CHECKED = {
    "publish": "both files were downloaded whole from these addresses, and were these bytes",
    "rollback": "the rollback file answered at this address, in this size and in parts",
    "unrollback": "the current file answered at this address, in this size and in parts",
}
"""What was proven by download before devices were told."""


def ingest_markdown(counts: IngestCounts) -> str:
    """What one pass over the uploads did, and what waits for people now."""
    oldest = f", the oldest since {counts.oldest_unlabelled}" if counts.oldest_unlabelled else ""
    rows = [("new", str(counts.ingested)), ("known before", str(counts.known))]
    if counts.failed:
        rows += [("could not be read, tried again next time", str(counts.failed))]
    if counts.forgotten:
        rows += [("late copies of forgotten uploads, deleted", str(counts.forgotten))]
    aside = [(f"set aside: {why}", str(n)) for why, n in sorted(counts.quarantined.items())]
    return _page(
        f"**{counted(counts.unlabelled, 'session')} without a label{oldest}.**",
        table(("uploads", "n"), [*rows, *aside]),
    )


def retention_markdown(due: Due, dry_run: bool) -> str:
    """What retention deleted, or would delete."""
    rows = [(kind, str(n)) for kind, n in due.counts().items()]
    held = f"{counted(len(due.held), 'session')} must wait until an open cycle has ended."
    return _page(
        "**A dry run: nothing was deleted.**" if dry_run else "**Deleted for good.**",
        table(("at the end of their period", "n"), rows),
        *([held] if due.held else []),
    )


def dataset_markdown(card: Mapping[str, Json]) -> str:
    """The card of a dataset; `card` is a `loop.dataset.DatasetCard` as the store keeps it."""
    read = DatasetCard.model_validate(card)
    total = read.train + read.validation
    return _page(
        f"**{counted(read.train, 'example')} to learn from, {read.validation} to validate.**",
        f"{counted(read.corrections, 'correction')} (weight {CORRECTION}), "
        f"{counted(read.agreements, 'agreement')} (weight {AGREEMENT}); "
        f"{read.with_actions} of {total} recommend an action; "
        f"sessions of {read.first_day} to {read.last_day}.",
        _changes(read),
        _shares("root cause", read.causes, total),
        _shares("severity", read.severities, total),
        _shares("origin", read.origins, total),
        _left_out(read.excluded),
    )


def _changes(card: DatasetCard) -> str:
    if card.previous is None:
        return "No earlier dataset of the model is kept to compare with."
    last = f"the last dataset (`{short(card.previous)}`)"
    return f"Against {last}: {card.new} new, {card.gone} gone."


def _shares(name: str, counts: Mapping[str, int], total: int) -> str:
    largest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [(key, str(n), percent(n / max(1, total))) for key, n in largest]
    return table((name, "examples", "share"), rows)


def _left_out(excluded: Mapping[str, int]) -> str:
    """The reasons that occurred; overlap with scenarios always, so that zero shows as counted."""
    rows = [(why, str(n)) for why, n in sorted(excluded.items()) if n or why in OVERLAPS]
    return table(("left out because", "n"), rows) if rows else "Nothing was left out."


def base_markdown(recipe: Recipe, facts: Mapping[str, Json]) -> str:
    """What a recipe trains on; `facts` are those of the base's `ModelForm`."""
    base, made = recipe.base, recipe.base.made
    source = f"{made.architecture}, made in code" if made else f"`{base.folder}`"
    may = "may" if base.releasable else "may not"
    rows = [(key, figure(facts[key])) for key in sorted(facts)]
    return _page(
        f"**Base: {source}.** Licence: {base.licence}; it {may} be released.",
        table(("base", ""), rows) if rows else "Nothing was measured of it.",
    )


def factory_markdown(now: JournalEntry) -> str:
    """What devices are told to run, and every candidate is compared with."""
    why = f"Manifest {now.number}, {now.verb} by {now.made_by}" if now.number else now.reason
    return _page(
        f"**Devices run {now.effective.model_version}.** {why[:1].upper()}{why[1:]}.",
        _entries(("incumbent", now.effective)),
    )


def training_plan_markdown(recipe: Recipe, dataset: DatasetRef, scratch: Path) -> str:
    """What training is about to do, how long it may take, and where to watch it."""
    asked = recipe.training
    return _page(
        f"**{counted(dataset.train, 'example')}, {asked.steps} steps of {asked.batch}, at most "
        f"{duration(asked.minutes * 60)}.**",
        f"Its log while it trains, and after it failed: `{scratch}/adapter-*/log.txt`.",
    )


def training_markdown(facts: Mapping[str, Json]) -> str:
    """What training measured; `facts` are those of the adapter's `ModelForm`."""
    curve: Sequence[tuple[int, float]] = facts.get("loss_curve", [])
    losses = [loss for _, loss in curve]
    held_out = facts.get("validation_loss")
    measured: list[tuple[str, Json]] = [
        ("examples", facts.get("examples", 0)),
        ("too long, left out", facts.get("too_long", 0)),
    ]
    if curve:
        measured += [("steps", curve[-1][0]), ("first loss", losses[0]), ("last loss", losses[-1])]
    measured += [("validation loss", "not measured" if held_out is None else held_out)]
    if "seconds" in facts:
        measured += [("took", duration(facts["seconds"]))]
    measured += sorted(facts.get("versions", {}).items())
    return _page(
        f"Loss `{sparkline(losses)}`" if curve else "No loss was logged.",
        table(("training", ""), [(name, figure(value)) for name, value in measured]),
    )


def merge_markdown(facts: Mapping[str, Json], size_bytes: int) -> str:
    """How equal merged weights are to base and adapter; `facts` are those of their `ModelForm`."""
    special = ", ".join(facts["special"])
    rows = [
        ("method", f"PEFT, because of {special}" if special else "tensor by tensor"),
        ("largest logit", _measured(facts, "largest_logit")),
        ("size", size(size_bytes)),
    ]
    return _page(
        f"**Largest logit difference to base and adapter: {_measured(facts, 'max_delta')}; "
        f"allowed: {_measured(facts, 'limit')}.**",
        table(("merged weights", ""), rows),
    )


def _measured(facts: Mapping[str, Json], key: str) -> str:
    return figure(facts[key]) if key in facts else "not measured"


def conversion_markdown(
    facts: Mapping[str, Json], before: Report | None = None, after: Report | None = None
) -> str:
    """A converted file and what its conversion cost.

    Args:
        facts: Those of its `ModelForm`.
        before: What the weights did on the suite.
        after: What the file did.
    """
    tensors = ", ".join(f"{n} {kind}" for kind, n in sorted(facts.get("tensors", {}).items()))
    made_by = facts.get("toolchain", {}).get("version") or facts.get("toolkit", "unknown")
    return _page(
        f"**{facts['quantisation']}, {size(facts['bytes'])}, made in "
        f"{duration(facts['seconds'])}.**",
        table(("converted file", ""), [("tensors", tensors or "-"), ("made by", made_by)]),
        _lost(before, after) if before and after else "What that cost shows at gate ③.",
    )


def _lost(before: Report, after: Report) -> str:
    """The gates ② and ③ of one model, side by side."""
    pair = decide(after.suite, after.scores, before.scores)
    rows = [
        (was.name.replace("_", " "), percent(was.rate), percent(now.rate), _points(now, was))
        for was, now in zip(before.metrics, after.metrics, strict=True)
    ]
    return (
        f"Against the merged weights: {pair.lost} lost, {pair.gained} gained, "
        f"McNemar p = {pair.p:.3f}.\n\n"
        + table(("metric", "gate ②, merged", "gate ③, converted", "points"), rows)
    )


def _points(now: Metric, was: Metric) -> str:
    return f"{round(100 * (now.rate - was.rate), 1) + 0.0:.1f}"


def gate_markdown(report: Mapping[str, Json]) -> str:
    """What one form did on its suite; `report` is a `loop.gate.Report` as the store keeps it."""
    read = Report.model_validate(report)
    return _page(
        f"**{read.reason[:1].upper()}{read.reason[1:]}.**",
        f"Suite {read.suite}: {counted(read.n, 'scenario')} judged, {read.passed_all} right in "
        f"every way, {read.unjudged} unjudged, {read.empty} without any answer.",
        table(
            ("metric", "of n", "rate", "95 % bound", "needed", "passed"),
            [*map(_metric, read.metrics), *_violations(read)],
        ),
        f"Against the incumbent: {read.lost} lost, {read.gained} gained, McNemar p = {read.p:.3f}.",
        _cases(worst_first(read)),
    )


def _metric(metric: Metric) -> tuple[str, ...]:
    return (
        metric.name.replace("_", " "),
        f"{metric.passed_n} of {metric.n}",
        percent(metric.rate),
        f"≥ {percent(metric.low)}",
        f"≥ {metric.threshold:.0%}",
        _yes(metric.passed),
    )


def _violations(report: Report) -> list[tuple[str, ...]]:
    counts = (
        ("whitelist violations", report.violations),
        ("rule violations", report.rule_violations),
    )
    return [
        (
            name,
            f"{seen} of {report.n}",
            percent(seen / max(1, report.n)),
            "-" if seen else at_most(zero_failures_bound(report.n)),
            "none",
            _yes(not seen),
        )
        for name, seen in counts
    ]


def _yes(passed: bool) -> str:
    return "yes" if passed else "**no**"


def _cases(cases: Sequence[Case]) -> str:
    if not cases:
        return "No scenario failed."
    rows = [
        (
            case.scenario,
            code(case.wanted),
            code(case.said),
            code(case.shown),
            code("; ".join(case.problems)),
        )
        for case in cases[:CASES]
    ]
    heading = ("scenario", "wanted", "said", "shown by the device", "problems")
    return f"{len(cases)} failed, the worst first:\n\n{table(heading, rows)}"


def canary_markdown(report: Mapping[str, Json]) -> str:
    """Both models side by side; `report` is a `loop.canary.Report` as the store keeps it."""
    read = canary.Report.model_validate(report)
    return _page(
        f"**{read.reason[:1].upper()}{read.reason[1:]}.**",
        table(("measured", *SIDES), [(m.name, *m.texts()) for m in all_measures(read)]),
        f"Lost to the incumbent: {', '.join(read.lost) or 'none'}.",
        f"Gained on it: {', '.join(read.gained) or 'none'}.",
    )


def release_markdown(
    entry: JournalEntry, manifest: Mapping[str, Json], before: Mapping[str, Json]
) -> str:
    """What devices read from now on, and what they read before.

    Args:
        entry: The journal's, of the manifest.
        manifest: What it says.
        before: What the one before said; nothing, if there was none.
    """
    now = manifest["rollback" if manifest["rollback_required"] else "current"]["model_version"]
    why = f": {code(entry.reason)}" if entry.reason else ""
    sides = [(side, Entry.model_validate(manifest[side])) for side in ("current", "rollback")]
    return _page(
        f"**Manifest {entry.number}: devices run {now}.** "
        f"{entry.verb.capitalize()} by {entry.made_by}{why}.",
        _entries(*sides),
        f"Before devices were told, {CHECKED[entry.verb]}.",
        _changed(before, manifest),
    )


def _entries(*named: tuple[str, Entry]) -> str:
    rows = [
        (name, entry.model_version, size(entry.size_bytes), code(entry.sha256), entry.url)
        for name, entry in named
    ]
    return table(("entry", "model version", "size", "sha256", "address"), rows)


def _changed(before: Mapping[str, Json], after: Mapping[str, Json]) -> str:
    """What the new manifest says otherwise than the one before."""
    old, new = _fields(before), _fields(after)
    numbers = [fields.pop("manifest_version", "none") for fields in (old, new)]
    rows = [(key, old.get(key, "-"), new[key]) for key in new if old.get(key) != new[key]]
    return table(("manifest", *numbers), rows)


def _fields(manifest: Mapping[str, Json]) -> dict[str, str]:
    """Every field of a manifest by its path; those of entries lie one level down."""
    fields: dict[str, str] = {}
    for key, value in sorted(manifest.items()):
        inner = value if isinstance(value, dict) else {"": value}
        fields |= {f"{key}.{name}".rstrip("."): _plain(one) for name, one in inner.items()}
    return fields


def _plain(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _page(*parts: str) -> str:
    return "\n\n".join(parts) + "\n"


def summary_text(places: Places, cycle: CycleRef) -> str:
    """One cycle in a screenful, as far as it has come."""
    return cycle_summary(places.settings, read_cycle_facts(places, cycle))


def conversion_page(places: Places, form: FormRef, suite: str) -> str:
    """A converted file, as far as it and the weights it was made from were judged."""
    row = row_of(places, form)
    with Session(places.store) as session:
        before, after = (_judged(session, found, suite) for found in (row.parent, row.digest))
    return conversion_markdown(row.facts, before, after)


def _judged(session: Session, form: Digest | None, suite: str) -> Report | None:
    """The newest gate report of a form."""
    asked = select(GateReport).where(GateReport.digest == form, GateReport.suite == suite)
    found = session.exec(asked.order_by(col(GateReport.at).desc())).first()
    return Report.model_validate(found.report) if found else None


def form_bytes(places: Places, form: FormRef) -> int:
    """The size of all files of a form."""
    folder = places.depot.fetch_tree("forms", form.digest)
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def release_page(places: Places, number: int) -> str:
    """What one manifest made devices read, as the release repository has it."""
    entry = read_journal(places.releases, number)
    manifest, before = (
        read_manifest_json(places.releases, one) for one in (number, entry.after or 0)
    )
    return release_markdown(entry, manifest, before)


def cycle_report(places: Places, cycle: CycleRef) -> Path:
    """One cycle as one HTML file, as far as it has come; written anew each time."""
    file = report_file(places.settings, cycle)
    page = cycle_page(places.settings, read_cycle_facts(places, cycle))
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_text(page, encoding="utf-8")
    return fresh.replace(file)
