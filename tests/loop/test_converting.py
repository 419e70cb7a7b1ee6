import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from sqlmodel import Session

from loop.converting import (
    CALIBRATION,
    INSTALL_RKLLM,
    CalibrationPair,
    convert_model,
    convert_rkllm,
    find_toolkit,
    require_tools,
)
from loop.errors import ConversionError
from loop.examples import Example
from loop.forms import Lineage, keep_form
from loop.jobs import run_job
from loop.places import open_places
from loop.protocol import Message, render_chat
from loop.recipe import read_recipe
from loop.settings import Settings
from loop.store import forms_of
from loop.to_gguf import GgufJob
from loop.values import Form, digest_file, digest_json
from tests.tiny_models import keep_folder
from tests.whole_cycles import learn, open_cycle

RECIPE = read_recipe("tiny-cpu")
FOR_DEVICES = RECIPE.model_copy(update={"publish": "rkllm"})
FOREIGN = RECIPE.model_copy(
    update={"base": RECIPE.base.model_copy(update={"made": None, "folder": Path("elsewhere")})}
)


@pytest.fixture
def places(tmp_path, llama_settings):
    return open_places(Settings(home=tmp_path / "home", llama_cpp=llama_settings.llama_root))


@pytest.mark.parametrize("quantisation", ["Q8_0", "Q4_K_M", "F16"])
def test_a_folder_of_weights_is_converted_once_to_one_file(places, tiny_base, quantisation):
    merged = keep_folder(places, Form.MERGED, tiny_base)
    found = convert_model(places, merged, RECIPE, quantisation)
    again = convert_model(places, merged, RECIPE, quantisation)
    folder = places.depot.fetch_tree("forms", found.digest)
    with Session(places.store) as session:
        row = forms_of(session, "1")[Form.GGUF]

    assert again == found
    assert [file.name for file in folder.iterdir()] == ["model.gguf"]
    assert digest_file(folder / "model.gguf") == found.sha256 != found.digest
    assert row.parent == merged.digest
    assert row.facts["quantisation"] == quantisation
    assert row.facts["bytes"] == (folder / "model.gguf").stat().st_size
    assert row.facts["toolchain"]["version"]
    assert [path.name for path in places.settings.scratch.iterdir()] == ["locks"]


def test_equal_weights_make_equal_bytes_whatever_their_folder_is_called(
    tiny_base, llama_settings, tmp_path
):
    shutil.copytree(tiny_base, tmp_path / "Some-Org-7B-v0.3-Chat")
    digests = {
        digest_file(converted(folder, llama_settings, tmp_path / str(number)))
        for number, folder in enumerate([tiny_base, tmp_path / "Some-Org-7B-v0.3-Chat"])
    }

    assert len(digests) == 1


def converted(folder, settings, work):
    job = GgufJob(
        folder=folder,
        llama=settings.llama_root,
        name="tiny",
        quantisation="Q8_0",
        made=True,
        threads=2,
    )
    return run_job("to_gguf", job, work) / "form/model.gguf"


def test_an_unknown_tokenizer_is_an_error_unless_we_made_the_base(places, tiny_base):
    merged = keep_folder(places, Form.MERGED, tiny_base)

    with pytest.raises(ConversionError, match="tokenizer of blox-tiny is none"):
        convert_model(places, merged, FOREIGN, "Q8_0")


def test_a_missing_llama_cpp_says_how_to_build_it(tmp_path, tiny_base):
    places = open_places(Settings(home=tmp_path, llama_cpp=tmp_path / "nowhere"))
    merged = keep_folder(places, Form.MERGED, tiny_base)

    with pytest.raises(ConversionError, match=r"python -m deployments\.build_llama"):
        convert_model(places, merged, RECIPE, "Q8_0")


def test_without_a_named_interpreter_the_error_says_what_to_install_where():
    with pytest.raises(ConversionError, match=r"LOOP_RKLLM_PYTHON is not set.*rkllm_toolkit"):
        find_toolkit(None)


def test_an_interpreter_that_does_not_run_is_named():
    with pytest.raises(ConversionError, match=r"/nowhere/python does not run.*rkllm_toolkit"):
        find_toolkit(Path("/nowhere/python"))


def test_an_interpreter_without_the_toolkit_says_so():
    with pytest.raises(ConversionError, match=r"no usable rkllm-toolkit.*No module named 'rkllm'"):
        find_toolkit(Path(sys.executable))


FAKE_API = """
# A fake of Rockchip's toolkit: it shows that the driver calls what it should, and nothing more.
import json
class RKLLM:
    def load_huggingface(self, **asked):
        self.asked = {"load": asked}
        return 0
    def build(self, **asked):
        self.asked["build"] = asked
        self.pairs = json.load(open(asked["dataset"]))
        return 0 if len(self.pairs) > 1 else -1
    def export_rkllm(self, file):
        self.asked["pairs"] = self.pairs
        json.dump(self.asked, open(file, "w"))
        return 0
"""


@pytest.fixture(scope="module")
def fake_toolkit(tmp_path_factory):
    """An environment of its own in which a fake toolkit is installed."""
    root = tmp_path_factory.mktemp("fake-toolkit")
    venv.create(root, with_pip=False, symlinks=True)
    packages = next(root.glob("lib/python*/site-packages"))
    (packages / "rkllm").mkdir()
    (packages / "rkllm/__init__.py").write_text("")
    (packages / "rkllm/api.py").write_text(FAKE_API)
    (packages / "rkllm_toolkit-0.fake.dist-info").mkdir()
    (packages / "rkllm_toolkit-0.fake.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: rkllm-toolkit\nVersion: 0+fake\n"
    )
    return root / "bin/python"


PAIRS = [CalibrationPair(input=f"request {n}", target="<verdict>{}</verdict>") for n in range(2)]


def test_the_driver_loads_builds_and_exports_in_the_toolkits_environment(
    tmp_path, tiny_base, fake_toolkit
):
    places = open_places(Settings(home=tmp_path, rkllm_python=fake_toolkit))
    merged = keep_folder(places, Form.MERGED, tiny_base)
    found = convert_rkllm(places, merged, PAIRS)
    file = places.depot.fetch_tree("forms", found.digest) / "model.rkllm"
    asked = json.loads(file.read_text())
    with Session(places.store) as session:
        row = forms_of(session, "1")[Form.RKLLM]

    assert digest_file(file) == found.sha256
    assert row.facts["toolkit"] == "0+fake"
    assert asked["build"]["quantized_dtype"] == "W8A8"
    assert asked["build"]["target_platform"] == "RK3588"
    assert asked["pairs"] == [pair.model_dump() for pair in PAIRS]


def test_a_step_that_returns_an_error_is_named(tmp_path, tiny_base, fake_toolkit):
    places = open_places(Settings(home=tmp_path, rkllm_python=fake_toolkit))
    merged = keep_folder(places, Form.MERGED, tiny_base)

    with pytest.raises(ConversionError, match="build returned -1, expected 0"):
        convert_rkllm(places, merged, PAIRS[:1])


@pytest.fixture
def trained(tmp_path, fake_toolkit):
    """Places with the fake toolkit, and merged weights whose adapter learnt from a dataset."""
    places = open_places(Settings(home=tmp_path / "home", rkllm_python=fake_toolkit))
    dataset = learn(places, open_cycle(places))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/model.safetensors").write_text("weights")
    kept, version = {}, Lineage("1")
    for form, facts in ((Form.ADAPTER, {"dataset": dataset}), (Form.MERGED, {})):
        inputs = digest_json([form, dataset])
        kept[form] = keep_form(places, inputs, form, tmp_path / "weights", version, facts)
        version = Lineage("1", kept[form].digest)
    yield places, kept[Form.MERGED], dataset
    places.store.dispose()


def test_a_recipe_that_publishes_rkllm_is_converted_by_the_driver(trained):
    places, merged, _ = trained
    found = convert_model(places, merged, FOR_DEVICES, FOR_DEVICES.publish)
    folder = places.depot.fetch_tree("forms", found.digest)

    assert found.form == Form.RKLLM
    assert [file.name for file in folder.iterdir()] == ["model.rkllm"]


def test_an_rkllm_is_calibrated_on_what_was_learnt_and_never_on_what_is_held_out(trained):
    places, merged, dataset = trained
    found = convert_model(places, merged, FOR_DEVICES, "rkllm")
    file = places.depot.fetch_tree("forms", found.digest) / "model.rkllm"
    pairs = [CalibrationPair(**pair) for pair in json.loads(file.read_text())["pairs"]]
    folder = places.depot.fetch_tree("datasets", dataset)
    learnt, held_out = (asked(folder / f"{part}.jsonl") for part in ("train", "validation"))

    assert len(pairs) == CALIBRATION
    assert {pair.input for pair in pairs} <= learnt - held_out
    assert all("<verdict>" in pair.target for pair in pairs)


def asked(file):
    """Everything that the device says before the model's last turn, of each example."""
    examples = map(Example.model_validate_json, file.read_text().splitlines())
    said = ([Message(role=m["role"], content=m["content"]) for m in e.messages] for e in examples)
    return {render_chat(turns[:-1]) for turns in said}


def test_weights_that_no_dataset_made_cannot_calibrate_an_rkllm(trained, tiny_base):
    places, _, _ = trained
    base = keep_folder(places, Form.BASE, tiny_base)

    with pytest.raises(ConversionError, match=r"base .*expected merged weights, whose dataset"):
        convert_model(places, base, FOR_DEVICES, "rkllm")


def test_before_a_cycle_opens_a_missing_toolkit_says_what_to_install_and_what_else_is_missing():
    with pytest.raises(ConversionError) as told:
        require_tools(Settings(), FOR_DEVICES)

    assert INSTALL_RKLLM in str(told.value)
    assert "answers on a device only" in str(told.value)


def test_before_a_cycle_opens_a_toolkit_alone_is_not_enough(fake_toolkit):
    with pytest.raises(
        ConversionError, match=r"0\+fake is here, but an .rkllm answers on a device"
    ):
        require_tools(Settings(rkllm_python=fake_toolkit), FOR_DEVICES)


def test_before_a_cycle_opens_llama_cpp_must_be_there_for_a_gguf(tmp_path):
    with pytest.raises(ConversionError, match=r"python -m deployments\.build_llama"):
        require_tools(Settings(llama_cpp=tmp_path), RECIPE)

    (tmp_path / "build.json").write_text('{"version": "1"}')
    require_tools(Settings(llama_cpp=tmp_path), RECIPE)


def test_the_driver_needs_nothing_but_the_standard_library():
    driver = Path(__file__).parents[2] / "loop/rkllm_driver.py"
    command = [sys.executable, "-I", "-S", str(driver), "/nowhere/job.json"]
    ended = subprocess.run(command, capture_output=True, text=True)

    assert "FileNotFoundError" in ended.stderr
