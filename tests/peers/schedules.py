"""Our schedules and those of other libraries, in the same words: a row for each shape that they share.

Where conventions differ, the row says how theirs is written in ours.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamas.schedules import (
    Schedule,
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

STEPS = 10_000
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """A shape of a peer, and ours.

    Attributes:
        peer: the library.
        theirs: its name for the shape, with what matters.
        ours: the same in ours.
        values: theirs at the steps 0 to `STEPS`, exclusive.
        momentum: β₁ is compared, not η.
        bound: how far they may be apart: what rounding explains, in float64, or float32 where that is theirs.
    """

    peer: str
    theirs: str
    ours: Schedule
    values: Callable[[], Values]
    momentum: bool = False
    bound: float = 1e-12

    def difference(self) -> float:
        """The largest one, over all steps."""
        function = self.ours.momentum if self.momentum else self.ours
        assert function is not None
        return float(np.abs(function(np.arange(STEPS)) - self.values()).max())


def installed(peer: str) -> bool:
    """Whether the peer is there."""
    return find_spec(peer) is not None


def rows() -> Iterator[Row]:
    """All of them, installed or not."""
    yield from _torch()
    yield from _transformers()
    yield from _optax()
    yield from _timm()
    yield from _keras()


# -- torch -----------------------------------------------------------------------------------------------------------


def _stepped(make: Callable[[Any, Any], Any], key: str = "lr", groups: dict[str, Any] | None = None) -> Values:
    """What a torch scheduler does to an optimizer, step by step."""
    import torch

    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    optimizer.step()  # so that torch does not think that the scheduler went first
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own schedules: SequentialLR calls step with an epoch
        scheduler = make(torch.optim.lr_scheduler, optimizer)
        values = np.empty(STEPS)
        for t in range(STEPS):
            group = optimizer.param_groups[0]
            values[t] = group["lr"] if key == "lr" else group["betas"][0]
            if t < STEPS - 1:
                scheduler.step()
    return values


def _torch() -> Iterator[Row]:
    def row(theirs: str, ours: Schedule, make: Callable[[Any, Any], Any], bound: float = 1e-12) -> Row:
        return Row("torch", theirs, ours, lambda: _stepped(make), bound=bound)

    n = STEPS
    yield row("LambdaLR(f)", warmup(500) >> cosine(n - 500), lambda s, o: s.LambdaLR(o, warmup(500) >> cosine(n - 500)))
    yield row("ConstantLR(0.3, 500)", constant(0.3)[:500] >> constant(), lambda s, o: s.ConstantLR(o, 0.3, 500))
    # torch's own goes from step to step by a product, whose rounding errors add up.
    yield row("LinearLR(0.1, 1, 500)", warmup(500, start=0.1), lambda s, o: s.LinearLR(o, 0.1, 1.0, 500))
    yield row("LinearLR(1, 0.1, 9000)", linear(9000, end=0.1), lambda s, o: s.LinearLR(o, 1.0, 0.1, 9000))
    yield row("StepLR(1000, 0.5)", step_decay(1000, factor=0.5), lambda s, o: s.StepLR(o, 1000, 0.5))
    yield row(
        "MultiStepLR([3000, 6000], 0.1)", multi_step([3000, 6000]), lambda s, o: s.MultiStepLR(o, [3000, 6000], 0.1)
    )
    yield row("ExponentialLR(0.9995)", exponential(0.9995), lambda s, o: s.ExponentialLR(o, 0.9995))
    yield row("PolynomialLR(9000, 2)", polynomial(9000, power=2), lambda s, o: s.PolynomialLR(o, 9000, 2.0))
    # torch's recursion divides by what is almost 0 near its end.
    yield row(
        "CosineAnnealingLR(10000, 0.1)",
        cosine(n, floor=0.1),
        lambda s, o: s.CosineAnnealingLR(o, n, 0.1),
        bound=1e-10,
    )
    yield row(
        "CosineAnnealingWarmRestarts(1000)",
        cosine_restarts(1000, floor=0.1),
        lambda s, o: s.CosineAnnealingWarmRestarts(o, 1000, eta_min=0.1),
    )
    yield row(
        "CosineAnnealingWarmRestarts(100, 3)",
        cosine_restarts(100, multiplier=3),
        lambda s, o: s.CosineAnnealingWarmRestarts(o, 100, 3),
    )
    yield row(
        "SequentialLR([LinearLR, CosineAnnealingLR], [500])",
        warmup(500, start=0.1) >> cosine(n - 500),
        lambda s, o: s.SequentialLR(o, [s.LinearLR(o, 0.1, 1.0, 500), s.CosineAnnealingLR(o, n - 500)], [500]),
        bound=1e-10,
    )
    for anneal, word in (("cosine", "cos"), ("linear", "linear")):
        # torch's peak is at step 0.3·n − 1 and its end at step n − 1.
        ours = one_cycle(n - 1, peak_at=(0.3 * n - 1) / (n - 1), anneal=anneal)

        def make(s: Any, o: Any, word: str = word) -> Any:
            return s.OneCycleLR(o, 1.0, n, pct_start=0.3, anneal_strategy=word)

        yield row(f"OneCycleLR(1, 10000, anneal_strategy={word!r})", ours, make)
        yield Row(
            "torch", f"OneCycleLR, β₁, {word!r}", ours, lambda make=make: _stepped(make, key="betas"), momentum=True
        )


# -- transformers ----------------------------------------------------------------------------------------------------


def _transformers() -> Iterator[Row]:
    def row(name: str, told: str, ours: Schedule, **options: Any) -> Row:
        def make(s: Any, o: Any) -> Any:
            import transformers.optimization

            return getattr(transformers.optimization, f"get_{name}")(o, **options)

        return Row("transformers", f"{name}({told})", ours, lambda: _stepped(make))

    n, w = STEPS, 500
    run = {"num_warmup_steps": w, "num_training_steps": n}
    rise = warmup(w, start=0)
    yield row("constant_schedule", "", constant())
    yield row("constant_schedule_with_warmup", "500", rise, num_warmup_steps=w)
    yield row("linear_schedule_with_warmup", "500, 10000", rise >> linear(n - w), **run)
    yield row("cosine_schedule_with_warmup", "500, 10000", rise >> cosine(n - w), **run)
    yield row(
        "cosine_with_hard_restarts_schedule_with_warmup",
        "500, 10000, 5",
        rise >> cosine_restarts((n - w) // 5, cycles=5),
        num_cycles=5,
        **run,
    )
    yield row(
        "polynomial_decay_schedule_with_warmup",
        "500, 9500, 0.1, 2",
        rise >> polynomial(n - 1000, power=2, floor=0.1),
        num_warmup_steps=w,
        num_training_steps=n - 500,
        lr_end=0.1,
        power=2.0,
    )
    yield row("inverse_sqrt_schedule", "500", rise >> inverse_sqrt(w), num_warmup_steps=w)
    yield row(
        "cosine_with_min_lr_schedule_with_warmup",
        "500, 10000, 0.1",
        rise >> cosine(n - w, floor=0.1),
        min_lr_rate=0.1,
        **run,
    )
    # This one of theirs warms up from 1/n, as ours does, and is one step ahead after it.
    yield row(
        "cosine_with_min_lr_schedule_with_warmup_lr_rate",
        "500, 10000, 0.1",
        warmup(w) >> cosine(n - w, floor=0.1)[1:],
        min_lr_rate=0.1,
        **run,
    )
    for word, decay in (("linear", linear(2000)), ("cosine", cosine(2000)), ("1-sqrt", one_minus_sqrt(2000))):
        yield row(
            "wsd_schedule",
            f"500, 2000, 10000, {word!r}",
            rise >> constant()[: n - w - 2000] >> decay,
            num_decay_steps=2000,
            decay_type=word,
            **run,
        )


# -- optax -----------------------------------------------------------------------------------------------------------


def _optax() -> Iterator[Row]:
    def row(told: str, ours: Schedule, make: Callable[[Any], Any]) -> Row:
        def values() -> Values:
            os.environ.setdefault("JAX_PLATFORMS", "cpu")
            import jax
            import optax

            # Theirs computes in float32 unless told: this is about conventions, not about rounding.
            with jax.enable_x64(True):
                return np.asarray(jax.vmap(make(optax))(np.arange(STEPS)), np.float64) * np.ones(STEPS)

        return Row("optax", told, ours, values, bound=1e-12)

    n = STEPS
    yield row("constant_schedule(1)", constant(), lambda o: lambda t: o.constant_schedule(1.0)(t) + 0.0 * t)
    yield row("linear_schedule(0.1, 1, 500)", warmup(500, start=0.1), lambda o: o.linear_schedule(0.1, 1.0, 500))
    yield row("linear_schedule(1, 0, 9000)", linear(9000), lambda o: o.linear_schedule(1.0, 0.0, 9000))
    yield row(
        "polynomial_schedule(1, 0.1, 2, 9000)",
        polynomial(9000, power=2, floor=0.1),
        lambda o: o.polynomial_schedule(1.0, 0.1, 2, 9000),
    )
    yield row(
        "piecewise_constant_schedule(1, {3000: 0.1, 6000: 0.1})",
        multi_step([3000, 6000]),
        lambda o: o.piecewise_constant_schedule(1.0, {3000: 0.1, 6000: 0.1}),
    )
    yield row(
        "exponential_decay(1, 1000, 0.5)",
        exponential(0.5, every=1000),
        lambda o: o.exponential_decay(1.0, 1000, 0.5),
    )
    yield row(
        "exponential_decay(1, 1000, 0.5, staircase=True)",
        step_decay(1000, factor=0.5),
        lambda o: o.exponential_decay(1.0, 1000, 0.5, staircase=True),
    )
    yield row(
        "cosine_decay_schedule(1, 9000, 0.1)",
        cosine(9000, floor=0.1),
        lambda o: o.cosine_decay_schedule(1.0, 9000, 0.1),
    )
    yield row(
        "warmup_cosine_decay_schedule(0, 1, 500, 10000)",
        warmup(500, start=0) >> cosine(n - 500),
        lambda o: o.warmup_cosine_decay_schedule(0.0, 1.0, 500, n),
    )
    yield row(
        "sgdr_schedule, two cycles",
        warmup(100, start=0) >> cosine(900) >> warmup(100, start=0) >> cosine(1900),
        lambda o: o.sgdr_schedule(
            [
                {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 100, "decay_steps": steps, "end_value": 0.0}
                for steps in (1000, 2000)
            ]
        ),
    )
    yield row("cosine_onecycle_schedule(9000, 1)", one_cycle(9000), lambda o: o.cosine_onecycle_schedule(9000, 1.0))
    yield row(
        "linear_onecycle_schedule(9000, 1)",
        linear(2700, start=0.04, end=1) >> linear(4950, end=0.04) >> linear(1350, start=0.04, end=4e-6),
        lambda o: o.linear_onecycle_schedule(9000, 1.0),
    )
    yield row(
        "join_schedules",
        wsd(9000, warmup=500, decay=2000),
        lambda o: o.join_schedules(
            [o.linear_schedule(1 / 500, 1.0, 499), o.constant_schedule(1.0), o.linear_schedule(1.0, 0.0, 2000)],
            [500, 7000],
        ),
    )


# -- timm ------------------------------------------------------------------------------------------------------------


def _timm() -> Iterator[Row]:
    def row(name: str, told: str, ours: Schedule, **options: Any) -> Row:
        def values() -> Values:
            import timm.scheduler
            import torch

            optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
            made = getattr(timm.scheduler, name)(optimizer, t_in_epochs=False, **options)
            found = np.empty(STEPS)
            for t in range(STEPS):
                made.step_update(t)
                found[t] = optimizer.param_groups[0]["lr"]
            return found

        return Row("timm", f"{name}({told})", ours, values)

    n = STEPS
    yield row("CosineLRScheduler", "10000, lr_min=0.1", cosine(n, floor=0.1), t_initial=n, lr_min=0.1)
    # Without a prefix the warm-up lies over the first steps of the cosine.
    yield row(
        "CosineLRScheduler",
        "10000, warmup_t=500",
        warmup(500, start=0.01) >> cosine(n)[500:],
        t_initial=n,
        warmup_t=500,
        warmup_lr_init=0.01,
    )
    yield row(
        "CosineLRScheduler",
        "9500, warmup_t=500, warmup_prefix=True",
        warmup(500, start=0) >> cosine(n - 500),
        t_initial=n - 500,
        warmup_t=500,
        warmup_lr_init=0.0,
        warmup_prefix=True,
    )
    yield row(
        "CosineLRScheduler",
        "1000, cycle_mul=2, cycle_limit=3",
        cosine_restarts(1000, multiplier=2, cycles=3),
        t_initial=1000,
        cycle_mul=2.0,
        cycle_limit=3,
    )
    yield row(
        "CosineLRScheduler",
        "1000, cycle_decay=0.5, cycle_limit=20",
        cosine_restarts(1000) * step_decay(1000, factor=0.5),
        t_initial=1000,
        cycle_decay=0.5,
        cycle_limit=20,
    )
    yield row("StepLRScheduler", "1000, 0.5", step_decay(1000, factor=0.5), decay_t=1000, decay_rate=0.5)
    # Its bisection takes the milestone itself to the right: one step early.
    yield row(
        "MultiStepLRScheduler", "[3000, 6000], 0.1", multi_step([2999, 5999]), decay_t=[3000, 6000], decay_rate=0.1
    )
    yield row(
        "PolyLRScheduler", "10000, power=2", polynomial(n, power=2, floor=0.1), t_initial=n, power=2.0, lr_min=0.1
    )


# -- Keras -----------------------------------------------------------------------------------------------------------


def _keras() -> Iterator[Row]:
    def row(told: str, ours: Schedule, make: Callable[[Any], Any]) -> Row:
        def values() -> Values:
            os.environ.setdefault("KERAS_BACKEND", "jax" if installed("jax") else "torch")
            import keras

            made = make(keras.optimizers.schedules)
            steps = keras.ops.arange(STEPS, dtype="float32")
            if keras.backend.backend() == "jax":
                import jax

                return np.asarray(jax.vmap(made)(steps), np.float64)
            return np.array([float(made(step)) for step in steps])

        return Row("keras", told, ours, values, bound=2e-6)  # theirs is float32

    n = STEPS
    yield row("CosineDecay(1, 9000, alpha=0.1)", cosine(9000, floor=0.1), lambda s: s.CosineDecay(1.0, 9000, alpha=0.1))
    yield row(
        "CosineDecay(0, 9500, warmup_target=1, warmup_steps=500)",
        warmup(500, start=0) >> cosine(n - 500),
        lambda s: s.CosineDecay(0.0, n - 500, warmup_target=1.0, warmup_steps=500),
    )
    yield row(
        "CosineDecayRestarts(1, 1000, t_mul=1)",
        cosine_restarts(1000),
        lambda s: s.CosineDecayRestarts(1.0, 1000, t_mul=1.0),
    )
    yield row(
        "ExponentialDecay(1, 1000, 0.5)", exponential(0.5, every=1000), lambda s: s.ExponentialDecay(1.0, 1000, 0.5)
    )
    yield row(
        "PolynomialDecay(1, 9000, 0.1, 2)",
        polynomial(9000, power=2, floor=0.1),
        lambda s: s.PolynomialDecay(1.0, 9000, 0.1, 2.0),
    )
    # Its boundaries belong to the piece before.
    yield row(
        "PiecewiseConstantDecay([3000, 6000], [1, 0.1, 0.01])",
        multi_step([3001, 6001]),
        lambda s: s.PiecewiseConstantDecay([3000, 6000], [1.0, 0.1, 0.01]),
    )
