"""The script that a page computes with, against NumPy."""

import numpy as np
import pytest

import adamas
from adamas import sqrt
from adamas.kernel import select
from tests.cases import CASES, Case
from tests.pages.browser import evaluate
from tests.reference.gradients import sequence
from tests.running import javascript, numpy_kernel

THETA = np.linspace(-1.5, 2.0, 7)
GRADIENTS = sequence(5, len(THETA), 150, holes=True)


def distance(a, b) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(np.max(np.abs(a - b) / np.maximum(np.abs(b), 1e-30)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_float64_is_numpy_to_twelve_digits(case: Case) -> None:
    param, held = javascript(case, THETA, GRADIENTS, "float64")
    expected, states = numpy_kernel(case, THETA, GRADIENTS, "float64")
    assert distance(param, expected) < 1e-12
    assert held.keys() == states.keys()
    for name in held:
        assert distance(held[name], states[name]) < 1e-12, name


@pytest.mark.parametrize("case", [c for c in CASES if c.rule != "lpadam"], ids=lambda case: case.name)
def test_float32_is_numpy_to_the_bit(case: Case) -> None:
    """But for the coefficients, where the engine's logarithm may be off in the last place of a float64."""
    param, held = javascript(case, THETA, GRADIENTS, "float32")
    expected, states = numpy_kernel(case, THETA, GRADIENTS, "float32")
    np.testing.assert_array_equal(param, expected)
    for name in states.keys() - {"mu_product"}:
        np.testing.assert_array_equal(held[name], states[name])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_not_finite_goes_the_same_way(case: Case) -> None:
    grads = [np.array([1.0, np.nan, np.inf, -np.inf, 0.0, -0.0, 1e200])] * 2 + [np.ones(7)] * 2
    param, held = javascript(case, THETA, grads, "float64")
    expected, states = numpy_kernel(case, THETA, grads, "float64")
    np.testing.assert_allclose(param, expected, rtol=1e-12)
    for name in states:
        np.testing.assert_allclose(held[name], states[name], rtol=1e-12)


def test_bias_corrections_keep_their_digits() -> None:
    rule = adamas.rules()["adam"]
    kernel = select(rule, rule.defaults)
    for beta2, t in ((0.999, 1), (1 - 1e-9, 3), (1 - 1e-12, 100), (0.5, 40), (0.0, 1)):
        given = [{**rule.defaults, "betas": (0.9, beta2), "tiny": 0.0}[name] for name in kernel.program.hyper]
        run = "([text, given]) => new Function(text + '; return host')()(...given)[0]"
        told = evaluate(run, [kernel.text("javascript", "float64"), [t, *map(_plain, given)]])
        np.testing.assert_allclose(told, kernel.host(float(t), *given)[0], rtol=1e-14)


def _plain(value):
    return list(value) if isinstance(value, tuple) else value


def test_names_that_javascript_keeps_for_itself_may_be_a_rules() -> None:
    @adamas.rule
    def odd(g, new, *, t, lr=0.1, var=0.5):
        Math = var * new + g
        return lr * Math / (sqrt(Math**2) + 1), Math

    case = Case("odd", {"var": 0.25})
    grads = [g for g in GRADIENTS if g is not None][:30]
    assert (
        distance(javascript(case, THETA, grads, "float64")[0], numpy_kernel(case, THETA, grads, "float64")[0]) < 1e-12
    )


def test_a_measured_kernel_tells_what_it_did_on_its_way() -> None:
    rule = adamas.rules()["adam"]
    hyper = rule.hyper({"weight_decay": 0.5, "eps_root": 0.75})
    kernel = select(rule, hyper)
    text = kernel.text("javascript", "float64", measured=True)
    coefficients, _ = kernel.host(1.0, *({**hyper, "tiny": 0.0}[name] for name in kernel.program.hyper))
    run = "([text, c]) => new Function(text + '; return kernel')()(3, 2, 0, 0, c)"
    *outputs, told = evaluate(run, [text, list(coefficients)])
    g = 3 + 0.5 * 2
    root = np.sqrt(g**2 + 0.75)
    expected = {"seen__": g, "g": g, "m_hat": g, "v_hat": g**2, "root__": root, "step": 1e-3 * g / (root + 1e-8)}
    expected |= {"exp_avg": 0.1 * g, "exp_avg_sq": 0.001 * g**2, "v": 0.001 * g**2, "param": outputs[0]}
    assert told == pytest.approx(expected, rel=1e-12)
    assert outputs == pytest.approx([2 - expected["step"], 0.1 * g, 0.001 * g**2], rel=1e-12)
