"""Runs trials, each in a process that may die of it, and counts how they ended."""

import enum
import importlib
import multiprocessing
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection


class Outcome(enum.Enum):
    """How a trial ended."""

    RIGHT = "right"  # it went through, and what came out is what it should be
    DETECTED = "detected"  # it was refused in a sentence, or the damage was noticed, and nothing was changed
    LOST = "lost"  # something that was safe before is gone
    SILENT = "silent"  # something is wrong, and nobody was told
    CRASHED = "crashed"  # the process died, or an error came that is no refusal

    @property
    def good(self) -> bool:
        return self in (Outcome.RIGHT, Outcome.DETECTED)


@dataclass
class Tally:
    """The trials of one kind."""

    counts: Counter[Outcome] = field(default_factory=Counter)
    bad: list[tuple[int, Outcome, str]] = field(default_factory=list)  # seed, outcome, what was seen

    @property
    def tried(self) -> int:
        return self.counts.total()

    def add(self, seed: int, outcome: Outcome, seen: str = "") -> None:
        self.counts[outcome] += 1
        if not outcome.good:
            self.bad.append((seed, outcome, seen))


def run(place: str, count: int, progress: Callable[[int], None] = lambda done: None) -> Tally:
    """Run a trial with the seeds 0 … count − 1.

    Args:
        place: ``"module:function"``; the function takes the seed and returns an `Outcome`, or raises where what it
            meant to happen did not.
        count: how many seeds.
        progress: called with the number of those that are done.
    """
    tally = Tally()
    context = multiprocessing.get_context("spawn")
    seed = 0
    while seed < count:
        ours, theirs = context.Pipe()
        child = context.Process(target=_serve, args=(place, seed, count, theirs), daemon=False)
        child.start()
        theirs.close()
        try:
            while seed < count:
                outcome, seen = ours.recv()
                tally.add(seed, outcome, seen)
                seed += 1
                progress(seed)
        except EOFError:
            child.join()
            tally.add(seed, Outcome.CRASHED, f"the process ended with {child.exitcode}")
            seed += 1
            progress(seed)
        child.join()
    return tally


def _serve(place: str, first: int, end: int, pipe: Connection) -> None:
    module, function = place.split(":")
    trial = getattr(importlib.import_module(module), function)
    for seed in range(first, end):
        try:
            result = trial(seed), ""
        except Exception as error:  # whatever a trial did not expect is a finding
            result = Outcome.CRASHED, f"{type(error).__name__}: {error}"
        pipe.send(result)
