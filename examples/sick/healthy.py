"""A training that nothing is wrong with: adamas check examples/sick/healthy.py

The other files of this folder differ from it in one thing each.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from adamas import recipes

draw = torch.Generator().manual_seed(0)
x = torch.randn(1280, 20, generator=draw)
y = (x @ torch.randn(20, 5, generator=draw)).argmax(dim=1)
steps = 600
higher_is_better = True


def model():
    return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 5))


def batches():
    return DataLoader(TensorDataset(x[:1024], y[:1024]), batch_size=64, shuffle=True)


def loss(model, batch):
    inputs, labels = batch
    return nn.functional.cross_entropy(model(inputs), labels)


def validate(model):
    return (model(x[1024:]).argmax(dim=1) == y[1024:]).double().mean()


def optimizer(model):
    return recipes.general(model, steps=steps, batch_size=64)
