"""Program: makes a tiny base model in code, so that a rehearsal needs no download.

`python -m loop.tiny_base job.json` trains a tokenizer and a small Qwen-shaped model on a task of
its own, laid out as the device's sessions are: name the topic of the request, then quote what each
diagnostic shows that is not normal. It never sees a tool call, a verdict, a root cause or an
action; what a tuned model knows of those, it learnt from labels.
"""

from pathlib import Path
from random import Random
from typing import Any

from pydantic import BaseModel

from loop import jobs
from loop.chat_tokens import END, IGNORED, tokenise
from loop.examples import fill_instants
from loop.faults import faults, quote, show
from loop.protocol import call_block, compact, first_message, response_block
from loop.recipe import Made
from loop.sessions import right_answer, say

TEMPLATE = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}"
    "{%- if m.role == 'assistant' %}{%- generation %}{{- m.content + '<|im_end|>' }}"
    "{%- endgeneration %}{%- else %}{{- m.content + '<|im_end|>' }}{%- endif %}{{- '\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
"""ChatML without a default system turn, as the device renders it."""
PRE_TOKENIZER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2's own split, so that llama.cpp's `qwen2` pre-tokenizer agrees token by token.

Source:
    `pretokenizer` of Qwen/Qwen2 tokenizer.json.
"""
PAD = "<|endoftext|>"


class TinyBaseJob(BaseModel):
    """What to make and where."""

    made: Made
    rules: str
    """The rule text the tokenizer should know well."""
    threads: int


def make(job: TinyBaseJob, out: Path) -> None:
    """Tokenizer, model, pre-training, files."""
    import torch

    torch.set_num_threads(job.threads)
    rng = Random(f"tiny base {job.made.seed}")  # noqa: S311  (reproducible, not secret)
    texts = [_exercise(job.rules, rng) for _ in range(job.made.texts)]
    tokenizer = make_tokenizer(_words(texts, job.rules, rng), job.made.vocabulary)
    model = _model(job.made, tokenizer)
    loss = _pretrain(model, tokenizer, texts, job.made, rng)
    model.save_pretrained(out / "form")
    tokenizer.save_pretrained(out / "form")
    parameters = sum(p.numel() for p in model.parameters())
    jobs.finish(out, {"parameters": parameters, "loss": round(loss, 4)})


def _exercise(rules: str, rng: Random) -> list[dict[str, Any]]:
    """A session as the device holds it, but the answers name a topic and quote, no more."""
    fault = rng.choice(faults())
    topic = rng.choice(fault.symptoms)
    turns = [(first_message(rules, say(topic, rng))["content"], compact({"topic": topic}))]
    for tool, result in show(fault, rng).items():
        asked = response_block(tool, fill_instants(result, rng))
        turns.append((asked, compact({"quote": quote(fault, tool, result)})))
    return [said for asked, answer in turns for said in _chat(asked, answer)]


def _chat(asked: str, answer: str) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": asked, "learn": False},
        {"role": "assistant", "content": answer, "learn": True},
    ]


def _words(texts: list[list[dict[str, Any]]], rules: str, rng: Random) -> list[str]:
    """What the tokenizer learns its pieces from; it needs the device's words, not their use."""
    said = [turn["content"] for text in texts for turn in text]
    for fault in faults():
        answer = right_answer(fault, show(fault, rng))
        said += [call_block(tool) for tool in fault.path]
        said += [answer.summary, answer.cause, *(a.key() for a in answer.actions)]
        said.append(first_message(rules, say(fault.symptoms[0], rng))["content"])
    return said


def make_tokenizer(texts: list[str], vocabulary: int) -> Any:
    """A byte-level BPE tokenizer with Qwen's split and ChatML's turn markers."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    pieces = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PRE_TOKENIZER), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pieces.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    pieces.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, "<|im_start|>", END],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    pieces.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces, pad_token=PAD, eos_token=END, model_max_length=4096
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def _model(made: Made, tokenizer: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(made.seed)
    config = AutoConfig.for_model(
        made.architecture,
        vocab_size=len(tokenizer),
        hidden_size=made.hidden,
        intermediate_size=2 * made.hidden,
        num_hidden_layers=made.layers,
        num_attention_heads=made.heads,
        num_key_value_heads=made.kv_heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        initializer_range=0.08,  # the usual 0.02 caps the logits of tied, frozen embeddings
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return AutoModelForCausalLM.from_config(config)


def _pretrain(
    model: Any, tokenizer: Any, texts: list[list[dict[str, Any]]], made: Made, rng: Random
) -> float:
    """Plain next-token training on the answers; returns the last loss in nats per token."""
    import torch

    rows = [tokenise(tokenizer, text) for text in texts]
    optimizer = torch.optim.AdamW(model.parameters(), lr=made.learning_rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, made.learning_rate, total_steps=made.steps, pct_start=0.1
    )
    model.train()
    loss = torch.zeros(())
    for step in range(made.steps):
        loss = _loss(model, rng.sample(rows, made.batch), tokenizer.pad_token_id)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        jobs.report(step + 1, made.steps, f"loss {loss.item():.3f}")
    return float(loss.item())


def _loss(model: Any, rows: list[Any], pad: int) -> Any:
    """Cross entropy where there is a label; logits are computed only there, 10 times cheaper."""
    import torch
    from torch.nn.functional import cross_entropy

    length = max(len(row.ids) for row in rows)
    ids = torch.tensor([row.ids + [pad] * (length - len(row.ids)) for row in rows])
    labels = torch.tensor([row.labels + [IGNORED] * (length - len(row.ids)) for row in rows])
    hidden = model.model(input_ids=ids).last_hidden_state[:, :-1]  # padding comes after all tokens
    learnt = labels[:, 1:] != IGNORED
    return cross_entropy(model.lm_head(hidden[learnt]), labels[:, 1:][learnt])


if __name__ == "__main__":
    make(*jobs.open_job(TinyBaseJob))
