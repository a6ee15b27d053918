"""The range of η near the best: on curves made by hand."""

import pytest

from adamas.problems.base import Measure
from adamas.race.width import near_level, width

LOSS, ACCURACY = Measure("loss"), Measure("accuracy", higher_is_better=True)


def test_ends_lie_where_the_line_in_log_eta_crosses_the_level():
    # Untrained 2.1, best 0.1: the level is 0.2. From 1e-2 (0.1) to 1e-1 (0.5) it is crossed after a quarter.
    w = width({1e-4: 1.1, 1e-3: 0.3, 1e-2: 0.1, 1e-1: 0.5}, LOSS, start=2.1)
    assert w is not None
    assert w.high == pytest.approx(10**-1.75) and w.low == pytest.approx(10**-2.5)
    assert w.decades == pytest.approx(0.75)
    assert not w.open_low and not w.open_high and str(w) == "0.8"


@pytest.mark.parametrize(
    ("results", "open_low", "open_high", "text"),
    [
        ({1e-3: 0.1, 1e-2: 0.1, 1e-1: 2.1}, True, False, "≥ 1.1"),
        ({1e-3: 2.1, 1e-2: 0.1, 1e-1: 0.15}, False, True, "≥ 1.1"),
        ({1e-2: 0.1}, True, True, "≥ 0.0"),
    ],
)
def test_a_range_that_runs_into_the_edge_says_at_least(results, open_low, open_high, text):
    w = width(results, LOSS, start=2.1)
    assert w is not None
    assert (w.open_low, w.open_high, str(w)) == (open_low, open_high, text)


def test_a_diverged_neighbour_ends_the_range_at_the_last_good_eta():
    w = width({1e-3: 2.1, 1e-2: 0.1, 1e-1: 0.12, 1.0: None}, LOSS, start=2.1)
    assert w is not None and w.high == 1e-1 and not w.open_high


def test_a_good_stretch_beyond_a_bad_eta_does_not_count():
    w = width({1e-4: 0.1, 1e-3: 2.1, 1e-2: 0.05, 1e-1: 2.1}, LOSS, start=2.1)
    assert w is not None and w.low > 1e-3


def test_accuracies_and_losses_are_the_same_thing_mirrored():
    losses = {1e-3: 0.4, 1e-2: 0.1, 1e-1: 0.3}
    mirrored = {lr: 1 - v for lr, v in losses.items()}
    a, b = width(losses, LOSS, start=0.9), width(mirrored, ACCURACY, start=1 - 0.9)
    assert a is not None and b is not None
    assert (a.low, a.high) == (pytest.approx(b.low), pytest.approx(b.high))


def test_shift_and_scale_do_not_matter():
    losses = {1e-3: 0.4, 1e-2: 0.1, 1e-1: 0.3}
    moved = {lr: 10 * v - 7 for lr, v in losses.items()}
    a, b = width(losses, LOSS, start=0.9), width(moved, LOSS, start=10 * 0.9 - 7)
    assert a is not None and b is not None
    assert a.decades == pytest.approx(b.decades)


@pytest.mark.parametrize("results", [{}, {1e-3: None}, {1e-3: 2.2, 1e-2: 2.1}])
def test_nothing_learnt_has_no_width(results):
    assert width(results, LOSS, start=2.1) is None


def test_level():
    assert near_level(best=0.2, start=2.2) == pytest.approx(0.3)
    assert near_level(best=0.9, start=0.1) == pytest.approx(0.86)
