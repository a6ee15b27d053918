"""How far float32 is from float64: what benchmarks/accuracy.py measures in full, and the tests in part.

An error is counted in units of float32 rounding of what is added: u = 2⁻²⁴ times the sizes of the terms. For a step Δ
or a new state x that is u times

    |x| + Σ |a ∂x/∂a|,  a being the gradient and each of the states,

x itself, and what it would change by if each number that it is made of were rounded once more. Where nothing cancels
this is a few |x|. Where something does, as in v − ḡ² or g − m, nobody who is given float32 numbers could do better.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import adamas
import adamas.numpy
from adamas.kernel import TINY, select
from tests.cases import Case
from tests.reference import textbook
from tests.reference.gradients import sequence

U = 2.0**-24
#: How many steps lie before those that are measured.
BEFORE = (0, 1, 2, 10, 100, 1000)

States = Mapping[str, Any]


# -- one step --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Start:
    """What a step is taken from, in float32."""

    theta: np.ndarray
    grad: np.ndarray
    states: dict[str, Any]  # empty before the first step


def starts(case: Case, seed: int) -> Iterator[Start]:
    """Starts as float32 itself brings them about.

    Half of the coordinates see the gradients of `tests.reference.gradients`, from 1e-9 to 1e3 with zeros, the others
    gradients from 1e-30 to 1e18 that jump; θ is smaller or larger than they are, or 0.
    """
    n = 25 if case.rule == "lpadam" else 301  # its oracle counts in decimals
    rng = np.random.default_rng(seed)
    few = n // 2
    many = n - few
    wide = 10.0 ** rng.uniform(-30, 17, many)
    size = np.concatenate([10.0 ** rng.uniform(-9, 3, few), wide * 10.0 ** rng.uniform(-9, 3, many)])
    param = np.where(rng.random(n) < 0.1, 0.0, size * rng.choice([-1, 1], n)).astype(np.float32)
    optimizer = adamas.numpy.optimizer(case.rule)(param, **case.options)
    for k, tame in enumerate(sequence(seed, few, BEFORE[-1] + 1)):
        jumping = wide * 10.0 ** rng.uniform(-1, 1, many) * rng.choice([-1, 0, 1], many, p=[0.45, 0.1, 0.45])
        grad = np.concatenate([tame, jumping]).astype(np.float32)
        if k in BEFORE:
            yield Start(param.copy(), grad, optimizer.state_dict()["state"].get(0, {}))
        optimizer.step(grad)


def compiled_step(case: Case, start: Start) -> tuple[np.ndarray, States]:
    """One step by the compiled kernel."""
    param = start.theta.copy()
    optimizer = adamas.numpy.optimizer(case.rule)(param, **case.options)
    if start.states:
        optimizer.load_state_dict({**optimizer.state_dict(), "state": {0: start.states}})
    optimizer.step(start.grad)
    return param, optimizer.state[0]


def eager_step(case: Case, start: Start) -> tuple[np.ndarray, States]:
    """One step as torch computes it."""
    import torch

    import adamas.torch

    param = torch.tensor(start.theta)
    optimizer = adamas.torch.optimizer(case.rule)([param], **case.options, differentiable=True)
    if start.states:
        states = {name: torch.tensor(value) for name, value in start.states.items()}
        optimizer.load_state_dict({**optimizer.state_dict(), "state": {0: states}})
    param.grad = torch.tensor(start.grad)
    optimizer.step()
    return param.numpy(), {name: value.numpy() for name, value in optimizer.state[param].items()}


def errors(case: Case, start: Start, param: np.ndarray, states: States) -> dict[str, float]:
    """The largest error of the step Δ and of each state, in units.

    The oracle takes the same step from the same numbers in float64. The new θ may be half a unit in its last place
    off, since it has to be rounded; what is more counts against Δ, which is taken with its decay, Δ + ηλθ. Coordinates
    for which the oracle has no answer are left out: where v < ḡ² after rounding, centered RMSprop has no root.
    """
    hyper = adamas.rules()[case.rule].hyper(case.options)
    decay, decoupled = hyper["weight_decay"], hyper["decoupled"]
    theta, grad = start.theta.astype(np.float64), start.grad.astype(np.float64)
    oracle = getattr(textbook, case.oracle or case.rule)
    with np.errstate(invalid="ignore"):
        exact, exact_states = oracle(theta, [grad], states=start.states, **case.told)
        units = {name: np.abs(value) for name, value in _step(case, start).items()}
        for name in ["g", *(units.keys() & start.states.keys())]:
            up, down = (_step(case, start, name, h) for h in (NEAR, -NEAR))
            for x in units:
                units[x] += np.abs(up[x] - down[x]) / (2 * NEAR)

    found = {name: np.abs(states[name].astype(np.float64) - exact_states[name]) for name in units if name != "Δ"}
    roundings = 2 if decoupled and decay and hyper["decay_after"] else 1  # of θ: by its decay once more
    found["Δ"] = np.abs(param.astype(np.float64) - exact) - roundings * np.spacing(np.abs(param)) / 2
    if decoupled:
        units["Δ"] += hyper["lr"] * decay * np.abs(theta)
    smallest = TINY["float32"]  # below it, float32 has no relative accuracy
    known = np.isfinite(units["Δ"])
    assert known.mean() > 0.7
    return {x: float(np.max(((error - smallest) / (U * units[x] + smallest))[known])) for x, error in found.items()}


#: A relative change for derivatives in float64: what they lack is as small as its square, and as 1e-16 by it.
NEAR = 1e-5


def _step(case: Case, start: Start, of: str = "", change: float = 0.0) -> dict[str, np.ndarray]:
    """Δ and the new states in float64 where one of the numbers they are made of is changed by a part of its size.

    The gradient is the one that the rule sees, with coupled decay in it; its size is that of its terms.
    """
    hyper = adamas.rules()[case.rule].hyper(case.options)
    coupled = 0.0 if hyper["decoupled"] else hyper["weight_decay"]
    theta, grad = start.theta.astype(np.float64), start.grad.astype(np.float64)
    seen = (-grad if hyper["maximize"] else grad) + coupled * theta
    states = dict(start.states)
    if of == "g":
        seen = seen + change * (np.abs(grad) + coupled * np.abs(theta))
    elif of:
        states[of] = states[of].astype(np.float64) * (1 + change)
    told = {**case.told, "weight_decay": 0.0, "maximize": False}
    # From θ = 0, so that no digit of Δ is lost.
    moved, new = getattr(textbook, case.oracle or case.rule)(np.zeros_like(theta), [seen], states=states, **told)
    own = adamas.rules()[case.rule].states(**case.options)
    return {"Δ": -moved, **{name: new[name] for name in own}}


def roundings(case: Case) -> dict[str, float]:
    """How many roundings lie at most between what a step is given and Δ, or a state: the bound of each.

    Read off the lines that every backend runs. A coefficient brings one rounding with it; a product adds those of
    its factors, a sum has those of the term that has most; a root halves them, a power multiplies them.
    """
    rule = adamas.rules()[case.rule]
    hyper = rule.hyper(case.options)
    program = select(rule, hyper).program
    given = {**hyper, "tiny": TINY["float32"]}
    values, _ = select(rule, hyper).host(1000.0, *rule.source.scalars.values(), *(given[x] for x in program.hyper))
    value = dict(zip(program.coefficients, values, strict=True))
    counts = {**dict.fromkeys(program.arrays, 0.0), **dict.fromkeys(program.coefficients, 1.0)}

    def count(node: ast.expr) -> float:
        match node:
            case ast.Name(id):
                return counts[id]
            case ast.UnaryOp(operand=operand) | ast.Call(func=ast.Name("abs"), args=[operand]):
                return count(operand)
            case ast.Call(func=ast.Name("sign" | "number")):
                return 0.0
            case ast.BinOp(ast.Name("param" | "moved") as theta, ast.Sub(), step):
                return max(count(theta), count(step))  # θ's own rounding is counted apart
            case ast.BinOp(left, ast.Add() | ast.Sub(), right):
                return max(count(left), count(right)) + 1
            case ast.BinOp(left, ast.Mult() | ast.Div(), right):
                return count(left) + count(right) + 1
            case ast.Call(func=ast.Name("square"), args=[x]):
                return 2 * count(x) + 1
            case ast.Call(func=ast.Name("sqrt"), args=[x]):
                return count(x) / 2 + 1
            case ast.Call(func=ast.Name("power"), args=[x, ast.Name(exponent)]):
                return value[exponent] * count(x) + 1
            case ast.Call(func=ast.Name("maximum" | "minimum"), args=branches):
                return max(map(count, branches))
            case ast.Call(func=ast.Name("where"), args=[_, *branches]):
                return max(map(count, branches))
            case _:
                raise NotImplementedError(ast.unparse(node))

    for line in program.body:
        (assignment,) = ast.parse(line).body
        assert isinstance(assignment, ast.Assign) and isinstance(assignment.targets[0], ast.Name)
        counts[assignment.targets[0].id] = count(assignment.value)
    return {"Δ": counts["param"], **{state: counts[state] for state in program.states}}


# -- many steps ------------------------------------------------------------------------------------------------------


def run(optimizer: str, theta: np.ndarray, grads: Sequence[np.ndarray], **options: Any) -> np.ndarray:
    """Where AdamW leads: ours, or torch's in one of its forms (``"torch fused"`` …)."""
    if optimizer == "adamas":
        param = theta.copy()
        ours = adamas.numpy.AdamW(param, **options)
        for g in grads:
            ours.step(g)
        return param
    import torch

    form = optimizer.removeprefix("torch ")
    flags = {"fused": form == "fused", "foreach": form == "foreach"}
    tensor = torch.tensor(theta)
    theirs = torch.optim.AdamW([tensor], **options, **flags)
    for g in grads:
        tensor.grad = torch.from_numpy(g)
        theirs.step()
    return tensor.numpy()


def drift(optimizers: Sequence[str], n: int, seed: int) -> dict[str, float]:
    """The largest |θ₃₂ − θ₆₄| after 1000 steps of AdamW (η = 1e-3, λ = 0.01), θ and g drawn from N(0, 1)."""
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal(n).astype(np.float32)
    grads = [rng.standard_normal(n).astype(np.float32) for _ in range(1000)]
    options = {"lr": 1e-3, "weight_decay": 0.01}
    exact, _ = textbook.adamw(theta, grads, **options)
    return {name: float(np.abs(run(name, theta, grads, **options) - exact).max()) for name in optimizers}


def decay(optimizers: Sequence[str], lr: float, weight_decay: float, n: int, seed: int) -> dict[str, float]:
    """By how much the decay of AdamW is too large, relatively, over 10 000 steps without gradient.

    The decay is that of the mean of |θ|, for θ drawn from N(0, 1): 1 − (1 − ηλ)^t if it were exact.
    """
    theta = np.random.default_rng(seed).standard_normal(n).astype(np.float32)
    grads = [np.zeros_like(theta)] * 10_000
    exact = -np.expm1(len(grads) * np.log1p(-lr * weight_decay))
    found = {}
    for name in optimizers:
        left = run(name, theta, grads, lr=lr, weight_decay=weight_decay).astype(np.float64) / theta
        found[name] = float(np.mean(1 - left) / exact - 1)
    return found


def constant_gradient(dtype: str, betas: tuple[float, float], steps: int = 20_000, n: int = 101) -> np.ndarray:
    """[steps]: the largest |Δ/(η sign g) − 1| of Adam (ε = 0) at each step under a gradient that never changes."""
    rng = np.random.default_rng(5)
    g = (10.0 ** rng.uniform(-6, 6, n) * rng.choice([-1, 1], n)).astype(dtype)
    param = np.zeros_like(g)
    optimizer = adamas.numpy.Adam(param, lr=1e-3, betas=betas, eps=0.0)
    off = np.empty(steps)
    for t in range(steps):
        param[:] = 0
        optimizer.step(g)
        off[t] = np.abs(param.astype(np.float64) / (-1e-3 * np.sign(g)) - 1).max()
    return off
