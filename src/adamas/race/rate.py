"""Find a learning rate for one optimizer on a problem, as a race would run them."""

import math
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from sys import stderr

from adamas.errors import InputError
from adamas.pages import Html, element, markup
from adamas.problems import load
from adamas.problems.base import Problem, Training
from adamas.race.drive import Stepper, one_thread, plainly
from adamas.race.entrants import Entrant, enter
from adamas.race.snippet import snippet
from adamas.rangetest import END, NUM_ITER, START, TRIAL, RangeTest, check, range_test


@dataclass(frozen=True)
class Found:
    """A range test on a problem.

    Args:
        lines: Python that uses the suggestion, or None where there is none.
    """

    problem: Problem
    entrant: Entrant
    test: RangeTest
    lines: str | None

    def __repr__(self) -> str:
        return f"<{self.entrant.label} on {self.problem.name}: {self.test!r}>"

    def _repr_html_(self) -> str:
        head = element("h4", f"{self.entrant.label} on {self.problem.name}")
        return markup(head, Html(self.test._repr_html_()), None if self.lines is None else element("pre", self.lines))  # pyright: ignore[reportPrivateUsage]


def find_lr(
    problem: str,
    optimizer: str = "adamw",
    *,
    target: str | None = None,
    seed: int = 0,
    start: float = START,
    end: float = END,
    num_iter: int = NUM_ITER,
    trial: int = TRIAL,
    tell: Callable[[str], None] = lambda text: None,
) -> Found:
    """Find a learning rate for an optimizer on a problem.

    Args:
        problem: a built-in problem's name, or a .csv, .npz, .parquet or .py file.
        optimizer: a registered rule, a dotted torch class, file.py:name.
        target: the column to predict, for data files.
        seed: of the start and the mini-batches; trainings begin with it again and again.
        start, end, num_iter, trial, tell: see `adamas.rangetest.range_test`.

    Raises:
        InputError: in one sentence, whatever is wrong with it.

    >>> find_lr("valley", "sgd").test.suggestion
    0.01
    """
    check(start, end, num_iter, trial)
    if seed < 0:
        raise InputError(f"seed = {seed} is too small: it must be 0 or more.")
    entrant = enter(optimizer)
    what = load(problem, target)
    what.rehearse()
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(stderr))
        stack.enter_context(one_thread(what, entrant))
        run = _Run(what, entrant, seed)
        test = range_test(run.step, run.rewind, start=start, end=end, num_iter=num_iter, trial=trial, tell=tell)
    lines = None if test.suggestion is None else snippet(entrant, test.suggestion, what.front)
    return Found(what, entrant, test, lines)


class _Run:
    """A training that can be begun again."""

    training: Training
    stepper: Stepper

    def __init__(self, problem: Problem, entrant: Entrant, seed: int) -> None:
        self.problem, self.entrant, self.seed = problem, entrant, seed

    def rewind(self) -> None:
        self.training = self.problem.begin(self.seed)
        with plainly(self.entrant):
            self.stepper = Stepper(self.entrant, self.problem, self.training, 1e-3)

    def step(self, lr: float) -> float:
        loss = self.training.backward()
        if math.isfinite(loss):
            with plainly(self.entrant):
                self.stepper.set(lr)
                self.stepper.step()
            self.training.constrain()
        return loss
