"""One training within a race, what came of it, and the file that keeps it."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adamas.errors import InputError

FILE = "trials.jsonl"


@dataclass(frozen=True)
class Trial:
    """What to run: one optimizer at one learning rate from one seed for so many steps."""

    optimizer: str
    lr: float
    seed: int
    steps: int


@dataclass(frozen=True)
class Point:
    """A look at a training under way.

    Args:
        step: optimizer steps done.
        seconds: spent on gradients and steps so far, validation not counted.
        metric: the problem's measure; None where it is not finite.
        loss: mean mini-batch loss since the last look; None at step 0.
    """

    step: int
    seconds: float
    metric: float | None
    loss: float | None


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Args:
        metric: the measure at the end; None if the run diverged.
        second: the problem's second measure at the end, or None.
        curve: looks along the way, the first at step 0.
        step_us: median time of the optimizer's step alone, in microseconds.
        state_bytes: bytes of optimizer state per parameter, measured.
        diverged_at: the step whose loss or measure was not finite, or None.
        note: something a reader of the result must know, or None.
    """

    trial: Trial
    metric: float | None
    second: float | None
    curve: tuple[Point, ...]
    step_us: float
    state_bytes: float
    diverged_at: int | None
    note: str | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the curve as columns, which is a third of the size."""
        columns = {
            name: [getattr(point, name) for point in self.curve] for name in ("step", "seconds", "metric", "loss")
        }
        return {**asdict(self.trial), **{k: getattr(self, k) for k in _PLAIN}, "curve": columns}

    @staticmethod
    def from_dict(d: dict[str, Any]) -> "Outcome":
        """The inverse of `as_dict`."""
        curve = tuple(Point(*row) for row in zip(*d["curve"].values(), strict=True))
        trial = Trial(d["optimizer"], d["lr"], d["seed"], d["steps"])
        return Outcome(trial=trial, curve=curve, **{k: d[k] for k in _PLAIN})


_PLAIN = ("metric", "second", "step_us", "state_bytes", "diverged_at", "note")


class Store:
    """Finished trials in `folder`/trials.jsonl: a first line that says which race, then one line a trial.

    Each line is on the disk before the next trial's is begun, so a kill loses at most the line being written.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], *, resume: bool) -> None:
        self.outcomes: dict[Trial, Outcome] = {}
        path = folder / FILE
        if resume:
            whole = self._load(path, identity)
            os.truncate(path, whole)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"race": identity}) + "\n", encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")

    def _load(self, path: Path, identity: dict[str, Any]) -> int:
        """Read what is there; returns the number of bytes up to a torn last line."""
        was = stored_identity(path.parent)
        for key in dict.fromkeys([*identity, *was]):
            now = identity.get(key)
            if was.get(key) != now:
                raise InputError(
                    f"{path.parent} holds a race with {key} {was.get(key)!r}, which {now!r} cannot continue: "
                    "give the same again, another -o folder, or drop --resume to begin afresh."
                )
        whole = 0
        lines = path.read_bytes().splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                if not line.endswith(b"\n"):
                    break
                if number > 1:
                    outcome = Outcome.from_dict(record)
                    self.outcomes[outcome.trial] = outcome
            except (ValueError, KeyError, TypeError):
                if number == len(lines):
                    break
                raise InputError(
                    f"{path} is damaged in line {number}: mend or delete that line, or drop --resume."
                ) from None
            whole += len(line)
        return whole

    def add(self, outcome: Outcome) -> None:
        """Keep it, in memory and on the disk."""
        self.outcomes[outcome.trial] = outcome
        self._file.write(json.dumps(outcome.as_dict(), allow_nan=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def stored_identity(folder: Path) -> dict[str, Any]:
    """Which race `folder` holds."""
    path = folder / FILE
    if not path.is_file():
        raise InputError(f"There is no race to resume in {folder} (no {FILE}): drop --resume, or name its -o folder.")
    with path.open(encoding="utf-8") as f:
        try:
            return dict(json.loads(f.readline())["race"])
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path} does not begin as a race does: drop --resume to begin afresh.") from None
