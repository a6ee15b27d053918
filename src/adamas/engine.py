"""Tables of addresses, spans of elements, threads: how one call reaches every tensor of a step.

A `Table` holds what a compiled kernel needs for the tensors that share it: where each array of each tensor lies,
and the spans of elements to work through. `run` splits the work of several tables evenly over threads; since every
coordinate is computed on its own, the result does not depend on how.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

#: Most elements in a span, and the elements below which a second thread costs more than it brings.
SPAN = 1 << 14
SERIAL = 100_000


@dataclass(eq=False)
class Table:
    """The tensors that one compiled kernel works on.

    Attributes:
        kernel: ``kernel(addresses, spans, coefficients, first, last)``.
        addresses: [arrays, tensors]: gradient first, parameter next, then the states.
        spans: [spans, 4]: tensor, first element, number of elements, row of coefficients.
        ends: elements up to the end of each span.
        coefficients: [rows, coefficients], in the kernel's dtype; set before each run.
    """

    kernel: Callable[[Ints, Ints, NDArray[Any], int, int], None]
    addresses: Ints
    spans: Ints
    ends: Ints
    coefficients: NDArray[Any]

    @classmethod
    def of(cls, kernel: Callable[..., None], addresses: Ints, sizes: Ints, span: int | None = None) -> "Table":
        """Lay out spans over tensors of these sizes, of at most ``span`` elements (`SPAN`)."""
        span = span or SPAN
        pieces = -(-sizes // span)
        tensor = np.repeat(np.arange(len(sizes)), pieces)
        first = (np.arange(len(tensor)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * span
        length = np.minimum(span, sizes[tensor] - first)
        spans = np.stack([tensor, first, length, np.zeros_like(tensor)], axis=1).astype(np.int64)
        return cls(
            kernel,
            np.ascontiguousarray(addresses, np.int64),
            np.ascontiguousarray(spans),
            np.cumsum(length),
            np.empty((0, 0)),
        )

    @property
    def elements(self) -> int:
        """How many coordinates a run computes."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def use(self, coefficients: NDArray[Any], rows: Ints) -> None:
        """Set the coefficients of the next run, and the row that each tensor takes (one number: all take it)."""
        if len(rows) > 1 or len(self.coefficients) != 1:
            self.spans[:, 3] = rows[self.spans[:, 0]] if len(rows) > 1 else rows
        self.coefficients = coefficients


def run(tables: Sequence[Table], threads: int) -> None:
    """Run every kernel over all of its spans, on the calling thread and ``threads - 1`` more."""
    total = sum(table.elements for table in tables)
    if threads <= 1 or total < SERIAL:
        for table in tables:
            table.kernel(table.addresses, table.spans, table.coefficients, 0, len(table.spans))
        return
    own, *others = _shares(tables, total, threads)
    futures = [_pool(threads - 1).submit(_work, share) for share in others]
    try:
        _work(own)
    finally:
        for future in futures:
            future.result()


Share = list[tuple[Table, int, int]]


def _shares(tables: Sequence[Table], total: int, threads: int) -> list[Share]:
    """Cut the spans of all tables, taken as one row, into equal parts."""
    shares: list[Share] = [[] for _ in range(threads)]
    before = 0
    for table in tables:
        marks = [total * k // threads - before for k in range(threads + 1)]
        cuts = np.searchsorted(table.ends, marks).tolist()
        cuts[0], cuts[-1] = (0, len(table.spans))
        for share, first, last in zip(shares, cuts, cuts[1:], strict=False):
            if first < last:
                share.append((table, first, last))
        before += table.elements
    return shares


def _work(share: Share) -> None:
    for table, first, last in share:
        table.kernel(table.addresses, table.spans, table.coefficients, first, last)


_workers: ThreadPoolExecutor | None = None
_lock = threading.Lock()


def _pool(threads: int) -> ThreadPoolExecutor:
    global _workers
    with _lock:
        if _workers is None or _workers._max_workers < threads:
            _workers = ThreadPoolExecutor(threads, thread_name_prefix="adamas")
        return _workers


def _forget_pool() -> None:
    """A forked child has none of its parent's threads."""
    global _workers, _lock
    _workers, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
