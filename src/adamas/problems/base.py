"""What a race asks of a problem: begin a training from a seed, give gradients, say how good the result is."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adamas.errors import InputError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """The number a race is decided by.

    Args:
        name: in words, for the table and the plot.
        higher_is_better: true of accuracies, false of losses.
        second: name of a second number shown beside it (always one where higher is better), or None.
    """

    name: str
    higher_is_better: bool = False
    second: str | None = None

    def better(self, a: float | None, b: float | None) -> bool:
        """Whether result `a` beats `b`; None is a run that diverged, which loses to every number."""
        if a is None or b is None:
            return a is not None and b is None
        return a > b if self.higher_is_better else a < b

    def key(self, value: float | None) -> float:
        """Sorts best first."""
        if value is None:
            return float("inf")
        return -value if self.higher_is_better else value


class Training(ABC):
    """One training under way: parameters, and a stream of mini-batches fixed by the seed.

    A NumPy training holds `parameters` as a dict of arrays, updated in place, and leaves `gradients` of the
    same names and shapes after `backward`. A torch training holds a list of tensors and leaves gradients in
    `.grad`.
    """

    parameters: Any
    gradients: dict[str, FloatArray]
    module: Any = None
    """The torch module that is trained, where there is one."""
    batch: Any = None
    """The mini-batch that `backward` has taken last, where there is a module."""

    def batch_size(self) -> int:
        """How many samples a mini-batch has. Asked only where there is a module."""
        raise NotImplementedError

    @abstractmethod
    def backward(self) -> float:
        """Loss on the next mini-batch; its gradients are left behind."""

    @abstractmethod
    def validate(self) -> tuple[float, float | None]:
        """The problem's measure on data not trained on, and the second one or None."""

    def constrain(self) -> None:
        """Bring the parameters back into the allowed set after a step (most problems have no such set)."""
        return


class Problem(ABC):
    """Something to train. Instances travel to worker processes by pickle.

    Attributes:
        name: as on the command line.
        about: one line: the data, their number, the model.
        measure: the number that decides.
        front: whose arrays the parameters are.
        steps: length of a full run, in optimizer steps, when nobody says otherwise.
    """

    name: str
    about: str
    measure: Measure
    front: Literal["numpy", "torch"]
    steps: int

    @abstractmethod
    def begin(self, seed: int) -> Training:
        """A fresh training: same seed, same start, same mini-batches, same dropout."""

    def fingerprint(self) -> str:
        """Changes when the problem does: a race is only resumed on the problem it began with."""
        return self.name

    def rehearse(self) -> None:
        """Try one step before a race is begun, where the problem is somebody's own code."""
        return


def need(module: str, extra: str) -> ModuleType:
    """Import `module`, or say which extra of the package brings it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as e:
        if e.name is None or e.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise InputError(
            f"This needs {module.partition('.')[0]}, which is not installed: pip install 'adamas[{extra}]'."
        ) from None


class Batches:
    """Endless mini-batches: arrays of at most `size` row numbers out of `rows`.

    Every epoch is a fresh permutation, its ragged last batch included.
    """

    def __init__(self, rows: int, size: int, rng: np.random.Generator) -> None:
        self._rows, self._size, self._rng = rows, size, rng
        self._order: NDArray[np.intp] = np.empty(0, np.intp)
        self._at = 0

    def __next__(self) -> NDArray[np.intp]:
        if self._at >= len(self._order):
            self._order, self._at = self._rng.permutation(self._rows), 0
        batch = self._order[self._at : self._at + self._size]
        self._at += self._size
        return batch
