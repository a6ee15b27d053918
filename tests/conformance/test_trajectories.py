"""Every rule, on every backend, against its oracle: 2000 steps, gradients over 12 decades, zeros and gaps.

In float32, whose errors do not depend on how long a run is, 400.
"""

from functools import cache

import numpy as np
import pytest

from tests.cases import CASES, Case
from tests.reference import textbook
from tests.reference.gradients import sequence
from tests.running import WAYS

N, STEPS, FEWER = 21, 2000, 400  # an odd length: full vectors and a tail
THETA = np.linspace(-1.5, 2.0, N)

BY_NAME = {case.name: case for case in CASES}


@cache
def gradients(steps: int) -> list:
    return sequence(7, N, steps, holes=True)


@cache
def expected(name: str, steps: int = STEPS) -> tuple:
    case = BY_NAME[name]
    theta = THETA[:6] if case.rule == "lpadam" else THETA  # its oracle counts in decimals
    grads = [None if g is None else g[: len(theta)] for g in gradients(steps)]
    return theta, grads, *getattr(textbook, case.oracle or case.rule)(theta, grads, **case.told)


def assert_near(actual, expected, rtol, scale, what):
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    error = np.abs(actual - expected) / np.maximum(np.abs(expected), scale)
    assert error.max() <= rtol, f"{what}: off by {error.max():.2e} at {error.argmax()}, allowed {rtol:.0e}"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_float64_is_the_textbook(case: Case, way: str) -> None:
    theta, grads, end, states = expected(case.name)
    param, held = WAYS[way](case, theta, grads, "float64")
    assert float(held["step"]) == states["step"] == sum(g is not None for g in grads)
    assert_near(param, end, 1e-10, 1.0, "θ")
    largest = np.abs([g for g in grads if g is not None]).max(axis=0)
    for name in held.keys() - {"step"}:
        # What is added up from squares keeps its digits; the others cancel, and are measured against the gradients.
        adds_up = name in (
            "exp_avg_sq",
            "max_exp_avg_sq",
            "square_avg",
            "sum",
            "exp_inf",
            "exp_p",
            "mu_product",
        )
        scale = 1e-30 if adds_up else np.maximum(largest, largest**2) * 1e-3 + 1e-30
        assert_near(held[name], states[name], 1e-9 if adds_up else 1e-10, scale, name)
    assert held.keys() == states.keys()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", [c for c in CASES if c.continuous], ids=lambda case: case.name)
def test_float32_stays_near_the_textbook(case: Case, way: str) -> None:
    theta, grads, end, _ = expected(case.name, FEWER)
    param, _ = WAYS[way](case, theta, grads, "float32")
    # Plain descent along gradients of up to 1e3 moves far: measured against the way it went.
    way_long = max(1.0, np.abs(end).max())
    assert_near(param, end, 2e-4, way_long, "θ")


@pytest.mark.parametrize("case", [c for c in CASES if c.torch], ids=lambda case: case.name)
def test_float64_is_torch(case: Case) -> None:
    torch = pytest.importorskip("torch")
    theta, grads, _, _ = expected(case.name)
    options = {k: v for k, v in case.options.items() if k != "eps_form"}
    param = torch.tensor(theta)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # torch's NAdam keeps its product in this dtype
    try:
        optimizer = getattr(torch.optim, case.torch)([param], **options)
        for grad in grads[:400]:
            param.grad = None if grad is None else torch.tensor(grad)
            if case.torch == "SparseAdam" and grad is not None:  # which takes no others
                every = torch.arange(len(grad))[None]
                param.grad = torch.sparse_coo_tensor(every, param.grad, grad.shape, check_invariants=True)
            optimizer.step()
    finally:
        torch.set_default_dtype(before)
    ours, _ = WAYS["numba"](case, theta, grads[:400], "float64")
    assert_near(ours, param.numpy(), 1e-10, 1.0, "θ")
