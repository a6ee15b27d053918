"""What a training is, as somebody means to start it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, cast

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader

from adamas.errors import InputError, InputTypeError

#: Where losses come from that compare outputs with targets.
_CRITERIA = ("torch.nn.functional", "torch._C._nn")

Schedule = LRScheduler | ReduceLROnPlateau


@dataclass(frozen=True, eq=False)
class Setup:
    """Everything that is checked; the arguments of `preflight`."""

    model: nn.Module
    data: Iterable[Any]
    loss_fn: Callable[..., Any]
    optimizer: torch.optim.Optimizer | None = None
    schedule: Schedule | Callable[[int], float] | None = None
    steps: int | None = None
    validate: Callable[[nn.Module], Any] | None = None
    scaler: Any = None
    clip_grad_norm: float | None = None
    stopping: Any = None

    def __post_init__(self) -> None:
        given = cast(Any, self)
        if not isinstance(given.model, nn.Module):
            raise InputTypeError(f"The model is a {type(self.model).__name__}: it must be a torch.nn.Module.")
        if not any(p.requires_grad for p in self.model.parameters()):
            raise InputError("The model has no parameter that requires a gradient: there is nothing to train.")
        if any(isinstance(p, nn.parameter.UninitializedParameter) for p in self.model.parameters()):
            raise InputError("The model has a lazy parameter without a shape: run one batch through it first.")
        if not hasattr(given.data, "__iter__"):
            raise InputTypeError(f"The data are a {type(self.data).__name__}: give a DataLoader or a list of batches.")
        if isinstance(given.data, Iterator):
            raise InputTypeError(
                "The data are an iterator: batches taken from it would be missing in training; give the DataLoader "
                "itself or a list of batches."
            )
        for name in ("loss_fn", "validate"):
            value = getattr(given, name)
            if not (callable(value) or (value is None and name == "validate")):
                raise InputTypeError(f"{name} is {value!r}: it must be a function of the model.")
        if not isinstance(given.optimizer, torch.optim.Optimizer | None):
            raise InputTypeError(
                f"The optimizer is a {type(self.optimizer).__name__}: it must be a torch.optim.Optimizer, or None."
            )
        if not (isinstance(given.schedule, Schedule | None) or callable(given.schedule)):
            raise InputTypeError(
                f"The schedule is a {type(self.schedule).__name__}: it must be one of torch.optim.lr_scheduler, or a "
                "function from the number of steps done to the factor of η."
            )
        if given.schedule is not None and given.optimizer is None:
            raise InputError("There is a schedule and no optimizer: give both.")
        if isinstance(given.steps, bool) or not isinstance(given.steps, Integral | None):
            raise InputTypeError(f"steps is {self.steps!r}: it must be a whole number from 1 on.")
        if given.steps is not None and given.steps < 1:
            raise InputError(f"steps is {self.steps}: it must be a whole number from 1 on.")
        clip = given.clip_grad_norm
        if clip is not None and not (isinstance(clip, Real) and 0 < float(clip) < float("inf")):
            raise InputError(f"clip_grad_norm is {clip!r}: it must be a finite number above 0, or None.")

    def loss(self, model: nn.Module, batch: Any) -> Any:
        """Of a batch."""
        if not (isinstance(self.loss_fn, nn.Module) or getattr(self.loss_fn, "__module__", "") in _CRITERIA):
            return self.loss_fn(model, batch)
        if not (isinstance(batch, tuple | list) and len(cast(list[Any], batch)) == 2):
            raise InputTypeError(
                f"A batch is a {type(batch).__name__}, and a loss of torch.nn takes pairs of inputs and targets: give "
                "loss_fn as a function of model and batch."
            )
        inputs, targets = cast(list[Any], batch)
        return self.loss_fn(model(inputs), targets)

    @property
    def clip(self) -> float | None:
        """What the norm of the gradients is clipped to, or their values, by the loop or by the optimizer itself."""
        tail = getattr(getattr(self.optimizer, "_stepper", None), "tail", None)
        return self.clip_grad_norm or getattr(tail, "clip_grad_norm", None) or getattr(tail, "clip_grad_value", None)

    @property
    def groups(self) -> list[dict[str, Any]]:
        return [] if self.optimizer is None else self.optimizer.param_groups

    def batches(self) -> Iterable[Any]:
        """One epoch. A DataLoader is read in this process, by a copy of it: its own workers stay where they are."""
        if type(self.data) is not DataLoader:
            return self.data
        reader = object.__new__(DataLoader)
        vars(reader).update(vars(self.data))
        alone = {"num_workers": 0, "persistent_workers": False, "prefetch_factor": None, "timeout": 0}
        vars(reader).update(alone, _iterator=None, _DataLoader__multiprocessing_context=None)
        return reader

    def scheduled(self, optimizer: torch.optim.Optimizer) -> LRScheduler | None:
        """The schedule for an optimizer that has none yet; None where it is no function of the step."""
        if self.schedule is None or isinstance(self.schedule, Schedule):
            return None
        return LambdaLR(optimizer, self.schedule)
