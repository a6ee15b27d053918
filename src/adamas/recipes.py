"""Optimizer, schedule, clipping and decay groups in one call, each value with its reason and its source.

>>> import torch
>>> import adamas
>>> model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
>>> recipe = adamas.recipes.general(model, steps=3000, batch_size=128)
>>> print(recipe.code())
from adamas.schedules import cosine, warmup
from adamas.torch import AdamW, decay_groups, schedule
<BLANKLINE>
optimizer = AdamW(
    decay_groups(model, weight_decay=0.01),
    lr=0.001,
    betas=(0.9, 0.9966666666666667),
    eps=1e-08,
    clip_grad_norm=1.0,
)
scheduler = schedule(optimizer, warmup(300) >> cosine(2700))

torch is imported when a recipe is called, not before.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple

from adamas.errors import InputError, InputTypeError, unknown

if TYPE_CHECKING:
    from rich.table import Table
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from adamas.schedules import Schedule

_OURS = "Adamas"
_KINGMA = "Kingma & Ba 2015, Alg. 1"
_MALLADI = "Malladi et al. 2022, §5"
_GOYAL = "Goyal et al. 2017, §2"
_GPT3 = "Brown et al. 2020, App. B"
_COSINE = "Loshchilov & Hutter 2017, eq. 5"
_NO_DECAY = "He et al. 2019, §3.1"


# -- scaling to a batch size -----------------------------------------------------------------------------------------


class Scaled(NamedTuple):
    """Hyperparameters for another batch size.

    Attributes:
        k: how many times as large the batch is.
        lr: η.
        betas: β₁ and β₂; None for SGD, whose momentum stays.
        eps: ε; None for SGD.
        warmup: steps of warm-up, over as many samples as before; at least 1 if there were any.
    """

    k: float
    lr: float
    betas: tuple[float, float] | None
    eps: float | None
    warmup: int


def scale_batch(
    family: str,
    batch_size: int,
    reference: int,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    warmup: int = 0,
) -> Scaled:
    """Hyperparameters that were good at one batch size, for another one.

    With k = batch_size/reference:

    - "adam": η√k, 1 − β ∝ k for both, ε/√k (Malladi et al. 2022, "On the SDEs and Scaling Rules for Adaptive Gradient
      Algorithms", §5). β₂ then averages over as many samples as before.
    - "sgd": ηk, momentum as it is (Goyal et al. 2017, §2.1).

    Either way a run over the same samples has 1/k of the steps, and so has its warm-up.

    Args:
        family: "adam" or "sgd"; the former for all that divide by √v.
        batch_size: samples in a step, over all devices.
        reference: the batch size at which the other arguments were good.
        lr: η there.
        betas: β₁, β₂ there; without meaning for SGD.
        eps: ε there; likewise.
        warmup: steps there.

    Raises:
        InputError: for a value that cannot be, and where k is so large that a β would be negative.

    >>> scale_batch("adam", 512, 128, lr=1e-3, warmup=2000)
    Scaled(k=4.0, lr=0.002, betas=(0.6, 0.996), eps=5e-09, warmup=500)
    >>> scale_batch("sgd", 64, 256, lr=0.1, warmup=100)
    Scaled(k=0.25, lr=0.025, betas=None, eps=None, warmup=400)
    """
    if family not in ("adam", "sgd"):
        raise unknown("family", family, ["adam", "sgd"])
    k = _count("batch_size", batch_size) / _count("reference", reference)
    lr, warmup = _positive("lr", lr), _count("warmup", warmup, 0)
    shorter = max(1, round(warmup / k)) if warmup else 0
    if family == "sgd":
        return Scaled(k, lr * k, None, None, shorter)
    eps = _positive("eps", eps, zero=True)
    rates = [1 - _rate(f"betas[{i}]", beta) for i, beta in enumerate(betas)]
    if max(rates) * k > 1:
        raise InputError(
            f"A batch of {batch_size} is {k:g} times {reference}, and 1 − β ∝ k would leave β = "
            f"{1 - max(rates) * k:.3g}: the rule ends at a batch of {math.floor(reference / max(rates))}."
        )
    # 12 digits, so that 1 − 4·(1 − 0.9) is 0.6
    beta1, beta2 = (round(1 - rate * k, 12) for rate in rates)
    return Scaled(k, lr * math.sqrt(k), (beta1, beta2), eps / math.sqrt(k), shorter)


def _count(name: str, value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputTypeError(f"{name} is {value!r}: it must be a whole number from {least} on.")
    if value < least:
        raise InputError(f"{name} is {value}: it must be a whole number from {least} on.")
    return int(value)


def _positive(name: str, value: Any, zero: bool = False) -> float:
    words = "0 or more" if zero else "above 0"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputTypeError(f"{name} is {value!r}: it must be a number {words}.")
    if not (0 <= float(value) < math.inf and (zero or value)):
        raise InputError(f"{name} is {value}: it must be a finite number {words}.")
    return float(value)


def _rate(name: str, value: Any) -> float:
    if not 0 <= _positive(name, value, zero=True) < 1:
        raise InputError(f"{name} is {value}: it must be at least 0 and less than 1.")
    return float(value)


# -- recipes ---------------------------------------------------------------------------------------------------------


class Choice(NamedTuple):
    """One line of a recipe: a value, why it is this one, and who says so."""

    name: str
    value: Any
    reason: str
    source: str


@dataclass(frozen=True, eq=False)
class Recipe:
    """What a recipe has made; shown as a table.

    Attributes:
        optimizer: to step, clipping included.
        schedule: to step once after each step of the optimizer.
        choices: every value, with its reason and source.
        clip_grad_norm: what the optimizer clips to, or None.
        names: of the parameters of each group: "decay" and "no decay".
    """

    name: str
    optimizer: "Optimizer"
    schedule: "LRScheduler"
    choices: tuple[Choice, ...]
    names: dict[str, list[str]]
    _arguments: dict[str, Any]
    _factor: "Schedule"

    @property
    def clip_grad_norm(self) -> float | None:
        return self._arguments.get("clip_grad_norm")

    @property
    def factor(self) -> "Schedule":
        """The schedule as a function of the step, of every group's η."""
        return self._factor

    def code(self, lr: float | None = None) -> str:
        """Python that builds the same optimizer and schedule from ``model``.

        Args:
            lr: η, where it is not to be the recipe's own.
        """
        kind = type(self.optimizer).__name__
        arguments = self._arguments if lr is None else {**self._arguments, "lr": lr}
        decay = f"decay_groups(model, weight_decay={self._arguments['weight_decay']!r})"
        rest = [f"{name}={value!r}" for name, value in arguments.items() if name != "weight_decay"]
        return (
            "from adamas.schedules import cosine, warmup\n"
            f"from adamas.torch import {kind}, decay_groups, schedule\n\n"
            f"optimizer = {kind}(\n" + "".join(f"    {line},\n" for line in [decay, *rest]) + ")\n"
            f"scheduler = schedule(optimizer, {self._factor!r})"
        )

    def _rows(self) -> Iterator[tuple[str, str, str, str]]:
        for choice in self.choices:
            yield choice.name, _said(choice.value), choice.reason, choice.source

    def __rich__(self) -> "Table":
        from rich import box
        from rich.table import Table

        grid = Table(title=f"{self.name}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        grid.add_column("what", no_wrap=True)
        grid.add_column("value", style="bold")
        grid.add_column("why", ratio=3)
        grid.add_column("source", style="dim", ratio=2)
        for row in self._rows():
            grid.add_row(*row)
        return grid

    def __str__(self) -> str:
        from io import StringIO

        from rich.console import Console

        console = Console(file=StringIO(), width=120)
        console.print(self)
        return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]

    def _repr_html_(self) -> str:
        from html import escape

        def row(cells: tuple[str, ...], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag} style='text-align:left'>{escape(c)}</{tag}>" for c in cells) + "</tr>"

        body = "".join(row(cells, "td") for cells in self._rows())
        head = row(("what", "value", "why", "source"), "th")
        return f"<table><caption>{escape(self.name)}</caption>{head}{body}</table>"


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_said(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def general(model: "nn.Module", *, steps: int, batch_size: int) -> Recipe:
    """AdamW for a network about which nothing else is known.

    Args:
        model: what to train.
        steps: of the optimizer, in the whole run.
        batch_size: samples in a step, over all devices.

    Raises:
        InputError: for a number below 1, or where nothing requires a gradient.
    """
    steps, k = _count("steps", steps), _count("batch_size", batch_size) / 128
    beta2 = _beta2(0.999, k, steps, _KINGMA)
    warmup = _untuned_warmup(beta2.value, steps)
    return _adamw(
        "general",
        model,
        steps,
        _rate_by_root(1e-3, k, "α of the paper, at its batches of 128", f"{_KINGMA} and §6; {_MALLADI}"),
        beta2,
        Choice("ε", 1e-8 / math.sqrt(k), f"10⁻⁸, scaled as 1/√k, k = {k:g}", f"{_KINGMA}; {_MALLADI}"),
        Choice("λ", 0.01, "mild; decoupled from the gradient", "torch's default; Loshchilov & Hutter 2019, Alg. 2"),
        warmup,
        Choice("floor", 0.0, "of the cosine: η falls to 0 at the end of the run", _COSINE),
    )


def transformer(model: "nn.Module", *, steps: int, batch_size: int) -> Recipe:
    """AdamW as GPT-3 was trained, for transformers of any size.

    Args:
        model: what to train.
        steps: of the optimizer, in the whole run.
        batch_size: sequences of 2048 tokens in a step, over all devices; where yours are shorter, the number of tokens
            ÷ 2048.

    Raises:
        InputError: for a number below 1, or where nothing requires a gradient.
    """
    from adamas.torch.roles import roles

    steps, k = _count("steps", steps), _count("batch_size", batch_size) / 256
    size = sum(role.param.numel() for role in roles(model))
    lr, listed = next((lr, n) for n, lr in reversed(_GPT3_RATES) if size >= n or n == _GPT3_RATES[0][0])
    what = f"of their model of {listed / 1e6:,.0f} M parameters (here {size:,}), at batches of 0.5 M tokens"
    beta2 = _beta2(0.95, k, steps, _GPT3)
    warmup = min(750, max(1, steps // 10))
    return _adamw(
        "transformer",
        model,
        steps,
        _rate_by_root(lr, k, what, f"Brown et al. 2020, Table 2.1; {_MALLADI}"),
        beta2,
        Choice("ε", 1e-8 / math.sqrt(k), f"10⁻⁸, scaled as 1/√k, k = {k:g}", f"{_GPT3}; {_MALLADI}"),
        Choice("λ", 0.1, "as theirs; decoupled from the gradient", _GPT3),
        Choice(
            "warm-up", warmup, "steps: 375 M tokens are 750, but no more than a tenth of the run", f"{_GPT3}; {_OURS}"
        ),
        Choice("floor", 0.1, "of the cosine: η falls to a tenth", _GPT3),
    )


#: Brown et al. 2020, Table 2.1: parameters, η.
_GPT3_RATES = (
    (125_000_000, 6.0e-4),
    (350_000_000, 3.0e-4),
    (760_000_000, 2.5e-4),
    (1_300_000_000, 2.0e-4),
    (2_700_000_000, 1.6e-4),
    (6_700_000_000, 1.2e-4),
    (13_000_000_000, 1.0e-4),
    (175_000_000_000, 0.6e-4),
)


def vision(model: "nn.Module", *, steps: int, batch_size: int) -> Recipe:
    """SGD with Nesterov's momentum as for ResNets, for convolutional networks with batch norm, at any batch size.

    Args:
        model: what to train. For vision transformers take `transformer`.
        steps: of the optimizer, in the whole run.
        batch_size: images in a step, over all devices.

    Raises:
        InputError: for a number below 1, or where nothing requires a gradient.
    """
    steps, k = _count("steps", steps), _count("batch_size", batch_size) / 256
    scaled = scale_batch("sgd", batch_size, 256, lr=0.1)
    warmup = max(1, round(steps / 18))
    choices = [
        Choice("η", scaled.lr, f"0.1 at batches of 256, scaled as k = {k:g}", f"{_GOYAL}.1"),
        Choice("momentum", 0.9, "Nesterov's; stays whatever the batch", "Goyal et al. 2017, §5.1"),
        Choice("λ", 1e-4, "as L2, which is the same for SGD", "He et al. 2016, §3.4"),
        Choice("warm-up", warmup, "steps, linear: 5 of their 90 epochs", f"{_GOYAL}.2"),
        Choice("floor", 0.0, "of the cosine: η falls to 0 at the end of the run", "He et al. 2019, §5.1"),
        Choice("clipping", None, "the papers train without", "Goyal et al. 2017, §5.1"),
    ]
    arguments = {"lr": scaled.lr, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}
    return _recipe("vision", "SGD", model, choices, arguments, steps, warmup, 0.0)


def large_batch(model: "nn.Module", *, steps: int, batch_size: int) -> Recipe:
    """AdamW for batches of 512 samples and more.

    Args:
        model: what to train.
        steps: of the optimizer, in the whole run.
        batch_size: samples in a step, over all devices.

    Raises:
        InputError: for a batch below 512, steps below 1, or where nothing requires a gradient.
    """
    steps, batch_size = _count("steps", steps), _count("batch_size", batch_size)
    if batch_size < 512:
        raise InputError(f"batch_size is {batch_size}: large_batch begins at 512; take adamas.recipes.general.")
    k = batch_size / 128
    beta2 = _beta2(0.999, k, steps, _KINGMA)
    share = min(0.2, batch_size / (512 * 320))
    warmup = max(round(share * steps), _untuned_warmup(beta2.value, steps).value)
    rate = _rate_by_root(1e-3, k, "α of the paper, at its batches of 128", f"{_KINGMA} and §6; {_MALLADI}")
    if rate.value > 1e-2:
        rate = Choice("η", 1e-2, f"√k, k = {k:g}, would ask for {rate.value:.2g}; held at 0.01", f"{_MALLADI}; {_OURS}")
    return _adamw(
        "large_batch",
        model,
        steps,
        rate,
        beta2,
        Choice("ε", 1e-8 / math.sqrt(k), f"10⁻⁸, scaled as 1/√k, k = {k:g}", f"{_KINGMA}; {_MALLADI}"),
        Choice(
            "λ",
            0.01 * k * 1e-3 / rate.value,
            f"0.01 at batches of 128; ηλ scaled as k = {k:g}, so that an epoch decays as much as before",
            "Wang & Aitchison 2024",
        ),
        Choice(
            "warm-up",
            warmup,
            f"steps: 1/320 of the run at 512, longer as the batch is larger, up to a fifth (here {share:.2g}); at "
            "least 2/(1 − β₂), or a tenth of the run",
            "You et al. 2020, BERT by untuned LAMB; Ma & Yarats 2021, untuned warm-up",
        ),
        Choice("floor", 0.0, "of the cosine: η falls to 0 at the end of the run", _COSINE),
    )


def _rate_by_root(lr: float, k: float, what: str, source: str) -> Choice:
    return Choice("η", lr * math.sqrt(k), f"{lr:g} {what}; scaled as √k, k = {k:g}", source)


def _beta2(beta2: float, k: float, steps: int, source: str) -> Choice:
    """β₂ over as many samples as at k = 1, but not over more than a tenth of the run, nor below 0.95."""
    scaled = 1 - (1 - beta2) * k
    shortest, tenth = 0.95, 1 - 10 / steps
    value = min(scaled, max(shortest, tenth)) if scaled > shortest else max(scaled, shortest)
    if value == scaled:
        return Choice("β₂", value, f"{beta2:g}, with 1 − β₂ scaled as k = {k:g}", f"{source}; {_MALLADI}")
    if scaled > value:
        why = f"averages over {1 / (1 - value):.0f} steps; {scaled:.5g} would over {1 / (1 - scaled):,.0f} of {steps:,}"
        return Choice("β₂", value, why, _OURS)
    return Choice(
        "β₂", value, f"1 − β₂ ∝ k, k = {k:g}, would leave {max(0.0, scaled):.3g}; not below", f"{_GPT3}; {_OURS}"
    )


def _untuned_warmup(beta2: float, steps: int) -> Choice:
    wanted = round(2 / (1 - beta2))
    value = max(1, min(wanted, steps // 10))
    said = "steps, linear: 2/(1 − β₂)" + (
        "" if value == wanted else f" would be {wanted}; no more than a tenth of the run"
    )
    return Choice(
        "warm-up", value, said, "Ma & Yarats 2021, untuned warm-up" + ("" if value == wanted else f"; {_OURS}")
    )


def _adamw(
    name: str, model: "nn.Module", steps: int, lr: Choice, beta2: Choice, eps: Choice, decay: Choice, warmup: Choice,
    floor: Choice,
) -> Recipe:  # fmt: skip
    choices = [
        lr,
        Choice(
            "β₁", 0.9, "stays: 1 − β₁ ∝ k would take momentum away where it helps most", f"{_KINGMA}; Zhang et al. 2019"
        ),
        beta2,
        eps,
        decay,
        warmup,
        floor,
        Choice("clipping", 1.0, "of the norm of all gradients together", f"Pascanu et al. 2013, Alg. 1; {_GPT3}"),
    ]
    arguments = {
        "lr": lr.value,
        "betas": (0.9, beta2.value),
        "eps": eps.value,
        "clip_grad_norm": 1.0,
        "weight_decay": decay.value,
    }
    return _recipe(name, "AdamW", model, choices, arguments, steps, warmup.value, floor.value)


_PLURALS = {"bias": "biases", "norm": "norms", "embedding": "embeddings", "vector": "vectors"}


def _recipe(
    name: str,
    kind: str,
    model: "nn.Module",
    choices: list[Choice],
    arguments: dict[str, Any],
    steps: int,
    warmup_steps: int,
    floor: float,
) -> Recipe:
    import adamas.torch
    from adamas.schedules import cosine, warmup
    from adamas.torch.roles import decay_groups, roles

    factor = warmup(warmup_steps)
    if steps > warmup_steps:
        factor = factor >> cosine(steps - warmup_steps, floor=floor)
    rest = {name: value for name, value in arguments.items() if name != "weight_decay"}
    optimizer = getattr(adamas.torch, kind)(decay_groups(model, arguments["weight_decay"]), **rest)
    known = roles(model)
    names = {
        "decay": [role.names[0] for role in known if role.decays],
        "no decay": [role.names[0] for role in known if not role.decays],
    }
    counts = {which: sum(role.param.numel() for role in known if role.decays is which) for which in (True, False)}
    kinds = sorted({_PLURALS[role.kind] for role in known if not role.decays}) or ["nothing"]
    tied = [" = ".join(role.names) for role in known if len(role.names) > 1]
    reason = f"with λ; {counts[False]:,} without: {', '.join(kinds)}" + (f". Tied: {'; '.join(tied)}" if tied else "")
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    reason += f". Frozen, left out: {frozen:,}" if frozen else ""
    lines = (
        Choice("optimizer", kind, f"for {steps:,} steps", ""),
        *choices,
        Choice("parameters", f"{counts[True]:,}", reason, _NO_DECAY),
    )
    return Recipe(name, optimizer, adamas.torch.schedule(optimizer, factor), lines, names, arguments, factor)
