"""The `bloxloop` command: what an operator does to cycles and releases."""

import getpass
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.engine import make_url

from deployments import running, status
from loop import cycles, forgetting, importing, publishing, rescanning, signing, store
from loop.card import card_markdown
from loop.cycles import Ending
from loop.derived import Derived
from loop.errors import CycleError, LoopError, StoreError, UnreadableError
from loop.figures import counted
from loop.places import Places, get_places
from loop.settings import get_settings
from loop.tables import CycleOutcome
from loop.values import CardRef, CycleRef, utc_now

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

Name = Annotated[str, typer.Option(help="Who decides; your user name by default.")]
Reason = Annotated[str, typer.Option(help="Why; kept for good.")]
Model = Annotated[str, typer.Option(help="Of which model's cycle; needed where several are open.")]


@app.command("status")
def show_status() -> None:
    """What waits at each stage, how old the oldest is, and what to do next."""
    places, now = _places(), utc_now()
    there = status.answering(places, _prefect())
    ended = status.ended_runs(places, now) if "prefect" in there else []
    table = Table("stage", "waits", "oldest", "what to do next")
    for line in status.read_status(places, now, there) + ended:
        table.add_row(line.stage, line.what, status.age(line.seconds), line.next_step)
    Console().print(table)
    if (typed := running.bloxloop(places.settings.home)) != "bloxloop":
        typer.echo(f"here `bloxloop` is typed as {typed}")


@app.command()
def card(begins: Annotated[str, typer.Argument(metavar="CARD")]) -> None:
    """Show a sign-off card, named by the first 12 characters of its digest."""
    places = _places()
    with store.writing(places.store) as session:
        row = store.get_card(session, begins)
        typer.echo(card_markdown(signing.read_card(session, CardRef(row.digest, row.sha256))))


@app.command()
def approve(
    begins: Annotated[str, typer.Argument(metavar="CARD")],
    name: Name = "",
    reject: Annotated[bool, typer.Option(help="Say no instead.")] = False,
) -> None:
    """Sign a card, named by the first 12 characters of its digest; the waiting run goes on."""
    decision: Literal["approve", "reject"] = "reject" if reject else "approve"
    signed = signing.sign(_places(), begins, decision, name or getpass.getuser(), via="command")
    typer.echo(f"{signed.decision} of card {signed.card[:12]} by {signed.made_by} is kept")


@app.command()
def retry(model: Model = "") -> None:
    """Run an open cycle's ended run again, never by force: its waits ask their people again."""
    cycle, run = _held(_places(), model)
    _require_prefect()
    from tasks import runs  # Prefect reads its environment when it is imported

    typer.echo(f"{cycles.name_of(cycle)}: its run is {runs.retry(run)} now")


@app.command()
def cancel(reason: Reason, model: Model = "", name: Name = "") -> None:
    """End an open cycle for good, and stop its run; what it made stays, nothing is published."""
    places = _places()
    cycle, run = _held(places, model)
    why = f"{reason} ({name or getpass.getuser()})"
    ended = cycles.end_cycle(places, cycle, Ending(CycleOutcome.CANCELLED, why))
    typer.echo(f"{cycles.name_of(cycle)} ended as {ended.outcome}: {ended.reason}")
    _stop(run)


@app.command()
def rollback(
    reason: Reason,
    name: Name = "",
    undo: Annotated[bool, typer.Option(help="Take the rollback back instead.")] = False,
) -> None:
    """Point devices at the model that served them before; needs no Prefect."""
    turn = publishing.unroll_back if undo else publishing.roll_back
    made = turn(_places(), name or getpass.getuser(), reason)
    typer.echo(json.dumps(made.manifest, indent=1, sort_keys=True))
    way = "go forward" if undo else "go back"
    typer.echo(f"manifest {made.number}: devices {way} to {made.model_version}")


@app.command("import-labelled")
def import_labelled(folder: Path) -> None:
    """Import labelled records from a folder; what cannot be used is counted with its reason.

    A home may begin so: where there is none, it is made.
    """
    report = importing.import_labelled(_places(may_begin=True), folder)
    table = Table("what", "files")
    for kind, counts in (("", report.outcomes), ("rejected: ", report.rejected)):
        for name, count in sorted(counts.items()):
            table.add_row(f"{kind}{name}", str(count))
    for name, count in sorted(report.codes.items()):
        table.add_row(f"repaired or flagged: {name}", str(count))
    Console().print(table)


@app.command()
def rescan() -> None:
    """Look through kept transcripts with today's privacy rules; quarantine those that fail.

    It ends with 1 where some could not be read.
    """
    places = _places()
    runs = dict(cycles.held_cycles(places))
    found = rescanning.rescan(places)
    typer.echo(f"{counted(found.looked, 'transcript')}: {found.quarantined} quarantined now")
    rules = Table("rule", "transcripts")
    for rule, count in found.rules.most_common():
        rules.add_row(rule, str(count))
    if rules.row_count:
        Console().print(rules)
    _show_derived(found.derived)
    for cycle in found.ended:
        typer.echo(f"{cycles.name_of(cycle)} ended as cancelled: {rescanning.CANCELLED}")
        if cycle in runs:
            _stop(runs[cycle])
    _refuse_unreadable(found.unreadable)


def _refuse_unreadable(errors: Sequence[UnreadableError]) -> None:
    """Name the sessions that could not be read, and end with 1 where there are some."""
    for error in errors:
        typer.echo(f"{error}; `bloxloop forget {error.transcript}` deletes it", err=True)
    if errors:
        typer.echo(
            f"{counted(len(errors), 'transcript')} in quarantine until a rescan can read them: "
            "the log above says where it failed; upgrade bloxloop and run it again",
            err=True,
        )
        raise typer.Exit(1)


@app.command()
def forget(
    upload_id: str,
    yes: Annotated[bool, typer.Option(help="Do not ask.")] = False,
    name: Name = "",
) -> None:
    """Delete everything that is kept of one upload, for good; ended before its end, type it again.

    Backups, copies that other machines fetched and models that learnt from it are not touched.
    """
    places, ids = _places(), [forgetting.check_upload_id(upload_id)]
    found = forgetting.find_traces(places, ids)
    runs = {cycle: run for cycle, run in cycles.held_cycles(places) if cycle in found.open_cycles}
    _show_traces(found)
    if not yes:
        typer.confirm("Delete all of it for good?", abort=True)
    asked = forgetting.Asked("asked", name or getpass.getuser())
    _show_counts("deleted", forgetting.forget(places, ids, asked))
    for run in runs.values():
        _stop(run)
    typer.echo("Not touched: backups, what other machines fetched, models that learnt from it.")


def _show_traces(found: forgetting.Traces) -> None:
    _show_counts("kept of this upload", found.counts())
    _show_derived(found.learnt)
    if found.twins:
        typer.echo(f"the very same session also came as {', '.join(found.twins)}")


def _show_counts(heading: str, counts: Mapping[str, int]) -> None:
    table = Table(heading, "n")
    for kind, count in counts.items():
        table.add_row(kind, str(count))
    Console().print(table)


def _show_derived(derived: Iterable[Derived]) -> None:
    """What learnt from some sessions, where anything did."""
    made = Table("learnt from them", "of them", "models", "in manifests")
    for one in derived:
        numbers = ", ".join(map(str, one.releases))
        made.add_row(one.cycle, str(one.transcripts), ", ".join(one.versions), numbers)
    if made.row_count:
        Console().print(made)


def main() -> None:
    """Run a command; a sentence instead of a traceback for what a person can act on."""
    with _as_sentences():
        app()


@contextmanager
def _as_sentences() -> Iterator[None]:
    try:
        yield
    except LoopError as error:
        typer.echo(str(error), err=True)
        raise SystemExit(1) from error


def _places(may_begin: bool = False) -> Places:
    """The places of LOOP_HOME, with the addresses that its services have.

    Raises:
        StoreError: There is no store yet, and only a few commands may begin one.
    """
    settings = get_settings()
    begun = settings.database_url or Path(str(make_url(settings.store_url).database)).is_file()
    if not (begun or may_begin):
        raise StoreError(
            f"LOOP_HOME={settings.home.absolute()}: expected a folder that `make run` has worked "
            "in, found no store there"
        )
    if addresses := running.read_addresses(settings.home):
        os.environ |= running.environment(settings, addresses)
        get_settings.cache_clear()
    return get_places()


def _held(places: Places, model: str) -> tuple[CycleRef, str]:
    """The one open cycle that is meant, and the run that holds it."""
    found = [held for held in cycles.held_cycles(places) if model in ("", held[0].model)]
    if len(found) != 1:
        named = ", ".join(cycle.model for cycle, _ in found) or "none"
        raise CycleError(f"expected one open cycle, found: {named}; choose by --model")
    return found[0]


def _stop(run: str) -> None:
    """Its process does nothing more for an ended cycle, so a refusal is only told."""
    try:
        _require_prefect()
        from tasks import runs

        typer.echo(f"its run is {runs.cancel(run)} now")
    except CycleError as error:
        typer.echo(str(error))


def _prefect() -> str:
    """Prefect's API for this home; empty where it never had one."""
    return os.environ.get("PREFECT_API_URL", "")


def _require_prefect() -> None:
    """Nothing, if the server of this home answers.

    Raises:
        CycleError: It does not, or never ran.
    """
    if "prefect" not in status.answering(get_places(), _prefect()):
        raise CycleError("no Prefect server answers for this LOOP_HOME: start it with `make run`")


if __name__ == "__main__":
    main()
