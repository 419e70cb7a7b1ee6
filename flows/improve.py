"""One improvement cycle, from uploads to a release."""

from typing import Annotated

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from loop.cycles import Ending, rejected
from loop.dataset import MIN_EXAMPLES
from loop.recipe import RecipeName
from loop.tables import CycleOutcome, Release
from loop.values import CardRef, CycleRef, FormRef, short
from tasks.cycle import end, find_release, open_cycle, run_name
from tasks.data import freeze_dataset, ingest_uploads
from tasks.human import wait_for_labels, wait_for_sign_off
from tasks.model import (
    convert_model,
    ensure_base,
    ensure_incumbent,
    gate_form,
    measure_forms,
    merge_adapter,
    train_adapter,
)
from tasks.release import make_card, publish_release, run_canary

LabelsWanted = Annotated[int, Field(ge=MIN_EXAMPLES)]
"""With fewer no dataset can be frozen: the form refuses them, as it does an unknown recipe."""


@flow(name="improve", flow_run_name=run_name, persist_result=True)  # a suspended run needs the last
def improve(
    model: str = "blox-tiny",
    recipe: RecipeName = "tiny-cpu",
    labels_wanted: LabelsWanted = 1600,
    dry_run: bool = True,
) -> State[None]:
    """Uploads, people's labels, dataset, adapter, gates, artifact, canary, sign-off, release.

    Args:
        model: The model to improve; a cycle of it that a crash left open is continued.
        recipe: How it is trained, gated and published: a file in recipes/.
        labels_wanted: New labels to wait for before the dataset is frozen.
        dry_run: Stop after the sign-off; nothing outside changes.
    """
    cycle = open_cycle(model, recipe, labels_wanted, dry_run)
    if release := find_release(cycle):
        return released(cycle, release)
    ingest_uploads(cycle)
    if not wait_for_labels(cycle):
        return end(cycle, CycleOutcome.CANCELLED, "a person stopped it before its dataset")
    dataset = freeze_dataset(cycle)
    incumbent = ensure_incumbent(cycle, ensure_base(cycle))
    card = prove(cycle, train_adapter(cycle, dataset), incumbent)
    if isinstance(card, Ending):
        return end(cycle, card.outcome, card.reason)
    if wait_for_sign_off(cycle, card) != "approve":
        return end(cycle, CycleOutcome.REJECTED, f"card {short(card.digest)} was rejected")
    if cycle.dry_run:
        return end(cycle, CycleOutcome.REHEARSED, f"card {short(card.digest)} was not published")
    return released(cycle, publish_release(cycle, card))


def prove(cycle: CycleRef, adapter: FormRef, incumbent: FormRef) -> CardRef | Ending:
    """Gate, merge, gate, convert, gate, canary: the card of bytes that passed all, or why not."""
    if not (first := gate_form(cycle, adapter, incumbent)).passed:
        return rejected(first)
    merged = merge_adapter(cycle, adapter)
    if not (second := gate_form(cycle, merged, incumbent)).passed:
        return rejected(second)
    artifact = convert_model(cycle, merged)
    if artifact.sha256 == incumbent.sha256:
        return Ending(CycleOutcome.UNCHANGED, f"{incumbent.version} is what devices run already")
    if not (third := gate_form(cycle, artifact, incumbent)).passed:
        return rejected(third)
    measure_forms(cycle, merged)
    if not (tried := run_canary(cycle, artifact, incumbent)).passed:
        return rejected(tried)
    return make_card(cycle, artifact, (first, second, third), tried)


def released(cycle: CycleRef, release: Release) -> State[None]:
    """End a cycle with what it published."""
    return end(cycle, CycleOutcome.RELEASED, f"manifest {release.number}: {release.model_version}")
