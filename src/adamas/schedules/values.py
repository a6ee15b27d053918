"""Which values the arguments of schedules may have: one table, and the sentences where they have others."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any, cast

from adamas.errors import InputError, InputTypeError


def _number(name: str, value: Any, allowed: Callable[[float], bool], words: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputTypeError(f"{name} is {value!r}: give {words}.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not allowed(number):
        raise InputError(f"{name} is {value}: give {words}.")
    return number


def at_least_zero(name: str, value: Any) -> float:
    """The value as a float, if it is a finite number of 0 or more."""
    return _number(name, value, lambda x: 0 <= x < math.inf, "a finite number, 0 or more")


def _positive(name: str, value: Any) -> float:
    return _number(name, value, lambda x: 0 < x < math.inf, "a finite number above 0")


def _share(name: str, value: Any) -> float:
    return _number(name, value, lambda x: 0 <= x <= 1, "a share of the peak, from 0 to 1")


def _inside(name: str, value: Any) -> float:
    return _number(name, value, lambda x: 0 < x < 1, "a share of the steps, above 0 and below 1")


def whole(least: int) -> Callable[[str, Any], int]:
    """The check for whole numbers from `least` on; a float will do where it is whole, as 1e4."""
    words = f"a whole number, {least} or more"

    def check(name: str, value: Any) -> int:
        _number(name, value, lambda x: least <= x <= 2**53 and x.is_integer(), words)
        return int(value)

    return check


def _milestones(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple):
        raise InputTypeError(f"{name} is {value!r}: give steps in ascending order, as [3000, 6000].")
    steps = tuple(whole(1)(f"{name}[{i}]", v) for i, v in enumerate(cast(Sequence[Any], value)))
    if not steps or any(b <= a for a, b in pairwise(steps)):
        raise InputError(f"{name} is {value!r}: give steps in ascending order, as [3000, 6000].")
    return steps


def _betas(name: str, value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    words = "at least 0 and less than 1"
    if not (isinstance(value, list | tuple) and len(cast(Sequence[Any], value)) == 2):
        raise InputTypeError(f"{name} is {value!r}: give β₁ away from the peak and at it, as (0.95, 0.85), or None.")
    first, second = (_number(f"{name}[{i}]", v, lambda x: 0 <= x < 1, words) for i, v in enumerate(value))
    return first, second


def _anneal(name: str, value: Any) -> str:
    if value not in ("cosine", "linear"):
        raise InputError(f"{name} is {value!r}: give 'cosine' or 'linear'.")
    return value


#: argument of a shape -> its value as it is kept, or an InputError.
CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "steps": whole(1),
    "period": whole(1),
    "every": whole(1),
    "scale": whole(1),
    "multiplier": whole(1),
    "cycles": whole(1),
    "milestones": _milestones,
    "value": at_least_zero,
    "factor": at_least_zero,
    "start": _share,
    "end": _share,
    "floor": _share,
    "power": _positive,
    "peak_at": _inside,
    "anneal": _anneal,
    "momentum": _betas,
}
