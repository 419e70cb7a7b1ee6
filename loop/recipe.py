"""Recipes: how one model is trained, gated and published, as YAML that people write."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from loop.errors import RecipeError
from loop.values import Digest, Value, digest_bytes, digest_json
from loop.written import read_written

RECIPES = Path(__file__).parents[1] / "recipes"


class Made(Value):
    """A tiny base that the project makes in code; it proves machinery, not model quality."""

    architecture: Literal["qwen2", "qwen3"] = "qwen2"
    hidden: int = Field(gt=0, multiple_of=8)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    vocabulary: int = Field(ge=300)
    texts: int = Field(gt=0)
    """How many generated texts it reads, for its words and its own task."""
    steps: int = Field(gt=0)
    batch: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    seed: int = 0


class Base(Value):
    """What the adapter is trained on: a folder of weights, or one that the project makes."""

    licence: str
    """SPDX id or name; publishing refuses what `releasable` does not allow."""
    releasable: bool
    made: Made | None = None
    folder: Path | None = None
    digest: Digest | None = None
    """Of the folder's files; a base that changed is refused."""

    @model_validator(mode="after")
    def _one_source(self) -> "Base":
        if (self.made is None) == (self.folder is None):
            raise ValueError("expected exactly one of `made` and `folder`")
        if self.folder is not None and self.digest is None:
            raise ValueError("expected `digest` beside `folder`")
        return self


class Lora(Value):
    """The low-rank adapter."""

    r: int = Field(gt=0)
    alpha: int = Field(gt=0)
    dropout: float = Field(ge=0, lt=1)
    modules: str | tuple[str, ...] = "all-linear"


class Training(Value):
    """The optimiser's schedule; AdamW with a cosine to zero."""

    steps: int = Field(gt=0)
    batch: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    warmup: float = Field(ge=0, lt=1)
    """Share of the steps."""
    max_tokens: int = Field(gt=0)
    """Longer examples are rejected and counted, never cut."""
    seed: int = 0
    minutes: float = Field(gt=0)
    """Wall-clock budget; training stops with an error beyond it."""


class RuleText(Value):
    """The instructions the device puts before each request: an input with its digest."""

    file: Path
    """Relative to the recipes folder."""
    sha256: Digest


class Recipe(Value):
    """One way to make one model."""

    model: str = Field(pattern=r"^[A-Za-z0-9._-]{1,40}$")
    version: int = Field(ge=1)
    """Bump it when code that no digest sees changes what training does."""
    about: str
    rehearsal: bool
    """True: it may only ever be published to a repository marked as a rehearsal."""
    base: Base
    rules: RuleText
    thinking: bool = False
    """Whether the model thinks before it speaks; the device cuts that part."""
    max_new_tokens: int = Field(gt=0)
    """Per turn."""
    lora: Lora
    training: Training
    suite: str
    """The scenarios it is gated on."""
    publish: Literal["Q8_0", "Q4_K_M", "F16", "rkllm"]
    measure: tuple[Literal["Q8_0", "Q4_K_M", "F16"], ...] = ()
    """Other forms that are converted and scored for the report only."""

    @property
    def digest(self) -> Digest:
        """Names the recipe in every output made with it."""
        return digest_json(self)

    def rules_text(self) -> str:
        """The rule text, after checking its digest.

        Raises:
            RecipeError: The file is missing, or is not the one the recipe was written for.
        """
        path = RECIPES / self.rules.file
        if not path.is_file():
            raise RecipeError(f"rule text {path}: no such file")
        data = path.read_bytes()
        if (found := digest_bytes(data)) != self.rules.sha256:
            raise RecipeError(f"rule text {path}: expected sha256 {self.rules.sha256}, got {found}")
        return data.decode().rstrip("\n")


def recipe_names() -> list[str]:
    """The recipes there are."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


RecipeName: TypeAlias = Annotated[str, Field(json_schema_extra={"enum": recipe_names()})]
"""A recipe's file name without suffix: in a form, a choice of those there are."""


def read_recipe(name: str) -> Recipe:
    """A recipe by its file name without suffix.

    Raises:
        RecipeError: No such recipe, or not usable as written.
    """
    if name not in recipe_names():
        raise RecipeError(f"recipe {name!r}: expected one of {', '.join(recipe_names())}")
    return read_written(RECIPES / f"{name}.yaml", Recipe, RecipeError)
