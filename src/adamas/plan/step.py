"""The bytes that a step keeps and moves, from the arrays that its program names."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adamas.arrays import Form
from adamas.kernel import select
from adamas.lowering.source import Program
from adamas.lowering.storage import BLOCK
from adamas.registry import Rule
from adamas.tail import Tail, narrow

COUNT = 8  # bytes of a tensor's step count, and of each of its scalar states
EXPONENT = 2  # bytes that the 8-bit codes of a block have in common


@dataclass(frozen=True)
class Step:
    """The step of one optimizer.

    >>> import adamas
    >>> from adamas.plan.step import Step, described
    >>> Step.of(adamas.rules()["adamw"]).moved(described((1000,))) / 1000
    28.0

    Attributes:
        program: what is run.
        state_dtype: one of `adamas.tail.STATE_DTYPES`; an average of the weights is as wide as the step computes all
            the same.
        grad_dtype: of real gradients; None: each is like its parameter.
        looks_first: whether all gradients are read once before, for their norm.
    """

    program: Program
    state_dtype: str = "float32"
    grad_dtype: str | None = None
    looks_first: bool = False

    @classmethod
    def of(
        cls,
        rule: Rule,
        options: Mapping[str, Any] | None = None,
        tail: Tail | None = None,
        state_dtype: str = "float32",
        grad_dtype: str | None = None,
    ) -> "Step":
        """The step of a rule under these options, with this tail.

        Raises:
            InputError: for an option the rule does not have, or a value it cannot take.
        """
        tail = tail or Tail()
        program = select(rule, {**rule.hyper(options or {}), **tail.hyper(scaled=False)}).program
        return cls(program, state_dtype, grad_dtype, tail.looks_first)

    def sizes(self, param: Form) -> dict[str, int]:
        """The bytes of each array of a parameter's step."""
        wide = param._replace(dtype="float64" if param.dtype == "float64" else "float32")
        own = {"g": size(cast(param, self.grad_dtype)), "param": size(param), "ema": size(wide)}
        return {name: own[name] if name in own else self._stored(param, wide) for name in self.program.arrays}

    def kept(self, param: Form) -> int:
        """The bytes of a parameter's states, counts included and the average not."""
        sizes = self.sizes(param)
        states = sum(sizes[name] for name in self.program.states if name != "ema")
        return states + COUNT * (1 + len(self.program.scalars))

    def average(self, param: Form) -> int:
        """The bytes of a parameter's average."""
        return self.sizes(param).get("ema", 0)

    def moved(self, param: Form) -> int:
        """The bytes that the step reads and writes of a parameter's arrays; no step that is right moves fewer."""
        sizes = self.sizes(param)
        names = (*self.program.arrays, *self.program.outputs, *(("g",) if self.looks_first else ()))
        return sum(sizes[name] for name in names)

    def _stored(self, param: Form, wide: Form) -> int:
        match narrow(self.state_dtype, param.dtype, param.lanes, param.size):
            case "bfloat16":
                return 2 * param.size
            case "uint8":
                return param.size + EXPONENT * -(-param.size // BLOCK)
            case _:
                return size(wide)


def described(shape: tuple[int, ...], dtype: str = "float32", lanes: int = 1) -> Form:
    """An array that is not there."""
    form = Form(dtype, lanes, shape, (), False)
    return form._replace(strides=form.contiguous)


def cast(form: Form, dtype: str | None) -> Form:
    """The same array in another dtype, if it is real and one is given."""
    return form if dtype is None or form.lanes == 2 else form._replace(dtype=dtype)


def size(form: Form) -> int:
    """The bytes of an array."""
    return math.prod(form.shape) * form.itemsize
