from dataclasses import replace

import pytest
from sqlmodel import Session, select

from loop.depot import FolderDepot
from loop.errors import NotFound, ReleaseError
from loop.publishing import incumbent
from loop.repository import init_repository
from loop.signing import make_card, read_card, require_approval, sign
from loop.store import keep, writing
from loop.tables import Card, ModelForm, SignOff
from loop.values import CardRef, Form
from tests.candidates import (
    RECIPE,
    keep_canary,
    keep_candidate,
    keep_form,
    keep_gate,
    recipe_with,
    rehearsal_places,
)


@pytest.fixture
def places(tmp_path):
    places = rehearsal_places(tmp_path)
    yield places
    places.store.dispose()


@pytest.fixture
def candidate(places):
    return keep_candidate(places, incumbent(places))


@pytest.fixture
def card(places, candidate):
    return candidate.card(places)


@pytest.fixture
def production(places, tmp_path):
    """The same places with a production repository."""
    releases = FolderDepot(tmp_path / "production")
    init_repository(releases, "production")
    return replace(places, releases=releases)


def test_the_same_facts_make_the_same_card_once(places, candidate, card):
    again = candidate.card(places)

    with Session(places.store) as session:
        assert again == card
        assert [row.digest for row in session.exec(select(Card))] == [card.digest]


def test_a_card_names_the_bytes_their_evidence_and_what_they_replace(places, candidate, card):
    with Session(places.store) as session:
        paper = read_card(session, card)

    assert (paper.artifact.sha256, paper.artifact.size_bytes) == (
        candidate.artifact.sha256,
        len(b"model 1 ") * 1000,
    )
    assert [gate.form for gate in paper.gates] == [Form.ADAPTER, Form.MERGED, Form.GGUF]
    assert paper.canary.inputs == candidate.canary.inputs
    assert (paper.incumbent.model_version, paper.incumbent.factory) == ("factory-1", True)
    assert (paper.dataset.train, paper.dataset.excluded) == (
        40,
        {"shares the words of a scenario": 2},
    )


def test_no_card_without_all_three_gates(places, candidate):
    with pytest.raises(ReleaseError, match="expected those of adapter, merged, gguf, got gguf"):
        replace(candidate, gates=candidate.gates[-1:]).card(places)


def test_no_card_after_a_failed_gate(places, candidate):
    held = keep_gate(places, candidate.artifact, passed=False, again=1)

    with pytest.raises(ReleaseError, match="gate of the gguf form: expected passed"):
        replace(candidate, gates=(*candidate.gates[:2], held)).card(places)


def test_no_card_when_a_newer_gate_held_the_same_bytes(places, candidate):
    keep_gate(places, candidate.artifact, passed=False, again=1)

    with pytest.raises(ReleaseError, match="expected passed, got held"):
        candidate.card(places)


def test_no_card_when_the_gate_judged_other_bytes(places, candidate):
    other = keep_gate(places, keep_form(places, "other", b"other"))

    with pytest.raises(ReleaseError, match="expected it to judge"):
        replace(candidate, gates=(*candidate.gates[:2], other)).card(places)


def test_no_card_when_the_gate_used_another_suite(places, candidate):
    with pytest.raises(ReleaseError, match="expected it to judge"):
        candidate.card(places, recipe_with(suite="full"))


def test_no_card_after_a_failed_canary(places, candidate):
    failed = keep_canary(places, candidate.artifact, incumbent(places), passed=False, again=1)

    with pytest.raises(ReleaseError, match="canary of blox-tiny-1: expected passed"):
        replace(candidate, canary=failed).card(places)


def test_no_card_when_the_canary_ran_other_bytes(places, candidate):
    other = keep_canary(places, keep_form(places, "other", b"other"), incumbent(places))

    with pytest.raises(ReleaseError, match="expected it to run"):
        replace(candidate, canary=other).card(places)


def test_no_card_when_the_canary_compared_with_what_devices_do_not_run(places, candidate):
    other = keep_canary(places, candidate.artifact, keep_form(places, "other", b"other"))

    with pytest.raises(ReleaseError, match=r"what devices run \(factory-1\)"):
        replace(candidate, canary=other).card(places)


def test_no_card_for_a_form_that_the_recipe_does_not_publish(places, candidate):
    with pytest.raises(ReleaseError, match="Q4_K_M"):
        candidate.card(places, recipe_with(publish="Q4_K_M"))


def test_no_card_for_a_form_that_nobody_made_here(places, candidate):
    with writing(places.store) as session:
        for row in session.exec(select(ModelForm)):
            session.delete(row)

    with pytest.raises(NotFound, match="is not in the store"):
        candidate.card(places)


def test_a_sign_off_is_bound_to_the_card_and_its_bytes(places, card):
    signed = sign(places, card.digest[:12], "approve", "ada", "form")

    with Session(places.store) as session:
        assert require_approval(session, card) == signed
    assert (signed.card, signed.sha256) == (card.digest, card.sha256)
    assert (signed.made_by, signed.via) == ("ada", "form")


def test_the_same_answer_twice_is_one_sign_off(places, card):
    first = sign(places, card.digest, "approve", "ada", "form")

    assert sign(places, card.digest, "approve", "ada", "form").id == first.id


@pytest.mark.parametrize("typed", ["", "abc", "_" * 12, "%" * 12, "_" * 64, "0" * 12], ids=repr)
def test_eleven_characters_a_wild_card_or_a_wrong_digest_sign_nothing(places, card, typed):
    with pytest.raises(NotFound, match="expected the first 12 or more characters"):
        sign(places, typed, "approve", "ada", "form")


def test_eleven_right_characters_are_too_few(places, card):
    with pytest.raises(NotFound):
        sign(places, card.digest[:11], "approve", "ada", "form")


@pytest.mark.parametrize("name", ["", "  ", "\n"])
def test_nobody_cannot_sign(places, card, name):
    with pytest.raises(ReleaseError, match="name of a person"):
        sign(places, card.digest, "approve", name, "form")


@pytest.mark.parametrize("answer", ["", "yes", "APPROVE", None])
def test_only_approve_and_reject_are_answers(places, card, answer):
    with pytest.raises(ReleaseError, match="expected approve or reject"):
        sign(places, card.digest, answer, "ada", "form")


def test_a_form_does_not_count_for_a_production_repository(production, card):
    with pytest.raises(ReleaseError, match="expected a person who uses the command"):
        sign(production, card.digest, "approve", "ada", "form")


def test_a_simulated_person_does_not_count_for_a_production_repository(production, card):
    with pytest.raises(ReleaseError, match="expected a person who uses the command"):
        sign(production, card.digest, "approve", "simulated-ada", "command")


def test_a_person_with_the_command_may_sign_for_production(production, card):
    assert sign(production, card.digest, "reject", "ada", "command").decision == "reject"


def test_nothing_is_signed_before_somebody_said_what_the_repository_is_for(places, card, tmp_path):
    unmarked = replace(places, releases=FolderDepot(tmp_path / "unmarked"))

    with pytest.raises(ReleaseError, match=r"no repository\.json"):
        sign(unmarked, card.digest, "approve", "ada", "command")


def test_no_answer_is_no_approval(places, card):
    with Session(places.store) as session, pytest.raises(ReleaseError, match="found none"):
        require_approval(session, card)


def test_a_changed_mind_counts(places, card):
    sign(places, card.digest, "approve", "ada", "form")
    sign(places, card.digest, "reject", "ada", "form")

    with Session(places.store) as session, pytest.raises(ReleaseError, match="got reject by ada"):
        require_approval(session, card)


def test_a_sign_off_for_other_bytes_is_no_approval(places, card):
    row = SignOff(
        card=card.digest, sha256="0" * 64, decision="approve", made_by="eve", via="command"
    )
    keep(places.store, row)

    with Session(places.store) as session, pytest.raises(ReleaseError, match="got one for 0000"):
        require_approval(session, card)


def test_a_card_is_no_card_for_other_bytes(places, card):
    sign(places, card.digest, "approve", "ada", "form")

    with Session(places.store) as session, pytest.raises(ReleaseError, match="it speaks of"):
        require_approval(session, CardRef(card.digest, "0" * 64))


def test_a_card_that_was_changed_in_the_store_is_refused(places, card):
    sign(places, card.digest, "approve", "ada", "form")
    with writing(places.store) as session:
        row = session.exec(select(Card)).one()
        row.card = {**row.card, "rehearsal": False}

    with Session(places.store) as session, pytest.raises(ReleaseError, match="hashes to"):
        require_approval(session, card)


def test_a_form_never_approves_a_production_card(places, candidate):
    production_recipe = recipe_with(rehearsal=False)
    card = make_card(
        places,
        candidate.cycle,
        candidate.artifact,
        candidate.gates,
        candidate.canary,
        production_recipe,
    )
    sign(places, card.digest, "approve", "ada", "form")  # the repository is a rehearsal still

    with Session(places.store) as session, pytest.raises(ReleaseError, match="uses the command"):
        require_approval(session, card)
    assert RECIPE.rehearsal
