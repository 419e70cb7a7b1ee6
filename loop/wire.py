"""The JSON types of the device's contracts, as strict pydantic fields.

JSON Schema and pydantic disagree on small things; this module holds our side of each: a whole
number may be written 3.0, a truth value is no number, a key that may be missing may not be null.
Infinity and NaN are no JSON, although Python's reader makes them.
"""

from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)

from loop.errors import FactsError
from loop.values import Json, Severity

T = TypeVar("T")


class Wire(BaseModel):
    """A closed, frozen JSON object; nothing is converted on the way in.

    `model_dump(exclude_unset=True)` gives back what was read.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _present(value: Any) -> Any:
    if value is None:
        raise ValueError("expected a value or no such key")
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
"""An integer in the sense of JSON Schema: 3.0 is one, true is not."""
Count = Annotated[Whole, Field(ge=0)]
Number = float
NotNegative = Annotated[float, Field(ge=0)]
Words = Annotated[str, Field(min_length=1)]
Object: TypeAlias = dict[str, Json]
Instant = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?"
        r"(Z|[+-][0-9]{2}:?[0-9]{2})$"
    ),
]
"""An ISO 8601 instant with zone; by shape only, as the device checks it."""
Level = Annotated[Severity, Field(strict=False)]
"""green, yellow or red in plain words."""
Maybe: TypeAlias = Annotated[T | None, BeforeValidator(_present)]
"""A key that may be missing but not null; missing reads as None."""


def check_wire(shape: TypeAdapter[T], value: Json, where: str) -> T:
    """A JSON value as its typed shape.

    Raises:
        FactsError: It has another shape; the message begins with `where` and the field's path.
    """
    try:
        return shape.validate_python(value)
    except ValidationError as error:
        raise FactsError(f"{where}: {_first_problem(error)}") from error


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in problem["loc"]) or "whole"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{path}: {problem['msg']}, got {_shown(problem['input'])}{more}"


def _shown(value: Any) -> str:
    """Numbers as they are, text by its length only: messages are logged, and devices know names."""
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str | list | dict):
        return f"{type(value).__name__} of length {len(value)}"
    return type(value).__name__
