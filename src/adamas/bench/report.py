"""What a bench prints: a table for each workload, and what it takes to read them; and all of it as plain values."""

import datetime
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adamas.bench import Result, threads_told
from adamas.bench.measure import LARGE, Measurement, Row
from adamas.bench.peers import AVERAGE, MAX_NORM, PEERS
from adamas.race.report import machine, number

if TYPE_CHECKING:
    from rich.console import RenderableType


def as_dict(result: Result) -> dict[str, Any]:
    """Everything: what `--json` prints."""
    return {
        "complete": result.complete,
        "seconds": round(result.seconds, 2),
        "measurements": [
            {
                "workload": m.workload.name,
                "tensors": len(m.workload.leaves),
                "parameters": m.workload.size,
                "dtypes": sorted({leaf.dtype for leaf in m.workload.leaves}),
                "note": m.workload.note,
                "threads": m.threads,
                "tail": m.tail,
                "rounds": m.rounds,
                "copy_bytes_per_second": m.bandwidth,
                "failed": dict(m.failed),
                "rows": [
                    {
                        "peer": row.peer,
                        "us": row.us._asdict(),
                        "ratio": row.ratio._asdict(),
                        "bytes_moved_per_parameter": row.moved,
                        "share_of_copy_bandwidth": row.share,
                        "state_bytes_per_parameter": row.state,
                    }
                    for row in m.rows
                ],
            }
            for m in result.measurements
        ],
        "settings": {name: PEERS[name].setting for name in _seen(result)},
        "distance_from_adamw": result.distances,
        "absent": result.absent,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _packages(result)}},
        "machine": machine() | {"processor": processor()},
        "date": datetime.date.today().isoformat(),
    }


def _seen(result: Result) -> list[str]:
    """The peers that have a row, in their order."""
    seen = {row.peer for m in result.measurements for row in m.rows}
    return [name for name in PEERS if name in seen]


def _packages(result: Result) -> list[str]:
    """What the numbers depend on."""
    return list(dict.fromkeys([*(PEERS[name].package for name in _seen(result)), "numba"]))


def printed(result: Result) -> "list[RenderableType]":
    """For a rich console."""
    names = dict.fromkeys(m.workload.name for m in result.measurements)
    parts: list[RenderableType] = []
    for name in names:
        own = [m for m in result.measurements if m.workload.name == name]
        parts += [_table(own), *_notes(own)]
    return [*parts, *_footnotes(result)]


def _table(measurements: Sequence[Measurement]) -> "RenderableType":
    """One workload: a section for each number of threads, with and without the tail."""
    from rich import box
    from rich.table import Table

    workload = measurements[0].workload
    scales = len({m.threads for m in measurements}) > 1
    grid = Table(
        title=f"\n{workload.name}: {workload.about}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    grid.add_column("AdamW", no_wrap=True)
    heads = ["a step", "times\nours", "quartiles", "B moved\na param.", "of\ncopy", "state B\na param."]
    for head in [*heads, *(["by\nthreads"] if scales else [])]:
        grid.add_column(head, justify="right", no_wrap=True)
    for m in measurements:
        grid.add_section()
        grid.add_row(f"[dim]{threads_told(m.threads)}{', tail' * m.tail}")
        for row in m.rows:
            cells = [
                duration(row.us.middle),
                times(row.ratio.middle),
                f"{times(row.ratio.low)} … {times(row.ratio.high)}" if row.peer != "adamas" else "",
                number(row.moved),
                "–" if row.share is None else f"{row.share:.0%}",
                number(row.state),
            ]
            cells += [_gain(row, m, measurements)] if scales else []
            grid.add_row(row.peer, *cells, style="bold" if row.peer == "adamas" else None)
    return grid


def _gain(row: Row, measurement: Measurement, measurements: Sequence[Measurement]) -> str:
    """How much faster than with the first number of threads."""
    first = next(m for m in measurements if m.tail == measurement.tail)
    before = [r.us.middle for r in first.rows if r.peer == row.peer]
    return "" if first is measurement or not before else f"{before[0] / row.us.middle:.2f}"


def times(ratio: float) -> str:
    """
    >>> times(0.954), times(12.93), times(7620.4)
    ('0.954', '12.9', '7,620')
    """
    return number(ratio) if ratio < 999.5 else f"{ratio:,.0f}"


def duration(us: float) -> str:
    """
    >>> duration(33.4), duration(7123.0), duration(572646.0)
    ('33.4 µs', '7.12 ms', '573 ms')
    """
    return f"{us:.3g} µs" if us < 999.5 else f"{us / 1e3:.3g} ms" if us < 999.5e3 else f"{us / 1e6:.3g} s"


def _notes(measurements: Sequence[Measurement]) -> list[str]:
    """What belongs to one workload."""
    workload = measurements[0].workload
    notes = [f"{workload.note}."] if workload.note else []
    failed = {name: why for m in measurements for name, why in m.failed.items()}
    notes += [f"{name} cannot step it: {why}." for name, why in failed.items()]
    speeds = [
        f"{m.bandwidth / 1e9:.1f} ({threads_told(m.threads)})" for m in measurements if m.bandwidth and not m.tail
    ] or [f"{m.bandwidth / 1e9:.1f} ({threads_told(m.threads)})" for m in measurements if m.bandwidth]
    notes += [f"copy bandwidth: {', '.join(speeds)} GB/s."] if speeds else []
    return notes


def _footnotes(result: Result) -> list[str]:
    few, many = (most(m.rounds for m in result.measurements) for most in (min, max))
    notes = [
        "",
        f"Medians of {few:,}{f' to {many:,}' if many > few else ''} rounds, each with one step of everybody in "
        "changing order; ratios are taken round by round.",
        "B moved: what a step must read and write at least. Of copy: of the bandwidth of torch's a += ½b on two arrays "
        f"of {LARGE / 1e6:.0f} MB in the same rounds; looked at where a step moves as much.",
    ]
    if len({m.threads for m in result.measurements}) > 1:
        notes.append(f"By threads: how many times as fast as with {threads_told(result.measurements[0].threads)}.")
    if any(m.tail for m in result.measurements):
        notes.append(
            f"The tail: gradients clipped to a norm of {MAX_NORM:g}, weights averaged (decay {AVERAGE}), gradients "
            "cleared. Ours in the step, optax's under the same jit, else by torch's clip_grad_norm_, _foreach_lerp_ "
            "and _foreach_zero_."
        )
    notes.append("Settings: " + "; ".join(f"{name}: {PEERS[name].setting}" for name in _seen(result)) + ".")
    if rough := [f"{name} {off:.1%}" for name, off in result.distances.items()]:
        notes.append(f"States of fewer bits lead elsewhere than AdamW, after five steps by: {', '.join(rough)}.")
    if result.absent:
        notes.append("Not timed: " + "; ".join(f"{name}: {why}" for name, why in result.absent.items()) + ".")
    return [*notes, f"{caption(_packages(result))}."]


def caption(packages: Sequence[str]) -> str:
    """When and on what a table was measured."""
    return ", ".join([f"{datetime.date.today()}", processor(), *(f"{name} {version(name)}" for name in packages)])


def processor() -> str:
    """The processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
