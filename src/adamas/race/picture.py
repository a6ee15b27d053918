"""race.png: who learnt how fast, who came out where, and how each depends on η."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from adamas.palette import COLOURS, FAINT, GREY, INK, PALE
from adamas.problems.base import Problem
from adamas.race.report import number
from adamas.race.result import Row, Table
from adamas.race.scale import Scale, band, result_scale
from adamas.race.search import Plan

ACROSS = 5
"""Small panels in a row."""


def draw(problem: Problem, plan: Plan, table: Table, path: Path) -> None:
    """Draw the race into the PNG at `path`."""
    across = min(ACROSS, len(table.rows))
    down = math.ceil(len(table.rows) / across)
    upper, panel = max(4.2, 0.27 * len(table.rows) + 1.0), 1.95
    height = upper + 1.5 + panel * down
    figure = Figure(figsize=(13, height), dpi=130)

    def at(inches: float) -> float:
        """Inches from the top as the figure's own fraction."""
        return 1 - inches / height

    figure.text(0.012, at(0.32), f"{problem.name}: {table.headline}", fontsize=14, color=INK, weight="bold")
    y = result_scale(problem.measure, table)
    _curves(figure.add_axes((0.055, at(upper), 0.44, (upper - 0.85) / height)), table, y)
    when = "at the end" if plan.around.stop_early is None else "at the best point"
    _ranking(figure.add_axes((0.70, at(upper), 0.285, (upper - 0.85) / height)), table, y, when)
    figure.text(
        0.012,
        at(upper + 0.85),
        f"{y.name} {plan.span} against η, one seed",
        fontsize=11,
        color=INK,
        weight="bold",
    )
    figure.text(
        0.985,
        at(upper + 0.85),
        "shaded: near its own best   ×: diverged or off the scale   grey: the others",
        fontsize=9,
        color=FAINT,
        ha="right",
    )
    grid = figure.add_gridspec(
        down,
        across,
        left=0.055,
        right=0.985,
        top=at(upper + 1.2),
        bottom=0.5 / height,
        hspace=0.34,
        wspace=0.09,
    )
    panels = grid.subplots(sharex=True, sharey=True, squeeze=False).ravel()
    for i, axes in enumerate(panels):
        if i < len(table.rows):
            _sensitivity(axes, table, i, y)
        else:
            axes.set_axis_off()
    figure.savefig(path)


def curves(problem: Problem, table: Table, axes: Axes | None) -> Axes:
    """Draw the measure against steps on the axes, or on those of a new figure; returns them."""
    if axes is None:
        axes = Figure(figsize=(8, 4.2), dpi=130).add_axes((0.09, 0.12, 0.76, 0.8))
    _curves(axes, table, result_scale(problem.measure, table))
    return axes


def _colour(i: int) -> str:
    return COLOURS[i] if i < len(COLOURS) else GREY


def _apply(y: Scale, axes: Axes, which: Literal["x", "y"] = "y") -> None:
    """Give one of the axes this scale, with numbers one can read."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    if y.log:
        axes.set(**{f"{which}scale": "log"})
    axes.set(**{f"{which}lim": (y.low, y.high)})
    _label(y, axis, y.low, y.high)


def _label(y: Scale, axis: Axis, low: float, high: float) -> None:
    """Label a logarithmic axis at powers of ten, and in between where it spans few of them."""
    if not y.log:
        return
    decades = math.log10(high / low)
    axis.set_minor_locator(NullLocator())
    if decades < 0.5:
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        return
    between = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if decades < 1 else (1.0, 2.0, 5.0) if decades < 2.2 else (1.0,)
    axis.set_major_locator(LogLocator(subs=between, numticks=8 if len(between) == 1 else 50))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5, colors=INK)


def _curves(axes: Axes, table: Table, y: Scale) -> None:
    _plain(axes)
    _apply(y, axes)
    ends: list[tuple[float, str, str]] = []
    for i, row in reversed(list(enumerate(table.rows))):
        steps, middle, low, high = band(row, "metric")
        front = i < len(COLOURS)
        axes.plot(steps, middle, color=_colour(i), linewidth=2 if front else 0.9, zorder=3 if front else 1)
        if front:
            axes.fill_between(steps, low, high, color=_colour(i), alpha=0.15, linewidth=0, zorder=2)
            ends.append((float(middle[-1]), row.entrant.label, _colour(i)))
    if table.target is not None and not y.off(table.target):
        axes.axhline(table.target, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate(
            f"target {number(table.target)}", (1, table.target), (-3, 3), ha="right", fontsize=8, color=INK,
            xycoords=("axes fraction", "data"), textcoords="offset points",
        )  # fmt: skip
    last = max((int(o.curve[-1].step) for r in table.rows for o in r.finals), default=1)
    for height, (_, label, colour) in zip(_apart(axes, [e[0] for e in ends]), ends, strict=True):
        axes.annotate(
            label, (last, height), (6, 0), textcoords="offset points", va="center", fontsize=9.5,
            color=colour, weight="bold", annotation_clip=False,
        )  # fmt: skip
    axes.set_xlim(0, last)
    axes.set_xlabel("optimizer steps", color=INK)
    axes.set_title(f"{y.name}, median and range over seeds", loc="left", fontsize=11, color=INK)
    grey = len(table.rows) - len(COLOURS)
    if grey > 0:
        axes.annotate(
            f"grey: the other {grey}", (0.99, 0.98), xycoords="axes fraction", ha="right", va="top",
            fontsize=8.5, color="#888888",
        )  # fmt: skip


def _apart(axes: Axes, heights: Sequence[float]) -> list[float]:
    """Heights for labels at those data heights, moved apart as little as makes them readable."""
    gap = 0.052
    to_axes = axes.transData + axes.transAxes.inverted()
    at = [min(max(float(to_axes.transform((0, h))[1]), 0.0), 1.0) if math.isfinite(h) else 1.0 for h in heights]
    order = sorted(range(len(at)), key=lambda i: at[i])
    for _ in range(200):
        for a, b in pairwise(order):
            short = gap - (at[b] - at[a])
            if short > 0:
                at[a], at[b] = at[a] - short / 2, at[b] + short / 2
        low = min(at, default=0.0)
        at = [a - low if low < 0 else a for a in at]
    back = to_axes.inverted()
    return [float(back.transform((0, h))[1]) for h in at]


def _ranking(axes: Axes, table: Table, y: Scale, when: str) -> None:
    _plain(axes)
    _apply(y, axes, "x")
    rows = table.rows
    low, high = _window(table, y)
    axes.set_xlim(low, high)
    _label(y, axes.xaxis, low, high)
    for i, row in enumerate(rows):
        colour = _colour(i)
        if row.metric is None or not low <= row.metric <= high:
            text = "diverged" if row.metric is None else number(row.metric)
            edge, side = (0.01, "left") if y.higher else (0.99, "right")
            arrow = f"← {text}" if y.higher else f"{text} →"
            axes.text(
                edge,
                i,
                arrow,
                transform=axes.get_yaxis_transform(),
                ha=side,
                va="center",
                fontsize=8.5,
                color=FAINT,
            )
            continue
        worst = row.worst if row.worst is not None else (low if y.higher else high)
        best = row.best if row.best is not None else row.metric
        axes.plot([best, worst], [i, i], color=colour, linewidth=2, alpha=0.5, solid_capstyle="round")
        seen = [o.metric for o in row.finals if o.metric is not None]
        axes.plot(seen, [i] * len(seen), "|", color=colour, markersize=7)
        axes.plot(row.metric, i, "o", color=colour, markersize=6.5)
    axes.set_yticks(range(len(rows)), [f"{r.entrant.label}   η {number(r.lr)}" for r in rows])
    for i, label in enumerate(axes.get_yticklabels()):
        label.set_color(_colour(i) if i < len(COLOURS) else FAINT)
        label.set_fontsize(9)
        label.set_fontweight("bold" if i < len(COLOURS) else "normal")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.set_title(f"{when}: each seed (|), median (●)", loc="left", fontsize=11, color=INK)


def _window(table: Table, y: Scale) -> tuple[float, float]:
    """Limits that show the field well: stragglers far behind are left to an arrow at the edge."""
    medians = [r.metric for r in table.rows if r.metric is not None]
    usual = medians[: max(2, math.ceil(len(medians) * 0.6))]
    far = [v for r in table.rows for v in (r.worst, r.metric, r.best) if v is not None]
    if y.log:
        limit = max(usual) * max(max(usual) / min(usual), 1.2)
        seen = [v for v in far if v <= limit]
        room = max(max(seen) / min(seen), 1.1) ** 0.06
        return min(seen) / room, max(seen) * room
    limit = max(usual) - min(usual) or 0.1 * abs(max(usual)) or 1.0
    seen = [v for v in far if min(usual) - limit <= v <= max(usual) + limit]
    room = 0.06 * (max(seen) - min(seen)) or 0.1 * limit
    return min(seen) - room, max(seen) + room


def _sensitivity(axes: Axes, table: Table, i: int, y: Scale) -> None:
    _plain(axes)
    etas = [lr for results in table.map.values() for lr in results]
    axes.set_xscale("log")
    axes.set_xlim(min(etas) / 2, max(etas) * 2)
    _apply(y, axes)
    for j, row in enumerate(table.rows):
        if j != i:
            _against_eta(axes, table, row, y, GREY, 0.6, 1)
    row = table.rows[i]
    colour = _colour(i) if i < len(COLOURS) else INK
    if row.width is not None:
        axes.axvspan(row.width.low, row.width.high, color=colour, alpha=0.12, linewidth=0)
    _against_eta(axes, table, row, y, colour, 1.8, 3)
    at_best = table.map[row.entrant][row.lr]
    if at_best is not None and not y.off(at_best):
        axes.plot(row.lr, at_best, "o", color=colour, markersize=6, zorder=4)
    decades = f" · {row.width} decades" if row.width else ""
    axes.set_title(f"{row.entrant.label}{decades}", loc="left", fontsize=9.5, color=colour, weight="bold")
    if i >= len(table.rows) - ACROSS:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("η", color=INK, fontsize=9, labelpad=1)


def _against_eta(axes: Axes, table: Table, row: Row, y: Scale, colour: str, linewidth: float, zorder: int) -> None:
    results = table.map[row.entrant]
    etas = sorted(results)
    values = [np.nan if (v := results[lr]) is None else v for lr in etas]
    marker = "." if zorder > 1 else ""
    axes.plot(etas, values, color=colour, linewidth=linewidth, marker=marker, markersize=4, zorder=zorder)
    if zorder > 1:
        lost = [lr for lr in etas if y.off(results[lr])]
        axes.plot(lost, [y.worst] * len(lost), "x", color=colour, markersize=5, zorder=zorder, clip_on=False)
