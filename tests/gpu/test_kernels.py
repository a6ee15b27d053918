"""A step by Triton is the textbook's, and has the bits of a step by Numba."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

import adamas.torch
from adamas.lowering.triton import BLOCK, SPAN
from adamas.torch import launching
from benchmarks.gpu import launches
from tests.cases import CASES, Case
from tests.gpu.conftest import INTERPRETED
from tests.reference import textbook
from tests.reference.gradients import sequence

#: Empty, and a block and a rest.
SIZES = (0, BLOCK + 3)


def stepped(rule: str, device: str, starts: Sequence[Any], grads: Sequence[Sequence[Any]], **options: Any) -> Any:
    """Parameters, gradients and the optimizer after some steps."""
    params = [torch.nn.Parameter(start.clone().to(device)) for start in starts]
    optimizer = adamas.torch.optimizer(rule)(params, **options)
    for row in grads:
        for p, g in zip(params, row, strict=True):
            p.grad = None if g is None else g.clone().to(device)
        with np.errstate(all="ignore"):  # of the interpreter's
            optimizer.step()
    return params, optimizer


def tensors(steps: int = 2, sizes: Sequence[int] = SIZES, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """Starts, and gradients of several steps: over decades, some 0, some None."""
    rng = np.random.default_rng(0)

    def draw(n: int) -> np.ndarray:
        g = rng.standard_normal(n) * 10.0 ** rng.integers(-6, 3, n)
        g[rng.random(n) < 0.1] = 0
        return g

    starts = [torch.tensor(rng.standard_normal(n)).to(dtype) for n in sizes]
    grads = [[torch.tensor(draw(n)).to(dtype) for n in sizes] for _ in range(steps)]
    if steps > 1:
        grads[1][0] = None
    return starts, grads


def bits(tensor: torch.Tensor) -> np.ndarray:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy() if len(flat) else np.zeros(0, np.uint8)


def assert_same(one: Any, other: Any, without: Sequence[str] = ()) -> None:
    """Two outcomes of `stepped` agree to the bit, in parameters, gradients and states."""
    for p, q in zip(one[0], other[0], strict=True):
        a, b = ({"param": x, "grad": x.grad, **o.state[x]} for x, o in ((p, one[1]), (q, other[1])))
        assert a.keys() == b.keys()
        for name in a.keys() - set(without):
            assert (a[name] is None) == (b[name] is None)
            if a[name] is not None:
                assert a[name].dtype == b[name].dtype
                np.testing.assert_array_equal(bits(a[name]), bits(b[name]), err_msg=name)


def by_numba(monkeypatch: pytest.MonkeyPatch, rule: str, starts: Any, grads: Any, **options: Any) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(adamas.torch.arrays, "engine_of", launching.engine_of)
        return stepped(rule, "cpu", starts, grads, **options)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_float64_is_the_textbook(case: Case, device: str) -> None:
    n, steps = 7, 5
    theta, grads = np.linspace(-1.5, 2.0, n), sequence(7, n, steps, holes=True)
    end, states = getattr(textbook, case.oracle or case.rule)(theta, grads, **case.told)
    rows = [[None if g is None else torch.tensor(g)] for g in grads]
    (param,), optimizer = stepped(case.rule, device, [torch.tensor(theta)], rows, capturable=True, **case.options)
    np.testing.assert_allclose(param.detach().cpu(), end, rtol=1e-10, atol=1e-12)
    assert optimizer.state[param].keys() == states.keys()
    for name, value in optimizer.state[param].items():
        np.testing.assert_allclose(value.cpu(), states[name], rtol=1e-9, atol=1e-12 * np.abs(states[name]).max())


@pytest.mark.parametrize("case", {case.rule: case for case in CASES}.values(), ids=lambda case: case.name)
def test_float32_has_the_bits_of_numba(case: Case, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    starts, grads = tensors()
    got = stepped(case.rule, device, starts, grads, **case.options)
    assert_same(got, by_numba(monkeypatch, case.rule, starts, grads, **case.options))


TAILS = [
    {"clip_grad_norm": 1.0, "ema_decay": 0.99, "zero_grad": True, "telemetry": True},
    {"clip_grad_value": 0.5, "ema_decay": 0.9, "nonfinite": "skip", "maximize": True},
    {"state_dtype": "bfloat16", "weight_decay": 0.1, "telemetry": 2},
    {"state_dtype": "int8", "clip_grad_norm": 1.0, "ema_decay": 0.9},
]


@pytest.mark.parametrize(
    ("tail", "dtype"),
    [
        *((tail, torch.float32) for tail in TAILS),
        (TAILS[0], torch.bfloat16),
        (TAILS[1], torch.complex64),
        (TAILS[2], torch.float16),
        (TAILS[0], torch.float64),
    ],
    ids=str,
)
def test_the_tail_has_the_bits_of_numba(
    tail: dict[str, Any], dtype: torch.dtype, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adamas.tail.SMALL", 6)
    starts, grads = tensors(sizes=(5, BLOCK + 3), dtype=dtype)
    got = stepped("adam", device, starts, grads, **tail)
    expected = by_numba(monkeypatch, "adam", starts, grads, **tail)
    exact = "clip_grad_norm" not in tail or dtype != torch.float64  # the norm itself is summed in another order
    if exact:
        assert_same(got, expected)
    else:
        for p, q in zip(got[0], expected[0], strict=True):
            torch.testing.assert_close(p.cpu(), q, rtol=1e-12, atol=1e-12)
    one, other = got[1].last, expected[1].last
    assert (one.grad_norm is None) == (other.grad_norm is None)
    if one.grad_norm is not None:
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-12)
    if other.telemetry is not None:
        for name in ("grad_norm", "grad_max", "zero_share", "update_norm", "param_norm", "eps_share", "step_norm"):
            np.testing.assert_allclose(
                getattr(one.telemetry, name), getattr(other.telemetry, name), rtol=1e-10, err_msg=name
            )
        np.testing.assert_allclose(one.telemetry.step_along_grad, other.telemetry.step_along_grad, rtol=1e-8)


@pytest.mark.parametrize(
    ("rounding", "dtype"),
    [("stochastic", torch.bfloat16), ("stochastic", torch.float16), ("remainder", torch.bfloat16)],
    ids=str,
)
def test_narrow_parameters_have_the_bits_of_numba(
    rounding: str, dtype: torch.dtype, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adamas.tail.SMALL", 6)
    starts, grads = tensors(sizes=(5, BLOCK + 3), dtype=dtype)
    options = {"param_rounding": rounding, "state_dtype": "int8"}
    assert_same(
        stepped("amsgrad", device, starts, grads, **options), by_numba(monkeypatch, "amsgrad", starts, grads, **options)
    )


def test_what_is_not_finite_stays_where_it_is(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adamas.tail.SMALL", 6)
    starts, grads = tensors(sizes=(5, BLOCK + 3))
    grads[0][1][[3, 700]] = torch.tensor([np.inf, np.nan])
    for options in ({"telemetry": True}, {"state_dtype": "int8"}):
        got = stepped("adam", device, starts, grads, **options)
        expected = by_numba(monkeypatch, "adam", starts, grads, **options)
        for p, q in zip(got[0], expected[0], strict=True):
            np.testing.assert_array_equal(p.detach().cpu(), q.detach())  # a NaN is a NaN, whatever its other bits


def test_tensors_lie_as_they_like(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not aligned, transposed, with gaps, of no axes, longer than a span; and what lies beside them stays as it is."""
    rng = np.random.default_rng(1)

    def lay_out(where: str) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        room = torch.tensor(np.random.default_rng(2).standard_normal(2000), dtype=torch.float32).to(where)
        long = torch.linspace(-1, 1, SPAN + 2 * BLOCK).to(where)
        params = [room[1:70], room[100:220].view(10, 12).T, room[300:400:3], room[500], long[: SPAN + 600]]
        return [room, long], params

    def run(where: str) -> list[torch.Tensor]:
        rooms, params = lay_out(where)
        optimizer = adamas.torch.AdamW(params, lr=0.1, state_dtype="int8")  # of the longest
        for row in grads:
            for p, g in zip(params, row, strict=True):
                p.grad = g.to(where).reshape(p.shape)
            optimizer.step()
        return rooms

    grads = [
        [torch.tensor(rng.standard_normal(p.numel()), dtype=torch.float32) for p in lay_out("cpu")[1]] for _ in "12"
    ]
    got = run(device)
    monkeypatch.setattr(adamas.torch.arrays, "engine_of", launching.engine_of)
    for p, q in zip(got, run("cpu"), strict=True):
        np.testing.assert_array_equal(bits(p), bits(q))


def launched(step: Callable[[], Any]) -> int:
    """How many kernels a step launches."""
    if not INTERPRETED:
        return launches(step)
    from triton.runtime.interpreter import GridExecutor

    made: list[str] = []
    run = GridExecutor.__call__

    def counted(self: Any, *args: Any, **options: Any) -> Any:
        made.append("one")
        return run(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GridExecutor, "__call__", counted)
        step()
    return len(made)


#: Options -> launches. Whatever the groups, those that compute in float64 are the only ones apart.
LAUNCHES = [
    ({}, torch.float32, 1),
    ({"clip_grad_norm": 1.0, "telemetry": True, "state_dtype": "bfloat16"}, torch.float32, 2),
    ({"capturable": True}, torch.float32, 2),
    ({"capturable": True, "clip_grad_norm": 1.0, "nonfinite": "skip", "ema_decay": 0.9}, torch.float64, 3),
]


@pytest.mark.parametrize(("options", "last", "expected"), LAUNCHES, ids=str)
def test_groups_share_a_launch(
    options: dict[str, Any], last: torch.dtype, expected: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without decay, of several dtypes, begun at different times, aligned and not."""
    starts, grads = tensors(3, sizes=(0, BLOCK + 3, 7, 300, 5, SPAN + 1))
    kinds = [torch.float32, torch.bfloat16, torch.float32, torch.float32, torch.float16, last]
    grads[0][2] = grads[1][4] = None

    def run(where: str, **options: Any) -> tuple[Any, Any, list[int]]:
        held = [start.to(where, kind) for start, kind in zip(starts, kinds, strict=True)]
        params = [torch.nn.Parameter(t) for t in held]
        params[3] = torch.nn.Parameter(held[3][1:])
        groups = [{"params": params[:2]}, {"params": params[2:4], "weight_decay": 0.0, "lr": 0.1}]
        groups.append({"params": params[4:], "betas": (0.8, 0.9), "maximize": True})
        optimizer = adamas.torch.AdamW(groups, **options)
        counts = []
        for row in grads:
            for p, g in zip(params, row, strict=True):
                p.grad = None if g is None else g[: p.numel()].to(where, p.dtype)
            with np.errstate(all="ignore"):
                counts.append(launched(optimizer.step) if where == device else optimizer.step())
        return params, optimizer, counts

    *got, counts = run(device, **options)
    assert counts == [expected] * len(grads)
    monkeypatch.setattr(adamas.torch.arrays, "engine_of", launching.engine_of)
    *wanted, _ = run("cpu", **{**options, "capturable": False})
    if last != torch.float64:  # there the norm, which is summed in another order, has no more digits than a step
        assert_same(got, wanted)
    for p, q in zip(got[0], wanted[0], strict=True):
        torch.testing.assert_close(p.cpu(), q, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("largest", "beyond"), [(1.0, True), (1e9, False)])
def test_nobody_waits_for_the_norm(largest: float, beyond: bool, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    starts, grads = tensors(4)
    expected = by_numba(monkeypatch, "adamw", starts, grads, clip_grad_norm=largest)

    def refused(job: Any) -> None:
        raise AssertionError("the host looked")

    monkeypatch.setattr(launching._Job, "results", property(refused))
    params = [torch.nn.Parameter(start.clone().to(device)) for start in starts]
    optimizer = adamas.torch.AdamW(params, clip_grad_norm=largest)
    rows = [[None if g is None else g.clone().to(device) for g in row] for row in grads]
    for k, row in enumerate(rows):
        for p, g in zip(params, row, strict=True):
            p.grad = g
        if device == "cuda" and k == 3:  # plan and kernels are made
            torch.cuda.set_sync_debug_mode("error")
        try:
            optimizer.step()
        finally:
            if device == "cuda":
                torch.cuda.set_sync_debug_mode("default")
        if k == 2:
            before = optimizer._stepper.untold  # which nobody has asked yet
    assert_same((params, optimizer), expected)
    for row, said in ((grads[2], before()), (grads[3], optimizer.last)):
        norm = float(torch.cat([g.double() for g in row]).norm())
        assert said.grad_norm == pytest.approx(norm, rel=1e-12)
        assert said.clip_coef == pytest.approx(largest / (norm + 1e-6) if beyond else 1, rel=1e-12)
        assert not said.skipped


def test_a_count_that_somebody_sets_counts(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    starts, grads = tensors(4, sizes=(7, 9, 5))
    grads[1][0] = grads[0][0]

    def run(where: str) -> Any:
        params = [torch.nn.Parameter(start.clone().to(where)) for start in starts]
        optimizer = adamas.torch.AdamW(params)
        for k, row in enumerate(grads):
            for p, g in zip(params, row, strict=True):
                p.grad = g.to(where)
            if k == 1:
                count = optimizer.state[params[1]]["step"]
            elif k == 3:
                count.fill_(30.0)  # in place, which only its value shows
            optimizer.step()
        return params, optimizer

    got = run(device)
    monkeypatch.setattr(adamas.torch.arrays, "engine_of", launching.engine_of)
    assert_same(got, run("cpu"))


def test_one_factor_clips_and_undoes_the_scale(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    starts, grads = tensors()

    def run(where: str) -> Any:
        params = [torch.nn.Parameter(start.clone().to(where)) for start in starts]
        optimizer = adamas.torch.AdamW(params, clip_grad_norm=1.0, fused=True)
        for p, g in zip(params, grads[0], strict=True):
            p.grad = (8 * g).to(where)
        optimizer.grad_scale, optimizer.found_inf = torch.tensor(8.0).to(where), torch.tensor(0.0).to(where)
        optimizer.step()
        return params, optimizer

    got = run(device)
    monkeypatch.setattr(adamas.torch.arrays, "engine_of", launching.engine_of)
    wanted = run("cpu")
    assert_same(got, wanted)
    norm = float(torch.cat([g.double() for g in grads[0]]).norm())
    assert got[1].last.grad_norm == pytest.approx(norm, rel=1e-6)
    assert got[1].last.clip_coef == pytest.approx(wanted[1].last.clip_coef, rel=1e-12)


def test_a_norm_that_is_not_finite_is_handed_on(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    starts, grads = tensors()
    grads[0][1][3] = np.inf
    got = stepped("sgd", device, starts, grads[:1], clip_grad_norm=1.0, lr=0.1)
    wanted = by_numba(monkeypatch, "sgd", starts, grads[:1], clip_grad_norm=1.0, lr=0.1)
    for p, q in zip(got[0], wanted[0], strict=True):
        np.testing.assert_array_equal(p.detach().cpu(), q.detach())
    assert got[1].last == wanted[1].last == (np.inf, 0.0, False, None)


@pytest.mark.parametrize("capturable", [False, True])
def test_a_launch_made_again_changes_nothing(capturable: bool, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    starts, grads = tensors()
    expected = stepped("adamw", device, starts, grads, capturable=capturable)
    run, hits = launching._Launch.run, []

    def interrupted(self: Any, crew: Any) -> None:
        pending = self._pending
        run(self, crew)
        if pending is not None and pending not in hits:
            hits.append(pending)
            self._pending = pending  # as if it had come between the launch and the note of it
            raise KeyboardInterrupt

    monkeypatch.setattr(launching._Launch, "run", interrupted)
    params = [torch.nn.Parameter(start.clone().to(device)) for start in starts]
    optimizer = adamas.torch.optimizer("adamw")(params, capturable=capturable)
    for row in grads:
        for p, g in zip(params, row, strict=True):
            p.grad = None if g is None else g.clone().to(device)
        with pytest.raises(KeyboardInterrupt):
            optimizer.step()
    assert_same((params, optimizer), expected)


def test_what_cannot_be_compiled_changes_nothing(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    starts, grads = tensors()
    params, optimizer = stepped("adamw", device, starts, grads[:1])
    before = [bits(p).copy() for p in params], [float(optimizer.state[p]["step"]) for p in params]

    def broken(*args: Any, **options: Any) -> None:
        raise RuntimeError("no compiler")

    class Function:
        warmup = broken

    monkeypatch.setattr(launching, "launchable", lambda *given: Function())
    optimizer._stepper._plan = None
    with pytest.raises(RuntimeError, match="no compiler"):
        optimizer.step()
    assert all((bits(p) == b).all() for p, b in zip(params, before[0], strict=True))
    assert before[1] == [float(optimizer.state[p]["step"]) for p in params]


def test_no_graph_captures_a_step(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    starts, grads = tensors()
    params, optimizer = stepped("adamw", device, starts, grads[:1])
    before = [bits(p).copy() for p in params]
    monkeypatch.setattr(launching, "_capturing", lambda device: True)
    with pytest.raises(ValueError, match="graph is being captured, which would repeat"):
        optimizer.step()
    assert all((bits(p) == b).all() for p, b in zip(params, before, strict=True))
    assert float(optimizer.state[params[1]]["step"]) == 1


def test_sparse_gradients_are_refused(device: str) -> None:
    weight = torch.nn.Parameter(torch.ones(4, 3, device=device))
    weight.grad = torch.ones(4, 3, device=device).to_sparse(1)
    with pytest.raises(ValueError, match="sparse, which only plain parameters on the CPU may have"):
        adamas.torch.AdamW([weight]).step()
