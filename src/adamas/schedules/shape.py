"""Shapes: what a schedule is put together of; one function each, and what else there is to know about it."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from adamas.errors import InputTypeError, unknown
from adamas.schedules.base import Schedule
from adamas.schedules.values import CHECKS

P = ParamSpec("P")


class Leaf(Schedule):
    """A shape with its arguments."""

    __slots__ = ("arguments", "shape")
    shape: "Shape"
    arguments: Mapping[str, Any]

    def __init__(self, shape: "Shape", arguments: Mapping[str, Any]) -> None:
        self._set(shape=shape, arguments=arguments)

    @property
    def length(self) -> float:
        return self.shape.length(self.arguments)

    @property
    def moves_momentum(self) -> bool:
        return self.shape.momentum is not None and self.arguments["momentum"] is not None

    def factor(self, xp: Any, t: Any) -> Any:
        return self.shape.function(self._clipped(xp, t), xp, **self.arguments)

    def beta1(self, xp: Any, t: Any) -> Any:
        assert self.shape.momentum is not None
        return self.shape.momentum(self._clipped(xp, t), xp, **self.arguments)

    def _clipped(self, xp: Any, t: Any) -> Any:
        t = xp.maximum(t, 0)
        return t if self.length == math.inf else xp.minimum(t, self.length)

    def marks(self) -> set[int]:
        own = self.shape.marks(self.arguments)
        if self.length == math.inf:
            return own
        end = int(self.length)
        return {0, end // 2, end - 1, end} | own

    def plain(self) -> Any:
        return {
            self.shape.name: {k: list(v) if isinstance(v, tuple) else v for k, v in self.arguments.items()}  # pyright: ignore[reportUnknownArgumentType]
        }

    def __repr__(self) -> str:
        """The first argument by position, as it mostly says how long; defaults left out."""
        told: list[str] = []
        for i, (name, parameter) in enumerate(self.shape.signature.parameters.items()):
            value = self.arguments[name]
            if value != parameter.default:
                told.append(f"{name}={value!r}" if i else repr(value))
        return f"{self.shape.name}({', '.join(told)})"


@dataclass(frozen=True)
class Shape:
    """A function of ``t``, the words ``xp`` and its arguments, and what else there is to know about it."""

    name: str
    function: Callable[..., Any]
    signature: inspect.Signature
    momentum: Callable[..., Any] | None
    length: Callable[[Mapping[str, Any]], float]
    marks: Callable[[Mapping[str, Any]], set[int]]

    def __call__(self, *args: Any, **kwargs: Any) -> Leaf:
        names = list(self.signature.parameters)
        if wrong := [k for k in kwargs if k not in names]:
            raise InputTypeError(str(unknown(f"argument of {self.name}", wrong[0], names)))
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InputTypeError(f"{self.name}: {error}; the arguments are {self.signature}.") from None
        bound.apply_defaults()
        return Leaf(self, {name: self._checked(name, value) for name, value in bound.arguments.items()})

    def _checked(self, name: str, value: Any) -> Any:
        if value is None and self.signature.parameters[name].default is None:
            return None
        return CHECKS[name](f"{self.name}: {name}", value)


#: What an expression or a file may name: shapes, and functions that put several together.
NAMES: dict[str, Callable[..., Schedule]] = {}


def _steps(arguments: Mapping[str, Any]) -> float:
    return arguments.get("steps", math.inf)


def _nothing(arguments: Mapping[str, Any]) -> set[int]:
    return set()


def shape(
    momentum: Callable[..., Any] | None = None,
    length: Callable[[Mapping[str, Any]], float] = _steps,
    marks: Callable[[Mapping[str, Any]], set[int]] = _nothing,
) -> Callable[[Callable[Concatenate[Any, Any, P], Any]], Callable[P, Schedule]]:
    """Make a function of a step the maker of schedules of that shape.

    The function takes ``t``, never below 0 or beyond the end, the namespace ``xp`` with the words `NUMBERS` has, and
    its arguments, whose values `CHECKS` knows. It must not branch on ``t``: it may be an array, or traced.

    Args:
        momentum: the same for β₁; None where it is not moved.
        length: the arguments -> how many steps it has.
        marks: the arguments -> steps worth a look; for one without an end, the end of its picture among them.
    """

    def made(function: Callable[Concatenate[Any, Any, P], Any]) -> Callable[P, Schedule]:
        signature = inspect.signature(function)
        signature = signature.replace(parameters=list(signature.parameters.values())[2:], return_annotation=Schedule)
        own = Shape(function.__name__, function, signature, momentum, length, marks)

        @wraps(function)
        def make(*args: P.args, **kwargs: P.kwargs) -> Schedule:
            return own(*args, **kwargs)

        make.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]
        NAMES[own.name] = make
        return make

    return made
