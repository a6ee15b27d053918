"""Tables of addresses, spans of elements, threads: how one call reaches every tensor of a step.

A `Table` holds what a compiled kernel needs for the tensors that share it: where each array of each tensor lies,
and the spans of elements to work through. Threads take spans from it until none is left; since every coordinate is
computed on its own, the result does not depend on who takes which.
"""

import ctypes
import os
import struct
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
        """Call the C function ``kernel(task)`` on so many threads, and return when all have."""
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

    def run(self, crew: Crew) -> None:
        """Compute every span once."""
        spans = len(self.spans)
        threads = crew.threads() if self.elements >= SERIAL else 1
        self._task[0] = 0
        self._task[2] = spans if threads == 1 else -(-spans // (16 * threads))
        if threads == 1:
            self._call(ctypes.addressof(self._task))
        else:
            crew.work(self.kernel, ctypes.addressof(self._task), threads)


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
        self._lock = threading.Lock()

    def threads(self) -> int:
        own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
        return int(os.environ.get("NUMBA_NUM_THREADS", 0)) or len(own)

    def work(self, kernel: int, task: int, threads: int) -> None:
        with self._lock:
            if self._workers is None or self._size < threads - 1:
                self._size = threads - 1
                self._workers = ThreadPoolExecutor(self._size, thread_name_prefix="adamas")
            function = FUNCTION(kernel)
            others = [self._workers.submit(function, task) for _ in range(threads - 1)]
        function(task)
        for other in others:
            other.result()


POOL = Pool()
