"""What limits a step with narrow moments: AdamW at GPT-2's shapes, beside what its bytes and its arithmetic take alone.

    python -m benchmarks.narrow [--rounds 60]

*Bytes alone* is what float32's step would take if it moved as few. *Arithmetic alone* is the time of each further
parameter where everything lies in a core's own cache: one thread, of two sizes the difference. A step can be no faster
than the longer of the two, and is so only where the one hides the other altogether.
"""

import argparse
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table

import adamas.torch
from adamas.bench.report import caption
from adamas.bench.workloads import gpt2

BYTES = {"float32": 28, "bfloat16": 20, "int8": 16}
SMALL, LARGE = 1 << 14, 1 << 16


def timed(optimizers: dict[str, torch.optim.Optimizer], rounds: int) -> dict[str, float]:
    """The median of so many rounds, in seconds, in which each takes a step in turn."""
    taken: dict[str, list[float]] = {name: [] for name in optimizers}
    for _ in range(rounds):
        for name, optimizer in optimizers.items():
            start = time.perf_counter()
            optimizer.step()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def made(shapes: list[tuple[int, ...]], state_dtype: str = "") -> torch.optim.Optimizer:
    """AdamW, ours or torch's, on parameters of these shapes, warm."""
    params = [torch.nn.Parameter(torch.randn(shape) * 0.02) for shape in shapes]
    for p in params:
        p.grad = torch.randn_like(p) * 0.01
    optimizer = (
        adamas.torch.AdamW(params, lr=1e-4, state_dtype=state_dtype)
        if state_dtype
        else torch.optim.AdamW(params, lr=1e-4, fused=True)
    )
    for _ in range(3):
        optimizer.step()
    return optimizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    shapes = gpt2()
    count = sum(torch.Size(shape).numel() for shape in shapes)
    ours = {name: made(shapes, name) for name in BYTES}
    small, large = ({name: made([(size,)], name) for name in BYTES} for size in (SMALL, LARGE))
    steps: dict[str, list[float]] = {name: [] for name in ("torch fused", *BYTES)}
    alone: dict[str, list[float]] = {name: [] for name in BYTES}
    theirs = made(shapes)
    for _ in range(rounds):
        torch.set_num_threads(2)
        for name, taken in timed({"torch fused": theirs, **ours}, 1).items():
            steps[name].append(taken)
        torch.set_num_threads(1)
        for name in BYTES:  # by itself, or its arrays would not stay in the cache
            more, less = (timed({name: each[name]}, 50)[name] for each in (large, small))
            alone[name].append((more - less) / (LARGE - SMALL) * count / 2)
    step, arithmetic = ({n: statistics.median(v) * 1e3 for n, v in each.items()} for each in (steps, alone))
    table = Table(
        "moments",
        "a step, ms",
        "torch fused",
        "bytes alone, ms",
        "arithmetic alone, ms",
        title=f"AdamW, GPT-2's shapes, {count / 1e6:.0f} M parameters, two threads",
        caption=caption(["torch", "numba"]),
    )
    for name, moved in BYTES.items():
        table.add_row(
            name,
            f"{step[name]:.1f}",
            f"{step['torch fused'] / step[name]:.2f} ×",
            f"{step['float32'] * moved / BYTES['float32']:.1f}",
            f"{arithmetic[name]:.1f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
