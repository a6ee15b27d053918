# pyright: basic, reportCallIssue=false
# Numba has no types, and wants its overloads bare.
"""`adamas.lowering.storage` compiled: what a kernel calls to unpack a number and to pack it again.

For each kind there is ``from_KIND(code, [exponent or remainder])`` and ``to_KIND(x, [exponent], [random])``, calls of
one number that become part of the loop around them.
"""

from typing import Any

from llvmlite import ir
from numba import types  # pyright: ignore[reportPrivateImportUsage]
from numba.extending import intrinsic, overload, register_jitable
from numpy import uint32

import adamas.lowering.numba  # noqa: F401  (teaches Numba the words that storage uses)
from adamas.lowering.memory import bitcast, of_magnitude
from adamas.lowering.storage import (
    bits32,
    element,
    exponent_of,
    from_bfloat16,
    from_bfloat16_remainder,
    from_bits32,
    from_int8_signed,
    from_int8_unsigned,
    next_place,
    noise,
    noise_at,
    place,
    round_float16,
    to_bfloat16,
    to_bfloat16_remainder,
    to_bfloat16_stochastic,
    to_int8_signed,
    to_int8_unsigned,
    turned,
)

_WORD = ir.IntType(32)
_to_bits = bitcast(types.float32, types.uint32, _WORD)
_to_float = bitcast(types.uint32, types.float32, ir.FloatType())


@overload(bits32)
def _bits32(x):
    return lambda x: _to_bits(x)


@overload(from_bits32)
def _from_bits32(i):
    return lambda i: _to_float(uint32(i))


@intrinsic
def _element32(typing_context: Any, first: Any, i: Any) -> Any:
    """`element` in instructions of 32 bits; Numba's own would have 64."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.add(*(builder.trunc(arg, _WORD) for arg in args))

    return types.uint32(types.int64, types.int64), code


def _word(operands: int, build: Any) -> Any:
    """A function of uint32 in instructions of 32 bits, likewise."""
    signature = types.uint32(*[types.uint32] * operands)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return build(builder, *args)

    if operands == 1:
        return intrinsic(lambda typing_context, a: (signature, code))
    return intrinsic(lambda typing_context, a, b: (signature, code))


_place32 = _word(2, lambda build, index, key: build.mul(build.add(index, key), _WORD(0x9E3779B1)))
_next_place32 = _word(1, lambda build, place: build.add(place, _WORD(0x9E3779B1)))
_noise_at32 = _word(1, lambda build, place: build.mul(place, build.or_(place, _WORD(1))))


@overload(element)
def _element(first, i):
    return lambda first, i: _element32(first, i)


@overload(place)
def _place(index, key):
    return lambda index, key: _place32(uint32(index), uint32(key))


@overload(next_place)
def _next_place(place):
    return lambda place: _next_place32(place)


@overload(noise_at)
def _noise_at(place):
    return lambda place: _noise_at32(place)


@intrinsic
def from_float16(typing_context: Any, code: Any) -> Any:
    """The float32 of a float16's bits."""

    def code_(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), code_


@intrinsic
def to_float16(typing_context: Any, x: Any) -> Any:
    """The bits of the nearest float16; of two equally near, the even one."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), code


def to_float16_stochastic(x, random):
    """The bits of one of the two float16 beside x."""
    return to_float16(round_float16(x, random))


for _function in (
    exponent_of,
    from_bfloat16,
    from_bfloat16_remainder,
    from_int8_signed,
    from_int8_unsigned,
    noise,
    round_float16,
    turned,
    to_bfloat16,
    to_bfloat16_remainder,
    to_bfloat16_stochastic,
    to_float16_stochastic,
    to_int8_signed,
    to_int8_unsigned,
):
    register_jitable(forceinline=True)(_function)

from_bfloat16_stochastic = from_bfloat16
from_float16_stochastic = from_float16


@register_jitable
def finite(largest, x):
    """The largest magnitude, as `of_magnitude` takes it; if it is not finite, the largest finite one of x."""
    if largest >= 0x7F800000:
        largest = uint32(0)
        for i in range(x.size):
            bits = uint32(bits32(x[i]) & uint32(0x7FFFFFFF))
            largest = max(largest, bits if bits < uint32(0x7F800000) else uint32(0))
        return from_bits32(largest)
    return of_magnitude(largest)
