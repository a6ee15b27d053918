"""What a step does around its rule: unscale, look for what is not finite, clip, average, clear, measure."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch

import adamas.numpy
import adamas.torch
from adamas import engine
from adamas.errors import InputError

SHAPES = [(3, 5), (7,), (), (0,), (33, 65)]


def parameters(seed: int = 0, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES]


def give_gradients(params: list[torch.Tensor], seed: int, scale: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = (scale * torch.randn(p.shape, generator=generator)).to(p.dtype)
        p.grad[torch.rand(p.shape, generator=generator) < 0.2] = 0


def everything(opt: torch.optim.Optimizer) -> list[bytes]:
    """Every bit of parameters and states."""
    params = [p for group in opt.param_groups for p in group["params"]]
    states = [opt.state[p][name] for p in params if p in opt.state for name in sorted(opt.state[p])]
    return [t.detach().reshape(-1).view(torch.uint8).numpy().tobytes() for t in [*params, *states]]


@pytest.mark.parametrize("way", [{}, {"differentiable": True}], ids=["compiled", "eager"])
@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clipping_is_torchs_clip_then_step(max_norm: float, way: dict) -> None:
    ours, theirs = parameters(), parameters()
    a = adamas.torch.AdamW(ours, lr=0.01, clip_grad_norm=max_norm, **way)
    b = torch.optim.AdamW(theirs, lr=0.01)
    for step in range(5):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        given = [p.grad.clone() for p in ours]
        norm = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
        a.step()
        b.step()
        assert math.isclose(a.last.grad_norm, norm, rel_tol=1e-6)
        assert math.isclose(a.last.clip_coef, min(1, max_norm / (norm + 1e-6)), rel_tol=1e-6)
        assert all(torch.equal(p.grad, g) for p, g in zip(ours, given, strict=True))
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


def test_a_norm_within_bounds_changes_no_bit() -> None:
    ours, plain = parameters(), parameters()
    a, b = adamas.torch.Adam(ours, clip_grad_norm=1e9), adamas.torch.Adam(plain)
    for step in range(3):
        give_gradients(ours, step)
        give_gradients(plain, step)
        a.step()
        b.step()
    assert a.last.clip_coef == 1
    assert everything(a) == everything(b)


def test_one_norm_over_groups_dtypes_layouts_and_ways() -> None:
    params = parameters()
    params[0].data = params[0].data.double()
    params[4].data = params[4].data.t().contiguous().t()
    params[1].data = params[1].data.bfloat16()
    give_gradients(params, 0)
    params[4].grad = params[4].grad.expand(33, 65)[:, :]
    a = adamas.torch.SGD(
        [{"params": params[:2]}, {"params": params[2:4], "differentiable": True}, {"params": params[4:], "lr": 0.5}],
        lr=1.0,
        clip_grad_norm=1e-3,
    )
    before = [p.detach().double().clone() for p in params]
    norm = math.sqrt(sum(float(p.grad.double().square().sum()) for p in params))
    a.step()
    assert math.isclose(a.last.grad_norm, norm, rel_tol=1e-12)
    moved = (before[0] - params[0].detach(), params[0].grad * (1e-3 / norm))
    torch.testing.assert_close(*moved, rtol=1e-4, atol=0)


def test_clipping_by_value() -> None:
    theta, g = np.zeros(6), np.array([-3.0, -0.5, 0.0, 0.7, 20.0, np.nan])
    adamas.numpy.SGD(theta, lr=1.0, clip_grad_value=0.6).step(g)
    np.testing.assert_array_equal(theta, [0.6, 0.5, 0, -0.6, -0.6, np.nan])


def test_the_norm_neither_overflows_nor_depends_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SERIAL", 0)
    rng = np.random.default_rng(0)
    grads = [rng.standard_normal(n).astype(np.float32) * np.float32(1e30) for n in (50_000, 7, 40_001)]
    norms = set()
    for threads in (1, 2, 3):
        monkeypatch.setenv("NUMBA_NUM_THREADS", str(threads))
        opt = adamas.numpy.SGD([np.zeros_like(g) for g in grads], lr=0.1, clip_grad_norm=1.0, nonfinite="raise")
        opt.step(grads)
        norms.add(opt.last.grad_norm)
    assert len(norms) == 1
    exact = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in grads))
    assert math.isclose(norms.pop(), exact, rel_tol=1e-13)


@pytest.mark.parametrize("way", [{}, {"differentiable": True}], ids=["compiled", "eager"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, 4])
def test_a_step_that_is_skipped_or_raises_changes_nothing(bad: float, place: int, way: dict) -> None:
    for first in (True, False):
        for nonfinite in ("skip", "raise"):
            params = parameters()
            opt = adamas.torch.Adam(params, nonfinite=nonfinite, ema_decay=0.9, zero_grad=True, amsgrad=True, **way)
            if not first:
                give_gradients(params, 0)
                opt.step()
            before = everything(opt)
            give_gradients(params, 1)
            params[place].grad.view(-1)[-1] = bad
            grads = [p.grad.clone() for p in params]
            if nonfinite == "raise":
                with pytest.raises(FloatingPointError, match=f"The gradient of parameter {place} is not finite"):
                    opt.step()
            else:
                opt.step()
                assert opt.last.skipped and not math.isfinite(opt.last.grad_norm)
            assert everything(opt) == before
            for p, g in zip(params, grads, strict=True):
                torch.testing.assert_close(p.grad, g, rtol=0, atol=0, equal_nan=True)
            give_gradients(params, 2)
            opt.step()
            assert not opt.last.skipped and opt.state[params[0]]["step"] == (1 if first else 2)


def test_nan_goes_through_unless_told_otherwise() -> None:
    params = parameters()
    give_gradients(params, 0)
    params[1].grad[0] = math.nan
    opt = adamas.torch.AdamW(params, clip_grad_norm=1.0)
    opt.step()
    assert math.isnan(opt.last.grad_norm) and math.isnan(opt.last.clip_coef)
    assert params[0].isnan().all()  # as after torch's clip_grad_norm_


@pytest.mark.parametrize("way", [{}, {"differentiable": True}], ids=["compiled", "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_average_of_the_weights(dtype: torch.dtype, way: dict) -> None:
    params = parameters(dtype=dtype)
    opt = adamas.torch.AdamW(params, lr=0.05, ema_decay=0.75, **way)
    averages = [p.detach().to(torch.promote_types(dtype, torch.float32)).clone() for p in params]
    for step in range(1, 40):
        give_gradients(params, step)
        opt.step()
        decay = min(0.75, (1 + step) / (10 + step))
        for average, p in zip(averages, params, strict=True):
            average += (1 - decay) * (p.detach().to(average.dtype) - average)
    own = [p.detach().clone() for p in params]
    with opt.averaged():
        for p, average in zip(params, averages, strict=True):
            torch.testing.assert_close(
                p.detach(), average.to(dtype), rtol=2e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-6
            )
        with pytest.raises(InputError, match="hold their averages"):
            opt.step()
    assert all(torch.equal(p, q) for p, q in zip(params, own, strict=True))
    with pytest.raises(KeyError), opt.averaged():
        raise KeyError
    assert all(torch.equal(p, q) for p, q in zip(params, own, strict=True))
    opt.step()


def test_parameters_without_gradient_keep_their_weights_in_the_average() -> None:
    params = [np.ones(3), np.full(2, 5.0)]
    opt = adamas.numpy.Adam(params, lr=0.5, ema_decay=0.9)
    opt.step([np.ones(3), None])
    with opt.averaged():
        assert (params[1] == 5).all() and (params[0] != 1).all()
    with pytest.raises(InputError, match="give the optimizer an ema_decay"), adamas.numpy.Adam(params).averaged():
        pass


def test_the_average_goes_with_the_state() -> None:
    params = parameters()
    opt = adamas.torch.Adam(params, ema_decay=0.9)
    give_gradients(params, 0)
    opt.step()
    twin = parameters(1)
    with torch.no_grad():
        for p, q in zip(params, twin, strict=True):
            q.copy_(p)
    other = adamas.torch.Adam(twin, ema_decay=0.9)
    other.load_state_dict(opt.state_dict())
    clones = copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))
    for some in (opt, other, *clones):
        give_gradients([p for g in some.param_groups for p in g["params"]], 1)
        some.step()
        assert some.last.grad_norm is None
    assert everything(opt) == everything(other) == everything(clones[0]) == everything(clones[1])
    plain = torch.optim.Adam(parameters())
    plain.load_state_dict(opt.state_dict())
    give_gradients([p for g in plain.param_groups for p in g["params"]], 1)
    plain.step()


@pytest.mark.parametrize("way", [{}, {"differentiable": True}], ids=["compiled", "eager"])
def test_gradients_are_cleared_only_when_asked(way: dict) -> None:
    for clear in (False, True):
        params = parameters()
        give_gradients(params, 0)
        given = [(p.grad, p.grad.clone()) for p in params]
        adamas.torch.RMSprop(params, zero_grad=clear, **way).step()
        for p, (grad, before) in zip(params, given, strict=True):
            assert p.grad is grad
            assert torch.equal(grad, torch.zeros_like(grad) if clear else before)


def test_a_strided_gradient_is_cleared_where_it_lies() -> None:
    whole = np.ones((4, 6), np.float32)
    theta = np.zeros((4, 3), np.float32)
    adamas.numpy.SGD(theta, zero_grad=True).step([whole[:, ::2]])
    assert (whole[:, ::2] == 0).all() and (whole[:, 1::2] == 1).all()


def test_a_gradient_that_cannot_be_cleared_is_refused_before_anything_is_changed() -> None:
    for grad, sentence in (
        (np.broadcast_to(np.float64(1), 3), "overlaps itself"),
        (np.frombuffer(np.ones(3).tobytes()), "is read-only"),
    ):
        theta = np.zeros(3)
        with pytest.raises(InputError, match=f"The gradient of parameter 0 {sentence}, so zero_grad=True cannot"):
            adamas.numpy.SGD(theta, zero_grad=True).step(grad)
        assert not theta.any()
    p = torch.zeros(3)
    p.grad = torch.ones(1).expand(3)
    with pytest.raises(InputError, match="overlaps itself, so zero_grad=True cannot"):
        adamas.torch.SGD([p], zero_grad=True).step()
    assert not p.any()


def test_a_gradient_may_be_the_parameter_itself() -> None:
    """As that of ½θ² is: though the kernel is told that its arrays lie apart."""
    theta = np.random.default_rng(5).standard_normal(1001).astype(np.float32)
    alone = theta.copy()
    one, other = adamas.numpy.AdamW(theta, lr=0.1), adamas.numpy.AdamW(alone, lr=0.1)
    for _ in range(3):
        one.step(theta)
        other.step(alone.copy())
    assert (theta == alone).all()


@pytest.mark.parametrize("fused", [True, None])
def test_grad_scaler_skips_and_unscales(fused: bool | None) -> None:
    ours, theirs = parameters(), parameters()
    a = adamas.torch.AdamW(ours, lr=0.01, fused=fused, nonfinite="raise")
    b = torch.optim.AdamW(theirs, lr=0.01, fused=fused)
    scaled, other = torch.amp.GradScaler("cpu", init_scale=1024.0), torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(6):
        for params, opt, scaler in ((ours, a, scaled), (theirs, b, other)):
            give_gradients(params, step, float(scaler.get_scale()))
            scaler.scale(torch.zeros(()))  # which makes the scale
            if step == 3:
                params[1].grad[2] = math.inf
            before = everything(opt)
            scaler.step(opt)
            scaler.update()
            assert (everything(opt) == before) == (step == 3)
        if fused:
            assert a.last.skipped == (step == 3)
    assert a.state[ours[0]]["step"] == 5
    assert scaled.get_scale() == other.get_scale() == 512
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


def test_scale_and_clipping_are_one_factor() -> None:
    ours, plain = parameters(), parameters()
    a = adamas.torch.Adam(ours, fused=True, clip_grad_norm=0.5)
    b = adamas.torch.Adam(plain, clip_grad_norm=0.5)
    for step in range(3):
        give_gradients(ours, step, 4096.0)
        give_gradients(plain, step)
        a.grad_scale, a.found_inf = torch.tensor(4096.0), torch.tensor(0.0)
        a.step()
        b.step()
        assert math.isclose(a.last.grad_norm, b.last.grad_norm, rel_tol=1e-12)
    assert everything(a) == everything(b)  # the scale is a power of 2


@pytest.mark.parametrize("way", [{}, {"differentiable": True}], ids=["compiled", "eager"])
def test_telemetry_measures_what_happened(way: dict) -> None:
    params = parameters()
    params[4].data = params[4].data.t().contiguous().t()
    opt = adamas.torch.AdamW(params, lr=0.01, eps=0.5, telemetry=2, clip_grad_norm=1.0, **way)
    for step in range(4):
        give_gradients(params, step)
        if step == 2:
            params[1].grad = None
        before = [p.detach().double() for p in params]
        opt.step()
        if step % 2:
            assert opt.last.telemetry is None
            continue
        said = opt.last.telemetry
        for i, (p, old) in enumerate(zip(params, before, strict=True)):
            if p.grad is None:
                assert np.isnan(said.grad_norm[i]) and np.isnan(said.update_norm[i]) and np.isnan(said.zero_share[i])
                continue
            new, g = p.detach().double(), p.grad.double()
            assert math.isclose(said.grad_norm[i], g.norm(), rel_tol=1e-6)
            assert math.isclose(said.grad_max[i], g.abs().max() if g.numel() else 0, rel_tol=1e-6)
            assert math.isclose(said.zero_share[i], (g == 0).double().mean() if g.numel() else 0, abs_tol=1e-12)
            assert math.isclose(said.update_norm[i], (new - old).norm(), rel_tol=1e-5)
            assert math.isclose(said.param_norm[i], new.norm(), rel_tol=1e-6)
            if not way:
                root = (opt.state[p]["exp_avg_sq"].double() / (1 - 0.999 ** float(opt.state[p]["step"]))).sqrt()
                share = float((root < 0.5).double().mean()) if g.numel() else 0.0
                assert math.isclose(said.eps_share[i], share, abs_tol=1e-9)


@pytest.mark.parametrize("way", [{}, {"differentiable": True}], ids=["compiled", "eager"])
def test_telemetry_that_is_read_later_is_still_of_its_step(way: dict) -> None:
    ends = []
    for late in (False, True):
        params = parameters()
        opt = adamas.torch.AdamW(params, lr=0.01, telemetry=True, **way)
        said = []
        for step in range(3):
            give_gradients(params, step)
            opt.step()
            said.append(opt.last.telemetry)
            if not late:
                said[-1].update_norm, said[-1].totals
        ends.append(np.array([[*t.update_norm, *t.grad_max, *t.totals] for t in said]))
    assert np.array_equal(*ends) and len(np.unique(ends[0][:, -1])) == 3


@pytest.mark.parametrize("threads", [1, 2])
def test_telemetry_is_of_every_span_once(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SPAN", 64)
    monkeypatch.setattr(engine, "SERIAL", 0)
    monkeypatch.setenv("NUMBA_NUM_THREADS", str(threads))
    rng = np.random.default_rng(0)
    sizes = [1, 64, 0, 65, 1000, 0, 128, 3]
    thetas = [rng.standard_normal(n) for n in sizes]
    opt = adamas.numpy.SGD([{"params": thetas[:5]}, {"params": thetas[5:], "lr": 0.5}], lr=0.1, telemetry=True)
    for step in range(3):
        grads = [rng.standard_normal(n) * 10.0**step for n in sizes]
        grads[4][:] = np.where(rng.random(1000) < 0.3, 0, grads[4])
        opt.step(grads)
        said = opt.last.telemetry
        moved = [lr * g for lr, g in zip([0.1] * 5 + [0.5] * 3, grads, strict=True)]
        told = {"grad_norm": grads, "update_norm": moved, "param_norm": thetas, "step_norm": moved}
        for name, parts in told.items():
            np.testing.assert_allclose(getattr(said, name), [np.linalg.norm(part) for part in parts], rtol=1e-12)
        np.testing.assert_array_equal(said.grad_max, [np.abs(g).max(initial=0) for g in grads])
        np.testing.assert_array_equal(said.zero_share, [np.mean(g == 0) if g.size else 0 for g in grads])
        along = [m @ g for m, g in zip(moved, grads, strict=True)]
        np.testing.assert_allclose(said.step_along_grad, along, rtol=1e-12)
        wholes = [np.linalg.norm(np.concatenate(parts)) for parts in (grads, moved, thetas)]
        np.testing.assert_allclose(said.totals, wholes, rtol=1e-12)
        assert opt.last.grad_norm == said.totals[0]


def test_telemetry_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SERIAL", 0)
    rng = np.random.default_rng(0)
    start = rng.standard_normal(70_001).astype(np.float32)
    ends = set()
    for telemetry in (False, True, 2):
        theta = start.copy()
        opt = adamas.numpy.RMSprop(theta, lr=0.1, centered=True, momentum=0.9, telemetry=telemetry)
        for seed in range(4):
            opt.step(np.random.default_rng(seed).standard_normal(theta.size).astype(np.float32))
        ends.add(theta.tobytes())
    assert len(ends) == 1


def test_telemetry_of_nothing_finite_says_so() -> None:
    theta = np.ones(5000, np.float32)
    opt = adamas.numpy.SGD(theta, telemetry=True)
    g = np.zeros(5000, np.float32)
    g[4321] = np.nan
    opt.step(g)
    assert np.isnan(opt.last.telemetry.grad_max[0]) and np.isnan(opt.last.telemetry.grad_norm[0])
    assert opt.last.telemetry.zero_share[0] == 4999 / 5000
    assert opt.last.telemetry.eps_share[0] == 0  # SGD has no ε


def test_telemetry_of_what_is_too_large_for_a_sum_is_infinite_and_warns_of_nothing() -> None:
    params = [np.zeros(3), np.zeros(3), np.zeros(40_000)]  # of the last, each piece has a sum, but not all together
    opt = adamas.numpy.SGD(params, telemetry=True)
    opt.step([np.full(3, 7e153), np.full(3, 7e153), np.full(40_000, 1e152)])
    assert opt.last.telemetry.totals[0] == math.inf
    assert np.allclose(opt.last.telemetry.grad_norm, [math.sqrt(3) * 7e153, math.sqrt(3) * 7e153, math.inf])


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"clip_grad_norm": 0.0}, "Invalid clip_grad_norm value: 0.0: it must be a finite number above 0, or None"),
        ({"clip_grad_norm": math.nan}, "Invalid clip_grad_norm value: nan"),
        ({"clip_grad_norm": "1"}, "Invalid clip_grad_norm value: '1'"),
        ({"clip_grad_value": -1}, "Invalid clip_grad_value value: -1"),
        ({"clip_grad_value": 1, "clip_grad_norm": 1}, "clip_grad_norm=1 and clip_grad_value=1 exclude each other"),
        ({"ema_decay": 1.0}, "Invalid ema_decay value: 1.0: it must be at least 0 and less than 1"),
        ({"nonfinite": "ignore"}, "Invalid nonfinite value: 'ignore': it must be one of propagate, skip, raise."),
        ({"zero_grad": 1}, "Invalid zero_grad value: 1: it must be True or False."),
        ({"telemetry": -1}, "Invalid telemetry value: -1"),
        ({"telemetry": 0.5}, "Invalid telemetry value: 0.5"),
    ],
)
def test_what_cannot_be_is_refused(option: dict, sentence: str) -> None:
    for make in (lambda: adamas.torch.AdamW(parameters(), **option), lambda: adamas.numpy.Adam(np.ones(2), **option)):
        with pytest.raises(InputError) as caught:
            make()
        assert str(caught.value).startswith(sentence)
