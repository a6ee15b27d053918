"""torch, eagerly: any device and dtype, differentiable; one tensor at a time."""

import math
from typing import Any

import torch

from adamas.lowering import words
from adamas.lowering.source import Program


def render(program: Program, dtype: str = "", measured: bool = False) -> str:
    """The text of a kernel over whole tensors.

    ``kernel(g, param, <states>, c)`` returns the new param and states, and changes nothing. One text serves
    every dtype. Where it is measured, the rule's step and the gradient that it saw come after them.
    """
    used = "maximum, minimum, number, power, sign, sqrt, square, where"
    header = f"# {program.rule}, torch", f"from adamas.lowering.torch import {used}"
    return program.functional_text(*header, measured=measured)


# -- the words: over tensors, and over the host's numbers where a hyperparameter is a tensor ---------------------


number = float


def where(condition: Any, a: Any, b: Any) -> Any:
    """``a`` where the condition holds, else ``b``."""
    return torch.where(condition, a, b) if isinstance(condition, torch.Tensor) else (a if condition else b)


def _like(x: Any, other: Any) -> Any:
    return x  # numbers take the dtype of what they meet


_NAMES = {"where": where, "like": _like}
maximum, minimum, sign, square = (
    words.respelt(word, _NAMES) for word in (words.maximum, words.minimum, words.sign, words.square)
)


def power(x: torch.Tensor, y: Any) -> torch.Tensor:
    """xʸ."""
    return torch.pow(x, y)


def sqrt(x: Any) -> Any:
    """√x."""
    return torch.sqrt(x) if isinstance(x, torch.Tensor) else (math.sqrt(x) if x >= 0 else math.nan)


def one_minus_power(base: Any, exponent: Any) -> Any:
    """``1 - base ** exponent`` without cancellation."""
    if isinstance(base, torch.Tensor):
        return -torch.expm1(exponent * torch.log(base))
    return -math.expm1(exponent * math.log(base)) if 0 < base < 2 else 1 - base**exponent
