"""How good is the η that a range test suggests?  (under construction)"""

import inspect
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import adamas.torch
from adamas.problems import datasets, networks
from adamas.problems.base import need
from adamas.problems.table import Table, split

BATCH = 64


class Loader:
    """Batches of rows in an order of its own, shuffled anew at each pass."""

    def __init__(self, rows: int, batch: int, seed: int) -> None:
        self.rows, self.batch = rows, batch
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(self.rows, generator=self.generator)
        yield from order.split(self.batch)[: max(1, self.rows // self.batch)]


@dataclass(frozen=True)
class Task:
    """Something to train.

    Args:
        build: makes the model; torch's seed is set before.
        loss: of a model on the rows named, held back or not.
        rows: to train on; and to judge by.
    """

    build: Callable[[], nn.Module]
    loss: Callable[[nn.Module, Tensor, bool], Tensor]
    rows: int
    held_back: int
    batch: int = BATCH


def _tensors(table: Table) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    def tensor(a: Any) -> Tensor:
        return torch.from_numpy(a.astype(np.int64 if np.issubdtype(a.dtype, np.integer) else np.float32))

    return tensor(table.x), tensor(table.y), tensor(table.vx), tensor(table.vy)


def _supervised(table: Table, build: Callable[[Table], nn.Module]) -> Task:
    x, y, vx, vy = _tensors(table)

    def loss(model: nn.Module, rows: Tensor, held_back: bool) -> Tensor:
        out, target = (model(vx[rows]), vy[rows]) if held_back else (model(x[rows]), y[rows])
        return functional.cross_entropy(out, target) if table.classes else functional.mse_loss(out[:, 0], target)

    return Task(lambda: build(table), loss, len(x), len(vx))


def _sklearn(loader: str, classes: bool, scaled: bool = True) -> Table:
    data = getattr(need("sklearn.datasets", "data"), loader)()
    x, y = np.asarray(data.data, np.float64), np.asarray(data.target)
    if classes:
        table = split(x, y.astype(np.int64), len(data.target_names))
    else:
        table = split(x, y.astype(np.float64), 0)
    if scaled:
        return table
    mean, deviation = x.mean(0), x.std(0)
    return Table(table.x * deviation + mean, table.y, table.vx * deviation + mean, table.vy, table.classes)


def digits_mlp() -> Task:
    """The digits, 64-128-10 with dropout."""
    return _supervised(_sklearn("load_digits", True), networks.digits_mlp)


def digits_cnn() -> Task:
    """The digits, two convolutions."""
    return _supervised(_sklearn("load_digits", True), networks.digits_cnn)


def diabetes() -> Task:
    """442 patients, a regression, 10-64-1."""
    return _supervised(_sklearn("load_diabetes", False), networks.small_mlp)


def logistic() -> Task:
    """569 biopsies, logistic regression."""
    return _supervised(_sklearn("load_breast_cancer", True), lambda t: nn.Linear(t.x.shape[1], t.classes))


def unscaled() -> Task:
    """The biopsies as they were measured, features from 0.001 to 4000; 30-64-2."""
    return _supervised(_sklearn("load_breast_cancer", True, scaled=False), networks.small_mlp)


def embedding() -> Task:
    """Bags of 12 words out of 2000, four topics."""
    return _supervised(datasets.sparse_embedding().table, networks.word_bag)  # type: ignore[attr-defined]


def autoencoder() -> Task:
    """The digits through a bottleneck of 8, with tanh."""
    data = need("sklearn.datasets", "data").load_digits().data / 16
    x = torch.from_numpy(data.astype(np.float32))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    vx, x = x[order[:360]], x[order[360:]]

    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 8), nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 64))

    def loss(model: nn.Module, rows: Tensor, held_back: bool) -> Tensor:
        batch = (vx if held_back else x)[rows]
        return functional.mse_loss(model(batch), batch)

    return Task(build, loss, len(x), len(vx))


CONTEXT = 32


class _Transformer(nn.Module):
    """Two blocks of width 48 over characters, each predicted from those before it."""

    def __init__(self, letters: int) -> None:
        super().__init__()
        self.letter, self.place = nn.Embedding(letters, 48), nn.Embedding(CONTEXT, 48)
        layer = nn.TransformerEncoderLayer(48, 4, 192, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(48, letters)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.full((CONTEXT, CONTEXT), -math.inf).triu(1)
        return self.head(self.blocks(self.letter(x) + self.place.weight, mask=mask))


def transformer() -> Task:
    """Characters of Python's own argparse.py and inspect.py."""
    import argparse

    text = "".join(Path(m.__file__ or "").read_text() for m in (argparse, inspect))
    letters = {c: i for i, c in enumerate(sorted(set(text)))}
    codes = torch.tensor([letters[c] for c in text])
    windows = codes[: len(codes) // (CONTEXT + 1) * (CONTEXT + 1)].view(-1, CONTEXT + 1)
    windows = windows[torch.randperm(len(windows), generator=torch.Generator().manual_seed(0))]
    held, train = windows[:256], windows[256:]

    def loss(model: nn.Module, rows: Tensor, held_back: bool) -> Tensor:
        w = (held if held_back else train)[rows]
        return functional.cross_entropy(model(w[:, :-1]).flatten(0, 1), w[:, 1:].flatten())

    return Task(lambda: _Transformer(len(letters)), loss, len(train), len(held), 16)


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: adamas.torch.SGD(p, lr=1e-3),
    "momentum": lambda p: adamas.torch.SGD(p, lr=1e-3, momentum=0.9),
    "adagrad": lambda p: adamas.torch.Adagrad(p, lr=1e-3),
    "rmsprop": lambda p: adamas.torch.RMSprop(p, lr=1e-3),
    "adam": lambda p: adamas.torch.Adam(p, lr=1e-3),
    "adamw": lambda p: adamas.torch.AdamW(p, lr=1e-3),
    "nadam": lambda p: adamas.torch.NAdam(p, lr=1e-3),
    "lion": lambda p: adamas.torch.Lion(p, lr=1e-3),
}

#: The rule was fixed on these, and then tried on those it had not seen: other tasks altogether.
FIXED_ON = {
    digits_mlp: "adamw sgd momentum lion",
    diabetes: "adam sgd rmsprop adagrad",
    embedding: "adamw momentum nadam adagrad",
    autoencoder: "adam sgd rmsprop lion",
}
UNSEEN = {
    digits_cnn: "adamw sgd momentum rmsprop",
    logistic: "adam sgd nadam lion",
    transformer: "adamw adam momentum lion",
    unscaled: "adam adamw momentum rmsprop",
}
