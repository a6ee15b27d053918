"""Float32 by Numba is float32 by NumPy to the bit, however the work is cut and laid out."""

import math

import numpy as np
import pytest

import adamas
import adamas.numpy
from adamas import engine
from adamas.tail import Tail
from tests.cases import CASES, Case
from tests.running import numpy_kernel

N = 4099


def gradients(seed: int, steps: int = 3, n: int = N) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(steps):
        g = rng.standard_normal(n) * 10.0 ** rng.integers(-9, 4, n)
        g[rng.random(n) < 0.1] = 0.0
        made.append(g.astype(np.float32))
    return made


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a.view(np.int32), b.view(np.int32))


@pytest.mark.parametrize(("threads", "span"), [(1, 1 << 14), (2, 1000), (2, 7)])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_numba_is_numpy(case: Case, threads: int, span: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", str(threads))
    monkeypatch.setattr(engine, "SERIAL", 0)
    monkeypatch.setattr(engine, "SPAN", span)
    rng = np.random.default_rng(1)
    theta = rng.standard_normal(N).astype(np.float32)
    grads = gradients(2)
    expected, states = numpy_kernel(case, theta, grads, "float32")
    cut = N // 3
    params = [theta[:cut].copy(), theta[cut:].copy(), np.zeros(0, np.float32)]
    optimizer = adamas.numpy.optimizer(case.rule)(params, **case.options)
    for g in grads:
        optimizer.step([g[:cut], g[cut:], params[2]])
    assert same_bits(np.concatenate(params), expected)
    for name in adamas.rules()[case.rule].states(**case.options):
        held = np.concatenate([optimizer.state[i][name] for i in range(3)])
        assert same_bits(held, states[name]), name


TAILS = [
    {"clip_grad_value": 0.5, "ema_decay": 0.9},
    {"clip_grad_norm": 1.0, "ema_decay": 0.99, "zero_grad": True, "telemetry": True},
]


@pytest.mark.parametrize(
    ("case", "tail"),
    [(case, TAILS[k % 2]) for k, case in enumerate(c for c in CASES if c.rule in ("adamw", "radam"))],
    ids=lambda x: x.name if isinstance(x, Case) else str(x),
)
def test_numba_is_numpy_with_a_tail(case: Case, tail: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SPAN", 1000)
    theta = np.random.default_rng(1).standard_normal(N).astype(np.float32)
    grads = gradients(2)
    norms = [math.sqrt(math.fsum(g.astype(np.float64) ** 2)) for g in grads]
    factors = [min(1.0, 1 / (norm + 1e-6)) if "clip_grad_norm" in tail else 1.0 for norm in norms]
    expected, states = numpy_kernel(case, theta, grads, "float32", Tail(**tail), factors)
    param = theta.copy()
    optimizer = adamas.numpy.optimizer(case.rule)(param, **case.options, **tail)
    for g in grads:
        optimizer.step(g.copy())
    assert same_bits(param, expected)
    assert "ema" in states
    for name, held in states.items():
        assert name in ("step", "mu_product") or same_bits(optimizer.state[0][name], held), name


def test_every_element_has_its_span(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SPAN", 1000)
    sizes = np.array([0, 1, 16, 5000, 3, 16384, 16385, 0], np.int64)
    table = engine.Table(np.zeros((2, len(sizes)), np.int64), sizes, 1, "float32")
    for tensor, size in enumerate(sizes):
        own = table.spans[table.spans[:, 0] == tensor]
        covered = [i for _, first, length, _ in own for i in range(first, first + length)]
        assert covered == list(range(size))


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_every_span_is_done_once(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", str(threads))
    monkeypatch.setattr(engine, "SERIAL", 0)
    monkeypatch.setattr(engine, "SPAN", 100)
    params = [np.zeros(n) for n in (950, 1, 0, 30, 200_000, 7, 7)]
    optimizer = adamas.numpy.SGD([{"params": params[:3]}, {"params": params[3:], "lr": 2.0}], lr=1.0)
    for step in range(1, 4):
        optimizer.step([np.ones_like(p) for p in params])
        assert all((p == -step).all() for p in params[:3]) and all((p == -2 * step).all() for p in params[3:])


def layouts(theta: np.ndarray) -> dict[str, np.ndarray]:
    rows, columns = theta.shape
    wide = np.zeros((rows, 2 * columns), theta.dtype)
    wide[:, ::2] = theta
    raw = np.zeros(theta.nbytes + 1, np.uint8)[1:].view(theta.dtype).reshape(theta.shape)
    raw[...] = theta
    return {
        "contiguous": theta.copy(),
        "transposed": np.asfortranarray(theta),
        "every other column": wide[:, ::2],
        "reversed": theta[::-1].copy()[::-1],
        "unaligned": raw,
        "other byte order": theta.astype(theta.dtype.newbyteorder()),
    }


@pytest.mark.parametrize("param_layout", layouts(np.zeros((2, 2), np.float32)))
@pytest.mark.parametrize("grad_layout", layouts(np.zeros((2, 2), np.float32)))
def test_layouts_change_no_bit(param_layout: str, grad_layout: str) -> None:
    rng = np.random.default_rng(3)
    theta = rng.standard_normal((13, 7)).astype(np.float32)
    plain = theta.copy()
    reference = adamas.numpy.AdamW(plain, lr=0.1)
    param = layouts(theta)[param_layout]
    optimizer = adamas.numpy.AdamW(param, lr=0.1)
    for _ in range(3):
        g = rng.standard_normal(theta.shape).astype(np.float32)
        reference.step(g)
        optimizer.step(layouts(g)[grad_layout])
    assert np.array_equal(param, plain)
    assert np.array_equal(optimizer.state[0]["exp_avg_sq"], reference.state[0]["exp_avg_sq"])


def test_power_is_exact_to_rounding() -> None:
    from adamas.lowering.words import power

    rng = np.random.default_rng(0)
    x = np.concatenate([rng.random(2000), 10.0 ** rng.uniform(-30, 30, 2000), [0.0, 1.0, np.inf]])
    for y in (0.5, 1 / 3, 1.0, 2.0, 3.7, -1.5, 1e-3, 0.0):
        with np.errstate(all="ignore"):
            ours, theirs = power(x, y), x**y
            error = np.abs(ours / theirs - 1)[np.isfinite(theirs) & (theirs > 1e-300)]
            assert error.max() < 1e-13
            narrow = x.astype(np.float32)
            exact = (narrow.astype(np.float64) ** np.float64(np.float32(y))).astype(np.float32)
            np.testing.assert_array_max_ulp(power(narrow, np.float32(y)), exact, maxulp=1)
    with np.errstate(all="ignore"):
        assert np.isnan(power(np.array([-1.0, np.nan]), 2.0)).all()
