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


def asked(slow, seconds):
    """The answers, asked each second for so long."""
    seldom, answers = Seldom(slow.find, lambda: slow.now), []
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


def test_an_error_is_not_remembered():
    answers = iter([OSError("gone"), 7])

    def find():
        if isinstance(answer := next(answers), OSError):
            raise answer
        return answer

    seldom = Seldom(find)
    with pytest.raises(OSError, match="gone"):
        seldom.ask()

    assert seldom.ask() == 7
