"""Test surfaces of two variables: value, analytic gradient, where to start, what there is to find.

Every function takes coordinates stacked along the first axis, `xy` of shape (2, ...), and broadcasts over the
rest, so one call colours a whole picture or steps a thousand runs; gradients come back in the same shape. A
moving surface also takes the step `t`; the others ignore it.

The formulas are the usual ones: Rosenbrock (1960), Beale (1958), Himmelblau (1972), Rastrigin (1974), Ackley
(1987), Booth, as collected in Jamil & Yang, "A literature survey of benchmark functions" (2013).

>>> import numpy as np
>>> float(SURFACES["booth"].value(np.array([1.0, 3.0])))
0.0
>>> SURFACES["rosenbrock"].gradient(np.array([-1.2, 1.0])).round(1).tolist()
[-215.6, -88.0]
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Field = Callable[[Array, float], Array]


@dataclass(frozen=True)
class Surface:
    """One surface.

    Args:
        name: how it is called on the command line.
        f: (xy of shape (2, ...), step t) -> values of shape (...).
        df: (xy of shape (2, ...), step t) -> gradient of shape (2, ...).
        domain: the window worth looking at, ((x low, x high), (y low, y high)).
        start: where an optimizer sets out, (x, y).
        minima: every global minimum inside the window at t = 0, each (x, y).
        lowest: the value there (for a moving surface: at every step).
        noise: standard deviation of the Gaussian noise an optimizer sees on each coordinate of the gradient.
    """

    name: str
    f: Field
    df: Field
    domain: tuple[tuple[float, float], tuple[float, float]]
    start: tuple[float, float]
    minima: tuple[tuple[float, float], ...]
    lowest: float = 0.0
    noise: float = 0.0

    def value(self, xy: Array, t: float = 0.0) -> Array:
        """Height at `xy` (2, ...), without noise: shape (...)."""
        return self.f(np.asarray(xy, np.float64), t)

    def gradient(self, xy: Array, t: float = 0.0, rng: np.random.Generator | None = None) -> Array:
        """Slope at `xy` (2, ...), same shape; with `rng` the surface's noise is added."""
        slope = self.df(np.asarray(xy, np.float64), t)
        if rng is not None and self.noise:
            slope = slope + self.noise * rng.standard_normal(slope.shape)
        return slope


def noisy(surface: Surface, noise: float) -> Surface:
    """The same surface, its gradient seen through Gaussian noise: standard deviation per coordinate."""
    return replace(surface, name=f"noisy-{surface.name}", noise=noise)


def drifting(surface: Surface, radius: float, period: float) -> Surface:
    """The same surface carried round a circle of `radius` in `period` steps, from where it stood at t = 0."""

    def shift(t: float, xy: Array) -> Array:
        angle = 2 * np.pi * t / period
        way = radius * np.array([np.sin(angle), 1 - np.cos(angle)])
        return xy - way.reshape(2, *[1] * (xy.ndim - 1))

    def f(xy: Array, t: float) -> Array:
        return surface.f(shift(t, xy), t)

    def df(xy: Array, t: float) -> Array:
        return surface.df(shift(t, xy), t)

    return replace(surface, name=f"drifting-{surface.name}", f=f, df=df)


def _quadratic(a: float, b: float) -> tuple[Field, Field]:
    """½(a·x² + b·y²)."""
    scale = np.array([a, b])
    return (
        lambda xy, t: 0.5 * (a * xy[0] ** 2 + b * xy[1] ** 2),
        lambda xy, t: scale.reshape(2, *[1] * (xy.ndim - 1)) * xy,
    )


def _rosenbrock(xy: Array, t: float) -> Array:
    x, y = xy
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def _d_rosenbrock(xy: Array, t: float) -> Array:
    x, y = xy
    return np.stack([-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)])


def _beale(xy: Array, t: float) -> Array:
    x, y = xy
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def _d_beale(xy: Array, t: float) -> Array:
    x, y = xy
    a, b, c = 1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3
    return np.stack(
        [
            2 * (a * (y - 1) + b * (y**2 - 1) + c * (y**3 - 1)),
            2 * (a * x + b * 2 * x * y + c * 3 * x * y**2),
        ]
    )


def _himmelblau(xy: Array, t: float) -> Array:
    x, y = xy
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


def _d_himmelblau(xy: Array, t: float) -> Array:
    x, y = xy
    a, b = x**2 + y - 11, x + y**2 - 7
    return np.stack([4 * x * a + 2 * b, 2 * a + 4 * y * b])


def _rastrigin(xy: Array, t: float) -> Array:
    return 20 + np.sum(xy**2 - 10 * np.cos(2 * np.pi * xy), axis=0)


def _d_rastrigin(xy: Array, t: float) -> Array:
    return 2 * xy + 20 * np.pi * np.sin(2 * np.pi * xy)


def _ackley(xy: Array, t: float) -> Array:
    r = np.sqrt(0.5 * np.sum(xy**2, axis=0))
    waves = 0.5 * np.sum(np.cos(2 * np.pi * xy), axis=0)
    return -20 * np.exp(-0.2 * r) - np.exp(waves) + np.e + 20


def _d_ackley(xy: Array, t: float) -> Array:
    """At the origin, a cone's tip where no gradient exists, 0."""
    r = np.sqrt(0.5 * np.sum(xy**2, axis=0))
    waves = 0.5 * np.sum(np.cos(2 * np.pi * xy), axis=0)
    cone = 2 * np.exp(-0.2 * r) * np.divide(xy, r, out=np.zeros_like(xy), where=r > 0)
    return cone + np.pi * np.sin(2 * np.pi * xy) * np.exp(waves)


def _booth(xy: Array, t: float) -> Array:
    x, y = xy
    return (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2


def _d_booth(xy: Array, t: float) -> Array:
    x, y = xy
    a, b = x + 2 * y - 7, 2 * x + y - 5
    return np.stack([2 * a + 4 * b, 4 * a + 2 * b])


def _saddle(xy: Array, t: float) -> Array:
    """½x² − ½y² + ¼y⁴: a saddle at the origin with a floor on either side, where leaving it ends."""
    x, y = xy
    return 0.5 * x**2 - 0.5 * y**2 + 0.25 * y**4


def _d_saddle(xy: Array, t: float) -> Array:
    x, y = xy
    return np.stack([x, y**3 - y])


def _plateau(xy: Array, t: float) -> Array:
    """1 − 1/(1 + r²)²: almost flat far out (slope about 4/r⁵), a pit in the middle."""
    return 1 - (1 + np.sum(xy**2, axis=0)) ** -2.0


def _d_plateau(xy: Array, t: float) -> Array:
    return 4 * xy * (1 + np.sum(xy**2, axis=0)) ** -3.0


# Each hill: centre x, centre y, height, width.
_HILLS = ((1.2, 0.9, 2.0, 0.6), (-0.9, 1.4, 2.4, 0.7), (0.4, -1.3, 1.6, 0.5))


def _three_hills(xy: Array, t: float) -> Array:
    """A shallow bowl ¼r² with three Gaussian hills in the way."""
    x, y = xy
    hills = [h * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * w**2)) for a, b, h, w in _HILLS]
    return 0.25 * np.sum(xy**2, axis=0) + sum(hills)


def _d_three_hills(xy: Array, t: float) -> Array:
    x, y = xy
    dx, dy = 0.5 * x, 0.5 * y
    for a, b, h, w in _HILLS:
        hill = h * np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * w**2)) / w**2
        dx, dy = dx - hill * (x - a), dy - hill * (y - b)
    return np.stack([dx, dy])


def _square(half: float) -> tuple[tuple[float, float], tuple[float, float]]:
    return (-half, half), (-half, half)


_BOWL = Surface("bowl", *_quadratic(1, 1), _square(4), (3.0, 2.0), ((0.0, 0.0),))
_VALLEY = Surface("valley", *_quadratic(1, 100), _square(4), (3.0, 2.0), ((0.0, 0.0),))
_ROSENBROCK = Surface("rosenbrock", _rosenbrock, _d_rosenbrock, ((-2.0, 2.0), (-1.0, 3.0)), (-1.2, 1.0), ((1.0, 1.0),))

_ALL = (
    _BOWL,
    _VALLEY,
    _ROSENBROCK,
    Surface("beale", _beale, _d_beale, _square(4.5), (1.0, 1.5), ((3.0, 0.5),)),
    Surface(
        "himmelblau",
        _himmelblau,
        _d_himmelblau,
        _square(5),
        (-0.5, -0.5),
        (
            (3.0, 2.0),
            (-2.805118086952745, 3.131312518250573),
            (-3.779310253377747, -3.283185991286170),
            (3.584428340330492, -1.848126526964404),
        ),
    ),
    Surface("rastrigin", _rastrigin, _d_rastrigin, _square(5.12), (2.2, -1.3), ((0.0, 0.0),)),
    Surface("ackley", _ackley, _d_ackley, _square(5), (2.7, -1.8), ((0.0, 0.0),)),
    Surface("booth", _booth, _d_booth, _square(10), (-6.0, 4.0), ((1.0, 3.0),)),
    Surface("saddle", _saddle, _d_saddle, _square(2), (1.5, 0.01), ((0.0, 1.0), (0.0, -1.0)), lowest=-0.25),
    Surface("plateau", _plateau, _d_plateau, _square(4), (3.0, 2.0), ((0.0, 0.0),)),
    Surface(
        "three-hills",
        _three_hills,
        _d_three_hills,
        _square(3),
        (2.3, 1.9),
        ((-0.22771016231685598, -0.2173115632122659),),
        lowest=0.2202603002209557,
    ),
    noisy(_BOWL, 1.0),
    noisy(_VALLEY, 1.0),
    noisy(_ROSENBROCK, 10.0),
    drifting(_BOWL, radius=1.0, period=200),
    drifting(_VALLEY, radius=1.0, period=200),
)

SURFACES: dict[str, Surface] = {surface.name: surface for surface in _ALL}
"""Every surface by its name."""
