"""A network in torch on a `Table`, and the networks themselves."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from adamas.problems.base import Batches, Problem, Training, need
from adamas.problems.table import Table

if TYPE_CHECKING:
    from torch import Tensor, nn


class NetworkProblem(Problem):
    """A torch module trained by cross-entropy (classes) or mean squared error (regression); float32, CPU.

    Args:
        build: makes the module from the table; called right after the seed is set. Must pickle: a module's
            function.
        what: the network in words.
    """

    front = "torch"

    def __init__(
        self,
        name: str,
        table: Table,
        build: "Callable[[Table], nn.Module]",
        what: str,
        steps: int,
        batch: int = 64,
    ) -> None:
        need("torch", "torch")
        self.name, self.table, self.steps, self.batch = name, table, steps, batch
        self.build = build
        self.about = f"{table.about}; {what}, batches of {batch}"
        self.measure = table.measure

    def begin(self, seed: int) -> Training:
        return _NetworkTraining(self, seed)

    def fingerprint(self) -> str:
        return self.table.fingerprint()


class _NetworkTraining(Training):
    def __init__(self, problem: NetworkProblem, seed: int) -> None:
        import torch

        table = problem.table
        torch.manual_seed(seed)
        self.module = problem.build(table)
        self.parameters = list(self.module.parameters())
        self._batches = Batches(len(table.x), problem.batch, np.random.default_rng(seed))
        self._x, self._vx = _tensor(table.x), _tensor(table.vx)
        self._y, self._vy = _tensor(table.y), _tensor(table.vy)
        self._classes = table.classes
        self._batch = problem.batch

    def batch_size(self) -> int:
        return min(self._batch, len(self._x))

    def _loss(self, out: "Tensor", y: "Tensor") -> "Tensor":
        from torch.nn import functional

        return functional.cross_entropy(out, y) if self._classes else functional.mse_loss(out[:, 0], y)

    def backward(self) -> float:
        import torch

        rows = torch.from_numpy(next(self._batches))
        for p in self.parameters:
            p.grad = None
        x, y = self.batch = self._x[rows], self._y[rows]
        loss = self._loss(self.module(x), y)
        torch.autograd.backward(loss)
        return loss.item()

    def validate(self) -> tuple[float, float | None]:
        import torch

        self.module.eval()
        with torch.no_grad():
            out = self.module(self._vx)
            loss = self._loss(out, self._vy).item()
            if self._classes:
                second = (out.argmax(1) == self._vy).double().mean().item()
            else:
                spread = self._vy.double().var(correction=0).item()
                second = 1 - loss / spread if spread else None
        self.module.train()
        return loss, second


def _tensor(a: NDArray[Any]) -> "Tensor":
    """Whole numbers (words, classes) as int64, all else as float32."""
    import torch

    return torch.from_numpy(a.astype(np.int64 if np.issubdtype(a.dtype, np.integer) else np.float32))


def digits_mlp(table: Table) -> "nn.Module":
    """64-128-10 with ReLU and dropout of 0.2."""
    from torch import nn

    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))


def digits_cnn(table: Table) -> "nn.Module":
    """Two 3×3 convolutions of 8 and 16 channels, each halved by pooling, and a linear head."""
    from torch import nn

    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def small_mlp(table: Table) -> "nn.Module":
    """features-64-outputs with ReLU."""
    from torch import nn

    return nn.Sequential(nn.Linear(table.x.shape[1], 64), nn.ReLU(), nn.Linear(64, table.classes or 1))


VOCABULARY = 2000
"""Distinct words of the sparse task."""


def word_bag(table: Table) -> "nn.Module":
    """Embedding of 2000 words × 16, averaged over a row's words, and a linear head."""
    from torch import nn

    return nn.Sequential(nn.EmbeddingBag(VOCABULARY, 16, mode="mean"), nn.Linear(16, table.classes))
