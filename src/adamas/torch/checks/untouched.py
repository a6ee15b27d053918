"""Leave everything as it was."""

import copy
import random
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from adamas.engine import unbroken


@contextmanager
def untouched(model: nn.Module, data: Iterable[Any]) -> Generator[None]:
    """Afterwards the model, the random generators and where the data stand are bit for bit what they were before.

    Whatever is raised, Ctrl-C included; one that comes while things are put back waits until they are.

    Args:
        model: parameters, buffers, gradients, modes.
        data: a loader; its generators, its samplers' and its data set's, and its ``state_dict`` if it has one.
    """
    undo = [*_module(model), *_data(data), *_global()]  # last: what comes before may draw

    def restore() -> None:
        for put in undo:
            put()

    try:
        yield
    finally:
        unbroken(restore)


def _module(model: nn.Module) -> Iterator[Callable[[], object]]:
    for module in model.modules():
        yield partial(setattr, module, "training", module.training)
    for tensor in {id(t): t for t in [*model.parameters(), *model.buffers()]}.values():
        yield _tensor(tensor)


def _tensor(tensor: torch.Tensor) -> Callable[[], None]:
    kept, wants = tensor.detach().clone(), tensor.requires_grad
    grad = tensor.grad if tensor.is_leaf else None
    kept_grad = None if grad is None else grad.detach().clone()

    def put() -> None:
        with torch.no_grad():
            if not _same(tensor, kept):  # so that an untouched one does not even count a version up
                tensor.copy_(kept)
            if grad is not None and kept_grad is not None and not _same(grad, kept_grad):
                grad.copy_(kept_grad)
        if tensor.is_leaf:
            tensor.requires_grad_(wants)
            tensor.grad = grad

    return put


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Bit for bit, but for the kind of a NaN."""
    if a.is_sparse:
        return False
    return a.equal(b) if not a.isnan().any() else bool(((a == b) | (a.isnan() & b.isnan())).all())


def _data(data: Any) -> Iterator[Callable[[], object]]:
    if hasattr(data, "state_dict") and hasattr(data, "load_state_dict"):
        yield partial(data.load_state_dict, copy.deepcopy(data.state_dict()))
    holders = [data, *(getattr(data, name, None) for name in ("sampler", "batch_sampler", "dataset"))]
    holders += [getattr(holder, "sampler", None) for holder in holders]
    for holder in {id(h): h for h in holders if hasattr(h, "__dict__")}.values():
        for value in vars(holder).values():
            if isinstance(value, torch.Generator):
                yield partial(value.set_state, value.get_state())
            elif isinstance(value, random.Random):
                yield partial(value.setstate, value.getstate())
            elif isinstance(value, np.random.Generator):
                yield partial(setattr, value.bit_generator, "state", value.bit_generator.state)


def _global() -> Iterator[Callable[[], object]]:
    yield partial(random.setstate, random.getstate())
    yield partial(np.random.set_state, np.random.get_state())  # noqa: NPY002
    yield partial(torch.set_rng_state, torch.get_rng_state())
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        yield partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
