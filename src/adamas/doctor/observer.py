"""The doctor for loops of any kind: it takes numbers, keeps them, writes them down, and examines them now and then."""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Self, cast

from adamas.doctor import journal
from adamas.doctor.diagnosis import Diagnosis, Finding
from adamas.doctor.findings import KINDS
from adamas.doctor.run import CHECKS, COLUMNS, TENSORS, Run
from adamas.doctor.trackers import Tracker, tracker
from adamas.errors import InputError, InputTypeError
from adamas.hyperparameters import whole

#: Steps between two examinations: this many at first, and later a part of those that were made.
OFTEN, PART = 10, 8

#: Numbers in a model above which it is large, so that measuring takes half as long as the step; the steps each of which
#: is measured, of a small model and of a large one; and at every how many later.
LARGE, CLOSELY, SELDOM = 1 << 20, (200, 20), 8

#: What can be told of a step -> its column.
_GIVEN = {"step": 0, "lr": 2, "update_norm": 4, "param_norm": 5, "grad_norm": 6, "skipped": 8, "scale": 9}
_UNKNOWN = (math.nan,) * (len(COLUMNS) - 3)


class Doctor:
    """Watches a run.

    Args:
        optimizer: one of `adamas.numpy`, or another with ``last`` and ``param_groups`` as theirs: what they say is
            taken from there. Telemetry is switched on where it is off.
        steps: optimizer steps planned in all.
        settings: hyperparameters, where there is no optimizer that knows them: ``rule`` ("adam"), ``lr``, ``beta2``,
            ``eps``, ``weight_decay``, ``decoupled``, ``amsgrad``, ``clip_grad_norm``.
        classes: how many there are, for ln K.
        log: a file for a line a step, as `adamas doctor` reads it. One that is there is gone on with if the first step
            that is observed is not a run's first one, by its number or by the optimizer's count; else it is kept by
            another name, as run-1.jsonl.
        to: what gets the numbers too, or a list: a SummaryWriter, something with ``log(dict, step=…)``, or a function
            of a dict and the step.
        say: called with a line whenever a finding is opened or cleared.
        every: measure at every how many steps, where an optimizer measures. None: at each of the first 200 and then at
            every eighth; where a model has more than 2²⁰ numbers, at each of the first 20 and then likewise.

    Raises:
        InputError: for a value that cannot be.
    """

    def __init__(
        self,
        optimizer: Any = None,
        *,
        steps: int | None = None,
        settings: Mapping[str, Any] | None = None,
        classes: int | None = None,
        log: str | os.PathLike[str] | None = None,
        to: Any = None,
        say: Callable[[str], Any] | None = None,
        every: int | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.run = Run()
        self.run.setup["steps"] = None if steps is None else whole("steps", steps, 1)
        self.run.setup["classes"] = None if classes is None else whole("classes", classes, 1)
        self.every = 1 if every is None else whole("every", every, 1)
        self._given = dict(settings or {})
        self._diagnosis = Diagnosis(KINDS)
        self._next, self._stale = OFTEN, False
        self._broken = 0  # steps that were not finite at the last examination
        self._say = say
        trackers = cast(Sequence[Any], to) if isinstance(to, list | tuple) else [] if to is None else [to]
        self._to: list[Tracker] = [tracker(each) for each in trackers]
        self._begun = time.monotonic()
        self._clipped = False  # whether gradients were shortened before they came to the step, when that was last known
        self._measured: Any = None  # the telemetry of the last step that measured
        self._journal: journal.Journal | None = None
        self._log = None if log is None else Path(log)  # as long as it is open whether it goes on with an earlier one
        self._early: list[Mapping[str, Any]] = []  # lines from before that
        self._setup()
        if self._log is not None and not journal.begun(self._log):
            self._journal, self._log = journal.Journal(self._log, self.run), None
        self._stepper: Any = getattr(optimizer, "_stepper", None)
        self._teller: Any = self._stepper or (optimizer if hasattr(optimizer, "last") else None)  # has what a step says
        self._beside: Callable[[list[float]], None] | None = None  # who else fills in what a step tells
        if not self._to:  # nobody wants to know at once
            self.run.reads = self._numbers
        self._eases: int | None = None  # from which step on to measure more rarely
        if self._stepper is not None and not self._stepper.tail.telemetry:
            self._stepper.measure(self.every)
            if every is None:
                self._eases = CLOSELY[sum(self.run.setup["sizes"]) > LARGE]
        self._read_settings()
        self._put({"step": self.run.step, "settings": self.run.settings})

    def _put(self, line: Mapping[str, Any]) -> None:
        """A line of the log."""
        if self._journal is not None:
            self._journal.put(line)
        elif self._log is not None:
            self._early.append(line)

    def _settle(self, log: Path, step: float | None) -> None:
        """Go on with the log that is there if the first step is not a run's first one; else keep it by another name."""
        earlier, own, self._log = Run(), self.run, None
        for line in journal.lines(log):
            journal.take(earlier, line)
        resumed = (self._counted() or 0) > 1 if step is None else step > 1
        if resumed or not earlier.count:
            earlier.setup.update({name: value for name, value in own.setup.items() if value})
            earlier.samples.clear()
            earlier.take_in()
            earlier.reads = own.reads
            self._early = [{**line, "step": earlier.step} for line in self._early]
            for line in self._early:
                journal.take(earlier, line)
            self.run, self._next = earlier, earlier.step + OFTEN
        else:
            kept = journal.keep(log)
            if self._say is not None:
                self._say(f"{log} was the log of another run, of {earlier.step} steps: it is {kept.name} now.")
        self._journal = journal.Journal(log, self.run)
        for line in self._early:
            self._journal.put(line)
        self._early = []

    def _counted(self) -> float | None:
        """Steps that the optimizer has counted, or None where it counts none."""
        states = islice(getattr(self.optimizer, "state", {}).values(), 4)
        counts = [getattr(state, "peek", lambda state=state: state)().get("step") for state in states]
        return max((float(count) for count in counts if count is not None), default=None)

    def _setup(self) -> None:
        """Find out what does not change."""
        params = [p for group in getattr(self.optimizer, "param_groups", []) for p in group["params"]]
        self.run.setup.setdefault("names", [f"parameter {i}" for i in range(len(params))])
        self.run.setup.setdefault("sizes", [math.prod(p.shape) for p in params])
        self.run.setup.setdefault("kinds", ["weight" if len(p.shape) > 1 else "vector" for p in params])

    def _read_settings(self) -> None:
        """The hyperparameters as they are now, from the first group."""
        found = dict(self._given)
        groups = getattr(self.optimizer, "param_groups", None)
        if groups:
            found |= read_group(self.optimizer, groups[0])
        self.run.settings.update(found)

    def observe(
        self,
        loss: Any = None,
        *,
        val_loss: Any = None,
        val_accuracy: Any = None,
        train_loss: Any = None,
        step: int | None = None,
        lr: float | None = None,
        grad_norm: Any = None,
        update_norm: float | None = None,
        param_norm: float | None = None,
        scale: float | None = None,
        skipped: bool | None = None,
        tensors: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        """Take in a step, after it was made, or a validation, or both.

        Args:
            loss: of the step's batch; None where there is only a validation.
            val_loss, val_accuracy: of a validation made now.
            train_loss: on training data in evaluation mode, measured beside it.
            step: the number of this step, from 1; counted where it is not given.
            lr, grad_norm, update_norm, param_norm: η, ‖g‖ before clipping, ‖Δθ‖, ‖θ‖, where no optimizer tells them.
            scale, skipped: of the loss, and whether the step was left out.
            tensors: measure -> a number for each tensor, of ``grad_norm``, ``update_norm``, ``param_norm``,
                ``zero_share``, ``eps_share``.

        Raises:
            InputError: for what is no number.
        """
        due = False
        if loss is not None:
            norms = {"grad_norm": grad_norm, "update_norm": update_norm, "param_norm": param_norm}
            given = {"step": step, "lr": lr, **norms, "scale": scale, "skipped": skipped}
            told = {name: number(name, value) for name, value in given.items() if value is not None}
            due = self._take(number("loss", loss), told)
            if tensors is not None:
                self._sample(tensors)
        if val_loss is not None:
            self._validated(val_loss, val_accuracy, train_loss)
        elif val_accuracy is not None or train_loss is not None:
            raise InputError("A validation needs its val_loss: give it beside val_accuracy and train_loss.")
        if due:
            self.check()

    def _take(self, loss: float, given: Mapping[str, float]) -> bool:
        """Take in a step.

        What there is to work out waits until the run takes in several steps together: between two steps of a training,
        whose memory it displaces, it takes several times as long.

        Returns:
            Whether the run is to be examined now.
        """
        if self._log is not None:
            self._settle(self._log, given.get("step"))
        run, now, lr, last = self.run, time.monotonic(), math.nan, None
        if self.optimizer is not None:
            lr = rate(self.optimizer.param_groups)
            if self._teller is not None:
                last = self._teller.untold if self._teller is self._stepper else self._teller.last
        told = given.get("step", run.step + 1.0), loss, lr, given, last, now - self._begun
        if run.reads is not None:
            run.add(*told)
        else:
            row = self._numbers(*told)
            run.add(*row)
            for each in self._to:
                each(dict(zip(COLUMNS, row, strict=True)), run.step)
        if now >= run.due:
            run.take_in()
        if self._eases is not None and run.count >= self._eases:
            self._stepper.measure(SELDOM)
            self._eases = None
        self._stale = True
        broke = len(run.broken)
        if run.step < self._next and not self._broken < broke < 4:
            return False
        self._broken = broke
        return True

    def _numbers(
        self,
        step: float,
        loss: float,
        lr: float,
        given: Mapping[str, float],
        last: Any,
        seconds: float,
    ) -> Sequence[float]:
        """The numbers of a step, as `COLUMNS` has them.

        Args:
            lr: the optimizer's.
            given: what the loop tells itself.
            last: what the optimizer says of the step, an `adamas.tail.Last`, or who says it; None where none does.
        """
        row = [step, loss, *_UNKNOWN, seconds]
        for name, value in given.items():
            row[_GIVEN[name]] = value
        if lr == lr:
            row[2] = lr
        limit = self.run.settings.get("clip_grad_norm")
        if last is not None:
            self._ask(row, last() if callable(last) else last, bool(limit))
        if self._beside is not None:
            self._beside(row)
        if row[3] != row[3]:  # what comes to the step is what clipping leaves
            row[3] = min(row[6], limit or math.inf)
        elif limit and row[6] != row[6] and row[3] < 0.999 * limit:  # and what is below the limit was not clipped
            row[6] = row[3]
        return row

    def _ask(self, row: list[float], last: Any, clips: bool) -> None:
        """Fill in what the optimizer tells of a step."""
        row[8] = float(last.skipped)
        if last.grad_norm is not None:
            if row[6] == row[6]:
                self._clipped = last.grad_norm < 0.999 * row[6]
            elif not self._clipped:
                row[6] = last.grad_norm
            row[3] = last.grad_norm * last.clip_coef
        if clips:
            row[7] = last.clip_coef
        telemetry = last.telemetry
        if telemetry is not None:
            self._measured = telemetry
            _, row[4], row[5] = telemetry.totals

    def _validated(self, val_loss: Any, val_accuracy: Any, train_loss: Any) -> None:
        row = [float(self.run.step), number("val_loss", val_loss)]
        for name, value in (("val_accuracy", val_accuracy), ("train_loss", train_loss)):
            row.append(math.nan if value is None else number(name, value))
        self.run.validated(row)
        self._stale = True
        line = {name: value for name, value in zip(CHECKS, row, strict=True) if value == value or name == "val_loss"}
        self._put(line)
        for each in self._to:
            each(line, self.run.step)

    def _sample(self, tensors: Mapping[str, Any]) -> None:
        self.run.sample(self.run.step, tensors)
        self._put({"step": self.run.step, "sample": tensors})

    def note(self, fact: str, value: Any) -> None:
        """A fact about the run; written down where it is new."""
        if self.run.facts.get(fact) != value:
            self.run.facts[fact] = value
            self._stale = True
            self._put({"step": self.run.step, "fact": fact, "value": value})

    def _look(self) -> None:
        """Before an examination: what is only looked at now and then."""
        self.run.take_in()
        telemetry, self._measured = self._measured, None
        if telemetry is not None:
            self._sample({name: getattr(telemetry, name) for name in TENSORS})
        before = dict(self.run.settings)
        self._read_settings()
        if self.run.settings != before:
            self._put({"step": self.run.step, "settings": self.run.settings})

    def check(self) -> list[Finding]:
        """Examine the run now.

        Returns:
            Findings that were opened or cleared by this.
        """
        self._look()
        self._next = next_check(self.run.step)
        self._stale = False
        changed = self._diagnosis.check(self.run)
        if not changed:
            return []
        roots = {below.code: root.code for root in self._diagnosis.findings for below in root.consequences}
        for finding in changed:
            self._put({"step": self.run.step, "opened" if finding.cleared is None else "cleared": finding.as_dict()})
            if self._say is not None:
                self._say(said(finding, roots.get(finding.code)))
        return changed

    @property
    def findings(self) -> list[Finding]:
        """What ails the run: root causes first, then what they explain."""
        if self._stale:
            self.check()
        return self._diagnosis.findings

    @property
    def cleared(self) -> list[Finding]:
        """Findings that no longer hold."""
        return list(self._diagnosis.cleared)

    def report(self) -> str:
        """The findings in words, for a terminal."""
        from adamas.doctor.report import text

        return text(self.run, self.findings, self.cleared)

    def close(self) -> None:
        """The run is over: examine it once more, and close the log."""
        if self._stale:
            self.check()
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def said(finding: Finding, root: str | None) -> str:
    """The line of a finding that was opened or cleared; its remedy only where it is no consequence of another one."""
    if finding.cleared is not None:
        return f"step {finding.cleared}  {finding.code} {finding.name}: cleared."
    if root is not None:
        return f"{finding.line}. {root} explains it."
    return f"{finding.line}. {finding.remedy.text}"


def next_check(step: int) -> int:
    """The step of the next examination."""
    return step + max(OFTEN, step // PART)


def replay(path: str | os.PathLike[str]) -> tuple[Run, Diagnosis]:
    """A run from its log, examined as it went; a last line that a kill has cut is left out.

    Raises:
        InputError: for a file that is none, or damaged.
    """
    run, diagnosis = Run(), Diagnosis(KINDS)
    due = OFTEN
    for at, line in enumerate(journal.lines(path), 1):
        try:
            if run.step >= due and "sample" not in line and "loss" in line:
                diagnosis.check(run)
                due = next_check(run.step)
            journal.take(run, line)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError(f"{path} is damaged in line {at}: mend or delete that line.") from None
    diagnosis.check(run)
    return run, diagnosis


def read_group(optimizer: Any, group: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a group in one naming."""
    rule = getattr(optimizer, "rule", None)
    name = str(getattr(rule, "name", "") or type(optimizer).__name__).lower()
    found: dict[str, Any] = {"rule": name, "lr": float(group["lr"])}
    for key in ("eps", "weight_decay", "momentum"):
        if isinstance(group.get(key), int | float):
            found[key] = float(group[key])
    betas = group.get("betas")
    if isinstance(betas, tuple | list):
        found |= {"beta1": float(betas[0]), "beta2": float(betas[-1])}
    if group.get("amsgrad"):
        found["amsgrad"] = True
    decoupled = group.get("decoupled_weight_decay", group.get("decoupled"))
    found["decoupled"] = bool(name in ("adamw", "lion", "muon", "sgd") if decoupled is None else decoupled)
    tail = getattr(getattr(optimizer, "_stepper", None), "tail", None)
    if tail is not None and tail.clip_grad_norm is not None:
        found["clip_grad_norm"] = tail.clip_grad_norm
    return found


def rate(groups: Sequence[Mapping[str, Any]]) -> float:
    """The largest learning rate."""
    return float(groups[0]["lr"]) if len(groups) == 1 else max(float(group["lr"]) for group in groups)


def number(name: str, value: Any) -> float:
    """A float; tensors of one element and scalars of any library are taken.

    Raises:
        InputError: for what is none.
    """
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise InputTypeError(
            f"Invalid {name}: {type(value).__name__}: it must be a number, or an array or tensor of one element."
        ) from None
