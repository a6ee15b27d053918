# pyright: basic
# Numba has no types, and wants its overloads bare.
"""Numba: compiled loops for the CPU, one call for all tensors, bit-identical to NumPy in float32.

No fast-math: the compiler may neither reorder nor fuse, so every operation rounds as NumPy's does.
"""

from collections.abc import Sequence

import numpy as np
from llvmlite import ir
from numba import types  # pyright: ignore[reportPrivateImportUsage]
from numba.extending import overload, register_jitable

from adamas.lowering import words
from adamas.lowering.memory import bitcast
from adamas.lowering.source import Program
from adamas.tail import MEASURES


def render(program: Program, dtype: str, measured: bool = False) -> str:
    """The text of a kernel over tables of addresses.

    ``kernel(task)``, a C function, takes spans from the task until there are none left; several threads may work
    on one task. A task is the address of 64-bit words (`adamas.engine.Task`): the next span, the number of spans,
    how many to take at once; the number of tensors and the addresses of four tables:

    - int64 [arrays, tensors], the address of each array of each tensor;
    - int64 [spans, 4]: tensor, first element, number of elements, row of coefficients;
    - [rows, coefficients] of the kernel's dtype;
    - float64 [spans, results], what was measured.

    Args:
        program: rule, driver and options.
        dtype: "float32" or "float64".
        measured: whether the kernel also measures what it does, span by span (`MEASURES`).
    """
    names = program.arrays
    body = [f"{name} = {name}_[i__]" for name in names]
    for number, line in enumerate(program.body):
        body.append(line)
        if measured and number == program.watch[0]:
            body.append(f"if {program.watch[1]}:")
            body.append("    small__ += 1")
    body += [f"{name}_[i__] = {name}" for name in program.outputs]
    unpack = [
        f"{name} = c__[{k}] != 0" if name in program.flags else f"{name} = c__[{k}]"
        for k, name in enumerate(program.coefficients)
    ]
    arrays = ", ".join(f"{name}_" for name in names)
    itemsize, width = np.dtype(dtype).itemsize, len(program.coefficients)
    span = [
        "@njit(error_model='numpy', cache=CACHE)",
        f"def span({arrays}, c__):",
        *(f"    {line}" for line in unpack),
        *(["    small__ = 0"] if measured else []),
        "    for i__ in range(param_.size):",
        *(f"        {line}" for line in body),
        *(["    return small__"] if measured else []),
    ]
    given = [*(f"{name}_" for name in names), "row"]
    work = [
        *(f"{name}_ = {_part(k, 'start', 'size', itemsize)}" for k, name in enumerate(names)),
        f"row = array(rows + load_int64(spans + 32 * k + 24) * {width * itemsize}, {width})",
    ]
    if not measured:
        work.append(f"span({', '.join(given)})")
        extra = ""
    else:
        span += ["", "", *_MEASURE]
        cut = ", ".join(f"{name}_[i:j]" for name in names)
        work += [
            f"row__ = float64_array(results + {8 * len(MEASURES)} * k, {len(MEASURES)})",
            "row__[:] = 0",
            f"for i in range(0, size, {BLOCK}):",
            f"    j = min(i + {BLOCK}, size)",
            "    before__[: j - i] = param_[i:j]",
            "    measure_gradient(g_[i:j], row__)",
            f"    row__[5] += span({cut}, row)",
            "    measure_step(before__[: j - i], param_[i:j], row__)",
        ]
        extra = (
            "from adamas.lowering.memory import float64_array, magnitude, of_magnitude\n"
            "from numpy import empty, float64\n"
        )
    return "\n".join(
        [
            f"# {program.rule}, {dtype}, Numba",
            "from numba import cfunc, njit",
            f"from numpy import {dtype} as number",
            f"from adamas.lowering.memory import {dtype}_array as array, fetch_add, load_int64, prefetch",
            f"{extra}from adamas.lowering.words import maximum, minimum, power, sign, sqrt, square, where",
            "",
            "",
            *span,
            "",
            "",
            *_frame(work, range(len(names)), [f"before__ = empty({BLOCK}, number)"] if measured else []),
        ]
    )


#: Elements that are measured at once: few enough to be in the processor's first cache still.
BLOCK = 2048

# Sums may be taken in any order, and in float64, in which no square of a float32 overflows.
_MEASURE = """@njit(error_model='numpy', fastmath={'reassoc', 'nsz'}, cache=CACHE)
def measure_gradient(g_, row__):
    squares, zeros, largest = 0.0, 0, magnitude(number(row__[1]))
    for i in range(g_.size):
        g = g_[i]
        squares += float64(g) * float64(g)
        largest = max(largest, magnitude(g))
        if g == 0:
            zeros += 1
    row__[0] += squares
    row__[1] = of_magnitude(largest)
    row__[2] += zeros


@njit(error_model='numpy', fastmath={'reassoc', 'nsz'}, cache=CACHE)
def measure_step(before_, param_, row__):
    moved, squares = 0.0, 0.0
    for i in range(param_.size):
        step = float64(param_[i] - before_[i])
        moved += step * step
        squares += float64(param_[i]) * float64(param_[i])
    row__[3] += moved
    row__[4] += squares""".splitlines()


def render_norm(dtype: str) -> str:
    """The text of a kernel that takes the same task, looks at the gradients alone, and leaves Σg² of each span.

    The sum of a float32 gradient is finite if and only if all of its elements are.
    """
    return "\n".join(
        [
            f"# Σg², {dtype}, Numba",
            "from numba import cfunc, njit",
            f"from adamas.lowering.memory import {dtype}_array as array, fetch_add, load_int64, prefetch",
            "from adamas.lowering.memory import store_float64",
            "from numpy import float64",
            "",
            "",
            "@njit(error_model='numpy', fastmath={'reassoc'}, cache=CACHE)",
            "def squares(g_):",
            "    total = 0.0",
            "    for i in range(g_.size):",
            "        total += float64(g_[i]) * float64(g_[i])",
            "    return total",
            "",
            "",
            *_frame(
                [f"store_float64(results + 8 * k, squares({_part(0, 'start', 'size', np.dtype(dtype).itemsize)}))"],
                range(1),
            ),
        ]
    )


def _part(array: int, start: str, size: str, itemsize: int) -> str:
    """A span of one of the arrays of tensor n."""
    return f"array(load_int64(tensors + 8 * ({array} * count + n)) + {start} * {itemsize}, {size})"


def _frame(work: Sequence[str], arrays: range, first: Sequence[str] = ()) -> list[str]:
    """The C function that takes spans: ``work`` is done for each, with its number k, tensor n, start and size."""
    return [
        "@cfunc('void(int64)', error_model='numpy', cache=CACHE)",
        "def kernel(task):",
        "    end, batch, count = load_int64(task + 8), load_int64(task + 16), load_int64(task + 24)",
        "    tensors, spans, rows = load_int64(task + 32), load_int64(task + 40), load_int64(task + 48)",
        "    results = load_int64(task + 56)",
        *(f"    {line}" for line in first),
        "    first = fetch_add(task, batch)",
        "    while first < end:",
        "        for k in range(first, min(first + batch, end)):",
        "            n, start = load_int64(spans + 32 * k), load_int64(spans + 32 * k + 8)",
        "            size = load_int64(spans + 32 * k + 16)",
        "            ahead = load_int64(spans + 32 * min(k + 4, end - 1))  # for small tensors: ask early",
        *(f"            prefetch(load_int64(tensors + 8 * ({k} * count + ahead)))" for k in arrays),
        *(f"            {line}" for line in work),
        "        first = fetch_add(task, batch)",
        "",
    ]


# -- the words, for scalars ------------------------------------------------------------------------------------------


@overload(words.where)
def _where(condition, a, b):
    return lambda condition, a, b: a if condition else b


@overload(words.like)
def _like(x, other):
    kind = getattr(np, str(other))
    return lambda x, other: kind(x)


@overload(words.integer)
def _integer(x):
    return lambda x: np.int64(x)


_to_int = bitcast(types.float64, types.int64, ir.IntType(64))
_to_float = bitcast(types.int64, types.float64, ir.DoubleType())


@overload(words.bits)
def _bits(x):
    return lambda x: _to_int(x)


@overload(words.from_bits)
def _from_bits(i):
    return lambda i: _to_float(i)


for _word in (words.square, words.sign, words.maximum, words.minimum, words.exponential, words.power):
    register_jitable(inline="always")(_word)  # or the loop around it is not vectorised
