"""A problem of one's own: learn sin(x) from noisy points with a small network.

    adamas check examples/my_problem.py
    adamas race examples/my_problem.py --optimizers adam,sgd --seeds 3

`adamas.problems.module` lists all that such a file may define, and the form for plain NumPy.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from adamas import recipes

steps = 500
noise = torch.Generator().manual_seed(1)
x = torch.linspace(-3, 3, 512)[:, None]
data = TensorDataset(x, x.sin() + 0.1 * torch.randn(x.shape, generator=noise))


def model():
    return nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))


def batches():
    return DataLoader(data, batch_size=32, shuffle=True)


def loss(model, batch):
    x, y = batch
    return nn.functional.mse_loss(model(x), y)


def optimizer(model):  # for the check alone: a race has optimizers of its own
    return recipes.general(model, steps=steps, batch_size=32)


def validate(model):
    return (model(x) - x.sin()).square().mean().item()
