"""What the clinic trains on and which models it trains: data that scikit-learn and Python carry, and made-up ones."""

import argparse
import doctest
import inspect
import math
import pydoc
import pydoc_data.topics
import statistics
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional

from adamas.problems import datasets as ours
from adamas.problems.table import Table, split

CONTEXT = 24
"""Characters that a transformer sees."""


@dataclass(frozen=True)
class Data:
    """Rows to train on and rows held back; `classes` is 0 for a regression, `words` says how many words there are."""

    x: Tensor
    y: Tensor
    vx: Tensor
    vy: Tensor
    classes: int
    words: int = 0

    @property
    def ignorance(self) -> float:
        """The loss of a guess: ln K, or the variance of a standardised target."""
        return math.log(self.classes) if self.classes else 1.0

    @staticmethod
    def of(table: Table, words: int = 0) -> "Data":
        def tensor(a: Any) -> Tensor:
            return torch.from_numpy(a.astype(np.int64 if np.issubdtype(a.dtype, np.integer) else np.float32))

        return Data(tensor(table.x), tensor(table.y), tensor(table.vx), tensor(table.vy), table.classes, words)


def _sklearn(loader: str, classes: bool = True) -> Data:
    data = getattr(datasets, loader)()
    x, y = np.asarray(data.data, np.float64), np.asarray(data.target)
    return Data.of(split(x, y.astype(np.int64 if classes else np.float64), len(data.target_names) if classes else 0))


def digits() -> Data:
    """1797 images of digits, 8×8."""
    return _sklearn("load_digits")


def biopsies() -> Data:
    """569 biopsies, 30 measurements, benign or malignant."""
    return _sklearn("load_breast_cancer")


def diabetes() -> Data:
    """442 patients, a regression that explains half of the variance at best."""
    return _sklearn("load_diabetes", classes=False)


def wine() -> Data:
    """178 wines of three sorts, 13 measurements."""
    return _sklearn("load_wine")


def clusters() -> Data:
    """3000 points in 20 dimensions, of five classes with two clusters each, which overlap."""
    x, y = datasets.make_classification(
        3000, 20, n_informative=10, n_redundant=4, n_classes=5, class_sep=1.2, flip_y=0.02, random_state=3
    )
    return Data.of(split(x, y.astype(np.int64), 5))


def friedman() -> Data:
    """Friedman's first regression: 1500 points, ten features of which five count, noise of a fifth of the deviation."""
    x, y = datasets.make_friedman1(1500, 10, noise=1.0, random_state=4)
    return Data.of(split(x, y, 0))


def shapes() -> Data:
    """2000 noisy images of 12×12: a bar lying or standing, a cross, a frame, or a blot, somewhere."""
    rng = np.random.default_rng(5)
    x, y = 0.35 * rng.standard_normal((2000, 12, 12)), rng.integers(5, size=2000)
    for image, kind in zip(x, y, strict=True):
        r, c = rng.integers(0, 7, 2)
        if kind in (0, 2):
            image[r + 2, c : c + 5] += 1.5
        if kind in (1, 2):
            image[r : r + 5, c + 2] += 1.5
        if kind == 3:
            image[r : r + 5, [c, c + 4]] += 1.0
            image[[r, r + 4], c : c + 5] += 1.0
        if kind == 4:
            image[r + 1 : r + 4, c + 1 : c + 4] += 1.0
    return Data.of(split(x.reshape(2000, 144), y.astype(np.int64), 5))


def topics() -> Data:
    """Bags of 12 words out of 2000, four topics."""
    return Data.of(ours.sparse_embedding().table, 2000)


def ratings() -> Data:
    """12,000 noisy ratings of 100 things by 200 people, of rank 3."""
    rng = np.random.default_rng(6)
    pairs = np.stack([rng.integers(200, size=12_000), 200 + rng.integers(100, size=12_000)], 1)
    vectors = rng.standard_normal((300, 3)) / math.sqrt(3)
    stars = (vectors[pairs[:, 0]] * vectors[pairs[:, 1]]).sum(1) + 0.3 * rng.standard_normal(12_000)
    stars /= stars.std()
    return Data.of(Table(pairs[:10_000], stars[:10_000], pairs[10_000:], stars[10_000:], 0), 300)


def sums() -> Data:
    """2500 sequences of 20 numbers and two marks: what do the marked numbers add up to?"""
    rng = np.random.default_rng(8)
    x = np.zeros((2500, 20, 2))
    x[:, :, 0] = rng.uniform(-1, 1, (2500, 20))
    first, second = rng.integers(0, 10, 2500), rng.integers(10, 20, 2500)
    rows = np.arange(2500)
    x[rows, first, 1] = x[rows, second, 1] = 1.0
    y = x[rows, first, 0] + x[rows, second, 0] + 0.1 * rng.standard_normal(2500)
    y /= y.std()
    return Data.of(Table(x[:2000], y[:2000], x[2000:], y[2000:], 0))


def waves() -> Data:
    """2000 noisy curves of 24 points: which of four kinds of wave?"""
    rng = np.random.default_rng(9)
    t, y = np.arange(24) / 24, rng.integers(4, size=2000)
    phase, pitch = rng.uniform(0, 1, (2000, 1)), rng.uniform(1.5, 3, (2000, 1))
    way = (t * pitch + phase) % 1
    kinds = np.stack([np.sin(2 * np.pi * way), np.sign(way - 0.5), 2 * way - 1, 4 * np.abs(way - 0.5) - 1])
    x = kinds[y, np.arange(2000)] + 0.4 * rng.standard_normal((2000, 24))
    return Data.of(Table(x[:1600, :, None], y[:1600], x[1600:, :, None], y[1600:], 4))


def iris() -> Data:
    """150 irises of three sorts, four measurements."""
    return _sklearn("load_iris")


def shells() -> Data:
    """2400 points in six dimensions, of three classes by how far they are from the middle."""
    x, y = datasets.make_gaussian_quantiles(n_samples=2400, n_features=6, n_classes=3, random_state=11)
    return Data.of(split(x, y.astype(np.int64), 3))


def ball() -> Data:
    """3000 points in ten dimensions, inside of a ball or outside, of which one in fifty is named wrongly."""
    x, y = datasets.make_hastie_10_2(3000, random_state=12)
    wrong = np.random.default_rng(12).random(3000) < 0.02
    return Data.of(split(x, ((y > 0) ^ wrong).astype(np.int64), 2))


def rare() -> Data:
    """3000 points in 15 dimensions, of which one in twelve is of the second class."""
    x, y = datasets.make_classification(
        3000, 15, n_informative=8, n_redundant=3, weights=[0.92], class_sep=1.0, flip_y=0.01, random_state=13
    )
    return Data.of(split(x, y.astype(np.int64), 2))


def impedance() -> Data:
    """Friedman's second regression: 1500 circuits of four parts, noise of a fifth of the deviation."""
    x, y = datasets.make_friedman2(1500, noise=75.0, random_state=14)
    return Data.of(split(x, y, 0))


def scattered() -> Data:
    """1500 points, 12 features, a linear regression that explains half of the variance."""
    x, y = datasets.make_regression(1500, 12, n_informative=6, random_state=15)
    y += y.std() * np.random.default_rng(15).standard_normal(1500)
    return Data.of(split(x, y, 0))


def gratings() -> Data:
    """2000 noisy images of 10×10: stripes that lie, stand, or lean one way or the other."""
    rng = np.random.default_rng(16)
    y, r = rng.integers(4, size=2000), np.arange(10)
    way = y * np.pi / 4 + rng.normal(0, 0.1, 2000)
    pitch, phase = rng.uniform(1.2, 2.2, 2000), rng.uniform(0, 2 * np.pi, 2000)
    along = np.cos(way)[:, None, None] * r[None, :, None] + np.sin(way)[:, None, None] * r[None, None, :]
    x = np.sin(pitch[:, None, None] * along + phase[:, None, None]) + 0.7 * rng.standard_normal((2000, 10, 10))
    return Data.of(split(x.reshape(2000, 100), y.astype(np.int64), 4))


def genres() -> Data:
    """Bags of 16 words out of 1500, six genres."""
    rng = np.random.default_rng(17)
    chance = np.exp(rng.standard_normal((6, 1500))) / np.arange(2, 1502)
    chance /= chance.sum(axis=1, keepdims=True)
    y = rng.integers(6, size=5000)
    x = np.stack([rng.choice(1500, 16, p=chance[genre]) for genre in y])
    return Data.of(Table(x[:4000], y[:4000], x[4000:], y[4000:], 6), 1500)


def visits() -> Data:
    """14,000 noisy numbers of how 240 people like 120 places, of rank 2."""
    rng = np.random.default_rng(18)
    pairs = np.stack([rng.integers(240, size=14_000), 240 + rng.integers(120, size=14_000)], 1)
    vectors = rng.standard_normal((360, 2)) / math.sqrt(2)
    liked = (vectors[pairs[:, 0]] * vectors[pairs[:, 1]]).sum(1) + 0.25 * rng.standard_normal(14_000)
    liked /= liked.std()
    return Data.of(Table(pairs[:12_000], liked[:12_000], pairs[12_000:], liked[12_000:], 0), 360)


def echoes() -> Data:
    """2500 sequences of 14 numbers and a mark: which number was marked?"""
    rng = np.random.default_rng(19)
    x = np.zeros((2500, 14, 2))
    x[:, :, 0] = rng.uniform(-1, 1, (2500, 14))
    rows, marked = np.arange(2500), rng.integers(0, 14, 2500)
    x[rows, marked, 1] = 1.0
    y = x[rows, marked, 0] + 0.1 * rng.standard_normal(2500)
    y /= y.std()
    return Data.of(Table(x[:2000], y[:2000], x[2000:], y[2000:], 0))


def walks() -> Data:
    """2500 random walks of 24 steps: in which third is the highest place?"""
    rng = np.random.default_rng(20)
    x = np.cumsum(rng.standard_normal((2500, 24)), axis=1)
    y = x.argmax(axis=1) // 8
    x /= x.std()
    return Data.of(Table(x[:2000, :, None], y[:2000], x[2000:, :, None], y[2000:], 3))


def spirals() -> Data:
    """2400 points of three arms of a spiral, beside four columns of noise."""
    rng = np.random.default_rng(21)
    y, far = rng.integers(3, size=2400), rng.uniform(0.2, 1, 2400)
    way = 2 * np.pi * y / 3 + 4 * far + 0.15 * rng.standard_normal(2400)
    x = np.concatenate([np.stack([far * np.cos(way), far * np.sin(way)], 1), rng.standard_normal((2400, 4))], 1)
    return Data.of(split(x, y.astype(np.int64), 3))


def roll() -> Data:
    """1800 points of a sheet that is rolled up: how far along the sheet is each?"""
    x, y = datasets.make_swiss_roll(1800, noise=0.6, random_state=22)
    return Data.of(split(x, y, 0))


def phases() -> Data:
    """1600 circuits of four parts, Friedman's third regression: an angle, with noise."""
    x, y = datasets.make_friedman3(1600, noise=0.1, random_state=23)
    return Data.of(split(x, y, 0))


def species() -> Data:
    """3600 points in 24 dimensions, of seven classes, one in a hundred named wrongly."""
    x, y = datasets.make_classification(
        3600, 24, n_informative=12, n_redundant=6, n_classes=7, n_clusters_per_class=1, class_sep=1.3, flip_y=0.01,
        random_state=24,
    )  # fmt: skip
    return Data.of(split(x, y.astype(np.int64), 7))


def faults() -> Data:
    """2800 points in 18 dimensions, of which one in ten is of the second class."""
    x, y = datasets.make_classification(
        2800, 18, n_informative=7, n_redundant=4, weights=[0.9], class_sep=1.2, flip_y=0.01, random_state=32
    )
    return Data.of(split(x, y.astype(np.int64), 2))


def clicks() -> Data:
    """5000 views with 14 features, of which one in four is clicked at: much of it is chance."""
    rng = np.random.default_rng(25)
    x = rng.standard_normal((5000, 14))
    odds = -1.4 + 0.9 * x[:, 0] - 0.6 * x[:, 1] + 0.5 * x[:, 2] * x[:, 3]
    return Data.of(split(x, (rng.random(5000) < 1 / (1 + np.exp(-odds))).astype(np.int64), 2))


def seedlings() -> Data:
    """120 plants of three sorts, eight measurements."""
    x, y = datasets.make_classification(
        120, 8, n_informative=5, n_redundant=0, n_classes=3, n_clusters_per_class=1, class_sep=2.0, flip_y=0.0,
        random_state=26,
    )  # fmt: skip
    return Data.of(split(x, y.astype(np.int64), 3))


def cells() -> Data:
    """2000 noisy images of 12×12 with one to three round cells on them: how many?"""
    rng = np.random.default_rng(27)
    y, r = rng.integers(3, size=2000), np.arange(12)
    x = 0.25 * rng.standard_normal((2000, 12, 12))
    for image, kind in zip(x, y, strict=True):
        for place in rng.choice(9, kind + 1, replace=False):
            row, column = 2 + 4 * (place // 3) + rng.integers(-1, 2), 2 + 4 * (place % 3) + rng.integers(-1, 2)
            image += 1.5 * np.exp(-((r[:, None] - row) ** 2 + (r - column) ** 2) / 2)
    return Data.of(split(x.reshape(2000, 144), y.astype(np.int64), 3))


def tides() -> Data:
    """2400 noisy curves of 18 points, of two waves each: what comes next?"""
    rng = np.random.default_rng(28)
    t, pitch, phase = np.arange(19), rng.uniform(0.3, 1.2, (2400, 2, 1)), rng.uniform(0, 2 * np.pi, (2400, 2, 1))
    x = np.sin(pitch * t + phase).sum(1) + 0.15 * rng.standard_normal((2400, 19))
    x /= x.std()
    return Data.of(Table(x[:2000, :18, None], x[:2000, 18], x[2000:, :18, None], x[2000:, 18], 0))


def beats() -> Data:
    """2500 noisy rhythms of 20 points that come again every three, four, five or six: every how many?"""
    rng = np.random.default_rng(29)
    y = rng.integers(4, size=2500)
    x = ((np.arange(20) + rng.integers(0, 6, (2500, 1))) % (3 + y[:, None]) == 0) * 1.5
    x = x - x.mean() + 0.35 * rng.standard_normal((2500, 20))
    return Data.of(Table(x[:2000, :, None], y[:2000], x[2000:, :, None], y[2000:], 4))


def letters() -> Data:
    """Bags of 14 words out of 1200, five writers."""
    rng = np.random.default_rng(30)
    chance = np.exp(1.2 * rng.standard_normal((5, 1200))) / np.sqrt(np.arange(2, 1202))
    chance /= chance.sum(axis=1, keepdims=True)
    y = rng.integers(5, size=4500)
    x = np.stack([rng.choice(1200, 14, p=chance[writer]) for writer in y])
    return Data.of(Table(x[:3600], y[:3600], x[3600:], y[3600:], 5), 1200)


def matches() -> Data:
    """12,000 noisy results of 160 players on 70 courses, of rank 4."""
    rng = np.random.default_rng(31)
    pairs = np.stack([rng.integers(160, size=12_000), 160 + rng.integers(70, size=12_000)], 1)
    vectors = rng.standard_normal((230, 4)) / 2
    result = (vectors[pairs[:, 0]] * vectors[pairs[:, 1]]).sum(1) + 0.3 * rng.standard_normal(12_000)
    result /= result.std()
    return Data.of(Table(pairs[:10_000], result[:10_000], pairs[10_000:], result[10_000:], 0), 230)


def _characters(*modules: ModuleType, length: int | None = None) -> Data:
    """Windows of the modules' own text, in which each character is predicted from those before it."""
    text = "".join(Path(m.__file__ or "").read_text() for m in modules)[:length]
    letters = {c: i for i, c in enumerate(sorted(set(text)))}
    codes = np.array([letters[c] for c in text])
    windows = codes[: len(codes) // (CONTEXT + 1) * (CONTEXT + 1)].reshape(-1, CONTEXT + 1)
    windows = np.random.default_rng(10).permutation(windows)
    held, rest = windows[:300], windows[300:]
    return Data.of(Table(rest[:, :-1], rest[:, 1:], held[:, :-1], held[:, 1:], len(letters)), len(letters))


def argparse_text() -> Data:
    """The text of Python's argparse and inspect."""
    return _characters(argparse, inspect)


def doctest_text() -> Data:
    """The text of Python's doctest and pydoc."""
    return _characters(doctest, pydoc)


def prose() -> Data:
    """The text of Python's own documentation, as pydoc has it: the first 200,000 characters."""
    return _characters(pydoc_data.topics, length=200_000)


def tarfile_text() -> Data:
    """The text of Python's tarfile and statistics."""
    return _characters(tarfile, statistics)


DATA: dict[str, Callable[[], Data]] = {
    make.__name__: cache(make)
    for make in (
        digits, biopsies, diabetes, wine, clusters, friedman, shapes, topics, ratings, sums, waves,
        argparse_text, doctest_text, iris, shells, ball, rare, impedance, scattered, gratings, genres, visits, echoes,
        walks, prose, spirals, roll, phases, species, faults, clicks, seedlings, cells, tides, beats, letters, matches,
        tarfile_text,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """How a model is built.

    Args:
        kind: "mlp", "residual", "cnn", "resnet" (convolutions with residuals and batch norm), "temporal" (a convolution
            over time), "attention" (over time), "rnn", "gru", "lstm", "transformer", "bag" (of words) or "factors".
        norm: "" for none, "batch", or "layer"; of a transformer "post" or "pre".
        gain: the weights at the start times this.
        shift: added to the biases of the hidden layers.
        boost: the hidden values of an MLP times this, before its norm takes it out again.
        sparse: whether an embedding's gradients are.
        detached: whether the gradient ends after the first layer, by a forgotten `detach`.
    """

    kind: str = "mlp"
    width: int = 64
    depth: int = 2
    activation: str = "relu"
    norm: str = ""
    dropout: float = 0.0
    gain: float = 1.0
    shift: float = 0.0
    boost: float = 1.0
    sparse: bool = False
    detached: bool = False


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU, "silu": nn.SiLU, "none": nn.Identity,
}  # fmt: skip


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Detached(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


class Rounded(nn.Module):
    """Values, and on the way back gradients, as a narrower dtype has them: what overflows there overflows here."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype).float()


def _mlp(shape: Shape, features: int, outputs: int, rounded: Callable[[], list[nn.Module]]) -> nn.Module:
    layers: list[nn.Module] = []
    for i in range(shape.depth):
        linear = nn.Linear(features, shape.width)
        layers += [
            linear,
            *([Detached()] if shape.detached and i == 0 else []),
            *([Times(shape.boost)] if shape.boost != 1 else []),
            *rounded(),
        ]
        if shape.norm:
            layers += [{"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}[shape.norm](shape.width)]
        layers += [ACTIVATIONS[shape.activation](), *([nn.Dropout(shape.dropout)] if shape.dropout else [])]
        features = shape.width
    return nn.Sequential(*layers, nn.Linear(features, outputs), *rounded())


def _cnn(shape: Shape, side: int, outputs: int, rounded: Callable[[], list[nn.Module]]) -> nn.Module:
    layers: list[nn.Module] = [nn.Unflatten(1, (1, side, side))]
    channels = 1
    for i in range(shape.depth):
        layers += [nn.Conv2d(channels, shape.width, 3, padding=1), *rounded()]
        layers += [Detached()] if shape.detached and i == 0 else []
        layers += [nn.BatchNorm2d(shape.width)] if shape.norm else []
        layers += [ACTIVATIONS[shape.activation](), *([nn.MaxPool2d(2)] if i < 2 else [])]
        channels = shape.width
        side = side // 2 if i < 2 else side
    drop = [nn.Dropout(shape.dropout)] if shape.dropout else []
    return nn.Sequential(*layers, nn.Flatten(), *drop, nn.Linear(channels * side * side, outputs), *rounded())


class _Residual(nn.Module):
    """A stem, blocks that each add something to what they get, a norm, a head."""

    def __init__(self, shape: Shape, features: int, outputs: int) -> None:
        super().__init__()
        width = shape.width
        self.stem, self.norm, self.head = nn.Linear(features, width), nn.LayerNorm(width), nn.Linear(width, outputs)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 2 * width),
                ACTIVATIONS[shape.activation](),
                nn.Linear(2 * width, width),
            )
            for _ in range(shape.depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(self.norm(x))


class _ResNet(nn.Module):
    """Blocks of two convolutions with batch norm, each added to what it gets, and the mean of what comes out."""

    def __init__(self, shape: Shape, side: int, outputs: int) -> None:
        super().__init__()
        self.side, width = side, shape.width
        self.stem, self.head = nn.Conv2d(1, width, 3, padding=1), nn.Linear(4 * width, outputs)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
            )
            for _ in range(shape.depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.stem(x.view(-1, 1, self.side, self.side)).relu(), 2)
        for block in self.blocks:
            x = (x + block(x)).relu()
        return self.head(functional.adaptive_avg_pool2d(x, 2).flatten(1))


class _Attention(nn.Module):
    """Encoder blocks over a sequence of numbers, and the mean of what comes out."""

    def __init__(self, shape: Shape, features: int, length: int, outputs: int) -> None:
        super().__init__()
        width = shape.width
        self.stem, self.place = nn.Linear(features, width), nn.Parameter(0.1 * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=shape.dropout, batch_first=True, norm_first=shape.norm == "pre"
        )
        self.blocks = nn.TransformerEncoder(layer, shape.depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, outputs)
        for p in self.blocks.parameters():  # the layers are copies of one, and should not be
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x) + self.place).mean(1))


class _Temporal(nn.Module):
    """Convolutions over time, each with twice the reach of the one before, and the mean of what comes out."""

    def __init__(self, shape: Shape, features: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(shape.depth):
            layers += [
                nn.Conv1d(features, shape.width, 3, padding=2**i, dilation=2**i),
                ACTIVATIONS[shape.activation](),
            ]
            features = shape.width
        self.layers, self.head = nn.Sequential(*layers), nn.Linear(3 * features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.adaptive_avg_pool1d(self.layers(x.transpose(1, 2)), 3).flatten(1))


class _Recurrent(nn.Module):
    def __init__(self, shape: Shape, features: int, outputs: int) -> None:
        super().__init__()
        kind = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[shape.kind]
        extra = {"nonlinearity": shape.activation} if shape.kind == "rnn" else {}
        self.cell: nn.Module = kind(features, shape.width, shape.depth, batch_first=True, **extra)
        self.head = nn.Linear(shape.width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0][:, -1])


class _Transformer(nn.Module):
    def __init__(self, shape: Shape, letters: int) -> None:
        super().__init__()
        width = shape.width
        self.letter, self.place = nn.Embedding(letters, width), nn.Embedding(CONTEXT, width)
        layer = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=shape.dropout, batch_first=True, norm_first=shape.norm == "pre"
        )
        self.blocks = nn.TransformerEncoder(layer, shape.depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, letters)
        self.register_buffer("mask", torch.full((CONTEXT, CONTEXT), -math.inf).triu(1), persistent=False)
        for p in self.blocks.parameters():  # the layers are copies of one, and should not be
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.letter(x) + self.place.weight, mask=self.mask))


class _Bag(nn.Module):
    def __init__(self, shape: Shape, words: int, outputs: int) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(words, shape.width, mode="mean", sparse=shape.sparse)
        self.head = nn.Linear(shape.width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.words(x))


class _Factors(nn.Module):
    def __init__(self, shape: Shape, words: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(words, shape.width, sparse=shape.sparse)
        nn.init.normal_(self.vectors.weight, std=0.3)

    def forward(self, pairs: Tensor) -> Tensor:
        return self.vectors(pairs).prod(1).sum(1, keepdim=True)


def model(shape: Shape, data: Data, precision: str = "float32") -> nn.Module:
    """The model, with torch's global generator for its start."""
    outputs = data.classes or 1
    dtypes = {"float16": torch.float16, "bfloat16": torch.bfloat16}

    def rounded() -> list[nn.Module]:
        return [] if precision == "float32" else [Rounded(dtypes[precision])]

    features = data.x.shape[-1]
    if shape.kind == "mlp":
        made = _mlp(shape, features, outputs, rounded)
    elif shape.kind == "cnn":
        made = _cnn(shape, math.isqrt(features), outputs, rounded)
    elif shape.kind == "residual":
        made = _Residual(shape, features, outputs)
    elif shape.kind == "resnet":
        made = _ResNet(shape, math.isqrt(features), outputs)
    elif shape.kind == "attention":
        made = _Attention(shape, features, data.x.shape[1], outputs)
    elif shape.kind == "temporal":
        made = _Temporal(shape, features, outputs)
    elif shape.kind in ("rnn", "gru", "lstm"):
        made = _Recurrent(shape, features, outputs)
    elif shape.kind == "transformer":
        made = _Transformer(shape, data.words)
    elif shape.kind == "bag":
        made = _Bag(shape, data.words, outputs)
    else:
        made = _Factors(shape, data.words)
    with torch.no_grad():
        hidden = [m for m in made.modules() if isinstance(m, nn.Linear | nn.Conv2d)][:-1]
        for m in hidden:
            m.weight *= shape.gain
            if m.bias is not None:
                m.bias += shape.shift
        if shape.kind in ("rnn", "gru"):
            for name, p in made.named_parameters():
                if "weight_hh" in name:
                    p *= shape.gain
    return made
