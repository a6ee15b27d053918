"""The late switch to gradient descent: its η, its momentum, its schedule, its state dicts."""

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest

import adamas
import adamas.numpy
from adamas import LateSwitch, checkpoint
from adamas.errors import InputError, InputTypeError
from adamas.numpy import Rows
from tests.faults.scenes import Scene, Twin, interrupted
from tests.reference import late_switch as reference

torch = pytest.importorskip("torch")
import adamas.torch  # noqa: E402

N = 40
CURVATURE = np.geomspace(0.05, 5.0, N)
START = np.random.default_rng(0).standard_normal(N)


def gradient(theta: np.ndarray, t: int) -> np.ndarray:
    """Of a valley, with noise that is the same in every run."""
    return CURVATURE * theta + 0.3 * np.random.default_rng(t).standard_normal(N)


def values(array: Any) -> np.ndarray:
    """A copy."""
    return np.asarray(array).copy()


class Run:
    """A run down the valley.

    Attributes:
        losses: after each step, by which a plateau is told.
    """

    def __init__(self, front: str, rule: str = "AdamW", groups: bool = False, **options: Any) -> None:
        self.front = front
        self.theta = START.copy() if front == "numpy" else torch.tensor(START)
        self.parts = [self.theta[:15], self.theta[15:]] if groups else [self.theta]
        params: Any = self.parts
        if groups:
            params = [{"params": [self.parts[0]], "lr": 0.02}, {"params": [self.parts[1]]}]
        if front == "eager":
            options["differentiable"] = True
        make = getattr(adamas.numpy if front == "numpy" else adamas.torch, rule)
        self.opt = make(params, **{"lr": 0.05, **options})
        self.t = 0
        self.path: list[np.ndarray] = []

    def step(self, lr: float | None = None) -> None:
        self.t += 1
        if lr is not None:
            self.opt.param_groups[-1]["lr"] = lr
        g = gradient(np.asarray(self.theta), self.t)
        if self.front == "numpy":
            self.opt.step([g[:15], g[15:]] if len(self.parts) > 1 else [g])
        else:
            for part, grad in zip(self.parts, [g[:15], g[15:]] if len(self.parts) > 1 else [g], strict=True):
                part.grad = torch.tensor(grad)
            self.opt.step()
        self.path.append(values(self.theta))

    def bits(self) -> list[bytes]:
        states = [self.opt.state[key] for key in self.opt.state]
        arrays = [self.theta, *(state[name] for state in states for name in sorted(state))]
        return [np.asarray(array).tobytes() for array in arrays]


FRONTS = pytest.mark.parametrize("front", ["numpy", "torch", "eager"])


# -- the estimate, the momentum, the schedule --------------------------------------------------------------------------


@FRONTS
def test_the_whole_run_is_the_references(front: str) -> None:
    def lr(t: int) -> float:
        return 0.05 * (1 + math.cos(math.pi * t / 100)) / 2

    run = Run(front, late_switch=LateSwitch(at=60, momentum=0.8), weight_decay=0.1, betas=(0.9, 0.98), telemetry=True)
    path, gammas, eta = reference.run(START, gradient, 99, 60, lr, (0.9, 0.98), momentum=0.8, decay=0.1)
    for t in range(1, 100):
        run.step(lr(t))
        if t <= 60:
            said = run.opt.last.telemetry
            assert math.isclose(said.step_norm[0] ** 2 / said.step_along_grad[0], gammas[t - 1], rel_tol=1e-9)
        assert (run.opt.switched is None) == (t < 60)
    np.testing.assert_allclose(run.path, path, rtol=1e-9, atol=1e-12)
    assert run.opt.switched[0] == 60 and run.opt.switched.momentum == 0.8 and run.opt.switched.why == "at=60"
    assert math.isclose(run.opt.switched.lr, eta, rel_tol=1e-9)
    assert sorted(run.opt.state[next(iter(run.opt.state))]) == ["exp_avg", "step"]


@FRONTS
def test_groups_keep_the_ratio_of_their_learning_rates(front: str) -> None:
    lr = np.where(np.arange(N) < 15, 0.02, 0.05)
    run = Run(front, groups=True, late_switch=LateSwitch(at=20), weight_decay=0.0)
    path, _, eta = reference.run(START, gradient, 40, 20, lambda t: lr)
    for _ in range(40):
        run.step()
    np.testing.assert_allclose(run.path, path, rtol=1e-9, atol=1e-12)
    assert math.isclose(run.opt.switched.lr, eta[0], rel_tol=1e-9)


def test_what_the_rule_sees_is_projected_on() -> None:
    """Clipped, turned round, with coupled decay in it; and complex numbers are pairs."""
    for front in ("numpy", "torch", "eager"):
        theta: Any = np.array([1 + 2j, -3j, 0.5])
        g: Any = np.array([3 + 4j, 1.0, -2j])
        options = {"lr": 0.1, "weight_decay": 0.1, "clip_grad_norm": 1.0, "maximize": True, "telemetry": True}
        seen = -g / (np.linalg.norm(g) + 1e-6) + 0.1 * theta
        if front == "numpy":
            opt = adamas.numpy.Adam(theta, **options)
            opt.step(g)
        else:
            theta = torch.tensor(theta)
            theta.grad = torch.tensor(g)
            opt = adamas.torch.Adam([theta], differentiable=front == "eager", **options)
            opt.step()
        pairs = seen.view(np.float64)
        moved = 0.1 * pairs / (np.abs(pairs) + 1e-8)
        assert math.isclose(opt.last.telemetry.step_norm[0], np.linalg.norm(moved), rel_tol=1e-9)
        assert math.isclose(opt.last.telemetry.step_along_grad[0], moved @ pairs, rel_tol=1e-9)


def test_decoupled_decay_is_no_part_of_the_step() -> None:
    theta = np.full(3, 100.0)
    opt = adamas.numpy.AdamW(theta, lr=0.1, weight_decay=0.5, telemetry=True)
    opt.step(np.ones(3))
    assert math.isclose(opt.last.telemetry.step_norm[0], 0.1 * math.sqrt(3), rel_tol=1e-6)
    assert opt.last.telemetry.update_norm[0] > 8


def test_after_it_torchs_sgd_takes_the_same_steps() -> None:
    ours = Run("torch", late_switch=LateSwitch(at=30), weight_decay=0.0)
    for _ in range(30):
        ours.step()
    theirs = ours.theta.clone()
    sgd = torch.optim.SGD([theirs], lr=(1 - 0.9) * ours.opt.switched.lr, momentum=0.9)
    sgd.state[theirs]["momentum_buffer"] = ours.opt.state[ours.theta]["exp_avg"] / (1 - 0.9)
    for t in range(31, 61):
        ours.step()
        theirs.grad = torch.tensor(gradient(theirs.numpy(), t))
        sgd.step()
        np.testing.assert_allclose(ours.theta, theirs, rtol=1e-9)


def test_after_it_our_sgd_takes_the_same_steps_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    theta = rng.standard_normal(1000).astype(np.float32)
    opt = adamas.numpy.Adam(theta, late_switch=LateSwitch(at=3))
    for _ in range(3):
        opt.step(rng.standard_normal(1000).astype(np.float32))
    other = theta.copy()
    sgd = adamas.numpy.SGD(other, lr=opt.param_groups[0]["sgd_gain"] * 1e-3, momentum=0.9, dampening=0.9)
    state = {"step": 3.0, "momentum_buffer": opt.state[0]["exp_avg"]}
    sgd.load_state_dict({**sgd.state_dict(), "state": {0: state}})
    for _ in range(5):
        g = rng.standard_normal(1000).astype(np.float32)
        opt.step(g)
        sgd.step(g)
    assert theta.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    "make",
    [
        lambda opt: torch.optim.lr_scheduler.LambdaLR(opt, lambda k: 1 / (1 + 0.1 * k)),
        lambda opt: torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=0.1, total_steps=60),
        lambda opt: torch.optim.lr_scheduler.CosineAnnealingLR(opt, 60, eta_min=1e-3),
        lambda opt: torch.optim.lr_scheduler.MultiStepLR(opt, [10, 20, 40]),
    ],
    ids=["LambdaLR", "OneCycleLR", "CosineAnnealingLR", "MultiStepLR"],
)
def test_a_scheduler_of_torchs_goes_on_falling(make: Any) -> None:
    run = Run("torch", late_switch=LateSwitch(at=30), weight_decay=0.0)
    schedule = make(run.opt)
    twin = adamas.torch.AdamW([torch.zeros(1)], lr=0.05)
    planned = make(twin)
    lrs: list[float] = []
    for _ in range(55):
        lrs.append(twin.param_groups[0]["lr"])
        twin.step()
        planned.step()
        before = values(run.theta)
        run.step()
        schedule.step()
        if run.t > 30:  # what was estimated, times what the schedule has fallen by since
            eta = run.opt.switched.lr * lrs[-1] / lrs[29]
            moved = eta * np.asarray(run.opt.state[run.theta]["exp_avg"])
            np.testing.assert_allclose(before - run.path[-1], moved, rtol=1e-9, atol=1e-15)


# -- when --------------------------------------------------------------------------------------------------------------


def test_swats_switches_where_its_condition_is_first_met() -> None:
    betas, tolerance = (0.9, 0.95), 2e-3
    _, gammas, _ = reference.run(START, gradient, 200, None, lambda t: 0.05, betas)
    for k in range(20, 200):  # 1/(1 − β₂) on
        weights = 0.95 ** np.arange(k - 1, -1, -1)
        eta = weights.sum() / (weights @ (1 / np.array(gammas[:k])))
        if abs(eta - gammas[k - 1]) < tolerance:
            break
    run = Run("numpy", late_switch=LateSwitch(swats=tolerance), betas=betas, weight_decay=0.0)
    while run.opt.switched is None:
        run.step()
    assert run.opt.switched.step == k > 20
    assert math.isclose(run.opt.switched.lr, eta, rel_tol=1e-9)
    assert run.opt.switched.why.startswith("swats=0.002: γ and η are")


def test_swats_waits_until_its_average_has_settled() -> None:
    theta = np.array([3.0])
    opt = adamas.numpy.Adam(theta, late_switch=LateSwitch(swats=1.0), betas=(0.9, 0.95))
    for step in range(1, 25):
        opt.step(theta)
        assert (opt.switched is None) == (step < 20)  # though γ hardly moves at all


@FRONTS
def test_a_plateau_is_of_reports_in_a_row(front: str) -> None:
    run = Run(front, late_switch=LateSwitch(plateau=3, min_delta=0.1))
    for loss in (math.nan, 10.0):  # before any step
        run.opt.report_loss(loss)
    for loss in (8.0, 7.9, math.nan, 7.0, 7.0, torch.tensor(6.9), 6.5):
        run.step()
        run.opt.report_loss(loss)
    # 8.0 is lower; 7.9 and NaN are not; 7.0 is; 7.0, 6.9 and 6.5 are not, by a tenth
    assert run.opt.switched is None
    run.step()
    assert run.opt.switched.step == 8 and run.opt.switched.why == "plateau=3: no loss below 7.0"
    run.opt.report_loss(1.0)
    run.step()
    assert run.opt.switched.step == 8


def test_where_sgd_would_climb_the_switch_waits() -> None:
    theta = np.array([1.0])
    opt = adamas.numpy.Adam(theta, lr=0.1, late_switch=LateSwitch(at=2), betas=(0.9, 0.5))
    for g in (1.0, -0.5, -0.1):  # against the momentum: Δᵀg < 0
        opt.step(np.array([g]))
    assert opt.switched is None and theta < 1
    for _ in range(3):
        opt.step(np.ones(1))
    assert opt.switched.step > 3 and opt.switched.lr > 0


def test_steps_that_were_left_out_do_not_count() -> None:
    theta = np.ones(3)
    opt = adamas.numpy.Adam(theta, late_switch=LateSwitch(at=2), nonfinite="skip")
    for g in (1.0, math.nan, math.inf, math.nan):
        opt.step(np.full(3, g))
    assert opt.switched is None
    opt.step(np.ones(3))
    assert opt.switched.step == 2


def test_a_nan_does_not_stay_in_the_average() -> None:
    thetas = [np.ones(3), np.ones(3)]
    opt = adamas.numpy.Adam(thetas, late_switch=LateSwitch(at=4))
    opt.step([np.ones(3), np.full(3, math.nan)])
    for _ in range(3):
        opt.step([np.ones(3), None])
    assert math.isclose(opt.switched.lr, 1e-3, rel_tol=1e-4)
    theta = np.ones(3)
    opt = adamas.numpy.Adam(theta, lr=1e160, eps=0.0, late_switch=LateSwitch(at=2))
    opt.step(np.full(3, 1e-30))  # whose ΔᵀΔ is infinite
    assert opt.param_groups[0]["late_switch"]["weight"] == 0


# -- rules and options -------------------------------------------------------------------------------------------------

CARRIED = "Adam AdamW Adamax LpAdam AdaBelief SparseAdam NAdam RAdam Lion".split()


@pytest.mark.parametrize("front", ["numpy", "torch"])
@pytest.mark.parametrize("rule", CARRIED)
def test_rules_that_average_gradients_can_switch(rule: str, front: str) -> None:
    options = {} if rule == "SparseAdam" else {"weight_decay": 0.0}
    run = Run(front, rule, late_switch=LateSwitch(at=5), **options)
    for _ in range(5):
        run.step()
    key = 0 if front == "numpy" else run.theta
    m, before, eta = values(run.opt.state[key]["exp_avg"]), values(run.theta), run.opt.switched.lr
    run.step()
    expected = before - eta * (0.9 * m + 0.1 * gradient(before, 6))
    np.testing.assert_allclose(run.path[-1], expected, rtol=1e-9, atol=1e-12)
    kept = {"step", "exp_avg", "mu_product"} if rule == "NAdam" else {"step", "exp_avg"}
    assert set(run.opt.state[key]) == kept


@pytest.mark.parametrize("rule", ["SGD", "Adagrad", "RMSprop", "ADOPT"])
@pytest.mark.parametrize("front", ["numpy", "torch"])
def test_others_cannot(rule: str, front: str) -> None:
    with pytest.raises(InputError, match=f"carries exp_avg over as the momentum, which .*rule '{rule.lower()}'"):
        Run(front, rule, late_switch=LateSwitch(at=5))


def test_rules_of_ones_own_are_tried() -> None:
    @adamas.rule
    def sign_of_average(g, exp_avg, *, lr=1e-3, beta1=0.9):
        exp_avg = beta1 * exp_avg + (1 - beta1) * g
        return lr * adamas.sign(exp_avg), exp_avg

    @adamas.rule
    def sum_of_gradients(g, exp_avg, *, lr=1e-3, beta1=0.9):
        exp_avg = beta1 * exp_avg + g
        return lr * exp_avg, exp_avg

    @adamas.rule
    def average_of_sizes(g, exp_avg, *, lr=1e-3, beta1=0.9):
        exp_avg = beta1 * exp_avg + (1 - beta1) * abs(g)
        return lr * g / exp_avg, exp_avg

    theta = np.ones(2)
    opt = adamas.numpy.optimizer(sign_of_average)(theta, late_switch=LateSwitch(at=1))
    opt.step(np.ones(2))
    assert math.isclose(opt.switched.lr, 1e-3)
    for rule in (sum_of_gradients, average_of_sizes):
        with pytest.raises(InputError, match="is no average of gradients"):
            adamas.numpy.optimizer(rule)(theta, late_switch=LateSwitch(at=1))


def test_narrow_moments_average_and_clipping_go_on() -> None:
    size = 5000
    for state_dtype in ("bfloat16", "int8"):
        p = torch.nn.Parameter(torch.randn(size, generator=torch.Generator().manual_seed(0)))
        options = {"state_dtype": state_dtype, "ema_decay": 0.5, "clip_grad_norm": 1.0, "zero_grad": True}
        opt = adamas.torch.AdamW([p], lr=0.01, weight_decay=0.1, late_switch=LateSwitch(at=3), **options)
        m = torch.zeros(size)
        for step in range(1, 7):
            p.grad = torch.randn(size, generator=torch.Generator().manual_seed(step))
            clipped = p.grad / p.grad.norm()
            m = 0.9 * m + 0.1 * clipped
            before, ema = p.detach().clone(), opt.state[p]["ema"].clone() if step > 1 else p.detach().clone()
            opt.step()
            assert not p.grad.any()
            if step > 3:
                expected = before - opt.switched.lr * m - 0.01 * 0.1 * before  # decay as it was
                torch.testing.assert_close(p.detach(), expected, rtol=0, atol=0.4 * opt.switched.lr * float(m.std()))
                decay = min(0.5, (1 + step) / (10 + step))
                torch.testing.assert_close(opt.state[p]["ema"], ema + (1 - decay) * (p.detach() - ema))
        names = {"step", "exp_avg", "ema", *(["exp_avg_exponent"] if state_dtype == "int8" else [])}
        assert set(opt.state[p]) == names


def test_sparse_rows_go_on_and_a_scaler_too() -> None:
    table = np.ones((10, 2))
    opt = adamas.numpy.Adam(table, lr=0.1, late_switch=LateSwitch(at=2))
    for _ in range(4):
        opt.step(Rows([3, 7], np.ones((2, 2))))
    assert opt.switched.step == 2 and math.isclose(opt.switched.lr, 0.1, rel_tol=1e-6)
    m = 0.9 * (0.9 * 0.19 + 0.1) + 0.1
    np.testing.assert_allclose(table[3], 1 - 0.2 - 0.1 * (0.9 * 0.19 + 0.1 + m), rtol=1e-6)
    assert (table[[0, 1, 9]] == 1).all()

    p = torch.nn.Parameter(torch.ones(3))
    fused = adamas.torch.Adam([p], late_switch=LateSwitch(at=2), fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for bad in (False, True, False, False):
        scaler.scale((math.inf if bad else 1.0) * p.sum()).backward()
        scaler.step(fused)
        scaler.update()
        p.grad = None
    assert fused.switched.step == 2 and math.isclose(fused.switched.lr, 1e-3, rel_tol=1e-5)


def test_nothing_is_measured_before_it_is_asked_for_nor_after() -> None:
    opt = adamas.numpy.Adam(np.ones(3))
    opt.step(np.ones(3))
    assert list(opt._stepper._plan.parts[0].jobs) == [False] and "sgd_gain" not in opt.param_groups[0]
    opt = adamas.numpy.Adam(np.ones(3), late_switch=LateSwitch(at=1))
    opt.step(np.ones(3))
    assert list(opt._stepper._plan.parts[0].jobs) == [True]
    opt.step(np.ones(3))
    assert list(opt._stepper._plan.parts[0].jobs) == [False] and opt.last.telemetry is None


# -- state dicts -------------------------------------------------------------------------------------------------------

CONDITIONS = {"at": LateSwitch(at=12), "plateau": LateSwitch(plateau=4), "swats": LateSwitch(swats=0.01)}


@FRONTS
@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("when", [5, 11, 12, 13, 20])
def test_a_run_goes_on_with_the_same_bits(front: str, condition: str, when: int, tmp_path: Any) -> None:
    options = {"late_switch": CONDITIONS[condition], "betas": (0.9, 0.9)}

    def go(run: Run, to: int) -> None:
        while run.t < to:
            run.step()
            if condition == "plateau":
                run.opt.report_loss(max(7 - run.t, 0))

    whole, first, second = (Run(front, **options) for _ in range(3))
    go(whole, 30)
    go(first, when)
    assert condition == "swats" or whole.opt.switched.step == 12
    assert whole.opt.switched is not None
    saved, theta = first.opt.state_dict(), values(first.theta)
    checkpoint.save(tmp_path, when, opt=_Held(saved), random=False)
    known = copy.deepcopy(saved["param_groups"])
    go(first, 30)
    assert first.bits() == whole.bits() and saved["param_groups"] == known
    held = _Held({})
    checkpoint.load(tmp_path, opt=held, random=False)
    second.theta[:] = theta if front == "numpy" else torch.tensor(theta)
    second.opt.load_state_dict(held.state)
    second.t = when
    go(second, 30)
    assert second.bits() == whole.bits()
    assert second.opt.switched == whole.opt.switched


class _Held:
    """A state dict as a part of a checkpoint."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        self.state = state


@FRONTS
@pytest.mark.parametrize("when", [3, 5, 8])
def test_copies_and_pickles_go_on(front: str, when: int) -> None:
    run = Run(front, late_switch=LateSwitch(at=5))
    for _ in range(when):
        run.step()
    for clone in (copy.deepcopy(run), pickle.loads(pickle.dumps(run))):
        twin = copy.deepcopy(run)
        for other in (twin, clone):
            held = other.opt.param_groups[0]["params"][0]
            other.parts = [held]
            other.theta = held
            for _ in range(6):
                other.step()
        assert clone.bits() == twin.bits() and clone.opt.switched == twin.opt.switched


def test_a_plain_run_can_be_given_a_switch_and_its_group_a_companion() -> None:
    plain = Run("torch")
    for _ in range(4):
        plain.step()
    run = Run("torch", late_switch=LateSwitch(at=6, momentum=0.5))
    run.opt.load_state_dict(plain.opt.state_dict())
    for _ in range(2):
        run.step()
    assert run.opt.switched.step == 6 and run.opt.switched.momentum == 0.5
    late = torch.ones(2)
    run.opt.add_param_group({"params": [late], "lr": 0.1})
    late.grad = torch.ones(2)
    run.step()
    expected = 1 - run.opt.param_groups[0]["sgd_gain"] * 0.1 * 0.5 - 0.1 * 0.01
    torch.testing.assert_close(late, torch.full((2,), expected))


@pytest.mark.parametrize("make", [torch.optim.AdamW, adamas.torch.AdamW])
def test_a_state_dict_from_before_it_goes_on_in_a_plain_adamw(make: Any) -> None:
    run = Run("torch", late_switch=LateSwitch(at=100))
    for _ in range(4):
        run.step()
    theta = run.theta.clone()
    plain = make([theta])
    plain.load_state_dict(copy.deepcopy(run.opt.state_dict()))
    theta.grad = torch.tensor(gradient(values(theta), 5))
    plain.step()
    run.step()
    torch.testing.assert_close(theta, run.theta, rtol=1e-12, atol=0)


def test_distributed_checkpoints_carry_it() -> None:
    from torch.distributed.checkpoint import state_dict as dcp

    def made() -> tuple[Any, Any]:
        model = torch.nn.Linear(3, 1)
        torch.nn.init.ones_(model.weight)
        torch.nn.init.zeros_(model.bias)
        return model, adamas.torch.AdamW(model.parameters(), lr=0.1, late_switch=LateSwitch(at=3))

    def step(model: Any, opt: Any) -> None:
        opt.zero_grad()
        model(torch.ones(2, 3)).square().sum().backward()
        opt.step()

    for flat in (False, True):
        for when in (2, 4):
            model, opt = made()
            for _ in range(when):
                step(model, opt)
            options = dcp.StateDictOptions(flatten_optimizer_state_dict=flat)
            saved = copy.deepcopy(dcp.get_optimizer_state_dict(model, opt, options=options))
            other, again = made()
            other.load_state_dict(model.state_dict())
            dcp.set_optimizer_state_dict(other, again, saved, options=options)
            for _ in range(4):
                step(model, opt)
                step(other, again)
            assert again.switched == opt.switched and torch.equal(model.weight, other.weight)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_an_interrupted_step_has_happened_or_not(steps: int) -> None:
    class Told(Scene):
        def bits(self) -> dict[str, bytes]:
            return {**super().bits(), "groups": repr([g["late_switch"] for g in self.optimizer.param_groups]).encode()}

    def make() -> Scene:
        return Told("torch", "NAdam", late_switch=LateSwitch(at=3), differentiable=True)

    twin, at = Twin(make), 1
    while interrupted(make, steps, at, twin, "unbroken"):
        at += 5
    assert at > 40


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "A late switch has one condition, not none: give at=, plateau= or swats="),
        ({"at": 5, "swats": 1e-5}, "A late switch has one condition, not at=5 and swats=1e-05"),
        ({"at": 0}, "Invalid at value: 0: it must be a whole number of 1 or more"),
        ({"at": -3}, "Invalid at value: -3"),
        ({"at": 2.5}, "Invalid at value: 2.5"),
        ({"at": True}, "Invalid at value: True"),
        ({"plateau": 0}, "Invalid plateau value: 0"),
        ({"swats": 0.0}, "Invalid swats value: 0.0: it must be a finite number above 0"),
        ({"swats": math.nan}, "Invalid swats value: nan"),
        ({"swats": True}, "Invalid swats value: True"),
        ({"at": 5, "momentum": 1.0}, "Invalid momentum value: 1.0: it must be at least 0 and less than 1"),
        ({"at": 5, "momentum": -0.1}, "Invalid momentum value: -0.1"),
        ({"at": 5, "momentum": "0.9"}, "Invalid momentum value: '0.9'"),
        ({"at": 5, "min_delta": 1.0}, "Invalid min_delta value: 1.0"),
    ],
)
def test_what_cannot_be_is_refused(options: dict, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        LateSwitch(**options)
    assert str(caught.value).startswith(sentence)


def test_what_is_no_switch_is_refused() -> None:
    for make in (lambda **o: adamas.torch.Adam([torch.ones(1)], **o), lambda **o: adamas.numpy.Adam(np.ones(1), **o)):
        with pytest.raises(InputTypeError, match="Invalid late_switch value: 5: it must be a LateSwitch"):
            make(late_switch=5)
        with pytest.raises(InputError, match=r"There is no late switch to report to: give late_switch=LateSwitch\(pl"):
            make().report_loss(1.0)
        with pytest.raises(InputError, match="Losses are reported to a switch at a plateau"):
            make(late_switch=LateSwitch(at=5)).report_loss(1.0)
        opt = make(late_switch=LateSwitch(plateau=5))
        for loss in ("1", None, True, np.ones(2)):
            with pytest.raises(InputError):
                opt.report_loss(loss)
        assert opt.param_groups[0]["late_switch"]["stalled"] == 0


@pytest.mark.parametrize("front", ["numpy", "torch"])
def test_state_dicts_that_do_not_fit_change_nothing(front: str) -> None:
    switch = LateSwitch(at=5)
    after, before = Run(front, late_switch=switch), Run(front, late_switch=switch)
    for _ in range(3):
        before.step()
    for _ in range(7):
        after.step()
    plain = Run(front)
    for _ in range(5):
        plain.step()
    lion = Run(front, "Lion", late_switch=switch)
    for _ in range(6):
        lion.step()

    def with_(run: Run, **entries: Any) -> dict:
        saved = run.opt.state_dict()
        saved["param_groups"][0].update(entries)
        return saved

    known = after.opt.param_groups[0]["late_switch"]
    cases = [
        (Run(front), after.opt.state_dict(), "from after a late switch: load it into an optimizer"),
        (Run(front, "Lion"), lion.opt.state_dict(), "from after a late switch"),
        (Run(front, late_switch=switch), plain.opt.state_dict(), "from step 5 of a run that has not switched, and"),
        (Run(front, late_switch=switch), with_(before, late_switch=known), "which do not go together"),
        (Run(front, late_switch=switch), with_(before, sgd_gain=2.0), "exp_avg|go together"),
        (Run(front, late_switch=switch), with_(before, late_switch=5), "which do not go together"),
        (Run(front, late_switch=switch), with_(before, late_switch={"average": math.nan}), "which do not go together"),
        (Run(front, late_switch=switch), with_(after, sgd_gain=0.0), "has no 'exp_avg_sq'|go together"),
        (Run(front, late_switch=switch), with_(after, sgd_gain=-1.0), "Invalid sgd_gain value: -1.0"),
        (Run(front, late_switch=switch), with_(after, sgd_momentum=1.0), "Invalid sgd_momentum value: 1.0"),
        (Run(front, late_switch=switch), with_(after, late_switch={**known, "step": 0}), "which do not go together"),
    ]
    for run, state_dict, sentence in cases:
        run.step()
        held, groups = run.bits(), copy.deepcopy([{**g, "params": 0} for g in run.opt.param_groups])
        with pytest.raises(InputError, match=sentence):
            run.opt.load_state_dict(state_dict)
        assert run.bits() == held and [{**g, "params": 0} for g in run.opt.param_groups] == groups


# -- on data -----------------------------------------------------------------------------------------------------------


def test_the_loss_does_not_jump() -> None:
    pytest.importorskip("sklearn")
    from tests.late_switch import train

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the network is small
    try:
        run = train(0, LateSwitch(at=200), steps=400)
    finally:
        torch.set_num_threads(threads)
    jump, noise = run.jump()
    assert abs(jump) < 3 * noise
    assert 0.1 < run.switched.lr < 0.4
    assert run.losses[-50:].mean() < 0.8 * run.losses[150:200].mean()  # it goes on learning
