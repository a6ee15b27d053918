"""How much tuning an optimizer needs: over what range of η it comes near its own best."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from adamas.problems.base import Measure

NEAR = 0.05
"""Near is: at most this part of the way from the untrained model to the optimizer's best is missing."""


@dataclass(frozen=True)
class Width:
    """A range of learning rates.

    Args:
        low, high: its ends, as η.
        open_low, open_high: the range runs into the edge of what was tried, so it is at least this wide.
    """

    low: float
    high: float
    open_low: bool
    open_high: bool

    @property
    def decades(self) -> float:
        return math.log10(self.high / self.low)

    def __str__(self) -> str:
        at_least = "≥ " if self.open_low or self.open_high else ""
        return f"{at_least}{self.decades:.1f}"


def near_level(best: float, start: float) -> float:
    """The value from which a result counts as near `best`, for a model that had `start` untrained.

    For a loss this is best + 5 % of (start - best), for an accuracy best - 5 % of (best - start): the same
    formula, which also holds where the best is 0 or negative.

    >>> near_level(best=0.0, start=2.0), near_level(best=1.0, start=0.0)
    (0.1, 0.95)
    """
    return best + NEAR * (start - best)


def width(results: Mapping[float, float | None], measure: Measure, start: float | None) -> Width | None:
    """The range of η around the best one in which the result stays near the best.

    Between two η tried the result is taken to change linearly in log η; next to a run that diverged the range
    ends at the last η that did not. Further good stretches beyond a bad η do not count.

    Args:
        results: what came out at each η tried; None where it diverged.
        start: what the untrained model has.

    Returns:
        The range, or None where nothing was learnt at any η.

    >>> width({1e-3: 0.2, 1e-2: 0.0, 1e-1: 0.1, 1.0: None}, Measure("loss"), start=2.0)
    Width(low=0.0031622776601683794, high=0.1, open_low=False, open_high=False)
    """
    etas = sorted(results)
    best_at = min(etas, key=lambda lr: (measure.key(results[lr]), lr), default=None)
    best = results[best_at] if best_at is not None else None
    if best is None or best_at is None or not measure.better(best, start):
        return None
    # Distances from the best: 0 at the best, 1 at the level that counts as near.
    allowed = near_level(best, start) - best if start is not None else 0.0
    away = [math.inf if (v := results[lr]) is None else (v - best) / allowed for lr in etas]
    at = etas.index(best_at)
    ends: list[float] = []
    opens: list[bool] = []
    for direction in (-1, 1):
        i = at
        while 0 <= i + direction < len(etas) and away[i + direction] <= 1:
            i += direction
        beyond = i + direction
        if not 0 <= beyond < len(etas):
            ends.append(etas[i])
            opens.append(True)
            continue
        part = (1 - away[i]) / (away[beyond] - away[i])
        ends.append(etas[i] * (etas[beyond] / etas[i]) ** part)
        opens.append(False)
    return Width(ends[0], ends[1], opens[0], opens[1])
