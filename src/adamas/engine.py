"""Tables of addresses, spans of elements, threads: how one call reaches every tensor of a step.

A `Table` holds what a compiled kernel needs for the tensors that share it: where each array of each tensor lies,
and the spans of elements to work through. Threads take spans from it until none is left; since every coordinate is
computed on its own, the result does not depend on who takes which.
"""

import ctypes
import os
import struct
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adamas.addresses import helper
from adamas.kernel import Kernel, norm_address
from adamas.lowering.storage import Kinds
from adamas.tail import MEASURES

Ints = NDArray[np.int64]

#: Most elements in a span, and the elements below which a second thread costs more than it brings.
SPAN = 1 << 14
SERIAL = 100_000


def place(array: NDArray[Any]) -> int:
    """The address of an array's memory; ``array.ctypes.data`` takes five times as long to say it."""
    return array.__array_interface__["data"][0]


#: Waits, and says the norm of the gradients, what holds it down, and whether the step was skipped.
Told = Callable[[], tuple[float, float, bool]]


class Crew(Protocol):
    """Threads that work on a task together."""

    def threads(self) -> int:
        """How many there may be, the caller among them."""
        ...

    def work(self, kernel: int, task: int, threads: int) -> None:
        """Call the C function ``kernel(task)`` on so many threads, and return when all have.

        Called again after an interruption it waits for the threads of the first call too.
        """
        ...


class Job(Protocol):
    """One kernel's work on a table.

    Attributes:
        results: [spans, …], what the kernel says of each span, if it says anything.
    """

    @property
    def results(self) -> NDArray[np.float64]: ...

    def total(self) -> float:
        """The sum of the only result over all spans worked through."""
        ...


class Work(Protocol):
    """One job, or several that are done together."""

    def begin(self) -> None:
        """All spans are to be worked through by the next `run`."""
        ...

    def run(self, crew: Crew) -> None:
        """Work through every span, once for each `begin`: to run again what has run does nothing."""
        ...


class Engine(Protocol):
    """Who runs kernels on the tables of some kind of memory.

    Attributes:
        span: most elements in a span.
        touches: whether a table's columns may be the rows that a sparse gradient touches.
        keeper: the engine itself, if it keeps the counts.
    """

    @property
    def span(self) -> int: ...

    @property
    def touches(self) -> bool: ...

    @property
    def keeper(self) -> "Keeper | None": ...

    def step(self, kernel: Kernel, dtype: str, measured: bool, kinds: Kinds, table: "Table") -> Job:
        """A step's work."""
        ...

    def norm(self, dtype: str, kind: str, table: "Table") -> Job:
        """The sums of the squares of gradients, one for each span."""
        ...

    def together(self, jobs: Sequence[Any]) -> Sequence[Work]:
        """What does all of these jobs, of its own `step` or all of its own `norm`, in as few calls as can be."""
        ...

    def clip(self, norms: Sequence[Any], steps: Sequence[Any], largest: float, scale: float) -> Told | None:
        """Have the steps hold down the norm that the norms' work will find, with nobody here waiting for it.

        Args:
            norms: what `together` has made of all norms; to be begun after this, as the steps are.
            steps: what it has made of all steps.
            largest: the largest norm that the gradients may have.
            scale: what the gradients were multiplied by.

        Returns:
            None where the steps take the factor from their coefficients alone.
        """
        ...


class Lead(Work, Protocol):
    """What goes before the steps of an engine that keeps the counts: it does what the host does elsewhere."""

    def ask(self, steps: Sequence[Any], largest: float, scale: Any, found: Any, skips: bool) -> Told:
        """Have the steps take what the next run will find, with nobody here waiting for it.

        Args:
            steps: what `Engine.together` has made of all steps; to be begun after this, as the lead is.
            largest: the largest norm that the gradients may have.
            scale: what the gradients were multiplied by, a number or a tensor.
            found: whether somebody has found that a gradient is not finite, likewise: the step is skipped.
            skips: whether it is skipped where the norm is not finite.
        """
        ...


class Keeper(Engine, Protocol):
    """An engine that keeps counts and scalar states itself, and computes the coefficients from them."""

    @property
    def capturing(self) -> bool:
        """Whether steps are not made now but recorded, to be made again and again."""
        ...

    def lead(self, norms: Sequence[Any], steps: Sequence[Any]) -> Lead:
        """What goes before these steps.

        Args:
            norms: jobs of all gradients, if their norm is wanted.
            steps: what `Engine.together` has made of all steps.
        """
        ...


class Processor:
    """The CPU, by compiled C functions."""

    touches, keeper = True, None

    @property
    def span(self) -> int:
        return SPAN

    def step(self, kernel: Kernel, dtype: str, measured: bool, kinds: Kinds, table: "Table") -> Job:
        return Task(kernel.address(dtype, measured, kinds), table, len(MEASURES) if measured else 0)

    def norm(self, dtype: str, kind: str, table: "Table") -> Job:
        return Task(norm_address(dtype, kind), table, 1)

    def together(self, jobs: Sequence[Any]) -> Sequence[Work]:
        return jobs

    def clip(self, norms: Sequence[Any], steps: Sequence[Any], largest: float, scale: float) -> None:
        return None


class Task:
    """One kernel's work on a table, by a C function: a job that is its own work.

    Attributes:
        results: [spans, …], what the kernel says of each span, if it says anything.
    """

    def __init__(self, kernel: int, table: "Table", results: int = 0) -> None:
        self.results = np.zeros((len(table.spans), results))
        self._kernel, self._table = kernel, table
        self._call = FUNCTION(kernel)
        fixed = place(table.addresses), place(table.spans)
        self._words = (ctypes.c_int64 * 9)(0, 0, 0, table.addresses.shape[1], *fixed, 0, place(self.results), 0)
        self._place = ctypes.addressof(self._words)
        self._sum, self._add = ctypes.c_double(), helper("total", 3)
        self._sum_place = ctypes.addressof(self._sum)
        self._lines: tuple[int, int] | None = None
        self._done = True

    def total(self) -> float:
        """The sum of the only result over all spans worked through."""
        self._add(self._words[7], self._table.used, self._sum_place)
        return self._sum.value

    def begin(self) -> None:
        """All spans are to be worked through by the next `run`."""
        self._words[0], self._words[1] = 0, self._table.used
        if self._lines is not self._table.lines:
            self._lines = self._table.lines
            self._words[6], self._words[8] = self._lines
        self._done = False

    def run(self, crew: Crew) -> None:
        """Work through every span, once for each `begin`: to run again what has run does nothing."""
        if self._done:
            return
        spans = self._words[1]
        threads = crew.threads() if self._table.elements >= self._table.serial else 1
        self._words[2] = spans if threads == 1 else -(-spans // (16 * threads))
        if threads == 1:
            self._call(self._place)
        else:
            crew.work(self._kernel, self._place, threads)
        self._done = True


class Table:
    """The tensors that one compiled kernel works on.

    Attributes:
        addresses: [arrays, tensors]: gradient first, parameter next, then the states.
        owners: [spans]: the parameter that a span is of.
        spans: [spans, 4]: tensor, first element, number of elements, line of coefficients.
        used: how many of the spans a run works through.
        elements: how many coordinates it computes.
        coefficients: [lines, coefficients], in the kernel's dtype.
        keys: [lines], what tells a step's noise from another's.
        lines: the addresses of the two.
        changes: how often tensors were given other lines than before.
        scalars: [scalars, tensors], where the counts and scalar states lie, for an engine that keeps them.
        arguments: what else the host's part takes of it, likewise.
        serial: the elements from which on threads share a run.
    """

    def __init__(
        self,
        addresses: Ints,
        sizes: Ints,
        width: int,
        dtype: str,
        grain: int = 1,
        whole: bool = True,
        span: int | None = None,
    ) -> None:
        """
        Args:
            addresses: [arrays, tensors].
            sizes: [tensors], numbers in each.
            width: how many coefficients a row has.
            dtype: of the coefficients.
            grain: elements that are not to be parted.
            whole: whether each tensor is a parameter; else all are of one.
            span: most elements in a span, if not `SPAN`.
        """
        span = -(-(span or SPAN) // grain) * grain
        pieces = -(-sizes // span)
        tensor = np.repeat(np.arange(len(sizes)), pieces)
        first = (np.arange(len(tensor)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * span
        length = np.minimum(span, sizes[tensor] - first)
        self.addresses = np.ascontiguousarray(addresses, np.int64)
        self.spans = np.stack([tensor, first, length, np.zeros_like(tensor)], axis=1).astype(np.int64)
        self.owners = tensor if whole else np.zeros_like(tensor)
        self.serial = (
            SERIAL if whole else SERIAL // 5
        )  # parts lie scattered, and most of the time is waiting for memory
        self.used = len(tensor)
        self.elements = self._whole = int(length.sum())
        self.changes = 0
        self._pack = struct.Struct(f"{width}{'f' if dtype == 'float32' else 'd'}")
        self.scalars = np.empty((0, len(sizes)), np.int64)
        self.arguments: Sequence[Any] = ()
        self._have(1, width, dtype)
        self._rows = 0

    def limit(self, tensors: int) -> None:
        """Let only the first so many tensors take part, of a table whose tensors are all of one size."""
        spans, capacity = len(self.spans), self.addresses.shape[1]
        if capacity:
            self.used = spans // capacity * tensors
            self.elements = self._whole // capacity * tensors

    def keep(self, scalars: Ints) -> None:
        """Leave it to the engine to compute a line for each tensor, from counts and scalar states that lie here."""
        self.scalars, self._rows = scalars, scalars.shape[1]
        self.spans[:, 3] = self.owners
        self._have(self._rows, self.coefficients.shape[1], self.coefficients.dtype)

    def _have(self, lines: int, width: int, dtype: Any) -> None:
        self.coefficients, self.keys = np.zeros((lines, width), dtype), np.zeros(lines, np.int64)
        self.lines = place(self.coefficients), place(self.keys)
        self._set = partial(self._pack.pack_into, self.coefficients.data)

    def use(self, lines: Sequence[Sequence[float]], rows: Ints | None, keys: Sequence[int] | None) -> None:
        """Set the coefficients of the next run, and the line that each tensor takes (None: all the only one); and what
        tells its noise from another's (None: it draws none)."""
        if len(lines) != self._rows:
            self._have(len(lines), self.coefficients.shape[1], self.coefficients.dtype)
        if rows is not None or self._rows != 1:
            lines_of = np.zeros_like(self.owners) if rows is None else rows[self.owners]
            if not np.array_equal(self.spans[:, 3], lines_of):
                self.spans[:, 3] = lines_of
                self.changes += 1
        self._rows = len(lines)
        if keys is not None:
            self.keys[:] = keys
        for k, line in enumerate(lines):
            try:
                self._set(k * self._pack.size, *line)
            except OverflowError:  # beyond float32: infinite
                with np.errstate(over="ignore"):
                    self.coefficients[k] = line


#: How often `unbroken` takes work up again.
ATTEMPTS = 4


def unbroken(work: Callable[..., None], *args: Any) -> None:
    """Do the work, and raise what came between only when it is done: Ctrl-C, what a signal's handler raised.

    Args:
        work: is begun again after an interruption, and so must go on where it was, or not mind to be repeated.
        args: what it takes.
    """
    interruption: BaseException | None = None
    for _ in range(ATTEMPTS):
        try:
            work(*args)
            break
        except BaseException as error:
            interruption = error
    if interruption is not None:
        raise interruption


#: What a kernel is to Python: a C function of an address, called without the GIL.
FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_int64)


class Pool:
    """A standing crew of Python threads, made when first wanted."""

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)  # a forked child has none of its parent's threads

    def _forget(self) -> None:
        self._workers: ThreadPoolExecutor | None = None
        self._size = 0
        self._shifts: dict[tuple[int, int], _Shift] = {}  # until nobody is at work on their task
        self._lock = threading.Lock()

    def threads(self) -> int:
        own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
        return int(os.environ.get("NUMBA_NUM_THREADS", 0)) or len(own)

    def work(self, kernel: int, task: int, threads: int) -> None:
        with self._lock:
            if self._workers is None or self._size < threads - 1:
                self._size = threads - 1
                self._workers = ThreadPoolExecutor(self._size, thread_name_prefix="adamas")
            workers = self._workers
        function = FUNCTION(kernel)
        shift = self._shifts.setdefault((kernel, task), _Shift(function, task))
        with suppress(RuntimeError):  # no thread is to be had, as while Python shuts down: the caller does it all
            for _ in range(threads - 1):
                workers.submit(shift.turn)
        function(task)
        shift.end()
        self._shifts.pop((kernel, task), None)


class _Shift:
    """The turns that threads take at one task: who has come in time is waited for, who comes late finds it over."""

    def __init__(self, function: Callable[[int], None], task: int) -> None:
        self._function, self._task = function, task
        # Bare locks, since a Condition is Python: an interruption inside it might leave it locked.
        self._gate = threading.Lock()
        self._turns: list[threading.Lock] = []  # each locked while its thread is at work
        self._over = False

    def turn(self) -> None:
        own = threading.Lock()
        with own:
            with self._gate:
                if self._over:
                    return
                self._turns.append(own)
            self._function(self._task)

    def end(self) -> None:
        with self._gate:
            self._over = True
        for turn in self._turns:
            with turn:
                pass


POOL = Pool()
PROCESSOR = Processor()
