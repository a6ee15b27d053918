"""The same models trained by optax.adamw and by adamas.optax.adamw: ``python benchmarks/optax_idioms.py``.

A flax and an equinox model of two layers, from one seed, on one task; prints both losses and how far the weights are
apart after the last step. In float64 they stay together; in float32 roundings, optax's corrections 1 − βᵗ first of all,
drive them apart where a gradient is nearly 0, though not the losses.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from flax import nnx

import adamas.optax

STEPS = 200


def task() -> tuple[Any, Any]:
    """256 points in 8 dimensions, and what is to be found of them."""
    x = jax.random.normal(jax.random.key(0), (256, 8))
    return x, jnp.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3]


def by_flax(opt: Any, steps: int = STEPS) -> tuple[float, list[Any]]:
    """The loss after training, and the weights."""
    x, y = task()
    given = {"rngs": nnx.Rngs(0), "param_dtype": jnp.result_type(float)}
    model = nnx.Sequential(nnx.Linear(8, 32, **given), nnx.relu, nnx.Linear(32, 1, **given))
    optimizer = nnx.Optimizer(model, opt, wrt=nnx.Param)

    def loss(model: Any) -> Any:
        return jnp.mean((model(x) - y) ** 2)

    @nnx.jit
    def step(model: Any, optimizer: Any) -> None:
        optimizer.update(model, nnx.grad(loss)(model))

    for _ in range(steps):
        step(model, optimizer)
    return float(loss(model)), jax.tree.leaves(nnx.state(model, nnx.Param))


def by_equinox(opt: Any, steps: int = STEPS) -> tuple[float, list[Any]]:
    """The loss after training, and the weights."""
    x, y = task()
    model = eqx.nn.MLP(8, 1, 32, 1, key=jax.random.key(1))
    state = opt.init(eqx.filter(model, eqx.is_inexact_array))

    def loss(model: Any) -> Any:
        return jnp.mean((jax.vmap(model)(x) - y) ** 2)

    @eqx.filter_jit
    def step(model: Any, state: Any) -> Any:
        updates, state = opt.update(eqx.filter_grad(loss)(model), state, eqx.filter(model, eqx.is_inexact_array))
        return eqx.apply_updates(model, updates), state

    for _ in range(steps):
        model, state = step(model, state)
    return float(loss(model)), jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))


def compared(train: Callable[..., Any], dtype: str, steps: int = STEPS) -> tuple[float, float, float]:
    """Our loss, optax's, and the largest difference of a weight."""
    with jax.enable_x64(dtype == "float64"):
        (loss, weights), (theirs, others) = (train(front.adamw(1e-2), steps) for front in (adamas.optax, optax))
        apart = max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(weights, others, strict=True))
    return loss, theirs, apart


if __name__ == "__main__":
    for train in (by_flax, by_equinox):
        for dtype in ("float64", "float32"):
            loss, theirs, apart = compared(train, dtype)
            print(
                f"{train.__name__[3:]}, {dtype}: loss {loss:.6f}, with optax.adamw {theirs:.6f}; "
                f"weights differ by {apart:.1e} after {STEPS} steps"
            )
