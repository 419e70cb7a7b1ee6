"""What one example adds to the loss: its own tokens, by its weight, whatever stands beside it."""

import json

import pytest

from loop.chat_tokens import IGNORED, Tokens
from loop.recipe import Lora, Training
from loop.sft import SftJob, _row, _rows, _trainer
from loop.tiny_base import make_tokenizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # of transformers about what TRL sets
]
LORA = Lora(r=4, alpha=8, dropout=0.0)
TRAINING = Training(steps=1, batch=2, learning_rate=1e-3, warmup=0.1, max_tokens=2000, minutes=30)
SHORT = Tokens([5, 6, 7, 8], [IGNORED, 6, IGNORED, 8])
LONG = Tokens([*range(30, 60)], [IGNORED, *range(31, 60)])


@pytest.fixture(scope="module")
def loss(tiny_base, tmp_path_factory):
    """The summed loss of some examples in one batch, in nats."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    job = SftJob(base=tiny_base, dataset=tiny_base, lora=LORA, training=TRAINING, threads=1)
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    folder = tmp_path_factory.mktemp("checkpoints")
    trainer = _trainer(job, model, tokenizer, [_row(SHORT, 1.0)], [], folder)

    def asked(*rows):
        batch = trainer.data_collator(list(rows))
        return trainer.compute_loss(trainer.model, batch, num_items_in_batch=1).item()

    return asked


def test_any_character_may_stand_in_an_examples_words(tmp_path):
    tokenizer = make_tokenizer(["user assistant ok"] * 5, 300)
    turns = [
        {"role": "user", "content": "it went\u2028\x85\x0baway", "learn": False},
        {"role": "assistant", "content": "ok", "learn": True},
    ]
    line = json.dumps({"messages": turns, "weight": 1.0}, ensure_ascii=False)
    (tmp_path / "train.jsonl").write_text(f"{line}\n{line}\n")

    rows, too_long = _rows(tokenizer, tmp_path / "train.jsonl", 100)
    assert (len(rows), too_long) == (2, 0)


def test_a_short_example_beside_a_long_one_never_sees_its_padding(loss):
    together = loss(_row(SHORT, 1.0), _row(LONG, 1.0))

    assert together == pytest.approx(loss(_row(SHORT, 1.0)) + loss(_row(LONG, 1.0)), rel=1e-5)


def test_an_agreement_weighs_half_of_a_correction(loss):
    assert loss(_row(LONG, 0.5)) == pytest.approx(loss(_row(LONG, 1.0)) / 2, rel=1e-6)


def test_the_loss_is_that_of_the_plain_model(loss, tiny_base):
    import torch
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(tiny_base)  # a fresh adapter changes nothing
    ids, labels = torch.tensor([LONG.ids]), torch.tensor([LONG.labels])
    mean = plain(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss.item()

    assert loss(_row(LONG, 1.0)) == pytest.approx(mean * (len(LONG.ids) - 1), rel=1e-5)
