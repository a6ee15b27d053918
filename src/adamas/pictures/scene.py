"""What a picture shows: which optimizers, from where, on which surfaces, with which η."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from adamas import palette
from adamas.errors import InputError, unknown
from adamas.expressions import Function, parse, traced
from adamas.pictures.walk import Walk, walk
from adamas.problems.surfaces import SURFACES, Surface, Window
from adamas.problems.usercode import blamed, load_module
from adamas.registry import Rule
from adamas.registry import rules as registered

#: η that are tried where none is given: two in a decade.
RATES = tuple(float(f"{digit}e{k}") for k in range(-5, 1) for digit in (1, 3))

COLOURS = (*palette.COLOURS, "#56B4E9", "#8A6FDF", "#7F7F7F")
"""Okabe and Ito's, and two more; beyond, lines are dashed."""
ON_DARK = ("#4FA8E0", "#F08040", "#2CC79B", "#E29AC4", "#F0B840", "#8CCBF2", "#B3A0F5", "#B0B0B0")
"""The same, lighter, before a dark ground."""

DEFAULT = ("sgd", "momentum", "rmsprop", "adam")
STEPS, MOST_STEPS, MOST_WALKS = 200, 5000, 60
_WINDOW: Window = ((-4.0, 4.0), (-4.0, 4.0))


@dataclass(frozen=True)
class Entry:
    """An optimizer in the picture.

    Attributes:
        rule: its update.
        options: hyperparameters that differ from the rule's defaults, ``lr`` among them where it has one of its own.
    """

    rule: Rule
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def label(self) -> str:
        return self.rule.name


@dataclass(frozen=True)
class Panel:
    """One of the pictures side by side: a surface, and an η for all or None."""

    surface: Surface
    lr: float | None

    @property
    def title(self) -> str:
        return self.surface.name if self.lr is None else f"{self.surface.name}, η = {self.lr:g}"


@dataclass(frozen=True)
class Scene:
    """All of a picture; in a notebook it shows itself as a page.

    >>> from adamas.pictures import Scene, entry, surface
    >>> scene = Scene((surface("valley"),), (entry("adam"), entry("sgd@0.01")), rates=(0.1, 0.3), steps=50)
    >>> [panel.title for panel in scene.panels]
    ['valley, η = 0.1', 'valley, η = 0.3']
    >>> len(scene.walks[0][1][0].points)
    51

    Args:
        surfaces: a panel each, or several where there are several ``rates``.
        entries: who walks.
        rates: η for all that have none of their own. Without any, each gets the one of `RATES` that is lowest on the
            mean over its way.
        starts: from where, instead of where the surface says.
        steps: how many.
        noise: standard deviation of the noise on each coordinate of the gradient, instead of the surface's own.
        seed: of the noise.

    Raises:
        InputError: for what cannot be.
    """

    surfaces: tuple[Surface, ...]
    entries: tuple[Entry, ...]
    rates: tuple[float, ...] = ()
    starts: tuple[tuple[float, float], ...] = ()
    steps: int = STEPS
    noise: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= MOST_STEPS:
            raise InputError(f"Invalid steps value: {self.steps}: a picture has between 1 and {MOST_STEPS}.")
        if self.noise is not None and not 0 <= self.noise < math.inf:
            raise InputError(f"Invalid noise value: {self.noise}: it must be a finite number, 0 or more.")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"Invalid seed value: {self.seed}: it must be a whole number from 0 to 4294967295.")
        if not self.surfaces or not self.entries:
            raise InputError("A picture needs a surface and an optimizer: give one of each.")
        for lr in self.rates:
            for e in self.entries:
                e.rule.hyper({"lr": lr, **e.options})
        walks = len(self.panels) * len(self.entries) * max(len(self.starts), 1)
        if walks > MOST_WALKS:
            raise InputError(
                f"These are {walks} paths, and more than {MOST_WALKS} cannot be told apart: leave out surfaces, η, "
                "starts or optimizers."
            )
        for surface in self.surfaces:
            for start in self.starts_on(surface):
                self._check(surface, start)

    def _check(self, surface: Surface, start: tuple[float, float]) -> None:
        with np.errstate(all="ignore"):
            here = (*start, float(surface.value(np.array(start))), *surface.gradient(np.array(start)))
        if not all(map(math.isfinite, here)):
            raise InputError(
                f"{surface.name} is not finite where the paths start, at {start[0]:g}, {start[1]:g}: give another "
                "point with --start."
            )

    @property
    def panels(self) -> list[Panel]:
        """Surface by surface, each with every η."""
        return [Panel(surface, lr) for surface in self.surfaces for lr in self.rates or (None,)]

    def starts_on(self, surface: Surface) -> tuple[tuple[float, float], ...]:
        """Where the paths on a surface begin."""
        return self.starts or (surface.start,)

    def noise_on(self, surface: Surface) -> float:
        """What an optimizer sees on a surface."""
        return surface.noise if self.noise is None else self.noise

    @cached_property
    def hypers(self) -> list[list[dict[str, Any]]]:
        """For each panel and entry, all hyperparameters."""
        return [[self._hyper(panel, e) for e in self.entries] for panel in self.panels]

    def _hyper(self, panel: Panel, e: Entry) -> dict[str, Any]:
        if panel.lr is not None or "lr" in e.options:
            return e.rule.hyper({"lr": panel.lr, **e.options} if panel.lr is not None else e.options)
        start, best, lowest = self.starts_on(panel.surface)[0], RATES[0], math.inf
        for lr in RATES:
            way = self._walk(panel, e, e.rule.hyper({**e.options, "lr": lr}), start)
            mean = math.inf if way.diverged else float(np.mean(way.heights))
            if mean < lowest:
                best, lowest = lr, mean
        return e.rule.hyper({**e.options, "lr": best})

    @cached_property
    def walks(self) -> list[list[list[Walk]]]:
        """For each panel, entry and start, the way."""
        return [
            [
                [self._walk(panel, e, hyper, start) for start in self.starts_on(panel.surface)]
                for e, hyper in zip(self.entries, hypers, strict=True)
            ]
            for panel, hypers in zip(self.panels, self.hypers, strict=True)
        ]

    def _walk(self, panel: Panel, e: Entry, hyper: Mapping[str, Any], start: tuple[float, float]) -> Walk:
        noise = self.noise_on(panel.surface)
        return walk(e.rule, hyper, panel.surface, start, self.steps, noise, self.seed)

    @property
    def described(self) -> str:
        """In words, for those who do not see the picture."""
        told: list[str] = []
        for panel, rows in zip(self.panels, self.walks, strict=True):
            ends: list[str] = []
            for e, (way, *_) in zip(self.entries, rows, strict=True):
                end = f"diverges at step {len(way.points)}" if way.diverged else f"{way.heights[-1]:.3g}"
                ends.append(f"{e.label} {end}")
            told.append(f"{panel.title}: {', '.join(ends)}")
        return f"Paths of optimizers over {self.steps} steps, and the height at their end. {'; '.join(told)}."

    def _repr_html_(self) -> str:
        """For a notebook: the page in a frame, which nothing around it can change."""
        from adamas.pictures.page import page

        return f'<iframe srcdoc="{escape(page(self))}" style="width:100%;height:760px;border:0"></iframe>'


def demo() -> Scene:
    """Gradient descent, momentum, RMSprop and Adam on ½(x² + 5y²), with η = 0.01, 0.1 and 0.5."""
    function = Function(parse("0.5*x**2 + 2.5*y**2"))
    valley = Surface("½(x² + 5y²)", function, ((-4.0, 4.0), (-3.0, 3.0)), (-3.5, 2.2), ((0.0, 0.0),))
    return Scene((valley,), tuple(map(entry, DEFAULT)), rates=(0.01, 0.1, 0.5), steps=100)


def entry(text: str, options: Mapping[str, Any] | None = None) -> Entry:
    """An optimizer as on the command line: ``adam``, ``adam@0.1`` with its η, ``file.py:my_rule``.

    Args:
        options: other hyperparameters; those that the rule has not are left out.

    Raises:
        InputError: where there is none.
    """
    name, at, rate = text.partition("@")
    own: dict[str, Any] = {}
    if at:
        try:
            own["lr"] = float(rate)
        except ValueError:
            raise InputError(f"{text!r}: {rate!r} is not a number; give η as in adam@0.1.") from None
    path, colon, last = name.rpartition(":")
    if colon:
        module = load_module(Path(path))
        known = {n: v for n, v in vars(module).items() if isinstance(v, Rule)}
        if last not in known:
            raise unknown(f"rule in {path}", last, known or ["none"])
        rule = known[last]
    elif name in registered():
        rule = registered()[name]
    else:
        raise unknown("optimizer", name, registered())
    chosen = {k: v for k, v in (options or {}).items() if k in rule.defaults}
    rule.hyper({**chosen, **own})
    return Entry(rule, {**chosen, **own})


def surface(text: str, window: Window | None = None) -> Surface:
    """A surface as on the command line: a name, a formula such as ``x**2 + 10*y**2``, ``file.py:my_function``.

    Args:
        window: the part to look at; a formula's is otherwise −4 to 4, with the start at (3, 2).

    Raises:
        InputError: where there is none, or it cannot be read.
    """
    if window is not None and not all(low < high and math.isfinite(high - low) for low, high in window):
        raise InputError(f"The window {window} has no area: give it as --window LOW,HIGH,LOW,HIGH, x before y.")
    if text in SURFACES:
        found = SURFACES[text]
        return found if window is None else replace(found, domain=window)
    path, colon, name = text.rpartition(":")
    if colon and path.endswith(".py"):
        module = load_module(Path(path))
        made = getattr(module, name, None)
        if not callable(made):
            offered = [
                n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__
            ]
            raise unknown(f"function in {path}", name, offered or ["none"])
        with blamed(Path(path), name):
            expression = traced(made, name)
        label = name
    elif text.replace("-", "").isalpha() and text not in ("x", "y"):
        raise unknown("surface", text, SURFACES)
    else:
        expression, label = parse(text), text.strip()
    (a, b), (c, d) = window or _WINDOW
    return Surface(label, Function(expression), ((a, b), (c, d)), (a + 7 / 8 * (b - a), c + 3 / 4 * (d - c)))
