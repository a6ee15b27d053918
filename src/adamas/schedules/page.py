"""The page of a schedule: its curve, its values at the steps that matter, and the lines that make it."""

import json
import math
import re
from typing import Any

import numpy as np

from adamas.pages import Axis, Chart, Series, View, copied, element, markup, page, place, table
from adamas.schedules.base import Schedule, Then
from adamas.schedules.picture import places
from adamas.schedules.shape import NAMES

_ROWS = 24


def rows(schedule: Schedule, shown: int) -> list[dict[str, Any]]:
    """The steps that matter; if there are many, some of them evenly."""
    marks = {0, 1, shown // 2, shown - 1, shown, *schedule.marks()}
    steps = sorted({step for step in marks if 0 <= step <= shown})
    if len(steps) > _ROWS:
        steps = [steps[round(k * (len(steps) - 1) / (_ROWS - 1))] for k in range(_ROWS)]
    momentum = schedule.momentum
    return [
        {"step": step, "value": schedule(step), **({} if momentum is None else {"momentum": momentum(step)})}
        for step in steps
    ]


def span(schedule: Schedule, shown: int) -> str:
    """How long it is, and how much of it is shown, in a sentence."""
    if schedule.length == math.inf:
        return f"It has no end; shown are {shown:,} steps."
    if shown > schedule.length:
        return f"It ends after {schedule.length:,} steps and then keeps its last value; shown are {shown:,}."
    if shown < schedule.length:
        return f"It ends after {schedule.length:,} steps; shown are the first {shown:,}."
    return f"It ends after {schedule.length:,} steps and then keeps its last value."


def schedule_page(schedule: Schedule, shown: int) -> str:
    """The page, over that many steps."""
    momentum = schedule.momentum
    heads = ["steps taken", "η, or its factor", *([] if momentum is None else ["β₁"])]
    heads += ["by"] if isinstance(schedule, Then) else []
    lines: list[list[str]] = []
    for row in rows(schedule, shown):
        cells = [f"{row['step']:,}", f"{row['value']:.6g}"]
        cells += [] if momentum is None else [f"{row['momentum']:.4g}"]
        cells += [repr(schedule.at(row["step"]))] if isinstance(schedule, Then) else []
        lines.append(cells)
    body = markup(
        element("p", "Learning-rate schedule", class_="over"),
        element("h1", repr(schedule)),
        element("p", span(schedule, shown), class_="lead"),
        place("schedule", "Drag to zoom, twice to see the whole."),
        element("h2", "Values"),
        table("At the steps that matter", heads, lines),
        element("h2", "In Python"),
        copied(_lines(schedule), "Python that makes the schedule"),
        element("h2", "As JSON"),
        copied(json.dumps(schedule.plain(), indent=1, allow_nan=False), "The schedule as JSON"),
    )
    return page(f"Schedule {schedule!r}", body, {"schedule": _chart(schedule, shown)})


def _lines(schedule: Schedule) -> str:
    names = sorted(set(re.findall(r"[a-z_]+(?=\()", repr(schedule))) & set(NAMES))
    return f"from adamas.schedules import {', '.join(names)}\n\nschedule = {schedule!r}\n"


def _chart(schedule: Schedule, shown: int) -> Chart:
    steps = places(schedule, shown)
    values = schedule(steps)
    high = float(np.max(values))
    y = Axis("η, or its factor", 0.0, high * 1.06 or 1.0, log=False if high > 0 else None)
    lines = [Series("η", steps.tolist(), values.tolist(), colour=0)]
    right = None
    if schedule.momentum is not None:
        moved = schedule.momentum(steps)
        room = 0.06 * float(np.max(moved) - np.min(moved)) or 0.05
        right = Axis("β₁", float(np.min(moved)) - room, float(np.max(moved)) + room)
        lines.append(Series("β₁", steps.tolist(), moved.tolist(), colour=1, right=True))
    title = f"{schedule!r} against the steps taken"
    return Chart(title, Axis("steps taken", 0, shown, log=False), "step", [View("", y, lines)], right)
