"""The tail of a step: what is done around the rule in the same pass over memory, and what a step says of itself."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adamas.errors import InputError, InputTypeError
from adamas.late_switch import LateSwitch

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: What a measuring step says of each tensor, or of a part of it, in this order: Σg², max |g|, how many coordinates of g
#: are 0, ΣΔθ², Σθ² after the step, in how many coordinates ε outweighs what it is added to, ΣΔ² and ΣΔg of the rule's
#: own step Δ and the gradient as the rule sees it.
MEASURES = (
    "grad_squares",
    "grad_max",
    "grad_zeros",
    "update_squares",
    "param_squares",
    "eps_counts",
    "step_squares",
    "step_along_grad",
)
_LARGEST = MEASURES.index("grad_max")

#: What `Tail.nonfinite` may be.
NONFINITE = ("propagate", "skip", "raise")


#: What `Tail.state_dtype` may be.
STATE_DTYPES = ("float32", "bfloat16", "int8")

#: What `Tail.param_rounding` may be.
ROUNDINGS = ("nearest", "stochastic", "remainder")

#: Elements below which a moment is not kept in 8 bits: there is nothing to win.
SMALL = 4096


def narrow(state_dtype: str, dtype: str, lanes: int, size: int) -> str:
    """What a moment is kept in: "bfloat16", "uint8", or "" where it is as wide as the step computes.

    Args:
        state_dtype: as asked for.
        dtype: of the parameter.
        lanes: numbers in one of its elements.
        size: how many numbers it has.
    """
    if state_dtype == "float32" or lanes > 1 or dtype == "float64":
        return ""
    if state_dtype == "int8":
        return "uint8" if size >= SMALL else ""
    return state_dtype


@dataclass(frozen=True)
class Tail:
    """What an optimizer does beside its rule, and how it keeps what it remembers; all is off unless asked for.

    Attributes:
        clip_grad_norm: the largest 2-norm that all gradients together may have; a longer one is shortened, as by
            `torch.nn.utils.clip_grad_norm_`. The gradients themselves are left as they are.
        clip_grad_value: the largest magnitude that a coordinate of a gradient may have.
        ema_decay: decay of an average of the weights, in [0, 1), which is kept beside the states as ``ema``. Rows that
            a sparse gradient leaves out keep their average too.
        nonfinite: what becomes of a step whose gradients are not all finite: "propagate" (it is made, as torch makes
            it), "skip" or "raise". The latter two change nothing, neither weights nor states nor counts.
        state_dtype: how moments are kept: "float32" (as wide as the step computes), "bfloat16", or "int8": blocks of
            256 codes of 8 bits with an exponent in common, for tensors of `SMALL` elements or more. Both are rounded
            stochastically, and for parameters that are computed in float32 on the CPU.
        param_rounding: how a parameter of bfloat16 or float16 takes what a step makes of it in float32: "nearest", as
            torch does, which loses steps of less than half of what the parameter tells apart; "stochastic", right in
            the mean; or "remainder": the 16 bits that bfloat16 leaves out are kept beside the states as
            ``param_remainder``, and the two together are a float32 parameter to the bit. For plain tensors on the CPU.
        zero_grad: whether the step leaves zeros in the gradients; torch's sparse ones are left without rows.
        telemetry: 0 or False, or at every how many steps `Last.telemetry` is measured.
        late_switch: when gradient descent with momentum takes the rule's place.

    Raises:
        InputError: for a value that cannot be.
    """

    clip_grad_norm: float | None = None
    clip_grad_value: float | None = None
    ema_decay: float | None = None
    nonfinite: str = "propagate"
    state_dtype: str = "float32"
    param_rounding: str = "nearest"
    zero_grad: bool = False
    telemetry: int | bool = False
    late_switch: LateSwitch | None = None

    def __post_init__(self) -> None:
        _check("clip_grad_norm", self.clip_grad_norm, lambda x: 0 < x < math.inf, "a finite number above 0, or None")
        _check("clip_grad_value", self.clip_grad_value, lambda x: 0 < x < math.inf, "a finite number above 0, or None")
        _check("ema_decay", self.ema_decay, lambda x: 0 <= x < 1, "at least 0 and less than 1, or None")
        if self.clip_grad_norm is not None and self.clip_grad_value is not None:
            raise InputError(
                f"clip_grad_norm={self.clip_grad_norm} and clip_grad_value={self.clip_grad_value} exclude each other: "
                "give one of them."
            )
        choices = {"nonfinite": NONFINITE, "state_dtype": STATE_DTYPES, "param_rounding": ROUNDINGS}
        for name, allowed in choices.items():
            if (value := getattr(self, name)) not in allowed:
                raise InputError(f"Invalid {name} value: {value!r}: it must be one of {', '.join(allowed)}.")
        zero_grad: Any = self.zero_grad
        if not isinstance(zero_grad, bool):
            raise InputTypeError(f"Invalid zero_grad value: {self.zero_grad!r}: it must be True or False.")
        telemetry: Any = self.telemetry
        if not isinstance(telemetry, int) or telemetry < 0:
            raise InputError(
                f"Invalid telemetry value: {self.telemetry!r}: it must be True, False, or a number of steps."
            )
        late_switch: Any = self.late_switch
        if not isinstance(late_switch, LateSwitch | None):
            raise InputTypeError(f"Invalid late_switch value: {late_switch!r}: it must be a LateSwitch(…), or None.")

    @cached_property
    def looks_first(self) -> bool:
        """Whether a step must see all gradients before it can begin."""
        return self.clip_grad_norm is not None or self.nonfinite != "propagate"

    def hyper(self, scaled: bool) -> dict[str, Any]:
        """The hyperparameters of the driver.

        Args:
            scaled: whether the loss was scaled.
        """
        return {
            "grad_scaled": scaled or self.clip_grad_norm is not None,
            "clip_grad_value": self.clip_grad_value or 0.0,
            "ema_decay": self.ema_decay or 0.0,
            "zero_grad": self.zero_grad,
        }


#: name -> default of everything a tail can do, as optimizers take it.
OPTIONS: Mapping[str, Any] = {field.name: field.default for field in fields(Tail)}


def _check(name: str, value: Any, allowed: Callable[[float], bool], words: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputTypeError(f"Invalid {name} value: {value!r}: it must be {words}.")
    if not allowed(float(value)):
        raise InputError(f"Invalid {name} value: {value}: it must be {words}.")


#: What has become infinite or NaN is told as such, without a warning beside it.
_SILENTLY = np.errstate(over="ignore", invalid="ignore")


class Measured(NamedTuple):
    """What was measured of parameters that were stepped together.

    Attributes:
        rows: [rows, MEASURES], of a piece of a parameter each: sums, but of `grad_max` the largest.
        owners: [rows] and perhaps more: the member of the group that a piece is of, those of one in a row.
        members: which parameters the members are.
    """

    rows: Floats
    owners: Ints
    members: Ints

    @_SILENTLY
    def whole(self) -> list[float]:
        """Sums over all of them, as `MEASURES` has them; what stands for `grad_max` means nothing."""
        return self.rows.sum(0).tolist()

    @_SILENTLY
    def each(self) -> Floats:
        """[members, MEASURES]; 0 of a member that has no pieces."""
        owners = self.owners[: len(self.rows)]
        begins = np.flatnonzero(np.diff(owners, prepend=-1))
        measures = np.zeros((len(self.members), len(MEASURES)))
        measures[owners[begins]] = np.add.reduceat(self.rows, begins)
        measures[owners[begins], _LARGEST] = np.maximum.reduceat(self.rows[:, _LARGEST], begins)
        return measures


class Telemetry:
    """What a step measured, a number for each parameter in the order of the groups; NaN where there was no gradient.

    Where the gradient is sparse, all of it is of the rows that it touches.

    Attributes:
        grad_norm: ‖g‖, unscaled and before clipping.
        grad_max: max |g|, likewise.
        zero_share: the share of coordinates whose gradient is exactly 0.
        update_norm: ‖Δθ‖, of what the step changed, decay included.
        param_norm: ‖θ‖ after the step.
        eps_share: the share of coordinates in which ε outweighs what it is added to; NaN for rules without ε.
        step_norm: ‖Δ‖ of the rule's own step, without decoupled decay.
        step_along_grad: Δᵀg with the gradient as the rule sees it, unscaled, clipped, with coupled decay.
        totals: ‖g‖, ‖Δθ‖ and ‖θ‖ of all tensors together that had a gradient, without those that are NaN.
    """

    def __init__(self, parts: Sequence[Measured], sizes: Floats, scale: float) -> None:
        """
        Args:
            parts: what was measured of the parameters, each of which is in one of them or in none.
            sizes: [parameters], numbers in each; a complex element is two.
            scale: of the loss.
        """
        self._parts, self._sizes, self._scale = parts, sizes, scale

    @cached_property
    def totals(self) -> tuple[float, float, float]:
        wholes = [part.whole() for part in self._parts]
        whole = wholes[0] if len(wholes) == 1 else map(sum, zip(*wholes, strict=True))
        grad, _, _, update, param, *_ = whole
        if grad != grad or update != update or param != param:
            names = "grad_squares", "update_squares", "param_squares"
            grad, update, param = (float(np.nansum(self._measure(name))) for name in names)
        return math.sqrt(grad) / self._scale, math.sqrt(update), math.sqrt(param)

    @cached_property
    def grad_norm(self) -> Floats:
        return np.sqrt(self._measure("grad_squares")) / self._scale

    @cached_property
    def grad_max(self) -> Floats:
        return self._measure("grad_max") / self._scale

    @cached_property
    def zero_share(self) -> Floats:
        return self._measure("grad_zeros") / np.maximum(self._sizes, 1)

    @cached_property
    def update_norm(self) -> Floats:
        return np.sqrt(self._measure("update_squares"))

    @cached_property
    def param_norm(self) -> Floats:
        return np.sqrt(self._measure("param_squares"))

    @cached_property
    def eps_share(self) -> Floats:
        return self._measure("eps_counts") / np.maximum(self._sizes, 1)

    @cached_property
    def step_norm(self) -> Floats:
        return np.sqrt(self._measure("step_squares"))

    @cached_property
    def step_along_grad(self) -> Floats:
        return self._measure("step_along_grad")

    def _measure(self, name: str) -> Floats:
        return self._measures[:, MEASURES.index(name)]

    @cached_property
    def _measures(self) -> Floats:
        """[parameters, MEASURES]"""
        measures = np.full((len(self._sizes), len(MEASURES)), math.nan)
        for part in self._parts:
            measures[part.members] = part.each()
        return measures


class Last(NamedTuple):
    """What the last step says of itself.

    Attributes:
        grad_norm: the 2-norm of all gradients together, unscaled and before clipping; None where nothing asked for it
            (``clip_grad_norm``, ``nonfinite``, ``telemetry`` and NumPy's ``grad_scale`` do).
        clip_coef: what the gradients were multiplied by to hold their norm down; 1 where they were not.
        skipped: whether the step was left out, because a gradient was not finite.
        telemetry: what was measured, if this was a step that measures.
    """

    grad_norm: float | None = None
    clip_coef: float = 1.0
    skipped: bool = False
    telemetry: Telemetry | None = None


#: Of a step that was asked for nothing.
SILENT = Last()
