"""Schedules of the learning rate: functions of the step in closed form, put together by ``>>``, ``*`` and slices.

>>> from adamas.schedules import cosine, warmup
>>> f = warmup(500) >> cosine(9_500, floor=0.1)
>>> f(0), f(500), f(10_000)
(0.002, 1.0, 0.1)

The same object serves every front: ``adamas.torch.schedule(opt, f)``, ``adamas.numpy.AdamW(params, lr=1e-3 * f)``,
``optax.adamw(1e-3 * f)``, ``adamas.keras.LearningRateSchedule(1e-3 * f)``.
"""

from adamas.schedules.base import Schedule
from adamas.schedules.reading import from_json, parse
from adamas.schedules.shapes import (
    constant,
    cosine,
    cosine_restarts,
    exponential,
    inverse_sqrt,
    linear,
    multi_step,
    one_cycle,
    one_minus_sqrt,
    polynomial,
    step_decay,
    warmup,
    wsd,
)

__all__ = [
    "Schedule",
    "constant",
    "cosine",
    "cosine_restarts",
    "exponential",
    "from_json",
    "inverse_sqrt",
    "linear",
    "multi_step",
    "one_cycle",
    "one_minus_sqrt",
    "parse",
    "polynomial",
    "step_decay",
    "warmup",
    "wsd",
]
