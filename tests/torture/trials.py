"""The kinds of trials: where each stands, how many there are in full, and how many in the tests."""

from typing import NamedTuple


class Trial(NamedTuple):
    place: str
    full: int
    reduced: int


TRIALS: dict[str, Trial] = {
    "state-dict mutations": Trial("tests.torture.state_dicts:mutated", 2000, 60),
}
