"""The built-in data problems: what scikit-learn carries, and a sparse task made on the spot."""

from typing import Any

import numpy as np

from adamas.problems import networks
from adamas.problems.base import Problem, need
from adamas.problems.networks import NetworkProblem
from adamas.problems.table import SoftmaxProblem, Table, split


def _sklearn(loader: str) -> Table:
    """A classification set of scikit-learn by the name of its loader, a fifth held back."""
    data: Any = getattr(need("sklearn.datasets", "data"), loader)()
    x, y = np.asarray(data.data, np.float64), np.asarray(data.target, np.int64)
    return split(x, y, classes=len(data.target_names))


def digits() -> Problem:
    """8×8 images of handwritten digits, a small network with dropout."""
    table = _sklearn("load_digits")
    what = "64-128-10 network with dropout 0.2"
    return NetworkProblem("digits", table, networks.digits_mlp, what, steps=300)


def digits_softmax() -> Problem:
    """The digits as softmax regression in NumPy."""
    return SoftmaxProblem("digits-softmax", _sklearn("load_digits"), steps=500)


def digits_cnn() -> Problem:
    """The digits with a small convolutional network."""
    table = _sklearn("load_digits")
    what = "two convolutions (8 and 16 channels) and a linear head"
    return NetworkProblem("digits-cnn", table, networks.digits_cnn, what, steps=300)


def breast_cancer() -> Problem:
    """569 biopsies, 30 measurements, benign or malignant: logistic regression in NumPy."""
    return SoftmaxProblem("breast-cancer", _sklearn("load_breast_cancer"), steps=400, batch=32)


def sparse_embedding() -> Problem:
    """Bags of 12 words out of 2000, as unequally frequent as in a language; which of four topics?

    Words are drawn by Zipf's law, each row from a mixture that leans to its topic; a rare word's vector sees
    a gradient in few steps, which is what adaptive rules were made for.
    """
    rng = np.random.default_rng(7)
    rows, length, topics, words = 6000, 12, 4, networks.VOCABULARY
    zipf = 1 / np.arange(1, words + 1)
    taste = np.exp(rng.standard_normal((topics, words)))
    chance = zipf * taste
    chance /= chance.sum(axis=1, keepdims=True)
    y = rng.integers(topics, size=rows)
    x = np.empty((rows, length), np.int64)
    for topic in range(topics):
        mine = y == topic
        x[mine] = rng.choice(words, size=(int(mine.sum()), length), p=chance[topic])
    cut = rows * 4 // 5
    table = Table(x[:cut], y[:cut], x[cut:], y[cut:], topics)
    what = f"mean of {words} word vectors of 16, linear head"
    return NetworkProblem("sparse-embedding", table, networks.word_bag, what, steps=500)
