"""Measuring: each optimizer steps once a round, in an order that changes, and a large array is copied beside them."""

import gc
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import torch

from adamas.bench.peers import Runner
from adamas.bench.workloads import Workload

WARM = 2
"""Rounds before those that count; each optimizer has made a first step before."""

ROUNDS = 5
"""The fewest rounds that count, however long they take."""

LARGE = 1 << 28
"""Bytes: what a step must move for the memory, and not a cache, to be what it waits for; size of the copied arrays."""


class Spread(NamedTuple):
    """Median and quartiles."""

    middle: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """
    >>> spread([3.0, 1.0, 2.0])
    Spread(middle=2.0, low=1.5, high=2.5)
    """
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, middle, high = quantiles(values, method="inclusive")
    return Spread(middle, low, high)


@dataclass(frozen=True)
class Row:
    """One optimizer on one workload.

    Attributes:
        peer: its name.
        us: the time of a step in µs.
        ratio: its time as a multiple of this library's in the same round.
        moved: bytes that a step has to move for each parameter.
        share: of the bandwidth of the copy in the same round; None where the workload fits into a cache.
        state: bytes kept for each parameter beside it and its gradient.
    """

    peer: str
    us: Spread
    ratio: Spread
    moved: float
    share: float | None
    state: float


@dataclass(frozen=True)
class Measurement:
    """One workload with so many threads, with the tail or without.

    Attributes:
        rounds: how many counted.
        bandwidth: of the copy, in bytes a second; None where it was not wanted.
        failed: peer -> why it has no row.
    """

    workload: Workload
    threads: int
    tail: bool
    rounds: int
    rows: list[Row]
    bandwidth: float | None
    failed: Mapping[str, str] = field(default_factory=dict[str, str])


class Copy:
    """The measure of bandwidth: torch's a += ½b, in place, on arrays that no cache holds."""

    moved = 3 * LARGE

    def __init__(self) -> None:
        self.a, self.b = torch.zeros(LARGE // 4), torch.ones(LARGE // 4)

    def step(self) -> None:
        self.a.add_(self.b, alpha=0.5)


def rounds(
    runners: Mapping[str, Runner], copy: Copy | None, seconds: float, stopped: Callable[[], None]
) -> tuple[dict[str, list[float]], list[float]]:
    """Seconds of each runner's step, and of the copy, in every round.

    Ctrl-C ends it early, after which `stopped` has been called; an unfinished round is left out.
    """
    whole: list[tuple[dict[str, float], float]] = []
    order = list(runners)
    shuffle = random.Random(0).shuffle
    collecting = gc.isenabled()
    gc.disable()
    try:
        end = math.inf
        for k in range(-WARM, 1 << 62):
            if k == 0:
                end = time.perf_counter() + seconds
            if k >= ROUNDS and time.perf_counter() > end:
                break
            shuffle(order)
            own: dict[str, float] = {}
            for name in order:
                runners[name].refill()
                own[name] = _timed(runners[name].step)
            copied = _timed(copy.step) if copy is not None else 0.0
            if k >= 0:
                whole.append((own, copied))
    except KeyboardInterrupt:
        stopped()
    finally:
        if collecting:
            gc.enable()
    times = {name: [own[name] for own, _ in whole] for name in runners}
    return times, [copied for _, copied in whole] if copy is not None else []


def _timed(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def tabulate(
    runners: Mapping[str, Runner], times: Mapping[str, Sequence[float]], copies: Sequence[float], workload: Workload
) -> tuple[list[Row], float | None]:
    """The rows, in the order of the runners, whose first is this library; and the bandwidth."""
    ours = next(iter(times.values()))
    rows: list[Row] = []
    bandwidth = Copy.moved / median(copies) if copies else None
    for name, runner in runners.items():
        taken, moved = times[name], runner.moved()
        shares = [moved / t / (Copy.moved / c) for t, c in zip(taken, copies, strict=False)]
        rows.append(
            Row(
                peer=name,
                us=Spread(*(t * 1e6 for t in spread(taken))),
                ratio=spread([t / own for t, own in zip(taken, ours, strict=True)]),
                moved=moved / workload.size,
                share=median(shares) if shares else None,
                state=runner.state_bytes() / workload.size,
            )
        )
    return rows, bandwidth


def available() -> float:
    """Bytes of memory that are free for this process; infinite where the system does not say."""
    free = math.inf
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
        group = Path("/sys/fs/cgroup")
        free = min(free, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # another system, or a group without a limit
        pass
    return free
