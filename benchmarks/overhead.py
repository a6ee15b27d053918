"""Where a step over small tensors spends its time: phase by phase, in the cache and after somebody else's work.

    python -m benchmarks.overhead [--workloads 8-tensors 500x64 1000x16] [--rounds 300]

*Warm* steps follow each other; before a *cold* one torch's fused AdamW clips and steps parameters of its own of the
same shapes, as in the rounds of `adamas bench`. Each phase is timed inside the step, by a clock that costs some tenths
of a microsecond each time; so the phases add up to a little more than a step takes.

*Look* reads each tensor's objects in memory, and the counts; *kernels* read and write the numbers, that of the norm
included; *settle* writes the counts, and tells autograd of changes: what no step can do without, all compiled. *Norm*
is what Python does about it; *coefficients* and *the rest* are Python too, the same for any number of tensors.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import adamas.torch
from adamas.bench.report import caption
from adamas.bench.workloads import workload
from adamas.engine import Task
from adamas.optimizer import Stepper

PHASES = ("look", "norm", "coefficients", "kernels", "settle", "the rest")


def clocked(spent: dict[str, float], phase: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, whose time is booked under `phase`, less what phases inside it book."""

    def timed(*args: Any, **kwargs: Any) -> Any:
        inside, start = sum(spent.values()), time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            spent[phase] += time.perf_counter() - start - (sum(spent.values()) - inside)

    return timed


def measure(name: str, tail: bool, cold: bool, rounds: int) -> dict[str, float]:
    """Median time of each phase and of the whole step, in µs."""

    def params() -> list[torch.nn.Parameter]:
        made = [torch.nn.Parameter(torch.randn(leaf.shape)) for leaf in workload(name).leaves]
        for p in made:
            p.grad = torch.randn_like(p)
        return made

    options: dict[str, Any] = {"clip_grad_norm": 1.0, "ema_decay": 0.999, "zero_grad": True} if tail else {}
    ours, other = adamas.torch.AdamW(params(), **options), torch.optim.AdamW(params(), fused=True)
    spent = defaultdict[str, float](float)
    stepper = next(value for value in vars(ours).values() if isinstance(value, Stepper))
    arrays = type(stepper.arrays)
    places = [
        (arrays, "look", "look"),
        (Stepper, "_look_first", "norm"),
        (Stepper, "_prepare", "coefficients"),
        (Task, "run", "kernels"),
        (arrays, "settle", "settle"),
    ]
    before = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in places]
    measured: dict[str, list[float]] = defaultdict(list)
    try:
        for owner, attribute, phase in places:
            setattr(owner, attribute, clocked(spent, phase, getattr(owner, attribute)))
        for k in range(rounds + 5):
            if cold:
                torch.nn.utils.clip_grad_norm_(other.param_groups[0]["params"], 1.0)
                other.step()
            spent.clear()
            start = time.perf_counter()
            ours.step()
            whole = time.perf_counter() - start
            spent["the rest"] = whole - sum(spent[phase] for phase in PHASES[:-1])
            if k >= 5:  # the first make plans and compile
                for phase in PHASES:
                    measured[phase].append(spent[phase] * 1e6)
                measured["step"].append(whole * 1e6)
    finally:
        for owner, attribute, call in before:
            setattr(owner, attribute, call)
    return {phase: statistics.median(times) for phase, times in measured.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", default=["8-tensors", "500x64", "1000x16"])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = Table(
        "workload",
        "caches",
        *(f"{phase}, µs" for phase in PHASES),
        "step, µs",
        title=f"A step of AdamW, float32, {options.threads} threads, medians",
        caption=caption(["torch", "adamas"]),
    )
    for name in options.workloads:
        for tail in (False, True):
            for cold in (False, True):
                times = measure(name, tail, cold, options.rounds)
                table.add_row(
                    f"{name}, with the tail" if tail else name,
                    "cold" if cold else "warm",
                    *(f"{times[phase]:.1f}" for phase in (*PHASES, "step")),
                )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
