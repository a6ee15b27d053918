"""One run of a training with a doctor who watches it."""

import math
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from sys import stderr
from typing import Any

import numpy as np

from adamas.doctor import Doctor, Finding, Run
from adamas.doctor.run import Look
from adamas.errors import InputError
from adamas.fix.ways import Changes, Going, Way
from adamas.problems.base import Problem, Training
from adamas.race.drive import LOOKS, one_thread

LOST = 25
"""Losses in a row that are not finite, after which a run is over."""

SEEN = 50
"""Mini-batches whose inputs are normalised by."""


@dataclass(frozen=True)
class Outcome:
    """How a run went.

    Args:
        metric: the problem's measure at the end; None where it is not finite, or was not come to.
        second: the problem's second measure at the end, or None.
        run: what the doctor knows of it.
        findings: that stood at the end.
        cleared: that did not stand any more.
        cut: it was stopped before its end.
    """

    metric: float | None
    second: float | None
    run: Run
    findings: Sequence[Finding]
    cleared: Sequence[Finding]
    cut: bool

    @property
    def losses(self) -> tuple[float, float]:
        """Of mini-batches, at the beginning and at the end; NaN where the run was lost by then."""
        look = Look(self.run)
        return look.first, look.now if self.run.count and math.isfinite(look["loss"][-1]) else math.nan


def watch(
    problem: Problem, way: Way, changes: Changes, steps: int, seed: int, advance: Callable[[Any], None]
) -> Outcome:
    """Train as the changes have it. Ctrl-C ends it, with what is known so far.

    Args:
        steps: where the changes name no others.
        advance: called after each step.

    Raises:
        InputError: the user's problem or optimizer raised.
    """
    steps = changes.get("steps", steps)
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(stderr))
        stack.enter_context(one_thread(problem, way.entrant))
        normal = _statistics(problem, seed) if "normalise" in changes else None
        training = problem.begin(seed)
        if normal is not None:
            training.module.register_forward_pre_hook(normal)
        with way.blamed():
            going = way.begin(training, changes, steps)
        doctor = _doctor(training, going, steps)
        ended = _train(problem, way, training, going, doctor, steps, advance)
        doctor.close()
    return Outcome(*ended[:2], doctor.run, doctor.findings, doctor.cleared, ended[2])


def _train(
    problem: Problem,
    way: Way,
    training: Training,
    going: Going,
    doctor: Any,
    steps: int,
    advance: Callable[[Any], None],
) -> tuple[float | None, float | None, bool]:
    """Measure and second measure at the end, and whether it was stopped before."""
    looks = {math.ceil(steps * i / LOOKS) for i in range(1, LOOKS + 1)}
    metric, second, lost = math.nan, None, 0
    try:
        for step in range(1, steps + 1):
            loss = training.backward()
            with way.blamed(), _measured(training, going) as norms:
                going.step()
            training.constrain()
            doctor.observe(loss, **norms, **({} if training.batch is None else {"batch": training.batch}))
            advance(step)
            lost = 0 if math.isfinite(loss) else lost + 1
            if lost >= LOST:
                return None, None, False
            if step in looks:
                metric, second = _validated(training)
                if not problem.measure.higher_is_better:  # else it is no loss
                    doctor.observe(val_loss=metric)
    except KeyboardInterrupt:
        return None, None, True
    return metric if math.isfinite(metric) else None, second, False


def _doctor(training: Training, going: Going, steps: int) -> Any:
    if training.module is None:
        settings = {} if going.clip is None else {"clip_grad_norm": going.clip}
        return Doctor(going.optimizer, steps=steps, settings=settings)
    from adamas.torch import Doctor as TorchDoctor

    return TorchDoctor(training.module, going.optimizer, steps=steps, schedule=going.factor, clip_grad_norm=going.clip)


@contextmanager
def _measured(training: Training, going: Going) -> Generator[dict[str, float]]:
    """The norms of a step over NumPy arrays by an optimizer that measures nothing."""
    norms: dict[str, float] = {}
    if training.module is not None or hasattr(going.optimizer, "last"):
        yield norms
        return
    before = {name: a.copy() for name, a in training.parameters.items()}
    norms["grad_norm"] = _norm(training.gradients.values())
    yield norms
    norms["update_norm"] = _norm(a - before[name] for name, a in training.parameters.items())
    norms["param_norm"] = _norm(training.parameters.values())


def _norm(arrays: Any) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return math.sqrt(sum(float(np.square(a, dtype=np.float64).sum()) for a in arrays))


def _validated(training: Training) -> tuple[float, float | None]:
    try:
        return training.validate()
    except InputError:
        if _finite(training):
            raise
        return math.nan, None  # by the numbers that the user's code was given


def _finite(training: Training) -> bool:
    if training.module is None:
        return all(np.isfinite(a).all() for a in training.parameters.values())
    return all(bool(p.isfinite().all()) for p in training.parameters)


def _statistics(problem: Problem, seed: int) -> Callable[[Any, Any], Any]:
    """A hook that brings a module's first input to mean 0 and deviation 1, column by column, by what training gives."""
    import torch

    training, seen = problem.begin(seed), list[Any]()

    def note(module: Any, given: Any) -> None:
        if given and isinstance(given[0], torch.Tensor) and given[0].is_floating_point():
            seen.append(given[0].detach().double())

    handle = training.module.register_forward_pre_hook(note)
    for _ in range(SEEN):
        training.backward()
    handle.remove()
    if not seen:
        return lambda module, given: None
    every = torch.cat(seen)
    std, mean = torch.std_mean(every, dim=0 if every.ndim == 2 else None)
    std = torch.where(std > 0, std, torch.ones_like(std))

    def normal(module: Any, given: Any) -> Any:
        x = given[0]
        return (x - mean.to(x.dtype)) / std.to(x.dtype), *given[1:]

    return normal
