"""A Qwen2 model of 0.1 M random parameters, and a LoRA adapter on it that changes its answers."""

import warnings
from pathlib import Path

from loop.places import Places
from loop.store import keep
from loop.tables import ModelForm
from loop.tiny_base import make_tokenizer
from loop.values import Form, FormRef, digest_json

WORDS = (
    '<tool_call>{"name":"diag/summary","arguments":{}}</tool_call>',
    '<verdict>{"summary":"The clock is wrong.","severity":"red"}</verdict>',
    "Instructions: call a tool. Request: the app says my blox is offline since this morning",
    "system user assistant hello kubo wireguard heartbeat Größe 12:30 'tis it's  \n\n  done",
)


def make_base(folder: Path, hidden: int = 64) -> Path:
    """The model and its tokenizer in one folder."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = make_tokenizer(list(WORDS) * 3, 400)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_adapter(folder: Path, base: Path, **changes: object) -> Path:
    """A LoRA adapter whose B matrices are not zero, as if it had been trained."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    settings = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    model = AutoModelForCausalLM.from_pretrained(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft 0.21 calls what transformers 5.23 has renamed
        model = get_peft_model(model, LoraConfig(**{**settings, **changes}))
    for name, weights in model.named_parameters():
        if "lora_B" in name or "lora_magnitude" in name:
            torch.nn.init.normal_(weights.data, std=0.05)
    model.save_pretrained(folder)
    return folder


def keep_folder(places: Places, form: Form, folder: Path, parent: FormRef | None = None) -> FormRef:
    """A folder as a form in the store and the depot, as training would leave it."""
    digest = places.depot.put_tree("forms", folder)
    row = ModelForm(
        inputs=digest_json([form, digest]),
        form=form,
        digest=digest,
        sha256=digest,
        parent=parent.digest if parent else None,
        version="1",
        facts={},
    )
    keep(places.store, row)
    return row.ref()
