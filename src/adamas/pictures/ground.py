"""How a surface is drawn: which height is how dark, and where the contours are."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamas.problems.surfaces import Surface

LEVELS = 14
"""Contours of a picture."""


@dataclass(frozen=True)
class Ground:
    """Heights as shares between 0 and 1: ((height − low)/(high − low))^bend.

    The bend is such that half of the window is above 0.4: what is flat stays so, and a valley whose walls are a
    thousand times as high as its floor is deep shows both.
    """

    low: float
    high: float
    bend: float

    @classmethod
    def of(cls, surface: Surface, n: int = 61) -> "Ground":
        """As it is at t = 0, in the surface's window."""
        heights = on_grid(surface, n)[2]
        finite = heights[np.isfinite(heights)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        if surface.minima:
            low = min(low, surface.lowest)
        if not high > low:
            high = low + 1
        middle = (float(np.median(finite)) - low) / (high - low) if finite.size else 0.5
        bend = math.log(0.4) / math.log(middle) if 0 < middle < 1 else 1.0
        return cls(low, high, min(max(bend, 0.2), 1.0))

    def share(self, height: Any) -> NDArray[np.float64]:
        """Heights → shares; beyond 1 where it is higher than the window."""
        return np.maximum((np.asarray(height) - self.low) / (self.high - self.low), 0) ** self.bend

    def height(self, share: Any) -> Any:
        """Shares → heights."""
        return self.low + (self.high - self.low) * share ** (1 / self.bend)


def on_grid(surface: Surface, n: int, t: float = 0.0) -> tuple[Any, Any, NDArray[np.float64]]:
    """x [n], y [n] and heights [n, n], rows by y."""
    (a, b), (c, d) = surface.domain
    x, y = np.linspace(a, b, n), np.linspace(c, d, n)
    with np.errstate(all="ignore"):
        heights = surface.value(np.stack(np.meshgrid(x, y)), t)
    return x, y, heights
