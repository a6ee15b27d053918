"""The way that a rule takes over a surface, by the NumPy kernel, in float64: what every picture shows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamas.kernel import TINY, select
from adamas.problems.surfaces import Surface
from adamas.registry import Rule

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Walk:
    """Points and heights, step by step; a walk that diverges ends with the last point that is finite.

    Attributes:
        points: [steps + 1, 2].
        heights: [steps + 1], without noise.
        steps: how many there should have been.
    """

    points: Floats
    heights: Floats
    steps: int

    @property
    def diverged(self) -> bool:
        """Whether it ended early."""
        return len(self.points) <= self.steps


def draws(seed: int, steps: int) -> Floats:
    """Gaussian noise, [steps, 2]: a hash of seed, step and place, and so the same in a page, whatever was drawn before.

    The hash mixes by multiplication and shifts, in the manner of MurmurHash3's last lines (A. Appleby, 2011); two draws
    come from two uniform ones by Box and Muller (1958).
    """
    counter = np.arange(2 * steps, dtype=np.uint64) + np.uint64(seed % 2**32) * np.uint64(0x9E3779B1)
    h = counter.astype(np.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ (h >> np.uint32(shift))) * np.uint32(factor)
    h = h ^ (h >> np.uint32(16))
    u, v = ((h.astype(np.float64) + 0.5) / 2**32).reshape(steps, 2).T
    radius, angle = np.sqrt(-2 * np.log(u)), 2 * math.pi * v
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def walk(
    rule: Rule,
    hyper: Mapping[str, Any],
    surface: Surface,
    start: tuple[float, float],
    steps: int,
    noise: float = 0.0,
    seed: int = 0,
) -> Walk:
    """So many steps from a point.

    Args:
        hyper: all of the rule's hyperparameters.
        noise: standard deviation of the noise on each coordinate of the gradient.
    """
    kernel = select(rule, hyper)
    step, program = kernel.load("numpy", "float64"), kernel.program
    given = [{**hyper, "tiny": TINY["float64"]}[name] for name in program.hyper]
    param = np.array(start, np.float64)
    held, scalars = [np.zeros(2) for _ in program.states], tuple(rule.source.scalars.values())
    noises = noise * draws(seed, steps)
    points, heights = [param], [float(surface.value(param, 0))]
    with np.errstate(all="ignore"):
        for t in range(1, steps + 1):
            g = surface.gradient(param, t - 1) + noises[t - 1]
            coefficients, scalars = kernel.host(float(t), *scalars, *given)
            param, *held = step(g, param, *held, coefficients)
            height = float(surface.value(param, t))
            if not (np.isfinite(param).all() and math.isfinite(height)):
                break
            points.append(param)
            heights.append(height)
    return Walk(np.array(points), np.array(heights), steps)
