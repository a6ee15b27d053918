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
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

#: Most elements in a span, and the elements below which a second thread costs more than it brings.
SPAN = 1 << 14
SERIAL = 100_000


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


class Table:
    """The tensors that one compiled kernel works on.

    Attributes:
        kernel: the address of the C function ``kernel(task)``.
        addresses: [arrays, tensors]: gradient first, parameter next, then the states.
        spans: [spans, 4]: tensor, first element, number of elements, row of coefficients.
        elements: how many coordinates a run computes.
        coefficients: [rows, coefficients], in the kernel's dtype.
    """

    def __init__(self, kernel: int, addresses: Ints, sizes: Ints, width: int, dtype: str) -> None:
        pieces = -(-sizes // SPAN)
        tensor = np.repeat(np.arange(len(sizes)), pieces)
        first = (np.arange(len(tensor)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * SPAN
        length = np.minimum(SPAN, sizes[tensor] - first)
        self.kernel = kernel
        self.addresses = np.ascontiguousarray(addresses, np.int64)
        self.spans = np.stack([tensor, first, length, np.zeros_like(tensor)], axis=1).astype(np.int64)
        self.elements = int(length.sum())
        self.coefficients = np.zeros((1, width), dtype)
        self._call = FUNCTION(kernel)
        places = self.addresses.ctypes.data, self.spans.ctypes.data
        self._task = (ctypes.c_int64 * 7)(0, len(self.spans), 0, len(sizes), *places, 0)
        self._pack = struct.Struct(f"{width}{'f' if dtype == 'float32' else 'd'}")
        self._rows = 0
        self._done = True

    def use(self, lines: Sequence[Sequence[float]], rows: Ints | None) -> None:
        """Set the coefficients of the next run, and the line that each tensor takes (None: all the only one)."""
        if len(lines) != self._rows:
            self.coefficients = np.empty((len(lines), self.coefficients.shape[1]), self.coefficients.dtype)
            self._task[6] = self.coefficients.ctypes.data
        if rows is not None or self._rows != 1:
            self.spans[:, 3] = 0 if rows is None else rows[self.spans[:, 0]]
        self._rows = len(lines)
        for k, line in enumerate(lines):
            try:
                self._pack.pack_into(self.coefficients.data, k * self._pack.size, *line)
            except OverflowError:  # beyond float32: infinite
                with np.errstate(over="ignore"):
                    self.coefficients[k] = line
        self._task[0] = 0
        self._done = False

    def run(self, crew: Crew) -> None:
        """Compute every span, once for each `use`: to run again what has run does nothing."""
        if self._done:
            return
        spans = len(self.spans)
        threads = crew.threads() if self.elements >= SERIAL else 1
        self._task[2] = spans if threads == 1 else -(-spans // (16 * threads))
        if threads == 1:
            self._call(ctypes.addressof(self._task))
        else:
            crew.work(self.kernel, ctypes.addressof(self._task), threads)
        self._done = True


#: How often `unbroken` takes work up again.
ATTEMPTS = 4


def unbroken(work: Callable[[], None]) -> None:
    """Do the work, and raise what came between only when it is done: Ctrl-C, what a signal's handler raised.

    Args:
        work: is begun again after an interruption, and so must go on where it was, or not mind to be repeated.
    """
    interruption: BaseException | None = None
    for _ in range(ATTEMPTS):
        try:
            work()
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
