"""Bench: what each stage of a cycle costs, and how much of a cycle is orchestration.

First a cycle as `make run` does it in a fresh home, with Prefect, a worker, services and simulated
people; then the same stage functions on the same uploads and labels, called one after the other in
this process. Base and adapter come from the same child processes either way, so they are made once
and their time is counted in both. Seconds are reported; only the share of orchestration can fail.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from sqlmodel import Session, col, select

from deployments.bench_result import Result
from deployments.running import Addresses, read_addresses
from loop import (
    canary,
    cycles,
    freezing,
    ingest,
    merging,
    publishing,
    signing,
    store,
    timeline,
    training,
)
from loop.converting import convert_model
from loop.cycles import Ending
from loop.errors import JobError
from loop.gating import gate_form
from loop.jobs import start_server
from loop.places import Places, open_places
from loop.recipe import read_recipe
from loop.repository import init_repository
from loop.settings import Settings, get_settings
from loop.tables import Cycle, CycleEnd, CycleOutcome, Label, ModelForm
from loop.values import CardRef, CycleRef, Form, FormRef

RECIPE, LABELS = "tiny-cpu", 1600
MOST_ORCHESTRATION = 0.5
"""Share of a tiny cycle that may be orchestration; of a real one, hours long, it is nothing."""
WAITS = ("label", "sign-off")
ONCE = {"base": Form.BASE, "train": Form.ADAPTER}
"""The stages that are not run again, and the form that each makes."""


@dataclass(frozen=True)
class Measured:
    """One whole cycle."""

    stages: dict[str, float]
    """Seconds by stage, waits for people apart."""
    seconds: float
    """From opening the cycle to its end, waits for people apart."""


def measure(console: Console) -> Result:
    """Measure both, and judge the ratio."""
    with tempfile.TemporaryDirectory(prefix="bloxloop-bench-") as folder:
        console.print("a cycle under Prefect")
        orchestrated_home = Path(folder) / "prefect"
        orchestrated = under_prefect(orchestrated_home)
        console.print("the same stages called bare")
        bare = called_bare(Path(folder) / "bare", orchestrated_home)
    bare = with_those_made_once(bare, orchestrated)
    share = 1 - bare.seconds / orchestrated.seconds
    told = f"orchestration is {share:.0%} of a cycle, more than {MOST_ORCHESTRATION:.0%}"
    failures = (told,) if share > MOST_ORCHESTRATION else ()
    return Result(table(orchestrated, bare, share), failures)


def under_prefect(home: Path) -> Measured:
    """One cycle by `make run` in a fresh home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOOP_")}
    env = {**kept, "LOOP_HOME": str(home), "LOOP_LLAMA_CPP": str(get_settings().llama_root)}
    asked = ["--keep", "0", "--recipe", RECIPE, "--labels", str(LABELS)]
    command = [sys.executable, "-m", "deployments.up", *asked]
    status = subprocess.run(command, env=env, check=False).returncode  # noqa: S603  (our own)
    if status:
        raise JobError("make run", status, f"see above, and {home}/logs")
    return measured(places_in(home))


def called_bare(home: Path, other: Path) -> Measured:
    """The same functions without Prefect, on the uploads, labels and adapter of another home."""
    places, source = places_in(home), places_in(other)
    init_repository(places.releases, "rehearsal")
    for key in source.depot.keys("raw/"):
        places.depot.put(key, source.depot.get(key))
    copy_forms(source, places)
    plan = cycles.plan_cycle(read_recipe(RECIPE).model, RECIPE, LABELS, dry_run=False)
    addresses = read_addresses(other) or Addresses()
    with served(places, addresses.releases) as places:
        cycle = cycles.open_cycle(places, plan, "bench", lambda run: False)
        run_stages(places, cycle, lambda: copy_labels(source, places))
        return measured(places)


def run_stages(places: Places, cycle: CycleRef, label: Callable[[], None]) -> None:
    """What `flows.improve.improve` does, as plain calls, with the same marks in the store."""
    recipe = read_recipe(cycle.recipe)
    at = partial(cycles.stage, places, cycle)
    with at("ingest"):
        ingest.ingest_uploads(places)
    with at("label"):
        label()
    with at("freeze"):
        dataset = freezing.freeze_dataset(places, cycle)
    with at("base"):
        base = training.ensure_base(places, recipe)
    with at("factory"):
        publishing.add_factory(places, convert_model(places, base, recipe, recipe.publish))
    with at("train"):
        adapter = training.train_adapter(places, dataset, recipe)
    card = prove(places, cycle, adapter)
    with at("sign-off"):
        signing.sign(places, card.digest, "approve", "simulated-approver", via="command")
    with at("publish"):
        release = publishing.publish_release(places, card, recipe, cycles.name_of(cycle))
    cycles.end_cycle(places, cycle, Ending(CycleOutcome.RELEASED, release.model_version))


def prove(places: Places, cycle: CycleRef, adapter: FormRef) -> CardRef:
    """Gates, merge, conversions and canary, up to the card."""
    recipe, incumbent = read_recipe(cycle.recipe), publishing.incumbent(places)
    at = partial(cycles.stage, places, cycle)
    with at("gate-adapter"):
        first = gate_form(places, adapter, recipe, incumbent=incumbent)
    with at("merge"):
        merged = merging.merge_adapter(places, adapter, recipe)
    with at("gate-merged"):
        second = gate_form(places, merged, recipe, incumbent=incumbent)
    with at("convert"):
        artifact = convert_model(places, merged, recipe, recipe.publish)
    with at("gate-artifact"):
        third = gate_form(places, artifact, recipe, incumbent=incumbent)
    with at("measure"):
        for quantisation in recipe.measure:
            gate_form(places, convert_model(places, merged, recipe, quantisation), recipe)
    with at("canary"):
        tried = canary.run_canary(places, artifact, incumbent, recipe)
    return signing.make_card(places, cycle, artifact, (first, second, third), tried, recipe)


def with_those_made_once(bare: Measured, orchestrated: Measured) -> Measured:
    """The bare cycle as if it had made base and adapter, too."""
    once = {name: orchestrated.stages[name] for name in ONCE}
    found = sum(bare.stages[name] for name in ONCE)
    return Measured(bare.stages | once, bare.seconds - found + sum(once.values()))


def copy_forms(source: Places, places: Places) -> None:
    """Base and adapter of another home; their stages find them here as made before."""
    with Session(source.store) as session:
        rows = session.exec(select(ModelForm).where(col(ModelForm.form).in_(ONCE.values())))
        for row in rows:
            places.depot.put_tree("forms", source.depot.fetch_tree("forms", row.digest))
            store.keep(places.store, ModelForm(**row.model_dump()))


def copy_labels(source: Places, places: Places) -> None:
    """The judgements of another home, as if people had made them here."""
    with Session(source.store) as session:
        labels = [label.model_dump() for label in session.exec(select(Label))]
    store.keep(places.store, *(Label(**label) for label in labels))


@contextmanager
def served(places: Places, port: int) -> Iterator[Places]:
    """The places while their release repository is served, as publishing checks it."""
    command = [sys.executable, "-m", "deployments.releases", "--port", str(port)]
    settings = places.settings.model_copy(update={"releases_url": f"http://127.0.0.1:{port}"})
    os.environ["LOOP_HOME"] = str(settings.home)
    with start_server(command, settings.home / "releases.log"):
        yield dataclasses.replace(places, settings=settings)


def places_in(home: Path) -> Places:
    """The places of a home, whatever store or depot an operator has set."""
    llama = get_settings().llama_root
    own = Settings(home=home, llama_cpp=llama, database_url="", depot=None, releases=None)
    return open_places(own)


def measured(places: Places) -> Measured:
    """The times of a home's one cycle, from its marks."""
    with Session(places.store) as session:
        cycle, end = session.exec(select(Cycle)).one(), session.exec(select(CycleEnd)).one()
        spans = timeline.spans(store.marks_of(session, cycle.id), end.at)
    waits = sum(span.seconds for span in spans if span.stage in WAITS)
    stages = {span.stage: span.seconds for span in spans if span.stage not in WAITS}
    return Measured(stages, (end.at - cycle.opened_at).total_seconds() - waits)


def table(orchestrated: Measured, bare: Measured, share: float) -> str:
    """Seconds by stage, side by side."""
    rows = [
        f"| {name} | {orchestrated.stages[name]:.1f} | {seconds:.1f} |"
        for name, seconds in bare.stages.items()
    ]
    return "\n".join(
        [
            f"Recipe {RECIPE}, {LABELS} labels, {os.cpu_count()} cores; seconds.",
            "",
            "| stage | under Prefect | called bare |",
            "|---|---|---|",
            *rows,
            f"| **whole, waits apart** | **{orchestrated.seconds:.1f}** | **{bare.seconds:.1f}** |",
            "",
            f"Orchestration is {share:.0%} of the cycle; more than {MOST_ORCHESTRATION:.0%} fails.",
        ]
    )
