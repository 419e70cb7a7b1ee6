import pytest

from loop.values import Progress
from tasks import show
from tasks.show import ShownProgress


@pytest.fixture
def shown(monkeypatch):
    """A progress that keeps in a list what it would send to the server."""
    progress = ShownProgress("progress-train")
    sent = []
    monkeypatch.setattr(progress, "_show", lambda percent, note: sent.append((percent, note)))
    return progress, sent


def test_progress_is_shown_no_oftener_than_now_and_then(shown, monkeypatch):
    monkeypatch.setattr(show, "UPDATE_SECONDS", float("inf"))
    progress, sent = shown
    for done in range(100):
        progress(Progress(done, 100, f"step {done}"))

    assert sent == [(0.0, "step 0")]


def test_a_total_of_nothing_is_no_division_by_zero(shown):
    progress, sent = shown
    progress(Progress(0, 0))

    assert sent == [(0.0, "")]
