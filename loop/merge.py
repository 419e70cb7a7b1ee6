"""Program: merges a LoRA adapter into its base, in about a gigabyte of memory for any size.

`python -m loop.merge job.json` writes the merged weights, the base's own configuration and
tokenizer into `form/`. A plain LoRA adapter is added tensor by tensor; any other goes through PEFT.
Either way the logits of a few prompts are then compared with those of base and adapter together.
"""

import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from loop import jobs
from loop.errors import MergeError
from loop.shards import INDEX, Shards, base_tensors, read_tensor
from loop.values import Json

EXACT = 1e-3
"""Largest difference of float32 logits that still counts as the same model; 2e-5 is usual."""
ROUNDED = 0.05
"""The same for 16-bit weights, as a share of the largest logit; 0.011 is usual for bfloat16."""

KEPT_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
)
"""What a merged folder takes over from its base, byte for byte but for two keys of the first."""

FREE_KEYS = frozenset(
    [
        *("auto_mapping", "base_model_name_or_path", "revision", "task_type"),
        *("inference_mode", "peft_version"),
        *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
        *("r", "lora_alpha", "lora_dropout", "use_rslora", "rank_pattern", "alpha_pattern"),
        "init_lora_weights",
    ]
)
"""Keys of adapter_config.json whose value cannot make the plain sum wrong, or is checked apart."""
PLAIN_INITS = (True, False, "gaussian", "orthogonal")
"""Initialisations that leave the base as it is; pissa and olora, for two, change it."""


class MergeJob(BaseModel):
    """What to merge and how to check it."""

    base: Path
    adapter: Path
    shard_bytes: int
    """Largest file of merged weights; about what stays in memory, twice."""
    prompts: list[str]
    """Texts whose logits are compared."""
    threads: int


def merge(job: MergeJob, out: Path) -> None:
    """Merge, take over the base's files, compare, finish."""
    import torch

    torch.set_num_threads(job.threads)
    form = out / "form"
    form.mkdir()
    config = json.loads((job.adapter / "adapter_config.json").read_bytes())
    special = what_is_special(config, _defaults())
    if special:
        merge_with_peft(job, form)
    else:
        merge_streaming(job, config, form)
    take_over_files(job.base, form)
    jobs.report(2, 3, "comparing logits")
    parity = compare(job, form)
    jobs.finish(out, {"method": "peft" if special else "stream", "special": special, **parity})


def what_is_special(config: Mapping[str, Json], defaults: Mapping[str, Json]) -> list[str]:
    """The settings of an adapter that the plain sum W + scale·B·A may not respect.

    Args:
        config: The adapter's adapter_config.json.
        defaults: PEFT's; a key that is not among them is special whatever its value.
    """
    found = [
        f"{key}={value!r}"
        for key, value in sorted(config.items())
        if key not in FREE_KEYS and (key not in defaults or value != defaults[key])
    ]
    init = config.get("init_lora_weights", True)
    return found if init in PLAIN_INITS else [*found, f"init_lora_weights={init!r}"]


def _defaults() -> dict[str, Json]:
    from peft import LoraConfig

    defaults: dict[str, Json] = LoraConfig().to_dict()
    return defaults


@dataclass(frozen=True)
class Delta:
    """What an adapter adds to one tensor: scale · B · A."""

    a: Any
    """float, shape (rank, in)."""
    b: Any
    """float, shape (out, rank)."""
    scale: float

    def added_to(self, weight: Any) -> Any:
        """The merged tensor in the base's own type, computed in float32."""
        import torch

        summed = torch.addmm(weight.float(), self.b.float(), self.a.float(), alpha=self.scale)
        return summed.to(weight.dtype)


def read_deltas(adapter: Path, config: Mapping[str, Json]) -> dict[str, Delta]:
    """What the adapter adds, by the name of the base's tensor.

    Raises:
        MergeError: A tensor that is neither half of a plain LoRA pair.
    """
    from safetensors.torch import load_file

    tensors = load_file(adapter / "adapter_model.safetensors")
    deltas = {}
    for key in sorted(tensors):
        stem = key.removesuffix(".lora_A.weight")
        if stem != key and f"{stem}.lora_B.weight" in tensors:
            module = stem.removeprefix("base_model.model.")
            a, b = tensors.pop(key), tensors.pop(f"{stem}.lora_B.weight")
            deltas[f"{module}.weight"] = Delta(a, b, scale_of(module, config))
    if tensors:
        raise MergeError(f"expected pairs of lora_A and lora_B, got also {sorted(tensors)[:3]}")
    return deltas


def scale_of(module: str, config: Mapping[str, Json]) -> float:
    """`alpha / r`, or alpha / √r for rank-stabilised adapters, with the module's own r and alpha.

    Source:
        D. Kalajdzievski (2023), arXiv:2312.03732, for the square root.

    >>> scale_of("model.layers.0.mlp.up_proj", {"r": 8, "lora_alpha": 16})
    2.0
    >>> config = {"r": 8, "lora_alpha": 16, "alpha_pattern": {"up_proj": 4}, "use_rslora": False}
    >>> scale_of("model.layers.0.mlp.up_proj", config), scale_of("model.layers.0.mlp.down", config)
    (0.5, 2.0)
    """
    rank = _by_pattern(module, config.get("rank_pattern"), config["r"])
    alpha = _by_pattern(module, config.get("alpha_pattern"), config["lora_alpha"])
    return float(alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def _by_pattern(module: str, table: Mapping[str, float] | None, default: float) -> float:
    """The first pattern that names the module or the end of its path, as PEFT reads them."""
    fitting = (v for k, v in (table or {}).items() if re.match(rf"(.*\.)?({k})$", module))
    return next(fitting, default)


def merge_streaming(job: MergeJob, config: Mapping[str, Json], form: Path) -> None:
    """Write the merged tensors one after the other, in files of at most `shard_bytes`.

    Raises:
        MergeError: The adapter speaks of tensors that the base does not have.
    """
    deltas = read_deltas(job.adapter, config)
    where = base_tensors(job.base)
    if unknown := sorted(deltas.keys() - where.keys()):
        raise MergeError(f"{job.base}: expected the adapter's modules, got none of {unknown[:3]}")
    shards = Shards(form, job.shard_bytes)
    for done, (name, file) in enumerate(where.items()):
        weight = read_tensor(file, name)
        shards.add(name, deltas[name].added_to(weight) if name in deltas else weight)
        if done % 50 == 0:
            jobs.report(done, 3 * len(where), "merging")
    shards.close()


def merge_with_peft(job: MergeJob, form: Path) -> None:
    """Let PEFT merge in memory: for adapters that are not plain LoRA."""
    model = _together(job).merge_and_unload()
    model.save_pretrained(form, max_shard_size=job.shard_bytes)


def take_over_files(base: Path, form: Path) -> None:
    """The base's configuration and tokenizer, and nothing else of either folder."""
    for file in form.iterdir():
        if file.suffix != ".safetensors" and file.name != INDEX:
            file.unlink()
    for name in KEPT_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, form / name)
    config = json.loads((base / "config.json").read_bytes())
    written = json.dumps(with_older_keys(config), indent=2, sort_keys=True) + "\n"
    (form / "config.json").write_text(written)
    for file in form.iterdir():
        file.chmod(0o644)


def with_older_keys(config: Mapping[str, Json]) -> dict[str, Json]:
    """The configuration with the two keys that older readers need; they default wrongly else.

    >>> new = {"dtype": "float32", "rope_parameters": {"rope_theta": 1e6}}
    >>> found = with_older_keys(new)
    >>> found["rope_theta"], found["torch_dtype"]
    (1000000.0, 'float32')
    """
    older = {
        "rope_theta": (config.get("rope_parameters") or {}).get("rope_theta"),
        "torch_dtype": config.get("dtype"),
    }
    return {**{key: value for key, value in older.items() if value is not None}, **config}


def compare(job: MergeJob, form: Path) -> dict[str, Json]:
    """The largest difference between the logits before and after, in float32.

    Raises:
        MergeError: It is larger than rounding explains.
    """
    wanted = list(_logits(_together(job), job))
    found = list(_logits(_load(form), job))
    pairs = list(zip(wanted, found, strict=True))
    delta = max(float((a - b).abs().max()) for a, b in pairs)
    largest = max(float(a.abs().max()) for a, _ in pairs)
    limit = EXACT if _is_float32(form) else ROUNDED * largest
    if not delta <= limit:
        raise MergeError(f"merged logits moved by {delta:.3g}, expected at most {limit:.3g}")
    return {"max_delta": delta, "largest_logit": largest, "limit": limit}


def _is_float32(form: Path) -> bool:
    config = json.loads((form / "config.json").read_bytes())
    return bool(config.get("torch_dtype", "float32") == "float32")


def _logits(model: Any, job: MergeJob) -> Iterator[Any]:
    """float32, shape (tokens, vocabulary), of each prompt."""
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job.base, local_files_only=True)
    for prompt in job.prompts:
        ids = tokenizer.encode(prompt, add_special_tokens=False)
        with torch.inference_mode():
            yield model.eval()(input_ids=torch.tensor([ids])).logits[0]


def _together(job: MergeJob) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(_load(job.base), job.adapter)


def _load(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)


if __name__ == "__main__":
    merge(*jobs.open_job(MergeJob))
