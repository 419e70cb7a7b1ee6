from concurrent.futures import ThreadPoolExecutor
from threading import Event

from intake.commit import GroupCommit
from tests.processes import until


class Step:
    """Waits at its first time until it is let go."""

    def __init__(self):
        self.times, self.begun, self.may_end = 0, Event(), Event()

    def __call__(self):
        self.times += 1
        self.begun.set()
        self.may_end.wait()


def test_all_who_ask_while_a_step_runs_share_the_next_one():
    step = Step()
    commit = GroupCommit(step)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(commit)
        step.begun.wait()
        others = [pool.submit(commit) for _ in range(7)]
        until(lambda: commit._asked == 8)
        step.may_end.set()
        for one in (first, *others):
            one.result()

    assert step.times == 2


def test_a_step_that_had_begun_serves_nobody_who_comes_later():
    step = Step()
    step.may_end.set()
    commit = GroupCommit(step)
    for _ in range(3):
        commit()

    assert step.times == 3


class FailingSecond(Step):
    """The second time, its disk is away."""

    def __call__(self):
        super().__call__()
        if self.times == 2:
            raise OSError("the disk is away")


def test_a_failure_fails_everybody_who_waited_and_nobody_later():
    step = FailingSecond()
    commit = GroupCommit(step)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(commit)
        step.begun.wait()
        others = [pool.submit(commit) for _ in range(7)]
        until(lambda: commit._asked == 8)
        step.may_end.set()
        errors = [one.exception() for one in (first, *others)]
    commit()

    assert errors[0] is None
    assert [type(error) for error in errors[1:]] == [OSError] * 7
    assert step.times == 3
    assert commit._lost == set()
