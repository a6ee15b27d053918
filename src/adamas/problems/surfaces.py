"""Test surfaces of two variables: a formula, from which value and gradient follow, and where to start and to end.

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

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adamas.expressions import Function, parse

Array = NDArray[np.float64]
Window = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Surface:
    """One surface.

    Args:
        name: how it is called on the command line.
        function: of x, y and the step t. Where it has no gradient, at the tip of Ackley's cone, it says 0.
        domain: the window worth looking at, ((x low, x high), (y low, y high)).
        start: where an optimizer sets out, (x, y).
        minima: every global minimum inside the window at t = 0, each (x, y); none where they are not known.
        lowest: the value there (for a moving surface: at every step).
        noise: standard deviation of the Gaussian noise an optimizer sees on each coordinate of the gradient.
    """

    name: str
    function: Function
    domain: Window
    start: tuple[float, float]
    minima: tuple[tuple[float, float], ...] = ()
    lowest: float = 0.0
    noise: float = 0.0

    def value(self, xy: Array, t: float = 0.0) -> Array:
        """Height at `xy` (2, ...), without noise: shape (...)."""
        x, y = np.asarray(xy, np.float64)
        return self.function(x, y, t)

    def gradient(self, xy: Array, t: float = 0.0, rng: np.random.Generator | None = None) -> Array:
        """Slope at `xy` (2, ...), same shape; with `rng` the surface's noise is added."""
        x, y = np.asarray(xy, np.float64)
        slope = np.empty((2, *np.shape(x)))
        slope[0], slope[1] = self.function.gradient(x, y, t)
        if rng is not None and self.noise:
            slope += self.noise * rng.standard_normal(slope.shape)
        return slope


def noisy(surface: Surface, noise: float) -> Surface:
    """The same surface, its gradient seen through Gaussian noise: standard deviation per coordinate."""
    return replace(surface, name=f"noisy-{surface.name}", noise=noise)


def drifting(surface: Surface, radius: float, period: float) -> Surface:
    """The same surface carried round a circle of `radius` in `period` steps, from where it stood at t = 0."""
    angle = f"2*pi*t/{period}"
    way = {"x": parse(f"x - {radius}*sin({angle})"), "y": parse(f"y - {radius}*(1 - cos({angle}))")}
    moved = surface.function.expression.substitute(way)
    return replace(surface, name=f"drifting-{surface.name}", function=Function(moved))


def _square(half: float) -> Window:
    return (-half, half), (-half, half)


def _sum(*terms: str) -> Function:
    return Function(parse(" + ".join(terms)))


_BOWL = Surface("bowl", _sum("0.5*x**2", "0.5*y**2"), _square(4), (3.0, 2.0), ((0.0, 0.0),))
_VALLEY = Surface("valley", _sum("0.5*x**2", "50*y**2"), _square(4), (3.0, 2.0), ((0.0, 0.0),))
_ROSENBROCK = Surface(
    "rosenbrock", _sum("(1 - x)**2", "100*(y - x**2)**2"), ((-2.0, 2.0), (-1.0, 3.0)), (-1.2, 1.0), ((1.0, 1.0),)
)
_BEALE = _sum("(1.5 - x + x*y)**2", "(2.25 - x + x*y**2)**2", "(2.625 - x + x*y**3)**2")
_RASTRIGIN = _sum("20", "x**2 - 10*cos(2*pi*x)", "y**2 - 10*cos(2*pi*y)")
_ACKLEY = _sum("-20*exp(-0.2*sqrt(0.5*(x**2 + y**2)))", "-exp(0.5*(cos(2*pi*x) + cos(2*pi*y)))", "e", "20")

#: A saddle at the origin with a floor on either side, where leaving it ends.
_SADDLE = _sum("0.5*x**2", "-0.5*y**2", "0.25*y**4")

#: Almost flat far out (slope about 4/r⁵), a pit in the middle.
_PLATEAU = _sum("1", "-1/(1 + x**2 + y**2)**2")

#: A shallow bowl with three Gaussian hills in the way. Each hill: height, centre x, centre y, width.
_HILLS = ((2.0, 1.2, 0.9, 0.6), (2.4, -0.9, 1.4, 0.7), (1.6, 0.4, -1.3, 0.5))
_THREE_HILLS = _sum(
    "0.25*(x**2 + y**2)", *(f"{h}*exp(-((x - {a})**2 + (y - {b})**2)/{2 * w**2})" for h, a, b, w in _HILLS)
)

_ALL = (
    _BOWL,
    _VALLEY,
    _ROSENBROCK,
    Surface("beale", _BEALE, _square(4.5), (1.0, 1.5), ((3.0, 0.5),)),
    Surface(
        "himmelblau",
        _sum("(x**2 + y - 11)**2", "(x + y**2 - 7)**2"),
        _square(5),
        (-0.5, -0.5),
        (
            (3.0, 2.0),
            (-2.805118086952745, 3.131312518250573),
            (-3.779310253377747, -3.283185991286170),
            (3.584428340330492, -1.848126526964404),
        ),
    ),
    Surface("rastrigin", _RASTRIGIN, _square(5.12), (2.2, -1.3), ((0.0, 0.0),)),
    Surface("ackley", _ACKLEY, _square(5), (2.7, -1.8), ((0.0, 0.0),)),
    Surface("booth", _sum("(x + 2*y - 7)**2", "(2*x + y - 5)**2"), _square(10), (-6.0, 4.0), ((1.0, 3.0),)),
    Surface("saddle", _SADDLE, _square(2), (1.5, 0.01), ((0.0, 1.0), (0.0, -1.0)), lowest=-0.25),
    Surface("plateau", _PLATEAU, _square(4), (3.0, 2.0), ((0.0, 0.0),)),
    Surface(
        "three-hills",
        _THREE_HILLS,
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
