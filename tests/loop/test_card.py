import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from loop.card import (
    ArtifactLine,
    CanaryLine,
    Card,
    CycleLine,
    DatasetLine,
    FleetLine,
    GateLine,
    RecipeLine,
    card_digest,
    card_markdown,
)
from loop.dataset import OVERLAPS
from loop.values import Form, canonical_json, digest_bytes
from tests.candidates import canary_json, gate_json

DIGEST = "a" * 64


def a_card() -> Card:
    return Card(
        rehearsal=True,
        cycle=CycleLine(id="cycle-1", model="blox-tiny", number=1),
        artifact=ArtifactLine(
            form=Form.GGUF,
            digest=DIGEST,
            model_version="blox-tiny-1",
            sha256="b" * 64,
            size_bytes=1_234_567,
            quantisation="Q8_0",
        ),
        dataset=DatasetLine.of(
            DIGEST, {"train": 40, "validation": 10, "excluded": {"made up": 2, "none": 0}}
        ),
        recipe=RecipeLine(
            name="tiny-cpu",
            digest="c" * 64,
            base_made=True,
            base_licence="made | by us",
            releasable=True,
        ),
        gates=tuple(
            GateLine.of(DIGEST, form, True, gate_json())
            for form in (Form.ADAPTER, Form.MERGED, Form.GGUF)
        ),
        canary=CanaryLine.of(DIGEST, canary_json()),
        incumbent=FleetLine(
            repository="r1",
            kind="rehearsal",
            release=0,
            model_version="factory-1",
            sha256="d" * 64,
            factory=True,
        ),
    )


def test_what_is_approved_is_the_digest_of_the_canonical_bytes():
    card = a_card()

    assert card_digest(card) == digest_bytes(canonical_json(card))


def test_a_card_that_the_store_kept_has_the_same_digest():
    kept = json.loads(json.dumps(a_card().model_dump(mode="json")))

    assert card_digest(Card.model_validate(kept)) == card_digest(a_card())


@given(st.sampled_from(["rehearsal", "cycle", "artifact", "gates", "canary", "incumbent"]))
def test_a_card_without_a_part_is_no_card(name):
    rest = {key: value for key, value in a_card().model_dump(mode="json").items() if key != name}

    with pytest.raises(ValidationError):
        Card.model_validate(rest)


def test_other_bytes_make_another_card():
    card = a_card()
    other = card.model_copy(
        update={"artifact": card.artifact.model_copy(update={"sha256": "e" * 64})}
    )

    assert card_digest(other) != card_digest(card)


def test_the_page_shows_all_that_an_approver_needs():
    page = card_markdown(a_card())

    for needed in (
        card_digest(a_card()),
        f"`{card_digest(a_card())[:12]}`",
        "rehearsal, never for real devices",
        "b" * 64,
        "1,234,567 B",
        "40 to learn from, 10 to validate",
        "made up: 2",
        "made by this project, licence: made \\| by us, may be released",
        "suite core",
        "| severity | 95.0% | 60 | 86.0% | 85% | yes |",
        "| whitelist violations | 0 | 60 | ≤ 4.9% | 0 | yes |",
        "| scenarios passed | 12 of 12 | 4 of 12 |",
        "| tokens_per_s | 41.5 | 40 |",
        "factory-1 (`dddddddddddd`, release 0, factory, never gated)",
    ):
        assert needed in page


@pytest.mark.parametrize(
    ("excluded", "said"),
    [
        (dict.fromkeys(OVERLAPS, 0), ["0", "0"]),
        (dict(zip(OVERLAPS, (3, 0), strict=True)), ["3", "0"]),
        ({OVERLAPS[0]: 3}, ["3", "**not counted**"]),
        ({}, ["**not counted**", "**not counted**"]),
    ],
)
def test_an_approver_can_tell_no_overlap_from_one_that_nobody_counted(excluded, said):
    card = a_card()
    dataset = card.dataset.model_copy(update={"excluded": excluded})

    page = card_markdown(card.model_copy(update={"dataset": dataset}))

    assert [f"{why}: {n}" in page for why, n in zip(OVERLAPS, said, strict=True)] == [True, True]


def test_the_three_gates_stand_in_the_order_in_which_they_were_passed():
    lines = card_markdown(a_card()).splitlines()

    assert [line.split()[4] for line in lines if line.startswith("## Gate")] == [
        "adapter",
        "merged",
        "gguf",
    ]


def test_a_base_that_may_not_be_released_stands_out():
    card = a_card()
    recipe = card.recipe.model_copy(update={"releasable": False, "base_made": False})

    page = card_markdown(card.model_copy(update={"recipe": recipe}))

    assert "licence: made \\| by us, **may not be released**" in page


@pytest.mark.parametrize("found", [3, ["a", "b", "c"], {"a": 1, "b": 2, "c": 3}])
def test_violations_are_counted_however_the_report_lists_them(found):
    line = GateLine.of(DIGEST, Form.GGUF, False, gate_json() | {"violations": found})

    assert line.violations == 3


def test_a_report_may_say_more_than_the_card_shows():
    more = gate_json() | {"worst": [], "shown": {}}
    more["metrics"][0]["high"] = 0.99

    assert GateLine.of(DIGEST, Form.GGUF, True, more) == GateLine.of(
        DIGEST, Form.GGUF, True, gate_json()
    )
