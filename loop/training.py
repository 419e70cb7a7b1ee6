"""Training: the base that a recipe names, and one adapter on it from one dataset."""

from pathlib import Path

from sqlmodel import Session

from loop.depot import digest_folder
from loop.errors import RecipeError
from loop.forms import Lineage, keep_form, make_form, row_of
from loop.jobs import run_job
from loop.places import Places
from loop.recipe import Recipe
from loop.sft import SftJob
from loop.store import find_form
from loop.tiny_base import TinyBaseJob
from loop.values import (
    DatasetRef,
    Form,
    FormRef,
    Json,
    OnProgress,
    digest_file,
    digest_json,
    quiet,
    short,
)

CODE = 2
"""Bump it when training on the same inputs would give other weights."""
DATA = Path(__file__).parent / "data"
SECONDS = 3600.0
"""More than enough for a base that the project makes itself."""


def ensure_base(places: Places, recipe: Recipe, on_progress: OnProgress = quiet) -> FormRef:
    """The base a recipe trains on, in the depot; one that the project makes is made once.

    Raises:
        RecipeError: The base's folder does not hold what the recipe was written for.
    """
    base, threads = recipe.base, places.settings.threads
    made_from = {
        "code": CODE,
        "base": base,
        "rules": recipe.rules.sha256,
        "tables": [digest_file(DATA / name) for name in ("faults.yaml", "user_words.yaml")],
        "threads": threads,
    }
    version = Lineage(f"factory-{short(digest_json(made_from))}")
    if base.made is None:
        return _given(places, recipe, version)
    job = TinyBaseJob(made=base.made, rules=recipe.rules_text(), threads=threads)

    def make(work: Path) -> Path:
        return run_job("tiny_base", job, work, on_progress, SECONDS)

    return make_form(places, Form.BASE, version, made_from, make)


def _given(places: Places, recipe: Recipe, version: Lineage) -> FormRef:
    """A base that lies in a folder, once it is proven to be the recipe's."""
    folder = recipe.base.folder or Path()
    inputs = digest_json({"folder": recipe.base.digest})
    with Session(places.store) as session:
        if kept := find_form(session, inputs):
            return kept.ref()
    if (found := digest_folder(folder)) != recipe.base.digest:
        raise RecipeError(f"base {folder}: expected {recipe.base.digest}, got {found}")
    return keep_form(places, inputs, Form.BASE, folder, version, {})


def train_adapter(
    places: Places, dataset: DatasetRef, recipe: Recipe, on_progress: OnProgress = quiet
) -> FormRef:
    """One adapter; the same dataset is never trained twice with the same recipe.

    A run that was killed goes on from its newest complete checkpoint.

    Raises:
        JobError: Training failed, or went beyond the recipe's budget.
    """
    base = row_of(places, ensure_base(places, recipe, on_progress))
    made_from: dict[str, Json] = {
        "code": CODE,
        "base": base.digest,
        "dataset": dataset.digest,
        "recipe": [recipe.version, recipe.lora, recipe.training],  # its rules are in the dataset
        "threads": places.settings.threads,
    }
    job = SftJob(
        base=places.depot.fetch_tree("forms", base.digest),
        dataset=places.depot.fetch_tree("datasets", dataset.digest),
        lora=recipe.lora,
        training=recipe.training,
        threads=places.settings.threads,
    )
    budget = recipe.training.minutes * 60
    version = Lineage(f"{recipe.model}-{short(digest_json(made_from))}", base.digest)

    def train(work: Path) -> Path:
        return run_job("sft", job, work, on_progress, budget)

    learnt_from = {"dataset": dataset.digest}
    return make_form(places, Form.ADAPTER, version, made_from, train, learnt_from)
