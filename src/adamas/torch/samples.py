"""What the steps of an optimizer that does not measure do, by a sample of each tensor."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adamas.doctor.run import TENSORS
from adamas.torch.unclipped import norm

#: Elements of a tensor that are looked at: every so many-th of them.
ELEMENTS = 16384

#: Numbers of all gradients together up to which their norm is taken of steps that are not looked at closely.
CHEAP = 1_000_000

_UNKNOWN = (math.nan, math.nan, math.nan)


class Samples:
    """Looks at an optimizer's steps.

    Attributes:
        row: ‖g‖, ‖Δθ‖, ‖θ‖ of the last step, NaN where it is not known.
        tensors: measure -> a number for each tensor, as `TENSORS` has them; None where the last step was not looked at.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, params: Sequence[Tensor]) -> None:
        self.row: tuple[float, float, float] = _UNKNOWN
        self.tensors: dict[str, Any] | None = None
        self._optimizer, self._params = optimizer, params
        self._before: list[Tensor] | None = None  # θ before a step that is looked at

    @torch.no_grad()
    def before(self, looks: bool, closely: bool) -> None:
        """A step is to be made, which is looked at or not, closely or not."""
        self.tensors, self.row = None, _UNKNOWN
        gradients = [p.grad for p in self._params if p.grad is not None and not p.grad.is_sparse]
        if not gradients or not looks:
            return
        if closely:
            self._before = [some(p.detach()).clone() for p in self._params]
        elif sum(g.numel() for g in gradients) <= CHEAP:
            self.row = norm(gradients), math.nan, math.nan

    @torch.no_grad()
    def after(self) -> None:
        """It has been made."""
        before, self._before = self._before, None
        if before is None:
            return
        rows: list[list[float]] = []
        group = self._optimizer.param_groups[0]
        for p, old in zip(self._params, before, strict=True):
            new = some(p.detach())
            if p.grad is None or p.grad.is_sparse:
                rows.append([math.nan] * len(TENSORS))
                continue
            part = math.sqrt(p.numel() / max(1, new.numel()))
            g = some(p.grad)
            row = [
                torch.linalg.vector_norm(p.grad, dtype=torch.float32),
                torch.linalg.vector_norm((new - old).float()) * part,
                torch.linalg.vector_norm(new.float()) * part,
                (g == 0).float().mean(),
                _under_eps(self._optimizer.state.get(p, {}), group, float(group.get("eps", 0.0))),
            ]
            rows.append([float(value) for value in row])
        table = np.array(rows).reshape(-1, len(TENSORS))
        self.tensors = {name: table[:, i] for i, name in enumerate(TENSORS)}
        with np.errstate(over="ignore", invalid="ignore"):
            totals = np.sqrt(np.nansum(table[:, :3] ** 2, axis=0))
        self.row = float(totals[0]), float(totals[1]), float(totals[2])
        if np.isnan(table[~np.isnan(table[:, 3]), 0]).any():
            self.row = (math.inf, *self.row[1:])


def some(a: Tensor) -> Tensor:
    """All of a small tensor, of a large one elements at equal distances."""
    if a.numel() <= ELEMENTS:
        return a.reshape(-1)
    return a.reshape(-1)[:: a.numel() // ELEMENTS] if a.is_contiguous() else a[0].reshape(-1)


def _under_eps(state: Mapping[str, Any], group: Mapping[str, Any], eps: float) -> float:
    """In which share of the coordinates ε outweighs √v̂."""
    v = state.get("exp_avg_sq")
    if v is None or not eps or "step" not in state:
        return math.nan
    beta2 = float(group["betas"][1])
    corrected = some(v).float() / (1 - beta2 ** float(state["step"]))
    return float((corrected.sqrt() < eps).float().mean())
