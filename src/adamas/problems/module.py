"""A user's Python file as a problem. The whole protocol is here; examples/my_problem.py is one.

A torch problem defines

    model() -> torch.nn.Module              the seed is set before it is called
    batches() -> an iterable of batches     one epoch; asked again when it is through; may shuffle with
    torch's RNG loss(model, batch) -> scalar tensor
    validate(model) -> float                in eval mode, without gradients

and a NumPy problem

    start(rng) -> array, or dict of arrays  rng is a numpy.random.Generator
    loss(params) -> float
    gradient(params, rng) -> same shapes    rng for mini-batches or noise; ignore it otherwise
    validate(params) -> float               may be left out: then it is the loss

Either may also set `higher_is_better = True` (where validate returns an accuracy) and `steps = 500`.

`adamas check` takes the same torch file, and looks at what else it defines of a training:

    optimizer(model)                        a torch optimizer, or one of `adamas.recipes`
    schedule(optimizer)                     one of torch.optim.lr_scheduler, or a function of the step
    clip_grad_norm, scaler, stopping        what the loop clips to, its GradScaler, what ends it early
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from adamas.errors import InputError
from adamas.problems.base import Measure, Problem, Training, need
from adamas.problems.usercode import blamed, digest, load_module

TORCH = ("model", "batches", "loss", "validate")
NUMPY = ("start", "loss", "gradient")


class ModuleProblem(Problem):
    """The problem a file defines. Pickled as its path: every worker loads the file itself.

    Attributes:
        code: the file, as a module.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.code = module = load_module(path)
        kind = "model" if hasattr(module, "model") else "start" if hasattr(module, "start") else None
        if kind is None:
            raise InputError(
                f"{path} defines no problem: a torch one defines {', '.join(TORCH)}; a NumPy one {', '.join(NUMPY)}."
            )
        self.front = "torch" if kind == "model" else "numpy"
        wanted = TORCH if kind == "model" else NUMPY
        missing = [name for name in wanted if not callable(getattr(module, name, None))]
        if missing:
            raise InputError(
                f"{path} defines {kind}() but no function {', '.join(missing)}; "
                f"such a problem defines {', '.join(wanted)}."
            )
        steps = getattr(module, "steps", 500)
        if not isinstance(steps, int) or steps < 1:
            raise InputError(f"{path} sets steps = {steps!r}; it must be a whole number from 1 on.")
        if self.front == "torch":
            need("torch", "torch")
        self.name, self.steps = path.name, steps
        self.about = f"{self.front} problem of {path}"
        self.measure = Measure("validate()", higher_is_better=bool(getattr(module, "higher_is_better", False)))

    def __reduce__(self) -> tuple[type["ModuleProblem"], tuple[Path]]:
        return ModuleProblem, (self.path.resolve(),)

    def begin(self, seed: int) -> Training:
        return _Torch(self.path, seed) if self.front == "torch" else _Numpy(self.path, seed)

    def fingerprint(self) -> str:
        return digest(self.path)

    def rehearse(self) -> None:
        """One step and one validation, so that a mistake shows before the race and not in the midst of it."""
        training = self.begin(0)
        training.validate()
        training.backward()


def _number(path: Path, function: str, value: Any) -> float:
    """A float, or who returned what instead."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{path}: {function}() returned {type(value).__name__}; it must be one number.") from None


class _Torch(Training):
    def __init__(self, path: Path, seed: int) -> None:
        import torch

        self._path, self._code = path, load_module(path)
        torch.manual_seed(seed)
        with blamed(path, "model()"):
            self.module = self._code.model()
            if not isinstance(self.module, torch.nn.Module):
                raise InputError(f"{path}: model() returned {type(self.module).__name__}, not a torch.nn.Module.")
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]
        if not self.parameters:
            raise InputError(f"{path}: model() has no parameter that requires a gradient: there is nothing to train.")
        self._batches = self._endless()

    def batch_size(self) -> int:
        """The first dimension of the first tensor in the next mini-batch, which stays the next one."""
        with blamed(self._path, "batches()"):
            batch = next(self._batches)
        self._batches = chain([batch], self._batches)
        size = _samples(batch)
        if size is None:
            raise InputError(f"{self._path}: batches() gives no tensor that says how many samples a batch has.")
        return size

    def _endless(self) -> Iterator[Any]:
        while True:
            some = False
            for batch in self._code.batches():
                some = True
                yield batch
            if not some:
                raise InputError(f"{self._path}: batches() gave no batch.")

    def backward(self) -> float:
        with blamed(self._path, "loss()"):
            batch = self.batch = next(self._batches)
            for p in self.parameters:
                p.grad = None
            loss = self._code.loss(self.module, batch)
            if not hasattr(loss, "backward") or loss.numel() != 1:
                raise InputError(f"{self._path}: loss() returned {type(loss).__name__}; it must be a scalar tensor.")
            loss.backward()
            return loss.item()

    def validate(self) -> tuple[float, float | None]:
        import torch

        self.module.eval()
        with blamed(self._path, "validate()"), torch.no_grad():
            value = self._code.validate(self.module)
        self.module.train()
        return _number(self._path, "validate", value), None


def _samples(batch: Any) -> int | None:
    if isinstance(batch, Mapping | list | tuple):
        parts: Any = batch.values() if isinstance(batch, Mapping) else batch
        return next((size for part in parts if (size := _samples(part)) is not None), None)
    shape = getattr(batch, "shape", None)
    return int(shape[0]) if shape else None


class _Numpy(Training):
    def __init__(self, path: Path, seed: int) -> None:
        self._path, self._code = path, load_module(path)
        self._rng = np.random.default_rng(seed)
        with blamed(path, "start()"):
            start = self._code.start(self._rng)
        self._single = not isinstance(start, dict)
        named: dict[str, Any] = {"params": start} if self._single else start
        try:
            self.parameters = {name: _floats(a) for name, a in named.items()}
        except (TypeError, ValueError):
            raise InputError(f"{path}: start() must return an array of numbers or a dict of such arrays.") from None

    def _theirs(self) -> Any:
        return self.parameters["params"] if self._single else self.parameters

    def backward(self) -> float:
        with blamed(self._path), np.errstate(over="ignore", invalid="ignore"):
            loss = self._code.loss(self._theirs())
            gradient = self._code.gradient(self._theirs(), self._rng)
        named = {"params": gradient} if self._single else gradient
        self.gradients = {}
        for name, p in self.parameters.items():
            if not isinstance(named, dict) or name not in named:
                raise InputError(f"{self._path}: gradient() gave none for {name!r}; return a dict as start() does.")
            g = np.asarray(named[name], p.dtype)
            if g.shape != p.shape:
                raise InputError(
                    f"{self._path}: gradient() has shape {g.shape} where the parameter has {p.shape}; "
                    "they must be the same."
                )
            self.gradients[name] = g
        return _number(self._path, "loss", loss)

    def validate(self) -> tuple[float, float | None]:
        judge = "validate" if hasattr(self._code, "validate") else "loss"
        with blamed(self._path), np.errstate(over="ignore", invalid="ignore"):
            value = getattr(self._code, judge)(self._theirs())
        return _number(self._path, judge, value), None


def _floats(a: Any) -> Any:
    """A fresh array to train in place: floats stay as wide as they are, whole numbers become float64."""
    a = np.array(a)
    return a if np.issubdtype(a.dtype, np.floating) else a.astype(np.float64)
