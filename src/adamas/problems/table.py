"""Rows of numbers with something to predict: split, scaled, and two models that learn from them."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamas.problems.base import Batches, FloatArray, Measure, Problem, Training, need


@dataclass(frozen=True)
class Table:
    """A data set ready to train on.

    Args:
        x, vx: training and validation inputs of shape (rows, features): float64, standardised on the training
            part; or int64, the numbers of words.
        y, vy: what to predict: class numbers from 0 (int64) or, for a regression, standardised targets
            (float64).
        classes: how many classes; 0 for a regression.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    vx: NDArray[Any]
    vy: NDArray[Any]
    classes: int

    @property
    def about(self) -> str:
        kind = f"{self.classes} classes" if self.classes else "regression"
        return f"{len(self.x)} training and {len(self.vx)} validation rows, {self.x.shape[1]} features, {kind}"

    @property
    def measure(self) -> Measure:
        return Measure("validation loss", second="accuracy" if self.classes else "R²")

    def fingerprint(self) -> str:
        """A hash of every number in it."""
        digest = sha256()
        for part in (self.x, self.y, self.vx, self.vy):
            digest.update(part.tobytes())
        return digest.hexdigest()[:16]


def split(x: FloatArray, y: NDArray[Any], classes: int, part: float = 0.2) -> Table:
    """Hold `part` of the rows back for validation (stratified for classes); standardise on the rest alone.

    Args:
        x: (rows, features).
        y: class numbers, or real targets if `classes` is 0; (rows,).
    """
    selection: Any = need("sklearn.model_selection", "data")
    scaler_of: Any = need("sklearn.preprocessing", "data").StandardScaler
    x, vx, y, vy = selection.train_test_split(x, y, test_size=part, random_state=0, stratify=y if classes else None)
    scaler = scaler_of().fit(x)
    x, vx = scaler.transform(x), scaler.transform(vx)
    if not classes:
        target = scaler_of().fit(y[:, None])
        y, vy = target.transform(y[:, None])[:, 0], target.transform(vy[:, None])[:, 0]
    return Table(x, y, vx, vy, classes)


class SoftmaxProblem(Problem):
    """Softmax regression in plain NumPy, float64: gradient Xᵀ(p - onehot)/batch, weights from 0."""

    front = "numpy"

    def __init__(self, name: str, table: Table, steps: int, batch: int = 64) -> None:
        self.name, self.table, self.steps, self.batch = name, table, steps, batch
        self.about = f"{table.about}; softmax regression in NumPy, batches of {batch}"
        self.measure = table.measure

    def begin(self, seed: int) -> Training:
        return _Softmax(self.table, self.batch, seed)

    def fingerprint(self) -> str:
        return self.table.fingerprint()


class _Softmax(Training):
    def __init__(self, table: Table, batch: int, seed: int) -> None:
        self._table = table
        self._batches = Batches(len(table.x), batch, np.random.default_rng(seed))
        self.parameters = {
            "weight": np.zeros((table.x.shape[1], table.classes)),
            "bias": np.zeros(table.classes),
        }

    def _log_odds(self, x: FloatArray) -> FloatArray:
        """Logarithms of the class probabilities, (rows, classes)."""
        # A diverging run overflows here; the race sees the loss.
        with np.errstate(over="ignore", invalid="ignore"):
            z = x @ self.parameters["weight"] + self.parameters["bias"]
            z = z - z.max(axis=1, keepdims=True)
            return z - np.log(np.exp(z).sum(axis=1, keepdims=True))

    def backward(self) -> float:
        rows = next(self._batches)
        x, y = self._table.x[rows], self._table.y[rows]
        log_p = self._log_odds(x)
        error = np.exp(log_p)
        error[np.arange(len(y)), y] -= 1
        error /= len(y)
        self.gradients = {"weight": x.T @ error, "bias": error.sum(axis=0)}
        return float(-log_p[np.arange(len(y)), y].mean())

    def validate(self) -> tuple[float, float | None]:
        y = self._table.vy
        log_p = self._log_odds(self._table.vx)
        return float(-log_p[np.arange(len(y)), y].mean()), float((log_p.argmax(axis=1) == y).mean())
