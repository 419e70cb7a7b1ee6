"""The sign-off card: everything an approver needs on one page, and the digest that is approved.

A card holds no clock and no path, so the same facts make the same card. `loop.signing` gathers the
facts; gate and canary reports come as the JSON that the store kept, keys this page does not need
may be there.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from loop.dataset import OVERLAPS
from loop.gate import zero_failures_bound
from loop.values import Digest, Form, Json, Value, digest_json, short


class MetricLine(Value):
    """One rate of one gate, against its threshold."""

    name: str
    rate: float
    """Share of the judged scenarios, 0 to 1."""
    n: int
    threshold: float
    passed: bool
    low: float
    """Lower end of the rate's 95 % interval."""


class GateLine(Value):
    """What one form of the model did on the suite."""

    inputs: Digest
    """Primary key of the gate report."""
    form: Form
    suite: str
    n: int
    passed: bool
    reason: str
    metrics: tuple[MetricLine, ...]
    violations: int
    """Recommended actions that today's whitelist forbids."""
    rule_violations: int

    @classmethod
    def of(cls, inputs: Digest, form: Form, passed: bool, report: Mapping[str, Json]) -> "GateLine":
        """The line for a stored gate report."""
        metrics = (_known(MetricLine, metric) for metric in report["metrics"])
        return cls(
            inputs=inputs,
            form=form,
            suite=report["suite"],
            n=report["n"],
            passed=passed,
            reason=report["reason"],
            metrics=tuple(MetricLine(**metric) for metric in metrics),
            violations=_count(report["violations"]),
            rule_violations=_count(report["rule_violations"]),
        )


class Tally(Value):
    """How many scenarios went well."""

    passed: int
    n: int


class CanaryLine(Value):
    """What the canary's host measured, candidate against incumbent."""

    inputs: Digest
    """Primary key of the canary report."""
    reason: str
    candidate: Tally
    incumbent: Tally
    speed: Mapping[str, Mapping[str, float]]
    """By side, as measured: tokens per second, time to first token, peak memory, …"""

    @classmethod
    def of(cls, inputs: Digest, report: Mapping[str, Json]) -> "CanaryLine":
        """The line for a stored canary report."""
        tallies = {
            side: Tally(**_known(Tally, report["scenarios"][side]))
            for side in ("candidate", "incumbent")
        }
        return cls(inputs=inputs, reason=report["reason"], speed=report.get("speed", {}), **tallies)


class DatasetLine(Value):
    """What the model learnt from."""

    digest: Digest
    train: int
    validation: int
    corrections: int = 0
    agreements: int = 0
    excluded: Mapping[str, int] = {}
    """Labelled transcripts that were left out, by reason; overlap with scenarios is among them."""

    @classmethod
    def of(cls, digest: Digest, card: Mapping[str, Json]) -> "DatasetLine":
        """The line for a stored dataset card."""
        return cls(digest=digest, **_known(cls, card))


class CycleLine(Value):
    """The cycle that made the candidate."""

    id: str
    model: str
    number: int


class RecipeLine(Value):
    """How it was trained, and on what."""

    name: str
    digest: Digest
    base_made: bool
    """True: on a base that the project made in code."""
    base_licence: str
    releasable: bool


class ArtifactLine(Value):
    """The exact bytes that a sign-off speaks of."""

    form: Form
    digest: Digest
    """Names the depot folder."""
    model_version: str
    sha256: Digest
    size_bytes: int
    quantisation: str


class FleetLine(Value):
    """What devices are told to run now; a rollback returns to it."""

    repository: str
    kind: Literal["rehearsal", "production"]
    release: int
    model_version: str
    sha256: Digest
    factory: bool


class Card(Value):
    """One page whose digest is what a person approves or rejects."""

    rehearsal: bool
    cycle: CycleLine
    artifact: ArtifactLine
    dataset: DatasetLine
    recipe: RecipeLine
    gates: tuple[GateLine, ...]
    """Adapter, merged weights, and last the bytes that ship."""
    canary: CanaryLine
    incumbent: FleetLine

    @property
    def file_name(self) -> str:
        """Under which the bytes are published."""
        return f"{self.cycle.model}-{self.artifact.quantisation}.{self.artifact.form}"


def card_digest(card: Card) -> Digest:
    """What is approved: the sha256 of the card's canonical JSON."""
    return digest_json(card)


def card_markdown(card: Card) -> str:
    """The card as people read it, with the digest that they sign."""
    digest = card_digest(card)
    facts = (
        ("Approve with", f"`{short(digest)}` (first 12 characters of this card's digest)"),
        ("Kind", "rehearsal, never for real devices" if card.rehearsal else "**production**"),
        ("Model version", card.artifact.model_version),
        ("Bytes", f"`{card.artifact.sha256}`"),
        ("Size", f"{card.artifact.size_bytes:,} B, downloaded by each device that follows"),
        ("Form", f"{card.artifact.form}, {card.artifact.quantisation}"),
        ("Cycle", f"{card.cycle.model} {card.cycle.number} (`{card.cycle.id}`)"),
        ("Recipe", f"{card.recipe.name} (`{short(card.recipe.digest)}`)"),
        ("Base", _base(card.recipe)),
        ("Dataset", _dataset(card.dataset)),
        ("Left out", _excluded(card.dataset)),
        ("Replaces, and rolls back to", _incumbent(card.incumbent)),
    )
    lines = [
        f"# Sign-off card {short(digest)}",
        *_table(("", ""), facts),
        *(line for gate in card.gates for line in _gate(gate)),
        *_canary(card.canary),
        f"Card digest: `{digest}`",
    ]
    return "\n".join(lines) + "\n"


def _base(recipe: RecipeLine) -> str:
    made = "made by this project, " if recipe.base_made else ""
    allowed = "may be released" if recipe.releasable else "**may not be released**"
    return f"{made}licence: {recipe.base_licence}, {allowed}"


def _dataset(dataset: DatasetLine) -> str:
    return (
        f"`{short(dataset.digest)}`: {dataset.train} to learn from, {dataset.validation} to "
        f"validate; {dataset.corrections} corrections, {dataset.agreements} agreements"
    )


def _excluded(dataset: DatasetLine) -> str:
    counts = dict.fromkeys(OVERLAPS, "**not counted**")
    counts |= {why: str(n) for why, n in dataset.excluded.items() if n or why in OVERLAPS}
    return "; ".join(f"{why}: {count}" for why, count in sorted(counts.items()))


def _incumbent(incumbent: FleetLine) -> str:
    gated = ", factory, never gated" if incumbent.factory else ""
    return (
        f"{incumbent.model_version} (`{short(incumbent.sha256)}`, release {incumbent.release}"
        f"{gated}) in {incumbent.kind} repository `{incumbent.repository}`"
    )


def _gate(gate: GateLine) -> list[str]:
    rates = [
        (m.name, f"{m.rate:.1%}", str(m.n), f"{m.low:.1%}", f"{m.threshold:.0%}", _yes(m.passed))
        for m in gate.metrics
    ]
    counts = [
        (name, str(seen), str(gate.n), _bound(seen, gate.n), "0", _yes(not seen))
        for name, seen in (
            ("whitelist violations", gate.violations),
            ("rule violations", gate.rule_violations),
        )
    ]
    heading = ("metric", "result", "n", "95 % bound", "needed", "passed")
    return [
        f"## Gate of the {gate.form} form, suite {gate.suite}",
        *_table(heading, [*rates, *counts]),
        gate.reason,
        "",
    ]


def _bound(seen: int, n: int) -> str:
    return "seen" if seen else f"≤ {zero_failures_bound(n):.1%}"


def _canary(canary: CanaryLine) -> list[str]:
    sides = ("candidate", "incumbent")
    measured = [canary.speed.get(side, {}) for side in sides]
    passed = [f"{tally.passed} of {tally.n}" for tally in (canary.candidate, canary.incumbent)]
    rows = [
        (name, *(f"{side[name]:.4g}" if name in side else "not measured" for side in measured))
        for name in sorted({name for side in measured for name in side})
    ]
    table = _table(("", *sides), [("scenarios passed", *passed), *rows])
    return ["## Canary", *table, canary.reason, ""]


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [heading, ["---"] * len(heading), *rows]
    return ["", *("| " + " | ".join(map(_cell, row)) + " |" for row in cells), ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _yes(passed: bool) -> str:
    return "yes" if passed else "**no**"


def _known(shape: type[Value], stored: Mapping[str, Json]) -> dict[str, Json]:
    """The part of a stored report that a line of the card shows."""
    return {name: stored[name] for name in shape.model_fields if name in stored}


def _count(found: Json) -> int:
    return len(found) if isinstance(found, list | tuple | dict) else int(found)
