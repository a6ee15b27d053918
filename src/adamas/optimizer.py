"""The step: what every front shares.

A step has two halves. *Prepare* looks at everything that takes part, makes what is missing and refuses what cannot
be, with nothing changed so far; *commit* runs the kernels, attaches new states and writes the counts. It has nothing
left to fail at, and what interrupts it from outside, Ctrl-C first of all, waits until it is done: a step happens
wholly or not.

What was looked at is kept in a `_Plan`, and the next step asks only whether it still holds: every address, dtype,
shape and stride of every parameter, gradient and state is read again at each step, never remembered.
"""

import math
from collections.abc import Callable, Generator, Hashable, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from numbers import Real
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamas import hyperparameters, rows
from adamas.arrays import TOGETHER, Arrays, Form, Sight, check_lanes, refuse_unaddressed, sharing
from adamas.engine import Engine, Ints, Job, Keeper, Lead, Table, Work, unbroken
from adamas.errors import InputError, InputTypeError
from adamas.hyperparameters import number
from adamas.kernel import TINY, Kernel, choosing, select
from adamas.late_switch import BETA, switched, two_phases
from adamas.loading import check_array, check_remainder, count
from adamas.lowering.source import Program
from adamas.lowering.storage import BLOCK, KINDS, NARROW, Kinds, key_of
from adamas.registry import Rule
from adamas.rows import TouchedRows
from adamas.state import State, States
from adamas.tail import MEASURES, SILENT, Last, Measured, Tail, Telemetry, narrow


class _Hyper:
    """A group's hyperparameters, read anew at each step, checked when they change."""

    def __init__(self, rule: Rule, keys: Mapping[str, str], tail: Tail) -> None:
        self.rule = rule
        self.tail = tail
        self.names = tuple(rule.defaults)
        self.get = itemgetter(*(keys.get(name, name) for name in self.names))
        self.values: tuple[Any, ...] | None = None
        self.scaled = self.kept = False
        self.hyper: dict[str, Any] = {}
        self.numbers: dict[str, Any] = {}  # the same, tensors as their values
        self.mutable = False  # whether some can change their value unseen: tensors, lists
        self.kernel: Kernel | None = None

    def read(self, group: Mapping[str, Any], scaled: bool, kept: bool) -> Kernel:
        """The kernel that the group's present hyperparameters ask for.

        Args:
            group: the group.
            scaled: whether the loss was scaled.
            kept: whether an engine keeps the counts. It reads tensors too: they are not looked at here, and stand as
                their defaults among the numbers; but for those that choose the kernel.
        """
        values = self.get(group)
        try:
            same = not self.mutable and scaled == self.scaled and kept == self.kept and values == self.values
        except (RuntimeError, ValueError):  # a new tensor of several elements, of which `number` tells
            same = False
        if self.kernel is None or not same:
            hyper = dict(zip(self.names, values, strict=True))
            left = {name for name, value in hyper.items() if kept and _is_tensor(value)} - choosing(self.rule)
            numbers = {n: self.rule.defaults[n] if n in left else number(n, value) for n, value in hyper.items()}
            hyperparameters.check(numbers, self.rule.defaults)
            tail = self.tail.hyper(scaled)
            kernel = select(self.rule, {**numbers, **tail})  # which refuses what the rule itself refuses
            mutable = any(_is_mutable(value) for value in values)
            self.kernel, self.values, self.mutable = kernel, values, mutable
            self.scaled, self.kept = scaled, kept
            self.hyper, self.numbers = {**hyper, **tail}, {**numbers, **tail}
        return self.kernel


@dataclass(eq=False)
class _Part:
    """The parameters of one group that share a kernel and a dtype; or one, with a sparse gradient."""

    group: int
    kernel: Kernel
    dtype: str
    kinds: Kinds
    members: Ints | slice  # positions among the active parameters
    indices: Ints | None  # positions among all parameters; None: this is the only part, and all are in it
    engine: Engine | None  # None: eager
    table: Table | None = None  # None: eager
    jobs: dict[bool | None, Job] = field(default_factory=dict[bool | None, Job])  # see `job`
    measures: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))  # [members, MEASURES], where eager
    states: list[list[Any]] = field(default_factory=list[list[Any]])  # of each member
    staged: list[tuple[Any, Any]] = field(default_factory=list[tuple[Any, Any]])  # (original, stage)
    # (parameter, member, stage, the stage's address)
    staged_gradients: list[tuple[int, int, Any, int]] = field(default_factory=list[tuple[int, int, Any, int]])
    touched: TouchedRows | None = None  # where the gradient is sparse
    _hyper: Mapping[str, Any] | None = None
    _given: list[Any] = field(default_factory=list[Any])

    @property
    def names(self) -> tuple[str, ...]:
        """What a kernel works on beside the gradient: the parameter, the states, the companions of packed ones."""
        companions = [f"{name}_{KINDS[kind].companion}" for name, kind in self.kinds if KINDS[kind].companion]
        return ("param", *self.kernel.program.states, *companions)

    def arguments(self, column: Sequence[float], hyper: Mapping[str, Any], factor: float) -> list[Any]:
        """What the kernel's host function takes, for a parameter with this count and these scalars."""
        names = self.kernel.program.hyper
        if hyper is not self._hyper:
            known = {**hyper, "tiny": TINY[self.dtype], "grad_factor": factor}
            self._hyper, self._given = hyper, [known[name] for name in names]
        elif hyper["grad_scaled"]:
            self._given[names.index("grad_factor")] = factor
        return [*column, *self._given]

    def job(self, engine: Engine, table: Table, measured: bool | None) -> Job:
        """The step's work, measured or not; or the norm's (None)."""
        if measured not in self.jobs:
            self.jobs[measured] = (
                engine.norm(self.dtype, dict(self.kinds).get("g", ""), table)
                if measured is None
                else engine.step(self.kernel, self.dtype, measured, self.kinds, table)
            )
        return self.jobs[measured]

    def measured(self, active: Ints) -> Measured:
        """What the last step measured."""
        rows, owners = self.measures, np.arange(len(self.measures))
        if self.table is not None:  # into whose results the next step writes
            rows, owners = self.jobs[True].results[: self.table.used].copy(), self.table.owners
        return Measured(rows, owners, active[self.members])

    def squares(self, arrays: Arrays, grads: Sequence[Any], active: Ints) -> NDArray[np.float64]:
        """Σg² of each span, which the norm's work has found; of each member, where eager."""
        if self.table is None:
            return np.array([arrays.squares(grads[i]) for i in active[self.members]])
        return self.jobs[None].results[: self.table.used, 0]

    def owners(self, which: NDArray[np.bool_]) -> Ints:
        """The members that some of `squares` are of."""
        return np.flatnonzero(which) if self.table is None else self.table.owners[: self.table.used][which]


class _Works(dict[bool | None, list[Work]]):
    """All parts' `_Part.job`, measured or not or the norm's, those of one engine together: made when first wanted."""

    def __init__(self, parts: Sequence[_Part]) -> None:
        super().__init__()
        self._parts = parts

    def __missing__(self, measured: bool | None) -> list[Work]:
        jobs: dict[Engine, list[Job]] = {}
        for part in self._parts:
            if part.engine is not None and part.table is not None:
                jobs.setdefault(part.engine, []).append(part.job(part.engine, part.table, measured))
        self[measured] = [work for engine, own in jobs.items() for work in engine.together(own)]
        return self[measured]


@dataclass(eq=False)
class _Plan:
    sight: Sight
    shown: list[Any]  # the state arrays that others may hold
    described: Ints
    changes: object
    states: States
    groups: list[tuple[_Hyper, int, Kernel]]  # of each how many parameters it has, and the kernel that it asks for
    sizes: NDArray[np.float64]  # numbers in each parameter that has a gradient
    active: Ints  # positions of the parameters that have a gradient
    parts: list[_Part]
    pins: object
    fresh: list[tuple[Hashable, dict[str, Any]]]  # what states lack, made but not yet attached
    begins: bool  # whether no parameter had a state before
    kept: bool  # whether an engine keeps the counts
    _lead: Lead | None = None

    def __post_init__(self) -> None:
        self.works = _Works(self.parts)
        self.counts = self.sight.counts
        #: Whether nothing is fetched before the kernels and nothing brought back after them.
        self.direct = not any(
            part.table is None or part.indices is not None or part.touched or part.staged or part.staged_gradients
            for part in self.parts
        )
        engines = {part.engine for part in self.parts}
        self.engine = engines.pop() if len(engines) == 1 else None  #: of all parts
        self.keeper = None if self.engine is None else self.engine.keeper  #: the same, if it keeps the counts

    def lead(self, keeper: Keeper, works: Sequence[Work], looks: bool) -> Lead:
        """What goes before the works where an engine keeps the counts; ``looks`` if at the gradients' norm too."""
        if self._lead is None:
            tables = [(part, part.table) for part in self.parts if part.table is not None and looks]
            self._lead = keeper.lead([part.job(keeper, table, None) for part, table in tables], works)
        return self._lead


class Stepper:
    """Steps the parameters of one optimizer.

    Attributes:
        untold: what the last step says of itself, or who says it, now or after other steps.
        also: what a front changes together with a step that moves; it may be called again after an interruption.
    """

    def __init__(self, rule: Rule, arrays: Arrays, tail: Tail, keys: Mapping[str, str] | None = None) -> None:
        """
        Args:
            rule: the update rule.
            arrays: the front's kind of array.
            tail: what is done beside the rule.
            keys: hyperparameter -> its name in the front's groups, where that differs.
        """
        self.rule = rule if tail.late_switch is None else two_phases(rule)
        self.arrays = arrays
        self.tail = tail
        self.keys = dict(keys or {})
        self.untold: Last | Callable[[], Last] = SILENT
        self.also: Callable[[], None] | None = None
        self._until_telemetry = 0  # steps
        self._lent = False  # whether the parameters hold their averages
        self.scalars = ("step", *rule.source.scalars)
        self._hyper: list[_Hyper] = []
        self._plan: _Plan | None = None
        self._captured: list[_Plan] = []  # whose memory is read and written whenever a captured step is made again

    @property
    def last(self) -> Last:
        """What the last step says of itself; where a device knows, whoever looks waits for it."""
        return self.untold if isinstance(self.untold, Last) else self.untold()

    def __reduce__(self) -> Any:
        return Stepper, (self.rule, self.arrays, self.tail, self.keys)

    def step(
        self,
        groups: Sequence[MutableMapping[str, Any]],
        states: States,
        keys: Sequence[Hashable],
        params: Sequence[Any],
        grads: Sequence[Any],
        grad_scale: Any = None,
        found_inf: Any = False,
        kept: bool = False,
    ) -> None:
        """Move every parameter that has a gradient.

        Args:
            groups: each with ``params`` and the hyperparameters.
            states: key -> states of a parameter; those that are missing are made.
            keys: the key of each parameter, over all groups in order.
            params: the parameters, likewise.
            grads: their gradients, None where there is none.
            grad_scale: what the loss, and so the gradients, were multiplied by.
            found_inf: whether somebody has found that a gradient is not finite: the step is skipped. None: nobody has
                looked, so the step does.
            kept: whether an engine keeps the counts. Then the two before, and hyperparameters, may be tensors that are
                read by the device, and nobody here waits for what it finds.

        Raises:
            InputError: before anything is changed.
            FloatingPointError: likewise, where ``nonfinite="raise"`` asks for it.
        """
        if self._lent:
            raise InputError("The parameters hold their averages: step after `with opt.averaged()`, not inside.")
        if found_inf is True:
            self.untold = Last(skipped=True)
            return
        scaled = grad_scale is not None
        plan, self._plan = self._plan, None  # kept only if the step comes to its end, or it might hold half of one
        seen = 0 if plan is None else self._holds(plan, groups, scaled, kept, states, params, grads)
        if plan is None or not seen:
            plan = self._make(groups, self._kernels(groups, scaled, kept), states, keys, params, grads, kept)
            seen = self.arrays.look(params, grads, plan.sight)
        self.untold = SILENT
        if len(plan.active):
            if plan.begins and self._only_looks(plan, grads):
                plan.counts[:1] = 0
                unbroken(self._commit, plan, [], [], groups, states, params, grads)
            else:
                scale = 1.0 if grad_scale is None else grad_scale
                self._move(plan, seen == TOGETHER, groups, states, params, grads, scale, found_inf)
        self._plan = plan

    def _move(
        self,
        plan: _Plan,
        together: bool,
        groups: Sequence[MutableMapping[str, Any]],
        states: States,
        params: Sequence[Any],
        grads: Sequence[Any],
        scale: Any,
        found: Any,
    ) -> None:
        """The step, with all that was looked at."""
        if not plan.direct:
            self._gather(plan, grads)
        reported = self._until_telemetry == 0 and bool(self.tail.telemetry)
        known = None if self.tail.late_switch is None or switched(groups) else groups[0]["late_switch"]
        measured = reported or known is not None
        works = plan.works[measured]
        if plan.keeper is not None:
            works = [self._entrust(plan, plan.keeper, works, scale, found), *works]
            results = []
        else:
            factor = 1 / scale
            if self.tail.looks_first or found is None:
                told = self._look_first(plan, works, grads, scale, "skip" if found is None else self.tail.nonfinite)
                self.untold = told
                if isinstance(told, Last):
                    factor = told.clip_coef / scale
                    if told.skipped:
                        return
            results = self._prepare(plan, together, groups, params, grads, factor, measured)
        if self.tail.telemetry:
            self._until_telemetry = (self.tail.telemetry if reported else self._until_telemetry) - 1
        for work in works:
            work.begin()
        unbroken(self._commit, plan, works, results, groups, states, params, grads, known)
        if reported:
            last = self.last
            if last.skipped:  # which the device has found
                self._until_telemetry = 0
            else:
                self.untold = self._report(plan, last, float(scale))
        if not plan.direct:
            for part in plan.parts:
                if part.touched is not None:
                    part.touched.drop()

    def _commit(
        self,
        plan: _Plan,
        works: Sequence[Work],
        results: Sequence[tuple[Sequence[Any], Sequence[Any], Mapping[str, Any]]],
        groups: Sequence[MutableMapping[str, Any]],
        states: States,
        params: Sequence[Any],
        grads: Sequence[Any],
        known: Mapping[str, Any] | None = None,
    ) -> None:
        """Change what the step changes. All of it can be done again without harm: after an interruption it is.

        Args:
            known: what a late switch that is still to come knew before the step.
        """
        if plan.fresh:
            for key, missing in plan.fresh:
                if key in states:
                    states[key].complete(missing)
                else:
                    states[key] = State.hidden(missing)
            plan.changes, plan.fresh, plan.begins = State.changes, [], False
        for work in works:
            work.run(self.arrays.crew)
        if works and not plan.direct:
            self._bring_back(plan, grads)
        for result in results:
            self.arrays.store(*result)
        if works and self.also is not None:
            self.also()
        self.arrays.settle(params, plan.active, plan.sight)
        if known is not None:
            self._watch(plan, known, groups, states)

    def _bring_back(self, plan: _Plan, grads: Sequence[Any]) -> None:
        """Copy what kernels have written elsewhere to where it belongs; the other half of `_gather`."""
        for part in plan.parts:
            for original, stage in part.staged:
                self.arrays.copy(stage, original)
            if part.touched is not None:
                part.touched.put_back()
            if self.tail.zero_grad:
                if part.touched is not None:
                    self.arrays.clear(grads[plan.active[part.members][0]])
                for i, _, stage, _ in part.staged_gradients:
                    self.arrays.copy(stage, grads[i])

    def _watch(
        self, plan: _Plan, known: Mapping[str, Any], groups: Sequence[MutableMapping[str, Any]], states: States
    ) -> None:
        """Learn from the step how gradient descent would go on, and switch to it when it is time.

        Args:
            known: what was known before the step: so all of this can be done again without harm.
        """
        assert self.tail.late_switch is not None
        squares = along = 0.0
        for part in plan.parts:
            *_, own_squares, own_along = part.measured(plan.active).whole()
            squares += own_squares
            along += own_along * float(self._hyper[part.group].numbers["lr"])
        hyper = self._hyper[0].numbers
        beta = float(hyper["betas"][1]) if len(hyper.get("betas", ())) == 2 else BETA
        step = int(plan.counts[0].max())
        known, gain = self.tail.late_switch.observed(known, step, float(hyper["lr"]), squares, along, beta)
        if gain:
            dead = {name for name in self.rule.source.states if name != "exp_avg"}
            for state in states.values():
                if isinstance(state, State):
                    state.drop([*dead, *(f"{name}_exponent" for name in dead)])
        for group in groups:
            group.update(sgd_gain=gain, late_switch=known)

    def report_loss(self, groups: Sequence[MutableMapping[str, Any]], loss: Any) -> None:
        """Tell the switch at a plateau of a loss.

        Raises:
            InputError: where there is none, or the loss is no number.
        """
        if self.tail.late_switch is None:
            raise InputError("There is no late switch to report to: give late_switch=LateSwitch(plateau=…).")
        known = self.tail.late_switch.reported(groups[0]["late_switch"], loss)
        for group in groups:
            group["late_switch"] = known

    def _only_looks(self, plan: _Plan, grads: Sequence[Any]) -> bool:
        """Whether this step is there for its states alone.

        torch's distributed checkpoint asks an optimizer for its states by a first step with η=0 and gradients of
        zeros. It makes them, and is not counted: the next step is the first.
        """
        # All gradients are looked at, whatever the first ones say: processes that share them must ask alike.
        return all(self._hyper[part.group].hyper["lr"] == 0 for part in plan.parts) and all(
            [self.arrays.is_zero(grads[i]) for i in plan.active]
        )

    def _holds(
        self,
        plan: _Plan,
        groups: Sequence[Mapping[str, Any]],
        scaled: bool,
        kept: bool,
        states: States,
        params: Sequence[Any],
        grads: Sequence[Any],
    ) -> int:
        """0 where the plan does not hold any more, else what `adamas.arrays.Arrays.look` says."""
        if plan.changes is not State.changes or plan.states is not states or len(groups) != len(plan.groups):
            return 0
        if plan.kept != kept:
            return 0
        for group, (hyper, length, kernel) in zip(groups, plan.groups, strict=True):
            if hyper.read(group, scaled, kept) is not kernel or len(group["params"]) != length:
                return 0
        if plan.shown and not np.array_equal(plan.described, self.arrays.describe(plan.shown)):
            return 0
        return self.arrays.look(params, grads, plan.sight)

    @contextmanager
    def averaged(self, states: States, keys: Sequence[Hashable], params: Sequence[Any]) -> Generator[None]:
        """While this lasts, the parameters hold the averages of the weights.

        Args:
            states: key -> states of a parameter.
            keys: the key of each parameter.
            params: the parameters.

        Raises:
            InputError: where nothing is averaged.
        """
        if self.tail.ema_decay is None:
            raise InputError("The weights are not averaged: give the optimizer an ema_decay, such as ema_decay=0.999.")
        averages = [(p, states[key].peek()["ema"]) for key, p in zip(keys, params, strict=True) if key in states]
        kept = [(p, self.arrays.zeros(p)) for p, _ in averages]
        for p, own in kept:
            self.arrays.copy(p, own)
        self._lent = True
        try:
            for p, average in averages:
                self.arrays.copy(average, p)
            yield
        finally:
            unbroken(self._restore, kept)

    @property
    def lent(self) -> bool:
        """Whether the parameters hold their averages."""
        return self._lent

    def _restore(self, kept: Sequence[tuple[Any, Any]]) -> None:
        for p, own in kept:
            self.arrays.copy(own, p)
        self._lent = False

    # -- prepare -------------------------------------------------------------------------------------------------

    def _kernels(self, groups: Sequence[Mapping[str, Any]], scaled: bool, kept: bool) -> list[Kernel]:
        while len(self._hyper) < len(groups):
            self._hyper.append(_Hyper(self.rule, self.keys, self.tail))
        return [hyper.read(group, scaled, kept) for hyper, group in zip(self._hyper, groups, strict=False)]

    def _gather(self, plan: _Plan, grads: Sequence[Any]) -> None:
        """Addresses of gradients, and staged copies of what a kernel cannot read where it lies."""
        for part in plan.parts:
            if part.table is None:
                continue
            if part.touched is not None:
                part.touched.lay_out(grads[plan.active[part.members][0]], self.tail.zero_grad)
                if part.table is not part.touched.table:
                    part.table, part.jobs = part.touched.table, {}
                    plan.works.clear()
                continue
            if part.indices is not None:
                np.take(plan.sight.gradients, part.indices, out=part.table.addresses[0])
            for i, member, stage, address in part.staged_gradients:
                self.arrays.copy(grads[i], stage)
                part.table.addresses[0, member] = address
            for original, stage in part.staged:
                self.arrays.copy(original, stage)

    def _look_first(
        self, plan: _Plan, steps: Sequence[Work], grads: Sequence[Any], scale: float, nonfinite: str
    ) -> Last | Callable[[], Last]:
        """The norm of all gradients, and what follows from it; or who will say so, once the device has found it."""
        works, told, largest = plan.works[None], None, self.tail.clip_grad_norm
        if nonfinite == "propagate" and largest is not None and plan.engine is not None:
            told = plan.engine.clip(works, steps, largest, scale)
        for work in works:
            work.begin()
        for work in works:  # unbroken, or threads might be left at work on memory that goes
            unbroken(work.run, self.arrays.crew)
        if told is not None:
            return lambda: Last(*told())
        total = 0.0
        for part in plan.parts:
            if part.table is None:
                total += float(part.squares(self.arrays, grads, plan.active).sum())
            else:
                total += part.jobs[None].total()
        norm = math.sqrt(total) / scale
        if not math.isfinite(norm) and nonfinite == "skip":
            return Last(norm, skipped=True)
        if not math.isfinite(norm) and nonfinite == "raise":
            squares = [part.squares(self.arrays, grads, plan.active) for part in plan.parts]
            first = min(
                int(plan.active[part.members][part.owners(~np.isfinite(s))].min(initial=len(grads)))
                for part, s in zip(plan.parts, squares, strict=True)
            )
            raise FloatingPointError(
                f"The gradient of parameter {first} is not finite: nothing was changed; look into the loss, or give "
                "nonfinite='skip' to leave such steps out."
            )
        if largest is None:
            return Last(norm)
        coefficient = largest / (norm + 1e-6)  # torch's: a norm of 0 divides nothing
        return Last(norm, 1.0 if coefficient > 1 else coefficient)

    def _entrust(self, plan: _Plan, keeper: Keeper, steps: Sequence[Work], scale: Any, found: Any) -> Lead:
        """What goes before the steps, with all that it must be told, where the engine keeps the counts."""
        if keeper.capturing:
            if self.tail.telemetry:
                raise InputError(
                    f"A CUDA graph is being captured, in which nobody looks at what telemetry={self.tail.telemetry} "
                    "measures: leave it out."
                )
            self._captured.append(plan)
        looks, largest = self.tail.looks_first, self.tail.clip_grad_norm
        lead = plan.lead(keeper, steps, looks)
        told = lead.ask(steps, math.inf if largest is None else largest, scale, found, self.tail.nonfinite == "skip")
        for part in plan.parts:
            if part.table is not None:
                part.table.arguments = part.arguments((), self._hyper[part.group].hyper, 1.0)

        def last() -> Last:
            norm, coefficient, skipped = told()
            return Last(norm if looks else None, coefficient, skipped)

        self.untold = last
        return lead

    def measure(self, every: int) -> None:
        """Have telemetry of the next step, and from then on of every so many-th."""
        self.tail, self._until_telemetry = replace(self.tail, telemetry=every), 0

    @property
    def until_measured(self) -> float:
        """Steps before the next one that measures: 0 where that is the next one."""
        return self._until_telemetry if self.tail.telemetry else math.inf

    def _report(self, plan: _Plan, last: Last, scale: float) -> Callable[[], Last]:
        """Who says what a measuring step says of itself: adding it up takes as long as a small model's step."""
        sizes = plan.sizes
        for part in plan.parts:
            if part.touched is not None:
                sizes = sizes.copy() if sizes is plan.sizes else sizes
                sizes[plan.active[part.members]] = part.touched.table.elements
        telemetry = Telemetry([part.measured(plan.active) for part in plan.parts], sizes, scale)

        @cache
        def told() -> Last:
            norm = telemetry.totals[0] if last.grad_norm is None else last.grad_norm
            return Last(norm, last.clip_coef, last.skipped, telemetry)

        return told

    def _prepare(
        self,
        plan: _Plan,
        together: bool,
        groups: Sequence[Mapping[str, Any]],
        params: Sequence[Any],
        grads: Sequence[Any],
        factor: float,
        measured: bool,
    ) -> list[tuple[Sequence[Any], Sequence[Any], Mapping[str, Any]]]:
        """Coefficients; returns what eager steps have computed, and where it goes.

        ``together`` says that all parameters have come equally far: the usual case, in which each part has one line
        of coefficients.
        """
        eager: list[tuple[Sequence[Any], Sequence[Any], Mapping[str, Any]]] = []
        columns, rows = [plan.sight.first.tolist()], None
        for part in plan.parts:
            if part.table is None:
                eager += self._compute(plan, part, groups[part.group], params, grads, factor, measured)
                continue
            if not together:
                unique, rows = np.unique(plan.counts[:, part.members], axis=1, return_inverse=True)
                columns, rows = unique.T.tolist(), rows.reshape(-1)  # NumPy 2.0 keeps an axis
            lines: list[tuple[float, ...]] = []
            carried: list[tuple[float, ...]] = []
            hyper = self._hyper[part.group].numbers
            for column in columns:
                arguments = part.arguments(column, hyper, factor)
                try:
                    line, scalars = part.kernel.host(*arguments)
                except ArithmeticError as error:
                    raise self._uncomputable(part, arguments, error) from None
                lines.append(line)
                carried.append(scalars)
            keys = [key_of(int(column[0])) for column in columns] if part.kinds else None
            part.table.use(lines, rows, keys)
            if len(plan.counts) > 1:
                new = np.array(carried).T
                plan.counts[1:, part.members] = new if rows is None else new[:, rows]
        return eager

    def _compute(
        self,
        plan: _Plan,
        part: _Part,
        group: Mapping[str, Any],
        params: Sequence[Any],
        grads: Sequence[Any],
        factor: float,
        measured: bool,
    ) -> list[tuple[Sequence[Any], Sequence[Any], Mapping[str, Any]]]:
        """An eager part's results, and where they go."""
        hyper, own = self._hyper[part.group].hyper, plan.counts[:, part.members]
        eager: list[tuple[Sequence[Any], Sequence[Any], Mapping[str, Any]]] = []
        part.measures = np.empty((own.shape[1], len(MEASURES)))
        for k, i in enumerate(plan.active[part.members]):
            arrays = [grads[i], params[i], *part.states[k]]
            arguments = part.arguments(own[:, k].tolist(), hyper, factor)
            try:
                results, scalars, measures = self.arrays.call(part.kernel, arrays, arguments, group, measured)
            except InputError as error:
                raise InputError(f"Parameter {i} {error}") from None
            except ArithmeticError as error:
                raise self._uncomputable(part, arguments, error) from None
            place = dict(zip(part.kernel.program.arrays, arrays, strict=True))
            eager.append((results, [place[name] for name in part.kernel.program.outputs], group))
            own[1:, k] = scalars
            if measured:
                part.measures[k] = measures
        plan.counts[:, part.members] = own
        return eager

    def _uncomputable(self, part: _Part, arguments: Sequence[Any], error: ArithmeticError) -> InputError:
        names = ("t", *part.kernel.program.scalars, *part.kernel.program.hyper)
        given = ", ".join(map("{}={!r}".format, names, arguments))
        return InputError(f"Rule {self.rule.name!r} cannot be computed with {given}: {error}.")

    def _make(
        self,
        groups: Sequence[Mapping[str, Any]],
        kernels: Sequence[Kernel],
        states: States,
        keys: Sequence[Hashable],
        params: Sequence[Any],
        grads: Sequence[Any],
        kept: bool,
    ) -> _Plan:
        """Look at everything; nothing is changed until all of it is found to be right."""
        arrays = self.arrays
        owner = [g for g, group in enumerate(groups) for _ in group["params"]]
        active = [i for i, grad in enumerate(grads) if grad is not None]
        forms: dict[int, tuple[Form, Form]] = {}
        given: dict[int, Any] = {}  # a dense gradient, or the values of a sparse one
        for i in active:
            where = f"parameter {i}"
            forms[i], given[i] = _checked(arrays, where, params[i], grads[i], self.tail.zero_grad)
            if keys[i] in states:
                self._check_state(where, states[keys[i]].peek(), forms[i][1], kernels[owner[i]])

        engines = {i: arrays.engine(params[i], groups[owner[i]]) for i in active}
        keeper = self._keeper([*engines.values()])
        device = "cpu" if keeper is None else forms[active[0]][1].device
        initial = {"step": 0.0, **self.rule.source.scalars}
        new = zip(*(arrays.scalars(value, len(active), device) for value in initial.values()), strict=True)
        self._refuse_shared(params, given, states, keys, active, forms)
        present = [states[keys[i]].peek() if keys[i] in states else {} for i in active]
        missing = [
            self._missing(
                state, params[i], forms[i][1], kernels[owner[i]], dict(zip(initial, scalars, strict=True)), device
            )
            for i, state, scalars in zip(active, present, new, strict=True)
        ]
        for i, more in zip(active, missing, strict=True):
            # Adagrad starts by this at its first step, but only in the rows that a sparse gradient touches then.
            start = self._hyper[owner[i]].numbers.get("initial_accumulator_value", 0.0)
            if start and "sum" in more:
                arrays.copy(start if forms[i][1].lanes == 1 else complex(start, start), more["sum"])
        held = [{**state, **more} for state, more in zip(present, missing, strict=True)]

        alike: dict[tuple[int, str, Engine | None, int | None, Kinds], list[int]] = {}
        for position, i in enumerate(active):
            dtype = "float64" if forms[i][1].dtype == "float64" else "float32"
            engine, sparse = engines[i], arrays.is_sparse(grads[i])
            self._refuse_together(f"parameter {i}", engine, sparse)
            direct = not (engine is None or sparse)
            kinds = self._kinds(kernels[owner[i]].program, dtype, *forms[i], held[position]) if direct else ()
            self._refuse_rounding(f"parameter {i}", forms[i][1], dict(kinds).get("param"))
            alike.setdefault((owner[i], dtype, engine, i if sparse else None, kinds), []).append(position)

        parts: list[_Part] = []
        for (group, dtype, engine, sparse, kinds), members in alike.items():
            indices = [active[m] for m in members]
            alone = len(alike) == 1 and len(active) == len(params) and sparse is None
            at = None if alone else np.array(indices, np.int64)
            part = _Part(group, kernels[group], dtype, kinds, _positions(members), at, engine)
            part.states = [[held[m][name] for name in part.names[1:]] for m in members]
            if sparse is not None:
                held_arrays, width = [params[sparse], *part.states[0]], len(part.kernel.program.coefficients)
                part.touched = TouchedRows(arrays, f"parameter {sparse}", forms[sparse][1], held_arrays, dtype, width)
                part.table = part.touched.table
            elif engine is not None:
                self._lay_out(
                    part, engine, [(*forms[i], i, params[i], s) for i, s in zip(indices, part.states, strict=True)]
                )
            parts.append(part)

        alone = parts[0].table if parts and parts[0].indices is None else None
        places = np.stack([arrays.describe([state[name] for state in held])[0] for name in self.scalars])
        read = places if keeper is None else places[:0]
        sight = Sight(len(params), read, None if alone is None else alone.addresses[0])
        arrays.look(params, grads, sight)
        for part in parts:
            if part.table is not None:
                staged = {i for i, *_ in part.staged_gradients}
                own = [i for i in (range(len(params)) if part.indices is None else part.indices) if i not in staged]
                refuse_unaddressed(sight.faces[3, own])
        shown = [
            array for i, state in zip(active, held, strict=True) if _seen(states, keys[i]) for array in state.values()
        ]
        for part in parts:
            if keeper is not None and part.table is not None:
                part.table.keep(places[:, part.members])
        return _Plan(
            sight=sight,
            shown=shown,
            described=arrays.describe(shown),
            changes=State.changes,
            states=states,
            groups=[(h, len(g["params"]), k) for h, g, k in zip(self._hyper, groups, kernels, strict=False)],
            sizes=np.array([forms[i][1].size if i in forms else 0 for i in range(len(params))], np.float64),
            active=np.array(active, np.int64),
            parts=parts,
            pins=arrays.pin([*params, *shown]),
            fresh=[(keys[i], more) for i, more in zip(active, missing, strict=True) if more],
            begins=not any(present),
            kept=kept,
        )

    def _keeper(self, engines: Sequence[Engine | None]) -> Keeper | None:
        """The engine that keeps the counts, if one does."""
        keepers = {None if engine is None else engine.keeper for engine in engines}
        if len(keepers) > 1:
            raise InputError(
                "capturable=True is for all parameters of an optimizer, on one GPU: give it to every group, and those "
                "on other devices to an optimizer of their own."
            )
        keeper = keepers.pop() if keepers else None
        if keeper is not None and self.tail.nonfinite == "raise":
            raise InputError(
                "capturable=True leaves it to the GPU what a step does, so nonfinite='raise' has nobody to raise: give "
                "nonfinite='skip', or leave capturable out."
            )
        if keeper is not None and self.tail.late_switch is not None:
            raise InputError(
                "capturable=True leaves it to the GPU what a step does, but late_switch is decided by the host after "
                "each step: leave one of them out."
            )
        return keeper

    def _refuse_together(self, where: str, engine: Engine | None, sparse: bool) -> None:
        """What cannot be had of one parameter at the same time."""
        if sparse and not (engine is not None and engine.touches):
            raise InputError(
                f"The gradient of {where} is sparse, which only plain parameters on the CPU may have, without "
                "differentiable=True: give a dense one, as nn.Embedding(sparse=False) does, or use "
                "torch.optim.SparseAdam for it."
            )
        if engine is None and self.tail.state_dtype != "float32":
            raise InputError(
                f"{where.capitalize()} is stepped by torch's own arithmetic, but "
                f"state_dtype={self.tail.state_dtype!r} is for plain tensors that a kernel steps: leave it out."
            )
        if sparse and self.tail.state_dtype != "float32":
            raise InputError(
                f"The gradient of {where} is sparse, but state_dtype={self.tail.state_dtype!r} is for dense gradients: "
                "leave it out, or give a dense one, as nn.Embedding(sparse=False) does."
            )

    def _refuse_rounding(self, where: str, param: Form, kind: str | None) -> None:
        """What is stepped beside its own memory is rounded to nearest when it is copied back."""
        rounding = self.tail.param_rounding
        if param.dtype in NARROW and rounding != "nearest" and kind not in KINDS:
            able = "bfloat16" if rounding == "remainder" else "bfloat16 or float16"
            raise InputError(
                f"param_rounding={rounding!r} is for plain tensors of {able} that a kernel steps, lie dense in memory "
                f"and have dense gradients; {where} is not one ({param.dtype}, shape {param.shape}, strides "
                f"{param.strides}): leave it out, or keep the parameter in float32."
            )

    def _check_state(self, where: str, state: Mapping[str, Any], param: Form, kernel: Kernel) -> None:
        for name in self.scalars if state else ():
            if name not in state:
                raise InputError(f"The state of {where} has no {name!r}: load a whole state, or clear it.")
            count(where, name, state[name])
        for name in kernel.program.states:
            if (held := state.get(name)) is not None:
                check_array(self.arrays, where, name, state, param)
                _check_writable(f"The state {name!r} of {where}", self.arrays.form(held, packed=True))
        if self.tail.param_rounding == "remainder" and "param_remainder" in state:
            check_remainder(self.arrays, where, state["param_remainder"], param)

    def _refuse_shared(
        self,
        params: Sequence[Any],
        grads: Mapping[int, Any],
        states: States,
        keys: Sequence[Hashable],
        active: Sequence[int],
        forms: Mapping[int, tuple[Form, Form]],
    ) -> None:
        """What a step writes to must lie apart, from gradients too. A state that nobody has seen does."""
        names = [f"parameter {i}" for i in active]
        written, how = [params[i] for i in active], [forms[i][1] for i in active]
        for i in active:
            if _seen(states, keys[i]):
                for name, array in states[keys[i]].peek().items():
                    if array is not None and name not in self.scalars:
                        names.append(f"the state {name!r} of parameter {i}")
                        written.append(array)
                        how.append(self.arrays.form(array, packed=True))
        # A gradient that is its parameter, element for element, is read before it is written.
        described, read = self.arrays.describe(written), self.arrays.describe([grads[i] for i in active])
        apart = [
            k
            for k, (grad, param) in enumerate(map(forms.__getitem__, active))
            if read[0, k] != described[0, k] or grad.shape != param.shape or not grad.lies(param.strides)
        ]
        described = np.concatenate([described, read[:, apart]], axis=1)
        names += [f"the gradient of parameter {active[k]}" for k in apart]
        if pair := sharing([*how, *(forms[active[k]][0] for k in apart)], described, len(written)):
            first, second = (names[k] for k in pair)
            raise InputError(
                f"{first[0].upper()}{first[1:]} and {second} share memory, so one step would change both: "
                "give one of them, or a copy."
            )

    def _missing(
        self,
        held: Mapping[str, Any],
        param: Any,
        form: Form,
        kernel: Kernel,
        scalars: Mapping[str, Any],
        device: str,
    ) -> dict[str, Any]:
        """What a parameter's state lacks; counts are 0-dimensional and float64, on this device."""
        missing: dict[str, Any] = {}
        for name, scalar in scalars.items():
            if not self.arrays.is_scalar(value := held.get(name), device):
                if value is not None:
                    self.arrays.copy(float(value), scalar)
                missing[name] = scalar
        for name in kernel.program.states:
            if held.get(name) is None:
                dtype = "" if name == "ema" else narrow(self.tail.state_dtype, form.dtype, form.lanes, form.size)
                missing[name] = self.arrays.zeros(param, dtype)
                if dtype == "uint8":
                    missing[f"{name}_exponent"] = self.arrays.words(param, -(-form.size // BLOCK))
                if name == "ema":
                    self.arrays.copy(param, missing[name])
        if self.tail.param_rounding == "remainder" and form.dtype == "bfloat16" and "param_remainder" not in held:
            missing["param_remainder"] = self.arrays.zeros(param, "int16")
        return missing

    def _kinds(self, program: Program, dtype: str, grad: Form, param: Form, state: Mapping[str, Any]) -> Kinds:
        """How the arrays of a parameter are kept that a kernel can work on though they are not of its dtype."""
        states = {name: self.arrays.form(state[name], packed=True) for name in program.states}
        kinds: list[tuple[str, str]] = []
        for name, form in {"g": grad, "param": param, **states}.items():
            if form.dtype == "uint8":
                kinds.append((name, "int8_unsigned" if name in program.nonnegative else "int8_signed"))
            elif dtype == "float32" and form.dtype in NARROW and form.open_to(param) and form.lies(_strides(param)):
                known = {"g": "nearest", "param": self.tail.param_rounding}
                rounding = known.get(name, "stochastic")  # to nearest, a moment would stand still
                kinds.append((name, form.dtype if rounding == "nearest" else f"{form.dtype}_{rounding}"))
        return tuple(kinds)

    def _lay_out(
        self, part: _Part, engine: Engine, tensors: Sequence[tuple[Form, Form, int, Any, Sequence[Any]]]
    ) -> None:
        """Fill the part's table; what a kernel cannot work on in place is staged."""
        arrays = self.arrays
        columns: list[list[Any]] = []
        kept = {*dict(part.kinds), *part.names[1 + len(part.kernel.program.states) :]}
        for member, (grad, param, i, p, states) in enumerate(tensors):
            strides = _strides(param)
            column = [p]  # in the gradient's place: its address is set at each step
            if "g" not in kept and not (grad.open_to(param) and grad.dtype == part.dtype and grad.lies(strides)):
                stage = arrays.stage(param._replace(dtype=part.dtype), strides)
                part.staged_gradients.append((i, member, stage, int(arrays.describe([stage])[0, 0])))
            for name, array in zip(part.names, (p, *states), strict=True):
                form = arrays.form(array, packed=True)
                if name not in kept and not (form.open_to(param) and form.dtype == part.dtype and form.lies(strides)):
                    stage = arrays.stage(param._replace(dtype=part.dtype), strides)
                    part.staged.append((array, stage))
                    array = stage
                column.append(array)
            columns.append(column)
        described = np.stack([arrays.describe(row) for row in map(list, zip(*columns, strict=True))])
        refuse_unaddressed(described[:, 1])
        addresses = described[:, 0]
        sizes = [param.size for _, param, *_ in tensors]
        width = len(part.kernel.program.coefficients)
        grain = max((KINDS[kind].block for _, kind in part.kinds), default=1)
        part.table = Table(addresses, np.array(sizes, np.int64), width, part.dtype, grain, span=engine.span)


def _strides(param: Form) -> tuple[int, ...]:
    """The strides in which a kernel runs through a parameter's memory, and all that goes with it."""
    return param.strides if param.dense else param.contiguous


def _checked(arrays: Arrays, where: str, param: Any, grad: Any, clear: bool) -> tuple[tuple[Form, Form], Any]:
    """The forms of a gradient and its parameter, if they go together; and the gradient, or a sparse one's values."""
    try:
        p = arrays.form(param)
    except InputTypeError as error:
        raise InputTypeError(f"{where.capitalize()} {error}") from None
    _check_writable(where.capitalize(), p)
    if arrays.is_sparse(grad):
        values = rows.read(arrays, where, grad, clear).values
        return (rows.check(arrays, where, values, p), p), values
    try:
        g = arrays.form(grad)
    except InputTypeError as error:
        raise InputTypeError(f"The gradient of {where} {error}") from None
    if g.shape != p.shape:
        raise InputError(f"The gradient of {where} has shape {g.shape}, the parameter {p.shape}: they must agree.")
    check_lanes(where, g, p)
    if clear and (g.overlaps or not g.writable):
        raise InputError(
            f"The gradient of {where} {'overlaps itself' if g.overlaps else 'is read-only'}, so zero_grad=True cannot "
            "clear it: give a copy of it."
        )
    return (g, p), grad


def _check_writable(what: str, form: Form) -> None:
    if form.overlaps:
        raise InputError(f"{what} overlaps itself: its elements share memory; optimize a copy of it.")
    if not form.writable:
        raise InputError(f"{what} is read-only: it is changed in place, so make it writeable.")


def _seen(states: States, key: Hashable) -> bool:
    return key in states and states[key].shown


def _is_mutable(value: Any) -> bool:
    return isinstance(value, list) or _is_tensor(value)


def _is_tensor(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(map(_is_tensor, value))
    return hasattr(value, "item") and not isinstance(value, Real)


def _positions(members: Sequence[int]) -> Ints | slice:
    """Ascending positions, as a slice where they are all of a range: an index of that kind costs next to nothing."""
    first, last = members[0], members[-1] + 1
    return slice(first, last) if last - first == len(members) else np.array(members, np.int64)
