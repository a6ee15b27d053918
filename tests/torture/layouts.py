"""Parameters, gradients and states in any stride pattern, moved about between steps, beside a contiguous twin."""

import random
from typing import Any

import numpy as np
import torch

import adamas.numpy
import adamas.torch
from adamas.errors import InputError
from tests.cases import Case
from tests.torture.tally import Outcome
from tests.torture.trials import cases

DTYPES = {False: ["float16", "float32", "float64", "complex64"], True: ["bfloat16", "float16", "float32", "float64"]}
DTYPES[True].append("complex64")


class Placed:
    """Values somewhere in a larger memory, whose other elements nobody may touch.

    Attributes:
        view: the values.
    """

    def __init__(self, rng: random.Random, values: Any, expandable: bool = False) -> None:
        self.torch = isinstance(values, torch.Tensor)
        shape = tuple(values.shape)
        axes = rng.sample(range(len(shape)), len(shape))
        strides, size = [0] * len(shape), 1
        for axis in axes:
            gap = rng.choice([1, 1, 1, 2, 3])
            strides[axis] = rng.choice([size * gap, 0, 7]) if shape[axis] == 1 else size * gap
            size *= max(shape[axis], 1) * gap
        expanded = expandable and bool(shape) and rng.random() < 0.3
        if expanded:
            axis = rng.randrange(len(shape))
            strides[axis] = 0
            values = values[(slice(None),) * axis + (slice(0, 1),)] + 0 * values if shape[axis] else values
        offset = rng.choice([0, 0, 1, 5])
        length = offset + size + 8
        grid = np.indices(shape) if shape else np.zeros((0,), int)
        places = np.reshape(offset + sum((g * s for g, s in zip(grid, strides, strict=True)), np.zeros(shape, int)), -1)
        self._mask = np.zeros(length, bool)
        self._mask[places] = True
        if self.torch:
            self.memory = torch.full((length,), 77, dtype=values.dtype)
            self.memory[torch.tensor(places)] = values.reshape(-1)
            self.view = self.memory.as_strided(shape, strides, offset)
        else:
            shift = rng.choice([0, 0, 1])  # unaligned
            self.memory = np.zeros(length * values.itemsize + shift, np.uint8)[shift:].view(values.dtype)
            self.memory[...] = 77
            bytes_apart = [s * values.itemsize for s in strides]
            view = np.lib.stride_tricks.as_strided(self.memory[offset:], shape, bytes_apart)
            self.view = view[(..., *(slice(None, None, rng.choice([1, 1, -1])) for _ in shape))]
            self.memory[places] = values.reshape(-1)
            self.view[...] = values if not expanded else self.view
        self._before = _bits(self.memory)

    def untouched(self, but_view: bool) -> bool:
        """Whether the memory is as it was; ``but_view``: apart from the values."""
        now = _bits(self.memory)
        if not but_view:
            return bool((now == self._before).all())
        outside = ~self._mask
        return bool((now == self._before)[outside].all())

    def leave(self) -> None:
        """From now on not even the values may change."""
        self._before = _bits(self.memory)


def _bits(array: Any) -> Any:
    """[elements, bytes]"""
    if isinstance(array, torch.Tensor):
        copied = torch.zeros(array.numel(), dtype=array.dtype)
        copied.copy_(array.detach().reshape(-1))
        return copied.view(torch.uint8).reshape(array.numel(), array.element_size()).numpy()
    return np.array(array).reshape(-1).view(np.uint8).reshape(array.size, array.itemsize)


class Pair:
    """An optimizer over placed arrays, and its twin over contiguous ones."""

    def __init__(self, rng: random.Random, cases: list[Case]) -> None:
        self.rng, self.values = rng, np.random.default_rng(rng.randrange(1 << 30))
        self.torch = rng.random() < 0.5
        self.case = rng.choice(cases)
        self.make = getattr(adamas, "torch" if self.torch else "numpy").optimizer(self.case.rule)
        self.left: list[Placed] = []
        self.placed: list[Placed] = []
        self.placed_states: list[Placed] = []
        self.ours: list[Any] = []
        self.theirs: list[Any] = []
        for _ in range(rng.randrange(1, 4)):
            self.add()
        self.a = self.make(self.ours, **self.case.options)
        self.b = self.make(self.theirs, **self.case.options)

    def add(self) -> None:
        shape = tuple(self.rng.choice([0, 1, 2, 3, 5, 17]) for _ in range(self.rng.randrange(6)))
        while np.prod(shape) > 3000:
            shape = shape[1:]
        values = self.random(shape, self.rng.choice(DTYPES[self.torch]))
        self.placed.append(Placed(self.rng, values))
        view = self.placed[-1].view
        self.ours.append(torch.nn.Parameter(view) if self.torch else view)
        self.theirs.append(torch.nn.Parameter(values.clone()) if self.torch else values.copy())

    def random(self, shape: Any, dtype: Any) -> Any:
        values = np.asarray(self.values.standard_normal(shape) * 10.0 ** self.values.integers(-3, 3, shape))
        if "complex" in str(dtype):
            values = np.asarray(values + 1j * self.values.standard_normal(shape))
        if self.torch:
            dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
            return torch.tensor(values).to(dtype)
        return np.asarray(values.astype(dtype))

    def step(self) -> None:
        grads = [None if self.rng.random() < 0.2 else self.random(tuple(p.shape), p.dtype) for p in self.theirs]
        placed = [None if g is None else Placed(self.rng, g, expandable=True) for g in grads]
        given = [None if p is None else p.view for p in placed]
        plain = [None if g is None else (g.contiguous().clone() if self.torch else g.copy()) for g in given]
        if self.torch:
            for params, each in ((self.ours, given), (self.theirs, plain)):
                for p, g in zip(params, each, strict=True):
                    p.grad = g
            self.a.step()
            self.b.step()
        else:
            self.a.step(given)
            self.b.step(plain)
        assert all(p is None or p.untouched(but_view=False) for p in placed), "a gradient was written to"

    def check(self) -> None:
        for k, (ours, theirs) in enumerate(zip(self.ours, self.theirs, strict=True)):
            assert (_bits(ours) == _bits(theirs)).all(), f"SILENT: parameter {k} differs"
            one, other = self.states(k)
            assert one.keys() == other.keys(), f"SILENT: states of {k}"
            for name, array in one.items():
                assert (_bits(array) == _bits(other[name])).all(), f"SILENT: {name} of {k} differs"
        assert all(p.untouched(but_view=True) for p in self.placed), "SILENT: memory in a gap was written to"
        assert all(p.untouched(but_view=False) for p in self.left), "SILENT: memory that was left was written to"

    def states(self, k: int) -> tuple[Any, Any]:
        pairs = ((self.a, self.ours[k]), (self.b, self.theirs[k])) if self.torch else ((self.a, k), (self.b, k))
        one, other = (dict(opt.state[key].peek()) if key in opt.state else {} for opt, key in pairs)
        return one, other

    # -- lives -----------------------------------------------------------------------------------------------------

    def move(self) -> None:
        """A parameter is re-pointed, cast, shared between processes, or set to something else."""
        k = self.rng.randrange(len(self.ours))
        what = self.rng.choice(["elsewhere", "cast", "shared", "set"])
        if what == "set":
            for p in (self.ours[k], self.theirs[k]):
                with torch.no_grad():
                    p *= 0.5
            return
        if what == "shared" and self.torch:
            self.ours[k].detach().share_memory_()
            return
        wide = what == "cast"
        if self.torch:
            data = self.ours[k].detach()
            values = (data.to(torch.complex128 if data.is_complex() else torch.float64) if wide else data).clone()
        else:
            kind = "complex128" if self.ours[k].dtype.kind == "c" else "float64"
            values = np.array(self.ours[k], kind if wide else None)
        self.placed[k].leave()
        self.left.append(self.placed[k])
        self.placed[k] = Placed(self.rng, values)
        if self.torch:
            self.ours[k].data, self.theirs[k].data = self.placed[k].view, values.contiguous().clone()
            self.ours[k].grad = self.theirs[k].grad = None
        else:
            self.ours[k], self.theirs[k] = self.placed[k].view, np.array(values, order="C")
            for opt, arrays in ((self.a, self.ours), (self.b, self.theirs)):
                where = k
                for group in opt.param_groups:
                    if where < len(group["params"]):
                        group["params"][where] = arrays[k]
                        break
                    where -= len(group["params"])

    def scatter(self) -> None:
        """States of ours are laid out on their own."""
        for k in range(len(self.ours)):
            key = self.ours[k] if self.torch else k
            if key in self.a.state:
                for name, array in list(self.a.state[key].items()):
                    if name != "step" and array.ndim + self.rng.randrange(2) and self.rng.random() < 0.5:
                        self.placed_states.append(Placed(self.rng, array))
                        self.a.state[key][name] = self.placed_states[-1].view

    def reload(self) -> None:
        self.a.load_state_dict(self.a.state_dict())
        self.b.load_state_dict(self.b.state_dict())

    def grow(self) -> None:
        """A group is added late."""
        if self.torch:
            self.add()
            self.a.add_param_group({"params": [self.ours[-1]]})
            self.b.add_param_group({"params": [self.theirs[-1]]})


def laid_out(seed: int) -> Outcome:
    """Some steps with events between them."""
    rng = random.Random(seed)
    pair = Pair(rng, cases(seed))
    for _ in range(rng.randrange(3, 7)):
        pair.step()
        pair.check()
        assert all(p.untouched(but_view=True) for p in pair.placed_states), "SILENT: a gap between a state's elements"
        if rng.random() < 0.6:
            rng.choice([pair.move, pair.move, pair.scatter, pair.scatter, pair.reload, pair.grow])()
    return Outcome.DETECTED if expanded(pair) else Outcome.RIGHT


def expanded(pair: Pair) -> bool:
    """In some trials a parameter is expanded in the end, which is refused, and changes nothing."""
    k = pair.rng.randrange(len(pair.ours))
    if not pair.torch or pair.rng.random() < 0.7 or pair.ours[k].numel() < 2:
        return False
    flat = pair.ours[k].detach().reshape(-1)[:1].clone()
    pair.ours[k].data = flat.expand(pair.ours[k].numel()).reshape(pair.ours[k].shape)
    pair.ours[k].grad = torch.ones_like(pair.theirs[k])
    held = [_bits(p) for p in pair.ours]
    if pair.ours[k].untyped_storage().nbytes() > pair.ours[k].element_size():
        return False  # reshape made a copy of it
    try:
        pair.a.step()
    except InputError:
        assert all((_bits(p) == bits).all() for p, bits in zip(pair.ours, held, strict=True)), "LOST"
        return True
    raise AssertionError("SILENT: an expanded parameter was stepped")
