"""What a race does around every step: the schedule of η, clipping, the late switch, early stopping."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from adamas.errors import InputError
from adamas.late_switch import LateSwitch
from adamas.schedules import Schedule, constant, cosine, linear, one_cycle, one_minus_sqrt, parse, warmup
from adamas.schedules.reading import short

SPANNING: dict[str, Callable[[int], Schedule]] = {
    "constant": lambda steps: constant(),
    "cosine": cosine,
    "linear": linear,
    "one_cycle": one_cycle,
    "one_minus_sqrt": one_minus_sqrt,
    "wsd": lambda steps: _stay_and_decay(steps),
}
"""Schedules by name: as long as what is left of the trial after its warm-up."""

DECAY = 0.2
"""The last part of `wsd`, in which η falls to 0 (Hägele et al. 2024, §3)."""


def _whole(value: float) -> bool:
    return 1 <= value < 2**53 and value % 1 == 0


@dataclass(frozen=True)
class Around:
    """What is done around the steps of every trial; nothing unless asked for. Travels to the workers by pickle.

    Args:
        schedule: a name in `SPANNING`, or an expression as `adamas schedule` takes it, in steps from the end of the
            warm-up on; a factor of the η that is searched.
        warmup: steps up to η in front of it, or a share of the trial, below 1.
        clip: the largest 2-norm that all gradients together may have.
        stop_early: at so many looks in a row without improvement a trial ends; its best look counts.
        switch: `at=200`, `at=0.6` (a share of the trial), `plateau=3` (looks), `swats=1e-3`: see `LateSwitch`.

    Raises:
        InputError: beginning with the option, for a value that cannot be.

    >>> around = Around(schedule="cosine", warmup=0.1)
    >>> around.factor(100), around.factor(400)
    (warmup(10) >> cosine(90), warmup(40) >> cosine(360))
    """

    schedule: str | None = None
    warmup: float | None = None
    clip: float | None = None
    stop_early: int | None = None
    switch: str | None = None

    def __post_init__(self) -> None:
        if self.warmup is not None and not (0 < self.warmup < 1 or _whole(self.warmup)):
            raise InputError(
                f"--warmup {self.warmup:g} is no length: give a whole number of steps, or a share of the trial such as "
                "0.05."
            )
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise InputError(f"--clip {self.clip:g} is no norm to clip gradients to: give a finite number above 0.")
        if self.stop_early is not None and self.stop_early < 1:
            raise InputError(f"--stop-early {self.stop_early} is too small: give 1 validation or more.")
        self.factor(1000)
        self.late_switch(1000)

    def __bool__(self) -> bool:
        return bool(self.as_dict())

    def as_dict(self) -> dict[str, Any]:
        """What was asked for, as plain values."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    def __str__(self) -> str:
        """As on the command line.

        >>> print(Around(clip=1.0, switch="at=0.6"))
        --clip 1 --switch at=0.6
        """
        values = {k: f"{v:g}" if isinstance(v, float) else str(v) for k, v in self.as_dict().items()}
        quoted = {k: f'"{v}"' if " " in v or "(" in v else v for k, v in values.items()}
        return " ".join(f"--{k.replace('_', '-')} {v}" for k, v in quoted.items())

    def factor(self, steps: int) -> Schedule | None:
        """The factor of η over a trial of so many steps; None where η is constant."""
        if self.schedule is None and self.warmup is None:
            return None
        first = self._warmup(steps)
        rise = warmup(first) if first else None
        if first >= steps and rise is not None:
            return rise
        if self.schedule is None:
            rest: Schedule = constant()
        elif self.schedule in SPANNING:
            rest = SPANNING[self.schedule](steps - first)
        else:
            try:
                rest = parse(self.schedule)
            except InputError as e:
                raise InputError(
                    f"--schedule {short(self.schedule)}: {e} Names for the whole trial: {', '.join(SPANNING)}."
                ) from None
        return rest if rise is None else rise >> rest

    def _warmup(self, steps: int) -> int:
        if self.warmup is None:
            return 0
        return int(self.warmup) if self.warmup >= 1 else max(1, round(self.warmup * steps))

    def late_switch(self, steps: int) -> LateSwitch | None:
        """When a trial of so many steps switches."""
        if self.switch is None:
            return None
        name, equals, text = self.switch.partition("=")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        fine = {
            "at": 0 < value < 1 or _whole(value),
            "plateau": _whole(value),
            "swats": 0 < value < math.inf,
        }
        if not equals or not fine.get(name, False):
            raise InputError(
                f"--switch {short(self.switch)} says no moment to switch at: give at=200 (steps), at=0.6 (of the "
                "trial), plateau=3 (validations) or swats=1e-3."
            )
        if name == "at":
            return LateSwitch(at=int(value) if value >= 1 else max(1, round(value * steps)))
        return LateSwitch(plateau=int(value)) if name == "plateau" else LateSwitch(swats=value)

    def refuse_unless_fits(self, steps: int) -> None:
        """Refuse what full trials of so many steps never come to, or a factor that grows out of float64.

        Raises:
            InputError: beginning with the option.
        """
        if self._warmup(steps) >= steps and self.warmup is not None:
            raise InputError(f"--warmup {self.warmup:g} leaves nothing of trials of {steps} steps: give less.")
        switch = self.late_switch(steps)
        if switch is not None and switch.at is not None and switch.at >= steps:
            raise InputError(f"--switch {self.switch} never comes in trials of {steps} steps: give an earlier step.")
        factor = self.factor(steps)
        if factor is None:
            return
        try:
            values = factor(np.arange(steps))
        except InputError as e:
            raise InputError(f"--schedule {short(self.schedule or '')}: {e}") from None
        if not values.any():
            raise InputError(f"--schedule {short(self.schedule or '')} is 0 at every step: nothing would be trained.")


PLAIN = Around()
"""Nothing around the steps, and η constant."""


def _stay_and_decay(steps: int) -> Schedule:
    last = max(1, round(DECAY * steps))
    return constant()[: steps - last] >> linear(last) if steps > last else linear(last)
