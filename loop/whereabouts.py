"""Where the bytes and pages of a cycle lie, for people who want to look at them."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from loop.cycle_facts import CycleFacts, form_name
from loop.repository import POINTER, manifest_key, model_key
from loop.settings import Settings
from loop.tables import Cycle, Release
from loop.values import CycleRef


@dataclass(frozen=True)
class Whereabout:
    """One thing, where it lies, and where it is served, if anywhere."""

    what: str
    place: str
    url: str = ""


def report_file(settings: Settings, cycle: Cycle | CycleRef) -> Path:
    """The HTML report of a cycle."""
    return settings.home.resolve() / "reports" / f"{cycle.model}-cycle-{cycle.number}.html"


def report_url(settings: Settings, cycle: Cycle | CycleRef) -> str:
    """Where that report is served."""
    return f"{settings.reports_url.rstrip('/')}/{report_file(settings, cycle).name}"


def whereabouts(settings: Settings, facts: CycleFacts) -> list[Whereabout]:
    """Everything the cycle left behind, the most wanted first."""
    cycle, depot = facts.cycle, settings.depot_place
    report = str(report_file(settings, cycle))
    found = [Whereabout("this report", report, report_url(settings, cycle))]
    if facts.release:
        found += _published(settings, facts.release)
    if facts.dataset and facts.dataset.learnt:
        found.append(Whereabout("dataset", f"{depot}/datasets/{facts.dataset.digest}"))
    for form in facts.forms:
        found.append(Whereabout(form_name(form), f"{depot}/forms/{form.digest}"))
    logs = Whereabout("logs", str(settings.home.resolve() / "logs"))
    store = make_url(settings.store_url).render_as_string(hide_password=True)
    return [*found, logs, Whereabout("store", store)]


def _published(settings: Settings, release: Release) -> list[Whereabout]:
    model = release.manifest["current"]["url"]
    releases, numbered = settings.releases_place, manifest_key(release.number)
    file = f"{releases}/{model_key(release.model_version, model.rpartition('/')[2])}"
    address = settings.releases_url.rstrip("/")
    return [
        Whereabout("what devices read", f"{releases}/{POINTER}", f"{address}/{POINTER}"),
        Whereabout("its manifest", f"{releases}/{numbered}", f"{address}/{numbered}"),
        Whereabout("published model", file, model),
    ]
