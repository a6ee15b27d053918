"""Laws that hold for every problem: Hypothesis looks for one that breaks them.

Each law runs over every row of `tests.cases`, or over a table that says for each rule whether it holds. The examples
are the same at every run.
"""

import copy
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import adamas
import adamas.numpy
from adamas import engine
from adamas.signatures import CLASSES
from tests.cases import CASES, Case
from tests.running import numpy_kernel

law = settings(max_examples=10, deadline=None, derandomize=True, database=None)
brief = settings(law, max_examples=6)  # where every row of the cases runs
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def numbers(draw: st.DrawFn, shape: Any, dtype: Any) -> np.ndarray:
    """0, or of size 2⁻¹⁸ to 2¹⁷: squares of these, and of their differences, are normal numbers in float32."""
    drawn = draw(arrays(np.int32, shape, elements=st.integers(-(2**14), 2**14 - 1), fill=st.nothing()))
    return np.ldexp((drawn >> 5).astype(dtype), (drawn & 31) % 27 - 18)  # ten bits with a sign, and an exponent


@dataclass(frozen=True)
class Problem:
    """Where to begin, and the gradient of each step."""

    theta: np.ndarray
    grads: np.ndarray  # [steps, coordinates]

    def map(self, change: Callable[[np.ndarray], np.ndarray]) -> "Problem":
        return Problem(change(self.theta), np.stack([change(g) for g in self.grads]))


@st.composite
def problems(draw: st.DrawFn, dtype: Any = np.float32, largest: int = 5, steps: int = 5) -> Problem:
    n, length = draw(st.integers(1, largest)), draw(st.integers(1, steps))
    return Problem(numbers(draw, n, dtype), numbers(draw, (length, n), dtype))


def run(rule: str, problem: Problem, **options: Any) -> dict[str, np.ndarray]:
    """θ and the states at the end."""
    theta = problem.theta.copy()
    optimizer = adamas.numpy.optimizer(rule)(theta, **options)
    for g in problem.grads:
        optimizer.step(g)
    return {"θ": theta, **optimizer.state[0]}


def steps(rule: str, grads: np.ndarray, **options: Any) -> np.ndarray:
    """Δ of each step, to its last bit: each is taken from θ = 0."""
    theta = np.zeros_like(grads[0])
    optimizer = adamas.numpy.optimizer(rule)(theta, **options)
    moved = []
    for g in grads:
        theta[...] = 0
        optimizer.step(g)
        moved.append(-theta)
    return np.array(moved)


def same_bits(a: Any, b: Any) -> bool:
    """Of NaNs only that they are one."""
    a, b = np.asarray(a), np.asarray(b)
    kind = f"i{a.itemsize}"
    return a.dtype == b.dtype and bool(np.all((a.view(kind) == b.view(kind)) | (np.isnan(a) & np.isnan(b))))


def assert_same_bits(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert same_bits(a[name], b[name]), name


# -- scale -----------------------------------------------------------------------------------------------------------

#: Rules whose step does not hang on the gradient's scale, once ε is 0: under these options.
SCALE_FREE = [
    ("adam", {"eps": 0.0}),
    ("adam", {"eps": 0.0, "amsgrad": True, "betas": (0.0, 0.9)}),
    ("amsgrad", {"eps": 0.0}),
    ("adamw", {"eps": 0.0, "lr": 0.5}),
    ("sparse_adam", {"eps": 0.0}),
    ("nadam", {"eps": 0.0}),
    ("adamax", {"eps": 0.0, "eps_form": "paper"}),
    ("adamax", {"eps": 0.0, "eps_form": "torch"}),
    ("lpadam", {"eps": 0.0, "p": 1.0}),
    ("lpadam", {"eps": 0.0, "p": 3.5}),
    ("lpadam", {"eps": 0.0, "p": 1000.0}),
    ("adagrad", {"eps": 0.0, "weight_decay": 0.1, "decoupled": True}),
    ("rmsprop", {"eps": 0.0}),
    ("rmsprop", {"eps": 0.0, "centered": True, "momentum": 0.9}),
    ("adabelief", {"eps": 0.0}),
    ("adopt", {"eps": 0.0}),
    ("lion", {"weight_decay": 0.1}),
]
#: The others: their step grows with the gradient; for RAdam so long as v̂'s variance is intractable.
LINEAR = [("sgd", {}), ("momentum", {}), ("nesterov", {}), ("radam", {"betas": (0.9, 0.6)})]
#: What a state is multiplied by where g is multiplied by s.
GROWTH = {
    **dict.fromkeys(("exp_avg_sq", "max_exp_avg_sq", "square_avg", "exp_avg_var", "sum"), 2),
    **dict.fromkeys(("exp_avg", "exp_inf", "exp_p", "grad_avg", "momentum_buffer"), 1),
    **dict.fromkeys(("θ", "step", "mu_product"), 0),
}


def test_every_rule_is_scale_free_or_exempt() -> None:
    assert {rule for rule, _ in SCALE_FREE + LINEAR} == set(adamas.rules())


@pytest.mark.parametrize(("rule", "options"), SCALE_FREE, ids=str)
@given(problem=problems(), k=st.integers(-14, 24))
@law
def test_scaling_the_gradient_changes_no_bit(rule: str, options: dict[str, Any], problem: Problem, k: int) -> None:
    scaled = run(rule, Problem(problem.theta, np.ldexp(problem.grads, k)), **options)
    for name, expected in run(rule, problem, **options).items():
        # RMSprop's and ADOPT's first moments are of gradients that are normed already.
        normed = (rule, name) in {("rmsprop", "momentum_buffer"), ("adopt", "exp_avg")}
        assert same_bits(np.ldexp(scaled[name], 0 if normed else -GROWTH[name] * k), expected), name


@pytest.mark.parametrize(("rule", "options"), LINEAR, ids=str)
@given(problem=problems(), k=st.integers(-14, 24))
@law
def test_where_the_step_is_linear(rule: str, options: dict[str, Any], problem: Problem, k: int) -> None:
    moved, scaled = (steps(rule, grads, **options) for grads in (problem.grads, np.ldexp(problem.grads, k)))
    assert same_bits(np.ldexp(moved, k), scaled)


@given(problem=problems(steps=9), k=st.integers(1, 24))
@law
def test_radam_becomes_scale_free_with_its_sixth_step(problem: Problem, k: int) -> None:
    moved, scaled = (steps("radam", grads, eps=0.0) for grads in (problem.grads, np.ldexp(problem.grads, k)))
    assert same_bits(np.ldexp(moved[:5], k), scaled[:5]) and same_bits(moved[5:], scaled[5:])


@pytest.mark.parametrize(
    ("rule", "options"), [*LINEAR, ("adam", {"eps": 1e-3}), ("adam", {"eps": 0.0, "weight_decay": 0.1})], ids=str
)
def test_what_is_not_scale_free(rule: str, options: dict[str, Any]) -> None:
    """What is exempt is so with reason: ε > 0, and a coupled decay, which does not scale, break the law."""
    problem = Problem(np.ones(1, np.float32), np.array([[0.37], [-0.2], [0.5]], np.float32))
    a, b = (run(rule, Problem(problem.theta, problem.grads * s), **options)["θ"] for s in (1, np.float32(8)))
    assert not same_bits(a, b)


# -- sign, order, division -------------------------------------------------------------------------------------------

ODD = {"θ", "exp_avg", "grad_avg", "momentum_buffer"}


@every_case
@given(problem=problems())
@brief
def test_sign(case: Case, problem: Problem) -> None:
    there, back = (run(case.rule, problem.map(lambda x, s=s: s * x), **case.options) for s in (1, -1))
    for name in there:
        assert np.array_equal(there[name], -back[name] if name in ODD else back[name]), name


@every_case
@given(problem=problems())
@brief
def test_to_maximize_is_to_minimize_the_negative(case: Case, problem: Problem) -> None:
    """By the NumPy text, which has the lines of every kernel, and builds in no time."""
    turned = replace(case, options={**case.options, "maximize": not case.options.get("maximize", False)})
    one, other = (
        numpy_kernel(c, problem.theta, sign * problem.grads, "float32") for c, sign in ((case, 1), (turned, -1))
    )
    assert_same_bits({"θ": one[0], **one[1]}, {"θ": other[0], **other[1]})


@every_case
@given(data=st.data(), problem=problems(largest=30, steps=2))
@brief
def test_order_and_division_change_no_bit(case: Case, data: st.DataObject, problem: Problem) -> None:
    """Coordinates in another order, in several tensors, in several groups, by several threads in spans of any size."""
    n = len(problem.theta)
    order = np.array(data.draw(st.permutations(range(n)), "order"))
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=4), "cuts"))
    pieces = np.split(order, cuts)
    params = [problem.theta[piece] for piece in pieces]
    first = data.draw(st.integers(0, len(pieces)), "tensors in the first group")
    groups = [{"params": part} for part in (params[:first], params[first:]) if part]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "SERIAL", 0)
        patch.setattr(engine, "SPAN", data.draw(st.integers(1, 20), "span"))
        patch.setenv("NUMBA_NUM_THREADS", str(data.draw(st.integers(1, 3), "threads")))
        optimizer = adamas.numpy.optimizer(case.rule)(groups, **case.options)
        for g in problem.grads:
            optimizer.step([g[piece] for piece in pieces])
    whole = run(case.rule, problem, **case.options)
    for i, piece in enumerate(pieces):
        assert same_bits(params[i], whole["θ"][piece])
        for name, state in optimizer.state[i].items():
            assert same_bits(state, whole[name][piece] if np.ndim(whole[name]) else whole[name]), name


# -- rules that are others -------------------------------------------------------------------------------------------

SAME = [
    (("adamw", {"weight_decay": 0.0}), ("adam", {})),
    (("adamw", {"weight_decay": 0.1}), ("adam", {"weight_decay": 0.1, "decoupled": True})),
    (("amsgrad", {}), ("adam", {"amsgrad": True})),
    (("momentum", {}), ("sgd", {"momentum": 0.9})),
    (("nesterov", {}), ("sgd", {"momentum": 0.9, "nesterov": True})),
    (("sgd", {"momentum": 0.0, "dampening": 0.7}), ("sgd", {})),
    (("sgd", {"momentum_form": "velocity"}), ("sgd", {})),
    (("sgd", {"weight_decay": 0.1, "decay_after": True}), ("sgd", {"weight_decay": 0.1})),  # coupled: no order
]


@pytest.mark.parametrize(("one", "other"), SAME, ids=str)
@given(problem=problems())
@law
def test_same_to_the_bit(one: tuple[str, dict[str, Any]], other: tuple[str, dict[str, Any]], problem: Problem) -> None:
    a, b = (run(rule, problem, **options) for rule, options in (one, other))
    assert_same_bits(a, b)


@given(problem=problems())
@law
def test_amsgrad_is_adam_while_gradients_grow(problem: Problem) -> None:
    grown = np.maximum.accumulate(np.abs(problem.grads)) * np.where(problem.grads < 0, -1, 1).astype(np.float32)
    growing = Problem(problem.theta, grown)
    assert same_bits(run("amsgrad", growing)["θ"], run("adam", growing)["θ"])


EQUAL = [
    # velocity form and torch's, while η is constant
    (("sgd", {"momentum": 0.9, "momentum_form": "velocity"}), ("sgd", {"momentum": 0.9})),
    (
        ("sgd", {"momentum": 0.9, "momentum_form": "velocity", "nesterov": True}),
        ("sgd", {"momentum": 0.9, "nesterov": True}),
    ),
    (("lpadam", {"p": 2.0, "betas": (0.9, 0.99)}), ("adam", {"betas": (0.9, 0.99**2)})),
    # L2 in the loss and decoupled decay, for plain gradient descent
    (("sgd", {"lr": 0.1, "weight_decay": 0.1}), ("sgd", {"lr": 0.1, "weight_decay": 0.1, "decoupled": True})),
    (("adagrad", {"eps": 0.0, "eps_root": 1e-8}), ("adagrad", {"eps": 0.0, "initial_accumulator_value": 1e-8})),
]


@pytest.mark.parametrize(("one", "other"), EQUAL, ids=str)
@given(problem=problems(np.float64))
@law
def test_same_to_rounding(one: tuple[str, dict[str, Any]], other: tuple[str, dict[str, Any]], problem: Problem) -> None:
    a, b = (run(rule, problem, **options)["θ"] for rule, options in (one, other))
    size = np.abs(problem.theta) + np.abs(problem.grads).sum(axis=0)
    assert (np.abs(a - b) <= 1e-13 * (size + 1)).all()


@pytest.mark.parametrize("rule", ["momentum", "adam"])
def test_elsewhere_l2_is_not_decay(rule: str) -> None:
    problem = Problem(np.ones(1), np.array([[1.0], [-0.3], [0.2]]))
    a, b = (run(rule, problem, lr=0.1, weight_decay=0.1, decoupled=d)["θ"] for d in (False, True))
    assert abs(a - b).item() > 1e-4


def test_under_a_moving_rate_the_forms_of_momentum_differ() -> None:
    ends = []
    for form in ("torch", "velocity"):
        theta = np.ones(1)
        optimizer = adamas.numpy.SGD(theta, lr=0.1, momentum=0.9, momentum_form=form)
        for lr in (0.1, 0.01):
            optimizer.param_groups[0]["lr"] = lr
            optimizer.step(np.ones(1))
        ends.append(theta.item())
    # torch: 1 − 0.1 − 0.01·1.9; velocity: 1 − 0.1 − (0.9·0.1 + 0.01)
    np.testing.assert_allclose(ends, [0.881, 0.8], rtol=1e-14)


@given(problem=problems(np.float64))
@law
def test_rmsprop_is_adam_without_first_moment_and_correction(problem: Problem) -> None:
    t = np.arange(1, len(problem.grads) + 1)[:, None]
    plain = steps("rmsprop", problem.grads, lr=1e-3, alpha=0.99, eps=0.0)
    corrected = steps("adam", problem.grads, lr=1e-3, betas=(0.0, 0.99), eps=0.0)
    np.testing.assert_allclose(plain * np.sqrt(1 - 0.99**t), corrected, rtol=1e-12)


@given(problem=problems(np.float64))
@law
def test_lpadam_becomes_adamax(problem: Problem) -> None:
    """(1 − β₂ᵖ)^(1/p) and 2^(1/p) are what is left at p = 10 000: 7e-5."""
    grads = problem.grads
    a, b = steps("lpadam", grads, betas=(0.9, 0.9), p=1e4), steps("adamax", grads, lr=1e-3, betas=(0.9, 0.9))
    np.testing.assert_allclose(a, b, rtol=1e-4)


# -- the largest step ------------------------------------------------------------------------------------------------


def by_cauchy_schwarz(weights: np.ndarray, beta2: float) -> float:
    """The largest Σ aⱼgⱼ/√v̂ there is, a being the ``weights``, the newest first: √(Σ aⱼ²/bⱼ) with v̂ = Σ bⱼgⱼ²."""
    powers = beta2 ** np.arange(len(weights))
    return math.sqrt(np.sum(weights**2 * np.sum(powers) / powers))


def adam_bound(t: int, betas: tuple[float, float] = (0.9, 0.999)) -> float:
    powers = betas[0] ** np.arange(t)
    return by_cauchy_schwarz(powers / powers.sum(), betas[1])


def nadam_bound(t: int) -> float:
    mu = [0.9 * (1 - 0.5 * 0.96 ** (k * 4e-3)) for k in range(1, t + 2)]
    weights = mu[t] / (1 - math.prod(mu)) * 0.1 * 0.9 ** np.arange(t)
    weights[0] += (1 - mu[t - 1]) / (1 - math.prod(mu[:t]))
    return by_cauchy_schwarz(weights, 0.999)


#: rule -> the largest |Δ|/η that any gradients bring about at step t.
LARGEST: dict[str, Callable[[int], float]] = {
    "adam": adam_bound,
    "adamw": adam_bound,
    "amsgrad": adam_bound,
    "sparse_adam": adam_bound,
    "nadam": nadam_bound,
    # p = 2, with β₂² for β₂
    "lpadam": lambda t: adam_bound(t, (0.9, 0.999**2)),
    # |gᵢ| ≤ β₂^−(t−i) u
    "adamax": lambda t: np.sum(0.1 * (0.9 / 0.999) ** np.arange(t)) / (1 - 0.9**t),
    "rmsprop": lambda t: 1 / math.sqrt(1 - 0.99),
    "adagrad": lambda t: 1.0,
    "adopt": lambda t: (t - 1) ** 0.25,
    "lion": lambda t: 1.0,
}


def test_every_rule_has_a_largest_step_or_none() -> None:
    assert set(LARGEST) | {"sgd", "momentum", "nesterov", "radam", "adabelief"} == set(adamas.rules())


@pytest.mark.parametrize("rule", LARGEST)
@given(problem=problems(np.float64, steps=25))
@law
def test_no_step_is_larger(rule: str, problem: Problem) -> None:
    moved = steps(rule, problem.grads, lr=1.0, eps=1e-30) if rule != "lion" else steps(rule, problem.grads, lr=1.0)
    for t, delta in enumerate(moved, start=1):
        assert (np.abs(delta) <= LARGEST[rule](t) * (1 + 1e-12)).all(), t


@pytest.mark.parametrize("t", [1, 2, 10, 300])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.9), (0.9, 0.8)])
def test_the_largest_step_of_adam_is_reached(betas: tuple[float, float], t: int) -> None:
    """By gradients that grow by β₂/β₁ a step."""
    grads = np.array([[(betas[0] / betas[1]) ** (t - i)] for i in range(1, t + 1)])
    reached = steps("adam", grads, lr=1.0, betas=betas, eps=0.0)[-1].item()
    assert reached == pytest.approx(adam_bound(t, betas), rel=1e-9)


def test_the_largest_step_of_adam_at_its_defaults() -> None:
    """7.27 η after a long time; 3.16 η for one gradient alone; η for the first."""
    limit = 0.1 / math.sqrt(0.001) / math.sqrt(1 - 0.81 / 0.999)
    assert limit == pytest.approx(7.2703, abs=1e-4)
    assert all(adam_bound(k) <= limit for k in (*range(1, 200), 1000, 5000))
    t = 20_000
    grads = np.zeros((t, 2))
    grads[:, 0] = (0.9 / 0.999) ** np.minimum(t - np.arange(1, t + 1), 3000)
    grads[-1, 1] = 3.0
    together, alone = steps("adam", grads, lr=1.0, eps=1e-200)[-1]
    assert together == pytest.approx(limit, rel=1e-6)
    assert alone == pytest.approx(0.1 / math.sqrt(0.001), rel=1e-6)


@pytest.mark.parametrize("t", [1, 10, 300])
def test_the_largest_step_of_adamax_is_reached(t: int) -> None:
    """By gradients that fall by β₂ a step."""
    grads = np.array([[0.999**i] for i in range(t)])
    assert steps("adamax", grads, lr=1.0, eps=0.0)[-1].item() == pytest.approx(LARGEST["adamax"](t), rel=1e-9)


@given(problem=problems())
@law
def test_lion_moves_by_its_rate_or_not_at_all(problem: Problem) -> None:
    moved = np.abs(steps("lion", problem.grads, lr=0.3))
    assert set(np.unique(moved)) <= {np.float32(0), np.float32(0.3)}


@pytest.mark.parametrize(
    ("rule", "options"),
    [("sgd", {}), ("momentum", {}), ("nesterov", {}), ("radam", {}), ("adabelief", {"betas": (0.5, 0.9)})],
)
def test_some_have_no_largest_step(rule: str, options: dict[str, Any]) -> None:
    """Gradient descent and RAdam's first steps grow with g; AdaBelief's grow as g ceases to surprise."""
    assert abs(steps(rule, np.full((300, 1), 1e4), lr=1.0, **options)).max() > 1000


# -- stopping and going on -------------------------------------------------------------------------------------------


def numpy_optimizer(case: Case, thetas: list[np.ndarray]) -> tuple[list[np.ndarray], Any]:
    named = {rule: getattr(adamas.numpy, name) for name, (rule, _) in CLASSES.items()}
    make = named.get(case.rule) or adamas.numpy.optimizer(case.rule)
    params = [theta.copy() for theta in thetas]
    return params, make(params, **case.options)


def torch_optimizer(case: Case, thetas: list[np.ndarray]) -> tuple[list[Any], Any]:
    import torch

    import adamas.torch

    named = {rule: getattr(adamas.torch, name) for name, (rule, _) in CLASSES.items()}
    make = named.get(case.rule) or adamas.torch.optimizer(case.rule)
    params = [torch.nn.Parameter(torch.tensor(theta)) for theta in thetas]
    return params, make(params, **case.options)


def step(params: list[Any], optimizer: Any, grads: list[np.ndarray | None], lr: float) -> None:
    optimizer.param_groups[0]["lr"] = lr
    if isinstance(params[0], np.ndarray):
        optimizer.step(grads)
        return
    import torch

    for p, g in zip(params, grads, strict=True):
        p.grad = None if g is None else torch.tensor(g)
    optimizer.step()


def held(params: list[Any], optimizer: Any) -> dict[str, Any]:
    """Everything that there is to a run, as arrays."""
    found = {}
    for i, p in enumerate(params):
        numpy = isinstance(p, np.ndarray)
        found[f"θ{i}"] = p.copy() if numpy else p.detach().numpy().copy()
        for name, state in optimizer.state.get(i if numpy else p, {}).items():
            found[f"{name}{i}"] = np.array(state if numpy else state.numpy())
    return found


FRONTS = {"numpy": numpy_optimizer, "torch": torch_optimizer}
#: Where a class can be found by its name it can be pickled; other rules' classes are made on the spot.
PICKLED = {rule for rule, _ in CLASSES.values()}


@pytest.mark.parametrize("front", FRONTS)
@every_case
@given(data=st.data())
@brief
def test_to_go_on_is_never_to_have_stopped(case: Case, front: str, data: st.DataObject) -> None:
    """At any step, by state dict or by pickling all, with missing gradients and a rate that moves."""
    problem = data.draw(problems())
    missing = data.draw(arrays(bool, (len(problem.grads), 2)), "missing")
    rates = data.draw(st.lists(st.floats(1e-3, 0.5), min_size=len(missing), max_size=len(missing)), "rates")
    stop = data.draw(st.integers(0, len(missing)), "stop")
    ways = ["state dict", "pickle", "copy"] if case.rule in PICKLED else ["state dict", "copy"]
    way = data.draw(st.sampled_from(ways), "way")
    make = FRONTS[front]
    thetas = [problem.theta, problem.theta[:1]]
    grads = [
        [None if skip else g[: len(theta)] for skip, theta in zip(skips, thetas, strict=True)]
        for g, skips in zip(problem.grads, missing, strict=True)
    ]

    params, optimizer = make(case, thetas)
    for g, lr in zip(grads, rates, strict=True):
        step(params, optimizer, g, lr)

    halted, other = make(case, thetas)
    for g, lr in zip(grads[:stop], rates[:stop], strict=True):
        step(halted, other, g, lr)
    if way == "pickle":
        halted, other = pickle.loads(pickle.dumps((halted, other)))
    elif way == "copy":
        halted, other = copy.deepcopy((halted, other))
    else:
        saved = pickle.dumps(other.state_dict())
        halted, other = make(case, [held(halted, other)[f"θ{i}"] for i in range(2)])
        other.load_state_dict(pickle.loads(saved))
    for g, lr in zip(grads[stop:], rates[stop:], strict=True):
        step(halted, other, g, lr)
    assert_same_bits(held(halted, other), held(params, optimizer))


# -- nothing, and no gradient ----------------------------------------------------------------------------------------


@every_case
@given(problem=problems())
@brief
def test_a_gradient_of_zero_begins_nothing(case: Case, problem: Problem) -> None:
    """Without decay, θ stays where it is until there is a gradient that is not 0."""
    still = Problem(problem.theta, np.zeros_like(problem.grads))
    assert np.array_equal(run(case.rule, still, **{**case.options, "weight_decay": 0.0})["θ"], problem.theta)


@pytest.mark.parametrize("front", FRONTS)
@every_case
@given(problem=problems())
@brief
def test_none_is_not_zero(case: Case, front: str, problem: Problem) -> None:
    params, optimizer = FRONTS[front](case, [problem.theta])
    step(params, optimizer, [None], 0.1)
    assert held(params, optimizer).keys() == {"θ0"}  # no state, no count
    for count, g in enumerate(problem.grads, start=1):
        step(params, optimizer, [g], 0.1)
        before = held(params, optimizer)
        step(params, optimizer, [None], 0.1)
        assert_same_bits(held(params, optimizer), before)
        assert before["step0"] == count
    step(params, optimizer, [np.zeros_like(problem.theta)], 0.1)
    assert held(params, optimizer)["step0"] == len(problem.grads) + 1
