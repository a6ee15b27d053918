"""The shapes: one function each, in words that numbers, NumPy and JAX have. ``t`` steps have been taken."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from adamas.errors import InputError
from adamas.schedules.base import Schedule
from adamas.schedules.shape import NAMES, shape
from adamas.schedules.values import CHECKS


def _way(xp: Any, t: Any, steps: float) -> Any:
    """How much of the way is done; no more than all, where XLA has t·(1/n) and fuses that with what comes next."""
    return xp.minimum(t / steps, 1.0)


def _mixed(share: Any, start: Any, end: Any) -> Any:
    """From `start` to `end`, which it meets exactly at the shares 0 and 1."""
    return (1 - share) * start + share * end


@shape(marks=lambda given: {0, 1000})
def constant(t: Any, xp: Any, value: float = 1.0) -> Any:
    """The same at every step, for ever: cut it for a stretch of it, as in ``constant()[:8000]``.

    f(t) = value

    >>> constant(0.5)(7)
    0.5
    """
    return value + 0.0 * t


@shape()
def linear(t: Any, xp: Any, steps: int, start: float = 1.0, end: float = 0.0) -> Any:
    """In a straight line.

    f(t) = (1 − t/n)·start + (t/n)·end

    >>> [linear(4)(t) for t in range(6)]
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    return _mixed(_way(xp, t, steps), start, end)


@shape()
def warmup(t: Any, xp: Any, steps: int, start: float | None = None) -> Any:
    """Up to 1 in a straight line; the first step already moves, by 1/n.

    f(t) = (t + 1)/n, or start + (1 − start)·t/n with a `start`, as other libraries have it; theirs is mostly 0, which
    wastes the first step.

    >>> [warmup(4)(t) for t in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    >>> [warmup(4, start=0)(t) for t in range(5)]
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if start is None:
        return xp.minimum(t + 1, steps) / steps
    return _mixed(_way(xp, t, steps), start, 1.0)


@shape()
def cosine(t: Any, xp: Any, steps: int, floor: float = 0.0) -> Any:
    """Half a cosine down to a floor (Loshchilov, Hutter 2017, eq. 5, without restarts).

    f(t) = floor + (1 − floor)·(1 + cos(πt/n))/2

    >>> [round(cosine(4, floor=0.1)(t), 3) for t in range(5)]
    [1.0, 0.868, 0.55, 0.232, 0.1]
    """
    return _to_floor((1 + xp.cos(math.pi * (t / steps))) / 2, floor)


def _to_floor(share: Any, floor: float) -> Any:
    return share + (1 - share) * floor


def _begin(xp: Any, cycle: Any, period: int, multiplier: int) -> Any:
    """The step with which a cycle begins: a whole number of periods, whatever a library's rounding makes of it."""
    return period * xp.floor((xp.pow(1.0 * multiplier, 1.0 * cycle) - 1) / (multiplier - 1) + 0.5)


def _restarts_length(given: Mapping[str, Any]) -> float:
    period, multiplier, cycles = given["period"], given["multiplier"], given["cycles"]
    if cycles is None or cycles * math.log2(multiplier) > 53:  # which no count of steps reaches
        return math.inf
    return period * cycles if multiplier == 1 else period * ((multiplier**cycles - 1) // (multiplier - 1))


def _restarts_marks(given: Mapping[str, Any]) -> set[int]:
    shown = min(given["cycles"] or 4, 4)
    begins = [int(_restarts_length({**given, "cycles": k})) for k in range(shown + 1)]
    return {0, *begins} | {begin - 1 for begin in begins[1:]}


@shape(length=_restarts_length, marks=_restarts_marks)
def cosine_restarts(
    t: Any, xp: Any, period: int, multiplier: int = 1, floor: float = 0.0, cycles: int | None = None
) -> Any:
    """Half a cosine down, and again from 1, each time `multiplier` times as long (Loshchilov, Hutter 2017, eq. 5).

    f(t) = floor + (1 − floor)·(1 + cos(π·u/Tₖ))/2 with Tₖ = period·multiplierᵏ, u = t − T₀ − … − Tₖ₋₁, and for k the
    cycle that t lies in; for ever, or for so many cycles.

    >>> [round(cosine_restarts(2, multiplier=2)(t), 3) for t in range(7)]
    [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0]
    """
    if multiplier == 1:
        cycle = t // period
        begin, own = cycle * period, period
    else:
        cycle = xp.floor(xp.log(1 + t * ((multiplier - 1) / period)) / math.log(multiplier))
        # The logarithm may round to the other side of a restart.
        cycle = xp.where(t < _begin(xp, cycle, period, multiplier), cycle - 1, cycle)
        cycle = xp.where(t < _begin(xp, cycle + 1, period, multiplier), cycle, cycle + 1)
        begin = _begin(xp, cycle, period, multiplier)
        own = _begin(xp, cycle + 1, period, multiplier) - begin
    share = (1 + xp.cos(math.pi * ((t - begin) / own))) / 2
    if cycles is not None:
        share = xp.where(t < _restarts_length({"period": period, "multiplier": multiplier, "cycles": cycles}), share, 0)
    return _to_floor(share, floor)


@shape(marks=lambda given: {given["every"] * k for k in range(5)})
def step_decay(t: Any, xp: Any, every: int, factor: float = 0.1) -> Any:
    """Times `factor` after every so many steps.

    f(t) = factor^⌊t/every⌋

    >>> [step_decay(2, factor=0.5)(t) for t in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    return xp.pow(1.0 * factor, 1.0 * (t // every))


@shape(marks=lambda given: {0, given["milestones"][-1] * 5 // 4 + 1, *given["milestones"]})
def multi_step(t: Any, xp: Any, milestones: Sequence[int], factor: float = 0.1) -> Any:
    """Times `factor` at each milestone.

    f(t) = factor^(number of milestones ≤ t)

    >>> [multi_step([2, 3], factor=0.5)(t) for t in range(5)]
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """
    passed = 0.0 * t
    for milestone in milestones:
        passed = passed + xp.where(t < milestone, 0.0, 1.0)
    return xp.pow(1.0 * factor, passed)


def _until_small(given: Mapping[str, Any]) -> int:
    """So many steps that one sees a curve: the factor ends at 1/100, or at 100."""
    times = abs(math.log(given["factor"] or 0.1)) or 1.0
    return max(1, math.ceil(given["every"] * (math.log(100) / times)))


@shape(marks=lambda given: {0, min(_until_small(given), 10**9)})
def exponential(t: Any, xp: Any, factor: float, every: int = 1) -> Any:
    """Times `factor` over every so many steps, little by little.

    f(t) = factor^(t/every)

    >>> [exponential(0.5)(t) for t in range(4)], exponential(0.5, every=1000)(3000)
    ([1.0, 0.5, 0.25, 0.125], 0.125)
    """
    return xp.pow(1.0 * factor, t / every)


@shape()
def polynomial(t: Any, xp: Any, steps: int, power: float, floor: float = 0.0) -> Any:
    """A power of what is left of the way, down to a floor.

    f(t) = floor + (1 − floor)·(1 − t/n)^power

    >>> [polynomial(4, power=2)(t) for t in range(5)]
    [1.0, 0.5625, 0.25, 0.0625, 0.0]
    """
    return _to_floor(xp.pow((steps - t) / steps, 1.0 * power), floor)


@shape()
def one_minus_sqrt(t: Any, xp: Any, steps: int, floor: float = 0.0) -> Any:
    """Down to a floor, fast at first: the decay that Hägele et al. (2024, §3.1) end a constant rate with.

    f(t) = floor + (1 − floor)·(1 − √(t/n))

    >>> one_minus_sqrt(4)(1)
    0.5
    """
    return _to_floor(1 - xp.sqrt(_way(xp, t, steps)), floor)


@shape(marks=lambda given: {0, *(given["scale"] * k for k in (1, 3, 8, 15, 24))})
def inverse_sqrt(t: Any, xp: Any, scale: int = 1) -> Any:
    """With the square root of the steps. ``inverse_sqrt()`` is α/√s for the steps s = 1, 2, …

    f(t) = 1/√(1 + t/scale). ``warmup(n) >> inverse_sqrt(n)`` goes over into it without a jump, and
    ``warmup(n) >> inverse_sqrt(n)[1:]`` is that of Vaswani et al. (2017, eq. 3), √n·min(1/√s, s/n^1.5).

    >>> inverse_sqrt()(3), inverse_sqrt(100)(300)
    (0.5, 0.5)
    """
    return 1 / xp.sqrt(1 + t / scale)


def _there_and_back(
    xp: Any, t: Any, steps: int, peak_at: float, anneal: str, start: float, peak: float, end: float
) -> Any:
    top = peak_at * steps
    up, down = _way(xp, t, top), _way(xp, xp.maximum(t - top, 0.0), steps - top)
    if anneal == "cosine":
        up, down = (1 - xp.cos(math.pi * up)) / 2, (1 - xp.cos(math.pi * down)) / 2
    return xp.where(t < top, _mixed(up, start, peak), _mixed(down, peak, end))


def _one_cycle_momentum(
    t: Any,
    xp: Any,
    steps: int,
    peak_at: float,
    start: float,
    end: float,
    anneal: str,
    momentum: tuple[float, float],
) -> Any:
    high, low = momentum
    return _there_and_back(xp, t, steps, peak_at, anneal, high, low, high)


@shape(momentum=_one_cycle_momentum, marks=lambda given: {round(given["steps"] * given["peak_at"])})
def one_cycle(
    t: Any,
    xp: Any,
    steps: int,
    peak_at: float = 0.3,
    start: float = 0.04,
    end: float = 4e-6,
    anneal: str = "cosine",
    momentum: tuple[float, float] | None = (0.95, 0.85),
) -> Any:
    """Up to 1 and down to almost 0, while β₁ goes the other way (Smith, Topin 2018; the numbers are fastai's).

    From `start` to 1 in ``peak_at·n`` steps, then to `end`, by half cosines or (``anneal="linear"``) straight lines.
    β₁, or SGD's momentum, begins at the first of `momentum`, is the second at the peak, and returns; None leaves it.

    >>> f = one_cycle(10, peak_at=0.5)
    >>> f(0), f(5), f(10)
    (0.04, 1.0, 4e-06)
    >>> f.momentum(0), f.momentum(5), f.momentum(10)
    (0.95, 0.85, 0.95)
    """
    return _there_and_back(xp, t, steps, peak_at, anneal, start, 1.0, end)


def wsd(steps: int, warmup: int, decay: int | Schedule) -> Schedule:
    """Warm up, stay, decay (Hu et al. 2024, MiniCPM, §4): a run of so many steps in all.

    Args:
        steps: of the whole run.
        warmup: how many of them warm up.
        decay: how many decay, in a straight line to 0; or a schedule that does so, as ``one_minus_sqrt(2000)``.

    Raises:
        InputError: where the run is too short for them.

    >>> wsd(10_000, warmup=500, decay=2_000)
    warmup(500) >> constant()[:7500] >> linear(2000)
    """
    total, first = CHECKS["steps"]("wsd: steps", steps), CHECKS["steps"]("wsd: warmup", warmup)
    last = decay if isinstance(decay, Schedule) else linear(CHECKS["steps"]("wsd: decay", decay))
    if last.length == math.inf:
        raise InputError(f"wsd: the decay {last} has no end: cut it, as in [:1000].")
    stay = total - first - int(last.length)
    if stay < 0:
        raise InputError(
            f"A warm-up of {first} steps and a decay of {last.length} do not fit into a run of {total}: shorten them."
        )
    rise = _warmup(first)
    return rise >> constant()[:stay] >> last if stay else rise >> last


_warmup = warmup
NAMES["wsd"] = wsd
