"""bench.png: how many times as long as ours everybody's step takes, workload by workload."""

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from adamas.bench import Result, threads_told
from adamas.bench.measure import Measurement
from adamas.bench.peers import PEERS
from adamas.bench.report import caption, duration, times
from adamas.palette import COLOURS, FAINT, INK, PALE

ACROSS = 3
"""Panels in a row."""


def draw(result: Result, path: Path) -> None:
    """Draw the ratios into the PNG at `path`."""
    panels: dict[tuple[str, int], list[Measurement]] = {}
    for m in result.measurements:
        panels.setdefault((m.workload.name, m.threads), []).append(m)
    names = [name for name in PEERS if any(r.peer == name for m in result.measurements for r in m.rows)]
    across = min(ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    tall = 0.34 * len(names) + 0.95
    width, height = 1.5 + 3.9 * across, 0.75 + tall * down + 0.65
    figure = Figure(figsize=(width, height), dpi=130)
    figure.text(0.012, 1 - 0.32 / height, "A step of AdamW, in times of ours", fontsize=14, color=INK, weight="bold")
    colours = {tail: COLOURS[tail] for tail in sorted({m.tail for m in result.measurements})}
    for k, (tail, colour) in enumerate(colours.items()):
        words = "with clipping, averaging and clearing" if tail else "the step alone"
        figure.text(0.985, 1 - (0.25 + 0.2 * k) / height, words, fontsize=9.5, color=colour, ha="right", weight="bold")
    grid = figure.add_gridspec(
        down, across, left=1.15 / width, right=1 - 0.3 / width, top=1 - 1.0 / height, bottom=0.65 / height,
        hspace=0.75 / (tall - 0.75), wspace=0.08,
    )  # fmt: skip
    axes = grid.subplots(sharex=True, sharey=True, squeeze=False).ravel()
    ratios = [r.ratio for m in result.measurements for r in m.rows]
    low, high = min(min(r.low for r in ratios), 1 / 1.3), max(r.high for r in ratios)
    for panel, ((name, threads), own) in zip(axes, panels.items(), strict=False):
        _panel(panel, own, names)
        panel.set_xlim(low, high * (high / low) ** 0.25)
        panel.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if high / low < 1000 else (1.0,)))
        panel.set_title(
            f"{_short(name)}, {threads_told(threads)}", loc="left", fontsize=10.5, color=INK, weight="bold", pad=17
        )
        panel.annotate(
            own[0].workload.about, (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points", fontsize=8,
            color=FAINT,
        )  # fmt: skip
    for panel in axes[len(panels) :]:
        panel.set_axis_off()
    for panel in axes[max(0, len(panels) - across) : len(panels)]:
        panel.tick_params(labelbottom=True)
    figure.text(1 - 0.3 / width, 0.12 / height, caption(["adamas", "torch"]), fontsize=8, color=FAINT, ha="right")
    figure.savefig(path)


def _short(name: str) -> str:
    """A workload's name without its folder, cut to what stands over a panel."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return last if len(last) <= 28 else f"…{last[-27:]}"


def _panel(axes: Axes, measurements: list[Measurement], names: list[str]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(True, axis="x", color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5, colors=INK)
    axes.tick_params(axis="y", length=0)
    thick = 0.8 / len(measurements)
    for k, m in enumerate(measurements):
        for row in m.rows:
            y = names.index(row.peer) + (k - (len(measurements) - 1) / 2) * thick
            axes.barh(y, row.ratio.middle - 1, thick * 0.9, left=1, color=COLOURS[m.tail])
            axes.plot([row.ratio.low, row.ratio.high], [y, y], color=INK, linewidth=0.9)
            told = duration(row.us.middle) if row.peer == "adamas" else times(row.ratio.middle)
            axes.annotate(
                told, (max(row.ratio.high, 1), y), (4, 0), textcoords="offset points", va="center", fontsize=7.5,
                color=INK,
            )  # fmt: skip
    axes.axvline(1, color=INK, linewidth=0.9)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
