import json

import pytest

from loop.errors import MergeError
from loop.merge import MergeJob, compare, merge, read_deltas, what_is_special
from loop.shards import base_tensors
from tests.tiny_models import make_adapter

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"  # peft 0.21 still asks it
)
PROMPTS = ["<|im_start|>user\nhello<|im_end|>\n", "my blox is offline since this morning"]


def job_for(base, adapter, shard_bytes=2**20):
    return MergeJob(base=base, adapter=adapter, shard_bytes=shard_bytes, prompts=PROMPTS, threads=2)


def merged(base, adapter, out, shard_bytes=2**20):
    out.mkdir()
    merge(job_for(base, adapter, shard_bytes), out)
    return json.loads((out / "complete.json").read_text())["facts"]


def tensors_of(folder):
    from safetensors.torch import load_file

    found = {}
    for file in folder.glob("*.safetensors"):
        found.update(load_file(file))
    return found


def test_a_plain_adapter_is_merged_exactly_and_by_streaming(tiny_base, tiny_adapter, tmp_path):
    facts = merged(tiny_base, tiny_adapter, tmp_path / "out")

    assert facts["method"] == "stream"
    assert facts["max_delta"] < 1e-4
    assert facts["largest_logit"] > 1


def test_merging_changes_the_weights_that_the_adapter_names_and_no_others(
    tiny_base, tiny_adapter, tmp_path
):
    merged(tiny_base, tiny_adapter, tmp_path / "out")
    config = json.loads((tiny_adapter / "adapter_config.json").read_text())
    named = read_deltas(tiny_adapter, config).keys()
    before, after = tensors_of(tiny_base), tensors_of(tmp_path / "out/form")

    assert before.keys() == after.keys()
    assert {name for name in before if not before[name].equal(after[name])} == named


@pytest.mark.parametrize(
    "changes",
    [
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 4}, "alpha_pattern": {"layers.1.mlp.up_proj": 3}},
        {"init_lora_weights": "orthogonal"},
        {"target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1]},
    ],
)
def test_plain_variants_are_streamed_exactly(changes, tiny_base, tmp_path):
    adapter = make_adapter(tmp_path / "adapter", tiny_base, **changes)

    facts = merged(tiny_base, adapter, tmp_path / "out")

    assert (facts["method"], facts["special"]) == ("stream", [])


@pytest.mark.parametrize(
    "changes",
    [
        {"use_dora": True},
        {"init_lora_weights": "pissa"},
        {"bias": "lora_only"},
    ],
)
def test_adapters_that_are_not_plain_go_through_peft(changes, tiny_base, tmp_path):
    adapter = make_adapter(tmp_path / "adapter", tiny_base, **changes)

    facts = merged(tiny_base, adapter, tmp_path / "out")

    assert facts["method"] == "peft"
    assert facts["special"]


def test_weights_over_the_limit_are_split_and_indexed(tiny_base, tiny_adapter, tmp_path):
    merged(tiny_base, tiny_adapter, tmp_path / "whole")
    merged(tiny_base, tiny_adapter, tmp_path / "split", shard_bytes=100_000)
    form = tmp_path / "split/form"
    index = json.loads((form / "model.safetensors.index.json").read_text())
    whole, split = tensors_of(tmp_path / "whole/form"), tensors_of(form)

    assert len(set(index["weight_map"].values())) > 2
    assert index["weight_map"].keys() == whole.keys()
    assert all(whole[name].equal(split[name]) for name in whole)


def test_a_split_base_merges_to_the_same_weights(tiny_base, tiny_adapter, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoModelForCausalLM.from_pretrained(tiny_base).save_pretrained(
        tmp_path / "base", max_shard_size=100_000
    )
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(tmp_path / "base")
    merged(tiny_base, tiny_adapter, tmp_path / "one")
    merged(tmp_path / "base", tiny_adapter, tmp_path / "two")
    one, two = tensors_of(tmp_path / "one/form"), tensors_of(tmp_path / "two/form")

    assert len(set(base_tensors(tmp_path / "base").values())) > 2
    assert all(one[name].equal(two[name]) for name in one)


def test_the_bases_tokenizer_is_taken_over_byte_for_byte(tiny_base, tiny_adapter, tmp_path):
    merged(tiny_base, tiny_adapter, tmp_path / "out")
    form = tmp_path / "out/form"

    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (form / name).read_bytes() == (tiny_base / name).read_bytes()


def test_the_merged_folder_holds_nothing_foreign_and_is_readable_by_others(
    tiny_base, tiny_adapter, tmp_path
):
    merged(tiny_base, tiny_adapter, tmp_path / "out")
    files = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "out/form").iterdir()}

    assert set(files) == {"model.safetensors", *(f.name for f in tiny_base.iterdir())}
    assert set(files.values()) == {0o644}


def test_the_keys_that_older_readers_need_are_written_back(tiny_base, tiny_adapter, tmp_path):
    merged(tiny_base, tiny_adapter, tmp_path / "out")
    before = json.loads((tiny_base / "config.json").read_text())
    after = json.loads((tmp_path / "out/form/config.json").read_text())

    assert "rope_theta" not in before
    assert after == {**before, "rope_theta": 1000000.0, "torch_dtype": "float32"}


def test_an_adapter_for_another_base_is_refused(tiny_base, tmp_path):
    adapter = make_adapter(tmp_path / "adapter", tiny_base)
    from safetensors.torch import load_file, save_file

    file = adapter / "adapter_model.safetensors"
    save_file({k.replace("layers.1", "layers.9"): v for k, v in load_file(file).items()}, file)

    with pytest.raises(MergeError, match="expected the adapter's modules"):
        merged(tiny_base, adapter, tmp_path / "out")


def test_a_lone_half_of_a_pair_is_refused(tiny_base, tmp_path):
    adapter = make_adapter(tmp_path / "adapter", tiny_base)
    from safetensors.torch import load_file, save_file

    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    tensors.pop(next(key for key in tensors if "lora_B" in key))
    save_file(tensors, file)

    with pytest.raises(MergeError, match="expected pairs"):
        merged(tiny_base, adapter, tmp_path / "out")


def test_a_merge_that_moves_the_logits_is_refused(tiny_base, tiny_adapter):
    """Negative control: the base alone passed off as the merged model."""
    with pytest.raises(MergeError, match="logits moved by"):
        compare(job_for(tiny_base, tiny_adapter), tiny_base)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
def test_an_adapter_on_tied_embeddings_is_refused(tiny_base, tmp_path):
    adapter = make_adapter(tmp_path / "a", tiny_base, target_modules=["embed_tokens", "q_proj"])

    with pytest.raises(MergeError):
        merged(tiny_base, adapter, tmp_path / "out")


def test_a_quantised_base_is_refused(tiny_base, tmp_path):
    config = json.loads((tiny_base / "config.json").read_text())
    config["quantization_config"] = {"bits": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))

    with pytest.raises(MergeError, match="quantised"):
        base_tensors(tmp_path)


DEFAULTS = {"peft_type": "LORA", "bias": "none", "use_dora": False}


@pytest.mark.parametrize(
    ("config", "special"),
    [
        ({"r": 64, "lora_alpha": 3, "use_rslora": True, "task_type": "X"}, []),
        ({"bias": "none"}, []),
        ({"bias": "all"}, ["bias='all'"]),
        ({"peft_type": "VERA"}, ["peft_type='VERA'"]),
        ({"invented_by_a_later_peft": None}, ["invented_by_a_later_peft=None"]),
        ({"init_lora_weights": "gaussian"}, []),
        ({"init_lora_weights": "olora"}, ["init_lora_weights='olora'"]),
    ],
)
def test_only_what_is_known_to_be_plain_is_plain(config, special):
    assert what_is_special(config, DEFAULTS) == special
