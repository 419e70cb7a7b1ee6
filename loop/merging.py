"""Merging: base and adapter become one folder of weights, proven equal to the two."""

from pathlib import Path

from loop.errors import JobError, MergeError
from loop.forms import make_form, row_of
from loop.jobs import run_job
from loop.merge import MergeJob
from loop.places import Places
from loop.protocol import Message, call_block, first_message, render_chat, response_block
from loop.recipe import Recipe
from loop.values import Form, FormRef, OnProgress, quiet, short

CODE = 1
"""Bump it when merging the same inputs would give other bytes."""
SHARD_BYTES = 256 * 2**20
SECONDS = 4 * 3600.0


def merge_adapter(
    places: Places, adapter: FormRef, recipe: Recipe, on_progress: OnProgress = quiet
) -> FormRef:
    """The merged weights of one adapter and the base it was trained on.

    Raises:
        MergeError: The two cannot be merged exactly.
    """
    source = row_of(places, adapter)
    if source.parent is None:
        raise MergeError(f"adapter {adapter.digest}: expected a base as its parent, got none")
    job = MergeJob(
        base=places.depot.fetch_tree("forms", source.parent),
        adapter=places.depot.fetch_tree("forms", source.digest),
        shard_bytes=SHARD_BYTES,
        prompts=_prompts(recipe),
        threads=places.settings.threads,
    )

    def run(work: Path) -> Path:
        return run_job("merge", job, work, on_progress, SECONDS)

    try:
        return make_form(places, Form.MERGED, source, {"base": source.parent, "code": CODE}, run)
    except JobError as error:
        raise MergeError(f"adapter {short(adapter.digest)}: {error}") from error


def _prompts(recipe: Recipe) -> list[str]:
    """Two sessions as the device renders them, at their first and second turn."""
    opening = first_message(recipe.rules_text(), "the app says my blox is offline")
    answer = response_block("diag/summary", {"overall": "green"})
    session: list[Message] = [
        opening,
        {"role": "assistant", "content": call_block("diag/summary")},
        {"role": "user", "content": answer},
    ]
    return [render_chat(session[:1]), render_chat(session)]
