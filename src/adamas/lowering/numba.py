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
from adamas.lowering.storage import BLOCK, KINDS, Kind, Kinds
from adamas.tail import MEASURES

#: Elements of a stride, and how many elements ahead it asks for memory.
STRIDE, AHEAD = 128, 256


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
    given = _given(program, measured, kept)
    if "key__" in given:
        views.append("first__, key__ = start, load_int64(keys + 8 * load_int64(spans + 32 * k + 24))")
    if measured:
        views.append(f"measures__ = float64_array(results + {8 * len(MEASURES)} * k, {len(MEASURES)})")
    return _module(
        f"{program.rule}, {dtype}{', measured' if measured else ''}{''.join(f', {n}: {k}' for n, k in kinds)}",
        [
            f"from numpy import {dtype} as number",
            "from adamas.lowering.words import maximum, minimum, power, sign, sqrt, square, where",
            *(["from adamas.lowering.packing import *"] if kept else []),
        ],
        _span(program, dtype, measured, kept),
        [*views, f"span({', '.join(given)}, row)"],
        rows,
    )


def render_norm(dtype: str, kind: str = "") -> str:
    """The text of a kernel that takes the same task, looks at the gradients alone, and leaves Σg² of each span.

    The sum of a float32 gradient is finite if and only if all of its elements are.
    """
    return _module(
        f"Σg², {kind or dtype}",
        ["from adamas.lowering.packing import *"] if kind else [],
        [
            "@njit(error_model='numpy', cache=CACHE)",
            "def squares(g_):",
            "    total = 0.0",
            "    for i in range(g_.size):",
            f"        g = float64({f'from_{kind}(g_[i])' if kind else 'g_[i]'})",
            "        total = in_any_order(total, g * g)",
            "    return total",
        ],
        [f"store_float64(results + 8 * k, squares({_view(KINDS[kind].dtype if kind else dtype, 0)}))"],
        1,
    )


def _given(program: Program, measured: bool, kept: Mapping[str, str]) -> list[str]:
    """What the function takes that runs through a span, beside the coefficients."""
    random = any(KINDS[kept[name]].stochastic for name in program.outputs if name in kept)
    return [
        *(f"{name}_" for name in program.arrays),
        *(f"{name}_more" for name in program.arrays if name in kept and KINDS[kept[name]].companion),
        *(["first__", "key__"] if random else []),
        *(["measures__"] if measured else []),
    ]


def _span(program: Program, dtype: str, measured: bool, kept: Mapping[str, str]) -> list[str]:
    """The function that runs through the arrays of a span from 0 to their size: all in one loop.

    Where it unpacks and packs, it computes about as long as its memory takes, and would wait for the one, then for the
    other: it goes in strides, and asks at each for the memory of a later one. Otherwise the processor asks early enough
    by itself. Where it measures there is one stride, since sums across a vector would be taken at the end of each.

    Where codes share an exponent, which is known only when the last number of a block is, the numbers of a block wait
    in scratch memory, and a second loop makes codes of them.
    """
    kinds = {name: KINDS[kind] for name, kind in kept.items()}
    blocks = [name for name in program.arrays if name in kept and kinds[name].block > 1]
    pairs = {name for name in kept if kinds[name].companion} - set(blocks)
    written = [name for name in program.outputs if name in kept and kinds[name].stochastic]
    random = {name: f"turned(random_{k // 2})" if k % 2 else f"random_{k // 2}" for k, name in enumerate(written)}

    def load(name: str) -> str:
        code = f"{name}_[i__]"
        more = f", {name}_exponent" if name in blocks else f", {name}_more[i__]" if name in pairs else ""
        return f"from_{kept[name]}({code}{more})" if name in kept else code

    def keep(name: str, value: str) -> str:
        if name not in kept:
            return value
        more = [f"{name}_exponent"] if name in blocks else []
        more += [random[name]] if name in random else []
        return f"to_{kept[name]}({', '.join([value, *more])})"

    each = [f"{name} = {load(name)}" for name in program.arrays]
    each += _MEASURE_BEFORE if measured else []
    for number, line in enumerate(program.body):
        each += ["seen__ = g"] if measured and number == program.begins else []
        each.append(line)
        if measured and number == program.watch[0]:
            each += [f"if {program.watch[1]}:", "    eps_counts += 1"]
    each += [*_MEASURE_AFTER, *(line.format(program.step) for line in _MEASURE_STEP)] if measured else []
    noise = ["random_0 = noise_at(place__)", "place__ = next_place(place__)"]
    noise += [f"random_{k} = noise(random_{k - 1}, key__)" for k in range(1, (len(written) + 1) // 2)]
    early = any(name not in blocks for name in written)
    each += noise if early else []
    for name in program.outputs:
        if name in blocks:
            each += [
                f"{name}__[uint64(n__ - b__)] = {name}",
                f"{name}_largest = max({name}_largest, magnitude({name}))",
            ]
        else:
            more = f", {name}_more[i__]" if name in pairs else ""
            each.append(f"{name}_[i__]{more} = {keep(name, name)}")

    def loop(first: str, end: str, lines: Sequence[str], random: bool) -> list[str]:
        start = [f"place__ = place(element(first__, {first}), key__)"] if random else []
        index = "i__ = uint64(n__)  # or Numba would look whether it is negative"
        return [*start, f"for n__ in range({first}, {end}):", *(f"    {line}" for line in [index, *lines])]

    def strides(first: str, end: str) -> list[str]:
        if measured or not kept:
            return loop(first, end, each, early)
        widths = {n: np.dtype(_stored(kinds[n].dtype if n in kept else dtype)).itemsize for n in program.arrays}
        ahead = [f"ask_for({n}_.ctypes.data + {w} * (s__ + {AHEAD}), {w * STRIDE})" for n, w in widths.items()]
        return [
            f"for s__ in range({first}, {end}, {STRIDE}):",
            f"    if s__ + {AHEAD} < size__:",
            *(f"        {line}" for line in ahead),
            *(f"    {line}" for line in loop("s__", f"min(s__ + {STRIDE}, {end})", each, early)),
        ]

    work = strides("0", "size__")
    if blocks:
        before = [f"end__ = min(b__ + {BLOCK}, size__)"]
        after: list[str] = []
        for name in blocks:
            before += [f"{name}_exponent = {name}_more[b__ // {BLOCK}]", f"{name}_largest = magnitude(number(0))"]
            after += [
                f"{name}_exponent = exponent_of(finite({name}_largest, {name}__[: end__ - b__]), {kinds[name].codes})",
                f"{name}_more[b__ // {BLOCK}] = {name}_exponent",
            ]
        pack = [*noise, *(f"{name}_[i__] = {keep(name, f'{name}__[uint64(n__ - b__)]')}" for name in blocks)]
        inside = [*before, *strides("b__", "end__"), *after, *loop("b__", "end__", pack, True)]
        work = [
            *(f"{name}__ = carray(scratch({BLOCK}), ({BLOCK},))" for name in blocks),
            f"for b__ in range(0, size__, {BLOCK}):",
            *(f"    {line}" for line in inside),
        ]
    coefficients = [
        f"{name} = c__[{k}] != 0" if name in program.flags else f"{name} = c__[{k}]"
        for k, name in enumerate(program.coefficients)
    ]
    counters = [f"{name} = {_COUNTERS.get(name, '0.0')}" for name in MEASURES] if measured else []
    results = [f"measures__[{k}] = {_RESULTS.get(name, name)}" for k, name in enumerate(MEASURES)] if measured else []
    return [
        "@njit(error_model='numpy', cache=CACHE)",
        f"def span({', '.join(_given(program, measured, kept))}, c__):",
        "    widest()",
        "    apart()",
        f"    size__ = {program.arrays[0]}_.size",
        *(f"    {line}" for line in [*coefficients, *counters, *work, *results]),
    ]


# What is measured of a coordinate. Sums are in float64, in which no square of a float32 overflows.
_COUNTERS = {"grad_max": "magnitude(number(0))", "grad_zeros": "0", "eps_counts": "0"}
_RESULTS = {"grad_max": "of_magnitude(grad_max)"}
_MEASURE_BEFORE = """\
grad_squares = in_any_order(grad_squares, float64(g) * float64(g))
grad_max = max(grad_max, magnitude(g))
if g == 0:
    grad_zeros += 1
before__ = param""".splitlines()
_MEASURE_AFTER = """\
moved__ = float64(param - before__)
update_squares = in_any_order(update_squares, moved__ * moved__)
param_squares = in_any_order(param_squares, float64(param) * float64(param))""".splitlines()
_MEASURE_STEP = """\
step_squares = in_any_order(step_squares, float64({0}) * float64({0}))
step_along_grad = in_any_order(step_along_grad, float64({0}) * float64(seen__))""".splitlines()


def _view(dtype: str, row: int, block: int = 1) -> str:
    """The span of one of tensor n's arrays, whose entries belong to blocks of elements."""
    memory = _stored(dtype)
    first, size = ("start", "size") if block == 1 else (f"start // {block}", f"(size + {block - 1}) // {block}")
    address = f"load_int64(tensors + 8 * ({row} * count + n)) + {first} * {np.dtype(memory).itemsize}"
    return f"{memory}_array({address}, {size})"


def _stored(dtype: str) -> str:
    """How numbers of a dtype are read from memory: floats that NumPy or Numba do not have as their bits."""
    return {"bfloat16": "uint16", "float16": "uint16"}.get(dtype, dtype)


def _module(title: str, imports: Sequence[str], functions: Sequence[str], work: Sequence[str], rows: int) -> str:
    """A module whose C function takes spans and works on each: number k, tensor n, from ``start`` on, ``size`` long."""
    lines = [
        f"# {title}, Numba",
        "from numba import carray, cfunc, njit",
        "from numpy import float64, uint64",
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
        "    first = fetch_add(task, batch)",
        "    while first < end:",
        "        for k in range(first, min(first + batch, end)):",
        "            n, start = load_int64(spans + 32 * k), load_int64(spans + 32 * k + 8)",
        "            size = load_int64(spans + 32 * k + 16)",
        "            near = spans + 32 * min(k + 4, end - 1)  # for small tensors: ask early",
        "            ahead = load_int64(near)",
        "            for line in range(0, min(4 * load_int64(near + 16), 256), 64):",
        *(f"                prefetch(load_int64(tensors + 8 * ({row} * count + ahead)) + line)" for row in range(rows)),
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


_PARTS = (words.exponential, words.logarithm, words.slope)  # of a power
for _word in (words.square, words.sign, words.maximum, words.minimum, *_PARTS, words.power):
    # By LLVM, or the loop around it is not vectorised; Numba would type its lines anew at every call.
    register_jitable(forceinline=True)(_word)
