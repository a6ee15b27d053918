"""Where the numbers go besides: TensorBoard, trackers in the shape of wandb, or any function."""

from collections.abc import Callable, Mapping
from typing import Any

from adamas.errors import InputTypeError

Tracker = Callable[[Mapping[str, float], int], Any]


def tracker(thing: Any) -> Tracker:
    """A function of numbers and step for what is given.

    Raises:
        InputTypeError: for what is none of the three.

    >>> tracker(print)({"loss": 0.5, "lr": float("nan"), "step": 3.0}, 3)
    {'doctor/loss': 0.5} 3
    """
    add_scalar, log = getattr(thing, "add_scalar", None), getattr(thing, "log", None)
    if callable(add_scalar):

        def add(numbers: Mapping[str, float], step: int) -> None:
            for name, value in _named(numbers).items():
                add_scalar(name, value, step)

        return add
    if callable(log):
        return lambda numbers, step: log(_named(numbers), step=step)
    if callable(thing):
        return lambda numbers, step: thing(_named(numbers), step)
    raise InputTypeError(
        f"A {type(thing).__name__} takes no numbers: give a SummaryWriter, something with log(dict, step=…), or a "
        "function of a dict and the step."
    )


def _named(numbers: Mapping[str, float]) -> dict[str, float]:
    return {f"doctor/{name}": value for name, value in numbers.items() if value == value and name != "step"}
