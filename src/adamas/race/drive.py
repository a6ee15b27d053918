"""Run one trial: bring problem and optimizer together, train, look now and then, time the steps."""

import math
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from sys import modules, stderr
from typing import Any

import numpy as np

from adamas.errors import InputError
from adamas.problems.base import Problem, Training
from adamas.problems.usercode import blamed
from adamas.race.entrants import Entrant, is_rule
from adamas.race.trials import Outcome, Point, Trial

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
    """An optimizer bound to the parameters of one training: `step()` uses the gradients `backward()` left."""

    note: str | None = None

    def __init__(self, entrant: Entrant, problem: Problem, training: Training, lr: float) -> None:
        thing = entrant.load()
        self._training = training
        self._link: list[tuple[Any, str]] = []
        if is_rule(thing) and problem.front == "numpy":
            from adamas.numpy import optimizer

            self._all: list[Any] = [optimizer(thing)(training.parameters, lr=lr)]
            self.step = self._step_numpy
            return
        tensors = training.parameters if problem.front == "torch" else self._bridge()
        if is_rule(thing):
            from adamas.torch import optimizer

            self._all = [optimizer(thing)(tensors, lr=lr)]
        else:
            self._all = self._foreign(entrant, problem, thing, tensors, lr)
        self.step = self._step_torch if problem.front == "torch" else self._step_bridged

    def set(self, lr: float) -> None:
        """Go on at this learning rate."""
        for optimizer in self._all:
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
            return [cls(tensors, lr=lr)]
        matrices = [p for p in tensors if p.ndim == 2]
        rest = [p for p in tensors if p.ndim != 2]
        if not matrices:
            raise InputError(f"{entrant.name} trains matrices only and {problem.name} has none: leave it out.")
        if not rest:
            return [cls(matrices, lr=lr)]
        count = sum(p.numel() for p in rest)
        self.note = f"matrices only; the other {count} parameters by torch.optim.AdamW at the same η"
        return [cls(matrices, lr=lr), torch.optim.AdamW(rest, lr=lr)]

    def _step_numpy(self) -> None:
        self._all[0].step(self._training.gradients)

    def _step_torch(self) -> None:
        for optimizer in self._all:
            optimizer.step()

    def _step_bridged(self) -> None:
        import torch

        for tensor, name in self._link:
            tensor.grad = torch.from_numpy(self._training.gradients[name])
        self._step_torch()

    def state_bytes(self) -> float:
        """Bytes of state per parameter, counted in what the optimizer keeps."""
        states = [state for optimizer in self._all for state in optimizer.state.values()]
        held = sum(int(getattr(value, "nbytes", 0)) for state in states for value in state.values())
        parameters = self._training.parameters
        arrays = parameters.values() if isinstance(parameters, dict) else parameters
        return held / sum(math.prod(a.shape) for a in arrays)


@contextmanager
def one_thread(problem: Problem, entrant: Entrant) -> Generator[None]:
    """One thread of torch and BLAS however many trials run at once, so that results do not depend on it."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        if problem.front == "torch" or not is_rule(entrant.load()):
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
            message = " ".join(str(e).split()).rstrip(".")
            raise InputError(
                f"{entrant.name} cannot be raced here: {type(e).__name__}: {message}; leave it out."
            ) from None
    else:
        yield


_warm: set[tuple[str, str]] = set()


def run(problem: Problem, entrant: Entrant, trial: Trial, stop: Stop | None = None) -> Outcome:
    """Train once.

    Compiling is not timed: the first trial of an optimizer in a process is preceded by two steps thrown away.

    Args:
        stop: looked at every now and then.

    Raises:
        Cut: when `stop` is due.
        InputError: the user's problem or optimizer raised.
    """
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(stderr))
        stack.enter_context(one_thread(problem, entrant))
        if (problem.name, entrant.identity) not in _warm:
            _train(problem, entrant, Trial(trial.optimizer, trial.lr, trial.seed, 2), stop)
            _warm.add((problem.name, entrant.identity))
        return _train(problem, entrant, trial, stop)


def _train(problem: Problem, entrant: Entrant, trial: Trial, stop: Stop | None) -> Outcome:
    clock = time.perf_counter
    training = problem.begin(trial.seed)
    with plainly(entrant):
        stepper = Stepper(entrant, problem, training, trial.lr)
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
