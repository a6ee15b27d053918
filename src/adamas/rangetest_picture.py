"""The picture of a range test: the sweep's loss against η, the trials, and what is suggested."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adamas.palette import COLOURS, FAINT, INK, PALE
from adamas.rangetest import RangeTest

SWEEP, LAST, OURS = COLOURS[:3]


def draw(result: RangeTest, axes: Axes | None) -> Axes:
    """Draw on the axes, or on those of a new figure; returns them."""
    if axes is None:
        axes = Figure(figsize=(8, 4.8), dpi=130, layout="constrained").add_subplot()
    axes.set_xscale("log")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel("learning rate η", color=INK)
    axes.set_ylabel("training loss", color=INK)
    chosen = "no confident suggestion" if not result.confident else f"suggested η = {result.suggestion:g}"
    axes.set_title(chosen, loc="left", fontsize=12, color=INK, weight="bold")
    if not result.losses:
        axes.text(0.5, 0.5, "the first loss is not finite", transform=axes.transAxes, ha="center", color=FAINT)
        return axes
    axes.plot(result.lrs, result.losses, color=SWEEP, linewidth=0.8, alpha=0.35)
    axes.plot(result.lrs, result.smoothed, color=SWEEP, linewidth=2, label="sweep, smoothed")
    full = max((trial.steps for trial in result.trials), default=0)
    for steps in sorted({trial.steps for trial in result.trials}):
        trials = sorted((t for t in result.trials if t.steps == steps), key=lambda t: t.lr)
        axes.plot(
            [t.lr for t in trials],
            [t.loss if math.isfinite(t.loss) else np.nan for t in trials],
            color=LAST, marker="o", markersize=8 if steps == full else 4.5, linewidth=1.2,
            alpha=1.0 if steps == full else 0.6, label=f"constant η, {steps} steps",
        )  # fmt: skip
    _scale(axes, result)
    lost = [t.lr for t in result.trials if not t.loss <= axes.get_ylim()[1]]
    if lost:
        top = axes.get_ylim()[1]
        axes.plot(
            lost, [top] * len(lost), "x", color=LAST, markersize=8, clip_on=False, label="diverged, or off the scale"
        )
    if result.suggestion is not None:
        axes.axvline(result.suggestion, color=OURS, linewidth=1.6, linestyle="-" if result.confident else (0, (4, 3)))
    at = {name: lr for name, lr in result.suggestions.items() if lr is not None}
    low, high = axes.get_xlim()
    height, before = 0.02, 0.0
    for name, lr in sorted(at.items(), key=lambda item: item[1]):
        near = before and math.log(lr / before) < 0.09 * math.log(high / low)
        height, before = (height + 0.05 if near else 0.02), lr
        axes.plot([lr, lr], [0, height], color=FAINT, linewidth=1, transform=axes.get_xaxis_transform())
        axes.annotate(
            name, (lr, height), (2, 0), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
            fontsize=8, color=FAINT,
        )  # fmt: skip
    axes.legend(frameon=False, fontsize=8.5, loc="lower left", bbox_to_anchor=(0, 0.12))
    return axes


def _scale(axes: Axes, result: RangeTest) -> None:
    """Limits that show where the loss falls, and not how high it flies."""
    seen = [*result.smoothed, *(t.loss for t in result.trials if math.isfinite(t.loss))]
    low, begun = min(seen), result.smoothed[0]
    if low > 0:
        axes.set_yscale("log")
        high = max(begun * 1.6, low * 2)
        room = (high / low) ** 0.22
        axes.set_ylim(low / room, high)
    else:
        room = 0.22 * (begun - low) or 1.0
        axes.set_ylim(low - room, begun + 2 * room)
