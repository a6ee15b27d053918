"""The engine for GPUs: a step of any number of tensors is one launch of a Triton kernel, and what leads it another.

That holds over groups too: a launch has a variant of the kernel for each way of working on a tensor that is asked for.
The lead finds the gradients' norm. What follows from it stays on the device where the host need not know it: where only
clipping is asked for, and with ``capturable=True``, where the lead does all that the host does elsewhere.

What the host knows of a step, the addresses and the coefficients, goes to the device in one copy that nobody waits for.
In a CUDA graph that copy is made again with each replay, out of memory that torch then leaves to the graph.
"""

import importlib.util
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adamas.engine import PROCESSOR, Crew, Engine, Ints, Job, Lead, Table, Told, Work
from adamas.errors import InputError
from adamas.kernel import Kernel, launchable, lead_launchable
from adamas.lowering.storage import Kinds
from adamas.lowering.triton import FACTOR, FLOAT32, FLOAT64, LINE_ROW, PLAIN, SPAN, SPAN_ROW
from adamas.tail import MEASURES

#: Bytes that a thread reads at once, where all arrays begin at a multiple of it.
ALIGNMENT = 16

#: How a kernel reads a value that is a tensor.
_VALUES = {torch.float32: FLOAT32, torch.float64: FLOAT64}

#: Why a step cannot be captured.
UNLIKE = (
    "A CUDA graph is being captured, but this step is not like the one before it, and no other can be recorded: step "
    "once more outside of the graph, with the same parameters, gradients and options."
)


@cache
def engine_of(device: torch.device, capturable: bool = False) -> Engine | None:
    """Who runs kernels on this device's memory; None where nobody does, and torch computes."""
    if device.type == "cpu":
        return PROCESSOR
    if device.type == "cuda" and torch.version.cuda is not None and importlib.util.find_spec("triton") is not None:
        return Launcher(device, capturable) if torch.cuda.get_device_capability(device) >= (8, 0) else None
    return None


def _capturing(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


class Launcher:
    """A GPU, by kernels that Triton compiles.

    Attributes:
        device: the GPU.
        keeper: the engine itself, if it keeps the counts, so that steps can be captured.
    """

    span, touches = SPAN, False

    def __init__(self, device: torch.device, capturable: bool = False) -> None:
        self.device = device
        self.keeper = self if capturable else None

    @property
    def capturing(self) -> bool:
        return _capturing(self.device)

    def step(self, kernel: Kernel, dtype: str, measured: bool, kinds: Kinds, table: Table) -> Job:
        return _Job(table, (kernel, kinds), dtype, measured)

    def norm(self, dtype: str, kind: str, table: Table) -> Job:
        return _Job(table, (kind or dtype,))

    def together(self, jobs: Sequence[Any]) -> Sequence[Work]:
        """A launch of all norms; a launch of all steps that compute in the same dtype."""
        alike: dict[str, list[_Job]] = {}
        for job in jobs:
            alike.setdefault(job.dtype, []).append(job)
        return [(_Steps if dtype else _Norms)(self, own) for dtype, own in alike.items()]

    def clip(self, norms: Sequence[Any], steps: Sequence[Any], largest: float, scale: float) -> Told | None:
        # Where there is no element, the host knows the norm.
        return norms[0].ask(steps, largest, scale) if norms[0].number else None

    def lead(self, norms: Sequence[Any], steps: Sequence[Any]) -> Lead:
        return _Lead(self, norms, steps)


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

    def __init__(self, engine: Launcher, jobs: Sequence[_Job], results: int) -> None:
        self.jobs, self._engine, self._device = jobs, engine, engine.device
        counts = [len(job.table.spans) for job in jobs]
        self.number = sum(counts)
        self._results = torch.zeros(self.number, results, dtype=torch.float64, device=self._device)
        for job, said in zip(jobs, self._results.split(counts), strict=True):
            job.said = said
        self._pending: Callable[[], None] | None = None
        self._known: object = None  # what the rows were made of that the device has
        self._rows = torch.empty(0)
        self._built: set[Any] = set()

    def begin(self) -> None:
        if not self._programs:
            return
        if (capturing := self._engine.capturing) and self._engine.keeper is None:
            raise InputError(
                "A CUDA graph is being captured, which would repeat this step's coefficients for ever: make the "
                "optimizer with capturable=True, or step outside of the graph."
            )
        # A piece begins at a multiple of 16 bytes, whatever stands before it: Triton compiles anew where that changes.
        words = {name: np.append(piece, np.zeros(len(piece) % 2, np.int64)) for name, piece in self._words().items()}
        lengths = [len(piece) for piece in words.values()]
        sent = dict(zip(words, self._sent(np.concatenate([*words.values()])).split(lengths), strict=True))
        aligned = tuple(not (job.table.addresses % ALIGNMENT).any() for job in self.jobs)
        asked = [(*job.work, own) for job, own in zip(self.jobs, aligned, strict=True)]
        variants = tuple(dict.fromkeys(asked))
        known = aligned, [(job.table.changes, len(job.table.keys)) for job in self.jobs]
        function = self._function(variants)
        if capturing and (known != self._known or function not in self._built):
            raise InputError(UNLIKE)
        if known != self._known:
            self._known, self._rows = known, self._sent(self._laid_out([variants.index(v) for v in asked]))
        given = self._given(sent)
        # No fused multiply-adds: they would round otherwise than the CPU does.
        options: dict[str, Any] = {"num_warps": 4, "enable_fp_fusion": False}
        with self._there():
            if function not in self._built:  # what cannot be compiled is found before anything is changed
                function.warmup(*given, grid=(1,), **options)
                self._built.add(function)
        self._pending = lambda: function[(self._programs,)](*given, **options)

    def run(self, crew: Crew) -> None:
        if self._pending is not None:
            with self._there():
                self._pending()
            self._pending = None

    @property
    def _programs(self) -> int:
        return self.number

    @abstractmethod
    def _words(self) -> dict[str, Ints]:
        """What the host knows of this launch, in pieces."""

    @abstractmethod
    def _given(self, sent: dict[str, Tensor]) -> Sequence[Any]:
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

    def __init__(self, engine: Launcher, jobs: Sequence[_Job]) -> None:
        super().__init__(engine, jobs, len(MEASURES) if jobs[0].measured else 0)
        self._tickets = torch.zeros(self.number, dtype=torch.int64, device=self._device)
        self._ticket = 0
        self.told: dict[str, Tensor] = {}  # what the next step finds on the device, instead of among its words

    def begin(self) -> None:
        self._ticket += 1
        super().begin()

    def _words(self) -> dict[str, Ints]:
        tables = [job.table for job in self.jobs]
        words = {"addresses": np.concatenate([t.addresses.reshape(-1) for t in tables])}
        if "lines" not in self.told:
            lines = np.concatenate([t.coefficients.reshape(-1) for t in tables], dtype=np.float64)
            words["lines"], words["keys"] = lines.view(np.int64), np.concatenate([t.keys for t in tables])
            words["ticket"] = np.array([self._ticket], np.int64)
        if "factor" not in self.told:
            words["factor"] = np.array([self._host_factor()], np.float64).view(np.int64)
        return words

    def _given(self, sent: dict[str, Tensor]) -> Sequence[Any]:
        at, self.told = {**sent, **self.told}, {}
        lines, factor = at["lines"].view(torch.float64), at["factor"].view(torch.float64)
        return at["addresses"], self._rows, lines, factor, at["keys"], self._results, self._tickets, at["ticket"]

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

    def __init__(self, engine: Launcher, jobs: Sequence[_Job]) -> None:
        super().__init__(engine, jobs, 1)
        self._arrived = torch.zeros(1, dtype=torch.int32, device=self._device)
        _Norms.ask(self, (), math.inf, 1.0)

    def ask(self, steps: Sequence[_Steps], largest: float, scale: Any, found: Any = 0.0, skips: bool = False) -> Told:
        """See `adamas.engine.Lead.ask`."""
        self._asked = [*self._value(largest), *self._value(scale), *self._value(found), int(skips)]
        # In memory of its own: somebody may look at it only after further steps.
        said = self._said = torch.empty(4, dtype=torch.float64, device=self._device)
        for step in steps:
            step.told = {"factor": said[2:]}

        def read() -> tuple[float, float, bool]:
            norm, coefficient, _, skipped = said.tolist()
            return norm, coefficient, bool(skipped)

        return read

    def _value(self, value: Any) -> tuple[int, int]:
        """A number, or where the kernel finds it: what that means says `adamas.lowering.triton.PLAIN`."""
        if not (isinstance(value, Tensor) and value.device == self._device):
            return PLAIN, int(np.float64(float(value)).view(np.int64))
        if value.dtype not in _VALUES or value.numel() != 1:
            raise InputError(
                f"A tensor that the GPU reads at each step has dtype {value.dtype} and shape {tuple(value.shape)}: it "
                "must hold one number of float32 or float64."
            )
        return _VALUES[value.dtype], value.data_ptr()

    def _addresses(self, table: Table) -> Ints:
        return table.addresses[:1]

    def _words(self) -> dict[str, Ints]:
        addresses = [np.empty(0, np.int64), *(job.table.addresses[0] for job in self.jobs)]
        return {"addresses": np.concatenate(addresses), "asked": np.array(self._asked, np.int64)}

    def _given(self, sent: dict[str, Tensor]) -> Sequence[Any]:
        return sent["addresses"], self._rows, self._results, self._arrived, sent["asked"], self._said

    def _function(self, variants: tuple[Any, ...]) -> Any:
        return lead_launchable(variants)


class _Lead(_Norms):
    """The norm, if it is wanted, and what the host does elsewhere: whether to step, counts, coefficients, keys.

    It has a ticket, as steps have; and gives them theirs, which is 0 where they are skipped.
    """

    def __init__(self, engine: Launcher, jobs: Sequence[_Job], steps: Sequence[_Steps]) -> None:
        super().__init__(engine, jobs)
        self._hosts = [job for step in steps for job in step.jobs]
        self._kernels = tuple(dict.fromkeys(job.work[0] for job in self._hosts))
        self._shares: list[tuple[slice, slice]] = []  # of the lines and of the keys, each step's
        rows: list[Ints] = []
        told = line = key = 0
        for step in steps:
            first = line, key
            for job in step.jobs:
                number, width = job.table.coefficients.shape
                own, each = np.empty((number, LINE_ROW), np.int64), np.arange(number)
                own[:, 0], own[:, 1] = self._kernels.index(job.work[0]), told
                own[:, 2], own[:, 3] = line + width * each, key + each
                rows.append(own)
                program = job.work[0].program
                told += 2 * sum(program.lengths.get(name, 1) for name in program.hyper)
                line, key = line + number * width, key + number
            self._shares.append((slice(first[0], line), slice(first[1], key)))
            line, key = line + line % 2, key + key % 2  # the next begins at a multiple of 16 bytes
        self._count = sum(map(len, rows))
        scalars = np.concatenate([job.table.scalars.T for job in self._hosts])
        self._table = self._sent(np.concatenate(rows).reshape(-1)), self._sent(scalars.reshape(-1))
        self._lines = torch.empty(line, dtype=torch.float64, device=self._device)
        self._keys = torch.empty(key, dtype=torch.int64, device=self._device)
        self._tickets = torch.zeros(3, dtype=torch.int64, device=self._device)
        self._ticket = 0

    def ask(self, steps: Sequence[_Steps], largest: float, scale: Any, found: Any = 0.0, skips: bool = False) -> Told:
        told = super().ask(steps, largest, scale, found, skips)
        for step, (lines, keys) in zip(steps, self._shares, strict=True):
            step.told |= {"lines": self._lines[lines], "keys": self._keys[keys], "ticket": self._tickets[:1]}
        return told

    def begin(self) -> None:
        self._ticket += 1
        super().begin()

    @property
    def _programs(self) -> int:
        return max(self.number, 1)

    def _words(self) -> dict[str, Ints]:
        words = super()._words()
        ticket = 0 if self._engine.capturing else self._ticket
        words["asked"] = np.append(words["asked"], [self._count, ticket])
        values = [self._value(value) for job in self._hosts for value in _flat(job.table.arguments)]
        return {**words, "told": np.array(values, np.int64).reshape(-1)}

    def _given(self, sent: dict[str, Tensor]) -> Sequence[Any]:
        return *super()._given(sent), *self._table, sent["told"], self._lines, self._keys, self._tickets

    def _function(self, variants: tuple[Any, ...]) -> Any:
        return lead_launchable(variants, self._kernels)


def _flat(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        yield from _flat(value) if isinstance(value, tuple | list) else (value,)
