"""Who keeps what, where several devices train together."""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

from adamas.arrays import Form
from adamas.pages import table
from adamas.plan.step import Step, size
from adamas.plan.weights import Weights

STRATEGIES = ("ddp", "zero1", "fsdp2")


@dataclass(frozen=True)
class Budget:
    """Bytes on the fullest device, and the most that any device's step moves."""

    strategy: str
    state_dtype: str
    weights: int
    gradients: int
    states: int
    average: int
    moved: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.states + self.average

    def floor(self, bandwidth: float) -> float:
        """The seconds that the step takes at least, where memory gives so many bytes a second."""
        return self.moved / bandwidth

    def _repr_html_(self) -> str:
        heads = ["strategy", "states in", "weights", "gradients", "states", "average", "total", "moved a step"]
        bytes_ = (self.weights, self.gradients, self.states, self.average, self.total, self.moved)
        return table("On each device", heads, [[self.strategy, self.state_dtype, *map(in_bytes, bytes_)]])


def budget(weights: Weights, step: Step, strategy: str, devices: int) -> Budget:
    """What a step costs under one of the `STRATEGIES`.

    ddp: every device has everything. zero1: states and averages are dealt out, a whole parameter to one device, as
    torch's ZeroRedundancyOptimizer does it. fsdp2: weights, gradients and states are cut along their first
    dimension, as torch's `fully_shard` does it.
    """
    held, shares = weights, [weights.trained]
    if strategy == "fsdp2":
        held = weights.sharded(devices)
        shares = [held.trained]
    elif strategy == "zero1":
        shares = dealt(weights.trained, devices) if weights.exact else [weights.sharded(devices).trained]
    fullest = max(shares, key=lambda share: sum(step.kept(p) + step.average(p) for p in share))
    return Budget(
        strategy=strategy,
        state_dtype=step.state_dtype,
        weights=sum(map(size, (*held.trained, *held.frozen))),
        gradients=sum(step.sizes(p)["g"] for p in held.trained),
        states=sum(map(step.kept, fullest)),
        average=sum(map(step.average, fullest)),
        moved=max(sum(map(step.moved, share)) for share in shares),
    )


def dealt(params: Sequence[Form], devices: int) -> list[list[Form]]:
    """The largest parameter first, each to the device that has fewest elements so far."""
    shares: list[list[Form]] = [[] for _ in range(min(devices, len(params)))]  # further devices would get none
    least = [(0, device) for device in range(len(shares))]
    for param in sorted(params, key=lambda p: -math.prod(p.shape)):
        elements, device = least[0]
        shares[device].append(param)
        heapq.heapreplace(least, (elements + math.prod(param.shape), device))
    return shares


def in_bytes(count: float) -> str:
    """That many bytes, in the unit that suits.

    >>> in_bytes(1_000_000_000)
    '953.7 MiB'
    """
    return in_units(count, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"))


def in_units(value: float, step: int, units: Sequence[str]) -> str:
    """Four digits and the largest unit of which there is one."""
    unit = 0
    while value >= step and unit < len(units) - 1:
        value, unit = value / step, unit + 1
    return f"{f'{value:#.4g}'.rstrip('.') if unit else f'{value:.4g}'} {units[unit]}"
