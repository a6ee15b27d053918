"""Schedules at work: on torch's optimizers and ours, on the NumPy front, in optax and in Keras."""

import copy
import io
import json
import os
import pickle
import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

import adamas.numpy
from adamas import checkpoint
from adamas.errors import InputError
from adamas.schedules import (
    Schedule,
    constant,
    cosine,
    cosine_restarts,
    inverse_sqrt,
    multi_step,
    one_cycle,
    warmup,
)

F = warmup(4) >> cosine(6, floor=0.1)
CYCLE = one_cycle(10, peak_at=0.4)


# -- NumPy -----------------------------------------------------------------------------------------------------------


def gradients(step: int) -> list[Any]:
    rng = np.random.default_rng(step)
    return [rng.standard_normal(3).astype(np.float32), rng.standard_normal((2, 2))]


def arrays() -> list[Any]:
    return [np.ones(3, np.float32), np.ones((2, 2))]


def test_numpy_is_as_if_lr_were_set_by_hand() -> None:
    theta, other = arrays(), arrays()
    opt, by_hand = adamas.numpy.AdamW(theta, lr=0.1 * CYCLE), adamas.numpy.AdamW(other, lr=0.1)
    for step in range(14):
        assert CYCLE.momentum is not None
        by_hand.param_groups[0].update(lr=0.1 * CYCLE(step), betas=(CYCLE.momentum(step), 0.999))
        opt.step(gradients(step))
        by_hand.step(gradients(step))
        assert all(np.array_equal(a, b) for a, b in zip(theta, other, strict=True)), step
        group = opt.param_groups[0]
        assert (group["lr"], group["betas"], group["lr_step"]) == (0.1 * CYCLE, (0.9, 0.999), step + 1)


def test_numpy_groups_have_their_own() -> None:
    theta, other = arrays(), arrays()
    opt = adamas.numpy.SGD([{"params": theta[0], "lr": F}, {"params": theta[1]}], lr=0.5)
    by_hand = adamas.numpy.SGD([{"params": other[0]}, {"params": other[1]}], lr=0.5)
    for step in range(3):
        by_hand.param_groups[0]["lr"] = F(step)
        opt.step(gradients(step))
        by_hand.step(gradients(step))
    assert all(np.array_equal(a, b) for a, b in zip(theta, other, strict=True))
    assert "lr_step" not in opt.param_groups[1]


def test_numpy_counts_steps_that_move_something() -> None:
    opt = adamas.numpy.AdamW(arrays(), lr=F, nonfinite="skip")
    opt.step([None, None])
    opt.step([np.full(3, np.nan, np.float32), np.zeros((2, 2))])
    assert opt.last.skipped and opt.param_groups[0].get("lr_step", 0) == 0
    with pytest.raises(InputError):
        opt.step([np.zeros(4, np.float32), np.zeros((2, 2))])
    assert opt.param_groups[0].get("lr_step", 0) == 0
    looked_at = adamas.numpy.AdamW(arrays(), lr=warmup(4, start=0))
    looked_at.step([np.zeros(3, np.float32), np.zeros((2, 2))])  # η = 0 and no gradient: states are made, nothing moves
    assert looked_at.state[0]["step"] == 0 and looked_at.param_groups[0].get("lr_step", 0) == 0
    for one in ([gradients(0)[0], None], [None, gradients(0)[1]]):  # each parameter has come one step far
        opt.step(one)
    assert opt.param_groups[0]["lr_step"] == 2


@pytest.mark.parametrize("how", ["state dict", "JSON between", "checkpoint", "pickle", "constant before"])
def test_numpy_goes_on_as_if_never_stopped(how: str, tmp_path: Any) -> None:
    theta, other = arrays(), arrays()
    straight = adamas.numpy.AdamW(theta, lr=0.1 * CYCLE)
    stopped = adamas.numpy.AdamW(other, lr=0.1 * CYCLE)
    for step in range(12):
        if step == 5:
            state, parts = stopped.state_dict(), {"theta": other, "opt": stopped}
            if how == "checkpoint":
                checkpoint.save(tmp_path, 5, **parts)
            if how == "JSON between":
                state["param_groups"] = json.loads(json.dumps(state["param_groups"]))
            if how == "pickle":
                stopped = pickle.loads(pickle.dumps(stopped))
                other = stopped.param_groups[0]["params"]
            else:
                other = [a.copy() for a in other]
                stopped = adamas.numpy.AdamW(other, lr=9.0 if how == "constant before" else 0.1 * CYCLE)
                if how == "checkpoint":
                    checkpoint.load(tmp_path, theta=other, opt=stopped)
                else:
                    stopped.load_state_dict(state)
        straight.step(gradients(step))
        stopped.step(gradients(step))
    assert all(np.array_equal(a, b) for a, b in zip(theta, other, strict=True))
    assert stopped.param_groups[0]["lr_step"] == 12 and stopped.param_groups[0]["lr"] == 0.1 * CYCLE


def test_numpy_state_dicts_of_all_sorts() -> None:
    opt = adamas.numpy.AdamW(arrays(), lr=F)
    for step in range(3):
        opt.step(gradients(step))
    state = opt.state_dict()
    assert state["param_groups"][0]["lr"] == repr(F) and state["param_groups"][0]["lr_step"] == 3
    fresh = adamas.numpy.AdamW(arrays(), lr=F)
    early = fresh.state_dict()  # before any step
    fresh.load_state_dict(early)
    assert fresh.param_groups[0]["lr_step"] == 0

    plain = adamas.numpy.AdamW(arrays(), lr=0.5)
    plain.step(gradients(0))
    opt.load_state_dict(plain.state_dict())
    assert opt.param_groups[0]["lr"] == 0.5 and "lr_step" not in opt.param_groups[0]

    del state["param_groups"][0]["lr_step"]  # somebody put the schedule in
    plain.load_state_dict(state)
    assert plain.param_groups[0]["lr"] == F and plain.param_groups[0]["lr_step"] == 3

    for entry in ({"lr": "open('x')"}, {"lr_step": -1}, {"lr_step": "3"}, {"lr_stp": 3}):
        bad = copy.deepcopy(state)
        bad["param_groups"][0].update(entry)
        before = copy.deepcopy(plain.state_dict())
        with pytest.raises(InputError):
            plain.load_state_dict(bad)
        assert repr(plain.state_dict()) == repr(before)

    rule = adamas.numpy.Adagrad(arrays(), lr=0.5)
    state = rule.state_dict()
    state["param_groups"][0]["lr"] = repr(CYCLE)
    with pytest.raises(InputError, match="moves the momentum, and this rule has none"):
        rule.load_state_dict(state)
    assert rule.param_groups[0]["lr"] == 0.5


def test_numpy_refuses_what_cannot_be() -> None:
    with pytest.raises(InputError, match=r"one_cycle\(10.*moves the momentum, and this rule has none"):
        adamas.numpy.Adagrad(arrays(), lr=CYCLE)
    with pytest.raises(InputError, match="weight_decay"):
        adamas.numpy.AdamW(arrays(), lr=0.1, weight_decay=F)
    adamas.numpy.RMSprop(arrays(), lr=CYCLE, momentum=0.9).step(gradients(0))


# -- torch -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="the torch front")


def groups(torch: Any) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    return [{"params": [torch.nn.Parameter(torch.randn(3))], "lr": rate} for rate in (0.1, 0.02)]


def kinds(torch: Any) -> list[Any]:
    import adamas.torch

    return [adamas.torch.AdamW, torch.optim.AdamW]


def train(opt: Any, scheduler: Any, first: int, last: int) -> list[Any]:
    """Steps; returns what each was made with."""
    import torch

    seen: list[Any] = []
    for step in range(first, last):
        for k, group in enumerate(opt.param_groups):
            for p in group["params"]:
                p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(10 * step + k))
        seen.append([(group["lr"], group["betas"]) for group in opt.param_groups])
        opt.step()
        scheduler.step()
    return seen


def weights(opt: Any) -> list[Any]:
    return [p.tolist() for group in opt.param_groups for p in group["params"]]


def test_torch_bases_times_factors(torch: Any) -> None:
    from adamas.torch import schedule

    for kind in kinds(torch):
        opt = kind(groups(torch), betas=(0.8, 0.99))
        scheduler = schedule(opt, CYCLE)
        assert isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler)
        assert CYCLE.momentum is not None
        seen = train(opt, scheduler, 0, 14)
        for step, own in enumerate(seen):
            beta = (CYCLE.momentum(step), 0.99)
            assert own == [(0.1 * CYCLE(step), beta), (0.02 * CYCLE(step), beta)], step
        assert scheduler.get_last_lr() == [0.1 * CYCLE(14), 0.02 * CYCLE(14)] and scheduler.last_epoch == 14


def test_torch_lambdalr_takes_it(torch: Any) -> None:
    """And its state dict, which reads and writes the __dict__ of what it calls, leaves the schedule alone."""
    from adamas.torch import schedule

    LambdaLR = torch.optim.lr_scheduler.LambdaLR
    ours, theirs = (torch.optim.AdamW(groups(torch)) for _ in range(2))
    first, second = schedule(ours, F), LambdaLR(theirs, F)
    assert train(ours, first, 0, 5) == train(theirs, second, 0, 5)
    again = pickle.loads(pickle.dumps(second.state_dict()))
    other = cosine(3)
    resumed = torch.optim.AdamW(groups(torch))
    third = LambdaLR(resumed, other)
    third.load_state_dict(again)
    assert other == cosine(3) and other(1) == cosine(3)(1) and third.last_epoch == 5
    first.load_state_dict(again)
    assert train(ours, first, 5, 12) == train(theirs, second, 5, 12)


@pytest.mark.parametrize("how", ["number", "optimizer first", "scheduler first", "torch.save", "checkpoint", "pickle"])
def test_torch_goes_on_as_if_never_stopped(how: str, torch: Any, tmp_path: Any) -> None:
    from adamas.torch import AdamW, schedule

    straight, stopped = AdamW(groups(torch)), AdamW(groups(torch))
    train(straight, schedule(straight, CYCLE), 0, 12)
    scheduler = schedule(stopped, CYCLE)
    train(stopped, scheduler, 0, 5)
    saved = {"opt": stopped.state_dict(), "scheduler": scheduler.state_dict()}
    if how == "torch.save":
        file = io.BytesIO()
        torch.save(saved, file)
        file.seek(0)
        saved = torch.load(file, weights_only=True)
    params = [{"params": [p.detach().clone().requires_grad_() for p in g["params"]]} for g in stopped.param_groups]
    if how == "checkpoint":
        checkpoint.save(tmp_path, 5, opt=stopped, scheduler=scheduler)
    if how == "pickle":
        scheduler = pickle.loads(pickle.dumps(scheduler))
        opt = scheduler.optimizer
    elif how == "number":
        opt = AdamW(params)
        opt.load_state_dict(saved["opt"])
        scheduler = schedule(opt, CYCLE, step=5)
    else:
        opt = AdamW(params, lr=7.0, betas=(0.1, 0.2))
        scheduler = schedule(opt, CYCLE)
        if how == "checkpoint":
            checkpoint.load(tmp_path, opt=opt, scheduler=scheduler)
        elif how == "scheduler first":
            scheduler.load_state_dict(saved["scheduler"])
            opt.load_state_dict(saved["opt"])
        else:
            opt.load_state_dict(saved["opt"])
            scheduler.load_state_dict(saved["scheduler"])
    train(opt, scheduler, 5, 12)
    assert weights(opt) == weights(straight)


def test_torch_needs_nothing_but_the_number(torch: Any) -> None:
    """An optimizer that has never been scheduled, at a step that has never been reached from step to step."""
    from adamas.torch import AdamW, schedule

    opt = AdamW(groups(torch))
    scheduler = schedule(opt, F, step=7)
    assert [group["lr"] for group in opt.param_groups] == [0.1 * F(7), 0.02 * F(7)]
    scheduler.step(2)
    assert [group["lr"] for group in opt.param_groups] == [0.1 * F(2), 0.02 * F(2)]
    scheduler.load_state_dict({"last_epoch": 9})
    assert scheduler.get_last_lr() == [0.1 * F(9), 0.02 * F(9)]
    for bad in ({}, {"last_epoch": -1}, {"last_epoch": "3"}):
        with pytest.raises(InputError, match="last_epoch"):
            scheduler.load_state_dict(bad)
    assert scheduler.last_epoch == 9


def _scaled_run(torch: Any, make: Any, clear_early: bool = False) -> list[str]:
    """Two steps in fp16's way, of which the first overflows; the warnings."""
    opt = torch.optim.AdamW(groups(torch)[:1])
    (p,) = opt.param_groups[0]["params"]
    scheduler, scaler = make(opt), torch.amp.GradScaler("cpu", init_scale=4.0)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for factor in (float("inf"), 1.0):
            scaler.scale((p * factor).sum()).backward()
            scaler.step(opt)
            scaler.update()
            if clear_early:
                opt.zero_grad()
            scheduler.step()
            opt.zero_grad()
    assert float(opt.state[p]["step"]) == 1  # the first was skipped
    return [str(w.message) for w in told]


@pytest.mark.parametrize("clear_early", [False, True])
def test_torch_no_false_warning_after_a_skipped_step(clear_early: bool, torch: Any) -> None:
    from adamas.torch import schedule

    assert _scaled_run(torch, lambda opt: schedule(opt, F), clear_early) == []
    theirs = _scaled_run(torch, lambda opt: torch.optim.lr_scheduler.LambdaLR(opt, F), clear_early)
    assert any("before `optimizer.step()`" in told for told in theirs), "or this test would show nothing"


def test_torch_the_wrong_order_is_told(torch: Any) -> None:
    from adamas.torch import schedule

    opt = torch.optim.AdamW(groups(torch))
    scheduler = schedule(opt, F)
    for group in opt.param_groups:
        for p in group["params"]:
            p.grad = torch.ones(3)
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        scheduler.step()
    assert scheduler.last_epoch == 1 and opt.param_groups[0]["lr"] == 0.1 * F(1)


def test_torch_a_list_and_a_late_group(torch: Any) -> None:
    from adamas.torch import AdamW, schedule

    opt = AdamW(groups(torch))
    scheduler = schedule(opt, [F, cosine(10)])
    train(opt, scheduler, 0, 3)
    assert scheduler.get_last_lr() == [0.1 * F(3), 0.02 * cosine(10)(3)]
    with pytest.raises(InputError, match="3 schedules for 2 groups"):
        schedule(opt, [F, F, F])
    late = {"params": [torch.nn.Parameter(torch.zeros(2))], "lr": 0.5}
    opt = AdamW(groups(torch))
    scheduler = schedule(opt, F)
    train(opt, scheduler, 0, 3)
    opt.add_param_group(late)
    train(opt, scheduler, 3, 5)
    assert scheduler.get_last_lr() == [0.1 * F(5), 0.02 * F(5), 0.5 * F(5)]


def test_torch_rates_and_betas_that_are_tensors(torch: Any) -> None:
    from adamas.torch import AdamW, schedule

    rate, betas = torch.tensor(0.1, dtype=torch.float64), (torch.tensor(0.9), torch.tensor(0.99))
    opt = AdamW([torch.nn.Parameter(torch.zeros(2))], lr=rate, betas=betas)
    scheduler = schedule(opt, CYCLE)
    train(opt, scheduler, 0, 4)
    group = opt.param_groups[0]
    assert group["lr"] is rate and group["betas"][0] is betas[0]
    assert float(rate) == pytest.approx(0.1) and float(betas[0]) == pytest.approx(0.85)


def test_torch_momentum_of_sgd_and_of_none(torch: Any) -> None:
    import adamas.torch
    from adamas.torch import schedule

    for kind in (adamas.torch.SGD, torch.optim.SGD):
        opt = kind(groups(torch), momentum=0.5)
        schedule(opt, CYCLE, step=4)
        assert [group["momentum"] for group in opt.param_groups] == [0.85, 0.85]
    opt = adamas.torch.Adagrad(groups(torch))
    before = copy.deepcopy(opt.state_dict())
    with pytest.raises(InputError, match="group 0 has neither 'betas' nor 'momentum'"):
        schedule(opt, CYCLE)
    assert opt.state_dict() == before and not hasattr(opt.step, "_wrapped_by_lr_sched")
    schedule(opt, one_cycle(10, momentum=None))


def test_torch_refuses_what_is_no_schedule(torch: Any) -> None:
    from adamas.torch import schedule

    opt = torch.optim.AdamW(groups(torch))
    for args, sentence in (
        ((opt, lambda t: 1.0), "A function is no schedule"),
        ((opt, 0.5), "A float is no schedule"),
        (([], F), "A list is no torch optimizer"),
        ((opt, F, -1), "cannot begin at step -1"),
        ((opt, F, 1.5), "cannot begin at step 1.5"),
    ):
        with pytest.raises(InputError, match=sentence):
            schedule(*args)
    assert "initial_lr" not in opt.param_groups[0]


def test_torch_deepcopy_is_a_run_of_its_own(torch: Any) -> None:
    from adamas.torch import AdamW, schedule

    opt = AdamW(groups(torch))
    scheduler = schedule(opt, F)
    train(opt, scheduler, 0, 3)
    other = copy.deepcopy(scheduler)
    train(other.optimizer, other, 3, 6)
    assert scheduler.last_epoch == 3 and opt.param_groups[0]["lr"] == 0.1 * F(3)
    train(opt, scheduler, 3, 6)
    assert weights(opt) == weights(other.optimizer)


# -- optax and Keras -------------------------------------------------------------------------------------------------

SHAPES = [
    3e-2 * F,
    0.1 * (warmup(3) >> constant()[:2] >> inverse_sqrt(3)[1:]),
    0.1 * cosine_restarts(2, 2),
    0.1 * multi_step([2, 5], factor=0.5),
]


@pytest.mark.parametrize("f", SHAPES, ids=repr)
def test_optax(f: Schedule) -> None:
    """Under jit, with the count traced: the same weights as on our NumPy front."""
    jax = pytest.importorskip("jax", reason="optax' arrays")
    optax = pytest.importorskip("optax", reason="optax")
    transform = optax.adamw(f)
    params = jax.numpy.ones(3)
    state = transform.init(params)

    @jax.jit
    def step(params: Any, state: Any, grad: Any) -> Any:
        updates, state = transform.update(grad, state, params)
        return optax.apply_updates(params, updates), state

    theta = np.ones(3, np.float32)
    ours = adamas.numpy.AdamW(theta, lr=f, weight_decay=1e-4)
    for t in range(12):
        grad = gradients(t)[0]
        params, state = step(params, state, grad)
        ours.step(grad)
    np.testing.assert_allclose(params, theta, rtol=1e-5)
    assert step._cache_size() == 1, "compiled once"


def test_optax_moves_momentum() -> None:
    pytest.importorskip("jax", reason="optax' arrays")
    optax = pytest.importorskip("optax", reason="optax")
    transform = optax.inject_hyperparams(optax.adamw)(learning_rate=0.1 * CYCLE, b1=CYCLE.momentum)
    params = np.ones(3, np.float32)
    state = transform.init(params)
    for t in range(6):
        _, state = transform.update(params, state, params)
        assert CYCLE.momentum is not None
        assert float(state.hyperparams["b1"]) == pytest.approx(CYCLE.momentum(t), rel=1e-6)
        assert float(state.hyperparams["learning_rate"]) == pytest.approx(0.1 * CYCLE(t), rel=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of its torch backend's own use of NumPy
def test_keras() -> None:
    """In a training, with whichever backend there is; saved and loaded."""
    os.environ.setdefault("KERAS_BACKEND", "jax" if find_spec("jax") else "torch")  # read at import
    keras = pytest.importorskip("keras", reason="Keras")
    from adamas.keras import LearningRateSchedule

    for f in (*SHAPES, 0.1 * one_cycle(6, momentum=None)):
        made = LearningRateSchedule(f)
        values = [float(made(keras.ops.convert_to_tensor(t))) for t in range(12)]
        np.testing.assert_allclose(values, f(np.arange(12)), rtol=1e-5, atol=1e-8)
        again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(made))
        assert isinstance(again, LearningRateSchedule) and again.schedule == f
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(LearningRateSchedule(SHAPES[0])), "mse")
    x = np.ones((8, 3), np.float32)
    model.fit(x, x[:, :1], batch_size=2, epochs=1, verbose=0, shuffle=False)
    assert float(model.optimizer.learning_rate) == pytest.approx(SHAPES[0](4), rel=1e-5)
    with pytest.raises(InputError, match="moves the momentum, which Keras' optimizers keep"):
        LearningRateSchedule(CYCLE)
    with pytest.raises(InputError, match="A float is no schedule"):
        LearningRateSchedule(0.1)
