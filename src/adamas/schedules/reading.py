"""Schedules from text: expressions and JSON, both taken apart here, so that nothing in them runs."""

import ast
import json
import operator
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, cast

from adamas.errors import InputError, InputTypeError, unknown
from adamas.schedules.base import Schedule, multiplied
from adamas.schedules.shape import NAMES

_LONGEST = 10_000
_EXAMPLE = "warmup(500) >> cosine(9500, floor=0.1)"

_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


def parse(text: str) -> Schedule:
    """The schedule that an expression says, as on the command line or in a configuration file.

    It may name the shapes, ``>>``, ``*``, slices, and numbers with + - * / and //. It is not evaluated as Python.

    >>> parse("3e-4 * (warmup(500) >> cosine(10_000 - 500, floor=.1))")
    0.0003 * (warmup(500) >> cosine(9500, floor=0.1))

    Raises:
        InputError: saying what in it is not understood.
    """
    if len(text) > _LONGEST:
        raise InputError(
            f"An expression of {len(text)} characters is too long for a schedule: give {_LONGEST} at most."
        )
    try:
        found = _value(ast.parse(text.strip(), mode="eval").body)
    except SyntaxError as error:
        raise InputError(
            f"{short(text)!r} is not written as a schedule ({error.msg}): write it as {_EXAMPLE}."
        ) from None
    except (RecursionError, MemoryError):
        raise InputError(f"{short(text)!r} is nested too deeply for a schedule.") from None
    except (ValueError, ArithmeticError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{short(text)!r} cannot be computed: {error}.") from None
    if not isinstance(found, Schedule):
        raise InputError(f"{short(text)!r} is no schedule: write it as {_EXAMPLE}.")
    return found


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=int() | float() | str() | None) if not isinstance(node.value, bool):
            return node.value
        case ast.Tuple() | ast.List():
            return tuple(map(_value, node.elts))
        case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
            number = _value(node.operand)
            if _is_number(number):
                return -number if isinstance(node.op, ast.USub) else number
        case ast.BinOp():
            return _combined(node)
        case ast.Call(func=ast.Name(id=name)):
            if name not in NAMES:
                raise unknown("schedule", name, sorted(NAMES))
            if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
                raise _refused(node)
            return _made(name, [_value(a) for a in node.args], {str(k.arg): _value(k.value) for k in node.keywords})
        case ast.Subscript(slice=ast.Slice() as part):
            whole = _value(node.value)
            if isinstance(whole, Schedule):
                return whole[slice(*(None if p is None else _value(p) for p in (part.lower, part.upper, part.step)))]
        case ast.Name(id=name) if name in NAMES:
            raise InputError(f"{name} is written with its arguments, as in {_EXAMPLE}.")
        case ast.Name(id=name):
            raise unknown("schedule", name, sorted(NAMES))
        case _:
            pass
    raise _refused(node)


def _combined(node: ast.BinOp) -> Any:
    left, right = _value(node.left), _value(node.right)
    if isinstance(node.op, ast.RShift) and isinstance(left, Schedule) and isinstance(right, Schedule):
        return left >> right
    numbers = [_is_number(side) for side in (left, right)]
    if all(numbers) and type(node.op) in _ARITHMETIC:
        return _ARITHMETIC[type(node.op)](left, right)
    kinds = [number or isinstance(side, Schedule) for number, side in zip(numbers, (left, right), strict=True)]
    if isinstance(node.op, ast.Mult) and all(kinds):
        return multiplied([left, right])
    raise _refused(node)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _made(name: str, args: list[Any], kwargs: dict[str, Any]) -> Schedule:
    try:
        return NAMES[name](*args, **kwargs)
    except TypeError as error:
        if isinstance(error, InputError):
            raise
        raise InputTypeError(f"{name}: {error}.") from None


def _refused(node: ast.expr) -> InputError:
    return InputError(
        f"{short(ast.unparse(node))!r} cannot stand in a schedule: there are shapes such as cosine(1000), numbers, "
        ">>, * and slices."
    )


def short(text: str) -> str:
    """The text as a sentence can quote it."""
    return text if len(text) <= 60 else f"{text[:59]}…"


# -- plain data ----------------------------------------------------------------------------------------------------


def from_json(text: str | bytes) -> Schedule:
    """The schedule that `Schedule.to_json` wrote.

    >>> from_json('{"then": [{"warmup": {"steps": 500}}, {"cosine": {"steps": 9500, "floor": 0.1}}]}')
    warmup(500) >> cosine(9500, floor=0.1)

    Raises:
        InputError: saying what in it is not understood.
    """
    try:
        return from_plain(json.loads(text))
    except json.JSONDecodeError as error:
        raise InputError(
            f"This is no schedule in JSON, by line {error.lineno}, column {error.colno}: {error.msg}; "
            "give what to_json() wrote."
        ) from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"This is no schedule in JSON: {error}; give what to_json() wrote.") from None
    except RecursionError:
        raise InputError("The JSON is nested too deeply for a schedule.") from None


def from_plain(plain: Any) -> Schedule:
    """The schedule that dicts, lists, strings and numbers stand for, as `json.loads` has them.

    Raises:
        InputError: saying what in them is not understood.
    """
    if not (isinstance(plain, Mapping) and len(cast(Mapping[Any, Any], plain)) == 1):
        raise InputError(f"{_told(plain)} is no schedule: give one as {{'cosine': {{'steps': 1000}}}}.")
    ((name, content),) = cast(Mapping[Any, Any], plain).items()
    if name in ("then", "product"):
        if not isinstance(content, list) or not content:
            raise InputError(f"{name!r} holds {_told(content)}: give a list of schedules.")
        if name == "product":
            factors = [part if isinstance(part, Real) else from_plain(part) for part in cast(list[Any], content)]
            if not any(isinstance(factor, Schedule) for factor in factors):
                raise InputError(f"'product' holds {_told(content)}: give a schedule among them.")
            return multiplied(factors)
        first, *others = map(from_plain, cast(list[Any], content))
        for other in others:
            first = first >> other
        return first
    if not isinstance(content, Mapping):
        raise InputError(f"{name!r} holds {_told(content)}: give its arguments by name.")
    given = cast(Mapping[Any, Any], content)
    if name == "part":
        if wrong := [key for key in given if key not in ("of", "start", "stop")]:
            raise unknown("entry of 'part'", str(wrong[0]), ("of", "start", "stop"))
        return from_plain(given.get("of"))[given.get("start") : given.get("stop")]
    if name not in NAMES:
        raise unknown("schedule", str(name), [*sorted(NAMES), "then", "product", "part"])
    return _made(str(name), [], {str(k): v for k, v in given.items()})


def _told(value: Any) -> str:
    return short(repr(value))
