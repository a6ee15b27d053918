"""How far float32 is from float64, held to what docs/accuracy.md says."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import adamas
import adamas.numpy
from adamas.kernel import TINY, select
from tests import accuracy
from tests.accuracy import U
from tests.cases import CASES, Case
from tests.test_docs import table

PAGE = (Path(__file__).parents[2] / "docs" / "accuracy.md").read_text()


@cache
def sample(name: str) -> list[accuracy.Start]:
    """The first of the sequences that the page is made of."""
    (case,) = (case for case in CASES if case.name == name)
    return list(accuracy.starts(case, seed=0))


@cache
def told(rule: str) -> tuple[dict[str, float], dict[str, float], float]:
    """What the page says of a rule: roundings and the largest error seen, for Δ and each state; torch's Δ."""
    roundings, seen, eager, states = table(PAGE, "rule")[rule]
    bounds, largest = {"Δ": float(roundings)}, {"Δ": float(seen)}
    for state, error, bound in re.findall(r"`(\w+)` ([\d.]+) / ([\d.]+)", states):
        bounds[state], largest[state] = float(bound), float(error)
    return bounds, largest, float(eager)


def numbers(header: str, row: str) -> list[float]:
    return [float(cell.rstrip("%")) for cell in table(PAGE, header)[row]]


def test_the_page_tells_every_rule() -> None:
    assert set(table(PAGE, "rule")) == set(adamas.rules()) == {case.rule for case in CASES}
    for rule in adamas.rules():
        bounds, largest, eager = told(rule)
        counted = [accuracy.roundings(case) for case in CASES if case.rule == rule]
        states = {state for counts in counted for state in counts}
        assert bounds == {x: pytest.approx(max(c.get(x, 0.0) for c in counted), abs=0.1) for x in states}, rule
        assert eager <= bounds["Δ"] and all(largest[x] <= bounds[x] for x in bounds), rule


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_step_is_within_the_roundings_told(case: Case) -> None:
    """Not more than was seen: the bits are the same everywhere."""
    _, largest, _ = told(case.rule)
    for start in sample(case.name):
        for x, error in accuracy.errors(case, start, *accuracy.compiled_step(case, start)).items():
            assert error <= largest[x], x


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_step_of_torch_is_within_the_roundings(case: Case) -> None:
    bounds, _, _ = told(case.rule)
    for start in sample(case.name)[::2]:
        for x, error in accuracy.errors(case, start, *accuracy.eager_step(case, start)).items():
            assert error <= bounds[x], x


def test_drift_of_1000_steps() -> None:
    found = accuracy.drift(["adamas", "torch fused"], n=1000, seed=0)
    assert found["adamas"] <= 1.5e-5
    ours, *_, theirs = numbers("coordinates", "1000")
    assert found["adamas"] == pytest.approx(ours, rel=0.02)
    assert found["torch fused"] == pytest.approx(theirs, rel=0.1) and theirs > 5 * ours


@pytest.mark.parametrize(
    ("weight_decay", "allowed"), [(1e-2, 5e-4), (1e-3, 5e-3), (1e-4, 0.05)], ids=["1e-5", "1e-6", "1e-7"]
)
def test_effective_decay(weight_decay: float, allowed: float) -> None:
    found = accuracy.decay(["adamas"], 1e-3, weight_decay, n=20_001, seed=0)["adamas"]
    assert abs(found) <= allowed
    ours, *_ = numbers("ηλ", f"{1e-3 * weight_decay:.1e}")
    assert found == pytest.approx(ours / 100, abs=1e-5)


def test_where_decay_stops() -> None:
    """Below 2⁻²⁵ = 3.0e-8, half a unit in the last place of any float32, ηλθ is rounded away; above 2⁻²⁴ never."""
    theta = np.exp(np.random.default_rng(0).uniform(-3, 3, 10_000)).astype(np.float32)
    moved = {}
    for rate in (2.9e-8, 6.1e-8):
        param = theta.copy()
        adamas.numpy.AdamW(param, lr=rate, weight_decay=1.0).step(np.zeros_like(param))
        moved[rate] = np.mean(param != theta)
    assert moved == {2.9e-8: 0.0, 6.1e-8: 1.0}


@pytest.mark.parametrize(
    ("dtype", "betas"), [("float32", (0.9, 0.999)), ("float64", (0.9, 0.999)), ("float32", (0.9, 0.9999))]
)
def test_constant_gradient(dtype: str, betas: tuple[float, float]) -> None:
    """Δ = η sign g at each of 20 000 steps, but for what the moments round: m by 3 units a step, v by 3 and β₂'s."""
    off = accuracy.constant_gradient(dtype, betas)
    unit = np.finfo(dtype).eps / 2
    beta1, beta2 = betas
    assert off.max() <= unit * (8 + 3 / (1 - beta1) + 1.5 / (1 - beta2))
    assert off[0] <= 8 * unit
    seen = numbers("β₁, β₂", ", ".join(map(str, betas)))[("float32", "float64").index(dtype)]
    assert off.max() <= seen * 1.05


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.999, 0.9999, 1 - 1e-9])
def test_the_correction_is_exact(beta: float) -> None:
    """1/(1 − βᵗ) as the host has it, to float64's rounding at every t; float32 gets it rounded once."""
    mpmath = pytest.importorskip("mpmath")
    rule = adamas.rules()["adam"]
    hyper = {**rule.hyper({"betas": (beta, 0.25)}), "tiny": TINY["float32"]}
    kernel = select(rule, rule.hyper({}))
    counts = [*range(1, 200), *range(200, 20_001, 99), 2**24, 2**24 + 1, 2**31, 2**53 - 1]
    with mpmath.workdps(60):
        for t in counts:
            exact = 1 / (1 - mpmath.mpf(beta) ** t)
            coefficients, _ = kernel.host(float(t), *(hyper[name] for name in kernel.program.hyper))
            assert min(abs(c / exact - 1) for c in coefficients) < 1e-15, t


@pytest.mark.parametrize("count", [2.0**24, 2.0**53 - 1])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_large_count_is_a_count(case: Case, count: float) -> None:
    """Where every correction has long become 1 the step is right still, and the count goes on by one."""
    last = sample(case.name)[-1]
    start = accuracy.Start(last.theta, last.grad, {**last.states, "step": np.array(count)})
    param, states = accuracy.compiled_step(case, start)
    assert float(states["step"]) == count + 1
    bounds, _, _ = told(case.rule)
    for x, error in accuracy.errors(case, start, param, states).items():
        assert error <= bounds[x], x


def test_the_unit_is_one_rounding() -> None:
    """Of a sum, half a unit in the last place is at most the unit: what is counted is not made small by its measure."""
    ones = np.ones(25, np.float32)
    case = Case("sgd", {"lr": 1.0})
    start = accuracy.Start(np.zeros_like(ones), ones, {})
    param, states = accuracy.compiled_step(case, start)
    assert accuracy.errors(case, start, param, states)["Δ"] < 0
    off = accuracy.errors(case, start, param * np.float32(1 + 4 * U), states)["Δ"]
    assert 1.2 < off < 1.7  # off by 4 u, less u for θ's own rounding; the unit is 2 u: that of Δ and that of g
