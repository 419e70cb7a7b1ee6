"""Program: fine-tunes a LoRA adapter on one frozen dataset, with a weight per example.

`python -m loop.sft job.json`. A killed run goes on from its newest complete checkpoint, to the
same weights as an uninterrupted one.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from loop import jobs
from loop.chat_tokens import IGNORED, Tokens, tokenise
from loop.errors import DatasetError, JobError
from loop.recipe import Lora, Training
from loop.values import Json


class SftJob(BaseModel):
    """What to train on what."""

    base: Path
    dataset: Path
    """Holds train.jsonl and validation.jsonl, one `loop.examples.Example` a line."""
    lora: Lora
    training: Training
    threads: int


def train(job: SftJob, out: Path) -> None:
    """Tokens, adapter, training, files."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(job.threads)
    tokenizer = AutoTokenizer.from_pretrained(job.base)
    model = AutoModelForCausalLM.from_pretrained(job.base, dtype=torch.float32)
    rows, too_long = _rows(tokenizer, job.dataset / "train.jsonl", job.training.max_tokens)
    held_out, _ = _rows(tokenizer, job.dataset / "validation.jsonl", job.training.max_tokens)
    checkpoints = out.parent / "checkpoints"
    trainer = _trainer(job, model, tokenizer, rows, held_out, checkpoints)
    done = trainer.train(resume_from_checkpoint=_newest_complete(checkpoints))
    validation = trainer.evaluate() if held_out else {}
    _save(trainer.model, out / "form")
    seconds = {"seconds": round(done.metrics["train_runtime"])}  # of this attempt
    log = trainer.state.log_history
    jobs.finish(out, _facts(log, len(rows), too_long, validation) | seconds)
    shutil.rmtree(checkpoints, ignore_errors=True)


def _rows(tokenizer: Any, file: Path, limit: int) -> tuple[list[dict[str, Json]], int]:
    """The tokenised examples, and how many were longer than the limit and left out."""
    examples = [json.loads(line) for line in file.read_text().split("\n") if line]
    tokens = [(tokenise(tokenizer, e["messages"]), e["weight"]) for e in examples]
    rows = [_row(found, weight) for found, weight in tokens if len(found.ids) <= limit]
    return rows, len(examples) - len(rows)


def _row(tokens: Tokens, weight: float) -> dict[str, Json]:
    return {"input_ids": tokens.ids, "labels": tokens.labels, "weight": weight}


def _trainer(
    job: SftJob,
    model: Any,
    tokenizer: Any,
    rows: list[dict[str, Json]],
    held_out: list[dict[str, Json]],
    checkpoints: Path,
) -> Any:
    import datasets
    from peft import LoraConfig
    from trl import SFTConfig

    if not rows:
        raise DatasetError(f"{job.dataset}: no example within {job.training.max_tokens} tokens")
    datasets.disable_progress_bars()
    modules = job.lora.modules
    return _weighted_trainer()(
        model=model,
        args=SFTConfig(**_arguments(job.training), output_dir=str(checkpoints)),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=job.lora.r,
            lora_alpha=job.lora.alpha,
            lora_dropout=job.lora.dropout,
            target_modules=modules if isinstance(modules, str) else list(modules),
            task_type="CAUSAL_LM",
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        eval_dataset=datasets.Dataset.from_list(held_out) if held_out else None,
        callbacks=_callbacks(),
    )


def _arguments(training: Training) -> dict[str, Any]:
    import torch

    gpu = torch.cuda.is_available()
    return {
        "max_steps": training.steps,
        "per_device_train_batch_size": training.batch,
        "per_device_eval_batch_size": training.batch,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": training.warmup,  # below 1 it is a share of the steps
        "weight_decay": 0.0,
        "max_length": training.max_tokens,
        "seed": training.seed,
        "data_seed": training.seed,
        "logging_steps": 10,
        "save_strategy": "steps",
        "save_steps": max(10, training.steps // 10),
        "save_total_limit": 2,
        "bf16": gpu,
        "use_cpu": not gpu,
        "gradient_checkpointing": False,
        "dataloader_num_workers": 0,
        "report_to": "none",
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }


def _weighted_trainer() -> Any:
    """TRL's trainer, whose loss multiplies every token by its example's weight.

    The sum is divided by the plain token count, so weight 1.0 is the stock loss bit for bit.
    """
    import torch
    from trl import SFTTrainer

    class WeightedTrainer(SFTTrainer):  # type: ignore[misc]
        def __init__(self, **given: Any) -> None:
            pad = given["processing_class"].pad_token_id
            super().__init__(data_collator=lambda rows: _padded(rows, pad), **given)

        def compute_loss(
            self,
            model: Any,
            inputs: dict[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            weight = inputs.pop("weight")
            outputs = model(**inputs, fused_lm_head=True, use_cache=False)
            losses = -outputs.log_probs * weight[:, None]  # 0 where the label is ignored
            count = outputs.label_mask.sum() if num_items_in_batch is None else num_items_in_batch
            loss = losses.sum() / torch.as_tensor(count).clamp(min=1)
            return (loss, outputs) if return_outputs else loss

        def prediction_step(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> Any:
            with torch.no_grad():
                return self.compute_loss(model, dict(inputs)).detach(), None, None

    return WeightedTrainer


def _padded(rows: list[dict[str, Any]], pad: int) -> dict[str, Any]:
    """One batch, padded at the end and without a mask, which a causal model does not need.

    Its tokens see only what stands before them, so never the padding.
    """
    import torch

    width = max(len(row["input_ids"]) for row in rows)

    def filled(name: str, filler: int) -> Any:
        return torch.tensor([row[name] + [filler] * (width - len(row[name])) for row in rows])

    return {
        "input_ids": filled("input_ids", pad),
        "labels": filled("labels", IGNORED),
        "weight": torch.tensor([row["weight"] for row in rows]),
    }


def _callbacks() -> list[Any]:
    from transformers import TrainerCallback

    class Watched(TrainerCallback):  # type: ignore[misc]
        """Tells the holder how far it is, and seals each checkpoint with its digests."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in (logs or {}):
                note = f"loss {float(logs['loss']):.3f}"
                jobs.report(state.global_step, state.max_steps, note)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            jobs.finish(Path(args.output_dir) / f"checkpoint-{state.global_step}", {})

    return [Watched()]


def _newest_complete(checkpoints: Path) -> str | None:
    """The newest checkpoint whose files are all there; half-written ones are passed over."""
    for folder in sorted(checkpoints.glob("checkpoint-*"), key=_step, reverse=True):
        try:
            jobs.read_complete(folder)
        except JobError:
            continue
        return str(folder)
    return None


def _step(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _save(model: Any, out: Path) -> None:
    """Adapter weights and a config that names no path of this machine, in one stable form."""
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)
    config = json.loads((out / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = None
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()  # a set inside peft: another order in every run
    (out / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True))
    for file in out.iterdir():
        file.chmod(0o644)


def _facts(
    log: list[dict[str, float]], rows: int, too_long: int, validation: dict[str, float]
) -> dict[str, Json]:
    curve = [[entry["step"], round(entry["loss"], 4)] for entry in log if "loss" in entry]
    return {
        "examples": rows,
        "too_long": too_long,
        "loss_curve": curve,
        "validation_loss": round(validation["eval_loss"], 4) if validation else None,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "trl", "peft")}


if __name__ == "__main__":
    train(*jobs.open_job(SftJob))
