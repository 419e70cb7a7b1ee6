"""A candidate with all the evidence a release needs, and a served repository to release it in."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import uvicorn

from deployments.releases import create_app
from loop.depot import Depot, FolderDepot
from loop.places import Places, open_places
from loop.publishing import add_factory
from loop.recipe import Recipe, read_recipe
from loop.repository import init_repository
from loop.settings import Settings
from loop.signing import make_card, sign
from loop.store import keep
from loop.tables import CanaryReport, Cycle, Dataset, GateReport, ModelForm
from loop.values import (
    CardRef,
    CycleRef,
    Form,
    FormRef,
    Outcome,
    digest_bytes,
    digest_json,
)
from tests.processes import until

RECIPE = read_recipe("tiny-cpu")
FACTORY = b"factory bytes " * 1000


def recipe_with(**changes: Any) -> Recipe:
    """The tiny recipe, changed."""
    return RECIPE.model_copy(update=changes)


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """The address of an app that runs in this process."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def rehearsal_places(home: Path, url: str = "http://127.0.0.1:9") -> Places:
    """Places whose rehearsal repository holds a factory model, served at `url` if at all."""
    places = open_places(Settings(home=home, releases_url=url))
    init_repository(places.releases, "rehearsal")
    add_factory(places, keep_form(places, "factory-1", FACTORY))
    return places


@contextmanager
def released_places(home: Path) -> Iterator[Places]:
    """Places whose rehearsal repository is served and holds a factory model."""
    with serving(create_app(home.resolve() / "releases")) as url:
        places = rehearsal_places(home, url)
        try:
            yield places
        finally:
            places.store.dispose()


def keep_form(places: Places, version: str, data: bytes, form: Form = Form.GGUF) -> FormRef:
    """A model form of some bytes, in the depot and in the store."""
    folder = places.settings.scratch / digest_json([version, form, digest_bytes(data)])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.gguf").write_bytes(data)
    tree = places.depot.put_tree("forms", folder)
    sha256 = digest_bytes(data) if form == Form.GGUF else tree
    row = ModelForm(
        inputs=digest_json([version, form, tree]),
        form=form,
        digest=tree,
        sha256=sha256,
        version=version,
        facts={"quantisation": RECIPE.publish, "size": len(data)},
    )
    keep(places.store, row)
    return row.ref()


def gate_json(passed: bool = True) -> dict[str, Any]:
    """A gate report as the store keeps it."""
    metrics = [
        {"name": name, "rate": 0.95, "n": 60, "threshold": limit, "passed": passed, "low": 0.86}
        for name, limit in (("severity", 0.85), ("root cause", 0.9), ("actions", 0.8))
    ]
    return {
        "suite": RECIPE.suite,
        "n": 60,
        "metrics": metrics,
        "violations": 0,
        "rule_violations": 0,
        "reason": "passed: every rate reached its threshold" if passed else "held: too low",
        "scores": [],
    }


def canary_json(passed: bool = True) -> dict[str, Any]:
    """A canary report as the store keeps it."""
    return {
        "scenarios": {
            "candidate": {"passed": 12 if passed else 3, "n": 12, "empty": 0, "violations": 0},
            "incumbent": {"passed": 4, "n": 12, "empty": 0, "violations": 0},
        },
        "speed": {
            "candidate": {"tokens_per_s": 41.5, "first_token_s": 0.12, "peak_mb": 310.0},
            "incumbent": {"tokens_per_s": 40.0, "first_token_s": 0.11, "peak_mb": 305.0},
        },
        "reason": "passed: 12 of 12" if passed else "failed: 3 of 12",
    }


@dataclass(frozen=True)
class Candidate:
    """One candidate and the evidence about it."""

    cycle: CycleRef
    artifact: FormRef
    gates: tuple[Outcome, ...]
    canary: Outcome

    def card(self, places: Places, recipe: Recipe = RECIPE) -> CardRef:
        return make_card(places, self.cycle, self.artifact, self.gates, self.canary, recipe)


def keep_candidate(
    places: Places, incumbent: FormRef, number: int = 1, version: str = ""
) -> Candidate:
    """A candidate of cycle `number` that passed its three gates and the canary."""
    version = version or f"blox-tiny-{number}"
    cycle = keep_cycle(places, number)
    artifact = keep_form(places, version, f"model {number} ".encode() * 1000)
    forms = [
        keep_form(places, version, f"adapter {number}".encode(), Form.ADAPTER),
        keep_form(places, version, f"merged {number}".encode(), Form.MERGED),
        artifact,
    ]
    gates = tuple(keep_gate(places, form) for form in forms)
    return Candidate(cycle, artifact, gates, keep_canary(places, artifact, incumbent))


def keep_cycle(places: Places, number: int) -> CycleRef:
    """A cycle with a frozen dataset."""
    row = Cycle(
        id=f"cycle-{number}",
        model=RECIPE.model,
        number=number,
        recipe="tiny-cpu",
        recipe_digest=RECIPE.digest,
        suite=RECIPE.suite,
        suite_digest=digest_json("suite"),
        labels_wanted=50,
        dry_run=False,
    )
    card = {"train": 40, "validation": 10, "corrections": 30, "agreements": 20, "new": 50}
    excluded = {"shares the words of a scenario": 2}
    keep(places.store, row)
    digest = digest_json(["dataset", number])
    keep(places.store, Dataset(digest=digest, cycle_id=row.id, card={**card, "excluded": excluded}))
    return CycleRef(row.id, row.model, row.number, row.recipe, row.labels_wanted, row.dry_run)


def keep_gate(places: Places, form: FormRef, passed: bool = True, again: int = 0) -> Outcome:
    """A gate report on one form."""
    inputs, report = digest_json([form.digest, form.form, again]), gate_json(passed)
    keep(
        places.store,
        GateReport(
            inputs=inputs,
            question=digest_json([form.digest, RECIPE.suite]),
            form=form.form,
            digest=form.digest,
            suite=RECIPE.suite,
            passed=passed,
            report=report,
        ),
    )
    return Outcome(inputs, passed, report["reason"])


def keep_canary(
    places: Places, artifact: FormRef, incumbent: FormRef, passed: bool = True, again: int = 0
) -> Outcome:
    """A canary report on one artifact."""
    inputs = digest_json([artifact.sha256, incumbent.sha256, again])
    report = canary_json(passed)
    keep(
        places.store,
        CanaryReport(
            inputs=inputs,
            sha256=artifact.sha256,
            incumbent=incumbent.sha256,
            passed=passed,
            report=report,
        ),
    )
    return Outcome(inputs, passed, report["reason"])


def signed_card(places: Places, incumbent: FormRef, number: int = 1) -> CardRef:
    """The card of a candidate that a person approved."""
    card = keep_candidate(places, incumbent, number).card(places)
    sign(places, card.digest, "approve", "ada", "command")
    return card


class Died(BaseException):
    """The process ended here; nobody catches it, as nobody catches kill -9."""


class DyingDepot:
    """A depot whose process dies at its n-th call: before it did anything, or after all of it."""

    def __init__(self, inner: FolderDepot, at: int, after: bool) -> None:
        self.inner, self.left, self.after = inner, at, after

    def _call(self, call: Callable[[], Any]) -> Any:
        self.left -= 1
        if self.left == 0 and not self.after:
            raise Died
        try:
            return call()
        finally:
            if self.left == 0:  # also after a call that found nothing
                raise Died

    def put(self, key: str, data: bytes) -> bool:
        return bool(self._call(lambda: self.inner.put(key, data)))

    def put_file(self, key: str, file: Path) -> bool:
        return bool(self._call(lambda: self.inner.put_file(key, file)))

    def get(self, key: str) -> bytes:
        return bytes(self._call(lambda: self.inner.get(key)))

    def keys(self, prefix: str) -> Iterator[str]:
        return iter(self._call(lambda: list(self.inner.keys(prefix))))

    def delete(self, key: str) -> bool:
        return bool(self._call(lambda: self.inner.delete(key)))

    def arrived(self, key: str) -> datetime:
        found: datetime = self._call(lambda: self.inner.arrived(key))
        return found

    def put_tree(self, prefix: str, folder: Path) -> str:
        return str(self._call(lambda: self.inner.put_tree(prefix, folder)))

    def fetch_tree(self, prefix: str, digest: str) -> Path:
        return Path(self._call(lambda: self.inner.fetch_tree(prefix, digest)))

    def fetch_file(self, key: str, digest: str) -> Path:
        return Path(self._call(lambda: self.inner.fetch_file(key, digest)))

    def read_pointer(self, key: str) -> bytes | None:
        found: bytes | None = self._call(lambda: self.inner.read_pointer(key))
        return found

    def swap_pointer(self, key: str, data: bytes, expected: bytes | None) -> None:
        self._call(lambda: self.inner.swap_pointer(key, data, expected))


def dying(places: Places, at: int, after: bool) -> Places:
    """The same places, whose release repository dies at its n-th call."""
    inner = places.releases
    assert isinstance(inner, FolderDepot)
    broken: Depot = DyingDepot(inner, at, after)
    return replace(places, releases=broken)
