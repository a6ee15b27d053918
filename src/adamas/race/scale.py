"""On what axis results show well; the same for pictures and pages."""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from adamas.problems.base import Measure
from adamas.race.result import Row, Table


class Scale:
    """An axis: logarithmic where all is positive, low is good, and it spans more than a factor of 3.

    Args:
        seen: every value that is to show, but those worse than all of `starts`.
        starts: what the untrained have.
    """

    def __init__(self, name: str, higher: bool, seen: Iterable[float], starts: Iterable[float]) -> None:
        self.name, self.higher = name, higher
        good, bad = (max(seen), min(starts)) if higher else (min(seen), max(starts))
        self.log = not higher and good > 0 and bad / good > 3
        if self.log:
            room = (bad / good) ** 0.06
            self.low, self.high = good / room, bad * room**2
        else:
            room = 0.06 * abs(bad - good) or 1.0
            self.low, self.high = min(good, bad) - room, max(good, bad) + room

    def off(self, value: float | None) -> bool:
        """Diverged, or so bad that it does not show."""
        return value is None or not self.low <= value <= self.high

    @property
    def worst(self) -> float:
        return self.low if self.higher else self.high


def result_scale(measure: Measure, table: Table) -> Scale:
    """Of the measure, over all curves and η of the table."""
    name = measure.name + (" (higher is better)" if measure.higher_is_better else "")
    seen = [p.metric for r in table.rows for o in r.finals for p in o.curve if p.metric is not None]
    seen += [v for results in table.map.values() for v in results.values() if v is not None]
    starts = [o.curve[0].metric for r in table.rows for o in r.finals if o.curve[0].metric is not None]
    return Scale(name, measure.higher_is_better, seen, starts)


def band(row: Row, what: Literal["metric", "loss"]) -> tuple[list[int], Any, Any, Any]:
    """Steps, and median, lowest and highest over seeds, up to where the first seed ended; NaN where one diverged."""
    length = min(len(o.curve) for o in row.finals)
    values = np.array([[getattr(p, what) for p in o.curve[:length]] for o in row.finals], np.float64)
    steps = [p.step for p in row.finals[0].curve[:length]]
    return steps, np.median(values, axis=0), values.min(axis=0), values.max(axis=0)
