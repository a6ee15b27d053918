"""The kinds of trials: where each stands, how many there are in full, and how many in the tests."""

from typing import NamedTuple

from tests.cases import CASES, Case


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

#: With states of every kind: none, one, moments, a maximum, a scalar.
_FEW = [case for case in CASES if not case.options and case.rule in ("sgd", "momentum", "adam", "amsgrad", "nadam")]


def cases(seed: int) -> list[Case]:
    """What a trial chooses from. Few in the first hundred, which the tests run: each brings kernels to compile."""
    return _FEW if seed < 100 else CASES
