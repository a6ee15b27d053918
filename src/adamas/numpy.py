"""Optimizers over NumPy arrays, in place.

>>> import numpy as np
>>> from adamas.numpy import Adam
>>> theta = np.zeros(1)
>>> opt = Adam(theta, lr=0.1)
>>> for _ in range(20):
...     opt.step(2 * (theta - 3))
>>> print(f"{theta[0]:.12f}")
1.880639520896
"""

import copy
import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar

import numpy as np

from adamas import late_switch
from adamas.addresses import helper
from adamas.arrays import SPARSE, Form, Named, Rows, Sight, sharing
from adamas.engine import POOL, PROCESSOR, Crew, Engine, Ints, unbroken
from adamas.errors import InputError, InputTypeError
from adamas.hyperparameters import number, positive
from adamas.late_switch import Switched, switched
from adamas.loading import count, load
from adamas.optimizer import Stepper
from adamas.rangetest import END, NUM_ITER, START, TRIAL, Feed, RangeTest, Rates, check, range_test
from adamas.registry import Rule, find
from adamas.schedules import Schedule, parse
from adamas.signatures import CLASSES, bind, named, signature
from adamas.snapshot import Snapshot
from adamas.state import State, States
from adamas.tail import OPTIONS, Last, Tail

_DTYPES = {
    "f2": ("float16", 1),
    "f4": ("float32", 1),
    "f8": ("float64", 1),
    "c8": ("float32", 2),
    "c16": ("float64", 2),
}


_PACKED = {"u1": ("uint8", 1), "i2": ("int16", 1)}


class _Arrays:
    """NumPy's arrays, as a step sees them."""

    def look(self, params: Sequence[Any], grads: Sequence[Any], sight: Sight) -> int:
        now = np.zeros_like(sight.faces)
        for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
            now[:3, i] = id(param), *_face(param)
            sight.gradients[i], now[3, i] = (0, 0) if grad is None else _face(grad)
        changed = not np.array_equal(now, sight.faces)
        sight.faces[:] = now
        return 0 if changed else helper("advance", 1)(sight.place)

    def describe(self, arrays: Sequence[Any]) -> Ints:
        return np.array([_face(array) for array in arrays], np.int64).reshape(-1, 2).T

    def pin(self, arrays: Sequence[Any]) -> object:
        return None

    def form(self, array: Any, packed: bool = False) -> Form:
        if not isinstance(array, np.ndarray):
            raise InputTypeError(f"is a {type(array).__name__}: it must be a NumPy array.")
        kind, known = array.dtype.str[1:], {**_DTYPES, **_PACKED} if packed else _DTYPES
        if kind not in known:
            raise InputTypeError(
                f"has dtype {array.dtype}: it must be float16, float32, float64, complex64 or complex128."
            )
        dtype, lanes = known[kind]
        whole = all(stride % array.itemsize == 0 for stride in array.strides)
        strides = tuple(stride // array.itemsize if whole else -1 for stride in array.strides)
        readable = array.flags.aligned and array.flags.writeable and array.dtype.isnative and whole
        return Form(dtype, lanes, array.shape, strides, readable, array.flags.writeable)

    def is_sparse(self, grad: Any) -> bool:
        return isinstance(grad, Rows)

    def rows(self, grad: Rows, clear: bool) -> Named:
        rows, values = np.asarray(grad.rows), grad.values
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise InputError(
                f"names its rows by an array of shape {rows.shape} and dtype {rows.dtype}: give integers in one line."
            )
        if not isinstance(values, np.ndarray):
            raise InputTypeError(f"has values that are a {type(values).__name__}: give a NumPy array.")
        if values.shape[:1] != rows.shape:
            raise InputError(f"names {len(rows)} rows for values of shape {values.shape}: give one row of values each.")
        if clear and not values.flags.writeable:
            raise InputError("has read-only values, which zero_grad=True cannot clear: give a copy of them.")
        ascending = bool((rows[1:] > rows[:-1]).all())
        return Named(np.ascontiguousarray(rows, np.int64), len(rows), values, ascending)

    def clear(self, grad: Rows) -> None:
        grad.values[...] = 0

    def take(self, array: Any, rows: Ints) -> Any:
        return array[rows]

    def put(self, source: Any, array: Any, rows: Ints) -> None:
        array[rows] = source

    def engine(self, param: Any, group: Mapping[str, Any]) -> Engine | None:
        return PROCESSOR

    def zeros(self, param: Any, dtype: str = "") -> Any:
        return np.zeros_like(param, dtype or _wide(param), subok=False)

    def words(self, param: Any, count: int) -> Any:
        return np.zeros(count, np.int16)

    def adopted(self, array: Any, param: Any, narrow: bool) -> Any:
        dtype = array.dtype if narrow else np.promote_types(array.dtype, _wide(param))
        copied = np.empty_like(param, dtype, subok=False)
        np.copyto(copied, array)
        return copied

    def scalars(self, value: float, count: int, device: str = "cpu") -> Sequence[Any]:
        together = np.full(count, value, np.float64)
        return [together[i, ...] for i in range(count)]

    def is_scalar(self, value: Any, device: str = "cpu") -> bool:
        return isinstance(value, np.ndarray) and value.shape == () and value.dtype == np.float64

    def is_zero(self, array: Any) -> bool:
        return not np.any(array.values if isinstance(array, Rows) else array)

    def stage(self, form: Form, strides: tuple[int, ...]) -> Any:
        dtype = np.dtype({1: form.dtype, 2: "complex64" if form.dtype == "float32" else "complex128"}[form.lanes])
        axes = sorted(range(len(strides)), key=lambda axis: -strides[axis])
        memory = np.empty([form.shape[axis] for axis in axes], dtype)
        return memory.transpose(np.argsort(axes)) if axes else memory

    def copy(self, source: Any, target: Any) -> None:
        np.copyto(target, source, casting="same_kind")

    def call(self, kernel: Any, arrays: Any, arguments: Any, group: Any, measured: bool) -> Any:
        raise NotImplementedError  # no array is eager

    def store(self, results: Any, arrays: Any, group: Any) -> None:
        raise NotImplementedError  # nor is there anything to store

    def squares(self, array: Any) -> float:
        raise NotImplementedError  # and this is asked of them alone

    def settle(self, params: Sequence[Any], active: Ints, sight: Sight) -> None:
        helper("settle", 1)(sight.place)

    @property
    def crew(self) -> Crew:
        return POOL


def _face(array: Any) -> tuple[int, int]:
    """Address and fingerprint."""
    if not isinstance(array, np.ndarray):
        return 0, SPARSE if isinstance(array, Rows) else -1
    face = array.__array_interface__
    return face["data"][0], hash((face["typestr"], face["shape"], face["strides"], face["data"][1]))


def _wide(param: Any) -> Any:
    """The dtype of a parameter's states."""
    return {"f2": np.dtype(np.float32)}.get(param.dtype.str[1:], param.dtype.newbyteorder("="))


_ARRAYS = _Arrays()


class Optimizer:
    """Steps NumPy arrays in place by one of the rules.

    Args:
        params: an array, a list of arrays, a dict of arrays, or a list of groups, each a dict with ``params`` (any of
            the three) and hyperparameters that differ from the others'. Arrays are float16, float32, float64 or
            complex, of any layout, and are changed in place.
        lr: the learning rate, or a schedule whose values it is (``1e-3 * f``), asked at each step by the group's
            ``lr_step``, the number of steps that have moved something; and the other hyperparameters of the rule, see
            `adamas.rules`. A schedule that moves β₁ moves ``betas[0]``, or ``momentum``.
        clip_grad_norm, clip_grad_value, ema_decay, nonfinite, state_dtype, param_rounding, zero_grad, telemetry,
            late_switch: what the step does beside the rule, in the same pass over memory, and how it keeps its moments;
            see `adamas.tail.Tail`.

    Attributes:
        param_groups: list of dicts with ``params`` and the hyperparameters, which may be changed between steps.
        state: key -> states of a parameter; keys are those of the dict, or positions.

    Raises:
        InputError: for an argument that cannot be; nothing is made.
    """

    rule: ClassVar[Rule]
    made: ClassVar[tuple[Any, ...]]  # the arguments of `optimizer`
    __signature__: ClassVar[Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        params, hyper = bind(type(self).__name__, self.__signature__, args, kwargs)
        tail = Tail(**{name: hyper.pop(name) for name in OPTIONS})
        if tail.state_dtype == "bfloat16":
            raise InputError("NumPy has no bfloat16: give state_dtype='int8', or 'float32'.")
        self._stepper = Stepper(self.rule, _ARRAYS, tail)
        if tail.late_switch is not None:
            hyper |= tail.late_switch.entries()
        self.rule_hyper(hyper, {})
        self.param_groups: list[dict[str, Any]] = []
        self.state = States()
        self._keys: list[Any] = []
        groups = params if _is_groups(params) else [{"params": params}]
        for group in groups:
            self._add(group, hyper)
        self._refuse_shared()

    def _add(self, group: Mapping[str, Any], hyper: Mapping[str, Any]) -> None:
        named = _named(group["params"], len(self._keys))
        for key, array in named.items():
            try:
                form = _ARRAYS.form(array)
            except InputTypeError as error:
                raise InputTypeError(f"Parameter {key!r} {error}") from None
            if not array.flags.writeable:
                raise InputError(f"Parameter {key!r} is read-only: it is changed in place, so give a writeable array.")
            if form.overlaps:
                raise InputError(
                    f"Parameter {key!r} overlaps itself: its elements share memory; optimize a copy of it."
                )
            if key in self._keys:
                raise InputError(f"Parameter {key!r} is in two groups: leave it in one.")
        options = {name: value for name, value in group.items() if name != "params"}
        self._keys += named
        self.param_groups.append({"params": list(named.values()), **hyper, **self.rule_hyper(hyper, options)})

    def _refuse_shared(self) -> None:
        """Two parameters in one memory would both step it."""
        arrays = [array for group in self.param_groups for array in group["params"]]
        if pair := sharing([_ARRAYS.form(array) for array in arrays], _ARRAYS.describe(arrays)):
            first, second = (self._keys[k] for k in pair)
            raise InputError(f"Parameters {first!r} and {second!r} share memory: give one of them.")

    def rule_hyper(self, hyper: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
        """A group's hyperparameters, checked."""
        merged = {**hyper, **options}
        switching = self._stepper.tail.late_switch is not None
        own = {name: v for name, v in merged.items() if not (switching and name == "late_switch")}
        self._stepper.rule.hyper(_numbers(own))
        if switching:
            late_switch.check(merged)
        return merged

    def step(self, grads: Any, *, grad_scale: float | None = None) -> None:
        """Move the parameters by one step.

        Args:
            grads: the gradients, in the structure of ``params`` (with groups: one list over all of them); None for
                a parameter, or a name that is missing, means that it has none and stays as it is. `Rows` for one
                means that it has a gradient in these rows alone: the others stay as they are, their states too,
                without decay, and the step costs as much as the rows.
            grad_scale: what the loss, and so the gradients, were multiplied by: the step undoes it. Gradients that are
                not all finite are then taken for an overflow, and the step is skipped, whatever ``nonfinite`` says:
                nothing is changed, and ``last.skipped`` is True. `adamas.scaling.LossScaler` gives it.

        >>> table = np.zeros((1000, 2))
        >>> SGD(table, lr=0.5).step(Rows([7, 3, 7], np.array([[1.0, 2], [3, 4], [5, 6]])))
        >>> table[[3, 7]].tolist()
        [[-1.5, -2.0], [-3.0, -4.0]]

        Raises:
            InputError: where a gradient does not fit; nothing is changed.
        """
        if grad_scale is not None:
            positive("grad_scale value", grad_scale)
        params = [array for group in self.param_groups for array in group["params"]]
        groups, self._stepper.also = self.param_groups, None
        if any(isinstance(group["lr"], Schedule) for group in groups):
            groups, self._stepper.also = _scheduled(groups)
        found_inf = False if grad_scale is None else None
        grads = self._arranged(grads)
        self._stepper.step(groups, self.state, self._keys, params, grads, grad_scale, found_inf)

    @property
    def last(self) -> Last:
        """What the last step says of itself: the gradients' norm, whether it was skipped, what it measured."""
        return self._stepper.last

    @property
    def switched(self) -> Switched | None:
        """When the late switch came, with which η and why; None before, and where there is none."""
        return switched(self.param_groups)

    def report_loss(self, loss: Any) -> None:
        """Tell a `LateSwitch` at a plateau how it goes, once an epoch or so.

        Args:
            loss: a number; a NaN counts as no progress.

        Raises:
            InputError: where no such switch was asked for.
        """
        self._stepper.report_loss(self.param_groups, loss)

    @contextmanager
    def averaged(self) -> Generator[None]:
        """While this lasts, the arrays hold the averages of the weights (``ema_decay``).

        Raises:
            InputError: where nothing is averaged.
        """
        params = [array for group in self.param_groups for array in group["params"]]
        with self._stepper.averaged(self.state, self._keys, params):
            yield

    @property
    def is_averaged(self) -> bool:
        """Whether the arrays hold their averages now: inside of ``with opt.averaged()``."""
        return self._stepper.lent

    def _arranged(self, grads: Any) -> list[Any]:
        if isinstance(grads, Mapping):
            if extra := [key for key in grads if key not in self._keys]:
                raise InputError(f"There is a gradient for {extra[0]!r}, but no such parameter.")
            arranged = [grads.get(key) for key in self._keys]
        elif isinstance(grads, np.ndarray | np.generic | float | Rows) and len(self._keys) == 1:
            arranged = [grads]
        elif isinstance(grads, list | tuple):
            if len(grads) != len(self._keys):
                raise InputError(f"There are {len(grads)} gradients for {len(self._keys)} parameters: give one each.")
            arranged = list(grads)
        else:
            raise InputTypeError(
                f"The gradients are a {type(grads).__name__}: give them in the structure of the parameters."
            )
        return [np.asarray(g) if isinstance(g, np.generic | float) else g for g in arranged]

    def state_dict(self) -> dict[str, Any]:
        """States and hyperparameters, copied: what `load_state_dict` takes. A schedule is written as its expression."""
        start = 0
        groups: list[dict[str, Any]] = []
        for group in self.param_groups:
            keys = self._keys[start : start + len(group["params"])]
            start += len(keys)
            told = {"lr": repr(group["lr"])} if isinstance(group["lr"], Schedule) else {}
            groups.append({**{k: v for k, v in group.items() if k != "params"}, **told, "params": keys})
        state = {key: {k: np.array(v) for k, v in state.peek().items()} for key, state in self.state.items()}
        return {"state": state, "param_groups": copy.deepcopy(groups)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned; the arrays are copied.

        Raises:
            InputError: where it does not fit this optimizer; nothing is changed.
        """
        names = [f"parameter {key!r}" for key in self._keys]
        rule, tail = self._stepper.rule, self._stepper.tail
        known: dict[str, Any] = {**rule.defaults, "lr_step": None}
        if tail.late_switch is not None:
            known |= tail.late_switch.entries()
        given, schedules = _without_schedules(state_dict)
        groups, states, _ = load(rule, tail, _ARRAYS, given, self.param_groups, names, known, {}, False)
        _schedule_again(groups, schedules, max((float(s["step"]) for s in states.values() if s), default=0.0))
        held = States({self._keys[i]: State.hidden(state) for i, state in states.items()})
        vars(self).update(param_groups=groups, state=held)  # both or none

    def __reduce_ex__(self, protocol: Any) -> Any:
        if named(type(self)) or "made" not in vars(type(self)):
            return super().__reduce_ex__(protocol)
        return _again, self.made, vars(self)  # a class that `optimizer` has made is no name in a module

    def __repr__(self) -> str:
        groups = [{k: v for k, v in group.items() if k != "params"} for group in self.param_groups]
        values = "; ".join(", ".join(f"{k}={v!r}" for k, v in group.items()) for group in groups)
        return f"{type(self).__name__}({len(self._keys)} arrays, {values})"


def find_lr(
    optimizer: Optimizer,
    loader: Iterable[Any],
    value_and_grad: Callable[[Any], tuple[Any, Any]],
    *,
    start: float = START,
    end: float = END,
    num_iter: int = NUM_ITER,
    trial: int = TRIAL,
    keep: Sequence[Any] = (),
    tell: Callable[[str], None] = lambda text: None,
) -> RangeTest:
    """Find a learning rate by a range test and some trials, and leave everything as it was.

    The parameters are trained as `adamas.rangetest.range_test` describes, and then put back bit for bit, whether the
    test ends, fails or is interrupted: with them the optimizer's states and groups, the random generators of Python,
    NumPy and torch and those of the loader. The optimizer's learning rate is not changed.

    Args:
        optimizer: with the parameters.
        loader: mini-batches; is gone through again where it is too short.
        value_and_grad: called with a mini-batch, returns the loss at the present parameters and the gradients, in the
            structure of the parameters.
        start, end: the range of η, of the group with the largest; all groups keep their ratios.
        num_iter: mini-batches of the sweep.
        trial: steps of the last trials; 0 for the sweep alone, whose suggestions nobody has tried.
        keep: what else ``value_and_grad`` changes: random generators, arrays.
        tell: is told in a line how it goes; ``print``, for one.

    Raises:
        InputError: where it cannot be made; nothing is changed.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((256, 8))
    >>> theta = np.zeros(8)
    >>> def value_and_grad(rows):
    ...     error = x[rows] @ (theta - 1)
    ...     return (error**2).mean(), 2 * x[rows].T @ error / len(rows)
    >>> result = find_lr(Adam(theta), np.arange(256).reshape(8, 32), value_and_grad)
    >>> result.suggestion, result.confident
    (0.1, True)
    """
    check(start, end, num_iter, trial)
    feed, rates = Feed(loader), Rates(optimizer.param_groups)
    snapshot = Snapshot(vars(optimizer), *keep, loader=loader)

    def restore() -> None:
        feed.rewind()
        snapshot.restore()

    def rewind() -> None:
        restore()
        optimizer._stepper = copy.copy(optimizer._stepper)  # pyright: ignore[reportPrivateUsage]

    def step(lr: float) -> float:
        rates.set(lr)
        given: Any = value_and_grad(feed.next())
        try:
            loss, grads = given
            loss = float(loss)
        except (TypeError, ValueError):
            raise InputTypeError(
                f"value_and_grad returned {given!r:.60}: it must return the loss, one number, and the gradients."
            ) from None
        if math.isfinite(loss):
            optimizer.step(grads)
        return loss

    try:
        return range_test(
            step, rewind, start=start, end=end, num_iter=num_iter, trial=trial, ratios=rates.ratios, tell=tell
        )
    finally:  # twice, since Ctrl-C may come before the first has begun
        try:
            unbroken(restore)
        finally:
            unbroken(restore)


def _at(hyper: Mapping[str, Any], step: int) -> dict[str, Any]:
    """A group's hyperparameters where its ``lr`` is a schedule, at a step."""
    schedule: Schedule = hyper["lr"]
    now = {**hyper, "lr": schedule(step)}
    if schedule.momentum is not None:
        if "betas" in hyper:
            now["betas"] = (schedule.momentum(step), *hyper["betas"][1:])
        elif "momentum" in hyper:
            now["momentum"] = schedule.momentum(step)
        else:
            raise InputError(f"{schedule} moves the momentum, and this rule has none: give momentum=None.")
    return now


def _numbers(hyper: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters as they are checked: a schedule as its first value."""
    now = _at(hyper, 0) if isinstance(hyper["lr"], Schedule) else hyper
    return {name: number(name, value) for name, value in now.items()}


def _scheduled(groups: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Callable[[], None]]:
    """The groups at their schedules' present step, and what makes it the next one."""
    clocks = [(group, group.get("lr_step", 0)) for group in groups if isinstance(group["lr"], Schedule)]
    now = [_at(group, group.get("lr_step", 0)) if isinstance(group["lr"], Schedule) else group for group in groups]

    def advance() -> None:
        for group, step in clocks:
            group["lr_step"] = step + 1

    return now, advance


def _without_schedules(state_dict: Any) -> tuple[Any, list[Schedule | None]]:
    """A state dict with numbers where it has schedules, and those of each group."""
    groups = state_dict.get("param_groups") if isinstance(state_dict, Mapping) else None
    if not isinstance(groups, list | tuple):
        return state_dict, []  # which `load` refuses
    given = [group.get("lr") if isinstance(group, Mapping) else None for group in groups]
    schedules = [parse(lr) if isinstance(lr, str) else lr if isinstance(lr, Schedule) else None for lr in given]
    plain = [
        group if schedule is None else {**group, "lr": schedule(0)}
        for group, schedule in zip(groups, schedules, strict=True)
    ]
    return {**state_dict, "param_groups": plain}, schedules


def _schedule_again(groups: Sequence[dict[str, Any]], schedules: Sequence[Schedule | None], taken: float) -> None:
    """Give loaded groups their schedules; where it is not said how far these are, as far as the parameters are."""
    for k, (group, schedule) in enumerate(zip(groups, schedules, strict=True)):
        step = group.pop("lr_step")
        if schedule is not None:
            group.update(lr=schedule, lr_step=int(taken if step is None else count(f"group {k}", "lr_step", step)))
            _at(group, 0)  # which refuses what this rule cannot follow


def _is_groups(params: Any) -> bool:
    return isinstance(params, list | tuple) and bool(params) and all(isinstance(p, Mapping) for p in params)


def _named(params: Any, start: int) -> dict[Any, Any]:
    if isinstance(params, np.ndarray):
        params = [params]
    if isinstance(params, Mapping):
        named = dict(params)
    elif isinstance(params, list | tuple):
        named = {start + i: array for i, array in enumerate(params)}
    else:
        raise InputTypeError(
            f"The parameters are a {type(params).__name__}: give an array, a list or a dict of arrays, or groups."
        )
    if not named:
        raise InputError("optimizer got an empty parameter list: give at least one array.")
    return named


def optimizer(rule: Rule | str, positional: str = "lr", name: str = "") -> type[Optimizer]:
    """The optimizer class of a rule, the library's or your own.

    Args:
        rule: a rule, or the name of a registered one.
        positional: hyperparameters that may be given by position after ``params``, in this order.
        name: of the class; else that of the rule.
    """
    return _make(find(rule) if isinstance(rule, str) else rule, positional, name)


@cache  # one class, however often it is asked for: so what was pickled is of the class that it was of
def _make(rule: Rule, positional: str, name: str) -> type[Optimizer]:
    body = {
        "rule": rule,
        "made": (rule, positional, name),
        "__doc__": f"{rule.doc}\n\n{Optimizer.__doc__}",
        "__signature__": signature({**rule.defaults, **OPTIONS}, positional.split()),
        "__module__": __name__,
    }
    return type(name or rule.name, (Optimizer,), body)


def _again(*made: Any) -> Optimizer:
    kind = _make(*made)
    return kind.__new__(kind)


_classes = {name: optimizer(rule, positional, name) for name, (rule, positional) in CLASSES.items()}

SGD = _classes["SGD"]
Adagrad = _classes["Adagrad"]
RMSprop = _classes["RMSprop"]
Adam = _classes["Adam"]
AdamW = _classes["AdamW"]
Adamax = _classes["Adamax"]
LpAdam = _classes["LpAdam"]
AdaBelief = _classes["AdaBelief"]
NAdam = _classes["NAdam"]
RAdam = _classes["RAdam"]
SparseAdam = _classes["SparseAdam"]
ADOPT = _classes["ADOPT"]
Lion = _classes["Lion"]
