"""A test surface, and the online problem of Reddi et al., as things to race on. NumPy only."""

import numpy as np

from adamas.problems.base import Measure, Problem, Training
from adamas.problems.surfaces import SURFACES, Surface

SOLVED = 1e-12
"""Heights below this count as this: both are solved, and rounding shall not pick the winner."""


class SurfaceProblem(Problem):
    """A surface of `adamas.problems.surfaces`.

    Measured by the mean height above the minimum over the steps since the last look, so that swinging to and
    fro costs something. Seed 0 starts where the literature does; other seeds start within about 0.1 of it.
    """

    front = "numpy"
    steps = 1000

    def __init__(self, name: str) -> None:
        self.name = name
        surface = SURFACES[name]
        seen = f", gradients with noise of {surface.noise:g}" if surface.noise else ""
        self.about = f"test surface of two variables, start {surface.start}{seen}"
        self.measure = Measure("height above the minimum")

    def begin(self, seed: int) -> Training:
        return _Walk(SURFACES[self.name], seed)


class _Walk(Training):
    def __init__(self, surface: Surface, seed: int) -> None:
        self._surface = surface
        self._rng = np.random.default_rng(seed)
        start = np.array(surface.start)
        if seed:
            start = start + 0.1 * self._rng.standard_normal(2)
        self.parameters = {"xy": start}
        self._t = 0
        self._heights: list[float] = []

    def _height(self) -> float:
        return float(self._surface.value(self.parameters["xy"], self._t))

    def backward(self) -> float:
        # A run that flies off overflows; the race counts it as diverged.
        with np.errstate(over="ignore", invalid="ignore"):
            height = self._height()
            self.gradients = {"xy": self._surface.gradient(self.parameters["xy"], self._t, self._rng)}
        self._t += 1
        self._heights.append(height)
        return height

    def validate(self) -> tuple[float, float | None]:
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(np.mean([*self._heights[1:], self._height()]))
        self._heights = []
        return max(mean - self._surface.lowest, SOLVED), None


class ReddiProblem(Problem):
    """The online problem on which Adam goes to the wrong end (Reddi, Kale & Kumar 2018, section 3).

    One number x in [-1, 1]; round t costs 1010·x when t mod 101 = 1 and -10·x otherwise, so that each cycle
    of 101 rounds costs 10·x and the best x is -1. Adam forgets the one large gradient before the hundred
    small ones are over and drifts to +1; AMSGrad's maximum remembers it. η is constant and β₂ each rule's own
    default.

    Measured by the distance to -1, averaged over the rounds since the last look: 0 is right, 2 the wrong end.
    """

    name = "reddi"
    front = "numpy"
    about = "online: 1010·x every 101st round, -10·x otherwise, x in [-1, 1]; the best x is -1"
    measure = Measure("distance to the best x")
    steps = 101 * 100

    def begin(self, seed: int) -> Training:
        return _Rounds(seed)


class _Rounds(Training):
    def __init__(self, seed: int) -> None:
        # The rounds are the paper's; a seed other than 0 moves the start a little off the middle.
        x = float(np.random.default_rng(seed).uniform(-0.1, 0.1)) if seed else 0.0
        self.parameters = {"x": np.array([x])}
        self._t = 0
        self._distances: list[float] = []

    def backward(self) -> float:
        self._t += 1
        slope = 1010.0 if self._t % 101 == 1 else -10.0
        self.gradients = {"x": np.array([slope])}
        x = float(self.parameters["x"][0])
        self._distances.append(x + 1)
        return slope * x

    def constrain(self) -> None:
        x = self.parameters["x"]
        np.clip(x, -1.0, 1.0, out=x)

    def validate(self) -> tuple[float, float | None]:
        mean = float(np.mean([*self._distances[1:], float(self.parameters["x"][0]) + 1]))
        self._distances = []
        return mean, None
