# pyright: basic, reportCallIssue=false
# Numba has no types, and wants its overloads bare.
"""`adamas.lowering.storage` compiled: what a kernel calls to unpack blocks into scratch memory and to pack them again.

For each kind there is ``unpack_KIND(codes, [companion,] out)`` and ``pack_KIND(x, codes, [companion,] random)``,
over arrays that begin at 0: nothing in them keeps the compiler from vectorising.
"""

from typing import Any

from llvmlite import ir
from numba import types  # pyright: ignore[reportPrivateImportUsage]
from numba.extending import intrinsic, overload, register_jitable
from numpy import uint32

import adamas.lowering.numba  # noqa: F401  (teaches Numba the words that storage uses)
from adamas.lowering.memory import bitcast
from adamas.lowering.storage import (
    BLOCK,
    bits32,
    exponent_of,
    from_bfloat16,
    from_bits32,
    from_int8_signed,
    from_int8_unsigned,
    noise,
    to_bfloat16,
    to_bfloat16_stochastic,
    to_float16_stochastic,
    to_int8_signed,
    to_int8_unsigned,
    turned,
)

_to_bits = bitcast(types.float32, types.uint32, ir.IntType(32))
_to_float = bitcast(types.uint32, types.float32, ir.FloatType())


@overload(bits32)
def _bits32(x):
    return lambda x: _to_bits(x)


@overload(from_bits32)
def _from_bits32(i):
    return lambda i: _to_float(uint32(i))


@intrinsic
def _noise32(typing_context: Any, index: Any, key: Any) -> Any:
    """`noise` in instructions of 32 bits; Numba's own would have 64."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(32)

        def folded(x: Any, shift: int) -> Any:
            return builder.xor(x, builder.lshr(x, word(shift)))

        x = builder.xor(builder.mul(args[0], word(0x9E3779B1)), args[1])
        x = builder.mul(folded(x, 16), word(0x7FEB352D))
        x = builder.mul(folded(x, 15), word(0x846CA68B))
        return folded(x, 16)

    return types.uint32(types.uint32, types.uint32), code


@overload(noise)
def _noise(index, key):
    return lambda index, key: _noise32(uint32(index), uint32(key))


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


for _function in (
    exponent_of,
    from_bfloat16,
    from_int8_signed,
    from_int8_unsigned,
    turned,
    to_bfloat16,
    to_bfloat16_stochastic,
    to_float16_stochastic,
    to_int8_signed,
    to_int8_unsigned,
):
    register_jitable(inline="always")(_function)


@register_jitable
def make_noise(first, key, out):
    """The noise of the elements from ``first`` on."""
    start, key = uint32(first), uint32(key)
    for i in range(out.size):
        out[i] = noise(uint32(start + uint32(i)), key)


@register_jitable
def turn_noise(out):
    """Put the bits of the noise in another order."""
    for i in range(out.size):
        out[i] = turned(out[i])


@register_jitable
def unpack_bfloat16(codes, out):
    for i in range(out.size):
        out[i] = from_bfloat16(codes[i])


@register_jitable
def pack_bfloat16(x, codes, random):
    for i in range(codes.size):
        codes[i] = to_bfloat16(x[i])


@register_jitable
def pack_bfloat16_stochastic(x, codes, random):
    for i in range(codes.size):
        codes[i] = to_bfloat16_stochastic(x[i], random[i])


@register_jitable
def unpack_float16(codes, out):
    for i in range(out.size):
        out[i] = from_float16(codes[i])


@register_jitable
def pack_float16(x, codes, random):
    for i in range(codes.size):
        codes[i] = to_float16(x[i])


@register_jitable
def pack_float16_stochastic(x, codes, random):
    for i in range(codes.size):
        codes[i] = to_float16(to_float16_stochastic(x[i], random[i]))


@register_jitable
def largest(x):
    """The largest finite magnitude."""
    found = uint32(0)
    for i in range(x.size):
        magnitude = uint32(bits32(x[i]) & uint32(0x7FFFFFFF))
        magnitude = uint32(0) if magnitude >= uint32(0x7F800000) else magnitude
        found = max(found, magnitude)
    return from_bits32(found)


def _in_blocks(to_code: Any, from_code: Any, count: int) -> tuple[Any, Any]:
    """How blocks of codes, of which there are ``count``, are unpacked and packed."""

    @register_jitable
    def unpack_block(codes, exponent, out):
        for i in range(out.size):
            out[i] = from_code(codes[i], exponent)

    @register_jitable
    def unpack(codes, exponents, out):
        for b in range(exponents.size):
            unpack_block(codes[b * BLOCK : (b + 1) * BLOCK], exponents[b], out[b * BLOCK : (b + 1) * BLOCK])

    @register_jitable
    def pack_block(x, codes, exponent, random):
        for i in range(codes.size):
            codes[i] = to_code(x[i], exponent, random[i])

    @register_jitable
    def pack(x, codes, exponents, random):
        for b in range(exponents.size):
            first, last = b * BLOCK, (b + 1) * BLOCK
            exponents[b] = exponent_of(largest(x[first:last]), count)
            pack_block(x[first:last], codes[first:last], exponents[b], random[first:last])

    return unpack, pack


unpack_int8_signed, pack_int8_signed = _in_blocks(to_int8_signed, from_int8_signed, 128)
unpack_int8_unsigned, pack_int8_unsigned = _in_blocks(to_int8_unsigned, from_int8_unsigned, 256)
unpack_bfloat16_stochastic = unpack_bfloat16
unpack_float16_stochastic = unpack_float16
