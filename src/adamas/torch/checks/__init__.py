"""Preflight: what is wrong with a training, before it is begun."""

import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from adamas.engine import unbroken
from adamas.snapshot import Snapshot
from adamas.torch.checks.checks import judged
from adamas.torch.checks.observe import observe
from adamas.torch.checks.report import Report, Result
from adamas.torch.checks.setup import Schedule, Setup

__all__ = ["Report", "Result", "preflight"]


def preflight(
    model: nn.Module,
    data: Iterable[Any],
    optimizer: torch.optim.Optimizer | None,
    schedule: Schedule | Callable[[int], float] | None = None,
    *,
    loss_fn: Callable[..., Any],
    steps: int | None = None,
    validate: Callable[[nn.Module], Any] | None = None,
    scaler: Any = None,
    clip_grad_norm: float | None = None,
    stopping: Any = None,
) -> Report:
    """Check a training before it is begun: data, labels, model, optimizer, schedule, in seconds.

    A few batches go through a copy of the model, and another copy is trained on one of them for a few tens of steps.
    Everything is left bit for bit as it was, whatever is raised, Ctrl-C included: weights, buffers, gradients, modes,
    optimizer, random generators, loader. It takes the memory of model and optimizer three times.

    Args:
        model: as training begins with it.
        data: gives batches when iterated over, an epoch each time: a DataLoader, or a list.
        optimizer: any of torch's protocol, or None: then what concerns it is not checked.
        schedule: one of torch's, stepped once after each step of the optimizer; or a function from the number of steps
            done to the factor of η, as those of `adamas.schedules`.
        loss_fn: called as ``loss_fn(model, batch)``, returns a scalar tensor; it must call the model that it is given.
            A loss of torch.nn, a module or a function of torch.nn.functional, is called as ``loss_fn(model(inputs),
            targets)``: each batch is a pair.
        steps: of the optimizer in the whole run, from 1 on.
        validate: model -> number; called in eval mode, without gradients.
        scaler: a `torch.amp.GradScaler`, if the loop has one.
        clip_grad_norm: what the loop clips the norm of the gradients to, if the optimizer does not do it.
        stopping: whatever else ends the training, as early stopping.

    Returns:
        The results, of every check; print it, or ask ``report.ok``.

    Raises:
        InputError: where there is nothing to check: no batch, a loss that is no scalar or does not depend on the
            parameters, an argument that cannot be.

    >>> from adamas.torch import AdamW, decay_groups
    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(256, 4)
    >>> data = torch.utils.data.TensorDataset(x, x[:, :1] - x[:, 1:2])
    >>> model = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))
    >>> report = preflight(
    ...     model,
    ...     torch.utils.data.DataLoader(data, batch_size=32),
    ...     AdamW(decay_groups(model, 0.01), lr=1e-3),
    ...     loss_fn=nn.functional.mse_loss,
    ...     steps=1000,
    ... )
    >>> [(result.code, result.name, result.remedy) for result in report.results if result.status == "warn"]
    [('P09', 'shuffled', 'Give the data shuffle=True.'), ('P23', 'validation', 'Hold ... validate(model) -> number.')]
    """
    begun = time.perf_counter()
    setup = Setup(model, data, loss_fn, optimizer, schedule, steps, validate, scaler, clip_grad_norm, stopping)
    things = [thing for thing in (optimizer, schedule, scaler) if thing is not None]
    snapshot = Snapshot(model, *things, loader=data)
    try:
        for p in model.parameters():
            p.grad = None  # the snapshot has it; a loss that goes round the copy would add to what is in it
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the checks say it better
            seen = observe(setup)
            results = judged(seen)
    finally:  # twice, since Ctrl-C may come before the first has begun
        try:
            unbroken(snapshot.restore)
        finally:
            unbroken(snapshot.restore)
    numbers = sum(role.param.numel() for role in seen.roles)
    parts = [
        f"{type(model).__name__}, {numbers:,} parameters",
        *([] if optimizer is None else [type(optimizer).__name__]),
        *([] if steps is None else [f"{steps:,} steps"]),
        f"{len(seen.passes)} batches looked at",
    ]
    return Report("; ".join(parts), time.perf_counter() - begun, results)
