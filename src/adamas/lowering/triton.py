"""Triton: one launch for all tensors of a step, on GPUs, or on the CPU by Triton's interpreter.

√ and division are the correctly rounded ones, and the launch forbids fused multiply-adds, so every operation rounds as
NumPy's does. What is packed is packed by the functions of `adamas.lowering.storage`, and powers are those of
`adamas.lowering.words`: their source is spelt as Triton wants it, so neither is written twice.

Tensors are found by a table of addresses, as in `adamas.lowering.numba`. Each program of the grid has one span of it,
which it works through in blocks of `BLOCK` elements. Groups with and without decay, for one, want different work: a
kernel holds a function for each `Variant`, and a span says which it wants.
"""

import ast
import inspect
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from adamas.lowering import storage, words
from adamas.lowering.source import Program
from adamas.lowering.storage import KINDS, Kinds
from adamas.tail import MEASURES

#: Elements that a program computes at once, and most elements in its span.
BLOCK, SPAN = 1024, 8192
#: Spans whose sums are added up at once, and parameters whose lines are computed at once.
SUMMED, LINES = 4096, 128

#: What a row of the table of spans says: variant, where the address of the tensor's first array lies, how far on that
#: of the next does, first element, number of elements, where the coefficients begin, where the key lies.
SPAN_ROW = 7

#: What a row of the table of lines says: program, where its hyperparameters, its coefficients and its key begin.
LINE_ROW = 4

#: The first word of a value says what the second one is: the bits of a float64, or the address of a float.
PLAIN, FLOAT32, FLOAT64 = 0, 1, 2

#: The coefficient that a kernel does not take from its line.
FACTOR = "grad_factor"


class Variant(NamedTuple):
    """What a kernel does to some of its spans.

    Attributes:
        program: rule, driver and options.
        kinds: how arrays are kept that do not lie in memory as the kernel computes (`adamas.lowering.storage`).
        aligned: whether all addresses are multiples of 16.
    """

    program: Program
    kinds: Kinds = ()
    aligned: bool = True


def render(program: Program, dtype: str, measured: bool = False, kinds: Kinds = ()) -> str:
    """The text of a module with a ``kernel`` of one variant: see `render_all`."""
    return render_all([Variant(program, kinds)], dtype, measured)


def render_all(variants: Sequence[Variant], dtype: str, measured: bool = False) -> str:
    """The text of a module whose ``kernel`` steps all tensors of a table, a span of it in each program.

    ``kernel(addresses, spans, lines, factor, keys, results, tickets, ticket)`` takes pointers to

    - int64, the addresses: of each array of each tensor; of a tensor those of the program, then the companions;
    - int64 [spans, `SPAN_ROW`];
    - float64, the coefficients, those of a line side by side;
    - float64, the gradients' factor, ``grad_factor``, which may not be known when the lines are;
    - int64, the keys of the noise;
    - float64 [spans, results], what was measured;
    - int64 [spans], the highest ticket of a launch that worked on the span: others leave it alone;
    - int64, the ticket of this launch.

    Args:
        variants: of one rule, mostly.
        dtype: "float32" or "float64", what is computed in.
        measured: whether the kernel also measures what it does, span by span (`MEASURES`).
    """
    used = _Words(dtype)
    lines: list[str] = []
    for number, variant in enumerate(variants):
        lines += [*_Frame(variant, number, dtype, measured, used).lines(), "", ""]
    given = "row__, addresses__, lines__, factor__, keys__, results__"
    calls = [f"span_{number}__({given})" for number in range(len(variants))]
    lines += [
        "@triton.jit",
        "def kernel(addresses__, spans__, lines__, factor__, keys__, results__, tickets__, ticket__):",
        "    k__ = tl.program_id(0).to(tl.int64)",
        "    now__, then__ = tl.load(ticket__), tl.load(tickets__ + k__)",
        "    tl.debug_barrier()  # until all threads know, since one of them notes it in the end",
        "    if now__ <= then__:",
        "        return",
        f"    row__, results__ = spans__ + {SPAN_ROW} * k__, results__ + {len(MEASURES)} * k__",
        *(f"    {line}" for line in _choice("tl.load(row__)", calls)),
        "    tl.store(tickets__ + k__, now__)",
    ]
    titles = "".join(f"; {_title(v.program.rule, v.kinds)}" for v in variants)
    return used.module(f"{dtype}{', measured' if measured else ''}{titles}", lines)


def render_lead(kinds: Sequence[tuple[str, bool]], programs: Sequence[Program] = ()) -> str:
    """The text of a module whose ``kernel`` finds out what steps must know before they begin.

    That is the norm of the gradients, if it is asked for, and what follows from it; and where counts are kept on the
    device all that the host computes elsewhere, or decides.

    ``kernel(addresses, spans, results, arrived, asked, said)`` takes the same tables. Each program leaves Σg² of a
    span, and the one that comes last adds up what all have found, in the order of the spans, whoever was first.
    ``arrived`` is an int32, 0 before and after. ``asked`` are int64: three pairs, which are a value each (`PLAIN`), of
    the largest norm that the gradients may have, of what they were multiplied by, and of whether somebody has found
    that one is not finite; whether the norm may say so too. ``said`` are four float64: the norm; what holds it down;
    the factor that does so and undoes the other; whether the step is skipped.

    With programs ``asked`` goes on: how many lines there are; the ticket of this launch, 0 if it is to work whenever it
    is made. And there are further arguments, ``rows, scalars, told, lines, keys, tickets``:

    - int64 [lines, `LINE_ROW`];
    - int64 [lines, scalars], where the count and the scalar states of each line lie, which are float64;
    - int64, pairs, the hyperparameters;
    - float64 and int64, the coefficients and the keys that the steps take;
    - int64: the ticket that the steps take, 0 where they are skipped; how many there have been; the last launch's.

    Args:
        kinds: for each variant how gradients are kept, and whether their addresses are multiples of 16; none where
            no norm is asked for, and then one program does all.
        programs: whose host's part is computed, in float64, a line for each parameter.
    """
    used = _Words("float64")
    lines: list[str] = []
    for number, (kind, aligned) in enumerate(kinds):
        from_memory = used.use(f"from_{kind}(code)") if kind in KINDS else "code"
        lines += [
            "@triton.jit",
            f"def span_{number}__(place, start, size):",
            f"    g_ = at__(place, tl.{_memory(kind)}, {aligned})",
            "    total = tl.full((), 0, tl.float64)",
            f"    for b in range(0, size, {BLOCK}):",
            f"        i = b + tl.arange(0, {BLOCK})",
            f"        code = tl.load(g_ + tl.multiple_of(start, {SPAN}) + i, mask=i < size, other=0)",
            f"        g = {from_memory}.to(tl.float64)",
            "        total += tl.sum(g * g, axis=0)",
            "    return total",
            "",
            "",
        ]
    for number, program in enumerate(programs):
        lines += [*_host(program, number, used), "", ""]
    given = "addresses, spans, results, arrived, asked, said"
    decided = [
        "scale = value__(asked + 2, True)",
        "norm = tl.sqrt(squares) / scale",
        "coefficient = value__(asked, True) / (norm + 1e-6)",
        "coefficient = tl.where(coefficient > 1, 1.0, coefficient)",
        "skipped = (value__(asked + 4, True) != 0) | ((tl.load(asked + 6) != 0) & (norm - norm != 0))",
        "tl.store(said, norm)",
        "tl.store(said + 1, coefficient)",
        "tl.store(said + 2, coefficient / scale)",
        "tl.store(said + 3, skipped.to(tl.float64))",
    ]
    begin: list[str] = []
    if programs:
        given += ", rows, scalars, told, lines, keys, tickets"
        begin = [
            "now, then = tl.load(asked + 8), tl.load(tickets + 2)",
            "tl.debug_barrier()  # until all threads know, since one of them notes it in the end",
            "if (now > 0) & (now <= then):",
            "    return",
        ]
        decided += [
            "ticket = tl.load(tickets + 1) + 1",
            "tl.store(tickets, tl.where(skipped, 0, ticket))",
            "tl.store(tickets + 1, ticket)",
            "tl.store(tickets + 2, now)",
            "if skipped == 0:",
            "    end = tl.load(asked + 7)",
            f"    for first in range(0, end, {LINES}):",
            f"        n = first + tl.arange(0, {LINES})",
            f"        inside, own = n < end, rows + {LINE_ROW} * n",
            "        which = tl.load(own, mask=inside, other=-1)",
            "        given = told + tl.load(own + 1, mask=inside, other=0)",
            "        line = lines + tl.load(own + 2, mask=inside, other=0)",
            "        key = keys + tl.load(own + 3, mask=inside, other=0)",
        ]
        for number, program in enumerate(programs):
            own = f"scalars + {1 + len(program.scalars)} * n"
            decided.append(f"        host_{number}__(which == {number}, {own}, given, coefficient / scale, line, key)")
    if kinds:
        begin += [
            "k = tl.program_id(0).to(tl.int64)",
            f"row = spans + {SPAN_ROW} * k",
            "place, start, size = addresses + tl.load(row + 1), tl.load(row + 3), tl.load(row + 4)",
            "total = tl.full((), 0, tl.float64)",
            *_choice("tl.load(row)", [f"total = span_{number}__(place, start, size)" for number in range(len(kinds))]),
            "tl.store(results + k, total)",
            "tl.debug_barrier()",
            "count = tl.num_programs(0)",
            'if tl.atomic_add(arrived, 1, sem="acq_rel") == count - 1:',
        ]
        decided = [
            "squares = tl.full((), 0, tl.float64)",
            f"for b in range(0, count, {SUMMED}):",
            f"    i = b + tl.arange(0, {SUMMED})",
            '    squares += tl.sum(tl.load(results + i, mask=i < count, other=0, cache_modifier=".cg"), axis=0)',
            *decided,
            "tl.store(arrived, 0)",
        ]
        body = [*begin, *(f"    {line}" for line in decided)]
    else:
        body = [*begin, "squares = tl.full((), 0, tl.float64)", *decided]
    lines += ["@triton.jit", f"def kernel({given}):", *(f"    {line}" for line in body)]
    titles = [f"Σg², {kind}" for kind, _ in kinds] + [f"host's part, {program.rule}" for program in programs]
    return used.module("; ".join(titles), lines)


def _host(program: Program, number: int, used: "_Words") -> list[str]:
    """A function that computes the coefficients of several parameters at once, and carries their scalars on."""
    names, place = ("t", *program.scalars), 0
    lines = ["@triton.jit", f"def host_{number}__(inside__, scalars__, given__, grad_factor, line__, key__):"]
    for k, name in enumerate(names):
        lines += [
            f"    {name}_ = tl.load(scalars__ + {k}, mask=inside__, other=0).to(tl.pointer_type(tl.float64))",
            f"    {name} = tl.load({name}_, mask=inside__, other=0)",
        ]
    lines.append("    t = t + 1")
    for name in program.hyper:
        values = [f"value__(given__ + {2 * (place + k)}, inside__)" for k in range(program.lengths.get(name, 1))]
        place += len(values)
        if name != FACTOR:
            together = ", ".join(values)
            lines.append(f"    {name} = ({together},)" if name in program.lengths else f"    {name} = {together}")
    lines += [f"    {used.uniform(line)}" for line in program.host]
    for k, name in enumerate(program.coefficients):
        value = program.saved.get(name, name)
        lines.append(f"    tl.store(line__ + {k}, tl.cast({value}, tl.float64), mask=inside__)")
    lines.append("    tl.debug_barrier()  # until all threads have read the scalars")
    lines += [f"    tl.store({name}_, {name}, mask=inside__)" for name in names]
    return [*lines, f"    tl.store(key__, {used.use('key_of(integer(t))')}, mask=inside__)"]


def _title(rule: str, kinds: Kinds) -> str:
    return rule + "".join(f", {name}: {kind}" for name, kind in kinds)


def _choice(which: str, calls: Sequence[str]) -> list[str]:
    """Lines that make the call of this number."""
    if len(calls) == 1:
        return [*calls]
    lines = [f"which__ = {which}"]
    for number, call in enumerate(calls):
        lines += [f"if which__ == {number}:", f"    {call}"]
    return lines


class _Frame:
    """The frame around a program: what is read, computed and written in a block of elements."""

    def __init__(self, variant: Variant, number: int, dtype: str, measured: bool, used: "_Words") -> None:
        self.program, self.dtype, self.measured = variant.program, dtype, measured
        self.number, self.aligned, self.words = number, variant.aligned, used
        self.named = dict(variant.kinds)
        self.kept = {name: KINDS[kind] for name, kind in variant.kinds}
        self.blocks = [name for name in self.program.arrays if name in self.kept and self.kept[name].block > 1]
        self.companions = [name for name in self.program.arrays if name in self.kept and self.kept[name].companion]
        written = [name for name in self.program.outputs if name in self.kept and self.kept[name].stochastic]
        self.random = {
            name: used.use(f"turned(random_{k // 2})") if k % 2 else f"random_{k // 2}"
            for k, name in enumerate(written)
        }

    def lines(self) -> list[str]:
        """Two functions: of a block of elements, and of a span."""
        coefficients = self.program.coefficients
        pointers = [f"{name}_" for name in self.program.arrays] + [f"{name}_more" for name in self.companions]
        kinds = [self.kept[name].dtype if name in self.kept else self.dtype for name in self.program.arrays]
        kinds += ["int16"] * len(self.companions)
        sums = [f"{name}__" for name in MEASURES] if self.measured else []
        given = ", ".join(["i__", "start__", "size__", *pointers, *coefficients, "key__", *sums])
        block = f"block_{self.number}__"
        call = f"{', '.join(sums)} = {block}({given}" if sums else f"{block}({given}"
        lines = [
            "@triton.jit",
            f"def {block}({given}, FULL: tl.constexpr):",
            *(f"    {line}" for line in self._block()),
            *([f"    return {', '.join(sums)}"] if sums else []),
            "",
            "",
            "@triton.jit",
            f"def span_{self.number}__(row__, addresses__, lines__, factor__, keys__, results__):",
            "    place__, columns__ = addresses__ + tl.load(row__ + 1), tl.load(row__ + 2)",
            "    start__, size__ = tl.load(row__ + 3), tl.load(row__ + 4)",
            f"    start__ = tl.multiple_of(start__, {SPAN})",
            "    line__, key__ = lines__ + tl.load(row__ + 5), tl.load(keys__ + tl.load(row__ + 6)).to(tl.uint32)",
            *(
                f"    {name} = at__(place__ + {row} * columns__, tl.{_memory(kind)}, {self.aligned})"
                for row, (name, kind) in enumerate(zip(pointers, kinds, strict=True))
            ),
            *(
                f"    {c} = tl.load({'factor__' if c == FACTOR else f'line__ + {k}'}).to(tl.{self.dtype})"
                for k, c in enumerate(coefficients)
            ),
            *(f"    {name} = {name} != 0" for name in coefficients if name in self.program.flags),
        ]
        zeros = {"grad_max__": f"tl.full((), 0, tl.{self._whole})"}
        lines += [f"    {name} = {zeros.get(name, 'tl.full((), 0, tl.float64)')}" for name in sums]
        lines += [
            f"    whole__ = size__ - size__ % {BLOCK}",
            f"    for b__ in range(0, whole__, {BLOCK}):",
            f"        i__ = b__ + tl.arange(0, {BLOCK})",
            f"        {call}, True)",
            "    if whole__ < size__:",
            f"        i__ = whole__ + tl.arange(0, {BLOCK})",
            f"        {call}, False)",
        ]
        results = {"grad_max__": f"grad_max__.to(tl.{self.dtype}, bitcast=True).to(tl.float64)"}
        lines += [f"    tl.store(results__ + {k}, {results.get(name, name)})" for k, name in enumerate(sums)]
        return lines

    def _block(self) -> list[str]:
        use = self.words.use
        lines = ["inside__ = i__ < size__", "e__ = start__ + i__"]
        for name in self.program.arrays:
            code = f"read__({name}_ + e__, inside__, FULL)"
            if name in self.companions:
                place = f"{name}_more + e__" + (f" // {storage.BLOCK}" if name in self.blocks else "")
                code += f", read__({place}, inside__, FULL)"
            lines.append(f"{name} = {use(f'from_{self.named[name]}({code})') if name in self.named else code}")
        lines += ["given__, before__, eps__ = g, param, g != g"] if self.measured else []
        for number, line in enumerate(self.program.body):
            lines += ["seen__ = g"] if self.measured and number == self.program.begins else []
            lines.append(use(line))
            if self.measured and number == self.program.watch[0]:
                lines.append(f"eps__ = {use(self.program.watch[1])}")
        lines += self._measure() if self.measured else []
        pairs = (len(self.random) + 1) // 2
        lines += [use(f"random_{k} = noise({f'random_{k - 1}' if k else 'element(e__)'}, key__)") for k in range(pairs)]
        for name in self.program.outputs:
            lines += self._write(name)
        return lines

    def _write(self, name: str) -> list[str]:
        store = f"write__({name}_ + e__, {{}}, inside__, FULL)"
        if name not in self.named:
            return [store.format(name)]
        more = [self.random[name]] if name in self.random else []
        if name not in self.blocks:
            packed = self.words.use(f"to_{self.named[name]}({', '.join([name, *more])})")
            if name not in self.companions:
                return [store.format(packed)]
            rest = f"write__({name}_more + e__, {name}_rest, inside__, FULL)"
            return [f"{name}_code, {name}_rest = {packed}", store.format(f"{name}_code"), rest]
        block, shape = storage.BLOCK, f"({BLOCK // storage.BLOCK}, {storage.BLOCK})"
        largest = f"tl.max(tl.reshape(finite__({name}, inside__), {shape}), axis=1).to(tl.float32, bitcast=True)"
        exponent = self.words.use(f"exponent_of({name}_largest, {self.kept[name].codes})")
        each = f"tl.reshape(tl.broadcast_to(tl.expand_dims({exponent}, 1), {shape}), ({BLOCK},))"
        return [
            f"{name}_largest = {largest}",
            f"{name}_exponent = {each}",
            store.format(self.words.use(f"to_{self.named[name]}({', '.join([name, f'{name}_exponent', *more])})")),
            "tl.debug_barrier()  # until all have read the exponents",
            f"tl.store({name}_more + e__ // {block}, {name}_exponent, mask=inside__ & (i__ % {block} == 0))",
        ]

    @property
    def _whole(self) -> str:
        return self.dtype.replace("float", "int")

    def _measure(self) -> list[str]:
        """Sums are in float64; the largest is found by the bits of the magnitudes, of which NaN's are the largest."""
        bits = (1 << (31 if self.dtype == "float32" else 63)) - 1
        magnitude = f"tl.where(inside__, given__.to(tl.{self._whole}, bitcast=True) & {bits}, 0)"
        return [
            "grad_squares__ += sum__(given__, given__, inside__)",
            f"grad_max__ = tl.maximum(grad_max__, tl.max({magnitude}, axis=0))",
            "grad_zeros__ += count__(given__ == 0, inside__)",
            "moved__ = param - before__",
            "update_squares__ += sum__(moved__, moved__, inside__)",
            "param_squares__ += sum__(param, param, inside__)",
            "eps_counts__ += count__(eps__, inside__)",
            f"step_squares__ += sum__({self.program.step}, {self.program.step}, inside__)",
            f"step_along_grad__ += sum__({self.program.step}, seen__, inside__)",
        ]


def _memory(dtype: str) -> str:
    """What an array's memory is read as."""
    return {"bfloat16": "uint16", "float16": "uint16"}.get(dtype, dtype)


# -- the words -------------------------------------------------------------------------------------------------------

#: What every module has; ``i`` counts elements, ``inside`` says which there are.
_ALWAYS = """
def at__(place, dtype: tl.constexpr, ALIGNED: tl.constexpr):
    pointer = tl.load(place).to(tl.pointer_type(dtype))
    if ALIGNED:
        pointer = tl.multiple_of(pointer, 16)
    return pointer

def read__(pointers, inside, FULL: tl.constexpr):
    if FULL:
        value = tl.load(pointers)
    else:
        value = tl.load(pointers, mask=inside, other=0)
    return value

def write__(pointers, value, inside, FULL: tl.constexpr):
    if FULL:
        tl.store(pointers, value)
    else:
        tl.store(pointers, value, mask=inside)

def sum__(a, b, inside):
    return tl.sum(tl.where(inside, a.to(tl.float64) * b.to(tl.float64), 0.0), axis=0)

def count__(which, inside):
    return tl.sum((which & inside).to(tl.float64), axis=0)

def value__(words, inside):
    kind, word = tl.load(words, mask=inside, other=0), tl.load(words + 1, mask=inside, other=0)
    single = tl.load(word.to(tl.pointer_type(tl.float32)), mask=inside & (kind == 1), other=0)
    double = tl.load(word.to(tl.pointer_type(tl.float64)), mask=inside & (kind == 2), other=0)
    lies = tl.where(kind == 1, single.to(tl.float64), double)
    return tl.where(kind == 0, word.to(tl.float64, bitcast=True), lies)

def finite__(x, inside):
    size = x.to(tl.int32, bitcast=True) & 0x7FFFFFFF
    return tl.where(inside & (size < 0x7F800000), size, 0)
"""

#: The words that only Triton can say; all others are translated.
_OWN = """
def where(condition, a, b):
    if condition.dtype == tl.int1:
        chosen = tl.where(condition, a, b)
    else:
        chosen = tl.where(condition != 0, a, b)
    return chosen

def abs(x):
    return tl.abs(x)

def sqrt(x):
    if x.dtype == tl.float32:
        root = tl.sqrt_rn(x)
    else:
        root = tl.sqrt(x)
    return root

def divide(a, b):
    if b.dtype == tl.float32:
        quotient = tl.div_rn(a, b)
    else:
        quotient = a / b
    return quotient

def power(x, y):
    x, y = tl.broadcast(x, y)
    return power_of_each(x, y)

def number(x: tl.constexpr):
    return tl.full((), x, tl.{dtype})

def floor(x):
    return tl.floor(x)

def like(x, other):
    return tl.cast(x, other.dtype)

def integer(x):
    return tl.cast(x, tl.int64)

def bits(x):
    return x.to(tl.int64, bitcast=True)

def from_bits(i):
    return i.to(tl.float64, bitcast=True)

def bits32(x):
    return x.to(tl.uint32, bitcast=True)

def from_bits32(i):
    return i.to(tl.float32, bitcast=True)

def element(i):
    return i.to(tl.uint32)

def from_float16(code):
    return code.to(tl.float16, bitcast=True).to(tl.float32)

def to_float16(x):
    return x.to(tl.float16).to(tl.uint16, bitcast=True)

def from_float16_stochastic(code):
    return from_float16(code)

def to_float16_stochastic(x, random):
    return to_float16(round_float16(x, random))

def from_bfloat16_stochastic(code):
    return from_bfloat16(code)
"""

_TYPES = ("float64", "uint32", "int32", "uint16", "int16", "uint8")


class _Words:
    """Gathers the functions that a text calls, spelt for Triton."""

    def __init__(self, dtype: str) -> None:
        own = ast.parse(_OWN.format(dtype=dtype)).body
        self._own = {node.name: node for node in own if isinstance(node, ast.FunctionDef)}
        self._used: dict[str, str] = {}

    def use(self, text: str) -> str:
        """The text as Triton takes it; what it calls will be in the module."""
        return ast.unparse(self._spell(ast.parse(text)))

    def uniform(self, text: str) -> str:
        """A line of the host's part, for several parameters at once."""
        return ast.unparse(self._spell(_Uniform().visit(ast.parse(text))))

    def _spell(self, tree: ast.AST, divides: bool = True) -> ast.AST:
        spelt = _Spelling().visit(tree) if divides else tree
        for node in ast.walk(spelt):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                self._have(node.func.id)
        return spelt

    def _have(self, name: str) -> None:
        if name in self._used or name.endswith("__") or name == "float":
            return
        self._used[name] = ""  # its place; what it calls itself comes before it
        if name in _TYPES:
            text = f"def {name}(x):\n    return tl.cast(x, tl.{name})"
        else:
            own = self._own.get(name)
            text = ast.unparse(self._spell(own or _source(name), own is None))
        del self._used[name]
        self._used[name] = f"@triton.jit\n{text}"

    def module(self, title: str, lines: Sequence[str]) -> str:
        """The whole text."""
        always = [f"@triton.jit\n{text}" for text in _ALWAYS.strip().split("\n\n")]
        head = f"# {title}, Triton\nimport triton\nimport triton.language as tl"
        return "\n\n\n".join([head, *always, *self._used.values(), "\n".join(lines)]) + "\n"


def _source(name: str) -> ast.FunctionDef:
    """The function of this name in `words` or `storage`, bare of what is for readers and type checkers."""
    function = _WORDS[name] if name in _WORDS else getattr(storage, name)
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(tree, ast.FunctionDef)
    tree.name, tree.returns, tree.body = name, None, tree.body[1:]
    for argument in tree.args.args:
        argument.annotation = None
    return tree


# What is compared must be an array already: the interpreter takes a scalar's truth for a number when it spreads it.
_TAKEN = "maximum minimum sign square exponential logarithm slope one_minus_power"
_WORDS = {name: getattr(words, name) for name in _TAKEN.split()} | {"power_of_each": words.power}
_NUMBERS = {name: value for name, value in vars(words).items() if isinstance(value, int | float)}


class _Uniform(ast.NodeTransformer):
    """The host's arithmetic as the body's: what differs between parameters chooses by ``where``."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.Call(ast.Name("number", ast.Load()), [node], [])

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        return ast.Call(ast.Name("where", ast.Load()), [node.test, node.body, node.orelse], [])

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        match node:
            case ast.BinOp(left, ast.Pow(), ast.Constant(value=2)):
                return ast.Call(ast.Name("square", ast.Load()), [self.visit(left)], [])
            case ast.BinOp(left, ast.Pow(), right):
                return ast.Call(ast.Name("power", ast.Load()), [self.visit(left), self.visit(right)], [])
            case _:
                self.generic_visit(node)
                return node


class _Spelling(ast.NodeTransformer):
    """Division is a call, constants are written out, and NumPy's names are the module's own."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.op, ast.Div):
            return ast.Call(ast.Name("divide", ast.Load()), [node.left, node.right], [])
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        match node:
            case ast.Attribute(value=ast.Name("np"), attr=name):
                return ast.Name(name, ast.Load())
            case ast.Attribute(value=ast.Name("math"), attr=name):
                return ast.Call(ast.Name("float", ast.Load()), [ast.Constant(name)], [])
            case _:
                return node

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_NUMBERS[node.id]) if node.id in _NUMBERS else node
