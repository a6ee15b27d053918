"""Ways to run a rule: each takes a case, a start and a list of gradients, and returns θ and the states."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import adamas
import adamas.numpy
from adamas.kernel import TINY, select
from adamas.tail import Tail
from tests.cases import Case
from tests.pages.browser import evaluate

NO_TAIL = Tail()

Outcome = tuple[np.ndarray, dict[str, Any]]


def numpy_kernel(
    case: Case,
    theta: np.ndarray,
    grads: Sequence[Any],
    dtype: str,
    tail: Tail = NO_TAIL,
    factors: Sequence[float] = (),
) -> Outcome:
    """The NumPy text, stepped by hand."""
    rule = adamas.rules()[case.rule]
    hyper = {**rule.hyper(case.options), **tail.hyper(scaled=False)}
    kernel = select(rule, hyper)
    step = kernel.load("numpy", dtype)
    param = theta.astype(dtype)
    states = {name: param.copy() if name == "ema" else np.zeros_like(param) for name in kernel.program.states}
    scalars = dict(rule.source.scalars)
    count = 0.0
    with np.errstate(all="ignore"):
        for grad in grads:
            if grad is None:
                continue
            count += 1
            given = {**hyper, "tiny": TINY[dtype], "grad_factor": factors[int(count) - 1] if factors else 1.0}
            coefficients, new = kernel.host(count, *scalars.values(), *(given[name] for name in kernel.program.hyper))
            scalars = dict(zip(scalars, new, strict=True))
            typed = tuple(
                bool(c) if name in kernel.program.flags else np.dtype(dtype).type(c)
                for c, name in zip(coefficients, kernel.program.coefficients, strict=True)
            )
            results = step(grad.astype(dtype), param, *states.values(), typed)
            param, *new_states = results[: 1 + len(states)]
            states = dict(zip(states, new_states, strict=True))
    return param, {"step": count, **scalars, **states}


def numba(case: Case, theta: np.ndarray, grads: Sequence[Any], dtype: str) -> Outcome:
    """The NumPy front, which steps by compiled kernels."""
    param = theta.astype(dtype)
    optimizer = adamas.numpy.optimizer(case.rule)(param, **case.options)
    for grad in grads:
        optimizer.step([None if grad is None else grad.astype(dtype)])
    return param, dict(optimizer.state.get(0, {"step": 0.0}))


def torch_compiled(case: Case, theta: np.ndarray, grads: Sequence[Any], dtype: str) -> Outcome:
    """The torch front on plain CPU tensors: compiled kernels."""
    return _torch(case, theta, grads, dtype)


def torch_eager(case: Case, theta: np.ndarray, grads: Sequence[Any], dtype: str) -> Outcome:
    """The torch front where torch computes the step."""
    return _torch(case, theta, grads, dtype, differentiable=True)


def _torch(case: Case, theta: np.ndarray, grads: Sequence[Any], dtype: str, **more: Any) -> Outcome:
    import torch

    import adamas.torch

    param = torch.tensor(theta.astype(dtype))
    optimizer = adamas.torch.optimizer(case.rule)([param], **case.options, **more)
    for grad in grads:
        param.grad = None if grad is None else torch.tensor(grad.astype(dtype))
        optimizer.step()
    return param.numpy(), {name: value.numpy() for name, value in optimizer.state[param].items()}


_STEPS = """
([text, given]) => {
  const {theta, grads, states, scalars, hyper, float32} = new Function("return " + given)(); // JSON, and NaN
  const {host, kernel} = new Function(text + "; return {host, kernel}")();
  const rounded = float32 ? c => typeof c === "boolean" ? c : Math.fround(c) : c => c;
  let now = theta.map(p => [p, ...states.map(name => name === "ema" ? p : 0)]), carried = scalars, t = 0;
  for (const g of grads) {
    if (g === null) continue;
    t += 1;
    const [coefficients, next] = host(t, ...carried, ...hyper);
    const c = coefficients.map(rounded);
    now = now.map((held, i) => kernel(rounded(g[i]), ...held, c));
    carried = next;
  }
  return JSON.stringify([now, carried, t], (_, v) => typeof v === "number" && !Number.isFinite(v) ? String(v) : v);
}
"""


def javascript(case: Case, theta: np.ndarray, grads: Sequence[Any], dtype: str) -> Outcome:
    """The script, in a browser."""
    rule = adamas.rules()[case.rule]
    hyper = {**rule.hyper(case.options), **NO_TAIL.hyper(scaled=False), "tiny": TINY[dtype]}
    kernel = select(rule, hyper)
    program, scalars = kernel.program, rule.source.scalars
    given = {
        "theta": theta.astype(dtype).tolist(),
        "grads": [None if grad is None else grad.tolist() for grad in grads],
        "states": program.states,
        "scalars": list(scalars.values()),
        "hyper": [hyper[name] for name in program.hyper],
        "float32": dtype == "float32",
    }
    held, carried, count = json.loads(evaluate(_STEPS, [kernel.text("javascript", dtype), json.dumps(given)]))
    param, *states = np.array([[float(x) for x in numbers] for numbers in held], dtype).T
    return param, {
        "step": count,
        **dict(zip(scalars, carried, strict=True)),
        **dict(zip(program.states, states, strict=True)),
    }


def jax(case: Case, theta: np.ndarray, grads: Sequence[Any], dtype: str) -> Outcome:
    """The optax front, in one compiled loop."""
    import jax
    import jax.numpy as jnp
    import optax

    import adamas.optax

    options = {**adamas.rules()[case.rule].defaults, **case.options}
    if "betas" in options:
        options["b1"], options["b2"] = options.pop("betas")
    lr = options.pop("lr")
    with jax.enable_x64(dtype == "float64"):
        opt = adamas.optax.optimizer(case.rule)(lr, **options)
        param = jnp.asarray(theta, dtype)

        def step(carried: Any, grad: Any) -> Any:
            param, state = carried
            updates, state = opt.update(grad, state, param)
            return (optax.apply_updates(param, updates), state), None

        run = jax.jit(lambda start, every: jax.lax.scan(step, start, every)[0])
        given = jnp.asarray(np.array([grad for grad in grads if grad is not None]), dtype)
        param, state = run((param, opt.init(param)), given)
        held = {"step": float(state.count), **state.scalars, **state.moments}
        return np.asarray(param), {name: np.asarray(value) for name, value in held.items()}


WAYS: dict[str, Callable[..., Outcome]] = {
    "numpy": numpy_kernel,
    "numba": numba,
    "torch": torch_compiled,
    "torch-eager": torch_eager,
    "javascript": javascript,
    "jax": jax,
}
