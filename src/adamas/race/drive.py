"""Run one trial: bring problem and optimizer together, train, look now and then, time the steps."""

import math
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from sys import modules, stderr
from types import MappingProxyType
from typing import Any

import numpy as np

from adamas.errors import InputError, in_one_line
from adamas.late_switch import LateSwitch, two_phases
from adamas.problems.base import Measure, Problem, Training
from adamas.problems.usercode import blamed
from adamas.race.around import PLAIN, Around
from adamas.race.entrants import Entrant, is_rule, prepare
from adamas.race.trials import Outcome, Point, Trial
from adamas.registry import Rule
from adamas.schedules import Schedule
from adamas.stopping import EarlyStopping

LOOKS = 25
"""How often a training is validated on its way: the resolution of "steps to the target"."""


class Cut(Exception):
    """The race was stopped in the middle of a trial; nothing is kept of it."""


@dataclass(frozen=True)
class Stop:
    """Tells trials, in whatever process, to end at once.

    Args:
        flag: a file; once it exists, all stops.
        deadline: seconds since the epoch when all stops, or None.
    """

    flag: Path
    deadline: float | None = None

    def ask(self) -> None:
        """Have all stop."""
        self.flag.touch()

    @property
    def late(self) -> bool:
        """The deadline has passed."""
        return self.deadline is not None and time.time() > self.deadline

    @property
    def due(self) -> bool:
        """All should stop."""
        return self.late or self.flag.exists()


HEED = 0.1
"""Seconds between two looks at whether to stop."""


class Stepper:
    """An optimizer bound to the parameters of one training: `step()` uses the gradients `backward()` left.

    Args:
        lr: η; the schedule's factor goes on top of it.
        around: what is done around the steps. A recipe brings its own schedule and clipping, and does not switch.
        steps: length of the trial; needed where there is a schedule, a switch or a recipe.
        hyper: other hyperparameters of the optimizer.

    Attributes:
        optimizers: one, or two where one takes matrices only.
    """

    def __init__(
        self,
        entrant: Entrant,
        problem: Problem,
        training: Training,
        lr: float,
        around: Around = PLAIN,
        steps: int = 1,
        hyper: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        thing = entrant.load()
        self._training, self._lr, self._measure, self._hyper = training, lr, problem.measure, hyper
        self._link: list[tuple[Any, str]] = []
        self._clip: float | None = None  # where the optimizer does not do it
        self._notes: list[str] = []
        factor, switch = around.factor(steps), around.late_switch(steps)
        self._switch: LateSwitch | None = None
        if entrant.recipe is not None:
            recipe = prepare(entrant, training, steps)
            self.optimizers: list[Any] = [recipe.optimizer]
            self.step = self._step_torch
            factor = recipe.factor
            clips = "no clipping" if recipe.clip_grad_norm is None else f"clipping to {recipe.clip_grad_norm:g}"
            self._notes.append(f"its own schedule {factor}, {clips} and decay groups")
        elif is_rule(thing) and problem.front == "numpy":
            from adamas.numpy import optimizer

            self.optimizers = [optimizer(thing)(training.parameters, lr=lr, **self._options(thing, around, switch))]
            self.step = self._step_numpy
        else:
            tensors = training.parameters if problem.front == "torch" else self._bridge()
            if is_rule(thing):
                from adamas.torch import optimizer

                self.optimizers = [optimizer(thing)(tensors, lr=lr, **self._options(thing, around, switch))]
            else:
                self.optimizers = self._foreign(entrant, problem, thing, tensors, lr)
                self._clip = around.clip
            self.step = self._step_torch if problem.front == "torch" else self._step_bridged
        if switch is not None and self._switch is None:
            why = "" if entrant.recipe else ", which needs a rule of Adam's kin"
            self._notes.append(f"raced without the switch{why}")
        if factor is not None:
            self._follow(factor, steps)

    def _options(self, rule: Rule, around: Around, switch: LateSwitch | None) -> dict[str, Any]:
        """What of it a rule of ours does within its step."""
        options = dict(self._hyper) if around.clip is None else {**self._hyper, "clip_grad_norm": around.clip}
        if switch is not None and can_switch(rule):
            options["late_switch"] = self._switch = switch
        return options

    def _follow(self, factor: Schedule, steps: int) -> None:
        """Have every step set its η first."""
        taken = np.arange(steps)
        self._factors = iter(factor(taken).tolist())
        self._momenta = iter(factor.momentum(taken).tolist()) if factor.momentum is not None else None
        self._move, self.step = self.step, self._step_scheduled

    def _step_scheduled(self) -> None:
        self.set(self._lr * next(self._factors))
        if self._momenta is not None:
            self._set_momentum(next(self._momenta))
        self._move()

    def _set_momentum(self, beta1: float) -> None:
        """β₁, or SGD's momentum; an optimizer that has neither goes on as it is."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = (beta1, *group["betas"][1:])
                elif "momentum" in group:
                    group["momentum"] = beta1

    def report(self, metric: float) -> None:
        """Tell a switch at a plateau of a look."""
        if self._switch is not None and self._switch.plateau is not None:
            self.optimizers[0].report_loss(-metric if self._measure.higher_is_better else metric)

    @property
    def note(self) -> str | None:
        """What a reader of the result must know of this training."""
        notes = list(self._notes)
        if self._switch is not None:
            switched = self.optimizers[0].switched
            when = "never came to its switch" if switched is None else f"switched after step {switched.step}"
            notes.append(when)
        return "; ".join(notes) or None

    def set(self, lr: float) -> None:
        """Go on at this learning rate."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr

    def _bridge(self) -> list[Any]:
        """Torch tensors over the very memory of the NumPy parameters."""
        import torch

        tensors = [torch.from_numpy(a) for a in self._training.parameters.values()]
        self._link = list(zip(tensors, self._training.parameters, strict=True))
        return tensors

    def _foreign(self, entrant: Entrant, problem: Problem, cls: Any, tensors: list[Any], lr: float) -> list[Any]:
        import torch

        if not issubclass(cls, torch.optim.Muon):
            return [cls(tensors, lr=lr, **self._hyper)]
        matrices = [p for p in tensors if p.ndim == 2]
        rest = [p for p in tensors if p.ndim != 2]
        if not matrices:
            raise InputError(f"{entrant.name} trains matrices only and {problem.name} has none: leave it out.")
        if not rest:
            return [cls(matrices, lr=lr)]
        count = sum(p.numel() for p in rest)
        self._notes.append(f"matrices only; the other {count} parameters by torch.optim.AdamW at the same η")
        return [cls(matrices, lr=lr), torch.optim.AdamW(rest, lr=lr)]

    def _step_numpy(self) -> None:
        self.optimizers[0].step(self._training.gradients)

    def _step_torch(self) -> None:
        if self._clip is not None:
            import torch

            moved = [p for optimizer in self.optimizers for group in optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(moved, self._clip)
        for optimizer in self.optimizers:
            optimizer.step()

    def _step_bridged(self) -> None:
        import torch

        for tensor, name in self._link:
            tensor.grad = torch.from_numpy(self._training.gradients[name])
            if self._clip is not None:  # which writes to it, and it may be the problem's own
                tensor.grad = tensor.grad.clone()
        self._step_torch()

    def state_bytes(self) -> float:
        """Bytes of state per parameter, counted in what the optimizer keeps."""
        states = [state for optimizer in self.optimizers for state in optimizer.state.values()]
        held = sum(int(getattr(value, "nbytes", 0)) for state in states for value in state.values())
        parameters = self._training.parameters
        arrays = parameters.values() if isinstance(parameters, dict) else parameters
        return held / sum(math.prod(a.shape) for a in arrays)


def can_switch(rule: Rule) -> bool:
    """Whether the rule keeps what a late switch carries over."""
    try:
        two_phases(rule)
    except InputError:
        return False
    return True


@contextmanager
def one_thread(problem: Problem, entrant: Entrant | None) -> Generator[None]:
    """One thread of torch and BLAS however many trials run at once, so that results do not depend on it.

    Args:
        entrant: None where the problem brings its optimizer.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        if problem.front == "torch" or not (entrant is None or is_rule(entrant.load())):
            import torch
        if "torch" not in modules:
            yield
            return
        torch = modules["torch"]
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def plainly(entrant: Entrant) -> Generator[None]:
    """Errors of an optimizer that is not ours become one sentence with its name."""
    if entrant.file is not None:
        with blamed(entrant.file, entrant.label):
            yield
    elif "." in entrant.name:
        try:
            yield
        except InputError:
            raise
        except Exception as e:
            raise InputError(
                f"{entrant.name} cannot be raced here: {type(e).__name__}: {in_one_line(e)}; leave it out."
            ) from None
    else:
        yield


_warm: set[tuple[str, str, Around]] = set()


def run(problem: Problem, entrant: Entrant, trial: Trial, stop: Stop | None = None, around: Around = PLAIN) -> Outcome:
    """Train once.

    Compiling is not timed: the first trial of an optimizer in a process is preceded by two steps thrown away.

    Args:
        stop: looked at every now and then.
        around: what is done around the steps.

    Raises:
        Cut: when `stop` is due.
        InputError: the user's problem or optimizer raised.
    """
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(stderr))
        stack.enter_context(one_thread(problem, entrant))
        if (problem.name, entrant.identity, around) not in _warm:
            both = replace(around, switch="at=1") if around.switch is not None else around  # phases are two kernels
            _train(problem, entrant, Trial(trial.optimizer, trial.lr, trial.seed, 2), stop, both)
            _warm.add((problem.name, entrant.identity, around))
        return _train(problem, entrant, trial, stop, around)


class _Best:
    """The best look so far, and whether there were too many since."""

    def __init__(self, patience: int, measure: Measure) -> None:
        self._stopper = EarlyStopping(patience, mode="max" if measure.higher_is_better else "min")
        self.look: tuple[float, float | None] = math.nan, None

    def enough(self, metric: float, second: float | None) -> bool:
        """Take in a look; whether to stop."""
        stopped = self._stopper.update(metric)
        if self._stopper.improved:
            self.look = metric, second
        return stopped


def _train(problem: Problem, entrant: Entrant, trial: Trial, stop: Stop | None, around: Around) -> Outcome:
    clock = time.perf_counter
    training = problem.begin(trial.seed)
    with plainly(entrant):
        stepper = Stepper(entrant, problem, training, trial.lr, around, trial.steps)
    best = None if around.stop_early is None else _Best(around.stop_early, problem.measure)
    looks = {math.ceil(trial.steps * i / LOOKS) for i in range(1, LOOKS + 1)}
    metric, second = training.validate()
    curve = [Point(0, 0.0, _finite(metric), None)]
    losses: list[float] = []
    costs: list[float] = []
    spent, diverged_at = 0.0, None
    heeded = clock()
    for step in range(1, trial.steps + 1):
        begun = clock()
        loss = training.backward()
        ready = clock()
        if not math.isfinite(loss):
            diverged_at = step
            break
        with plainly(entrant):
            stepper_begun = clock()
            stepper.step()
        done = clock()
        costs.append(done - stepper_begun)
        training.constrain()
        spent += done - stepper_begun + ready - begun
        losses.append(loss)
        if stop is not None and done - heeded > HEED:
            heeded = done
            if stop.due:
                raise Cut
        if step not in looks:
            continue
        metric, second = training.validate()
        curve.append(Point(step, spent, _finite(metric), float(np.mean(losses))))
        losses = []
        if not math.isfinite(metric):
            diverged_at = step
            break
        stepper.report(metric)
        if best is not None and best.enough(metric, second):
            break
    if best is not None:
        metric, second = best.look
    return Outcome(
        trial=trial,
        metric=metric if diverged_at is None else None,
        second=second if diverged_at is None else None,
        curve=tuple(curve),
        step_us=_median_us(costs),
        state_bytes=stepper.state_bytes(),
        diverged_at=diverged_at,
        note=stepper.note,
    )


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def _median_us(costs: Sequence[float]) -> float:
    return median(costs) * 1e6 if costs else 0.0
