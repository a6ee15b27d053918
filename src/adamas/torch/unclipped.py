"""‖g‖ as a backward pass leaves it, before the loop clips."""

# pyright: reportPrivateUsage=false

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Unclipped:
    """Waits for the gradients of one step, by hooks on the parameters themselves.

    Attributes:
        waits: whether it does.
    """

    def __init__(self, params: Sequence[Tensor]) -> None:
        self._params = params
        self._hooks: list[Any] = []
        self._told: Tensor | None = None  # a parameter whose gradient told that a backward pass was on its way
        self._passing = False  # whether one is
        self._norm = math.nan

    @property
    def waits(self) -> bool:
        return bool(self._hooks)

    def wait(self) -> None:
        """The next step is to be looked at."""
        params = self._params if self._told is None else [self._told]
        self._told = None
        self._hooks = [
            p.register_post_accumulate_grad_hook(self._arrived) for p in params if p.requires_grad and p.is_leaf
        ]

    def take(self) -> float:
        """The norm that there was before that step, of the last backward pass; NaN where it is not known."""
        self.forget()
        norm, self._norm = self._norm, math.nan
        return norm

    def forget(self) -> None:
        """Wait no longer."""
        for hook in self._hooks:
            hook.remove()
        for p in self._params if self._hooks else ():
            if not p._post_accumulate_grad_hooks:
                # An empty dict of them would be gone through in each backward pass, with Python's lock.
                p._post_accumulate_grad_hooks = None  # pyright: ignore[reportAttributeAccessIssue]
        self._hooks = []

    def _arrived(self, p: Tensor) -> None:
        """A gradient is there: at the end of this backward pass they all are."""
        self._told = p
        if not self._passing:
            self._passing = True
            torch.autograd.Variable._execution_engine.queue_callback(self._note)  # pyright: ignore

    def _note(self) -> None:
        self._passing = False
        gradients = [p.grad.detach() for p in self._params if p.grad is not None and not p.grad.is_sparse]
        if gradients:
            self._norm = norm(gradients)


def norm(tensors: list[Tensor]) -> float:
    """The norm of all together; infinite where it is NaN."""
    norms = torch._foreach_norm(tensors, 2, dtype=torch.float32)  # pyright: ignore[reportPrivateImportUsage]
    whole = float(torch.linalg.vector_norm(torch.stack([n.to(norms[0].device) for n in norms])))
    return whole if whole == whole else math.inf
