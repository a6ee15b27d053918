"""What a schedule is: an immutable function of the step, put together of shapes by ``>>``, ``*`` and slices."""

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from numbers import Real
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from adamas.errors import InputError, InputTypeError
from adamas.schedules.values import at_least_zero, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def _power(base: Any, exponent: Any) -> NDArray[np.float64]:
    """Always by the same loop: where a whole operand is one number, NumPy squares instead, which rounds otherwise."""
    base, exponent = np.broadcast_arrays(np.asarray(base, np.float64), np.asarray(exponent, np.float64))
    with np.errstate(over="ignore"):  # which `_finite` tells
        return np.power(np.atleast_1d(base).copy(), np.atleast_1d(exponent).copy()).reshape(base.shape)


#: The words that shapes are written in, over float64 arrays.
_WORDS = SimpleNamespace(
    minimum=np.minimum,
    maximum=np.maximum,
    where=np.where,
    floor=np.floor,
    sqrt=np.sqrt,
    cos=np.cos,
    log=np.log,
    pow=_power,
)

#: The same over single numbers, with the same bits.
NUMBERS = SimpleNamespace(
    minimum=min,
    maximum=max,
    where=lambda condition, yes, no: yes if condition else no,  # pyright: ignore[reportUnknownLambdaType]
    floor=lambda x: float(math.floor(x)),  # pyright: ignore[reportUnknownLambdaType]
    sqrt=math.sqrt,
    cos=np.cos,
    log=np.log,
    pow=lambda base, exponent: float(_power(base, exponent)),  # pyright: ignore[reportUnknownLambdaType]
)


class Schedule(ABC):
    """A factor of the learning rate for every step, in closed form.

    A schedule is called with the number of steps that have been taken, so with 0 for the first step: with torch's
    ``last_epoch``, optax's ``count``. The step is an int, a NumPy array (both computed in float64) or an array of JAX,
    a traced one too. After its end a schedule keeps its last value.

    ``a >> b`` is ``a``, and ``b`` after it; ``a * b`` is the product, step by step, ``3e-4 * a`` the same in other
    units; ``a[:n]`` ends after n steps, ``a[n:]`` begins with the step n. Schedules never change, are equal where they
    are written alike, and print as the code that makes them.

    >>> from adamas.schedules import cosine, warmup
    >>> f = warmup(500) >> cosine(9_500, floor=0.1)
    >>> f
    warmup(500) >> cosine(9500, floor=0.1)
    >>> f(0), f(499), f(5_250), f(10_000), f(10**6)
    (0.002, 1.0, 0.55, 0.1, 0.1)
    >>> f(np.array([0, 499, 5_250])).tolist()
    [0.002, 1.0, 0.55]
    """

    # torch's LambdaLR saves the __dict__ of what it calls, and updates it in place when it loads: it finds it empty.
    __slots__ = ("__dict__", "__weakref__")
    __array_ufunc__ = None  # so that NumPy's numbers leave products to us
    __iter__ = None

    @property
    @abstractmethod
    def length(self) -> float:
        """How many steps it has until it keeps its last value; `math.inf` where it goes on for ever."""

    @property
    @abstractmethod
    def moves_momentum(self) -> bool:
        """Whether it moves β₁ as well, as `one_cycle` does."""

    @abstractmethod
    def factor(self, xp: Any, t: Any) -> Any:
        """The factor at step `t`, in the words of `xp`."""

    @abstractmethod
    def beta1(self, xp: Any, t: Any) -> Any:
        """β₁ at step `t`, if it is moved."""

    @abstractmethod
    def marks(self) -> set[int]:
        """Steps worth a look, the end of the picture among them."""

    @abstractmethod
    def plain(self) -> Any:
        """Lists, dicts, strings and numbers that stand for it."""

    def __call__(self, step: Any) -> Any:
        """The factor for the step after `step` others.

        Args:
            step: 0 or more: a number, a NumPy array, or an array in the sense of the array API, such as JAX's.

        Returns:
            A float, a float64 array of the same shape, an array as those of the argument. An array of JAX is not
            looked into, as it may be traced: a step below 0 is taken for 0.

        Raises:
            InputError: for a step below 0, or one that is not finite.
        """
        return self._at(self.factor, step)

    @property
    def momentum(self) -> Callable[[Any], Any] | None:
        """β₁ (or SGD's momentum) as a function of the step, where it is moved; else None."""
        return self._momentum if self.moves_momentum else None

    def _momentum(self, step: Any) -> Any:
        return self._at(self.beta1, step)

    def _at(self, function: Callable[[Any, Any], Any], step: Any) -> Any:
        if isinstance(step, int | float | np.integer | np.floating) and not isinstance(step, bool):
            try:
                t = float(step)
            except OverflowError:
                t = math.inf
            if not 0 <= t < math.inf:
                raise InputError(f"{self} has no value at step {step}: give a finite number, 0 or more.")
            return self._finite(float(function(NUMBERS, t)), step)
        if isinstance(step, np.ndarray):
            return self._array(function, cast(NDArray[Any], step))
        namespace = getattr(step, "__array_namespace__", None)
        if namespace is None or isinstance(step, np.generic):
            raise InputTypeError(f"A step is a number or an array of NumPy or JAX, not {type(step).__name__}.")
        return function(namespace(), step)

    def _array(self, function: Callable[[Any, Any], Any], steps: NDArray[Any]) -> NDArray[np.float64]:
        if steps.dtype.kind not in "iuf":
            raise InputTypeError(f"An array of steps holds numbers, not {steps.dtype}.")
        t = np.array(steps, np.float64, order="C")
        if not ((t >= 0) & (t < math.inf)).all():
            wrong = steps[~((t >= 0) & (t < math.inf))].flat[0]
            raise InputError(f"{self} has no value at step {wrong}: give finite numbers, 0 or more.")
        values = np.asarray(function(_WORDS, t), np.float64)
        return self._finite(values, t.max(initial=0))

    def _finite(self, values: Any, step: Any) -> Any:
        if not np.isfinite(values).all() if isinstance(values, np.ndarray) else not math.isfinite(values):
            raise InputError(f"{self} has grown out of float64 at step {step}: end it earlier, as with [:1000].")
        return values

    # -- putting together ----------------------------------------------------------------------------------------

    def __rshift__(self, other: Any) -> "Schedule":
        if not isinstance(other, Schedule):
            return NotImplemented
        parts = [p for s in (self, other) for p in (s.parts if isinstance(s, Then) else (s,))]
        for part in parts[:-1]:
            if part.length == math.inf:
                raise InputError(
                    f"{part} has no end, so that nothing can come after it: cut it, as in {bracketed(part)}[:1000] >> …"
                )
        return Then(tuple(parts))

    def __mul__(self, other: Any) -> "Schedule":
        if not isinstance(other, Schedule | Real):
            return NotImplemented
        return multiplied([self, other])

    def __rmul__(self, other: Any) -> "Schedule":
        if not isinstance(other, Real):
            return NotImplemented
        return multiplied([other, self])

    def __getitem__(self, part: slice) -> "Schedule":
        if not isinstance(part, slice):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputTypeError(f"A schedule is called for its value, f({part}); brackets cut it, as f[:{part}].")
        if part.step is not None:
            raise InputError(f"A schedule is cut by [start:stop], without the step {part.step}.")
        start = 0 if part.start is None else whole(0)("start", part.start)
        stop = None if part.stop is None else whole(1)("stop", part.stop)
        if start == 0 and stop is None:
            return self
        if start >= (self.length if stop is None else stop):
            end = f"ends after {self.length}" if stop is None else f"is cut after {stop}"
            raise InputError(f"{self} {end} steps, so that nothing is left from step {start} on: begin earlier.")
        return Part(self, start, stop)

    # -- what every value has ------------------------------------------------------------------------------------

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"A schedule does not change: make another one instead of setting {name!r}.")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"A schedule does not change: {name!r} stays.")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and self.plain() == other.plain()

    def __hash__(self) -> int:
        return hash(repr(self))

    def __reduce__(self) -> Any:
        from adamas.schedules.reading import from_plain

        return from_plain, (self.plain(),)

    def to_json(self) -> str:
        """As JSON, for a file; `from_json` reads it again.

        >>> from adamas.schedules import warmup
        >>> warmup(500).to_json()
        '{"warmup": {"steps": 500, "start": null}}'
        """
        import json

        return json.dumps(self.plain(), allow_nan=False)

    # -- pictures ------------------------------------------------------------------------------------------------

    @property
    def view(self) -> int:
        """How many steps a picture shows: up to the end, or so far that one sees where it goes."""
        return max(self.marks()) if self.length == math.inf else int(self.length)

    def plot(self, ax: "Axes | None" = None, steps: int | None = None) -> "Axes":
        """Draw the factor over the steps, and β₁ where it is moved.

        Args:
            ax: matplotlib's axes; None makes a figure.
            steps: how many; None takes all, or so many that one sees where it goes.

        Returns:
            The axes.

        Raises:
            InputError: where matplotlib is missing.
        """
        from adamas.schedules.picture import plot

        return plot(self, ax, self.view if steps is None else whole(1)("steps", steps))

    def _repr_html_(self) -> str:
        from adamas.schedules.picture import html

        return html(self)


def bracketed(schedule: Schedule) -> str:
    """As it stands in front of what binds tighter."""
    return f"({schedule})" if isinstance(schedule, Then | Product) else repr(schedule)


class Then(Schedule):
    """One after the other. Bracketing makes no difference: the parts are kept in one row."""

    __slots__ = ("parts",)
    parts: tuple[Schedule, ...]

    def __init__(self, parts: tuple[Schedule, ...]) -> None:
        self._set(parts=parts)

    @property
    def starts(self) -> list[int]:
        """The step with which each part begins."""
        return [0, *accumulate(int(part.length) for part in self.parts[:-1])]

    @property
    def length(self) -> float:
        return self.starts[-1] + self.parts[-1].length

    @property
    def moves_momentum(self) -> bool:
        return any(part.moves_momentum for part in self.parts)

    def factor(self, xp: Any, t: Any) -> Any:
        return self._joined(xp, t, [part.factor for part in self.parts])

    def beta1(self, xp: Any, t: Any) -> Any:
        """A part that does not move β₁ keeps what the one before left, or the next one begins with."""
        moving = [part for part in self.parts if part.moves_momentum]
        held = float(moving[0].beta1(NUMBERS, 0.0))
        functions: list[Callable[[Any, Any], Any]] = []
        for part in self.parts:
            if part.moves_momentum:
                functions.append(part.beta1)
                held = None if part.length == math.inf else float(part.beta1(NUMBERS, part.length))
            else:
                functions.append(_constantly(cast(float, held)))
        return self._joined(xp, t, functions)

    def _joined(self, xp: Any, t: Any, functions: Sequence[Callable[[Any, Any], Any]]) -> Any:
        starts = self.starts
        value = functions[-1](xp, t - starts[-1])
        for k in range(len(functions) - 2, -1, -1):
            value = xp.where(t < starts[k + 1], functions[k](xp, t - starts[k]), value)
        return value

    def at(self, step: int) -> Schedule:
        """The part that a step belongs to."""
        return self.parts[bisect_right(self.starts, step) - 1]

    def marks(self) -> set[int]:
        return {
            start + mark
            for start, part in zip(self.starts, self.parts, strict=True)
            for mark in part.marks()
            if mark < part.length or part is self.parts[-1]
        }

    def plain(self) -> Any:
        return {"then": [part.plain() for part in self.parts]}

    def __repr__(self) -> str:
        return " >> ".join(map(repr, self.parts))


def _constantly(value: float) -> Callable[[Any, Any], Any]:
    return lambda xp, t: value + 0.0 * t


class Product(Schedule):
    """The product, step by step, and a number with it. It ends when all have ended."""

    __slots__ = ("number", "parts")
    number: float
    parts: tuple[Schedule, ...]

    def __init__(self, number: float, parts: tuple[Schedule, ...]) -> None:
        self._set(number=number, parts=parts)

    @property
    def length(self) -> float:
        return max(part.length for part in self.parts)

    @property
    def moves_momentum(self) -> bool:
        return any(part.moves_momentum for part in self.parts)

    def factor(self, xp: Any, t: Any) -> Any:
        value = self.number
        for part in self.parts:
            value = value * part.factor(xp, t)
        return value

    def beta1(self, xp: Any, t: Any) -> Any:
        (part,) = (part for part in self.parts if part.moves_momentum)
        return part.beta1(xp, t)

    def marks(self) -> set[int]:
        return {mark for part in self.parts for mark in part.marks()}

    def plain(self) -> Any:
        return {"product": [self.number, *(part.plain() for part in self.parts)]}

    def __repr__(self) -> str:
        factors = [f"({part})" if isinstance(part, Then) else repr(part) for part in self.parts]
        return " * ".join([*([] if self.number == 1 else [repr(self.number)]), *factors])


def multiplied(factors: Sequence[Any]) -> Schedule:
    """The product of numbers and schedules, at least one of these.

    Raises:
        InputError: for a number below 0 or not finite, or two schedules that move β₁.
    """
    number = 1.0
    parts: list[Schedule] = []
    for factor in factors:
        if isinstance(factor, Product):
            number *= factor.number
            parts += factor.parts
        elif isinstance(factor, Schedule):
            parts.append(factor)
        else:
            number *= at_least_zero("factor", factor)
    if number == math.inf:
        raise InputError("The numbers in a product of schedules have grown out of float64: give smaller ones.")
    if len([part for part in parts if part.moves_momentum]) > 1:
        raise InputError("Two schedules of a product move the momentum: give momentum=None to one of them.")
    return parts[0] if number == 1 and len(parts) == 1 else Product(number, tuple(parts))


class Part(Schedule):
    """From one step to another."""

    __slots__ = ("start", "stop", "whole")
    whole: Schedule
    start: int
    stop: int | None

    def __init__(self, whole: Schedule, start: int, stop: int | None) -> None:
        self._set(whole=whole, start=start, stop=stop)

    @property
    def length(self) -> float:
        return (self.whole.length if self.stop is None else self.stop) - self.start

    @property
    def moves_momentum(self) -> bool:
        return self.whole.moves_momentum

    def factor(self, xp: Any, t: Any) -> Any:
        return self.whole.factor(xp, self._moved(xp, t))

    def beta1(self, xp: Any, t: Any) -> Any:
        return self.whole.beta1(xp, self._moved(xp, t))

    def _moved(self, xp: Any, t: Any) -> Any:
        t = xp.maximum(t, 0) + self.start
        return t if self.stop is None else xp.minimum(t, self.stop)

    def marks(self) -> set[int]:
        own = {mark - self.start for mark in self.whole.marks() if self.start <= mark}
        if self.length == math.inf:
            return {0, self.whole.view} | own
        end = int(self.length)
        return {0, end - 1, end} | {mark for mark in own if mark < end}

    def plain(self) -> Any:
        return {"part": {"of": self.whole.plain(), "start": self.start, "stop": self.stop}}

    def __repr__(self) -> str:
        stop = "" if self.stop is None else self.stop
        return f"{bracketed(self.whole)}[{self.start or ''}:{stop}]"
