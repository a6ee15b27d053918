"""The engine for GPUs: a step of any number of tensors is one launch of a Triton kernel, the gradients' norm another.

What the host knows of a step, the addresses and the coefficients, goes to the device in one copy that nobody waits for.
"""

import importlib.util
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamas.engine import PROCESSOR, Crew, Engine, Ints, Table, Work
from adamas.errors import InputError
from adamas.kernel import Kernel, launchable, norm_launchable
from adamas.lowering.storage import Kinds
from adamas.lowering.triton import SPAN
from adamas.tail import MEASURES

#: Bytes that a thread reads at once, where all arrays begin at a multiple of it.
ALIGNMENT = 16


@cache
def engine_of(device: torch.device) -> Engine | None:
    """Who runs kernels on this device's memory; None where nobody does, and torch computes."""
    if device.type == "cpu":
        return PROCESSOR
    if device.type == "cuda" and torch.version.cuda is not None and importlib.util.find_spec("triton") is not None:
        return Launcher(device) if torch.cuda.get_device_capability(device) >= (8, 0) else None
    return None


def _capturing(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


class Launcher:
    """A GPU, by kernels that Triton compiles."""

    span, touches = SPAN, False

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def step(self, kernel: Kernel, dtype: str, measured: bool, kinds: Kinds, table: Table) -> Work:
        function = launchable(kernel, dtype, measured, kinds)
        return _Step(self.device, function, table, len(MEASURES) if measured else 0)

    def norm(self, dtype: str, kind: str, table: Table) -> Work:
        return _Norm(self.device, norm_launchable(dtype, kind), table, 1)


class _Launch:
    """One kernel's work on a table, of which the device has a copy.

    Whether a launch was made before Ctrl-C came, or not, cannot be told. So it has a ticket, which each span notes when
    it has been worked on, and the same launch made again changes nothing.
    """

    def __init__(self, device: torch.device, function: Any, table: Table, results: int) -> None:
        self._device, self._function, self._table = device, function, table
        self._results = torch.zeros(len(table.spans), results, dtype=torch.float64, device=device)
        self._tickets = torch.zeros(len(table.spans), dtype=torch.int64, device=device)
        self._ticket = 0
        self._pending: Callable[[], None] | None = None
        self._known: Ints | None = None
        self._spans = self._tickets
        self._built: set[bool] = set()

    @property
    def results(self) -> NDArray[np.float64]:
        return self._results.cpu().numpy()

    def begin(self) -> None:
        table = self._table
        if not table.used:
            return
        if _capturing(self._device):
            raise InputError(
                "A CUDA graph is being captured, which would repeat this step's coefficients for ever: step outside of "
                "it, or use torch.optim with capturable=True."
            )
        self._ticket += 1
        if self._known is None or not np.array_equal(self._known, table.spans):
            self._known, self._spans = table.spans.copy(), self._sent(table.spans.reshape(-1))
        aligned = not (table.addresses % ALIGNMENT).any()
        given = self._given()
        # No fused multiply-adds: they would round otherwise than the CPU does.
        options: dict[str, Any] = {"ALIGNED": aligned, "num_warps": 4, "enable_fp_fusion": False}
        with self._there():
            if aligned not in self._built:  # what cannot be compiled is found before anything is changed
                self._function.warmup(*given, grid=(1,), **options)
                self._built.add(aligned)
        self._pending = lambda: self._function[(table.used,)](*given, **options)

    def run(self, crew: Crew) -> None:
        if self._pending is not None:
            with self._there():
                self._pending()
            self._pending = None

    def _given(self) -> Sequence[Any]:
        """What the kernel takes."""
        raise NotImplementedError

    def _there(self) -> AbstractContextManager[Any]:
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()

    def _sent(self, words: Ints) -> Tensor:
        """A copy on the device, in memory of its own, since the last one may still be read."""
        if self._device.type == "cpu":
            return torch.from_numpy(words.copy())
        # Page-locked, so that nobody waits for the copy; torch keeps the memory until it has been made.
        staged = torch.empty(len(words), dtype=torch.int64, pin_memory=True)
        staged.numpy()[:] = words
        return staged.to(self._device, non_blocking=True)


class _Step(_Launch):
    def _given(self) -> Sequence[Any]:
        table = self._table
        lines = table.coefficients.view(np.uint8).reshape(-1)
        lines = np.append(lines, np.zeros(-len(lines) % 8, np.uint8)).view(np.int64)
        sent = self._sent(np.concatenate([lines, table.keys, table.addresses.reshape(-1)]))
        keys, addresses = sent[len(lines) :], sent[len(lines) + len(table.keys) :]
        coefficients = sent[: len(lines)].view(getattr(torch, table.coefficients.dtype.name))
        pointers = addresses, self._spans, coefficients, keys, self._results, self._tickets
        return *pointers, table.addresses.shape[1], self._ticket


class _Norm(_Launch):
    def _given(self) -> Sequence[Any]:
        return self._sent(self._table.addresses[0]), self._spans, self._results
