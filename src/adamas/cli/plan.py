"""`adamas plan`."""

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from adamas.cli.show import find, values
from adamas.errors import InputError
from adamas.plan.devices import STRATEGIES, Budget, budget, in_bytes, in_units
from adamas.plan.step import Step
from adamas.plan.weights import Weights, weights
from adamas.tail import STATE_DTYPES, Tail

if TYPE_CHECKING:
    from rich.table import Table

_DTYPES = ("float32", "bfloat16", "float16")
_NOT_COUNTED = (
    "Bytes on the fullest device; moved: what a step reads and writes at least, by the device that moves most. Not "
    "counted: activations, buffers, communication and what it gathers, the allocator's reserve."
)
_INEXACT = (
    "A number has no shapes: one tensor is supposed, split evenly. A module or a file of weights has exact shares."
)


def _bandwidth(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    """Bytes a second."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]*\.?[0-9]+) ?([kMGT]?)B/s", text.strip())
    rate = float(match[1]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[match[2]] if match else 0.0
    if not rate:
        raise InputError(f"--bandwidth {text!r} is no rate of bytes: give one as 60GB/s or 3.35TB/s.")
    return rate


def _or_all(names: tuple[str, ...]) -> click.Choice[str]:
    return click.Choice([*names, "all"])


@click.command()
@click.argument("model")
@click.option("--rule", default="adamw", show_default=True, metavar="NAME", help="See `adamas rules`; or file.py:name.")
@click.option(
    "--option", "options", multiple=True, callback=values, metavar="NAME=VALUE", help="As --option amsgrad=True."
)
@click.option("--devices", default=1, show_default=True, type=click.IntRange(min=1), help="That train together.")
@click.option("--strategy", default="all", show_default=True, type=_or_all(STRATEGIES))
@click.option("--dtype", type=click.Choice(_DTYPES), help="Of the weights. Default: their own; of a number float32.")
@click.option("--grad-dtype", type=click.Choice(_DTYPES), help="Of the gradients. Default: that of the weights.")
@click.option("--state-dtype", default="all", show_default=True, type=_or_all(STATE_DTYPES))
@click.option("--ema", is_flag=True, help="Keep an average of the weights.")
@click.option("--clip", is_flag=True, help="Clip to a norm: all gradients are read once more.")
@click.option("--bandwidth", callback=_bandwidth, metavar="RATE", help="Of a device's memory, as 60GB/s or 3.35TB/s.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on stdout.")
def plan(
    model: str,
    rule: str,
    options: dict[str, Any],
    devices: int,
    strategy: str,
    dtype: str | None,
    grad_dtype: str | None,
    state_dtype: str,
    ema: bool,
    clip: bool,
    bandwidth: float | None,
    as_json: bool,
) -> None:
    """Say what an optimizer keeps and moves on each device, in bytes, and how long a step takes at least.

    MODEL is a number of parameters (124M, 1.3e9), a file weights.safetensors, of which the header is read, or
    model.py:name, a torch module or a function that makes one.
    """
    found = find(rule)
    tail = Tail(clip_grad_norm=1.0 if clip else None, ema_decay=0.999 if ema else None)
    held = weights(model).cast(dtype)
    # One device, or a rule without states: the rows would be the same.
    strategies = STRATEGIES[: 1 if devices == 1 else None] if strategy == "all" else (strategy,)
    kinds = STATE_DTYPES[: None if found.states(**options) else 1] if state_dtype == "all" else (state_dtype,)
    steps = [Step.of(found, options, tail, kind, grad_dtype) for kind in kinds]
    rows = [budget(held, step, name, devices) for name in strategies for step in steps]
    if as_json:
        click.echo(
            json.dumps(
                {
                    "model": model,
                    "parameters": held.elements,
                    "exact": held.exact,
                    "rule": found.name,
                    "options": options,
                    "devices": devices,
                    "bytes_per_second": bandwidth,
                    "rows": [_plain(row, bandwidth) for row in rows],
                },
                indent=1,
            )
        )
        return
    from rich.console import Console

    console = Console(highlight=False)
    where = f", {devices} devices" if devices > 1 else ""
    console.print(f"{model}: {_parameters(held)}; {found.name}{where}", markup=False)
    console.print(_table(rows, devices, ema, bandwidth))
    console.print(_NOT_COUNTED if held.exact or devices == 1 else f"{_INEXACT} {_NOT_COUNTED}", markup=False)


def _plain(row: Budget, bandwidth: float | None) -> dict[str, Any]:
    floor = None if bandwidth is None else 1e3 * row.floor(bandwidth)
    return {**vars(row), "total": row.total, "floor_ms": floor}


def _parameters(held: Weights) -> str:
    if not held.exact:
        return f"{held.elements:,} parameters"
    frozen = f", {len(held.frozen)} of them frozen" if held.frozen else ""
    tensors = len(held.trained) + len(held.frozen)
    return f"{held.elements:,} parameters in {tensors} tensor{'s' if tensors > 1 else ''}{frozen}"


def _table(rows: Sequence[Budget], devices: int, average: bool, bandwidth: float | None) -> "Table":
    from rich import box
    from rich.table import Table

    names = ["weights", "gradients", "states", *(["average"] if average else []), "total", "moved"]
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in [*(["strategy"] if devices > 1 else []), "states in"]:
        grid.add_column(name)
    for name in [*names, *(["floor"] if bandwidth else [])]:
        grid.add_column(name, justify="right", no_wrap=True)
    before = ""
    for row in rows:
        strategy = ["" if row.strategy == before else row.strategy] if devices > 1 else []
        floor = [_time(row.floor(bandwidth))] if bandwidth else []
        grid.add_row(*strategy, row.state_dtype, *(in_bytes(getattr(row, name)) for name in names), *floor)
        before = row.strategy
    return grid


def _time(seconds: float) -> str:
    return in_units(1e9 * seconds, 1000, ("ns", "µs", "ms", "s"))
