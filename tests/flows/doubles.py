"""Quick doubles of what is dear: child processes that make forms, and models that answer.

Everything around them is real: the store's look-ups that keep work from being done twice, cycles,
waits, ingest, judging, the card, sign-offs, publishing. Files in LOOP_HOME steer and tell: `held`
names a form that the gate holds, or `canary`; `hang` names what does not end while the file is
there: `sft`, or `publish` just before its manifest; `dying` names the program that dies next, and
how: `sft 137`, or `sft late` for one whose time is up; `calls.log` gets a line when something dear
begins and when it is done.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from loop import announcing, canary, converting, gating, merging, publishing, training
from loop.announcing import Announcement
from loop.canary import Measured, Trial
from loop.checks import score_scenario
from loop.depot import Depot
from loop.errors import EndpointError, JobError
from loop.jobs import finish
from loop.manifest import ManifestRules
from loop.places import Places
from loop.protocol import Conversation
from loop.recipe import Recipe
from loop.repository import Fleet
from loop.scenario import Scenario
from loop.settings import get_settings
from loop.values import Form, FormRef, OnProgress, Progress, digest_bytes, digest_json, short
from tests.whole_cycles import CURVE
from tests.whole_cycles import play as answer

HELD, HANG, DYING, CALLS = "held", "hang", "dying", "calls.log"
MADE_FROM = {
    "tiny_base": (),
    "sft": ("base",),  # the same adapter from every dataset, so a second cycle finds nothing new
    "merge": ("base", "adapter"),
    "to_gguf": ("folder", "quantisation"),
}
"""What the bytes that a program makes depend on, of its job."""
FACTS: dict[str, dict[str, Any]] = {
    "tiny_base": {"parameters": 602_368, "loss": 0.41},
    "sft": {
        "examples": 48,
        "too_long": 0,
        "loss_curve": CURVE,
        "validation_loss": 0.07,
        "versions": {},
    },
    "merge": {
        "method": "stream",
        "special": [],
        "max_delta": 1.2e-5,
        "largest_logit": 14.3,
        "limit": 1e-3,
    },
    "to_gguf": {"seconds": 0.1, "tensors": {"F32": 13, "Q8_0": 22}},
}


def run_job(
    program: str, job: BaseModel, work: Path, on_progress: OnProgress, timeout: float
) -> Path:
    """A finished output, as a child process leaves it."""
    name = f"{program} {short(digest_json(job))}"
    _log("began", name)
    on_progress(Progress(1, 2, "half way"))
    _hang(program)
    _die(program)
    out = work / "out"
    (out / "form").mkdir(parents=True, exist_ok=True)
    sources = [Path(str(getattr(job, source))).name for source in MADE_FROM[program]]
    data = " ".join([program, *sources]).encode()
    (out / "form/model.gguf").write_bytes(data)
    facts = dict(FACTS[program])
    if program == "to_gguf":
        facts |= {"sha256": digest_bytes(data), "bytes": len(data), "quantisation": sources[-1]}
    finish(out, facts)
    _log("did", name)
    return out


def play(
    places: Places,
    form: FormRef,
    recipe: Recipe,
    scenarios: Sequence[Scenario],
    on_progress: OnProgress,
) -> list[Conversation]:
    """Right answers; wrong ones of a base, and of the form that the gate should hold."""
    name = f"gate {form.form} {short(form.digest)}"
    _log("began", name)
    right = not _is_base(form) and form.form != _held()
    played = [answer(scenario, right=right) for scenario in scenarios]
    _log("did", name)
    return played


def try_out(
    places: Places,
    form: FormRef,
    recipe: Recipe,
    scenarios: Sequence[Scenario],
    on_turn: Callable[[int], None],
) -> Trial:
    """What a served file would show; one that the canary should hold does not load."""
    name = f"canary {short(form.sha256)}"
    _log("began", name)
    if _held() == "canary" and not _is_base(form):
        raise EndpointError("it did not load")
    right = not _is_base(form)
    scores = tuple(score_scenario(s, answer(s, right=right)) for s in scenarios)
    _log("did", name)
    return Trial(
        scores=scores, measured=Measured(tokens_per_s=412.7, first_token_s=0.0481, peak_mb=61.2)
    )


def announce(releases: Depot, rules: ManifestRules, wanted: Announcement, seen: Fleet) -> None:
    """The real one, except that it may be killed while it hangs: the bytes are out, no manifest."""
    name = f"{wanted.verb} {wanted.current.model_version}"
    _log("began", name)
    _hang(wanted.verb)
    announcing.announce(releases, rules, wanted, seen)
    _log("did", name)


DOUBLES: Sequence[tuple[Any, str, Callable[..., Any]]] = [
    (training, "run_job", run_job),
    (merging, "run_job", run_job),
    (converting, "run_job", run_job),
    (gating, "play", play),
    (canary, "try_out", try_out),
    (publishing, "announce", announce),
]


def install(patch: Callable[[Any, str, Any], None]) -> None:
    """Put every double in its place, where its module looks for it."""
    for module, name, double in DOUBLES:
        patch(module, name, double)


def calls(home: Path, begins: str) -> list[str]:
    """The lines of this home's call log that begin so: `began`, `did`, `did sft`."""
    file = home / CALLS
    lines = file.read_text().splitlines() if file.is_file() else []
    return [line for line in lines if line.startswith(f"{begins} ")]


def _log(what: str, name: str) -> None:
    with (get_settings().home / CALLS).open("a") as log:
        log.write(f"{what} {name}\n")


def _is_base(form: FormRef) -> bool:
    return form.version.startswith("factory-") or form.form == Form.BASE


def _held() -> str:
    file = get_settings().home / HELD
    return file.read_text() if file.is_file() else ""


def _die(name: str) -> None:
    file = get_settings().home / DYING
    if file.is_file() and file.read_text().startswith(f"{name} "):
        how = file.read_text().split()[1]
        file.unlink()
        raise JobError(name, None if how == "late" else int(how), "as the test wanted")


def _hang(name: str) -> None:
    file = get_settings().home / HANG
    while file.is_file() and file.read_text() == name:
        time.sleep(0.05)
