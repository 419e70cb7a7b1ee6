"""One cycle in a screenful: Markdown that reads well in a terminal, too."""

import json
from collections.abc import Iterable, Sequence

from loop.canary import Report
from loop.comparison import SIDES, all_measures
from loop.cycle_facts import CycleFacts, DatasetFacts, Gated, Learnt
from loop.cycles import name_of
from loop.figures import at_most, counted, duration, moment, percent, size, sparkline, table
from loop.settings import Settings
from loop.tables import Release
from loop.values import short
from loop.whereabouts import whereabouts

CAUSES = 12
"""Root causes that are named one by one."""


def cycle_summary(settings: Settings, facts: CycleFacts) -> str:
    """What the cycle learnt, how that was proven, what came of it, and where everything is."""
    sections = (
        _headline(facts),
        _learnt(facts.dataset) if facts.dataset else [],
        _training(facts),
        _gates(facts.gates, facts.cycle.suite) if facts.gates else [],
        _canary(facts.canary_report) if facts.canary_report else [],
        _sign_off(facts),
        _release(facts, facts.release) if facts.release else [],
        _places(settings, facts),
    )
    return "\n\n".join(part for section in sections for part in section) + "\n"


def _headline(facts: CycleFacts) -> list[str]:
    cycle, took = facts.cycle, (facts.until - facts.cycle.opened_at).total_seconds()
    return [
        f"# {name_of(cycle)}: {outcome_of(facts)}",
        f"**{reason_of(facts)}**",
        f"Opened {moment(cycle.opened_at)}, {'took' if facts.end else 'open for'} "
        f"{duration(took)}; recipe {cycle.recipe}, suite {cycle.suite}.",
    ]


def outcome_of(facts: CycleFacts) -> str:
    """How the cycle ended; `open` until then."""
    return str(facts.end.outcome) if facts.end else "open"


def reason_of(facts: CycleFacts) -> str:
    """Why it ended so, or what it is doing, as a sentence."""
    if facts.end:
        return facts.end.reason[:1].upper() + facts.end.reason[1:]
    begun = [span for span in facts.stages if span.mark != "todo"]
    if not begun:
        return "Nothing has been started yet"
    last = max(begun, key=lambda span: span.began or facts.cycle.opened_at)
    words = {"started": "runs", "waiting": "waits for people", "failed": "failed"}
    since = f" for {duration(last.seconds)}" if last.mark in ("started", "waiting") else ""
    return f"Stage {last.stage} {words.get(last.mark, 'is finished')}{since}"


def _learnt(dataset: DatasetFacts) -> list[str]:
    card = dataset.card
    people = ", ".join(f"{name} ({n})" for name, n in dataset.labels.items()) or "nobody"
    named, others = dataset.learnt[:CAUSES], dataset.learnt[CAUSES:]
    rows = [_cause(one) for one in named]
    if others:
        rest = Learnt(
            f"{counted(len(others), 'other cause')}",
            sum(one.corrections for one in others),
            sum(one.agreements for one in others),
        )
        rows.append(_cause(rest))
    return [
        "## What was learnt",
        f"{card.train} examples to learn from, {card.validation} to validate; "
        f"{counted(card.corrections, 'correction')}, {counted(card.agreements, 'agreement')}; "
        f"{counted(sum(card.excluded.values()), 'label')} left out; labels by {people}.",
        *([table(("root cause", "corrections", "agreements"), rows)] if rows else []),
    ]


def _cause(one: Learnt) -> tuple[str, ...]:
    return one.cause, str(one.corrections), str(one.agreements)


def _training(facts: CycleFacts) -> list[str]:
    measured = facts.adapter.facts if facts.adapter else {}
    losses = [loss for _, loss in measured.get("loss_curve", [])]
    if not losses:
        return []
    held_out = measured.get("validation_loss")
    validation = f", validation {held_out:.3g}" if held_out is not None else ""
    return [f"Loss `{sparkline(losses)}` from {losses[0]:.3g} to {losses[-1]:.3g}{validation}."]


def _gates(gates: Sequence[Gated], suite: str) -> list[str]:
    first = gates[0].report
    rows = [
        (
            metric.name.replace("_", " "),
            f"≥ {metric.threshold:.0%}",
            *(percent(gate.report.metrics[i].rate) for gate in gates),
        )
        for i, metric in enumerate(first.metrics)
    ]
    rows += [
        (
            f"{metric.name.replace('_', ' ')}, 95 % bound",
            "",
            *(f"≥ {percent(gate.report.metrics[i].low)}" for gate in gates),
        )
        for i, metric in enumerate(first.metrics)
    ]
    rows += [
        ("scenarios judged (n)", "", *(str(gate.report.n) for gate in gates)),
        ("whitelist violations", "0", *(str(gate.report.violations) for gate in gates)),
        ("rule violations", "0", *(str(gate.report.rule_violations) for gate in gates)),
        ("decision", "passed", *(decision_of(gate) for gate in gates)),
    ]
    return [
        f"## Gates: suite {suite}, {counted(first.n + first.unjudged, 'scenario')}",
        table(("metric", "needed", *(gate.name for gate in gates)), rows),
        *_bound(gates),
    ]


def decision_of(gate: Gated) -> str:
    """What the gate said; of forms that decide nothing, that it only measured them."""
    said = "passed" if gate.report.passed else "held"
    return said if gate.decides else f"({said})"


def _bound(gates: Iterable[Gated]) -> list[str]:
    """How much the zero violations of the bytes that ship are worth."""
    decided = [gate for gate in gates if gate.decides and not gate.report.violations]
    if not decided:
        return []
    bound = decided[-1].report.violation_bound
    return [f"Whitelist violations of {decided[-1].name}: {at_most(bound)} with 95 % confidence."]


def _canary(canary: Report) -> list[str]:
    rows = [(measure.name, *measure.texts()) for measure in all_measures(canary)]
    return [
        f"## Canary: {'passed' if canary.passed else 'failed'}",
        table(("measured", *SIDES), rows),
    ]


def _sign_off(facts: CycleFacts) -> list[str]:
    if facts.card is None:
        return []
    if (signed := facts.sign_off) is None:
        return ["## Sign-off", f"Card {short(facts.card_digest)} waits for a sign-off."]
    return [
        "## Sign-off",
        f"Card {short(facts.card_digest)}: {signed.decision} by {signed.made_by} "
        f"({signed.via}), {moment(signed.made_at)}.",
    ]


def _release(facts: CycleFacts, release: Release) -> list[str]:
    current, before = release.manifest["current"], facts.incumbent
    rows = [
        ("manifest", str(release.number)),
        ("model version", release.model_version),
        ("address", current["url"]),
        ("sha256", release.sha256),
        ("size", size(current["size_bytes"])),
        ("rolls back to", before.model_version if before else "nothing"),
    ]
    manifest = json.dumps(release.manifest, indent=1, sort_keys=True)
    return ["## Release", table(("published", ""), rows), f"```json\n{manifest}\n```"]


def _places(settings: Settings, facts: CycleFacts) -> list[str]:
    found = whereabouts(settings, facts)
    served = [(one.what, one.url) for one in found if one.url]
    kept = [(one.what, one.place) for one in found]
    return [
        "## Where everything is",
        table(("served", "address"), served),
        table(("kept", "place"), kept),
    ]
