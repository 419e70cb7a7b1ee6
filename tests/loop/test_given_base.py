"""A base that somebody lays into a folder: taken only if it is the one that the recipe names."""

import shutil

import pytest

from loop.depot import digest_folder
from loop.errors import RecipeError
from loop.training import ensure_base
from tests.candidates import RECIPE
from tests.factories import empty_places


@pytest.fixture
def places(tmp_path):
    made = empty_places(tmp_path / "home")
    yield made
    made.store.dispose()


@pytest.fixture
def folder(tmp_path, tiny_base):
    return shutil.copytree(tiny_base, tmp_path / "base")


@pytest.fixture
def recipe(folder):
    given = {"made": None, "folder": folder, "digest": digest_folder(folder)}
    return RECIPE.model_copy(update={"base": RECIPE.base.model_copy(update=given)})


def test_the_named_base_is_kept_and_then_its_folder_is_needed_no_more(places, recipe, folder):
    first = ensure_base(places, recipe)
    shutil.rmtree(folder)

    assert ensure_base(places, recipe) == first
    assert first.digest == recipe.base.digest


def test_another_base_is_refused_until_the_right_one_lies_there(places, recipe, folder):
    weights = folder / "model.safetensors"
    right = weights.read_bytes()
    weights.write_bytes(right[:-1] + b"x")
    with pytest.raises(RecipeError, match=f"expected {recipe.base.digest}, got "):
        ensure_base(places, recipe)
    weights.write_bytes(right)

    assert ensure_base(places, recipe).digest == recipe.base.digest
