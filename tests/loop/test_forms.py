import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from loop.errors import NotFound
from loop.forms import Lineage, make_form, row_of
from loop.jobs import finish
from loop.values import Form, FormRef, digest_bytes
from tests.factories import empty_places

SOURCE = Lineage("tiny-1", digest_bytes(b"what it is made from"))


@pytest.fixture
def places(tmp_path):
    return empty_places(tmp_path / "home")


def maker(runs: list[Path], content: str = "weights") -> Callable[[Path], Path]:
    """Makes a form of one file, and remembers that it did."""

    def run(work: Path) -> Path:
        runs.append(work)
        (work / "out/form").mkdir(parents=True)
        (work / "out/form/model").write_text(content)
        finish(work / "out", {"loss": 0.5})
        return work / "out"

    return run


def test_a_form_is_kept_with_its_source_and_facts(places):
    ref = make_form(places, Form.MERGED, SOURCE, {"code": 1}, maker([]), {"tools": "1.0"})
    row = row_of(places, ref)

    assert (row.parent, row.version) == (SOURCE.digest, "tiny-1")
    assert row.facts == {"loss": 0.5, "tools": "1.0"}
    assert (places.depot.fetch_tree("forms", ref.digest) / "model").read_text() == "weights"


def test_the_same_inputs_are_worked_on_once(places):
    runs: list[Path] = []
    first = make_form(places, Form.MERGED, SOURCE, {"code": 1}, maker(runs))
    shutil.rmtree(places.settings.scratch)
    second = make_form(places, Form.MERGED, SOURCE, {"code": 1}, maker(runs))

    assert first == second
    assert len(runs) == 1


@pytest.mark.parametrize(
    ("form", "source", "made_from"),
    [
        (Form.GGUF, SOURCE, {"code": 1}),
        (Form.MERGED, Lineage("tiny-2", SOURCE.digest), {"code": 1}),
        (Form.MERGED, Lineage("tiny-1", digest_bytes(b"another")), {"code": 1}),
        (Form.MERGED, SOURCE, {"code": 2}),
    ],
)
def test_any_other_input_is_another_form(places, form, source, made_from):
    runs: list[Path] = []
    make_form(places, Form.MERGED, SOURCE, {"code": 1}, maker(runs))
    make_form(places, form, source, made_from, maker(runs, "others"))

    assert len(runs) == 2


def test_two_that_ask_at_the_same_time_make_it_once(places):
    runs: list[Path] = []
    together = Barrier(2)

    def ask(_: int) -> FormRef:
        together.wait()
        return make_form(places, Form.MERGED, SOURCE, {"code": 1}, maker(runs))

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, range(2))

    assert first == second
    assert len(runs) == 1


def test_a_form_that_was_never_made_is_not_found(places):
    with pytest.raises(NotFound):
        row_of(places, FormRef(Form.MERGED, "0" * 64, "tiny-1", "0" * 64))
