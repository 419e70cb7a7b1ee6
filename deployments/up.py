"""`make run`: everything on one machine, then one improvement cycle from end to end.

The environment of the children is decided before Prefect is imported, which reads it only once.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console

from deployments import preflight, running, services
from deployments.build_llama import is_built
from deployments.running import Addresses
from deployments.services import WORKER, Machine, Patience, ServiceError
from deployments.terminal import Terminal
from loop.errors import LoopError
from loop.places import Places, get_places
from loop.repository import init_repository
from loop.settings import Settings, get_settings
from loop.tables import CycleOutcome

if TYPE_CHECKING:
    from deployments.rehearsal import Watched

RELEASED, ENDED_OTHERWISE, FAILED = 0, 1, 2
"""Exit statuses with KEEP=0."""


@dataclass(frozen=True)
class Wish:
    """What the command line asks for."""

    recipe: str
    labels_wanted: int
    keep: bool
    real_people: bool


def read_wish(arguments: Sequence[str]) -> Wish:
    """The command line, with the variables of the Makefile as options."""
    parser = argparse.ArgumentParser(prog="make run", description=__doc__)
    parser.add_argument("--recipe", default="tiny-cpu", help="a file in recipes/")
    parser.add_argument("--labels", type=int, default=1600, help="new labels to wait for")
    parser.add_argument("--keep", choices=["0", "1"], default="1", help="0: exit with the result")
    parser.add_argument("--people", choices=["simulated", "real"], default="simulated")
    sent = parser.parse_args(arguments)
    return Wish(sent.recipe, sent.labels, sent.keep == "1", sent.people == "real")


def main() -> None:
    """Run it; a sentence instead of a traceback for what a person can act on."""
    terminal = Terminal(Console())
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        status = run(read_wish(sys.argv[1:]), terminal)
    except LoopError as error:
        terminal.rest()
        terminal.say(str(error))
        status = FAILED
    except KeyboardInterrupt:
        terminal.rest()
        terminal.say("stopped; `make run` continues where the facts end")
        status = 128 + signal.SIGINT
    sys.exit(status)


def run(wish: Wish, terminal: Terminal) -> int:
    """Check the machine, start everything, run a cycle; with `keep`, stay until Ctrl-C."""
    settings = get_settings()
    with running.locked(settings.home):
        preflight.check_machine(settings.home, is_built(settings.llama_root))
        addresses = choose_addresses(settings, terminal)
        prepare(settings, addresses)
        build_llama(settings, terminal)
        with services.machine(settings.home / "logs") as machine:
            places = start(machine, addresses, terminal)
            status = run_cycle(places, machine, terminal, wish)
            tell_addresses(addresses, terminal)
            if wish.keep:
                stay(places, machine, terminal, wish)
            return status


def choose_addresses(settings: Settings, terminal: Terminal) -> Addresses:
    """The ports of the last start where they are free."""
    known = running.read_addresses(settings.home)
    settling = preflight.SETTLING if known else 0.0
    wanted = (known or Addresses()).model_dump()
    addresses = Addresses(**preflight.choose_ports(wanted, terminal.say, settling))
    running.write_addresses(settings.home, addresses)
    return addresses


def prepare(settings: Settings, addresses: Addresses) -> None:
    """The environment of all processes, this one included, and the folders they expect.

    Raises:
        SettingsError: Releases lie in a bucket, which nobody here serves.
    """
    os.environ |= running.environment(settings, addresses)
    get_settings.cache_clear()
    folders = [settings.home / name for name in ("logs", "reports", "prefect")]
    for folder in (*folders, settings.releases_root):
        folder.mkdir(parents=True, exist_ok=True)


def build_llama(settings: Settings, terminal: Terminal) -> None:
    """Build llama.cpp where that was not done before.

    Raises:
        ServiceError: It did not build; what it said stands above.
    """
    if is_built(settings.llama_root):
        return
    terminal.say("building llama.cpp once, about 5 minutes on two cores")
    command = [sys.executable, "-m", "deployments.build_llama"]
    if subprocess.run(command, check=False).returncode:  # noqa: S603  (a command of our own)
        raise ServiceError("llama.cpp was not built, see above")


def start(machine: Machine, addresses: Addresses, terminal: Terminal) -> Places:
    """Start the services, then the deployments, then the worker that runs them."""
    from deployments import scheduler

    places = get_places()  # migrates the store before anybody reads it
    init_repository(places.releases, "rehearsal")  # refuses one that is marked production
    started = services.services(addresses, places.settings.home / "reports")
    terminal.say(f"starting {', '.join(service.name for service in started)}")
    for service in started:
        machine.start(service)
    for service in started:
        machine.wait_healthy(service)
    scheduler.ensure_pool()
    switched_on = scheduler.active_schedules()
    services.deploy_all()
    for name in scheduler.crash_orphans():
        terminal.say(f"{name}: its process died with an earlier start; marked as crashed")
    for name in scheduler.cancel_leftovers(places):
        terminal.say(f"{name}: its cycle was ended meanwhile; cancelled")
    machine.start(WORKER)
    scheduler.activate(switched_on | scheduler.ALWAYS_ON)
    terminal.say(f"Prefect {addresses.url('prefect')}  labeller {addresses.url('labeller')}")
    return places


def run_cycle(places: Places, machine: Machine, terminal: Terminal, wish: Wish) -> int:
    """One cycle to its end, and what came of it."""
    from deployments.rehearsal import Rehearsal, rehearse

    asked = Rehearsal(wish.recipe, wish.labels_wanted, wish.real_people)
    if wish.real_people:
        terminal.say(
            "PEOPLE=real: simulated people label all but the last 20 sessions; those and the "
            "sign-off are yours, and the cycle waits for you"
        )
    watched = rehearse(places, machine, terminal, asked)
    tell_result(places, terminal, watched)
    if watched.end is None:
        return FAILED
    return RELEASED if watched.end.outcome == CycleOutcome.RELEASED else ENDED_OTHERWISE


def tell_result(places: Places, terminal: Terminal, watched: "Watched") -> None:
    """The summary of a cycle that ended, or why it is still open."""
    from loop.report import summary_text

    if watched.cycle and watched.end:
        terminal.say(summary_text(places, watched.cycle))
        terminal.say(f"the cycle ended as {watched.end.outcome}: {watched.end.reason}")
    else:
        terminal.say(f"the run ended as {watched.state}: {watched.message}")
        retry = running.bloxloop(places.settings.home, "retry")
        terminal.say(f"the cycle is still open: `{retry}`, or `make run` again, continues it")


def tell_addresses(addresses: Addresses, terminal: Terminal) -> None:
    """Where people look."""
    for service, what in WHAT.items():
        terminal.say(f"{what:<24}{addresses.url(service)}")


WHAT: dict[str, Any] = {
    "prefect": "Prefect UI",
    "labeller": "labeller",
    "intake": "intake",
    "releases": "release repository",
    "reports": "reports",
}


def stay(places: Places, machine: Machine, terminal: Terminal, wish: Wish) -> None:
    """Keep everything running until Ctrl-C, the simulated people too.

    Raises:
        ServiceError: A process ended by itself, or none has answered well for a long time.
    """
    from deployments.rehearsal import attend

    terminal.say("everything keeps running; Ctrl-C stops it")
    if wish.real_people:
        terminal.say("a cycle that is started now finds no phones: for the next, `make run` again")
    patience = Patience(terminal.say)
    while True:
        machine.check()
        time.sleep(2)
        if wish.real_people:
            continue
        with patience.bearing():
            if watched := attend(places, machine, terminal):
                tell_result(places, terminal, watched)


if __name__ == "__main__":
    main()
