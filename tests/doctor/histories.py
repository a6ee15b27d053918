"""Runs as they might have been: numbers for each step, and facts, fed to a doctor."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from adamas.doctor import Doctor

Of = Callable[[int], float]


def falling(first: float = 2.3, last: float = 0.2, over: float = 60.0) -> Of:
    """A loss as it should be."""
    return lambda t: last + (first - last) * math.exp(-t / over)


WELL = falling()


def told(
    loss: Of = WELL,
    count: int = 200,
    steps: int | None = None,
    *,
    noise: float = 0.03,
    lr: Of = lambda t: 1e-3,
    ratio: Of = lambda t: 1e-3,
    norm: Of = lambda t: 1.0,
    weight: Of = lambda t: 10.0,
    scale: Of | None = None,
    validate: Of | None = None,
    train: Of | None = None,
    settings: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    setup: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Any] | None = None,
    doctor: Doctor | None = None,
    looks: int = 20,
) -> Doctor:
    """A doctor who has been told of a run of so many steps, with t from 0.

    Args:
        noise: of the loss, in parts of it.
    """
    rng = np.random.default_rng(7)
    given = {"rule": "adamw", "lr": 1e-3, "beta2": 0.999, "eps": 1e-8, **(settings or {})}
    doctor = doctor or Doctor(steps=steps, settings=given)
    doctor.run.setup.update(setup or {})
    for name, value in (facts or {}).items():
        doctor.note(name, value)
    for t in range(count):
        others: dict[str, Any] = {}
        if validate is not None and (t + 1) % max(1, count // looks) == 0:
            others["val_loss"] = validate(t)
            if train is not None:
                others["train_loss"] = train(t)
        if scale is not None:
            others["scale"] = scale(t)
        doctor.observe(
            loss(t) * (1 + noise * rng.standard_normal()),
            lr=lr(t),
            grad_norm=norm(t) * (1 + 0.1 * rng.standard_normal()),
            update_norm=ratio(t) * weight(t),
            param_norm=weight(t),
            tensors=tensors if tensors is not None and t % 10 == 9 else None,
            **others,
        )
    return doctor
