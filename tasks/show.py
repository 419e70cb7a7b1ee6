"""What people see of a stage in the Prefect UI: progress, pages and links."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)

from loop import cycles, report, store
from loop.errors import NotFound
from loop.places import get_places
from loop.tables import CanaryReport, GateReport
from loop.values import CycleRef, OnProgress, Outcome, Progress

UPDATE_SECONDS = 1.0
"""The least time between two updates of one progress artifact."""


@contextmanager
def stage(cycle: CycleRef, name: str) -> Iterator[OnProgress]:
    """One stage of a cycle: its marks in the store, its progress in the UI."""
    with cycles.stage(get_places(), cycle, name):
        shown = ShownProgress(f"progress-{name}")
        yield shown
        shown.complete()


class ShownProgress:
    """Progress as an artifact that appears with the first report, and is not updated too often."""

    def __init__(self, key: str) -> None:
        self.key = key
        self._artifact: UUID | None = None
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        """Show one report, unless another was shown just now."""
        if (now := time.monotonic()) >= self._next:
            self._next = now + UPDATE_SECONDS
            self._show(100 * progress.done / max(1, progress.total), progress.note)

    def complete(self) -> None:
        """The stage ended well, whatever the last report said."""
        if self._artifact:
            self._show(100.0, "finished")

    def _show(self, percent: float, note: str) -> None:
        if self._artifact is None:
            made = create_progress_artifact(percent, self.key, note or None)
            self._artifact = made if isinstance(made, UUID) else None
        else:
            update_progress_artifact(self._artifact, percent, note or None)


def dataset(cycle: CycleRef) -> None:
    """The card of the cycle's dataset."""
    with store.writing(get_places().store) as session:
        if (found := store.dataset_of(session, cycle.id)) is None:
            raise NotFound(f"{cycles.name_of(cycle)} has no dataset")
        page("dataset", report.dataset_markdown(found.card))


def gate(key: str, outcome: Outcome) -> None:
    """The table of one gate."""
    with store.writing(get_places().store) as session:
        if (found := session.get(GateReport, outcome.inputs)) is None:
            raise NotFound(f"gate report {outcome.inputs} is not in the store")
        page(key, report.gate_markdown(found.report))


def canary(outcome: Outcome) -> None:
    """Candidate and incumbent, side by side."""
    with store.writing(get_places().store) as session:
        if (found := session.get(CanaryReport, outcome.inputs)) is None:
            raise NotFound(f"canary report {outcome.inputs} is not in the store")
        page("canary", report.canary_markdown(found.report))


def page(key: str, text: str) -> None:
    """A Markdown page under a fixed key, so that cycles can be compared in its history."""
    create_markdown_artifact(text, key=key)


def whole_cycle(cycle: CycleRef) -> None:
    """A summary, and a link to the one report with its plots; as far as the cycle has come."""
    places = get_places()
    page("summary", f"```\n{report.summary_text(places, cycle)}\n```")
    path = report.cycle_report(places, cycle)
    url = f"{places.settings.reports_url}/{path.name}"
    create_link_artifact(url, link_text=f"Report of {cycles.name_of(cycle)}", key="report")
