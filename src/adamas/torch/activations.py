"""Activations: which units are dead, and which outputs saturated."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

#: Samples in none of which a unit is other than 0, for it to be dead: a unit may well be silent for a few. And units
#: of a layer from which on a share of them says something.
SILENT, UNITS = 64, 4

#: activation -> which outputs pass no gradient on, or almost none.
_FLAT: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": lambda y: y.abs() > 0.99,
    "sigmoid": lambda y: (y - 0.5).abs() > 0.49,
}
_DEAD = ("relu", "relu_", "relu6")


class Activations:
    """Looks at those of single forward passes, and remembers which units were alive of late."""

    def __init__(self) -> None:
        self._alive: dict[str, list[tuple[Tensor, int]]] = {}  # place -> units that were not 0, samples
        self._probe: _Probe | None = None

    def begin(self) -> None:
        """A pass begins."""
        self._probe = _Probe()
        self._probe.__enter__()

    def end(self) -> dict[str, Any]:
        """It is over, or there was none: facts, ``dead`` and ``saturated``, a place and a share each."""
        probe, self._probe = self._probe, None
        if probe is None:
            return {}
        probe.__exit__(None, None, None)
        found: dict[str, Any] = {}
        if probe.alive:
            shares = [[place, self._dead(place, probe)] for place in probe.alive]
            found["dead"] = [pair for pair in shares if pair[1] is not None]
        if probe.saturated:
            found["saturated"] = probe.saturated
        return found

    def _dead(self, place: str, probe: "_Probe") -> float | None:
        """The share of units that were 0 for every sample of late; None where there were too few to tell."""
        held, looked = list[tuple[Tensor, int]](), 0
        for alive, samples in [probe.alive[place], *self._alive.get(place, [])]:  # the latest first
            if looked >= SILENT or alive.shape != probe.alive[place][0].shape:
                break
            held.append((alive, samples))
            looked += samples
        self._alive[place] = held
        if looked < SILENT or len(held[0][0]) < UNITS:
            return None
        return round(1 - float(torch.stack([alive for alive, _ in held]).any(0).float().mean()), 3)


class _Probe(TorchFunctionMode):
    """Notes which units of activations are alive, and how many outputs are saturated, in one forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[str, tuple[Tensor, int]] = {}
        self.saturated: list[list[Any]] = []
        self._calls: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if not isinstance(result, Tensor) or (name not in _DEAD and name not in _FLAT):
            return result
        self._calls[name] += 1
        y = result.detach()
        place = f"{name.rstrip('_')} number {self._calls[name]}"
        if name in _DEAD and y.ndim > 1 and y.numel():
            unit = 1 if y.ndim >= 4 else y.ndim - 1
            self.alive[place] = (y != 0).movedim(unit, 0).flatten(1).any(1), len(y)
        elif name in _FLAT and y.numel() > 64:
            self.saturated.append([place, round(float(_FLAT[name](y).float().mean()), 3)])
        return result
