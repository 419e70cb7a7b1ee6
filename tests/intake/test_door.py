import pytest

from intake.door import Door
from intake.refusals import Refused

HOME, AWAY = "203.0.113.0/24", "2001:db8::/64"


def test_nothing_of_a_network_stays_once_its_last_upload_is_done():
    door = Door(8, 0.5)
    with door.entered(HOME), door.entered(HOME), door.entered(AWAY):
        assert set(door._of) == {HOME, AWAY}

    assert (door.inside, dict(door._of)) == (0, {})


def test_an_upload_that_ends_by_an_error_leaves_its_place_to_the_next():
    door = Door(8, 0.1)
    with pytest.raises(KeyError), door.entered(HOME):
        raise KeyError

    with door.entered(HOME):
        assert door.inside == 1


@pytest.mark.parametrize(("most", "share", "places"), [(256, 0.25, 64), (4, 1.0, 4), (2, 0.25, 1)])
def test_one_network_has_its_share_of_all_places_and_at_least_one(most, share, places):
    door = Door(most, share)

    assert entered(door, HOME) == places


def entered(door, network):
    """How many uploads of a network are let in at once."""
    try:
        with door.entered(network):
            return 1 + entered(door, network)
    except Refused:
        return 0


def test_whoever_comes_is_refused_by_the_first_of_three_reasons():
    door, reasons = Door(2, 0.5), []
    with door.entered(HOME):
        reasons.append(refusal(door, HOME))
        with door.entered(AWAY):
            reasons.append(refusal(door, HOME))
            door.closed = True
            reasons.append(refusal(door, HOME))

    assert reasons == ["source_busy", "busy", "stopping"]


def refusal(door, network):
    with pytest.raises(Refused) as refused, door.entered(network):
        pass
    return refused.value.reason
