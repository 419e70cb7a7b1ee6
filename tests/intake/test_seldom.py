from itertools import count

import pytest

from intake.seldom import TIMES, Seldom


class Slow:
    """A look that takes some seconds of a clock of its own, and counts how often it was taken."""

    def __init__(self, takes):
        self.now, self.takes, self.looks = 0.0, takes, 0

    def find(self):
        self.now += self.takes
        self.looks += 1
        return self.looks


def asked(slow, seconds, least_s=0.0):
    """The answers, asked each second for so long."""
    seldom, answers = Seldom(slow.find, least_s, lambda: slow.now), []
    while slow.now < seconds:
        answers.append(seldom.ask())
        slow.now += 1
    return answers


def test_what_costs_nothing_is_found_anew_each_time():
    assert asked(Slow(0), 5) == [1, 2, 3, 4, 5]


def test_what_is_dear_is_remembered_for_as_many_times_as_long():
    slow = Slow(2)
    asked(slow, 1000)

    assert slow.looks * slow.takes <= 1000 / TIMES
    assert slow.looks > 1000 / TIMES / slow.takes - 3


def test_what_is_cheap_may_be_remembered_for_a_while_too():
    assert asked(Slow(0), 5, least_s=2) == [1, 1, 2, 2, 3]


def test_who_asks_while_another_finds_gets_the_last_answer():
    finds = count()

    def find():
        return seldom.ask() + 10 if next(finds) else 0

    seldom = Seldom(find, clock=lambda: 0.0)
    seldom.ask()

    assert seldom.ask() == 10


def test_an_error_is_not_remembered():
    answers = iter([OSError("gone"), 7, OSError("gone"), 8])

    def find():
        if isinstance(answer := next(answers), OSError):
            raise answer
        return answer

    seldom, found = Seldom(find, clock=lambda: 0.0), []
    for _ in range(2):
        with pytest.raises(OSError, match="gone"):
            seldom.ask()
        found.append(seldom.ask())

    assert found == [7, 8]
