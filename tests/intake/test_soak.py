"""The soak can fail, and a very short one runs."""

from dataclasses import replace

import pytest

from tests.intake.ledger import Verdict
from tests.intake.soak import Outcome, Plan, Sample, Soak, complaints, table_of

WARM = Sample(100, 20)
FINE = Outcome(
    lives=3,
    kills=2,
    acknowledged=10,
    kept=11,
    statuses={200: 10, 503: 1},
    verdict=Verdict([], []),
    samples=(Sample(10, 5), *[WARM] * 9),
)


def test_a_soak_in_which_all_went_well_complains_of_nothing():
    assert complaints(FINE) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verdict": Verdict(["a", "b"], [])}, "lost: a, b"),
        ({"verdict": Verdict([], ["c"])}, "kept twice: c"),
        ({"statuses": {200: 10, 500: 1}}, "answers other than"),
        ({"acknowledged": 0}, "nothing was acknowledged"),
        ({"kills": 0}, "nothing was killed"),
        ({"samples": (*FINE.samples, Sample(151, 20))}, "memory grew from 100 to 151"),
        ({"samples": (*FINE.samples, Sample(100, 87))}, "descriptors grew from 20 to 87"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_each_thing_that_went_wrong_is_said(change, said):
    (sentence,) = complaints(replace(FINE, **change))

    assert sentence.startswith(said)


class Forgetting(Soak):
    """A soak whose ledger names an upload that nobody ever sent."""

    def _outcome(self, samples):
        self.phones.acknowledged["never-sent"] = "0" * 64
        return super()._outcome(samples)


def test_a_short_soak_runs_and_finds_what_is_planted(tmp_path):
    told: list[str] = []
    found = Forgetting(Plan(seconds=8, times=1000, seed=2), tmp_path, told.append).run()

    assert complaints(found) == ["lost: never-sent"]
    assert found.lives >= 2
    assert found.kept >= found.acknowledged - 1 > 10
    assert "acknowledged; ends about" in told[0]
    assert table_of(found).row_count == 6
