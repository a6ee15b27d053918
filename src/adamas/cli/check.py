"""`adamas check`."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from adamas.errors import InputError
from adamas.problems.base import need
from adamas.problems.module import NUMPY
from adamas.problems.usercode import blamed, load_module
from adamas.recipes import Recipe

if TYPE_CHECKING:
    from adamas.torch.checks import Report

_NEEDED = ("model", "batches", "loss")


@click.command()
@click.argument("file")
@click.option("--steps", type=int, help="Length of the run, in steps of the optimizer. Default: steps of the file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on stdout.")
def check(file: str, steps: int | None, as_json: bool) -> int:
    """Check the training that FILE defines before it is begun: data, labels, model, optimizer, schedule.

    FILE is a Python file as `adamas race` takes it: it defines model(), batches() and loss(model, batch), and best also
    validate(model), optimizer(model), schedule(optimizer) and steps. See examples/sick/healthy.py.

    Exit status: 0 if no check failed, 1 if one did, 2 for bad input.
    """
    report = _checked(Path(file), steps)
    if as_json:
        click.echo(json.dumps({"file": file, **report.as_dict()}, indent=1, ensure_ascii=False))
        return 0 if report.ok else 1
    from rich.console import Console

    Console(highlight=False, width=None if sys.stdout.isatty() else 120).print(report)
    return 0 if report.ok else 1


def _checked(path: Path, steps: int | None) -> "Report":
    """Everything that the file is asked for, and the checks.

    Raises:
        InputError: with the file's name and, where its code raised, the line.
    """
    if path.suffix != ".py":
        raise InputError(f"{path} is no Python file: give one that defines {', '.join(_NEEDED)}.")
    module = load_module(path)
    missing = [name for name in _NEEDED if not callable(getattr(module, name, None))]
    if missing:
        numpy = all(callable(getattr(module, name, None)) for name in NUMPY)
        what = (
            "is a problem for plain NumPy, which is raced and not checked" if numpy else f"lacks {', '.join(missing)}"
        )
        raise InputError(f"{path} {what}: a training defines model(), batches() and loss(model, batch).")
    torch: Any = need("torch", "torch")
    from adamas.torch import preflight

    torch.manual_seed(0)
    model = _call(path, module, "model")
    optimizer = _call(path, module, "optimizer", model)
    schedule = None
    if isinstance(optimizer, Recipe):
        optimizer, schedule = optimizer.optimizer, optimizer.schedule
    if optimizer is not None and hasattr(module, "schedule"):
        schedule = _call(path, module, "schedule", optimizer)
    data = _call(path, module, "batches")
    try:
        return preflight(
            model,
            data if isinstance(data, torch.utils.data.DataLoader) else _Epochs(path, module.batches),
            optimizer,
            schedule,
            loss_fn=_blaming(path, module, "loss"),
            steps=getattr(module, "steps", None) if steps is None else steps,
            validate=_blaming(path, module, "validate") if hasattr(module, "validate") else None,
            **{name: getattr(module, name, None) for name in ("scaler", "clip_grad_norm", "stopping")},
        )
    except InputError as error:
        raise error if str(error).startswith(str(path)) else InputError(f"{path}: {error}") from None


def _call(path: Path, module: ModuleType, name: str, *args: Any) -> Any:
    """What a function of the file returns; None if it has none of this name."""
    if not hasattr(module, name):
        return None
    return _blaming(path, module, name)(*args)


def _blaming(path: Path, module: ModuleType, name: str) -> Callable[..., Any]:
    function = getattr(module, name)

    def call(*args: Any) -> Any:
        with blamed(path, f"{name}()"):
            return function(*args)

    return call


class _Epochs:
    """The file's batches, asked for anew in each epoch."""

    def __init__(self, path: Path, batches: Callable[[], Iterable[Any]]) -> None:
        self._path, self._batches = path, batches

    def __iter__(self) -> Iterator[Any]:
        with blamed(self._path, "batches()"):
            yield from self._batches()
