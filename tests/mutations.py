"""Near misses of a JSON value, for comparing two judges of the same contract."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from loop.values import Json

ODD = (
    None,
    True,
    False,
    -256,
    -1,
    0,
    1,
    1.0,
    1.5,
    59,
    60,
    255.0,
    256,
    4,
    4.0,
    101,
    601,
    86401,
    1e300,
)
WORDS = ("", "x", "green", "GREEN", "diag/time", "diag/x", "boolean", "2026-01-02 03:04:05Z", "0x0")
LENGTHS = (32, 64, 100, 128, 200, 300, 500, 1000, 2000, 2048, 4000)
STRINGS = (*WORDS, *("x" * (n + more) for n in LENGTHS for more in (0, 1)))
SHAPES: tuple[Json, ...] = ([], {}, [0], [""], ["x"], ["x"] * 9, {"x": "y"}, {"x": 1})


def near_misses(value: Json) -> Iterator[Json]:
    """The value itself and every copy with one thing changed, valid or not."""
    yield value
    for path in paths_to(value):
        for odd in (*ODD, *STRINGS, *SHAPES):
            yield changed(value, path, odd)
        if path and isinstance(at(value, path[:-1]), dict):
            yield without(value, path)
        if isinstance(at(value, path), dict):
            yield changed(value, (*path, "extra_key"), 1)


def paths_of(value: Json) -> set[str]:
    """Every key path, list positions left out."""
    return {
        ".".join(str(step) for step in path if isinstance(step, str)) for path in paths_to(value)
    }


def paths_to(value: Json, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield here
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, part in inner:
        yield from paths_to(part, (*here, key))


def at(value: Json, path: tuple[Any, ...]) -> Json:
    for step in path:
        value = value[step]
    return value


def changed(value: Json, path: tuple[Any, ...], new: Json) -> Json:
    if not path:
        return copy.deepcopy(new)
    made = json.loads(json.dumps(value))
    at(made, path[:-1])[path[-1]] = copy.deepcopy(new)
    return made


def without(value: Json, path: tuple[Any, ...]) -> Json:
    made = json.loads(json.dumps(value))
    del at(made, path[:-1])[path[-1]]
    return made
