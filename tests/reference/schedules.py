"""Schedules as textbooks have them: from step to step, with a memory. Written without a look at ours."""

import math
from collections.abc import Iterator, Sequence


def constant(value: float = 1.0) -> Iterator[float]:
    while True:
        yield value


def linear(steps: int, start: float = 1.0, end: float = 0.0) -> Iterator[float]:
    value, change = start, (end - start) / steps
    for _ in range(steps):
        yield value
        value += change
    yield from constant(end)


def warmup(steps: int, start: float | None = None) -> Iterator[float]:
    if start is not None:
        yield from linear(steps, start, 1.0)
    for step in range(1, steps + 1):  # counted from 1
        yield step / steps
    yield from constant(1.0)


def cosine(steps: int, floor: float = 0.0) -> Iterator[float]:
    for step in range(steps):
        yield floor + 0.5 * (1 - floor) * (1 + math.cos(step * math.pi / steps))
    yield from constant(floor)


def cosine_restarts(period: int, multiplier: int = 1, floor: float = 0.0, cycles: int | None = None) -> Iterator[float]:
    while cycles != 0:
        for step in range(period):
            yield floor + 0.5 * (1 - floor) * (1 + math.cos(step * math.pi / period))
        period *= multiplier
        cycles = None if cycles is None else cycles - 1
    yield from constant(floor)


def step_decay(every: int, factor: float = 0.1) -> Iterator[float]:
    value = 1.0
    while True:
        for _ in range(every):
            yield value
        value *= factor


def multi_step(milestones: Sequence[int], factor: float = 0.1) -> Iterator[float]:
    value, step, left = 1.0, 0, list(milestones)
    while True:
        if left and step == left[0]:
            value *= factor
            left.pop(0)
        yield value
        step += 1


def exponential(factor: float, every: int = 1) -> Iterator[float]:
    value, once = 1.0, factor ** (1 / every)
    while True:
        yield value
        value *= once


def polynomial(steps: int, power: float, floor: float = 0.0) -> Iterator[float]:
    for left in range(steps, 0, -1):
        yield (1 - floor) * (left / steps) ** power + floor
    yield from constant(floor)


def one_minus_sqrt(steps: int, floor: float = 0.0) -> Iterator[float]:
    for step in range(steps):
        yield floor + (1 - floor) * (1 - math.sqrt(step / steps))
    yield from constant(floor)


def inverse_sqrt(scale: int = 1) -> Iterator[float]:
    step = scale
    while True:
        yield math.sqrt(scale / step)
        step += 1


def one_cycle(
    steps: int,
    peak_at: float = 0.3,
    start: float = 0.04,
    end: float = 4e-6,
    anneal: str = "cosine",
    momentum: tuple[float, float] | None = (0.95, 0.85),
) -> Iterator[float]:
    for step in range(steps):
        yield _leg(step, steps, peak_at, start, 1.0, end, anneal)
    yield from constant(end)


def one_cycle_momentum(steps: int, peak_at: float, anneal: str, momentum: tuple[float, float]) -> Iterator[float]:
    high, low = momentum
    for step in range(steps):
        yield _leg(step, steps, peak_at, high, low, high, anneal)
    yield from constant(high)


def _leg(step: int, steps: int, peak_at: float, first: float, middle: float, last: float, anneal: str) -> float:
    top = steps * peak_at
    a, b, share = (first, middle, step / top) if step < top else (middle, last, (step - top) / (steps - top))
    if anneal == "cosine":
        return b + (a - b) * (1 + math.cos(math.pi * share)) / 2
    return a + (b - a) * share
