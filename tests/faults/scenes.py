"""Optimizers over every kind of tensor, whose bits are compared: after an interruption, in another thread or process.

A scene is made anew from its name each time, always the same; so two of them are twins.
"""

import dis
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import numpy as np
import torch

import adamas.numpy
import adamas.torch
from adamas.numpy import Rows
from adamas.schedules import one_cycle

Bits = dict[str, bytes]


class Scene:
    """An optimizer, its parameters, and the gradients of its steps.

    Attributes:
        optimizer: of either front.
        params: its parameters.
        memory: what the parameters lie in, gaps included.
    """

    def __init__(self, front: str, rule: str, sparse: bool = False, **options: Any) -> None:
        self.torch, self.sparse = front == "torch", sparse
        rng = np.random.default_rng(0)
        shapes = ((7, 3), (5,), (2, 3, 4), (), (6,))
        kinds = ("float32", "bfloat16" if self.torch else "float16", "float32", "float64", "complex64")
        self.memory: list[Any] = []
        self.params: list[Any] = []
        for k, (shape, kind) in enumerate(zip(shapes, kinds, strict=True)):
            values = np.asarray(rng.standard_normal(shape) + (1j if kind == "complex64" else 0))
            wide = np.repeat(values, 2, axis=-1) if k == 2 else values.copy()
            held = torch.tensor(wide).to(getattr(torch, kind)) if self.torch else wide.astype(kind)
            self.memory.append(held)
            self.params.append(held[..., ::2] if k == 2 else held)  # the third has gaps
        library = getattr(adamas, front)
        make = getattr(library, rule, None) or library.optimizer(rule)
        differentiable = options.pop("differentiable", False)
        groups = [{"params": self.params[:3]}, {"params": self.params[3:], "lr": 0.02}]
        if differentiable:
            groups[1]["differentiable"] = True
        self.optimizer = make(groups, **{"lr": 0.01, **options})
        self.steps = 0

    def gradients(self) -> list[Any]:
        """Those of the next step; at every third one parameter has none."""
        rng = np.random.default_rng(self.steps + 1)
        grads: list[Any] = []
        for k, p in enumerate(self.params):
            values = np.asarray(rng.standard_normal(tuple(p.shape)) * 10.0 ** rng.integers(-3, 2))
            grads.append(torch.tensor(values).to(p.dtype) if self.torch else values.astype(p.dtype))
            if self.sparse and k < 3:  # plain rows, half precision, rows with gaps
                rows = rng.integers(0, len(p), 4)
                values = grads[-1][rows]
                grads[-1] = (
                    torch.sparse_coo_tensor(rows[None], values, p.shape, check_invariants=False)
                    if self.torch
                    else Rows(rows, values)
                )
            if k == 1 and self.steps % 3 == 1:
                grads[-1] = None
        return grads

    def step(self, around: Callable[[Callable[[], None]], None] = lambda step: step()) -> None:
        grads = self.gradients()
        if self.torch:
            for p, g in zip(self.params, grads, strict=True):
                p.grad = g
            around(self.optimizer.step)
        else:
            around(lambda: self.optimizer.step(grads))
        self.steps += 1

    def move(self) -> None:
        """Two parameters go elsewhere; where they were is spoilt."""
        for group, at, k in ((0, 0, 0), (1, 0, 3)):
            old = self.params[k]
            if self.torch:
                self.memory[k] = old.detach().clone()
                spoilt, old.data = old.data, self.memory[k]
                spoilt.fill_(float("nan"))
            else:
                self.memory[k] = self.params[k] = self.optimizer.param_groups[group]["params"][at] = old.copy()
                old.fill(np.nan)

    def bits(self) -> Bits:
        """All that a step may change, without a look that would be noticed."""
        held = {f"θ{k}": _bytes(memory) for k, memory in enumerate(self.memory)}
        held["grad mode"] = bytes([torch.is_grad_enabled()])
        held["schedule"] = bytes([group.get("lr_step", 0) for group in self.optimizer.param_groups])
        keys = self.params if self.torch else range(len(self.params))
        for k, key in enumerate(keys):
            if key in self.optimizer.state:
                for name, array in self.optimizer.state[key].peek().items():
                    held[f"{name} of {k}"] = _bytes(array)
        return held


def _bytes(array: Any) -> bytes:
    if isinstance(array, torch.Tensor):
        return bytes(array.detach().resolve_conj().contiguous().reshape(-1).view(torch.uint8).numpy())
    return np.asarray(array).tobytes()


#: name -> how it is made.
SCENES: dict[str, Callable[[], Scene]] = {
    "torch, AdamW": lambda: Scene("torch", "AdamW", amsgrad=True),
    "torch, NAdam, partly eager": lambda: Scene("torch", "NAdam", differentiable=True),
    "torch, RMSprop": lambda: Scene("torch", "RMSprop", centered=True, momentum=0.5),
    "numpy, Adam": lambda: Scene("numpy", "Adam", weight_decay=0.1),
    "numpy, NAdam": lambda: Scene("numpy", "NAdam"),
    "numpy, Adam, scheduled": lambda: Scene("numpy", "Adam", lr=0.02 * one_cycle(40)),
    "numpy, nesterov": lambda: Scene("numpy", "SGD", momentum=0.9, nesterov=True),
}

#: The same with gradients of which some are sparse.
SPARSE: dict[str, Callable[[], Scene]] = {
    "torch, AdamW, sparse": lambda: Scene("torch", "AdamW", sparse=True, zero_grad=True, clip_grad_norm=1.0),
    "numpy, NAdam, sparse": lambda: Scene("numpy", "NAdam", sparse=True, zero_grad=True),
}


class Interruption:
    """Ctrl-C at the n-th place where Python would heed it in the library's own code; a trace function.

    Python looks for signals where a function begins, after a call, and where a loop goes back.

    Args:
        at: n.
        once: count from the first instruction of a function of this name.
    """

    def __init__(self, at: int, once: str = "") -> None:
        self.left, self.once = at, once
        self.before: dict[FrameType, str] = {}

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        file = frame.f_code.co_filename
        if not ("/adamas/" in file or file.startswith("<adamas")):
            return None
        if self.once in ("", frame.f_code.co_name):
            self.once = ""
        else:
            return self
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            now = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            before, self.before[frame] = self.before.get(frame, ""), now
            if before.startswith("CALL") or now.startswith(("RESUME", "JUMP_BACKWARD")):
                self.left -= 1
                if self.left == 0:
                    raise KeyboardInterrupt
        return self

    def during(self, work: Callable[[], None]) -> None:
        before = sys.gettrace()
        sys.settrace(self)
        try:
            work()
        finally:
            sys.settrace(before)


def interrupted(
    make: Callable[[], Scene], steps: int, at: int, twin: "Twin", once: str = "", moved: bool = False
) -> bool:
    """Interrupt a step; whether it was long enough for that.

    Raises:
        AssertionError: where it has happened in part, or the steps after it are not right.
    """
    scene = make()
    for _ in range(steps):
        scene.step()
    if moved:
        scene.move()
    interruption = Interruption(at, once)
    try:
        scene.step(interruption.during)
    except KeyboardInterrupt:
        pass
    if scene.bits() == twin.after(steps):
        scene.step()
    assert scene.bits() == twin.after(steps + 1), f"place {at}: {differing(scene.bits(), twin.after(steps + 1))}"
    scene.steps = steps + 1
    scene.step()
    assert scene.bits() == twin.after(steps + 2), f"one step after an interruption at place {at}"
    return interruption.left <= 0


class Twin:
    """The same scene, undisturbed."""

    def __init__(self, make: Callable[[], Scene]) -> None:
        self._scene = make()
        self._seen = [self._scene.bits()]

    def after(self, steps: int) -> Bits:
        while len(self._seen) <= steps:
            self._scene.step()
            self._seen.append(self._scene.bits())
        return self._seen[steps]


def differing(one: Bits, other: Bits) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
