"""Loss scaling: the rule against a restatement of it and against torch's, and steps that are left out."""

import copy
import io
import itertools
import math
import os
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import adamas.numpy
import adamas.torch
from adamas.errors import InputError
from adamas.scaling import DynamicScale, LossScaler, ScaleCollapse, all_finite
from tests.reference import textbook

ROOT = Path(__file__).parents[2]
INF = math.inf


# -- the rule --------------------------------------------------------------------------------------------------------


class Restated:
    """The rule as docs/loss-scaling.md tells it, step by step, in plain Python."""

    def __init__(self, init, growth, backoff, interval, floor, ceiling, hysteresis):
        self.scale, self.growth, self.backoff, self.interval = init, growth, backoff, interval
        self.floor, self.ceiling, self.hysteresis = floor, ceiling, hysteresis
        self.good = self.bad = self.skipped = 0

    def step(self, overflow):
        if overflow:
            self.skipped += 1
            self.good = 0
            self.bad += 1
            if self.bad >= self.hysteresis and self.scale > self.floor:
                self.scale = max(self.scale * self.backoff, self.floor)
        else:
            self.good += 1
            if self.good == self.interval:
                self.good = self.bad = 0
                if self.scale < self.ceiling:
                    self.scale = min(self.scale * self.growth, self.ceiling)


POWERS = st.integers(-3, 12).map(lambda k: 2.0**k)
SEQUENCES = st.lists(st.booleans(), max_size=60)


@settings(max_examples=200, deadline=None)
@given(
    overflows=SEQUENCES,
    init=POWERS,
    growth=st.sampled_from([2.0, 4.0]),
    backoff=st.sampled_from([0.5, 0.25]),
    interval=st.integers(1, 5),
    limits=st.tuples(POWERS, POWERS).map(sorted),
    hysteresis=st.integers(1, 4),
)
def test_the_rule_as_restated(overflows, init, growth, backoff, interval, limits, hysteresis) -> None:
    rule = DynamicScale(init, growth, backoff, interval, *limits, hysteresis)
    state, other = rule.init(), Restated(init, growth, backoff, interval, *limits, hysteresis)
    for overflow in overflows:
        state = rule.update(state, not overflow)
        other.step(overflow)
        told = float(state.scale), int(state.good_steps), int(state.overflows), int(state.skipped)
        assert told == (other.scale, other.good, other.bad, other.skipped)
        assert bool(state.last_skipped) == overflow
        assert [np.asarray(x).dtype for x in state] == [np.asarray(x).dtype for x in rule.init()]


def drive(scaler: Any, overflow: bool) -> None:
    weight = torch.nn.Parameter(torch.ones(()))
    opt = torch.optim.SGD([weight], lr=0.0)
    scaler.scale(weight * (INF if overflow else 1.0)).backward()
    scaler.step(opt)
    scaler.update()


@settings(max_examples=60, deadline=None)
@given(
    overflows=st.lists(st.booleans(), max_size=40),
    init=st.sampled_from([2.0**16, 1000.0, 3.0]),
    growth=st.sampled_from([2.0, 1.1, 3.3]),
    backoff=st.sampled_from([0.5, 0.3]),
    interval=st.integers(1, 4),
)
def test_within_the_limits_it_is_torchs_to_the_bit(overflows, init, growth, backoff, interval) -> None:
    given = "cpu", init, growth, backoff, interval  # by position, as torch's
    ours = adamas.torch.GradScaler(*given, floor=1e-30, ceiling=1e30)
    theirs = torch.amp.GradScaler(*given)
    for overflow in overflows:
        drive(ours, overflow)
        drive(theirs, overflow)
        assert ours.get_scale() == theirs.get_scale()
        assert ours.last_skipped == overflow
        theirs_dict = theirs.state_dict()
        assert {key: ours.state_dict()[key] for key in theirs_dict} == theirs_dict
    assert ours.skipped == sum(overflows)


def test_defaults_are_those_that_the_docs_tell() -> None:
    assert DynamicScale() == DynamicScale(2.0**16, 2.0, 0.5, 2000, 1.0, 2.0**24, 1, 5)
    scaler = adamas.torch.GradScaler("cpu")
    assert (scaler.get_scale(), scaler.get_growth_interval()) == (2.0**16, 2000)
    assert LossScaler().state_dict() == scaler.state_dict()


# -- collapse --------------------------------------------------------------------------------------------------------


def steps_until_collapse(rule: DynamicScale, overflows: Any) -> int:
    state = rule.init()
    for step, overflow in enumerate(overflows, 1):
        state = rule.update(state, not overflow)
        if rule.collapse(state):
            return step
    return 0


def test_gradients_that_are_never_finite_are_noticed_at_the_floor() -> None:
    assert steps_until_collapse(DynamicScale(), [True] * 100) == 16 + 5  # halvings down to 1, and five more
    assert steps_until_collapse(DynamicScale(hysteresis=3), [True] * 100) == 2 + 16 + 5
    assert steps_until_collapse(DynamicScale(floor=2.0**-8, collapse_after=2), [True] * 100) == 24 + 2
    assert steps_until_collapse(DynamicScale(init_scale=2.0**32), [True] * 100) == 32 + 5


def test_one_good_step_at_the_floor_starts_the_count_anew() -> None:
    rule = DynamicScale(init_scale=1.0)
    assert steps_until_collapse(rule, ([True] * 4 + [False] * 16) * 50) == 0
    assert steps_until_collapse(rule, [*[True] * 4, False, *[True] * 5]) == 10


@pytest.mark.parametrize(("every", "collapses"), [(2, True), (4, True), (5, False), (50, False)])
def test_overflows_again_and_again_are_noticed(every: int, collapses: bool) -> None:
    found = steps_until_collapse(DynamicScale(), [step % every == 0 for step in range(2000)])
    assert bool(found) == collapses
    assert not found or found > 40


@settings(max_examples=100, deadline=None)
@given(
    logs=st.lists(st.floats(0.0, 30.0), min_size=1, max_size=5),
    init=st.integers(0, 32),
    hysteresis=st.integers(1, 4),
    interval=st.integers(20, 60),
)
def test_a_scale_that_is_being_found_has_not_collapsed(logs, init, hysteresis, interval) -> None:
    """Gradients that overflow beyond some scale, 1 or more, which moves now and then; growth is tried all the time."""
    rule = DynamicScale(init_scale=2.0**init, growth_interval=interval, hysteresis=hysteresis)
    state = rule.init()
    for log in logs:
        for _ in range(150):
            state = rule.update(state, state.scale <= 2.0**log)
            assert not rule.collapse(state)


def test_a_collapse_is_raised_with_cause_and_remedy_and_goes_on_being_so() -> None:
    theta = np.ones(2, np.float32)
    opt, scaler = adamas.numpy.AdamW(theta), LossScaler(4.0, collapse_after=3)
    grads = np.full(2, np.nan, np.float32)
    for _ in range(4):
        scaler.step(opt, grads)
        scaler.update()
    for count in (3, 4):
        scaler.step(opt, grads)
        sentence = (
            rf"^The loss scale has collapsed: it is at its floor of 1, and the gradients of the last {count} steps"
        )
        with pytest.raises(ScaleCollapse, match=sentence + r".* lower the learning rate.*bfloat16"):
            scaler.update()
        assert scaler.last_skipped and scaler.scale == 1
    scaler.step(opt, np.ones(2, np.float32))
    scaler.update()
    assert not scaler.last_skipped and theta[0] < 1

    torchs = adamas.torch.GradScaler("cpu", 2.0, collapse_after=1)
    drive(torchs, True)
    with pytest.raises(FloatingPointError, match="collapsed: it is at its floor"):
        drive(torchs, True)
    drive(torchs, False)
    often = DynamicScale()
    state = often.init()._replace(excess=np.int32(10_000), skipped=np.int32(77), scale=np.float32(8))
    assert "77 steps were left out so far, lately more than one in five" in often.collapse(state)


# -- the NumPy front -------------------------------------------------------------------------------------------------


def everything(opt: Any, *arrays: np.ndarray) -> list[Any]:
    state = opt.state_dict()
    held = [(key, name, np.asarray(x).tobytes()) for key, s in state["state"].items() for name, x in sorted(s.items())]
    return [*held, str(state["param_groups"]), *(a.tobytes() for a in arrays)]


TAIL = {"clip_grad_norm": 0.5, "ema_decay": 0.9, "telemetry": True}


@pytest.mark.parametrize(("name", "tail"), [("SGD", {}), ("Lion", {}), ("AdamW", TAIL)])
def test_a_scaled_step_is_the_step(name: str, tail: dict) -> None:
    rng = np.random.default_rng(0)
    plain = [rng.standard_normal(shape).astype(np.float32) for shape in [(3, 5), (7,), ()]]
    scaled = copy.deepcopy(plain)
    make = getattr(adamas.numpy, name)
    a, b = make(plain, **tail), make(scaled, **tail)
    for step in range(4):
        grads = [np.array(rng.standard_normal(p.shape), np.float32) for p in plain]
        before = everything(b, *scaled)
        b.step([np.array(g * np.float32(INF if step == 2 else 64)) for g in grads], grad_scale=64.0)
        assert b.last.skipped == (step == 2)
        if step == 2:
            assert everything(b, *scaled) == before
            continue
        a.step(grads)
        assert everything(a, *plain) == everything(b, *scaled)
        if tail:
            assert math.isclose(a.last.grad_norm, b.last.grad_norm, rel_tol=1e-12)
            assert (a.last.telemetry.grad_norm == b.last.telemetry.grad_norm).all()


@pytest.mark.parametrize("options", [{}, {"nonfinite": "raise"}, {"zero_grad": True}, {"state_dtype": "int8"}])
@pytest.mark.parametrize("bad", [INF, -INF, math.nan])
def test_an_overflow_changes_nothing(options: dict, bad: float) -> None:
    theta = {"a": np.linspace(-1, 1, 5000, dtype=np.float32), "b": np.ones(3, np.float16)}
    opt = adamas.numpy.AdamW(theta, ema_decay=0.9, **options)
    scaler = LossScaler(2.0, growth_interval=2)
    grads = {"a": np.ones(5000, np.float32), "b": np.ones(3, np.float16)}
    scaler.step(opt, copy.deepcopy(grads))
    scaler.update()
    grads["b"][1] = bad
    held, before = copy.deepcopy(grads), everything(opt, *theta.values())
    scaler.step(opt, grads)
    assert scaler.last_skipped and opt.last.skipped
    scaler.update()
    assert everything(opt, *theta.values()) == before
    assert all(np.array_equal(grads[k], held[k], equal_nan=True) for k in grads)
    assert (scaler.scale, scaler.skipped, scaler.last_skipped) == (1.0, 1, True)


def test_rows_overflow_too() -> None:
    table = np.ones((10, 2), np.float32)
    opt, scaler = adamas.numpy.Adam(table), LossScaler()
    scaler.step(opt, adamas.numpy.Rows([3], np.array([[INF, 1.0]], np.float32)))
    assert scaler.last_skipped and (table == 1).all() and not opt.state


def test_several_optimizers_share_a_scale() -> None:
    first, second = np.ones(2), np.ones(2)
    a, b, scaler = adamas.numpy.SGD(first, lr=1.0), adamas.numpy.SGD(second, lr=1.0), LossScaler(8.0)
    scaler.step(a, np.array([INF, 1.0]))
    scaler.step(b, np.array([8.0, 8.0]))
    assert scaler.last_skipped and scaler.scale == 8
    scaler.update()
    assert (first == 1).all() and (second == 0).all() and scaler.scale == 4 and scaler.last_skipped


def test_out_of_turn() -> None:
    theta = np.ones(2)
    opt, scaler = adamas.numpy.SGD(theta), LossScaler()
    with pytest.raises(InputError, match=r"There was no step since the last update: call scaler.step"):
        scaler.update()
    with pytest.raises(InputError, match="has shape"):
        scaler.step(opt, np.ones(3))
    scaler.step(opt, np.ones(2))
    with pytest.raises(InputError, match=r"has stepped already: call scaler.update\(\) once"):
        scaler.step(opt, np.ones(2))


@pytest.mark.parametrize("scale", [0.0, -1.0, INF, math.nan, True, "2"])
def test_a_scale_that_cannot_be_is_refused(scale: Any) -> None:
    theta = np.ones(2)
    with pytest.raises(InputError, match=r"Invalid grad_scale value: .*: it must be a finite number above 0"):
        adamas.numpy.SGD(theta).step(np.ones(2), grad_scale=scale)
    assert (theta == 1).all()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"init_scale": 0.0}, "Invalid init_scale value: 0.0: it must be a finite number above 0"),
        ({"init_scale": math.nan}, "Invalid init_scale value"),
        ({"growth_factor": 1.0}, "Invalid growth_factor value: 1.0: it must be above 1"),
        ({"backoff_factor": 1.0}, "Invalid backoff_factor value: 1.0: it must be below 1"),
        ({"backoff_factor": 0.0}, "Invalid backoff_factor value: 0.0: it must be a finite number above 0"),
        ({"growth_interval": 0}, "Invalid growth_interval value: 0: it must be a whole number, 1 or more"),
        ({"growth_interval": 2.5}, "Invalid growth_interval value: 2.5"),
        ({"floor": 0.0}, "Invalid floor value"),
        ({"floor": 4.0, "ceiling": 2.0}, "The floor 4.0 of the loss scale is above its ceiling 2.0"),
        ({"hysteresis": 0}, "Invalid hysteresis value: 0"),
        ({"collapse_after": True}, "Invalid collapse_after value: True"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict, sentence: str) -> None:
    for make in (LossScaler, lambda **given: adamas.torch.GradScaler("cpu", **given)):
        with pytest.raises(InputError, match=re.escape(sentence)):
            make(**options)


# -- state dicts -----------------------------------------------------------------------------------------------------


def numpys(scaler: LossScaler, overflow: bool) -> None:
    scaler.step(adamas.numpy.SGD(np.ones(1), lr=0.0), np.array([INF if overflow else 1.0]))
    scaler.update()


@settings(max_examples=30, deadline=None)
@given(overflows=SEQUENCES, cut=st.integers(0, 60))
def test_resumed_in_either_front_it_goes_on_as_if_never_stopped(overflows, cut) -> None:
    options = {"growth_interval": 3, "hysteresis": 2, "floor": 2.0**10, "collapse_after": 100}
    whole = LossScaler(**options)
    begun: Any = LossScaler(**options)
    for step, overflow in enumerate(overflows):
        if step == cut:
            saved = begun.state_dict()
            begun = adamas.torch.GradScaler("cpu", 3.0)
            begun.load_state_dict(saved)
        numpys(whole, overflow)
        drive(begun, overflow) if isinstance(begun, adamas.torch.GradScaler) else numpys(begun, overflow)
        assert begun.state_dict() == whole.state_dict()
        assert begun.last_skipped == whole.last_skipped and begun.skipped == whole.skipped
    again = LossScaler()
    again.load_state_dict(begun.state_dict())
    assert again.state_dict() == whole.state_dict()


@pytest.mark.parametrize("begun", [False, True])
def test_torchs_dicts_and_ours_are_each_others(begun: bool) -> None:
    ours, theirs = adamas.torch.GradScaler("cpu", 512.0, hysteresis=3), torch.amp.GradScaler("cpu", 64.0, 3.0, 0.25, 7)
    for scaler in (ours, theirs) if begun else ():
        drive(scaler, False)
    loaded, other = adamas.torch.GradScaler("cpu", hysteresis=4), torch.amp.GradScaler("cpu")
    if begun:
        drive(loaded, False)
    loaded.load_state_dict(theirs.state_dict())
    other.load_state_dict(ours.state_dict())
    assert theirs.state_dict().items() <= loaded.state_dict().items()
    assert other.state_dict().items() <= ours.state_dict().items()
    assert loaded.state_dict()["hysteresis"] == 4, "of which torch's says nothing"
    drive(loaded, False)
    drive(other, False)
    assert (loaded.get_scale(), other.get_scale()) == (64.0, 512.0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"scale": -1.0}, "Invalid scale value: -1.0"),
        ({"scale": "a"}, "Invalid scale value"),
        ({"growth_factor": 0.5}, "Invalid growth_factor value: 0.5"),
        ({"_growth_tracker": 1.5}, "Invalid _growth_tracker value: 1.5"),
        ({"overflows": -1}, "Invalid overflows value: -1"),
        ({"last_skipped": 1}, "Invalid last_skipped value: 1"),
        ({"scale": None}, "Invalid scale value: None"),
        ("lacks", "The state dict of a loss scale lacks 'scale'"),
        ("list", "The state dict of a loss scale is a list: give a dict"),
    ],
)
def test_a_dict_that_cannot_be_is_refused_whole(change: Any, sentence: str) -> None:
    torchs = adamas.torch.GradScaler("cpu")
    drive(torchs, True)
    for scaler in (LossScaler(), torchs):
        before = scaler.state_dict()
        given: Any = (
            {**before, "growth_interval": 3, **change}
            if isinstance(change, dict)
            else {"lacks": {}, "list": []}[change]
        )
        with pytest.raises(InputError, match=re.escape(sentence)):
            scaler.load_state_dict(given)
        assert scaler.state_dict() == before


def test_copies_and_pickles() -> None:
    scaler = adamas.torch.GradScaler("cpu", growth_interval=3, hysteresis=2)
    drive(scaler, True)
    for again in (copy.deepcopy(scaler), pickle.loads(pickle.dumps(scaler))):
        assert again.state_dict() == scaler.state_dict()
        drive(again, True)
        assert again.get_scale() == 2.0**15 and scaler.get_scale() == 2.0**16
    file = io.BytesIO()
    torch.save(scaler.state_dict(), file)
    file.seek(0)
    assert torch.load(file, weights_only=True) == scaler.state_dict()


# -- torch -----------------------------------------------------------------------------------------------------------

MAKERS = {
    "ours": lambda params: adamas.torch.AdamW(params, lr=0.1),
    "ours fused": lambda params: adamas.torch.AdamW(params, lr=0.1, fused=True),
    "torch's": lambda params: torch.optim.AdamW(params, lr=0.1),
    "torch's fused": lambda params: torch.optim.AdamW(params, lr=0.1, fused=True),
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("unscaled", [False, True])
def test_a_step_left_out_changes_nothing_and_holds_the_schedule(kind: str, unscaled: bool) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    opt = MAKERS[kind]([weight])
    schedule = torch.optim.lr_scheduler.LambdaLR(opt, lambda step: 1 / (1 + step))
    scaler = adamas.torch.GradScaler("cpu", 8.0)
    rates = []
    for step in range(6):
        opt.zero_grad()
        factor = torch.tensor([1.0, INF if step in (0, 3) else 1.0, 2.0])
        scaler.scale((weight * factor).sum()).backward()
        if unscaled:
            scaler.unscale_(opt)
        before = weight.detach().clone(), copy.deepcopy(opt.state_dict()["state"])
        scaler.step(opt)
        skipped = scaler.last_skipped
        scaler.update()
        assert scaler.last_skipped == skipped == (step in (0, 3))
        assert torch.equal(weight, before[0]) == skipped
        if skipped and (step or kind != "torch's fused"):  # which begins its states even so
            assert str(opt.state_dict()["state"]) == str(before[1])
        if isinstance(opt, adamas.torch.Optimizer):
            assert opt.last.skipped == skipped
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if step == 0 or not skipped:
                schedule.step()  # at step 0 although it was left out: no warning that the order is wrong
        rates.append(opt.param_groups[0]["lr"])
    assert np.allclose(rates, [0.1 / k for k in (2, 3, 4, 4, 5, 6)])
    assert float(opt.state[weight]["step"]) == 4 and scaler.skipped == 2


def test_what_torchs_scaler_warns_of() -> None:
    """Were it otherwise, the test above would show nothing."""
    weight = torch.nn.Parameter(torch.ones(1))
    opt = torch.optim.AdamW([weight])
    schedule = torch.optim.lr_scheduler.StepLR(opt, 2)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(weight.sum() * INF).backward()
    scaler.step(opt)
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        schedule.step()


def test_the_order_is_still_watched() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    opt = adamas.torch.AdamW([weight])
    schedule = torch.optim.lr_scheduler.StepLR(opt, 2)
    scaler = adamas.torch.GradScaler("cpu")
    scaler.scale(weight.sum()).backward()
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        schedule.step()


def test_a_scale_by_hand_and_none_at_all() -> None:
    scaler = adamas.torch.GradScaler("cpu", 8.0, hysteresis=2)
    drive(scaler, True)
    scaler.scale(torch.ones(()))
    scaler.update(32.0)
    assert scaler.get_scale() == 32
    drive(scaler, True)
    assert scaler.get_scale() == 32, "the overflow before is forgotten"
    scaler.set_growth_interval(1)
    drive(scaler, False)
    assert scaler.get_scale() == 64
    off = adamas.torch.GradScaler("cpu", enabled=False)
    weight = torch.nn.Parameter(torch.ones(1))
    opt = torch.optim.SGD([weight], lr=1.0)
    assert off.scale(weight) is weight
    weight.grad = torch.full((1,), INF)
    off.step(opt)
    off.update()
    assert weight.item() == -INF and off.state_dict() == {} and not off.last_skipped
    off.load_state_dict({})


# -- a run -----------------------------------------------------------------------------------------------------------


def simulated(steps: int = 60, lr: float = 0.5, interval: int = 5) -> list[tuple[float, float, float, bool]]:
    """The example's run, from the textbook: AdamW in float64, gradients rounded to float16 at the scale of the time."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((256, 8)).astype(np.float32).astype(np.float64)
    y = (3 * x.astype(np.float32) @ rng.standard_normal((8, 1)).astype(np.float32)).astype(np.float64)
    theta, states, made, good, scale, rows = np.zeros(8), None, 0, 0, 2.0**16, []
    for _ in range(steps):
        errors = x @ theta - y[:, 0]
        with np.errstate(over="ignore"):
            grad = np.float16(scale * 2 / 256 * (x.T @ errors)).astype(np.float64) / scale
        overflow = not np.isfinite(grad).all()
        rows.append((float(np.mean(errors**2)), scale, lr * (1 - made / steps), overflow))
        if overflow:
            scale, good = scale / 2, 0
            continue
        theta, states = textbook.adamw(theta, [grad], states=states, lr=rows[-1][2])
        made, good = made + 1, good + 1
        if good == interval:
            scale, good = scale * 2, 0
    return rows


def test_the_example_against_the_textbook() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "loss_scaling.py")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    line = re.compile(r"(\w+) step +(\d+): loss +(\S+)  scale +(\S+)  lr (\S+)(  skipped)?$", re.M)
    told: dict[str, list[Any]] = {"torch": [], "numpy": []}
    for front, step, loss, scale, lr, skipped in line.findall(done.stdout):
        assert int(step) == len(told[front])
        told[front].append((float(loss), float(scale), float(lr), bool(skipped)))
    expected = simulated()
    assert 5 < sum(skipped for *_, skipped in expected) < 20
    for rows in told.values():
        assert len(rows) == len(expected)
        for mine, theirs in zip(rows, expected, strict=True):
            assert mine[1:2] + mine[3:] == theirs[1:2] + theirs[3:]
            assert math.isclose(mine[2], theirs[2], abs_tol=1e-6)
            assert math.isclose(mine[0], theirs[0], rel_tol=1e-2, abs_tol=1e-5)
        for before, after in itertools.pairwise(rows):
            if before[3]:
                assert (before[0], before[2]) == (after[0], after[2]), "a step left out moves nothing"


# -- JAX -------------------------------------------------------------------------------------------------------------


def test_under_jit_it_is_the_same_and_compiled_once() -> None:
    jax = pytest.importorskip("jax", reason="the functions are tried under its jit")
    rule = DynamicScale(growth_interval=3, hysteresis=2, floor=2.0**12)
    traces = []

    @jax.jit
    def step(state, finite):
        traces.append(1)
        return rule.update(state, finite)

    rng = np.random.default_rng(0)
    host = rule.init()
    device = jax.tree.map(jax.numpy.asarray, host)
    assert len(jax.tree.leaves(device)) == len(host)
    for _ in range(100):
        grads = [jax.numpy.ones(3), jax.numpy.array([1.0, INF if rng.random() < 0.4 else 1.0])]
        host = rule.update(host, bool(np.isfinite(grads[1]).all()))
        device = step(device, all_finite(jax.tree.leaves(grads)))
        assert [float(x) for x in device] == [float(x) for x in host]
        assert [x.dtype for x in device] == [np.asarray(x).dtype for x in host]
        assert rule.collapse(device) == rule.collapse(host)
    assert len(traces) == 1
    carried, _ = jax.lax.scan(lambda s, f: (rule.update(s, f), None), rule.init(), jax.numpy.zeros(4, bool))
    assert float(carried.scale) == 2.0**13


def test_the_jax_loop_of_the_docs_runs() -> None:
    pytest.importorskip("jax", reason="it is a loop with JAX")
    page = (ROOT / "docs" / "loss-scaling.md").read_text()
    (block,) = (text for text in re.findall(r"```text\n(.*?)```", page, re.S) if "import jax" in text)
    space: dict[str, Any] = {}
    exec(compile(block, "docs/loss-scaling.md", "exec"), space)
    assert abs(float(space["params"]) - 3) < 0.1 and int(space["state"].skipped) > 0
