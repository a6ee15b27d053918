"""Some trials of each kind; `make torture` runs all."""

import pytest

from tests.torture.tally import Outcome, Tally, run
from tests.torture.trials import TRIALS


@pytest.mark.parametrize("kind", TRIALS)
def test_nothing_is_lost_silent_or_crashed(kind: str) -> None:
    tally = run(TRIALS[kind].place, TRIALS[kind].reduced)
    assert tally.tried == TRIALS[kind].reduced
    assert not tally.bad, tally.bad[:5]


def die(seed: int) -> Outcome:
    """A trial that shows what the count does with one that takes its process along."""
    import os

    if seed == 1:
        os.abort()
    if seed == 2:
        raise RuntimeError("no refusal")
    return Outcome.RIGHT


def test_a_death_is_counted_and_the_others_go_on() -> None:
    tally: Tally = run("tests.torture.test_reduced:die", 5)
    assert tally.counts == {Outcome.RIGHT: 3, Outcome.CRASHED: 2}
    assert [seed for seed, *_ in tally.bad] == [1, 2]
