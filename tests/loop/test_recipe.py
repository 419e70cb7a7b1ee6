import pytest
import yaml

from loop.errors import RecipeError
from loop.recipe import RECIPES, Recipe, read_recipe, recipe_names
from loop.written import read_written


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_reads_and_its_rules_are_the_ones_it_names(name):
    assert read_recipe(name).rules_text()


def test_an_unknown_recipe_names_the_ones_there_are():
    with pytest.raises(RecipeError, match=r"expected one of .*tiny-cpu"):
        read_recipe("no-such-recipe")


def test_any_change_is_another_recipe():
    recipe = read_recipe("tiny-cpu")
    other = recipe.model_copy(update={"version": recipe.version + 1})

    assert recipe.digest != other.digest


def test_a_changed_rule_text_is_refused():
    recipe = read_recipe("tiny-cpu")
    rules = recipe.rules.model_copy(update={"sha256": "0" * 64})

    with pytest.raises(RecipeError, match="expected sha256 0000"):
        recipe.model_copy(update={"rules": rules}).rules_text()


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 3},
        {"publish": "Q3_K"},
        {"base": {"licence": "x", "releasable": True}},
        {"base": {"licence": "x", "releasable": True, "folder": "/x"}},
    ],
    ids=["unknown key", "unknown form", "no base", "folder without digest"],
)
def test_a_recipe_that_cannot_be_used_says_where(tmp_path, change):
    written = yaml.safe_load((RECIPES / "tiny-cpu.yaml").read_text())
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({**written, **change}))

    with pytest.raises(RecipeError, match=r"bad\.yaml:\d+: "):
        read_written(path, Recipe, RecipeError)
