# pyright: reportPrivateUsage=false
# What torch's GradScaler shares with its subclasses has names with an underscore.
"""torch's gradient scaler, with limits, hysteresis, and an end to hopeless halving."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.amp.grad_scaler import OptState

from adamas.scaling import DynamicScale, ScaleState, loaded, refuse_collapse, saved
from adamas.torch.optimizer import Optimizer


class GradScaler(torch.amp.GradScaler):
    """`torch.amp.GradScaler`, which it can stand in for, with `adamas.scaling.DynamicScale` for its rule.

    It steps any optimizer; those of `adamas.torch` undo the scale in the step itself with ``fused=True``. After a step
    that was left out, ``opt.last.skipped`` is True with or without that, and the first ``scheduler.step()`` does not
    warn that it came before ``optimizer.step()``.

    Args:
        device, init_scale, growth_factor, backoff_factor, growth_interval, enabled: as for torch's.
        floor, ceiling, hysteresis, collapse_after: see `adamas.scaling.DynamicScale`.

    Raises:
        InputError: for a value that cannot be.

    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> opt, scaler = torch.optim.SGD([weight], lr=0.5), GradScaler("cpu", 4.0)
    >>> for factor in (float("inf"), 1.0):
    ...     opt.zero_grad()
    ...     scaler.scale((weight * factor).sum()).backward()
    ...     scaler.step(opt)
    ...     scaler.update()
    ...     print(scaler.last_skipped, scaler.get_scale(), weight.item())
    True 2.0 1.0
    False 2.0 0.5
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
        *,
        floor: float = 1.0,
        ceiling: float = 2.0**24,
        hysteresis: int = 1,
        collapse_after: int = 5,
    ) -> None:
        rule = DynamicScale(
            init_scale, growth_factor, backoff_factor, growth_interval, floor, ceiling, hysteresis, collapse_after
        )
        super().__init__(device, init_scale, growth_factor, backoff_factor, growth_interval, enabled)
        self._settings, self._memory = rule, rule.init()

    @property
    def last_skipped(self) -> bool:
        """Whether the last step, that of any of the optimizers, was left out; then a schedule should wait as well."""
        stepped = [s for s in self._optimizers() if s["stage"] is OptState.STEPPED]
        return any(map(_overflowed, stepped)) if stepped else bool(self._memory.last_skipped)

    @property
    def skipped(self) -> int:
        """How many steps were left out, up to the last `update`."""
        return int(self._memory.skipped)

    def step(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> float | None:
        """As torch's."""
        result = super().step(optimizer, *args, **kwargs)
        alone = not getattr(optimizer, "_step_supports_amp_scaling", False)
        if self._enabled and alone and _overflowed(self._per_optimizer_states[id(optimizer)]):
            # Here torch's schedulers look whether `optimizer.step()` was called before them. It was called for.
            optimizer._opt_called = True  # pyright: ignore[reportAttributeAccessIssue]
            if isinstance(optimizer, Optimizer):
                optimizer.note_skip()
        return result

    def update(self, new_scale: float | torch.Tensor | None = None) -> None:
        """As torch's, by the rule of this class; a ``new_scale`` forgets the overflows before it.

        Raises:
            ScaleCollapse: where the scale cannot help any more (`adamas.scaling.DynamicScale.collapse`); it has been
                adapted, and nothing prevents from going on.
        """
        if not self._enabled:
            return
        overflowed = any(map(_overflowed, self._optimizers()))
        before = self._whole()
        super().update(new_scale)  # pyright: ignore[reportArgumentType]
        rule = self._rule()
        after = rule.update(before, not overflowed)
        if new_scale is not None:
            self._memory = rule.init()._replace(skipped=after.skipped, last_skipped=after.last_skipped)
            return
        self._fill(after)
        refuse_collapse(rule, after)

    def state_dict(self) -> dict[str, Any]:
        """As torch's, with further entries; torch's own class loads it."""
        return saved(self._rule(), self._whole()) if self._enabled else {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state dict, of this class, of torch's or of `adamas.scaling.LossScaler`.

        Raises:
            InputError: where it is not one; nothing is changed.
        """
        if not self._enabled:
            return
        rule, state = loaded(self._rule(), state_dict)
        super().load_state_dict(dict(state_dict))
        self._settings, self._memory = rule, state

    def _optimizers(self) -> list[dict[str, Any]]:
        """What was found of each optimizer since the last update."""
        return list(self._per_optimizer_states.values()) if self._enabled else []

    def _rule(self) -> DynamicScale:
        """The rule; torch lets its factors be set."""
        mine = self._settings
        factors = self._growth_factor, self._backoff_factor, self._growth_interval
        if factors != (mine.growth_factor, mine.backoff_factor, mine.growth_interval):
            limits = mine.floor, mine.ceiling, mine.hysteresis, mine.collapse_after
            self._settings = DynamicScale(mine.init_scale, *factors, *limits)
        return self._settings

    def _whole(self) -> ScaleState:
        """The state: scale and good steps are where torch has them."""
        tracker = np.int32(self._get_growth_tracker())
        return self._memory._replace(scale=np.float64(self.get_scale()), good_steps=tracker)

    def _fill(self, state: ScaleState) -> None:
        self._memory = state
        scale, tracker = self._check_scale_growth_tracker("update")
        scale.fill_(float(state.scale))
        tracker.fill_(int(state.good_steps))


def _overflowed(found: Mapping[str, Any]) -> bool:
    return any(bool(flag) for flag in found["found_inf_per_device"].values())
