"""What a chart shows, as values; `page.js` draws it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Axis:
    """One axis.

    Args:
        low, high: its limits.
        log: whether it begins logarithmic; None where it cannot be, and no switch is shown.
    """

    label: str
    low: float
    high: float
    log: bool | None = None


@dataclass(frozen=True)
class Series:
    """A line, with a band around it where `low` and `high` are given.

    Args:
        y, low, high: one for each x; None, or what is not finite, is a gap.
        colour: number in the palette; None is grey.
        points: dots at its places.
        faint: half transparent.
        right: on the second axis.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    colour: int | None = None
    points: bool = False
    faint: bool = False
    right: bool = False


@dataclass(frozen=True)
class Mark:
    """Something beside the lines: a line across at x or y, a stretch of x, or crosses along an edge.

    Args:
        at: where; of a stretch, from where to where; of crosses, their x.
    """

    kind: Literal["x", "y", "stretch", "top", "bottom", "dot"]
    at: Sequence[float]
    label: str = ""
    colour: int | None = None


@dataclass(frozen=True)
class View:
    """What a chart shows; of several, a reader chooses one."""

    name: str
    y: Axis
    series: Sequence[Series]
    marks: Sequence[Mark] = ()


@dataclass(frozen=True)
class Chart:
    """A chart.

    Args:
        title: what a screen reader says it is.
        noun: of what x counts, for what is said of a point: "step 400".
        right: label and limits of the second axis.
        small: one of many, without legend and buttons.
    """

    title: str
    x: Axis
    noun: str
    views: Sequence[View]
    right: Axis | None = None
    small: bool = False

    def plain(self) -> dict[str, Any]:
        """For JSON: numbers to six digits, None for what is not finite."""
        return _plain(asdict(self))


def _plain(thing: Any) -> Any:
    if isinstance(thing, dict):
        return {k: _plain(v) for k, v in thing.items()}
    if isinstance(thing, list | tuple):
        return [_plain(v) for v in thing]
    if isinstance(thing, float):
        return float(f"{thing:.6g}") if math.isfinite(thing) else None
    return thing
