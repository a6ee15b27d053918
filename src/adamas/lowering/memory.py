# pyright: basic
# Numba has no types, and wants its overloads bare.
"""Memory by address, for compiled code: arrays, single words, atomic addition, hints to the processor, C functions."""

from typing import Any

from llvmlite import ir
from numba import carray, types  # pyright: ignore[reportPrivateImportUsage]
from numba.core import cgutils
from numba.extending import intrinsic, register_jitable


def _array_at(dtype: types.Type) -> Any:
    @intrinsic
    def pointer(typing_context: Any, address: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(dtype)(types.int64), code

    @register_jitable
    def array(address: int, size: int) -> Any:
        return carray(pointer(address), (size,))  # pyright: ignore[reportCallIssue]

    return array


float32_array = _array_at(types.float32)
float64_array = _array_at(types.float64)
int64_array = _array_at(types.int64)
int32_array = _array_at(types.int32)
int16_array = _array_at(types.int16)
uint16_array = _array_at(types.uint16)
uint8_array = _array_at(types.uint8)


def _load(dtype: types.Type) -> Any:
    @intrinsic
    def load(typing_context: Any, address: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = context.get_value_type(signature.return_type).as_pointer()
            return builder.load(builder.inttoptr(args[0], kind))

        return dtype(types.int64), code

    return load


load_int64 = _load(types.int64)
load_float64 = _load(types.float64)


@intrinsic
def store_float64(typing_context: Any, address: Any, value: Any) -> Any:
    """Write a float64 to an address."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], builder.inttoptr(args[0], ir.DoubleType().as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, types.float64), code


@intrinsic
def magnitude(typing_context: Any, x: Any) -> Any:
    """The bits of |x|, as an integer: in the order of the magnitudes, NaN being the largest."""
    whole, width = (types.int32, 32) if x == types.float32 else (types.int64, 64)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.IntType(width)
        return builder.and_(builder.bitcast(args[0], kind), kind((1 << (width - 1)) - 1))

    return whole(x), code


@intrinsic
def of_magnitude(typing_context: Any, bits: Any) -> Any:
    """The |x| that `magnitude` made these bits of."""
    real = types.float32 if bits == types.int32 else types.float64

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(real))

    return real(bits), code


@intrinsic
def in_any_order(typing_context: Any, total: Any, x: Any) -> Any:
    """total + x, of which the compiler may take many at a time: for sums whose last bits nobody depends on."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*args, flags=("reassoc", "nsz"))

    return types.float64(types.float64, types.float64), code


@intrinsic(prefer_literal=True)
def scratch(typing_context: Any, size: Any) -> Any:
    """Memory for so many float32 on the stack of the function in whose text this stands."""
    count = size.literal_value

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        memory = cgutils.alloca_once(builder, ir.FloatType(), size=count)
        memory.align = 64
        return memory

    return types.CPointer(types.float32)(size), code


@intrinsic
def prefetch(typing_context: Any, address: Any) -> Any:
    """Ask for the cache line of an address; never fails, whatever the address."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [builder.inttoptr(args[0], pointer), word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(types.int64), code


@register_jitable
def ask_for(address: int, size: int) -> None:
    """Prefetch so many bytes; nothing need lie there."""
    for line in range(0, size, 64):
        prefetch(address + line)  # pyright: ignore[reportCallIssue]


@intrinsic
def widest(typing_context: Any) -> Any:
    """Let the loops of the function in whose text this stands have the widest vectors that the processor has.

    On its own LLVM stays at half of them on Intel's processors, which once paid for the other half in clock rate.
    """

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        attributes = builder.function.attributes
        set.add(attributes, '"prefer-vector-width"="512"')  # llvmlite's own `add` knows no attributes of targets
        return context.get_dummy_value()

    return types.void(), code


@intrinsic
def apart(typing_context: Any) -> Any:
    """Say that no two arrays given to the function in whose text this stands overlap: no loop need look first."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for argument in builder.function.args[2:]:  # behind what Numba returns and raises by
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
        return context.get_dummy_value()

    return types.void(), code


@intrinsic
def fetch_add(typing_context: Any, address: Any, value: Any) -> Any:
    """Add to an integer in memory, atomically; what was there before."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", pointer, args[1], "monotonic")

    return types.int64(types.int64, types.int64), code


def _call(operands: int) -> Any:
    word = ir.IntType(64)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(word, [word] * operands).as_pointer()
        return builder.call(builder.inttoptr(args[0], kind), args[1:])

    signature = types.int64(*[types.int64] * (1 + operands))
    if operands == 1:
        return intrinsic(lambda typing_context, function, a: (signature, code))
    return intrinsic(lambda typing_context, function, a, b: (signature, code))


#: Call a C function by its address, with integer or pointer operands.
call1 = _call(1)
call2 = _call(2)


def bitcast(source: types.Type, target: types.Type, to: ir.Type) -> Any:
    """A function that takes the bits of one type for another."""

    @intrinsic
    def cast(typing_context: Any, x: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], to)

        return target(source), code

    return cast
