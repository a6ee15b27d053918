"""Optimizers for PyTorch: subclasses of `torch.optim.Optimizer`, called as torch's classes of the same names.

>>> import torch
>>> from adamas.torch import AdamW
>>> model = torch.nn.Linear(3, 1)
>>> opt = AdamW(model.parameters(), lr=1e-3)
>>> model(torch.ones(4, 3)).square().mean().backward()
>>> opt.step()
>>> opt.zero_grad()
"""

from adamas.signatures import CLASSES
from adamas.torch.checks import preflight
from adamas.torch.doctor import Doctor
from adamas.torch.optimizer import Optimizer, optimizer
from adamas.torch.rangetest import find_lr
from adamas.torch.roles import decay_groups
from adamas.torch.scaling import GradScaler
from adamas.torch.scheduler import Scheduler, schedule
from adamas.torch.stopping import EarlyStopping

__all__ = [
    "ADOPT",
    "SGD",
    "AdaBelief",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Doctor",
    "EarlyStopping",
    "GradScaler",
    "Lion",
    "LpAdam",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Scheduler",
    "SparseAdam",
    "decay_groups",
    "find_lr",
    "optimizer",
    "preflight",
    "schedule",
]

#: What torch's classes take by position after the arguments that all fronts have.
_FURTHER = {
    "Adagrad": " foreach",
    "RMSprop": " capturable foreach maximize differentiable",
    "Adamax": " foreach",
    "NAdam": " decoupled_weight_decay",
    "RAdam": " decoupled_weight_decay",
}

_classes = {
    name: optimizer(
        rule,
        positional + _FURTHER.get(name, ""),
        name,
        **({"eps_form": "torch"} if name == "Adamax" else {}),
    )
    for name, (rule, positional) in CLASSES.items()
}

SGD = _classes["SGD"]
Adagrad = _classes["Adagrad"]
RMSprop = _classes["RMSprop"]
Adam = _classes["Adam"]
AdamW = _classes["AdamW"]
Adamax = _classes["Adamax"]
LpAdam = _classes["LpAdam"]
AdaBelief = _classes["AdaBelief"]
NAdam = _classes["NAdam"]
RAdam = _classes["RAdam"]
SparseAdam = _classes["SparseAdam"]
ADOPT = _classes["ADOPT"]
Lion = _classes["Lion"]
