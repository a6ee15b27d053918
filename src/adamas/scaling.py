"""Loss scaling: gradients in float16 are kept from underflow by a loss that was multiplied, and the step divides again.

How large the factor may be is found by trying (Micikevicius et al. 2018, "Mixed Precision Training", §3.2, and NVIDIA's
guide to it): it grows after many good steps, and falls when a gradient has overflowed, whose step is left out.

>>> import numpy as np
>>> from adamas.numpy import SGD
>>> theta = np.ones(2, np.float32)
>>> opt, scaler = SGD(theta, lr=0.5), LossScaler()
>>> for slope in (4.0, 0.25):
...     with np.errstate(over="ignore"):
...         scaler.step(opt, np.float16(slope * scaler.scale) * np.ones(2, np.float16))
...     scaler.update()
...     print(scaler.last_skipped, scaler.scale, theta)
True 32768.0 [1. 1.]
False 32768.0 [0.875 0.875]
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from adamas.errors import InputError, InputTypeError
from adamas.hyperparameters import positive, whole


class ScaleCollapse(FloatingPointError):
    """The loss scale cannot help any more: gradients overflow whatever it is."""


class ScaleState(NamedTuple):
    """What a loss scale remembers: a pytree of scalars.

    Attributes:
        scale: by which the next loss is to be multiplied.
        good_steps: since the last overflow or growth.
        overflows: since the last growth.
        floored: overflows in a row while the scale was at its floor.
        excess: 4 for each overflow, less 1 for each good step; never below 0.
        skipped: steps that were left out so far.
        last_skipped: whether the last step was.
    """

    scale: Any
    good_steps: Any
    overflows: Any
    floored: Any
    excess: Any
    skipped: Any
    last_skipped: Any


@dataclass(frozen=True)
class DynamicScale:
    """How a loss scale moves: functions of its state alone, over NumPy's scalars or JAX's, under ``jit`` too.

    Attributes:
        init_scale: the first scale.
        growth_factor: what it is multiplied by after ``growth_interval`` good steps in a row.
        backoff_factor: what it is multiplied by at an overflow.
        growth_interval: in steps.
        floor: overflows do not lower it beyond this.
        ceiling: nor do good steps raise it beyond this. From where it starts outside of the two it only moves inwards.
        hysteresis: how many overflows there must have been since the last growth for the scale to fall; from then on
            each lowers it. So a lone spike costs a step, but no precision.
        collapse_after: how many overflows in a row at the floor are a collapse (`collapse`).

    Raises:
        InputError: for a value that cannot be.

    >>> rule = DynamicScale(growth_interval=2)
    >>> state = rule.init()
    >>> for finite in (False, True, True):
    ...     state = rule.update(state, finite)
    ...     print(float(state.scale), bool(state.last_skipped))
    32768.0 True
    32768.0 False
    65536.0 False
    """

    init_scale: float = 2.0**16
    growth_factor: float = 2.0
    backoff_factor: float = 0.5
    growth_interval: int = 2000
    floor: float = 1.0
    ceiling: float = 2.0**24
    hysteresis: int = 1
    collapse_after: int = 5

    def __post_init__(self) -> None:
        for name in ("init_scale", "growth_factor", "backoff_factor", "floor", "ceiling"):
            positive(f"{name} value", getattr(self, name))
        if self.growth_factor <= 1:
            raise InputError(f"Invalid growth_factor value: {self.growth_factor}: it must be above 1.")
        if self.backoff_factor >= 1:
            raise InputError(f"Invalid backoff_factor value: {self.backoff_factor}: it must be below 1.")
        for name in ("growth_interval", "hysteresis", "collapse_after"):
            whole(name, getattr(self, name), 1)
        if self.floor > self.ceiling:
            raise InputError(f"The floor {self.floor} of the loss scale is above its ceiling {self.ceiling}.")

    def init(self) -> ScaleState:
        """The state before the first step."""
        zero = np.int32(0)
        return ScaleState(np.float32(self.init_scale), zero, zero, zero, zero, zero, np.bool_(False))

    def update(self, state: ScaleState, finite: Any) -> ScaleState:
        """The state after a step.

        Args:
            state: before it.
            finite: whether all its gradients were finite; a step whose gradients were not is to be left out.
        """
        where = _where(finite, state.scale)
        good, overflows = state.good_steps + 1, state.overflows + 1
        grows, falls = good >= self.growth_interval, overflows >= self.hysteresis
        higher = _limited(where, state.scale * self.growth_factor, state.scale, self.ceiling, 1)
        lower = _limited(where, state.scale * self.backoff_factor, state.scale, self.floor, -1)
        excess = where(finite, state.excess - 1, state.excess + 4)
        return ScaleState(
            scale=where(finite, where(grows, higher, state.scale), where(falls, lower, state.scale)),
            good_steps=where(finite, where(grows, 0, good), 0),
            overflows=where(finite, where(grows, 0, state.overflows), overflows),
            floored=where(finite, 0, where(state.scale <= self.floor, state.floored + 1, 0)),
            excess=where(excess < 0, 0, where(excess > self._most, self._most, excess)),
            skipped=where(finite, state.skipped, state.skipped + 1),
            last_skipped=where(finite, np.False_, np.True_),
        )

    def collapse(self, state: ScaleState) -> str:
        """What has become of a scale that cannot help any more, with cause and remedy; "" where it can.

        There are two such cases. At the floor, ``collapse_after`` overflows in a row: the gradients overflow
        although hardly anything multiplies them. Or overflows again and again: counting each as one and each good step
        as a quarter back, there are more than the whole way from the ceiling to the floor can explain.
        """
        if int(state.floored) >= self.collapse_after:
            said = (
                f"it is at its floor of {self.floor:g}, and the gradients of the last {int(state.floored)} steps were "
                "not finite all the same"
            )
        elif int(state.excess) >= self._most:
            said = (
                f"{int(state.skipped)} steps were left out so far, lately more than one in five, which the search for "
                f"a scale between {self.floor:g} and {self.ceiling:g} does not explain; it is at {float(state.scale):g}"
            )
        else:
            return ""
        return (
            f"The loss scale has collapsed: {said}. So it is not the scale that makes the gradients overflow. Look "
            "first whether the loss or the weights themselves are not finite (a logarithm or a quotient of 0, a bad "
            "batch); if not, the training diverges or its values are beyond float16: lower the learning rate, warm it "
            "up, clip the gradients, or compute in bfloat16, which needs no scale."
        )

    @cached_property
    def _most(self) -> int:
        """The excess at which it has collapsed."""
        way = math.log(max(self.init_scale, self.ceiling) / min(self.init_scale, self.floor))
        return 4 * (math.ceil(way / -math.log(self.backoff_factor)) + self.hysteresis + 2 * self.collapse_after)


def _limited(where: Any, moved: Any, scale: Any, limit: float, sign: int) -> Any:
    """The moved scale, no further than the limit; unmoved from where that is reached."""
    moved = where(sign * moved > sign * limit, limit, moved)
    return where(sign * scale < sign * limit, moved, scale)


def _where(*values: Any) -> Any:
    """`where` of the library whose scalars these are."""
    spaces = [value.__array_namespace__() for value in values if hasattr(value, "__array_namespace__")]
    return next((space for space in spaces if space is not np), np).where


def all_finite(arrays: Iterable[Any]) -> Any:
    """Whether all elements of all arrays are finite: a scalar of their library, also under ``jit``.

    Args:
        arrays: NumPy's or JAX's; of a pytree, its leaves.

    >>> import numpy as np
    >>> bool(all_finite([np.ones(2), np.array([0, np.inf])]))
    False
    """
    finite: Any = np.True_
    for array in arrays:
        finite = array.__array_namespace__().isfinite(array).all() & finite
    return finite


#: attribute of `ScaleState` -> its name in a state dict; the first two are torch's.
_KEYS = {"scale": "scale", "good_steps": "_growth_tracker"} | {
    name: name for name in ("overflows", "floored", "excess", "skipped", "last_skipped")
}
#: What a state dict tells of the rule; the first three are torch's.
_SETTINGS = [field.name for field in fields(DynamicScale) if field.name != "init_scale"]


def saved(rule: DynamicScale, state: ScaleState) -> dict[str, Any]:
    """A state dict with the entries of torch's `GradScaler`, which loads it, and more."""
    numbers = {key: getattr(state, name).item() for name, key in _KEYS.items()}
    return {**{name: getattr(rule, name) for name in _SETTINGS}, **numbers}


def loaded(rule: DynamicScale, state_dict: Mapping[str, Any]) -> tuple[DynamicScale, ScaleState]:
    """What a state dict says, ours or torch's; settings that torch's lacks are those of the rule.

    Raises:
        InputError: where it is not such a dict.
    """
    given: Any = state_dict
    needed = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")
    if not isinstance(given, Mapping):
        raise InputTypeError(f"The state dict of a loss scale is a {type(given).__name__}: give a dict.")
    if missing := [key for key in needed if key not in given]:
        raise InputError(
            f"The state dict of a loss scale lacks {missing[0]!r}: give the state_dict() of an enabled scaler."
        )
    rule = replace(rule, **{name: given[name] for name in _SETTINGS if name in given})
    positive("scale value", given["scale"])
    state = rule.init()._replace(scale=np.float32(given["scale"]))
    for name, key in _KEYS.items():
        if name == "last_skipped" and key in given:
            if not isinstance(given[key], bool):
                raise InputTypeError(f"Invalid {key} value: {given[key]!r}: it must be True or False.")
            state = state._replace(last_skipped=np.bool_(given[key]))
        elif name != "scale" and key in given:
            state = state._replace(**{name: np.int32(whole(key, given[key], 0))})
    return rule, state


class LossScaler:
    """A dynamic loss scale for the optimizers of `adamas.numpy`.

    Multiply the loss, or the gradient with which the backward pass begins, by ``scale``; `step` the optimizers with
    what comes of it, and `update` once they all have stepped.

    Args:
        init_scale, growth_factor, backoff_factor, growth_interval, floor, ceiling, hysteresis, collapse_after: see
            `DynamicScale`.

    Raises:
        InputError: for a value that cannot be.
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        *,
        floor: float = 1.0,
        ceiling: float = 2.0**24,
        hysteresis: int = 1,
        collapse_after: int = 5,
    ) -> None:
        self._rule = DynamicScale(
            init_scale, growth_factor, backoff_factor, growth_interval, floor, ceiling, hysteresis, collapse_after
        )
        self._state = self._rule.init()
        self._stepped: dict[int, bool] = {}  # optimizers since the last update -> whether their step was left out

    @property
    def scale(self) -> float:
        """What the loss is to be multiplied by."""
        return float(self._state.scale)

    @property
    def last_skipped(self) -> bool:
        """Whether the last step, that of any of the optimizers, was left out; then a schedule should wait as well."""
        return any(self._stepped.values()) if self._stepped else bool(self._state.last_skipped)

    @property
    def skipped(self) -> int:
        """How many steps were left out, up to the last `update`."""
        return int(self._state.skipped)

    def step(self, optimizer: Any, grads: Any) -> None:
        """Step an optimizer with gradients of the scaled loss; where they are not all finite, nothing is changed.

        Args:
            optimizer: of `adamas.numpy`.
            grads: as its own ``step`` takes them, scaled. They are left as they are.

        Raises:
            InputError: where a gradient does not fit, or where there was no `update` since its last step.
        """
        if id(optimizer) in self._stepped:
            raise InputError("This optimizer has stepped already: call scaler.update() once after each step.")
        optimizer.step(grads, grad_scale=self.scale)
        self._stepped[id(optimizer)] = optimizer.last.skipped

    def update(self) -> None:
        """Adapt the scale to how the step went.

        Raises:
            InputError: where there was no step.
            ScaleCollapse: where the scale cannot help any more (`DynamicScale.collapse`); it has been adapted, and
                nothing prevents from going on.
        """
        if not self._stepped:
            raise InputError("There was no step since the last update: call scaler.step(optimizer, grads) first.")
        self._state = self._rule.update(self._state, not self.last_skipped)
        self._stepped = {}
        refuse_collapse(self._rule, self._state)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the scale depends on, in numbers; `adamas.torch.GradScaler` and torch's load it."""
        return saved(self._rule, self._state)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state dict, of this class or a torch `GradScaler`.

        Raises:
            InputError: where it is not one; nothing is changed.
        """
        rule, state = loaded(self._rule, state_dict)
        vars(self).update(_rule=rule, _state=state, _stepped={})


def refuse_collapse(rule: DynamicScale, state: ScaleState) -> None:
    """
    Raises:
        ScaleCollapse: where the last step has shown that the scale cannot help any more.
    """
    if state.last_skipped and (said := rule.collapse(state)):
        raise ScaleCollapse(said)
