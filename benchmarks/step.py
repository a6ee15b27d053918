"""One step of AdamW against torch.optim.AdamW, interleaved in one process; the ratios in the README come from here.

    python benchmarks/step.py [--workloads 1000x16 gpt2] [--peers "torch fused"] [--threads 2] [--seconds 20]

Each round steps every optimizer once, in turn, so that all see the same machine; medians over rounds. Every optimizer
has parameters, gradients and states of its own.
"""

import argparse
import datetime
import platform
import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

import adamas
import adamas.torch

Shapes = list[tuple[int, ...]]


def resnet18() -> Shapes:
    """The parameters of ResNet-18 for ImageNet (He et al. 2016): 62 tensors, 11.7 M."""
    shapes: Shapes = [(64, 3, 7, 7), (64,), (64,)]
    width = 64
    for out in (64, 128, 256, 512):
        for _ in range(2):
            shapes += [(out, width, 3, 3), (out,), (out,), (out, out, 3, 3), (out,), (out,)]
            if width != out:
                shapes += [(out, width, 1, 1), (out,), (out,)]
            width = out
    return [*shapes, (1000, 512), (1000,)]


def gpt2() -> Shapes:
    """The parameters of GPT-2 small (Radford et al. 2019): 148 tensors, 124 M."""
    block = [(768,), (768,), (768, 2304), (2304,), (768, 768), (768,)]
    block += [(768,), (768,), (768, 3072), (3072,), (3072, 768), (768,)]
    return [(50257, 768), (1024, 768), *block * 12, (768,), (768,)]


WORKLOADS: dict[str, Callable[[], Shapes]] = {
    "8 tensors": lambda: [(64, 128), (128,), (128, 64), (64,), (64, 10), (10,), (32,), (16, 16)],
    "500x64": lambda: [(64,)] * 500,
    "1000x16": lambda: [(16,)] * 1000,
    "resnet18": resnet18,
    "gpt2": gpt2,
}

PEERS: dict[str, Callable[[list[torch.Tensor]], torch.optim.Optimizer]] = {
    "adamas": lambda params: adamas.torch.AdamW(params),
    "torch fused": lambda params: torch.optim.AdamW(params, fused=True),
    "torch foreach": lambda params: torch.optim.AdamW(params, foreach=True),
}


def parameters(shapes: Shapes) -> list[torch.Tensor]:
    """Fresh parameters with gradients."""
    params: list[torch.Tensor] = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    for p in params:
        p.grad = torch.randn_like(p)
    return params


def measure(shapes: Shapes, peers: list[str], seconds: float) -> dict[str, float]:
    """Median time of a step, in µs, of each peer."""
    optimizers = {name: PEERS[name](parameters(shapes)) for name in peers}
    times: dict[str, list[float]] = {name: [] for name in peers}
    for optimizer in optimizers.values():
        optimizer.step()
        optimizer.step()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[peers[0]]) < 5:
        for name, optimizer in optimizers.items():
            start = time.perf_counter()
            optimizer.step()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) * 1e6 for name, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="NAME")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS)[1:], default=["torch fused"], metavar="NAME")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each workload")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    peers = ["adamas", *options.peers]

    table = Table(
        "workload",
        "parameters",
        *(f"{name}, µs" for name in peers),
        *(f"adamas : {name.removeprefix('torch ')}" for name in peers[1:]),
        title=f"One step of AdamW, float32, {options.threads} threads, median of interleaved rounds",
        caption=caption(),
    )
    for name in options.workloads:
        shapes = WORKLOADS[name]()
        medians = measure(shapes, peers, options.seconds)
        count = sum(torch.Size(shape).numel() for shape in shapes)
        ratios = [f"{medians[peer] / medians['adamas']:.2f} x" for peer in peers[1:]]
        table.add_row(name, f"{count:,}", *(f"{medians[peer]:,.0f}" for peer in peers), *ratios)
    Console(width=120).print(table)


def caption() -> str:
    """When and on what a table was measured."""
    return f"{datetime.date.today()}, {processor()}, torch {torch.__version__}, adamas {adamas.__version__}"


def processor() -> str:
    """The processor's name, as the system gives it."""
    try:
        lines = open("/proc/cpuinfo").read().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
