"""What it costs to have every step observed: steps with and without a doctor, in turn, in one process.

    python -m benchmarks.doctor_overhead            both workloads
    python -m benchmarks.doctor_overhead mlp        the small one alone

The small model is an MLP of 8 tensors and 17 k parameters, trained for real: forward, backward, step. Of GPT-2 with its
124 M parameters only the step is timed, on gradients that stay, so that its share is not flattered by a forward pass.
"""

import sys
import time
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import nn

from adamas.bench.report import caption
from adamas.bench.workloads import gpt2
from adamas.torch import AdamW, Doctor


def mlp() -> nn.Sequential:
    sizes = (64, 96, 64, 56, 10)
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def trained(blocks: int = 40, steps: int = 50) -> tuple[float, float]:
    """Seconds of a step, plain and observed."""
    x, y = torch.randn(64, 64), torch.randint(0, 10, (64,))
    plain, watched = mlp(), mlp()
    optimizers = {False: AdamW(plain.parameters(), lr=1e-4), True: AdamW(watched.parameters(), lr=1e-4)}
    models = {False: plain, True: watched}
    doctor = Doctor(watched, optimizers[True], steps=blocks * steps)
    spent: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(blocks):
        for observed in (False, True):
            model, optimizer = models[observed], optimizers[observed]
            begun = time.perf_counter()
            for _ in range(steps):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                value = loss.item()  # which a loop reads anyway
                if observed:
                    doctor.observe(value)
            spent[observed].append((time.perf_counter() - begun) / steps)
    doctor.close()
    return median(spent[False]), median(spent[True])


class Large(nn.Module):
    """The tensors of GPT-2, with gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.all = nn.ParameterList(nn.Parameter(0.02 * torch.randn(shape)) for shape in gpt2())
        for p in self.all:
            p.grad = 1e-3 * torch.randn_like(p)


def stepped(rounds: int = 20) -> tuple[float, float]:
    """Seconds of a step, plain and observed: one model, whose telemetry is switched."""
    model = Large()
    optimizer: Any = AdamW(model.parameters(), lr=1e-6)
    doctor = Doctor(model, optimizer, steps=2 * rounds)
    observing = optimizer._stepper.tail
    silent = type(observing)()
    spent: dict[bool, list[float]] = {False: [], True: []}
    for i in range(2 * rounds + 4):
        observed = bool(i % 2)
        optimizer._stepper.tail = observing if observed else silent
        begun = time.perf_counter()
        optimizer.step()
        if observed:
            doctor.observe(1.0)
        if i >= 4:
            spent[observed].append(time.perf_counter() - begun)
    doctor.close()
    return median(spent[False]), median(spent[True])


if __name__ == "__main__":
    torch.set_num_threads(2)
    for name, measure in (("mlp", trained), ("gpt2", stepped)):
        if name in (sys.argv[1:] or [name]):
            plain, watched = measure()
            print(
                f"{name}: {1e6 * plain:.0f} µs, observed {1e6 * watched:.0f} µs: +{100 * (watched / plain - 1):.1f} %"
            )
    print(caption(["torch"]))
