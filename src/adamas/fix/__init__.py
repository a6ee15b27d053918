"""Train a problem with a doctor who watches, do as told, train again: is it cured?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamas.doctor import Finding
from adamas.doctor.treatment import Round, ailing, treat
from adamas.errors import InputError
from adamas.fix.report import as_dict, said, shown, verdict
from adamas.fix.watched import Outcome, watch
from adamas.fix.ways import UNCHANGED, Changes, Way, way
from adamas.pages import write
from adamas.problems import load
from adamas.problems.base import Problem
from adamas.race.around import Around
from adamas.race.progress import Progress

__all__ = ["Fix", "fix"]

NEAR = 0.02
"""A measure that differs by less than this part of itself is taken for the same."""


@dataclass(frozen=True)
class Fix:
    """A treatment.

    Attributes:
        problem: that was trained.
        way: how.
        steps: of the run as it was.
        seed: of start and mini-batches of every run.
        rounds: the run as it was, and one for each remedy.
        stopped: whether it was stopped before its end.
    """

    problem: Problem
    way: Way
    steps: int
    seed: int
    rounds: Sequence[Round[Changes, Outcome]]
    stopped: bool

    @property
    def best(self) -> Round[Changes, Outcome]:
        """The last one that was kept."""
        return [round for round in self.rounds if round.kept][-1]

    @property
    def before(self) -> dict[str, Any]:
        """Everything that can be changed, as it was."""
        return {**self.way.before, "steps": self.steps}

    @property
    def changes(self) -> dict[str, tuple[Any, Any]]:
        """What the best run has otherwise: name -> before and after."""
        return {name: (self.before[name], value) for name, value in self.best.run.items()}

    @property
    def ailing(self) -> list[Finding]:
        """What ails the best run."""
        return ailing(self.best.outcome.findings)

    @property
    def cured(self) -> bool:
        """Whether nothing ails the best run."""
        return not self.ailing and not self.best.outcome.cut

    @property
    def verdict(self) -> str:
        """What has come of it, in a few sentences."""
        return verdict(self)

    @property
    def lines(self) -> str | None:
        """Python with the changed settings, for a loop of one's own; None where none was changed."""
        return self.way.code(self.best.run, self.steps_of_best) if self.best.run else None

    @property
    def steps_of_best(self) -> int:
        """The length of the best run."""
        return int(self.best.run.get("steps", self.steps))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return as_dict(self)

    def write(self, path: Path) -> None:
        """The page: curves before and after, and the table."""
        from adamas.fix.page import fix_page

        write(path, fix_page(self))

    def __repr__(self) -> str:
        return f"<Fix of {self.way.label} on {self.problem.name}: {self.verdict}>"


def fix(
    problem: str,
    optimizer: str | None = None,
    *,
    lr: float | None = None,
    steps: int | None = None,
    target: str | None = None,
    schedule: str | None = None,
    warmup: float | None = None,
    clip: float | None = None,
    seed: int = 0,
) -> Fix:
    """Train a problem with a doctor who watches; change what ails it first, and train again, up to three times.

    Only settings of the optimizer and of its loop are changed, and inputs normalised; every run has the same start and
    the same mini-batches. A change is kept if the problem's measure became better by it, or stayed
    while less was found; the first one that is not kept is the last one. Ctrl-C ends it, with what is known so far.

    Args:
        problem: a built-in problem's name, or a .csv, .npz, .parquet or .py file.
        optimizer: a registered rule, a dotted torch class, file.py:name. By default what ``optimizer(model)`` of a .py
            file makes, with its ``schedule(optimizer)`` and ``clip_grad_norm``; where it has none, adamw.
        lr: η; by default the optimizer's own.
        steps: length of a run; by default the problem's own.
        target: the column to predict, for data files.
        schedule, warmup, clip: what is done around the steps, see `adamas.race.around.Around`.
        seed: of start and mini-batches.

    Raises:
        InputError: in one sentence, for what cannot be.

    >>> treated = fix("digits", "adam", lr=0.3, steps=150)
    >>> treated.changes, treated.cured
    ({'lr': (0.3, 0.01)}, True)
    """
    for name, value, least in (("steps", steps, 1), ("seed", seed, 0)):
        if value is not None and value < least:
            raise InputError(f"--{name} {value} is too small: it must be {least} or more.")
    around = Around(schedule=schedule, warmup=warmup, clip=clip)
    what = load(problem, target)
    what.rehearse()
    how = way(what, optimizer, lr, around)
    length = what.steps if steps is None else steps
    how.around.refuse_unless_fits(length)
    progress = Progress()
    progress.say(f"{what.name}: {what.about}; {how.label}, η {how.lr:g}, {length} steps.")

    def watched(changes: Changes) -> Outcome:
        told = ", ".join(f"{name} {shown(value)}" for name, value in changes.items()) or "as it is"
        with progress.phase(told, int(changes.get("steps", length)), "steps") as advance:
            outcome = watch(what, how, changes, length, seed, advance)
        progress.line(f"{told}: {said(what, outcome)}")
        return outcome

    def better(new: Outcome, old: Outcome) -> bool:
        a, b = new.metric, old.metric
        if new.cut or a is None or b is None:
            return not new.cut and a is not None
        if abs(a - b) <= NEAR * abs(b):
            return len(ailing(new.findings)) < len(ailing(old.findings))
        return what.measure.better(a, b)

    rounds: list[Round[Changes, Outcome]] = []
    stopped = False
    try:
        for round in treat(UNCHANGED, watched, how.changed, better):
            rounds.append(round)
            stopped = round.outcome.cut
            if stopped:
                break
    except KeyboardInterrupt:
        if not rounds:
            raise
        stopped = True
    return Fix(what, how, length, seed, rounds, stopped)
