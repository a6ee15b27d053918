"""How long a step of AdamW takes on somebody's own shapes, here and with everybody else who is installed."""

import os
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from itertools import product

import torch
from threadpoolctl import threadpool_limits

from adamas.bench.measure import LARGE, Copy, Measurement, available, rounds, tabulate
from adamas.bench.peers import NEAR, PEERS, ROUGH, Runner, distance
from adamas.bench.workloads import SIZES, Workload
from adamas.errors import InputError, unknown


@dataclass
class Result:
    """What `bench` has measured.

    Attributes:
        measurements: in the order in which they were made.
        distances: peer -> how far from AdamW it ends, for those whose states have few bits.
        absent: peer -> why it was not timed.
        complete: whether all was measured, and nobody stopped it.
        seconds: how long it took.
    """

    measurements: list[Measurement] = field(default_factory=list[Measurement])
    distances: dict[str, float] = field(default_factory=dict[str, float])
    absent: dict[str, str] = field(default_factory=dict[str, str])
    complete: bool = True
    seconds: float = 0.0


def bench(
    workloads: Sequence[Workload],
    peers: Sequence[str] | None,
    threads: Sequence[int],
    tails: Sequence[bool],
    seconds: float,
    say: Callable[[str], None],
) -> Result:
    """Time the workloads.

    Args:
        workloads: what to step.
        peers: against whom; None: everybody who is installed.
        threads: the numbers of threads.
        tails: without the tail, with it, or both.
        seconds: for each workload, number of threads, and with or without the tail.
        say: shows that it goes on.

    Raises:
        InputError: for peers that there are not, and where the memory does not suffice; nothing is timed.
    """
    begun = time.monotonic()
    result = Result()
    names = _present(peers, result)
    _refuse_too_large(workloads, len(names), max(tails))
    with _stdout_to_stderr():
        try:
            with threads_of(threads[0]):
                names = _right(names, tails, peers is not None, result, say)
            every = list(product(workloads, threads, tails))
            for k, (workload, count, tail) in enumerate(every):
                say(f"{workload.name}, {threads_told(count)}{', with the tail' * tail}: {k + 1} of {len(every)}")
                with threads_of(count):
                    measurement = _measure(workload, names, count, tail, seconds, result)
                if measurement is not None:
                    result.measurements.append(measurement)
                if not result.complete:
                    break
        except KeyboardInterrupt:
            result.complete = False
    result.seconds = time.monotonic() - begun
    return result


def _present(peers: Sequence[str] | None, result: Result) -> list[str]:
    """Who is installed, this library first."""
    for name in peers or ():
        if name not in PEERS:
            raise unknown("peer", name, PEERS)
        if not PEERS[name].installed:
            raise InputError(f"The peer {name} is not installed: pip install {PEERS[name].package}, or leave it out.")
    names = [name for name in PEERS if name == "adamas" or peers is None or name in peers]
    result.absent |= {
        name: f"not installed (pip install {PEERS[name].package})" for name in names if not PEERS[name].installed
    }
    return [name for name in names if PEERS[name].installed]


def _refuse_too_large(workloads: Sequence[Workload], peers: int, tail: bool) -> None:
    """Everybody has parameters, gradients, two states and maybe averages of their own; one works with copies."""
    for workload in workloads:
        own = sum(leaf.size * SIZES[leaf.dtype] for leaf in workload.leaves)
        states = sum(leaf.size * max(4, SIZES[leaf.dtype]) for leaf in workload.leaves)
        needed = peers * (2 * own + (2 + tail) * states) + 2 * (own + states)
        if needed > (free := available()):
            raise InputError(
                f"{workload.name} needs about {needed / 1e9:,.1f} GB of memory for {peers} optimizers that each have "
                f"{workload.size:,} parameters, and {free / 1e9:,.1f} GB are free: name fewer --peers, or a smaller "
                "workload."
            )


def _right(
    names: Sequence[str], tails: Sequence[bool], named: bool, result: Result, say: Callable[[str], None]
) -> list[str]:
    """Those that run here and compute AdamW: all else would be no comparison."""
    right: list[str] = []
    for name in names:
        say(f"{name}: trying whether it runs, and computes AdamW")
        try:
            off = max(distance(PEERS[name], tail) for tail in tails)
        except Exception as error:  # whatever another library, or a compiler that it calls, raises
            fault = f"cannot run here: {_told(error)}"
        else:
            exact = PEERS[name].exact
            fault = "" if off < (NEAR if exact else ROUGH) else f"is {off:.1%} off the way of AdamW after five steps"
            if not exact:
                result.distances[name] = off
        if not fault:
            right.append(name)
        elif named or name == "adamas":
            raise InputError(f"The peer {name} {fault.rstrip('.')}; leave it out of --peers.")
        else:
            result.absent[name] = fault
    return right


def _told(error: Exception) -> str:
    """An error of somebody else's in one short line."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line[:160]}"


def _measure(
    workload: Workload, names: Sequence[str], threads: int, tail: bool, seconds: float, result: Result
) -> Measurement | None:
    """None where it was stopped before there was a whole round."""

    def stopped() -> None:
        result.complete = False

    generator = torch.Generator().manual_seed(0)
    start, gradients = (
        [torch.randn(leaf.shape, generator=generator).to(getattr(torch, leaf.dtype)) for leaf in workload.leaves]
        for _ in range(2)
    )
    runners: dict[str, Runner] = {}
    failed: dict[str, str] = {}
    for name in names:
        try:
            runner = PEERS[name].run(start, gradients, tail)
            runner.refill()
            runner.step()
        except Exception as error:  # the same
            failed[name] = _told(error)
        else:
            runners[name] = runner
    if "adamas" in failed:
        raise InputError(f"{workload.name} cannot be stepped: {failed['adamas']}.")
    copy = Copy() if runners["adamas"].moved() > LARGE else None
    times, copies = rounds(runners, copy, seconds, stopped)
    if not times["adamas"]:
        return None
    rows, bandwidth = tabulate(runners, times, copies, workload)
    return Measurement(workload, threads, tail, len(times["adamas"]), rows, bandwidth, failed)


@contextmanager
def threads_of(count: int) -> Generator[None]:
    """So many threads for torch and every OpenMP that is loaded."""
    before = torch.get_num_threads()
    with threadpool_limits(count):
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def threads_told(count: int) -> str:
    """
    >>> threads_told(1), threads_told(2)
    ('1 thread', '2 threads')
    """
    return "1 thread" if count == 1 else f"{count} threads"


@contextmanager
def _stdout_to_stderr() -> Generator[None]:
    """What others and their compilers print must not stand in the midst of a report."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
