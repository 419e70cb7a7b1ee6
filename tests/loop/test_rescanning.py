import pytest
from sqlmodel import Session, select

from loop import privacy
from loop.derived import Derived
from loop.rescanning import rescan
from loop.store import current_labels, writing
from loop.tables import Release, Transcript
from tests.candidates import released_places
from tests.whole_cycles import released_cycle


@pytest.fixture
def places(tmp_path):
    """Places in which sessions of clean users led to a release, all under an older engine."""
    with released_places(tmp_path) as places:
        released_cycle(places)
        yield places


def plant(places, count, words):
    """The first few transcripts say this, as if an older engine had passed them."""
    with writing(places.store) as session:
        chosen = session.exec(select(Transcript).order_by(Transcript.id).limit(count)).all()
        for row in chosen:
            row.body = row.body | {"user_prompt": words}
        return [row.id for row in chosen]


def rows(places):
    with Session(places.store) as session:
        return {row.id: row for row in session.exec(select(Transcript))}


def test_clean_transcripts_stay_and_are_known_as_passed_by_todays_engine(places):
    found = rescan(places)

    assert (found.looked, found.quarantined, found.derived) == (120, 0, ())
    assert {row.privacy for row in rows(places).values()} == {privacy.VERSION}


def test_what_still_carries_something_is_quarantined_with_its_rules_and_never_learnt_again(places):
    planted = plant(places, 3, "reach me at ola@example.org or 192 . 0 . 2 . 17")
    found = rescan(places)

    kept = rows(places)
    assert (found.quarantined, found.rules) == (3, {"mail": 3, "ipv4_apart": 3})
    assert {kept[one].quarantined for one in planted} == {"identifier: ipv4_apart, mail"}
    assert {kept[one].privacy for one in planted} == {"1"}  # today's engine passed none of them
    with Session(places.store) as session:
        assert current_labels(session).keys().isdisjoint(planted)


def test_a_second_pass_changes_nothing_and_still_lists_what_was_learnt(places):
    plant(places, 2, "C:\\Users\\Annika")
    first, second = rescan(places), rescan(places)

    assert (second.looked, second.quarantined) == (118, 0)
    assert second.derived == first.derived


def test_the_models_and_manifests_that_learnt_from_them_are_listed(places):
    plant(places, 2, "call me: +1 555 010 0123")
    (derived,) = rescan(places).derived

    with Session(places.store) as session:
        (release,) = session.exec(select(Release).where(Release.verb == "publish"))
    assert derived == Derived("blox-tiny cycle 1", 2, (release.model_version,), (release.number,))
