"""A schedule at work on a torch optimizer."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from adamas.errors import InputError, InputTypeError
from adamas.schedules import Schedule


class Scheduler(LRScheduler):
    """Sets each group's ``lr`` to its base times the schedule's factor, and β₁ where the schedule moves it.

    A torch `LRScheduler`, for trainers that ask for one. The base is the group's ``initial_lr``, or its ``lr`` when it
    is first met; a group that joins later is met at the next step. Everything follows from the number of the step, so
    that is all a resume needs. torch's warning, that the scheduler went first, comes only where that is certain: not
    where a `GradScaler` has left out the step. Whoever would not have the schedule count such steps calls `step` after
    the others alone.

    Args:
        optimizer: any of torch's kind.
        schedule: one for all groups, or a list with one for each.
        step: how many steps have been taken.

    Raises:
        InputError: where β₁ is to be moved in a group that has neither ``betas`` nor ``momentum``.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, schedule: Schedule | Sequence[Schedule], step: int = 0
    ) -> None:
        if not isinstance(optimizer, torch.optim.Optimizer):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputTypeError(f"A {type(optimizer).__name__} is no torch optimizer: give one of adamas.torch.")
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"A schedule cannot begin at step {step!r}: give a whole number, 0 or more.")
        self.schedules = list(schedule) if isinstance(schedule, list | tuple) else [cast(Schedule, schedule)]
        if wrong := [s for s in self.schedules if not isinstance(s, Schedule)]:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputTypeError(
                f"A {type(wrong[0]).__name__} is no schedule: make one by adamas.schedules, or give a function of your "
                "own to torch's LambdaLR."
            )
        self._one = not isinstance(schedule, list | tuple)
        if not self._one and len(self.schedules) != len(optimizer.param_groups):
            raise InputError(
                f"There are {len(self.schedules)} schedules for {len(optimizer.param_groups)} groups: give one each, "
                "or one for all."
            )
        for k, (group, own) in enumerate(zip(optimizer.param_groups, self._each(optimizer), strict=True)):
            _refuse_unmoved(k, group, own)
        for group in optimizer.param_groups:  # after all checks: bad input leaves nothing behind
            _meet(group)
        super().__init__(optimizer, step - 1)

    def _each(self, optimizer: torch.optim.Optimizer) -> list[Schedule]:
        groups = optimizer.param_groups
        if self._one:
            return self.schedules * len(groups)
        if len(groups) != len(self.schedules):
            raise InputError(
                f"The optimizer has {len(groups)} groups now and there are {len(self.schedules)} schedules: "
                "one schedule for all groups takes in new ones."
            )
        return self.schedules

    def get_lr(self) -> list[Any]:
        """The η of each group at this step."""
        pairs = zip(self.optimizer.param_groups, self._each(self.optimizer), strict=True)
        return [_meet(group) * own(self.last_epoch) for group, own in pairs]

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next step, or to any: ``epoch`` is how many steps have been taken."""
        if self._step_count == 1 and epoch is None and _goes_first(self.optimizer):
            super().step()  # which warns
            return
        self._step_count += 1
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        super()._update_lr(epoch)
        for group, own in zip(self.optimizer.param_groups, self._each(self.optimizer), strict=True):
            if own.momentum is not None:
                _set_momentum(group, own.momentum(self.last_epoch))

    def state_dict(self) -> dict[str, Any]:
        """The number of the step, and what the schedule was, to be read."""
        return {"last_epoch": self.last_epoch, "schedules": list(map(repr, self.schedules))}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on at the step that `state_dict` was taken at, with this schedule; of torch's LambdaLR as well.

        η is set in the groups at once, whether the optimizer's state has been loaded before or will be.

        Raises:
            InputError: where there is no such step; nothing is changed.
        """
        step = state_dict.get("last_epoch")
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise InputError(f"A schedule goes on from its 'last_epoch', and this state dict has {step!r} for it.")
        self._step_count = step + 1
        self._update_lr(step)


def _meet(group: dict[str, Any]) -> Any:
    """A group's base."""
    if "initial_lr" not in group:
        group["initial_lr"] = group["lr"].clone() if isinstance(group["lr"], Tensor) else group["lr"]
    return group["initial_lr"]


def _refuse_unmoved(k: int, group: Mapping[str, Any], schedule: Schedule) -> None:
    if schedule.moves_momentum and "betas" not in group and "momentum" not in group:
        raise InputError(
            f"{schedule} moves the momentum, and group {k} has neither 'betas' nor 'momentum': give momentum=None."
        )


def _set_momentum(group: dict[str, Any], value: float) -> None:
    if "betas" in group:
        first, *others = group["betas"]
        if isinstance(first, Tensor):
            first.fill_(value)
        else:
            group["betas"] = (value, *others)
    else:
        group["momentum"] = value


def _goes_first(optimizer: Any) -> bool:
    """Whether the optimizer has certainly not been asked for its first step: its gradients are there, and finite."""
    if getattr(optimizer, "_opt_called", False):
        return False
    grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return bool(grads) and all(bool(torch.isfinite(_values(grad)).all()) for grad in grads)


def _values(grad: Tensor) -> Tensor:
    return grad.coalesce().values() if grad.is_sparse else grad


def schedule(optimizer: torch.optim.Optimizer, schedule: Schedule | Sequence[Schedule], step: int = 0) -> Scheduler:
    """Put an optimizer under a schedule: call ``step()`` of what is returned after each step of the optimizer.

    >>> import torch
    >>> from adamas.schedules import cosine, warmup
    >>> from adamas.torch import AdamW
    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> opt = AdamW([weight], lr=1e-3)
    >>> scheduler = schedule(opt, warmup(4) >> cosine(96))
    >>> opt.param_groups[0]["lr"]
    0.00025
    >>> weight.grad = torch.ones(2)
    >>> opt.step()
    >>> scheduler.step()
    >>> opt.param_groups[0]["lr"]
    0.0005
    >>> schedule(opt, warmup(4) >> cosine(96), step=100).get_last_lr()
    [0.0]

    Args:
        optimizer: any of torch's kind.
        schedule: one for all groups, or a list with one for each; a factor of each group's own ``lr``.
        step: how many steps have been taken, to go on from there.

    Raises:
        InputError: for what cannot be; nothing is changed.
    """
    return Scheduler(optimizer, schedule, step)
