import json

import pytest
from sqlmodel import Session

from loop.errors import MergeError, NotFound
from loop.merging import merge_adapter
from loop.recipe import read_recipe
from loop.store import forms_of
from loop.values import Form, FormRef, Progress
from tests.factories import empty_places
from tests.tiny_models import keep_folder


@pytest.fixture
def places(tmp_path):
    return empty_places(tmp_path / "home")


def test_an_adapter_is_merged_once_and_kept_with_its_parity(places, tiny_base, tiny_adapter):
    base = keep_folder(places, Form.BASE, tiny_base)
    adapter = keep_folder(places, Form.ADAPTER, tiny_adapter, base)
    seen: list[Progress] = []
    merged = merge_adapter(places, adapter, read_recipe("tiny-cpu"), seen.append)
    again = merge_adapter(places, adapter, read_recipe("tiny-cpu"))
    with Session(places.store) as session:
        row = forms_of(session, "1")[Form.MERGED]

    assert again == merged == row.ref()
    assert row.parent == adapter.digest
    assert row.facts["max_delta"] < 1e-3
    assert (places.depot.fetch_tree("forms", merged.digest) / "model.safetensors").is_file()
    assert seen[-1].note == "comparing logits"
    assert [path.name for path in places.settings.scratch.iterdir()] == ["locks"]


def test_an_adapter_that_does_not_fit_its_base_is_an_error_that_says_so(
    places, tiny_base, tiny_adapter, tmp_path
):
    (tmp_path / "base").mkdir()
    for file in tiny_base.iterdir():
        (tmp_path / "base" / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "base/config.json").read_text())
    (tmp_path / "base/config.json").write_text(json.dumps({**config, "quantization_config": {}}))
    base = keep_folder(places, Form.BASE, tmp_path / "base")
    adapter = keep_folder(places, Form.ADAPTER, tiny_adapter, base)

    with pytest.raises(MergeError, match="expected plain weights, got quantised ones"):
        merge_adapter(places, adapter, read_recipe("tiny-cpu"))


def test_an_adapter_that_the_store_does_not_know_is_not_found(places):
    unknown = FormRef(Form.ADAPTER, "0" * 64, "1", "0" * 64)

    with pytest.raises(NotFound):
        merge_adapter(places, unknown, read_recipe("tiny-cpu"))
