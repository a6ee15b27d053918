"""The engine for GPUs: a step of any number of tensors is one launch of a Triton kernel, the gradients' norm another.

That holds over groups too: a launch has a variant of the kernel for each way of working on a tensor that is asked for.
What follows from the norm stays on the device where the host need not know it: only clipping is asked for.

What the host knows of a step, the addresses and the coefficients, goes to the device in one copy that nobody waits for.
"""

import importlib.util
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamas.engine import PROCESSOR, Crew, Engine, Ints, Job, Table, Work
from adamas.errors import InputError
from adamas.kernel import Kernel, launchable, norm_launchable
from adamas.lowering.storage import Kinds
from adamas.lowering.triton import FACTOR, SPAN, SPAN_ROW
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

    def step(self, kernel: Kernel, dtype: str, measured: bool, kinds: Kinds, table: Table) -> Job:
        return _Job(table, (kernel, kinds), dtype, measured)

    def norm(self, dtype: str, kind: str, table: Table) -> Job:
        return _Job(table, (kind or dtype,))

    def together(self, jobs: Sequence[Any]) -> Sequence[Work]:
        """A launch of all norms; a launch of all steps that compute in the same dtype."""
        alike: dict[str, list[_Job]] = {}
        for job in jobs:
            alike.setdefault(job.dtype, []).append(job)
        return [(_Steps if dtype else _Norms)(self.device, own) for dtype, own in alike.items()]

    def clip(
        self, norms: Sequence[Any], steps: Sequence[Any], largest: float, scale: float
    ) -> Callable[[], tuple[float, float]] | None:
        norm: _Norms = norms[0]
        if not norm.number:  # no element anywhere: the host knows the norm
            return None
        said = norm.ask(largest, scale)
        for step in steps:
            step.factor = said[2:]

        def read() -> tuple[float, float]:
            length, coefficient, _ = said.tolist()
            return length, coefficient

        return read


@dataclass(eq=False)
class _Job:
    """One kernel's work on a table: a part of what a `_Launch` does.

    Attributes:
        table: the tensors.
        work: what is done to them: kernel and kinds, or the kind of the gradients whose norm is wanted.
        dtype: what a step computes in; empty for a norm.
        measured: whether a step measures.
        said: the part of the launch's results that is its own.
    """

    table: Table
    work: tuple[Any, ...]
    dtype: str = ""
    measured: bool = False
    said: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def results(self) -> NDArray[np.float64]:
        return self.said.cpu().numpy()

    def total(self) -> float:
        return float(self.results.sum())


class _Launch(ABC):
    """Several jobs' work, done by one launch.

    Attributes:
        jobs: whose spans are worked through, in this order.
        number: how many spans there are.
    """

    def __init__(self, device: torch.device, jobs: Sequence[_Job], results: int) -> None:
        self.jobs, self._device = jobs, device
        counts = [len(job.table.spans) for job in jobs]
        self.number = sum(counts)
        self._results = torch.zeros(self.number, results, dtype=torch.float64, device=device)
        for job, said in zip(jobs, self._results.split(counts), strict=True):
            job.said = said
        self._pending: Callable[[], None] | None = None
        self._known: object = None  # what the rows were made of that the device has
        self._rows = torch.empty(0)
        self._built: set[Any] = set()

    def begin(self) -> None:
        if not self.number:
            return
        if _capturing(self._device):
            raise InputError(
                "A CUDA graph is being captured, which would repeat this step's coefficients for ever: step outside of "
                "it, or use torch.optim with capturable=True."
            )
        # A piece begins at a multiple of 16 bytes, whatever stands before it: Triton compiles anew where that changes.
        pieces = [np.append(piece, np.zeros(len(piece) % 2, np.int64)) for piece in self._words()]
        sent = self._sent(np.concatenate(pieces)).split([len(piece) for piece in pieces])
        aligned = tuple(not (job.table.addresses % ALIGNMENT).any() for job in self.jobs)
        asked = [(*job.work, own) for job, own in zip(self.jobs, aligned, strict=True)]
        variants = tuple(dict.fromkeys(asked))
        known = aligned, [(job.table.changes, len(job.table.keys)) for job in self.jobs]
        if known != self._known:
            self._known, self._rows = known, self._sent(self._laid_out([variants.index(v) for v in asked]))
        function, given = self._function(variants), self._given(sent)
        # No fused multiply-adds: they would round otherwise than the CPU does.
        options: dict[str, Any] = {"num_warps": 4, "enable_fp_fusion": False}
        with self._there():
            if function not in self._built:  # what cannot be compiled is found before anything is changed
                function.warmup(*given, grid=(1,), **options)
                self._built.add(function)
        self._pending = lambda: function[(self.number,)](*given, **options)

    def run(self, crew: Crew) -> None:
        if self._pending is not None:
            with self._there():
                self._pending()
            self._pending = None

    @abstractmethod
    def _words(self) -> Sequence[Ints]:
        """What the host knows of this launch, in pieces."""

    @abstractmethod
    def _given(self, sent: Sequence[Tensor]) -> Sequence[Any]:
        """What the kernel takes; these pieces have gone to the device."""

    @abstractmethod
    def _function(self, variants: tuple[Any, ...]) -> Any:
        """The kernel."""

    def _addresses(self, table: Table) -> Ints:
        """[arrays, tensors], those that the kernel reads."""
        return table.addresses

    def _laid_out(self, variants: Sequence[int]) -> Ints:
        """The table of spans, as `adamas.lowering.triton.SPAN_ROW` says, of jobs that want these variants."""
        rows, place, line, key = np.empty((self.number, SPAN_ROW), np.int64), 0, 0, 0
        left = rows
        for job, variant in zip(self.jobs, variants, strict=True):
            table, addresses = job.table, self._addresses(job.table)
            own, left = left[: len(table.spans)], left[len(table.spans) :]
            tensor, own[:, 3], own[:, 4], own[:, 6] = table.spans.T
            own[:, 0], own[:, 1], own[:, 2] = variant, place + tensor, addresses.shape[1]
            own[:, 5], own[:, 6] = line + table.coefficients.shape[1] * own[:, 6], own[:, 6] + key
            place, line, key = place + addresses.size, line + table.coefficients.size, key + len(table.keys)
        return rows.reshape(-1)

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


class _Steps(_Launch):
    """Steps.

    Whether a launch was made before Ctrl-C came, or not, cannot be told. So it has a ticket, which each span notes when
    it has been worked on, and the same launch made again changes nothing.
    """

    def __init__(self, device: torch.device, jobs: Sequence[_Job]) -> None:
        super().__init__(device, jobs, len(MEASURES) if jobs[0].measured else 0)
        self._tickets = torch.zeros(self.number, dtype=torch.int64, device=device)
        self._ticket = 0
        self.factor: Tensor | None = None  # where the next step finds the gradients' factor, if not among its words

    def begin(self) -> None:
        self._ticket += 1
        super().begin()

    def _words(self) -> Sequence[Ints]:
        tables = [job.table for job in self.jobs]
        return (
            np.concatenate([t.addresses.reshape(-1) for t in tables]),
            np.concatenate([t.coefficients.reshape(-1) for t in tables], dtype=np.float64).view(np.int64),
            np.array([self._host_factor()], np.float64).view(np.int64),
            np.concatenate([t.keys for t in tables]),
            np.array([self._ticket], np.int64),
        )

    def _given(self, sent: Sequence[Tensor]) -> Sequence[Any]:
        addresses, lines, factor, keys, ticket = sent
        factor, self.factor = factor.view(torch.float64) if self.factor is None else self.factor, None
        return addresses, self._rows, lines.view(torch.float64), factor, keys, self._results, self._tickets, ticket

    def _host_factor(self) -> float:
        """What the gradients are multiplied by, the same for all tensors, as the host has computed it."""
        for job in self.jobs:
            coefficients = job.work[0].program.coefficients
            if FACTOR in coefficients:
                return job.table.coefficients[0, coefficients.index(FACTOR)]
        return 1.0

    def _function(self, variants: tuple[Any, ...]) -> Any:
        return launchable(self.jobs[0].dtype, self.jobs[0].measured, variants)


class _Norms(_Launch):
    """Sums of the squares of gradients, and what follows from them."""

    def __init__(self, device: torch.device, jobs: Sequence[_Job]) -> None:
        super().__init__(device, jobs, 1)
        self._arrived = torch.zeros(1, dtype=torch.int32, device=device)
        self.ask(math.inf, 1.0)

    def ask(self, largest: float, scale: float) -> Tensor:
        """What the next launch will say, in memory of its own: somebody may look at it only after further steps."""
        self._asked = largest, scale
        self._said = torch.empty(4, dtype=torch.float64, device=self._device)[:3]
        return self._said

    def _addresses(self, table: Table) -> Ints:
        return table.addresses[:1]

    def _words(self) -> Sequence[Ints]:
        asked = np.array(self._asked, np.float64).view(np.int64)
        return np.concatenate([job.table.addresses[0] for job in self.jobs]), asked

    def _given(self, sent: Sequence[Tensor]) -> Sequence[Any]:
        addresses, asked = sent
        return addresses, self._rows, self._results, self._arrived, asked.view(torch.float64), self._said

    def _function(self, variants: tuple[Any, ...]) -> Any:
        return norm_launchable(variants)
