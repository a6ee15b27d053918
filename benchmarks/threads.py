"""Whose threads: a step of AdamW on torch's OpenMP threads and on our own, at rest and right after torch's work.

    python benchmarks/threads.py [--parameters 12000000] [--rounds 40]

After a parallel region OpenMP's threads wait in a loop for the next one; a pool beside them fights for the cores.
"""

import argparse
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table

import adamas.torch
from adamas.bench.report import caption
from adamas.engine import POOL
from adamas.torch.optimizer import _ARRAYS as ARRAYS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=int, default=12_000_000)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(2)
    p = torch.nn.Parameter(torch.randn(options.parameters))
    p.grad = torch.randn(options.parameters)
    other = torch.randn(options.parameters)
    optimizer = adamas.torch.AdamW([p])
    crews = {"torch's OpenMP": ARRAYS.crew.work, "our own pool": POOL.work}
    times: dict[tuple[str, bool], list[float]] = {(name, rest): [] for name in crews for rest in (True, False)}
    for _ in range(options.rounds):
        for (name, rest), measured in times.items():
            ARRAYS.crew.work = crews[name]
            other.mul_(1.0)
            if rest:
                time.sleep(0.02)
            start = time.perf_counter()
            optimizer.step()
            measured.append(time.perf_counter() - start)
    table = Table(
        "threads",
        "at rest, ms",
        "right after torch's work, ms",
        caption=caption(["torch", "adamas"]),
    )
    for name in crews:
        table.add_row(name, *(f"{statistics.median(times[name, rest]) * 1e3:.1f}" for rest in (True, False)))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
