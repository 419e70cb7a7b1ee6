"""A whole cycle as its stages leave it in store, depot and repository, without training a model.

Sessions, labels, dataset, judging, canary decision, card, sign-off and release are the real code;
only the weights are made up, and what they answered: right, but for the scenarios named wrong.
"""

from collections.abc import Collection
from datetime import date, timedelta
from typing import Any

from loop import canary, cycles, gating
from loop.canary import Measured, Trial
from loop.checks import score_scenario
from loop.freezing import freeze_dataset
from loop.ingest import ingest_uploads
from loop.labels import check_label
from loop.places import Places
from loop.protocol import Conversation, Recommendation, Verdict, answer_text, call_block
from loop.publishing import incumbent, publish_release
from loop.recipe import read_recipe
from loop.scenario import Scenario, read_suite, suite_digest
from loop.sessions import generate
from loop.signing import make_card, sign
from loop.store import keep
from loop.tables import CanaryReport, Cycle, CycleOutcome, GateReport, ModelForm, StageMark
from loop.upload import Record
from loop.values import (
    CycleRef,
    Digest,
    Form,
    FormRef,
    Outcome,
    canonical_json,
    digest_bytes,
    digest_json,
    utc_now,
)

RECIPE = read_recipe("tiny-cpu")
SECONDS = {
    "ingest": 2.4,
    "label": 41.0,
    "freeze": 1.7,
    "base": 96.0,
    "factory": 8.2,
    "train": 402.0,
    "gate-adapter": 51.0,
    "merge": 6.1,
    "gate-merged": 49.0,
    "convert": 4.8,
    "gate-artifact": 33.0,
    "measure": 38.0,
    "canary": 64.0,
    "sign-off": 20.0,
    "publish": 1.2,
}
CURVE = [[step, round(0.03 + 2.4 * 0.985**step, 4)] for step in range(10, 370, 10)]


def open_cycle(places: Places, number: int = 1, dry_run: bool = False) -> CycleRef:
    """A cycle that was opened a while ago, and did nothing yet."""
    row = Cycle(
        id=f"cycle-{number}",
        model=RECIPE.model,
        number=number,
        recipe="tiny-cpu",
        recipe_digest=RECIPE.digest,
        suite=RECIPE.suite,
        suite_digest=suite_digest(RECIPE.suite),
        labels_wanted=120,
        dry_run=dry_run,
        opened_at=utc_now() - timedelta(seconds=sum(SECONDS.values()) + 3),
    )
    keep(places.store, row)
    return cycles.ref_of(row)


def mark_stages(places: Places, cycle: CycleRef, *, until: str = "publish") -> None:
    """The marks of finished stages, the last named one included, back to back until just now."""
    at = utc_now() - timedelta(seconds=sum(SECONDS.values()) + 1)
    for name, seconds in SECONDS.items():
        first = "waiting" if name in ("label", "sign-off") else "started"
        for what, moment in ((first, at), ("finished", at + timedelta(seconds=seconds))):
            row = StageMark(cycle_id=cycle.id, stage=name, mark=what, at=moment)
            keep(places.store, row)
        at += timedelta(seconds=seconds)
        if name == until:
            return


def learn(places: Places, cycle: CycleRef, count: int = 120) -> Digest:
    """Sessions uploaded, labelled by simulated people and frozen."""
    for number, made in enumerate(generate(cycle.number, count)):
        received = date(2026, 3, 1) + timedelta(days=number % 20)
        record = Record(received=received, privacy="1", redacted={}, upload=made.upload)
        data = canonical_json(record)
        places.depot.put(f"raw/{made.upload['upload_id']}/{digest_bytes(data)}.json", data)
    ingest_uploads(places)
    for number, made in enumerate(generate(cycle.number, count)):
        by = "simulated-ada" if number % 3 else "simulated-grace"
        keep(places.store, check_label(made.truth, made_by=by))
    return freeze_dataset(places, cycle).digest


def keep_forms(places: Places, cycle: CycleRef, dataset: Digest) -> dict[str, FormRef]:
    """Adapter, merged weights and two converted forms, with the facts their programs measure."""
    versions = {"torch": "2.13.0", "transformers": "5.23.0", "trl": "1.16.0", "peft": "0.21.2"}
    trained = {"examples": 70, "too_long": 1, "loss_curve": CURVE, "versions": versions}
    facts: dict[str, dict[str, Any]] = {
        "adapter": {**trained, "validation_loss": 0.0712, "dataset": dataset},
        "merged": {"method": "stream", "special": []},
        "Q8_0": {"quantisation": "Q8_0", "seconds": 3.1},
        "Q4_K_M": {"quantisation": "Q4_K_M", "seconds": 3.4},
    }
    return {name: _form(places, cycle, name, measured) for name, measured in facts.items()}


def _form(places: Places, cycle: CycleRef, name: str, facts: dict[str, Any]) -> FormRef:
    form = Form(name) if name in ("adapter", "merged") else Form.GGUF
    folder = places.settings.scratch / f"{cycle.id}-{name}"
    folder.mkdir(parents=True)
    data = f"{name} of {cycle.id} ".encode() * 50_000
    (folder / "model.gguf").write_bytes(data)
    tree = places.depot.put_tree("forms", folder)
    row = ModelForm(
        inputs=digest_json([cycle.id, name]),
        form=form,
        digest=tree,
        sha256=digest_bytes(data) if form == Form.GGUF else tree,
        version=f"{cycle.model}-{digest_json(cycle.id)[:12]}",
        facts=facts,
    )
    keep(places.store, row)
    return row.ref()


def gate(
    places: Places, form: FormRef, wrong: Collection[int] = (), forbidden: Collection[int] = ()
) -> Outcome:
    """A form's gate report; the scenarios with these places in the suite went wrong."""
    scenarios = read_suite(RECIPE.suite)
    played = [
        play(scenario, right=i not in wrong, forbidden=i in forbidden)
        for i, scenario in enumerate(scenarios)
    ]
    report = gating.judge(RECIPE.suite, scenarios, played)
    question = gating.gate_question(form, RECIPE)
    row = GateReport(
        inputs=digest_json([question, len(wrong)]),
        question=question,
        form=form.form,
        digest=form.digest,
        suite=RECIPE.suite,
        passed=report.passed,
        report=report.model_dump(mode="json"),
    )
    keep(places.store, row)
    return Outcome(row.inputs, row.passed, report.reason)


def play(scenario: Scenario, right: bool = True, forbidden: bool = False) -> Conversation:
    """The finished conversation of a model that looks at everything and answers in one way."""
    made = Conversation(scenario.user, scenario.diagnostics, "rules")
    made.take("\n".join(map(call_block, scenario.expect.mentions or ("diag/summary",))))
    expect = scenario.expect
    cause = expect.root_cause if right else "<b>disk</b> full & more"
    said = [Recommendation(action, "because", 0.6, 2) for action in expect.actions]
    if forbidden:
        said += [Recommendation(said_to_reboot(), "because", 0.9, 2)]
    made.take(answer_text(Verdict(expect.severity, cause, "It is so."), said))
    return made


def said_to_reboot() -> Any:
    from loop.values import Action

    return Action(name="docker.restart", args={"container": "ipfs_host"})


def try_on_host(
    places: Places, candidate: FormRef, before: FormRef, wrong: Collection[int] = ()
) -> Outcome:
    """The canary report on two sides that were served; the incumbent knows no cause at all."""
    scenarios = canary.choose(read_suite(RECIPE.suite))

    def trial(wrong: Collection[int], cost: Measured) -> Trial:
        scores = (
            score_scenario(scenario, play(scenario, right=i not in wrong))
            for i, scenario in enumerate(scenarios)
        )
        return Trial(scores=tuple(scores), measured=cost)

    report = canary.decide(
        trial(wrong, Measured(tokens_per_s=412.7, first_token_s=0.0481, peak_mb=61.2)),
        trial(range(99), Measured(tokens_per_s=420.3, first_token_s=0.0475, peak_mb=60.9)),
    )
    row = CanaryReport(
        inputs=digest_json([candidate.sha256, before.sha256]),
        sha256=candidate.sha256,
        incumbent=before.sha256,
        passed=report.passed,
        report=report.model_dump(mode="json"),
    )
    keep(places.store, row)
    return Outcome(row.inputs, row.passed, report.reason)


def released_cycle(places: Places, number: int = 1) -> CycleRef:
    """A cycle that led to a release; two scenarios went wrong, one of them only once converted."""
    cycle = open_cycle(places, number)
    forms = keep_forms(places, cycle, learn(places, cycle))
    before = incumbent(places)
    gates = [gate(places, forms[n], w) for n, w in GATED.items()]
    gate(places, forms["Q4_K_M"], range(9))
    tried = try_on_host(places, forms["Q8_0"], before, wrong=(3,))
    card = make_card(places, cycle, forms["Q8_0"], gates, tried, RECIPE)
    sign(places, card.digest, "approve", "simulated-approver", "form")
    made = publish_release(places, card, RECIPE, cycles.name_of(cycle))
    mark_stages(places, cycle)
    reason = f"manifest {made.number}: {made.model_version}"
    cycles.end_cycle(places, cycle, cycles.Ending(CycleOutcome.RELEASED, reason))
    return cycle


GATED: dict[str, tuple[int, ...]] = {"adapter": (4,), "merged": (4,), "Q8_0": (4, 11)}
"""What went wrong in each form on the way to a release."""
