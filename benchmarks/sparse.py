"""One sparse step of an embedding against torch.optim.SparseAdam, interleaved in one process.

    python -m benchmarks.sparse [--tables 10000 1000000] [--touched 32 512] [--width 64] [--threads 2] [--seconds 10]

Each round draws rows anew, gives both optimizers the same gradient, as `nn.Embedding(sparse=True)` leaves it, not yet
coalesced, and steps each in turn; medians over rounds. Every optimizer has a table and states of its own.
"""

import argparse
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table

import adamas.torch
from adamas.bench.report import caption

PEERS = {"adamas": adamas.torch.SparseAdam, "torch": torch.optim.SparseAdam}


def measure(size: int, width: int, touched: int, seconds: float) -> dict[str, float]:
    """Median time of a step, in µs, of each."""
    optimizers = {name: kind([torch.nn.Parameter(torch.zeros(size, width))]) for name, kind in PEERS.items()}
    times: dict[str, list[float]] = {name: [] for name in PEERS}
    rounds, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end or rounds < 7:
        rows, values = torch.randint(0, size, (1, touched)), torch.randn(touched, width)
        for name, optimizer in optimizers.items():
            (p,) = optimizer.param_groups[0]["params"]
            p.grad = torch.sparse_coo_tensor(rows, values, p.shape, check_invariants=False)
            start = time.perf_counter()
            optimizer.step()
            if rounds > 1:  # the first steps make states and plans
                times[name].append(time.perf_counter() - start)
        rounds += 1
    return {name: statistics.median(t) * 1e6 for name, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", type=int, default=[10_000, 1_000_000], metavar="ROWS")
    parser.add_argument("--touched", nargs="+", type=int, default=[32, 512, 8192], metavar="ROWS")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each line")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    table = Table(
        "embedding",
        "rows touched",
        *(f"{name}, µs" for name in PEERS),
        "adamas : torch",
        title=f"One step of SparseAdam, float32, {options.threads} threads, median of interleaved rounds",
        caption=caption(["torch", "adamas"]),
    )
    for size in options.tables:
        for touched in options.touched:
            medians = measure(size, options.width, touched, options.seconds)
            ratio = f"{medians['torch'] / medians['adamas']:.1f} x"
            table.add_row(
                f"{size:,} × {options.width}", f"{touched:,}", *(f"{m:,.0f}" for m in medians.values()), ratio
            )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
