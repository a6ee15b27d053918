# pyright: basic
# Numba has no types, and wants its overloads bare.
"""Numba: compiled loops for the CPU, one call for all tensors, bit-identical to NumPy in float32.

No fast-math: the compiler may neither reorder nor fuse, so every operation rounds as NumPy's does.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from llvmlite import ir
from numba import types  # pyright: ignore[reportPrivateImportUsage]
from numba.extending import overload, register_jitable

from adamas.lowering import words
from adamas.lowering.memory import bitcast
from adamas.lowering.source import Program
from adamas.lowering.storage import KINDS, Kind, Kinds
from adamas.tail import MEASURES


def render(program: Program, dtype: str, measured: bool = False, kinds: Kinds = ()) -> str:
    """The text of a kernel over tables of addresses.

    ``kernel(task)``, a C function, takes spans from the task until there are none left; several threads may work
    on one task. A task is the address of 64-bit words (`adamas.engine.Task`): the next span, the number of spans,
    how many to take at once; the number of tensors and the addresses of five tables:

    - int64 [arrays, tensors], the address of each array of each tensor: those of the program, then the companions;
    - int64 [spans, 4]: tensor, first element, number of elements, row of coefficients;
    - [rows, coefficients] of the kernel's dtype;
    - float64 [spans, results], what was measured;
    - int64 [rows], the key of the noise.

    Args:
        program: rule, driver and options.
        dtype: "float32" or "float64".
        measured: whether the kernel also measures what it does, span by span (`MEASURES`).
        kinds: how arrays are kept that do not lie in memory as ``dtype`` (`adamas.lowering.storage`).
    """
    names, kept = program.arrays, dict(kinds)
    views: list[str] = []
    rows = len(names)
    for k, name in enumerate(names):
        kind = KINDS[kept[name]] if name in kept else Kind(dtype)
        views.append(f"{name}_ = {_view(kind.dtype, k)}")
        if kind.companion:
            views.append(f"{name}_more = {_view('int16', rows, kind.block)}")
            rows += 1
    itemsize, width = np.dtype(dtype).itemsize, len(program.coefficients)
    views.append(f"row = {dtype}_array(rows + load_int64(spans + 32 * k + 24) * {width * itemsize}, {width})")
    if measured or kept:
        scratch, work = _blocks(program, measured, kept)
    else:
        scratch, work = [], [f"span({', '.join(f'{name}_' for name in names)}, row)"]
    return _module(
        f"{program.rule}, {dtype}{', measured' if measured else ''}{''.join(f', {n}: {k}' for n, k in kinds)}",
        [
            f"from numpy import {dtype} as number",
            "from adamas.lowering.words import maximum, minimum, power, sign, sqrt, square, where",
            *(["from adamas.lowering.packing import *"] if kept else []),
        ],
        [*_span(program, measured), *(_MEASURE if measured else [])],
        scratch,
        [*views, *work],
        rows,
    )


def render_norm(dtype: str, kind: str = "") -> str:
    """The text of a kernel that takes the same task, looks at the gradients alone, and leaves Σg² of each span.

    The sum of a float32 gradient is finite if and only if all of its elements are.
    """
    scratch: list[str] = []
    work = [f"store_float64(results + 8 * k, squares({_view(dtype, 0)}))"]
    if kind:
        scratch.append(f"g__ = empty({BLOCK}, number)")
        work = [
            f"g_ = {_view(KINDS[kind].dtype, 0)}",
            "total = 0.0",
            f"for i in range(0, size, {BLOCK}):",
            f"    j = min(i + {BLOCK}, size)",
            f"    unpack_{kind}(g_[i:j], g__[: j - i])",
            "    total += squares(g__[: j - i])",
            "store_float64(results + 8 * k, total)",
        ]
    return _module(
        f"Σg², {kind or dtype}",
        [f"from numpy import {dtype} as number", "from adamas.lowering.packing import *"] if kind else [],
        [
            "@njit(error_model='numpy', fastmath={'reassoc'}, cache=CACHE)",
            "def squares(g_):",
            "    total = 0.0",
            "    for i in range(g_.size):",
            "        total += float64(g_[i]) * float64(g_[i])",
            "    return total",
        ],
        scratch,
        work,
        1,
    )


def _span(program: Program, measured: bool) -> list[str]:
    """The function that runs through arrays from 0 to their size.

    If it measures, it counts the small roots, and leaves the rule's step and the gradient that the rule saw.
    """
    body = [f"{name} = {name}_[i__]" for name in program.arrays]
    for number, line in enumerate(program.body):
        if measured and number == program.begins:
            body.append("seen__[i__] = g")
        body.append(line)
        if measured and number == program.watch[0]:
            body += [f"if {program.watch[1]}:", "    small__ += 1"]
    body += [f"{name}_[i__] = {name}" for name in program.outputs]
    if measured:
        body.append(f"step__[i__] = {program.step}")
    more = ", step__, seen__" if measured else ""
    unpack = [
        f"{name} = c__[{k}] != 0" if name in program.flags else f"{name} = c__[{k}]"
        for k, name in enumerate(program.coefficients)
    ]
    return [
        "@njit(error_model='numpy', cache=CACHE)",
        f"def span({', '.join(f'{name}_' for name in program.arrays)}, c__{more}):",
        *(f"    {line}" for line in unpack),
        *(["    small__ = 0"] if measured else []),
        "    for i__ in range(param_.size):",
        *(f"        {line}" for line in body),
        *(["    return small__"] if measured else []),
    ]


def _blocks(program: Program, measured: bool, kept: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Scratch memory, and the work on a span, block by block: unpack, measure, step, pack."""
    scratch = [f"{name}__ = empty({BLOCK}, number)" for name in kept]
    part = {name: f"{name}__[: j - i]" if name in kept else f"{name}_[i:j]" for name in program.arrays}
    ways: dict[str, str] = {}  # what the functions that pack take beside the scratch memory
    for name, kind in kept.items():
        block = KINDS[kind].block
        more = f", {name}_more[i // {block} : (j + {block - 1}) // {block}]" if KINDS[kind].companion else ""
        ways[name] = f"{name}_[i:j]{more}"
    more = ", step__[: j - i], seen__[: j - i]" if measured else ""
    call = f"span({', '.join(part.values())}, row{more})"
    lines = [f"unpack_{kept[name]}({way}, {part[name]})" for name, way in ways.items()]
    if measured:
        lines += [
            f"before__[: j - i] = {part['param']}",
            f"measure_gradient({part['g']}, measures__)",
            f"measures__[{MEASURES.index('eps_counts')}] += {call}",
            f"measure_step(before__[: j - i], {part['param']}, measures__)",
            "measure_rule(step__[: j - i], seen__[: j - i], measures__)",
        ]
        scratch += [f"{name}__ = empty({BLOCK}, number)" for name in ("before", "step", "seen")]
    else:
        lines.append(call)
    written = [name for name in program.outputs if name in kept]
    if written:
        scratch.append(f"noise__ = empty({BLOCK}, uint32)")
    if any(KINDS[kept[name]].stochastic for name in written):
        lines.append("make_noise(start + i, load_int64(keys + 8 * load_int64(spans + 32 * k + 24)), noise__[: j - i])")
    for name in written:
        if KINDS[kept[name]].stochastic and name != written[0]:
            lines.append("turn_noise(noise__[: j - i])")
        lines.append(f"pack_{kept[name]}({part[name]}, {ways[name]}, noise__[: j - i])")
    work = [f"for i in range(0, size, {BLOCK}):", f"    j = min(i + {BLOCK}, size)", *(f"    {line}" for line in lines)]
    if measured:
        count = len(MEASURES)
        work = [f"measures__ = float64_array(results + {8 * count} * k, {count})", "measures__[:] = 0", *work]
    return scratch, work


#: Elements that are unpacked or measured at once: few enough to be in the processor's first cache still.
BLOCK = 512

# Sums may be taken in any order, and in float64, in which no square of a float32 overflows.
_MEASURE = """

@njit(error_model='numpy', fastmath={'reassoc', 'nsz'}, cache=CACHE)
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
    row__[4] += squares


@njit(error_model='numpy', fastmath={'reassoc', 'nsz'}, cache=CACHE)
def measure_rule(step_, seen_, row__):
    squares, along = 0.0, 0.0
    for i in range(step_.size):
        squares += float64(step_[i]) * float64(step_[i])
        along += float64(step_[i]) * float64(seen_[i])
    row__[6] += squares
    row__[7] += along""".splitlines()


def _view(dtype: str, row: int, block: int = 1) -> str:
    """The span of one of tensor n's arrays; an entry of it belongs to a block of elements."""
    memory = {"bfloat16": "uint16", "float16": "uint16"}.get(dtype, dtype)
    first, size = ("start", "size") if block == 1 else (f"start // {block}", f"(size + {block - 1}) // {block}")
    address = f"load_int64(tensors + 8 * ({row} * count + n)) + {first} * {np.dtype(memory).itemsize}"
    return f"{memory}_array({address}, {size})"


def _module(
    title: str, imports: Sequence[str], functions: Sequence[str], scratch: Sequence[str], work: Sequence[str], rows: int
) -> str:
    """A module whose C function takes spans and works on each: number k, tensor n, from ``start`` on, ``size`` long."""
    lines = [
        f"# {title}, Numba",
        "from numba import cfunc, njit",
        "from numpy import empty, float64, uint32",
        "from adamas.lowering.memory import *",
        *imports,
        "",
        "",
        *functions,
        "",
        "",
        "@cfunc('void(int64)', error_model='numpy', cache=CACHE)",
        "def kernel(task):",
        "    end, batch, count = load_int64(task + 8), load_int64(task + 16), load_int64(task + 24)",
        "    tensors, spans, rows = load_int64(task + 32), load_int64(task + 40), load_int64(task + 48)",
        "    results, keys = load_int64(task + 56), load_int64(task + 64)",
        *(f"    {line}" for line in scratch),
        "    first = fetch_add(task, batch)",
        "    while first < end:",
        "        for k in range(first, min(first + batch, end)):",
        "            n, start = load_int64(spans + 32 * k), load_int64(spans + 32 * k + 8)",
        "            size = load_int64(spans + 32 * k + 16)",
        "            ahead = load_int64(spans + 32 * min(k + 4, end - 1))  # for small tensors: ask early",
        *(f"            prefetch(load_int64(tensors + 8 * ({row} * count + ahead)))" for row in range(rows)),
        *(f"            {line}" for line in work),
        "        first = fetch_add(task, batch)",
        "",
    ]
    return "\n".join(lines)


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
