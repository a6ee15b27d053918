"""Which values a hyperparameter may have: one table, used by every front, at construction and before each step."""

import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from operator import index
from random import Random
from typing import Any, cast

from adamas.errors import InputError, InputTypeError


def _at_least_zero(x: float) -> bool:
    return 0 <= x < math.inf


def _decay_rate(x: float) -> bool:
    return 0 <= x < 1


_NON_NEGATIVE = (_at_least_zero, "a finite number, 0 or more")
_RATE = (_decay_rate, "at least 0 and less than 1")

#: name -> (what the sentence calls it, which values are allowed, the same in words). The first words of each
#: sentence are those of torch.optim, for code that matches on them.
_CHECKS: dict[str, tuple[str, Callable[[float], bool], str]] = {
    "lr": ("learning rate", *_NON_NEGATIVE),
    "betas": ("beta parameter", *_RATE),
    "beta": ("beta parameter", *_RATE),
    "beta1": ("beta parameter", *_RATE),
    "beta2": ("beta parameter", *_RATE),
    "eps": ("epsilon value", *_NON_NEGATIVE),
    "eps_root": ("epsilon value under the root", *_NON_NEGATIVE),
    "weight_decay": ("weight_decay value", *_NON_NEGATIVE),
    "momentum": ("momentum value", *_NON_NEGATIVE),
    "alpha": ("alpha value", *_NON_NEGATIVE),
    "lr_decay": ("lr_decay value", *_NON_NEGATIVE),
    "initial_accumulator_value": ("initial_accumulator_value value", *_NON_NEGATIVE),
    "momentum_decay": ("momentum_decay value", *_NON_NEGATIVE),
    "sgd_gain": ("sgd_gain value", *_NON_NEGATIVE),
    "sgd_momentum": ("sgd_momentum value", *_RATE),
    "p": ("p value", lambda x: 1 <= x < math.inf, "a finite number, 1 or more (for p → ∞ use Adamax)"),
}
_ANY = (math.isfinite, "a finite number")


def examples(defaults: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """Values that hyperparameters may have, all over their ranges; flags and words keep theirs."""
    random = Random(0)

    def some(name: str, default: Any) -> Any:
        if isinstance(default, tuple):
            return tuple(some(name, v) for v in default)
        if isinstance(default, bool | str):
            return default
        # torch allows an alpha of 1 and more, with which a mean of squares would be negative: nobody means that.
        _, allowed, _ = _CHECKS["betas" if name == "alpha" else name] if name in _CHECKS else ("", *_ANY)
        return random.choice([x for x in (-3.0, -0.5, 0.0, 1e-8, 0.3, 0.9, 0.999, 1.0, 3.0, 1000.0) if allowed(x)])

    return [{name: some(name, default) for name, default in defaults.items()} for _ in range(count)]


def check(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse a value that its hyperparameter cannot have.

    Args:
        values: hyperparameter -> value.
        defaults: hyperparameter -> default, whose kind says what the value must be.

    Raises:
        InputError: naming the value and what is allowed.
        InputTypeError: where the value is of another kind than the default.
    """
    for name, default in defaults.items():
        value = values[name]
        label, allowed, words = _CHECKS.get(name, (f"{name} value", *_ANY))
        if isinstance(default, bool):
            if value not in (False, True):
                raise InputTypeError(f"Invalid {name} value: {value!r}: it must be True or False.")
        elif isinstance(default, str):
            if not isinstance(value, str):
                raise InputTypeError(f"Invalid {name} value: {value!r}: it must be a word such as {default!r}.")
        elif isinstance(default, tuple):
            if not (isinstance(value, tuple | list) and len(value) == len(default)):
                raise InputTypeError(f"Invalid {name}: {value!r}: it must be a tuple of {len(default)} numbers.")
            for i, v in enumerate(value):
                _number(f"{label} at index {i}", v, allowed, words)
        else:
            _number(label, value, allowed, words)


def _number(label: str, value: Any, allowed: Callable[[float], bool], words: str) -> None:
    if not isinstance(value, Real):
        raise InputTypeError(f"Invalid {label}: {value!r}: it must be {words}.")
    try:
        fine = allowed(float(value))
    except OverflowError:  # an integer beyond float64
        fine = False
    if not fine:
        raise InputError(f"Invalid {label}: {value}: it must be {words}.")


def positive(label: str, value: Any) -> None:
    """Refuse what is not a finite number above 0."""
    words = "a finite number above 0"
    if isinstance(value, bool):
        raise InputTypeError(f"Invalid {label}: {value!r}: it must be {words}.")
    _number(label, value, lambda x: 0 < x < math.inf, words)


def whole(name: str, value: Any, least: int) -> int:
    """A count, if it is one.

    Raises:
        InputError: for what is no integer, or a smaller one.
    """
    try:
        number = least - 1 if isinstance(value, bool) else index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise InputError(f"Invalid {name} value: {value!r}: it must be a whole number, {least} or more.")
    return number


def number(name: str, value: Any) -> Any:
    """A hyperparameter as the host takes it: tensors of one element as their values.

    Raises:
        InputError: for a tensor of more elements, or without a value.
    """
    if isinstance(value, tuple | list):
        return tuple(number(f"{name}[{i}]", v) for i, v in enumerate(cast(Sequence[Any], value)))
    if hasattr(value, "item"):
        if math.prod(value.shape) != 1:
            raise InputError(f"Tensor {name} must be 1-element: it has shape {tuple(value.shape)}.")
        try:
            return value.item()
        except RuntimeError as error:  # on the meta device, for one
            raise InputError(f"Tensor {name} has no value: {error}") from None
    return value
