"""Pictures of schedules."""

import html as escaping
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from adamas.errors import InputError
from adamas.palette import COLOURS, INK, PALE
from adamas.schedules.base import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FACTOR, _MOMENTUM = COLOURS[:2]
_POINTS = 4000


def figure(schedule: Schedule, steps: int, width: float = 8.0, height: float = 3.4, title: bool = True) -> "Figure":
    """A figure of its own, of so many inches."""
    _check()
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), dpi=130, layout="constrained")
    axes = made.add_subplot()
    plot(schedule, axes, steps)
    if title:
        long = len(repr(schedule))
        told = repr(schedule) if long <= 160 else f"{repr(schedule)[:159]}…"
        made.suptitle(
            told, x=0.01, ha="left", fontsize=min(12, 950 / max(long, 80)), color=INK, weight="bold", parse_math=False
        )
    return made


def _check() -> None:
    try:
        import matplotlib  # pyright: ignore[reportUnusedImport]  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise InputError("A picture needs matplotlib, which is not installed: pip install 'adamas[plot]'.") from None


def plot(schedule: Schedule, axes: "Axes | None", steps: int) -> "Axes":
    """Draw the factor over `steps` steps into `axes`, and β₁ where it is moved."""
    if axes is None:
        _check()
        from matplotlib import pyplot  # so that a notebook shows it

        axes = pyplot.figure(figsize=(6.4, 2.8), layout="constrained").add_subplot()
    t = places(schedule, steps)
    axes.plot(t, schedule(t), color=_FACTOR, linewidth=1.8)
    axes.set_xlim(0, steps)
    top = axes.get_ylim()[1]
    axes.set_ylim(0, top)
    axes.set_xlabel("steps taken", fontsize=9, color=INK)
    axes.set_ylabel("η, or its factor", fontsize=9, color=_FACTOR)
    axes.grid(True, color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5, colors=INK)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
    if schedule.momentum is not None:
        second = axes.twinx()
        second.plot(t, schedule.momentum(t), color=_MOMENTUM, linewidth=1.3, linestyle="--")
        second.set_ylabel("β₁", fontsize=9, color=_MOMENTUM)
        second.spines[["top", "left"]].set_visible(False)
        second.tick_params(labelsize=8.5, colors=INK)
    return axes


def places(schedule: Schedule, steps: int) -> Any:
    """Whole steps, evenly, and those beside every jump."""
    even = np.linspace(0, steps, min(steps, _POINTS) + 1).round()
    marks = np.array([mark + k for mark in schedule.marks() for k in (-1, 0)], np.float64)
    return np.unique(np.concatenate([even, marks[(marks >= 0) & (marks <= steps)]]))


def html(schedule: Schedule) -> str:
    """For a notebook: the code, and the picture where matplotlib is there."""
    code = f"<code>{escaping.escape(repr(schedule))}</code>"
    try:
        made = figure(schedule, schedule.view, width=6.4, height=2.4, title=False)
    except InputError:
        return code
    text = StringIO()
    made.savefig(text, format="svg")
    return f"<div>{code}<br>{text.getvalue()[text.getvalue().index('<svg') :]}</div>"
