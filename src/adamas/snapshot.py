"""What a training consists of, as it was at one moment, to be put back bit for bit however often.

Nothing is given back as a copy: tensors and arrays are filled in place, dicts and lists have their own things again.
"""

import copy
import random
import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from adamas.checkpoint import GlobalRandom
from adamas.errors import InputError, in_one_line
from adamas.state import peek

DEEP = 4
"""How far to look into a loader's samplers and data sets for what they draw from."""


class Snapshot:
    """Everything that the things given consist of, and the global random generators.

    Models, optimizers, schedules and scalers are walked through: parameters, buffers, modes, states, groups,
    counters. What else has ``load_state_dict`` is asked for its state.

    Args:
        things: to walk through.
        loader: of which only random generators, counters and the like are kept, and no data.

    Attributes:
        counts: how many of what there is to be put back.

    Raises:
        InputError: for something that could not be put back; nothing has been changed.
    """

    def __init__(self, *things: Any, loader: Any = None) -> None:
        self.counts: dict[str, int] = {}
        self._undo: list[Callable[[], None]] = []
        self._seen: dict[int, Any] = {}  # what is held cannot be freed, so no number comes twice
        self._torch: Any = sys.modules.get("torch")
        self._walked: tuple[type, ...] = ()
        if torch := self._torch:
            scheduler = torch.optim.lr_scheduler
            self._walked = (
                *(torch.nn.Module, torch.optim.Optimizer, torch.amp.GradScaler),
                *(scheduler.LRScheduler, scheduler.ReduceLROnPlateau),
            )
        for thing in things:
            if not self._look(thing):
                self._whole(thing)
        if loader is not None:
            self._source(loader, DEEP)
        self._state(GlobalRandom(), "random generators")  # last: putting back what comes before may draw
        try:
            self.restore()
        except Exception as error:  # whatever a thing's own code raises
            said = in_one_line(error)
            raise InputError(
                f"Not everything here could be put back afterwards ({type(error).__name__}: {said}): leave out what "
                "cannot be, or train by a `step` of your own."
            ) from error

    def restore(self) -> None:
        """Put everything back. May be begun again after an interruption.

        Raises:
            Exception: what the first thing raises that refuses its state; all others have been put back.
        """
        failed: Exception | None = None
        for undo in self._undo:
            try:
                undo()
            except Exception as error:  # likewise; the others are still put back
                failed = failed or error
        if failed is not None:
            raise failed

    def _add(self, kind: str, undo: Callable[[], None]) -> None:
        self._undo.append(undo)
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def _new(self, thing: Any) -> bool:
        if id(thing) in self._seen:
            return False
        self._seen[id(thing)] = thing
        return True

    def _look(self, thing: Any) -> bool:
        """Keep a thing of a known kind; whether it is of one."""
        torch = self._torch
        if torch is not None and isinstance(thing, torch.Tensor):
            if self._new(thing):
                self._tensor(thing)
        elif isinstance(thing, np.ndarray):
            if self._new(thing) and thing.flags.writeable:
                self._array(thing)
        elif isinstance(thing, dict | list | set | deque | tuple):
            if self._new(thing):
                self._container(thing)
        elif self._is_random(thing):
            if self._new(thing):
                self._state(thing, "random generators")
        elif isinstance(thing, self._walked):
            if self._new(thing):
                self._look(vars(thing))
        else:
            return False
        return True

    def _whole(self, thing: Any) -> None:
        """Keep something that was named and is of no known kind."""
        if not self._new(thing):
            return
        if hasattr(thing, "state_dict") and hasattr(thing, "load_state_dict"):
            self._state(thing, "others")
        if hasattr(thing, "__dict__"):
            self._look(vars(thing))

    def _source(self, thing: Any, deep: int) -> None:
        """Keep what a loader, sampler or data set draws from and counts in, and none of its data."""
        if not deep or not hasattr(thing, "__dict__") or isinstance(thing, type) or not self._new(thing):
            return
        if deep == DEEP and hasattr(thing, "state_dict") and hasattr(thing, "load_state_dict"):
            self._state(thing, "others")
        attributes = vars(thing)
        self._items(attributes)
        for value in attributes.values():
            if self._is_random(value):
                self._look(value)
            elif not (isinstance(value, self._walked) or callable(value)):
                self._source(value, deep - 1)

    def _is_random(self, thing: Any) -> bool:
        kinds = (random.Random, np.random.Generator, np.random.RandomState)
        return isinstance(thing, kinds) or (self._torch is not None and isinstance(thing, self._torch.Generator))

    def _tensor(self, tensor: Any) -> None:
        torch = self._torch
        leaf = tensor.is_leaf
        data, grad, wants = tensor.data, tensor.grad if leaf else None, tensor.requires_grad
        lies = _lies(data)
        own = data
        for axis, stride in enumerate(data.stride() if data.layout is torch.strided else ()):
            if not stride and data.shape[axis] > 1:
                own = own.narrow(axis, 0, 1)  # expanded: memory that is there once
        kept = own.clone()

        def undo() -> None:
            with torch.no_grad():
                if _lies(tensor) != lies:
                    tensor.data = data
                own.copy_(kept)
            if leaf:
                if tensor.grad is not grad:
                    tensor.grad = grad
                if tensor.requires_grad is not wants:
                    tensor.requires_grad_(wants)

        self._add("tensors", undo)

    def _array(self, array: Any) -> None:
        own = array[(*(slice(0, 1) if not stride else slice(None) for stride in array.strides), ...)]
        kept = own.copy()

        def undo() -> None:
            own[...] = kept

        self._add("arrays", undo)

    def _container(self, thing: Any) -> None:
        if isinstance(thing, dict):
            self._items(thing)
            values = list(peek(thing).values())
        else:
            values = list(thing)
            if not isinstance(thing, tuple):
                self._members(thing)
        for value in values:
            self._look(value)

    def _items(self, thing: Any) -> None:
        kept = dict(peek(thing))
        keys = list(map(id, kept))

        def undo() -> None:
            now = peek(thing)
            if list(map(id, now)) != keys or any(now[key] is not value for key, value in kept.items()):
                thing.clear()
                thing.update(kept)

        self._add("dicts and lists", undo)

    def _members(self, thing: list[Any] | set[Any] | deque[Any]) -> None:
        kept = list(thing)

        def undo() -> None:
            if isinstance(thing, list):
                thing[:] = kept
            else:
                thing.clear()
                thing.update(kept) if isinstance(thing, set) else thing.extend(kept)

        self._add("dicts and lists", undo)

    def _state(self, thing: Any, kind: str) -> None:
        get: Callable[..., Any]
        put: Callable[..., Any]
        if hasattr(thing, "load_state_dict"):
            get, put = thing.state_dict, thing.load_state_dict
        elif isinstance(thing, random.Random):
            get, put = thing.getstate, thing.setstate
        elif isinstance(thing, np.random.Generator):
            bits: Any = thing.bit_generator
            get, put = partial(getattr, bits, "state"), partial(setattr, bits, "state")
        else:
            get, put = thing.get_state, thing.set_state
        kept = copy.deepcopy(get())
        self._add(kind, lambda: put(copy.deepcopy(kept)))


def _lies(tensor: Any) -> tuple[Any, ...]:
    """Which memory a tensor has, and how it looks at it."""
    try:
        place = tensor.data_ptr(), tensor.stride()
    except RuntimeError:  # sparse, or a subclass without memory of its own
        place = ()
    return tensor.dtype, tensor.device, tuple(tensor.shape), *place
