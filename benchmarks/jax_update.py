"""A jitted update beside optax's, interleaved in one process: ``python benchmarks/jax_update.py``.

Prints for each workload the time of an update with what it changes applied, buffers donated, and the time to trace and
compile it; the median of the ratios is what counts where a machine is shared.
"""

import statistics
import time
from typing import Any

import click
import jax
import jax.numpy as jnp
import optax

import adamas.optax
from adamas.bench.workloads import NAMED


class Runner:
    """One of the two, with weights of its own."""

    def __init__(self, opt: Any, shapes: Any) -> None:
        def step(params: Any, state: Any, grads: Any) -> Any:
            updates, state = opt.update(grads, state, params)
            return optax.apply_updates(params, updates), state

        self.params = [jnp.full(shape, 0.5) for shape in shapes]
        self.grads = [jnp.full(shape, 0.01) for shape in shapes]
        self.state = jax.jit(opt.init)(self.params)
        began = time.perf_counter()
        jitted: Any = jax.jit(step, donate_argnums=(0, 1))
        self.run = jitted.lower(self.params, self.state, self.grads).compile()
        self.compiling = time.perf_counter() - began

    def time(self) -> float:
        began = time.perf_counter()
        self.params, self.state = jax.block_until_ready(self.run(self.params, self.state, self.grads))
        return time.perf_counter() - began


@click.command()
@click.option("--workload", "names", multiple=True, type=click.Choice(list(NAMED)), default=["gpt2", "1000x16"])
@click.option("--rounds", default=30, show_default=True)
def main(names: tuple[str, ...], rounds: int) -> None:
    """Time AdamW of both."""
    print(f"jax {jax.__version__}, optax {optax.__version__}, {jax.devices()[0].device_kind}")
    for name in names:
        ours, theirs = (Runner(front.adamw(1e-3), NAMED[name]()) for front in (adamas.optax, optax))
        for runner in (ours, theirs):
            runner.time()
        times = [(ours.time(), theirs.time()) for _ in range(rounds)]
        a, b = (statistics.median(column) * 1e3 for column in zip(*times, strict=True))
        ratio = statistics.median(y / x for x, y in times)
        print(
            f"{name}: update {a:.2f} ms, optax {b:.2f} ms (optax takes {ratio:.2f} times as long); "
            f"compiled in {ours.compiling:.2f} s, optax's in {theirs.compiling:.2f} s"
        )


if __name__ == "__main__":
    main()
