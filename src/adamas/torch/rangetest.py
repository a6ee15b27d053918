"""The learning-rate range test for PyTorch."""

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from adamas.engine import unbroken
from adamas.errors import InputError, InputTypeError
from adamas.rangetest import END, NUM_ITER, START, TRIAL, Feed, RangeTest, Rates, check, range_test
from adamas.snapshot import Snapshot
from adamas.torch.optimizer import Optimizer


def find_lr(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: Iterable[Any],
    loss_fn: Callable[..., Tensor] | None = None,
    *,
    step: Callable[[Any], Any] | None = None,
    start: float = START,
    end: float = END,
    num_iter: int = NUM_ITER,
    trial: int = TRIAL,
    accumulate: int = 1,
    scaler: Any = None,
    keep: Sequence[Any] = (),
    tell: Callable[[str], None] = lambda text: None,
) -> RangeTest:
    """Find a learning rate, and leave everything as it was.

    The model is trained for some hundred mini-batches, as `adamas.rangetest.range_test` describes, and then put back
    bit for bit, whether the test ends, fails or is interrupted: parameters, buffers, gradients, train and eval modes,
    the optimizer's states and groups, the scaler, the random generators of Python, NumPy and torch and those of the
    loader. A copy of all that is kept meanwhile. The optimizer's learning rate is not changed; set what is found::

        for group, lr in zip(optimizer.param_groups, result.group_lrs):
            group["lr"] = lr

    Args:
        model: is trained in train mode.
        optimizer: of torch.optim, of this library, any.
        loader: mini-batches; is gone through again where it is too short.
        loss_fn: called as ``loss_fn(model, batch)``, returns a scalar tensor. A loss of torch.nn, a module or a
            function of torch.nn.functional, is called as ``loss_fn(model(inputs), targets)``: each batch is a pair.
        step: instead of ``loss_fn``: a whole training step of your own, ``step(batch)``, which calls
            ``optimizer.step()`` itself and returns the loss from before that.
        start, end: the range of η, of the group with the largest; all groups keep their ratios.
        num_iter: mini-batches of the sweep.
        trial: steps of the last trials; 0 for the sweep alone, whose suggestions nobody has tried.
        accumulate: mini-batches for each step, whose mean loss it is taken on.
        scaler: a `torch.amp.GradScaler`, if it trains with one.
        keep: what else ``step`` changes: schedules, averaged models, random generators.
        tell: is told in a line how it goes; ``print``, for one.

    Returns:
        A `RangeTest`.

    Raises:
        InputError: where it cannot be made; nothing is changed.

    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(256, 8)
    >>> batches = list(zip(x.split(32), x.sum(1, keepdim=True).split(32)))
    >>> model = nn.Linear(8, 1)
    >>> result = find_lr(model, torch.optim.AdamW(model.parameters()), batches, nn.functional.mse_loss)
    >>> result.suggestion, result.confident
    (0.1, True)
    """
    check(start, end, num_iter, trial)
    if (loss_fn is None) == (step is None):
        raise InputError("Give either loss_fn or step: the one is the loss, the other a whole training step.")
    if isinstance(accumulate, bool) or not isinstance(accumulate, int) or accumulate < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"accumulate is {accumulate!r}: it must be a whole number of mini-batches, 1 or more.")
    if step is not None and (accumulate != 1 or scaler is not None):
        raise InputError("accumulate and scaler go with loss_fn: a `step` does that itself; name its scaler in keep.")
    feed, rates = Feed(loader), Rates(optimizer.param_groups)
    snapshot = Snapshot(model, optimizer, *([] if scaler is None else [scaler]), *keep, loader=loader)
    params = [p for group in optimizer.param_groups for p in group["params"]]
    train = (lambda: step(feed.next())) if step else _Step(model, optimizer, feed, loss_fn, params, accumulate, scaler)

    def restore() -> None:
        feed.rewind()
        snapshot.restore()

    def rewind() -> None:
        restore()
        for p in [*model.parameters(), *params]:
            p.grad = None  # gradients that somebody holds are not written into
        if not model.training:
            model.train()
        if isinstance(optimizer, Optimizer):
            optimizer._stepper = copy.copy(optimizer._stepper)  # pyright: ignore[reportPrivateUsage]

    def one(lr: float) -> float:
        rates.set(lr)
        with torch.enable_grad():
            return _number(train())

    try:
        return range_test(
            one, rewind, start=start, end=end, num_iter=num_iter, trial=trial, ratios=rates.ratios, tell=tell
        )
    finally:  # twice, since Ctrl-C may come before the first has begun
        try:
            unbroken(restore)
        finally:
            unbroken(restore)


class _Step:
    """A training step: the loss of some mini-batches, its gradients, the optimizer's step."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        feed: Feed,
        loss_fn: Any,
        params: Sequence[Tensor],
        accumulate: int,
        scaler: Any,
    ) -> None:
        self.model, self.optimizer, self.feed, self.params = model, optimizer, feed, params
        self.accumulate, self.scaler = accumulate, scaler
        self.loss_fn = loss_fn
        self.is_criterion = isinstance(loss_fn, nn.Module) or (
            getattr(loss_fn, "__module__", "") in ("torch.nn.functional", "torch._C._nn")
        )

    def __call__(self) -> float:
        self.optimizer.zero_grad()
        total = 0.0
        for _ in range(self.accumulate):
            loss = self.loss(self.feed.next())
            total += loss.item() / self.accumulate
            if not math.isfinite(total):
                return total
            share = loss / self.accumulate
            torch.autograd.backward(share if self.scaler is None else self.scaler.scale(share))
        if all(p.grad is None for p in self.params):
            raise InputError(
                "The loss depends on no parameter of the optimizer: give the optimizer the parameters of this model."
            )
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return total

    def loss(self, batch: Any) -> Tensor:
        if self.is_criterion:
            if not (isinstance(batch, tuple | list) and len(batch) == 2):
                raise InputTypeError(
                    f"A mini-batch is a {type(batch).__name__}, and a loss of torch.nn takes pairs of inputs and "
                    "targets: give loss_fn as a function of model and batch."
                )
            device = next((p.device for p in self.params), None)
            inputs, targets = (x.to(device) if isinstance(x, Tensor) else x for x in batch)
            loss = self.loss_fn(self.model(inputs), targets)
        else:
            loss = self.loss_fn(self.model, batch)
        if not isinstance(loss, Tensor) or loss.numel() != 1 or loss.is_complex():
            what = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
            raise InputTypeError(f"The loss is {what}: it must be a tensor of one real number.")
        if not loss.requires_grad:
            raise InputError("The loss depends on no parameter that requires a gradient: nothing can be trained on it.")
        return loss.reshape(())


def _number(loss: Any) -> float:
    """What a step has returned, as a number."""
    if isinstance(loss, Tensor) and loss.numel() == 1 and not loss.is_complex():
        return float(loss.detach())
    try:
        return float(loss)
    except (TypeError, ValueError, RuntimeError):
        raise InputTypeError(f"step returned a {type(loss).__name__}: it must return the loss, one number.") from None
