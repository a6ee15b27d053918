"""The kinds of trials: where each stands, how many there are in full, and how many in the tests."""

from typing import NamedTuple


class Trial(NamedTuple):
    place: str
    full: int
    reduced: int


TRIALS: dict[str, Trial] = {
    "kills during a save": Trial("tests.torture.checkpoints:kill", 150, 12),
    "flipped bits": Trial("tests.torture.checkpoints:flip", 1000, 50),
    "truncations": Trial("tests.torture.checkpoints:cut", 100, 16),
    "full disk": Trial("tests.torture.checkpoints:full", 50, 9),
    "state-dict mutations": Trial("tests.torture.state_dicts:mutated", 2000, 60),
    "layouts": Trial("tests.torture.layouts:laid_out", 500, 40),
    "interrupted steps": Trial("tests.torture.interruptions:interrupted_step", 500, 20),
}
