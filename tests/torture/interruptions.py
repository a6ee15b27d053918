"""Ctrl-C at a moment of a step that the seed decides."""

import random
from functools import cache

from tests.faults.scenes import SCENES, Interruption, Twin, interrupted
from tests.torture.tally import Outcome


@cache
def places(name: str, steps: int, moved: bool) -> int:
    """How many places there are for an interruption, once kernels and the like are there."""
    twin(name).after(steps + 2)
    scene = SCENES[name]()
    for _ in range(steps):
        scene.step()
    if moved:
        scene.move()
    interruption = Interruption(1 << 60)
    scene.step(interruption.during)
    return (1 << 60) - interruption.left


@cache
def twin(name: str) -> Twin:
    return Twin(SCENES[name])


def interrupted_step(seed: int) -> Outcome:
    """The step has happened or not, and the next ones are right."""
    rng = random.Random(seed)
    name, steps, moved = rng.choice(list(SCENES)), rng.randrange(5), rng.random() < 0.5
    # more often towards the end, where things are changed
    at = max(1, round(places(name, steps, moved) * (1 - rng.random() ** 3)))
    assert interrupted(SCENES[name], steps, at, twin(name), moved=moved), "there was no such place"
    return Outcome.RIGHT
