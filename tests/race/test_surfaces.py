"""Every surface: gradient against differences, minima where they are said to be, broadcasting."""

import numpy as np
import pytest

from adamas.problems.surfaces import SURFACES

NAMES = sorted(SURFACES)


def points(surface, n=40):
    rng = np.random.default_rng(3)
    (a, b), (c, d) = surface.domain
    return np.stack([rng.uniform(a, b, n), rng.uniform(c, d, n)])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("t", [0, 37])
def test_gradient_is_the_slope_of_the_value(name, t):
    s = SURFACES[name]
    xy, h = points(s), 1e-6
    slope = s.gradient(xy, t)
    for axis in (0, 1):
        step = np.zeros((2, 1))
        step[axis] = h
        numeric = (s.value(xy + step, t) - s.value(xy - step, t)) / (2 * h)
        np.testing.assert_allclose(slope[axis], numeric, rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_minima_are_minima(name):
    s = SURFACES[name]
    assert s.minima
    for minimum in s.minima:
        assert s.value(np.array(minimum)) == pytest.approx(s.lowest, abs=1e-9)
        np.testing.assert_allclose(s.gradient(np.array(minimum)), 0, atol=1e-6)
    (a, b), (c, d) = s.domain
    grid = np.stack(np.meshgrid(np.linspace(a, b, 201), np.linspace(c, d, 201)))
    assert s.value(grid).min() >= s.lowest - 1e-9
    assert a <= s.start[0] <= b and c <= s.start[1] <= d
    assert s.value(np.array(s.start)) > s.lowest + 0.1


@pytest.mark.parametrize("name", NAMES)
def test_one_call_does_many_points(name):
    s = SURFACES[name]
    xy = points(s, 12).reshape(2, 3, 4)
    assert s.value(xy).shape == (3, 4) and s.gradient(xy).shape == (2, 3, 4)
    np.testing.assert_array_equal(s.value(xy)[1, 2], s.value(xy[:, 1, 2]))
    np.testing.assert_array_equal(s.gradient(xy)[:, 1, 2], s.gradient(xy[:, 1, 2]))


def test_all_surfaces_of_the_spec_are_there():
    wanted = "bowl valley rosenbrock beale himmelblau rastrigin ackley booth saddle plateau three-hills"
    assert {*wanted.split()} <= {*NAMES}
    assert any(n.startswith("noisy-") for n in NAMES) and any(n.startswith("drifting-") for n in NAMES)


def test_noise_has_mean_zero_and_the_size_it_says():
    s = SURFACES["noisy-bowl"]
    xy = np.zeros((2, 20000))
    noise = s.gradient(xy, 0, np.random.default_rng(0)) - s.gradient(xy)
    assert abs(noise.mean()) < 0.02 and noise.std() == pytest.approx(s.noise, rel=0.02)


def test_drift_moves_the_minimum_round_a_circle():
    s = SURFACES["drifting-bowl"]
    assert s.value(np.array([0.0, 0.0]), 100) == pytest.approx(2.0)  # half way round: (0, 2) is the minimum
    assert s.value(np.array([0.0, 2.0]), 100) == pytest.approx(0.0)
    assert s.value(np.array([0.0, 0.0]), 200) == pytest.approx(0.0)
