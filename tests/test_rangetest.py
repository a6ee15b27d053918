"""What a range test finds, and what it says where there is nothing to find."""

import json
import math
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamas.rangetest import RangeTest, Rates, classical, range_test

# -- trainings of one number -----------------------------------------------------------------------------------------


class Descent:
    """Gradient descent on ½·a·x² from x = 1: at constant η it converges below 2/a, and at 1/a in one step."""

    def __init__(self, a: float = 1.0, noise: float = 0.0) -> None:
        self.a, self.noise = a, noise

    def rewind(self) -> None:
        self.x, self.rng = 1.0, np.random.default_rng(0)

    def step(self, lr: float) -> float:
        loss = 0.5 * self.a * self.x**2 + self.noise * self.rng.standard_normal()
        self.x -= lr * self.a * self.x
        return loss


def scripted(loss: Callable[[float, int], float], **options: Any) -> RangeTest:
    """The test of a training whose loss depends on η and the number of the mini-batch alone."""
    count = 0

    def rewind() -> None:
        nonlocal count
        count = 0

    def step(lr: float) -> float:
        nonlocal count
        count += 1
        return loss(lr, count)

    return range_test(step, rewind, **options)


# -- the suggestion --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(-3, 5))
def test_the_best_constant_rate_of_a_parabola(place: int) -> None:
    descent = Descent(10.0**place)
    result = range_test(descent.step, descent.rewind, end=1e4)
    assert result.confident and result.suggestion == float(f"1e{-place}")


@given(st.integers(-2, 4), st.floats(0.0, 0.05), st.sampled_from([30, 60, 100]))
def test_it_scales_as_the_problem_does(place: int, noise: float, trial: int) -> None:
    """With a·x² for x², and η ten times smaller, all is as it was: the loss is to be scaled too."""
    one, other = Descent(1.0, noise), Descent(10.0**place, noise * 10.0**place)
    results = [range_test(d.step, d.rewind, start=1e-7 / d.a, end=1e3 / d.a, trial=trial) for d in (one, other)]
    assert [r.confident for r in results] in ([True, True], [False, False])
    a, b = (r.suggestion for r in results)
    assert (a is None and b is None) or math.isclose(a, b * 10.0**place, rel_tol=1e-9)


def test_it_walks_on_where_the_outermost_is_best() -> None:
    """The sweep's loss falls late, from 1e-2 on, and diverges early, at 0.1; what is best lies outside."""

    def loss(lr: float, i: int, best: float, sweep: bool) -> float:
        if sweep:
            return 1e3 if lr > 0.1 else 0.5 if lr > 1e-2 else 1.0
        return 0.01 + abs(math.log10(lr / best)) / 10

    for best, tried in ((1e-5, 10), (3.0, 6)):  # from one beyond the best to 0.1, from 0.03 to one beyond
        rewound = 0

        def rewind() -> None:
            nonlocal rewound
            rewound += 1

        result = range_test(lambda lr: loss(lr, 0, best, rewound < 2), rewind)  # noqa: B023
        assert result.suggestion == best and result.confident
        assert len({t.lr for t in result.trials}) == tried


def test_the_last_trials_decide() -> None:
    """What is best for 60 steps and then goes wrong loses against its better neighbour."""

    def loss(lr: float, i: int) -> float:
        late = 5.0 if lr > 0.02 and i > 80 else 0.0
        return 1 / (1 + i * lr * 100) + late + (1e3 if lr > 0.05 else 0)

    result = scripted(loss)
    assert result.suggestion == 0.01
    assert [t.lr for t in result.trials if t.steps == 300][:2] == [0.03, 0.01]
    assert {t.steps for t in result.trials} == {60, 300}


def test_the_three_best_go_on_and_their_last_third_counts() -> None:
    def loss(lr: float, i: int) -> float:
        if lr > 0.2:
            return 1e3
        first = {0.1: 0.1, 0.03: 0.2, 0.01: 0.3}.get(lr, 0.5)  # the order of the first trials
        late = {0.1: 0.3, 0.03: 0.2, 0.01: 0.1, 0.003: 0.0}.get(lr, 0.5)  # the opposite at the end
        return 1.0 if i < 10 else first if i <= 100 else late

    result = scripted(loss, start=1e-4)
    assert [t.lr for t in result.trials if t.steps == 300] == [0.1, 0.03, 0.01]
    assert result.suggestion == 0.01 and result.trials[-1].loss == pytest.approx(0.1)


def test_where_the_sweep_never_falls_all_are_tried() -> None:
    """It rises from the start, as with huge inputs; from 1e-5 on everything is equally bad in the trials."""
    rewound = 0

    def rewind() -> None:
        nonlocal rewound
        rewound += 1

    result = range_test(lambda lr: 2 + 3 * lr if rewound < 2 else 0.1 if lr == 3e-6 else 1.0, rewind, end=1.0)
    assert result.suggestion == 3e-6 and len({t.lr for t in result.trials}) == 15


def test_the_far_side_of_a_plateau_is_seen() -> None:
    """A network that dies at once above 1e-3, and then stays at what a constant reaches, begins well."""

    def loss(lr: float, i: int) -> float:
        return 9.0 / (1 + 1e4 * lr * i) + (0.7 if lr > 2e-3 else 0.0)

    result = scripted(loss)
    assert result.suggestion == 1e-3


def test_where_the_last_trials_diverge_a_lower_rate_is_tried() -> None:
    def loss(lr: float, i: int) -> float:
        return math.nan if lr > 2e-3 and i > 31 else 1 / (1 + i * lr * 100)

    result = scripted(loss)
    assert result.suggestion == 1e-3 and result.confident


def test_suggestions_are_round_and_each_trial_begins_anew() -> None:
    descent = Descent(3.0)
    rewound = 0

    def rewind() -> None:
        nonlocal rewound
        rewound += 1
        descent.rewind()

    result = range_test(descent.step, rewind)
    assert rewound == 1 + len(result.trials)
    assert all(f"{t.lr:e}"[:2] in ("1.", "3.") and float(f"{t.lr:.0e}") == t.lr for t in result.trials)
    assert all(t.losses[0] == 1.5 for t in result.trials)
    assert result.steps == len(result.losses) + sum(len(t.losses) for t in result.trials)


# -- nothing to suggest ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_ends_the_sweep(bad: float) -> None:
    result = scripted(lambda lr, i: bad if lr > 1.1e-2 else 1 / (1 + i * lr * 1e3))
    assert result.lrs[-1] < 1.1e-2 and result.ended == f"the loss was {bad} on mini-batch 64, at η = 0.012"
    assert result.suggestion == 1e-2 and result.confident
    assert all(math.isfinite(v) for v in (*result.losses, *result.smoothed))
    assert any(math.isinf(t.loss) for t in result.trials)


def test_a_first_loss_of_nan_is_not_the_learning_rate_s_fault() -> None:
    result = scripted(lambda lr, i: math.nan)
    assert result.suggestion is None and not result.confident and not result.trials
    assert "not finite, before any step" in result.sentence and set(result.suggestions.values()) == {None}


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_loss_that_does_not_fall(noise: float) -> None:
    rng = np.random.default_rng(1)
    result = scripted(lambda lr, i: 1 + noise * float(rng.standard_normal()))
    assert result.suggestion is None and not result.confident
    assert result.sentence.startswith("No confident suggestion: the loss of the best η tried")


def test_a_loss_that_only_rises() -> None:
    result = scripted(lambda lr, i: 1 + lr * i)
    assert result.suggestion is None and not result.confident


def test_divergence_everywhere() -> None:
    result = scripted(lambda lr, i: 1.0 if i < 5 else math.inf)
    assert result.suggestion is None and "diverged at every η tried, down to 1e-07" in result.reason


def test_the_best_at_the_upper_edge_is_no_confident_one() -> None:
    descent = Descent(10.0)  # 0.1 would be best
    result = range_test(descent.step, descent.rewind, end=1e-2)
    assert (result.suggestion, result.confident) == (1e-2, False) and "end higher" in result.reason


def test_nor_is_the_best_at_the_lower_edge() -> None:
    result = scripted(lambda lr, i: 1 - i / 200 * (1 - math.log10(lr) / 10), start=1.0, end=1e3)
    assert (result.suggestion, result.confident) == (1.0, False) and "start lower" in result.reason


def test_without_trials_nothing_is_sure() -> None:
    descent = Descent()
    result = range_test(descent.step, descent.rewind, trial=0)
    assert not result.confident and not result.trials
    assert result.suggestion == pytest.approx(result.lrs[int(np.argmin(result.smoothed))] / 10)


# -- the sweep -------------------------------------------------------------------------------------------------------


def test_eta_grows_geometrically_from_start_to_end() -> None:
    result = scripted(lambda lr, i: 1.0, start=1e-5, end=1e-1, num_iter=41)
    assert np.allclose(result.lrs, 10 ** np.linspace(-5, -1, 41), rtol=1e-12)
    assert result.ended == "the loss did not diverge up to η = 0.1"


def test_the_mean_is_corrected_for_its_beginning() -> None:
    """Σ 0.98ⁱ·loss / Σ 0.98ⁱ over the mini-batches so far, the last with i = 0."""
    losses = np.random.default_rng(0).uniform(1, 2, 50)
    result = scripted(lambda lr, i: float(losses[(i - 1) % 50]), num_iter=50)
    for n in (1, 2, 17, 50):
        weights = 0.98 ** np.arange(n)[::-1]
        assert result.smoothed[n - 1] == pytest.approx((weights * losses[:n]).sum() / weights.sum(), rel=1e-12)


def test_the_sweep_ends_at_four_times_the_best() -> None:
    jump = 20
    for height, ends in ((3.9, False), (4.1, True)):
        # the mean is at 1 until the jump; this loss takes it to the height in one step
        weights = 0.98 ** np.arange(jump)
        loss = height * weights.sum() - weights[1:].sum()
        result = scripted(lambda lr, i: loss if i == jump else 1.0, trial=0)  # noqa: B023
        assert (len(result.losses) == jump) is ends
        assert result.smoothed[jump - 1] == pytest.approx(height)


def test_losses_below_zero_do_not_end_it() -> None:
    """A log density: four times a best of -5 is -20, and everything lies above that."""
    result = scripted(lambda lr, i: 3.0 - i / 10 if lr < 1 else 1e3)
    assert len(result.losses) > 60 and "diverged" in result.ended


# -- fastai's rules, by hand -----------------------------------------------------------------------------------------

TENS = 10.0 ** np.arange(-9, 21)


def read_off(loss: Any) -> dict[str, float | None]:
    """Five points that are left out follow."""
    count = len(loss)
    return classical(tuple(TENS[: count + 5]), (*map(float, loss), *[1e9] * 5), 0)


def test_valley() -> None:
    # Falls from point 3 to point 11, nine points: end 11, 11 − 9 + 3 + 1 = 6.
    assert read_off([5, 5, 5, 5, 4.5, 4, 3.5, 3, 2.5, 2, 1.5, 1, 2, 4])["valley"] == TENS[6]
    # The bump at point 4 is stepped over: 9, 8, 7, 6, 5, 4 are six points that end at 6: 6 − 6 + 2 + 1 = 3.
    assert read_off([9, 8, 7, 6, 50, 5, 4, 60])["valley"] == TENS[3]
    # Five points that end at 6: 6 − 5 + 1 + 0 = 2.
    assert read_off([8, 7, 6, 5, 10, 11, 4.5])["valley"] == TENS[2]
    # Of two equally long ones the first: 3, 2, 1 end at 2; 2 − 3 + 1 + 0 = 0.
    assert read_off([3, 2, 1, 30, 20, 10, 9.5][:6])["valley"] == TENS[0]


def test_steepest() -> None:
    assert read_off([5, 5, 4, 1, 0.5, 3])["steepest"] == TENS[2]


def test_minimum() -> None:
    assert read_off([5, 4, 1, 2, 9])["minimum"] == pytest.approx(TENS[2] / 10)


def test_slide() -> None:
    # Slope 0 up to point 10 and 1 beyond it. The window's right end has slope 1 from point 11 on, and its left end
    # then 0; at right = 10 the slope is ½, at 9 it is 0 at both ends: the last that differs is right 10, left −5.
    loss = [0.0] * 11 + [float(i) for i in range(1, 10)]  # 20 points
    assert read_off(loss)["slide"] == TENS[0]
    loss = [0.0] * 18 + [1.0, 2.0]  # the slopes are 0, …, 0, ½, 1, 1; right ends 19, 18, 17 differ: left ends 4, 3, 2
    assert read_off(loss)["slide"] == TENS[2]
    assert read_off([1.0] * 20)["slide"] == TENS[4]  # nowhere: the first window
    assert read_off([1.0] * 15)["slide"] is None  # no window


def test_too_short_for_any() -> None:
    assert set(read_off([1.0]).values()) == {None}


def test_the_ends_are_left_out() -> None:
    loss = (0.0, *[5.0] * 20, 1.0, 5.0, -1.0, -1, -1, -1, -1)
    assert classical(tuple(TENS[:28]), loss, 1)["minimum"] == pytest.approx(TENS[21] / 10)


# -- the result ------------------------------------------------------------------------------------------------------


@pytest.fixture
def result() -> RangeTest:
    descent = Descent(10.0)
    return range_test(descent.step, descent.rewind, ratios=(0.5, 1.0))


def test_the_result_tells(result: RangeTest) -> None:
    assert repr(result).startswith("<RangeTest: Suggested learning rate: 0.1. Of ")
    assert result.group_lrs == (0.05, 0.1)
    assert json.loads(json.dumps(result.as_dict(), allow_nan=False))["suggestion"] == 0.1
    assert pickle.loads(pickle.dumps(result)) == result
    with pytest.raises(FrozenInstanceError):
        result.suggestion = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        result.lrs[0] = 1.0  # type: ignore[index]


@pytest.mark.parametrize(
    "loss", [lambda lr, i: 1.0, lambda lr, i: math.nan, lambda lr, i: -i * lr, lambda lr, i: math.nan if i > 3 else 1.0]
)
def test_every_result_has_a_picture_and_json(loss: Callable[[float, int], float]) -> None:
    pytest.importorskip("matplotlib")
    result = scripted(loss)
    assert "<img" in result._repr_html_() and "No confident suggestion" in repr(result)
    json.dumps(result.as_dict(), allow_nan=False)


def test_the_picture(result: RangeTest) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.add_subplot()
    assert result.plot(axes) is axes and axes.get_title(loc="left") == "suggested η = 0.1"
    assert axes.get_xscale() == "log"
    curves = {line.get_label(): line for line in axes.get_lines()}
    assert np.array_equal(curves["sweep, smoothed"].get_ydata(), result.smoothed)
    last = curves["constant η, 300 steps"]
    assert 0.1 in last.get_xdata() and len(last.get_xdata()) == 3
    assert result.plot().figure is not figure
    html = result._repr_html_()
    assert html.startswith("<p>Suggested learning rate: 0.1.") and "<td>valley</td>" in html


def test_rates_keep_their_ratio() -> None:
    groups: list[dict[str, Any]] = [{"lr": 0.0}, {"lr": 1e-2}, {"lr": 1e-3}]
    rates = Rates(groups)
    rates.set(5.0)
    assert [group["lr"] for group in groups] == [0.0, 5.0, 0.5]
