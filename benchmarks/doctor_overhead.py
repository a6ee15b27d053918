"""What it costs to have every step observed: steps with and without a doctor who writes a log, in turn, in one process.

    python -m benchmarks.doctor_overhead [--seconds 60]            both workloads, so long each
    python -m benchmarks.doctor_overhead mlp                       the small one alone

The small model is an MLP of 8 tensors and 17 k parameters, trained for real on batches that are drawn anew: forward,
backward, step. Of GPT-2 with its 124 M parameters only the step is timed, on gradients that stay, so that its share is
not flattered by a forward pass. The first 200 steps, which are looked at more closely, go before.

Compared are blocks of steps, so that what is done every few steps has its part in them, each with the one before it,
since a machine's speed changes: the median of these ratios is told, and beside it the ratio of the means, in which
everything has its part.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from torch import nn

from adamas.bench.report import caption
from adamas.bench.workloads import gpt2
from adamas.torch import AdamW, Doctor

Spent = dict[bool, list[float]]
"""Whether observed -> seconds of each block, for one step of it."""

STEPS = {"mlp": 50, "gpt2": 8}
"""In a block: of the large model, one in eight is measured."""


def mlp() -> nn.Sequential:
    sizes = (64, 96, 64, 56, 10)
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def in_turn(block: Callable[[bool], None], steps: int, seconds: float) -> Spent:
    """Blocks of steps without and with the doctor, until the time is over."""
    spent: Spent = {False: [], True: []}
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(spent[True]) < 3:
        for observed in (False, True):
            begun = time.perf_counter()
            block(observed)
            spent[observed].append((time.perf_counter() - begun) / steps)
    return spent


def trained(log: Path, seconds: float) -> tuple[Spent, list[float]]:
    """Of whole training steps; and the seconds of each `observe` alone."""
    x, y = torch.randn(8192, 64), torch.randint(0, 10, (8192,))
    models = {False: mlp(), True: mlp()}
    optimizers = {observed: AdamW(model.parameters(), lr=1e-4) for observed, model in models.items()}
    doctor = Doctor(models[True], optimizers[True], steps=20_000, log=log)
    alone: list[float] = []

    def block(observed: bool) -> None:
        model, optimizer = models[observed], optimizers[observed]
        for _ in range(STEPS["mlp"]):
            rows = torch.randint(0, len(x), (64,))
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            value = loss.item()  # which a loop reads anyway
            if observed:
                begun = time.perf_counter()
                doctor.observe(value)
                alone.append(time.perf_counter() - begun)

    for _ in range(4):
        block(False)
        block(True)
    alone.clear()
    spent = in_turn(block, STEPS["mlp"], seconds)
    doctor.close()
    return spent, alone


class Large(nn.Module):
    """The tensors of GPT-2, with gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.all = nn.ParameterList(nn.Parameter(0.02 * torch.randn(shape)) for shape in gpt2())
        for p in self.all:
            p.grad = 1e-3 * torch.randn_like(p)


def stepped(log: Path, seconds: float) -> tuple[Spent, list[float]]:
    """Likewise of the optimizer's steps alone: one model, whose telemetry is switched."""
    model = Large()
    optimizer: Any = AdamW(model.parameters(), lr=1e-6)
    stepper = optimizer._stepper
    silent = stepper.tail
    doctor = Doctor(model, optimizer, steps=2000, log=log)
    alone: list[float] = []

    def block(observed: bool, steps: int = STEPS["gpt2"]) -> None:
        observing = stepper.tail
        if not observed:
            stepper.tail = silent
        for _ in range(steps):
            optimizer.step()
            if observed:
                begun = time.perf_counter()
                doctor.observe(1.0)
                alone.append(time.perf_counter() - begun)
        if not observed:
            stepper.tail = observing

    block(True, 200)
    alone.clear()
    spent = in_turn(block, STEPS["gpt2"], seconds)
    doctor.close()
    return spent, alone


def line(name: str, spent: Spent, alone: list[float]) -> str:
    plain, watched = (1e6 * median(spent[observed]) for observed in (False, True))
    ratio = median(seen / unseen for unseen, seen in zip(spent[False], spent[True], strict=True))
    means = [fmean(spent[observed]) for observed in (False, True)]
    return (
        f"{name}: a step {plain:.0f} µs, observed {watched:.0f} µs: {100 * (ratio - 1):+.1f} % "
        f"(means: {100 * (means[1] / means[0] - 1):+.1f} %); observe alone {1e6 * median(alone):.1f} µs "
        f"(mean {1e6 * fmean(alone):.1f} µs), {len(spent[True])} blocks of {STEPS[name]}"
    )


def main() -> None:
    measures = {"mlp": trained, "gpt2": stepped}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="mlp|gpt2", default=[*measures])
    parser.add_argument("--seconds", type=float, default=60.0, help="for each workload")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if wrong := [name for name in options.workloads if name not in measures]:
        parser.error(f"there is no workload {wrong[0]!r}: give mlp, gpt2, or none for both")
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.workloads:
            print(line(name, *measures[name](Path(folder) / f"{name}.jsonl", options.seconds)), flush=True)
    print(caption(["torch"]))


if __name__ == "__main__":
    main()
