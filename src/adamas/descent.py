"""Minimize a function by one of the rules: the loop around the optimizer, and when it ends."""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adamas.errors import InputError, InputTypeError
from adamas.hyperparameters import whole
from adamas.numpy import optimizer
from adamas.registry import Rule

Array = NDArray[Any]

#: What `Result.status` may be, and what it says.
MESSAGES = {
    0: "Optimization terminated successfully.",
    1: "Maximum number of iterations has been exceeded.",
    2: "The objective or its gradient is not finite.",
    3: "`callback` raised `StopIteration`.",
    4: "No progress any more: the objective's mean has stopped falling.",
    5: "No progress any more: the steps have become smaller than xtol.",
}


@dataclass
class Result:
    """What `minimize` returns; the names are those of SciPy's ``OptimizeResult``.

    Attributes:
        x: the best point seen, or the mean of the last ones (``tail``).
        fun: the objective there.
        jac: its gradient there.
        nit: steps taken.
        nfev, njev: how often the objective and the gradient were computed.
        status: a key of `MESSAGES`.
        success: whether it ended by a tolerance.
        message: why it ended.
    """

    x: Array
    fun: float
    jac: Array | None = None
    nit: int = 0
    nfev: int = 0
    njev: int = 0
    status: int = 0
    success: bool = True
    message: str = ""


class Box(NamedTuple):
    """Bounds: the lowest and the highest value of each coordinate."""

    low: Array
    high: Array

    @classmethod
    def around(cls, x: Array, low: ArrayLike, high: ArrayLike) -> "Box":
        """Bounds in the shape of ``x``.

        Raises:
            InputError: where they do not fit it, or leave no room.
        """
        try:
            box = cls(*(np.broadcast_to(np.asarray(side, x.dtype), x.shape) for side in (low, high)))
        except (TypeError, ValueError):
            raise InputError(
                f"The bounds {low!r:.60} and {high!r:.60} do not fit x0 of shape {x.shape}: give one of each for every "
                "coordinate."
            ) from None
        if (wrong := ~(box.low <= box.high)).any():
            k = tuple(int(i[0]) for i in np.nonzero(wrong))
            raise InputError(f"The bounds of x{list(k)} are {box.low[k]} and {box.high[k]}: the first must be lower.")
        return box


class Objective:
    """A function and its gradient, with their values checked and counted.

    Args:
        fun: x -> value, or the value and the gradient if ``grad`` is True.
        grad: x -> gradient; True; or None: by finite differences, which SciPy takes.
        box: finite differences stay in it.
        rel_step: of finite differences: h = rel_step · max(1, |x|).
    """

    def __init__(self, fun: Callable[..., Any], grad: Any, box: Box | None, rel_step: float | None = None) -> None:
        if not callable(fun):
            raise InputTypeError(f"The objective is a {type(fun).__name__}: give a function of x.")
        if grad is not None and grad is not True and not callable(grad):
            raise InputTypeError(f"The gradient is {grad!r:.60}: give a function of x, True or None.")
        self._fun, self._grad, self._box, self._rel_step = fun, grad, box, rel_step
        self.nfev = self.njev = 0
        if grad is None:
            try:
                from scipy.optimize import approx_fprime
            except ModuleNotFoundError:
                raise InputError(
                    "There is no gradient, and SciPy, which takes finite differences, is not installed: give the "
                    "gradient, or pip install scipy."
                ) from None
            self._differences: Callable[..., Any] = approx_fprime

    def __call__(self, x: Array) -> tuple[float, Array]:
        """The value and the gradient; whoever computes them gets copies of ``x``, and what they return is copied."""
        self.njev += 1
        if self._grad is True:
            self.nfev += 1
            given: Any = self._fun(x.copy())
            if not isinstance(given, tuple | list) or len(given) != 2:
                raise InputTypeError(f"The objective returned {given!r:.60}: it must return its value and gradient.")
            return _scalar(given[0]), _like(x, given[1])
        value = self._value(x)
        return value, _like(x, self._grad(x.copy()) if self._grad else self._by_differences(x, value))

    def _value(self, x: Array) -> float:
        self.nfev += 1
        return _scalar(self._fun(x.copy()))

    def _by_differences(self, x: Array, value: float) -> Array:
        # Steps are too small for float32: the objective is asked in float64.
        at = x.astype(np.float64).ravel()
        step = (self._rel_step or math.sqrt(np.finfo(np.float64).eps)) * np.maximum(1.0, np.abs(at))
        low, high = (-math.inf, math.inf) if self._box is None else (side.ravel() for side in self._box)
        step = np.where(at + step > high, -step, step)

        def fun(point: Array) -> float:
            if np.array_equal(point, at):
                return value
            return self._value(np.clip(point, low, high).reshape(x.shape))

        return self._differences(at, fun, step).reshape(x.shape)


def _scalar(value: Any) -> float:
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiub":
        raise InputError(f"The objective returned {value!r:.60}: it must return one real number.")
    return float(array.item())


def _like(x: Array, grad: Any) -> Array:
    array = np.asarray(grad)
    if array.dtype.kind not in "fiub":
        raise InputTypeError(f"The gradient is {grad!r:.60}: it must be an array of real numbers.")
    if np.squeeze(array).shape != np.squeeze(x).shape:
        raise InputError(f"The gradient has shape {array.shape}, x0 {x.shape}: they must agree.")
    return np.array(array, x.dtype).reshape(x.shape)


def start(x0: ArrayLike) -> Array:
    """A copy of x0 in float32 or float64.

    Raises:
        InputError: for what cannot be stepped.
    """
    x: Array = np.array(x0)
    if x.dtype.kind in "iub":
        x = x.astype(np.float64)
    if x.dtype.str[1:] not in ("f4", "f8") or not x.dtype.isnative:
        raise InputTypeError(f"x0 has dtype {x.dtype}: it must be float32, float64 or integers.")
    if not np.isfinite(x).all():
        raise InputError("x0 has values that are not finite: begin where the objective can be computed.")
    if not x.size:
        raise InputError("x0 is empty: there is nothing to minimize over.")
    return x


@dataclass(frozen=True)
class Stop:
    """When it ends; tolerances that are None are not looked at.

    Args:
        maxiter: steps at most.
        gtol: for max |g| of the gradient, projected on the bounds (what a step along −g could change within them).
        xtol: for max |Δx| / max(1, max |x|), in each of ``patience`` steps in a row.
        ftol: for (a − b) / max(1, |a|, |b|), b being the mean of the last ``patience`` values of the objective and a
            that of as many before them.
        patience: see there; given without ``ftol``, it is 0.
        tail: how many of the last points are averaged to be the result; 0: the best one seen is. For objectives with
            noise, of which the best value seen is but the luckiest.

    Raises:
        InputError: for a value that cannot be.
    """

    maxiter: int = 10_000
    gtol: float | None = 1e-5
    xtol: float | None = None
    ftol: float | None = None
    patience: int | None = None
    tail: int = 0

    def __post_init__(self) -> None:
        whole("maxiter", self.maxiter, 0)
        whole("tail", self.tail, 0)
        if self.patience is not None:
            whole("patience", self.patience, 1)
        for name in ("gtol", "xtol", "ftol"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float | np.number) and 0 <= value < math.inf):
                raise InputError(f"Invalid {name} value: {value!r}: it must be a finite number, 0 or more, or None.")

    @property
    def window(self) -> int:
        """How many steps ``xtol`` and ``ftol`` look back on."""
        return 20 if self.patience is None else self.patience


def descend(
    rule: Rule | str,
    hyper: Mapping[str, Any],
    objective: Objective,
    x: Array,
    box: Box | None,
    stop: Stop,
    callback: Callable[..., Any] | None = None,
    kind: Callable[..., Any] = Result,
) -> Any:
    """Step ``x`` until a reason to stop.

    Args:
        rule, hyper: of the optimizer.
        x: where to begin; it is changed.
        callback: called after each step, with a copy of x, or, if its one argument is called
            ``intermediate_result``, with ``x`` and ``fun`` in a ``kind``; it may raise StopIteration.
        kind: makes the result of the fields of a `Result`.
    """
    if hyper.get("maximize"):
        raise InputError("maximize=True is not for a minimizer: give it the negative of the objective.")
    stepper = optimizer(rule)(x, **hyper)
    if callback is not None and not callable(callback):
        raise InputTypeError(f"The callback is a {type(callback).__name__}: give a function, or None.")
    whole_result = callback is not None and set(signature(callback).parameters) == {"intermediate_result"}
    if box is not None:
        np.clip(x, *box, out=x)
    values: deque[float] = deque(maxlen=2 * stop.window)
    points: deque[Array] = deque(maxlen=stop.tail or 1)
    small = 0  # steps in a row below xtol
    best: tuple[float, Array, Array] | None = None
    ftol = 0.0 if stop.ftol is None and stop.patience is not None else stop.ftol
    nit = 0
    while True:
        fun, grad = objective(x)
        finite = math.isfinite(fun) and bool(np.isfinite(grad).all())
        if best is None or (finite and not fun >= best[0]):
            best = fun, x.copy(), grad
        if finite:
            values.append(fun)
        if stop.tail:
            points.append(x.copy())
        status = None
        if nit and callback is not None:
            try:
                callback(intermediate_result=kind(x=x.copy(), fun=fun)) if whole_result else callback(x.copy())
            except StopIteration:
                status = 3
        if status is None:
            if not finite and hyper.get("nonfinite") != "skip":
                status = 2
            elif finite and stop.gtol is not None and _largest(_projected(x, grad, box)) <= stop.gtol:
                status, best = 0, (fun, x.copy(), grad)
            elif stop.xtol is not None and small >= stop.window:
                status = 5
            elif ftol is not None and len(values) == values.maxlen and _gain(values) <= ftol:
                status = 4
            elif nit >= stop.maxiter:
                status = 1
        if status is not None:
            break
        before = x.copy() if stop.xtol is not None else x
        stepper.step(grad)
        nit += 1
        if box is not None:
            np.clip(x, *box, out=x)
        if stop.xtol is not None:
            small = small + 1 if _largest(x - before) <= stop.xtol * max(1.0, _largest(x)) else 0
    fun, x, grad = best
    if stop.tail and status != 2:
        x = np.mean(points, axis=0, dtype=np.float64).astype(x.dtype)
        fun, grad = objective(x)
    return kind(
        x=x,
        fun=fun,
        jac=grad,
        nit=nit,
        nfev=objective.nfev,
        njev=objective.njev,
        status=status,
        success=status in (0, 4, 5),
        message=MESSAGES[status],
    )


def _projected(x: Array, grad: Array, box: Box | None) -> Array:
    return grad if box is None else x - np.clip(x - grad, *box)


def _largest(x: Array) -> float:
    return float(np.abs(x).max())


def _gain(values: deque[float]) -> float:
    """By how much the mean of the later half is below that of the earlier one, relatively."""
    earlier, later = np.reshape(values, (2, -1)).mean(axis=1)
    return float((earlier - later) / max(1.0, abs(earlier), abs(later)))


def minimize(
    fun: Callable[..., Any],
    x0: ArrayLike,
    grad: Any = None,
    *,
    rule: Rule | str = "adam",
    bounds: tuple[ArrayLike, ArrayLike] | None = None,
    callback: Callable[..., Any] | None = None,
    maxiter: int = 10_000,
    gtol: float | None = 1e-5,
    xtol: float | None = None,
    ftol: float | None = None,
    patience: int | None = None,
    tail: int = 0,
    **hyper: Any,
) -> Result:
    """Minimize a function of an array.

    >>> import adamas
    >>> adamas.minimize(lambda x: (x - 3) ** 2, 0.0, lambda x: 2 * (x - 3), lr=0.1).x.round(4)
    np.float64(3.0)

    Args:
        fun: x -> value; with ``grad=True``, value and gradient.
        x0: where to begin, of any shape; it is not changed. float32 is stepped in float32, all else in float64.
        grad: x -> gradient; True: ``fun`` returns both; None: finite differences, by SciPy, if it is there.
        rule: an update rule or its name, see `adamas.rules`.
        bounds: the lowest and the highest values that x may have, numbers or arrays; after each step x is put back
            between them.
        callback: called with a copy of x after each step, or, if its argument is called ``intermediate_result``, with
            a `Result` of x and fun. It may raise StopIteration to end.
        maxiter, gtol, xtol, ftol, patience, tail: when to end, and with what; see `adamas.descent.Stop`.
        **hyper: what the optimizer takes: ``lr`` (a number or a schedule), ``betas``, ``clip_grad_norm``, …

    Raises:
        InputError: for something that cannot be used.
    """
    x = start(x0)
    if bounds is not None and len(bounds) != 2:
        raise InputError(f"The bounds have {len(bounds)} parts: give two, the lowest and the highest values.")
    box = None if bounds is None else Box.around(x, *bounds)
    stop = Stop(maxiter, gtol, xtol, ftol, patience, tail)
    return descend(rule, hyper, Objective(fun, grad, box), x, box, stop, callback)
