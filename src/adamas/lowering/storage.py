"""How arrays are kept that do not lie in memory as the kernel computes: narrow floats, and blocks of 8-bit codes.

A kernel unpacks a number where it reads it, and packs it where it writes it; so memory sees the narrow numbers alone.

Rounding may be stochastic: to one of the two neighbours, with the probability that makes the mean right. Without it a
second moment at β₂ = 0.999 would stand still, since a change of 0.1 % is below half of what 8 bits of mantissa tell
apart. The noise is a hash of the step's number and the element's index: no state, the same for any number of threads,
the same after a resume.

The functions here mean the same over NumPy's arrays, where tests read them, and compiled, where kernels call them.
Every intermediate is made 32 bits wide again: Numba computes with 64, and then a vector holds half as many.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy import int16, int32, uint8, uint16, uint32

from adamas.lowering.words import where


class Kind(NamedTuple):
    """A way to keep an array.

    Attributes:
        dtype: of what lies in memory, as the front calls it.
        stochastic: whether it is rounded stochastically.
        companion: what a second array, of int16, holds beside it; empty if there is none.
        block: elements that share an entry of the companion.
        codes: how many there are that differ in magnitude.
    """

    dtype: str
    stochastic: bool = False
    companion: str = ""
    block: int = 1
    codes: int = 0


#: Elements that share an exponent.
BLOCK = 256

KINDS = {
    "bfloat16": Kind("bfloat16"),
    "float16": Kind("float16"),
    "bfloat16_stochastic": Kind("bfloat16", stochastic=True),
    "float16_stochastic": Kind("float16", stochastic=True),
    "bfloat16_remainder": Kind("bfloat16", companion="remainder"),
    "int8_signed": Kind("uint8", stochastic=True, companion="exponent", block=BLOCK, codes=128),
    "int8_unsigned": Kind("uint8", stochastic=True, companion="exponent", block=BLOCK, codes=256),
}


#: Floats that are narrower than any that is computed with.
NARROW = ("bfloat16", "float16")

#: Array and kind, for those arrays of a kernel that do not lie in memory as it computes.
Kinds = tuple[tuple[str, str], ...]


def bits32(x: Any) -> Any:
    """The 32 bits of a float32."""
    return np.asarray(x, np.float32).view(np.uint32)


def from_bits32(i: Any) -> Any:
    """The float32 that has these bits."""
    return np.asarray(i, np.uint32).view(np.float32)


def element(first: Any, i: Any) -> Any:
    """The number of an element, 32 bits of it: the i-th from ``first`` on."""
    return np.asarray(first + i).astype(np.uint32)


def place(index: Any, key: Any) -> Any:
    """Where an element is in the sequence of noise; at each step all are elsewhere."""
    return uint32(uint32(index + key) * uint32(0x9E3779B1))


def next_place(place: Any) -> Any:
    """Where the next element is: an addition, where `place` would take a multiplication."""
    return uint32(place + uint32(0x9E3779B1))


def noise_at(place: Any) -> Any:
    """The noise at a place."""
    return uint32(place * uint32(place | uint32(1)))


def noise(index: Any, key: Any) -> Any:
    """32 random bits for an element: enough for two arrays, of which one takes them as they are, the other `turned`.

    A counter is multiplied into disorder and by itself: one round in the manner of B. Widynski, "Squares: A Fast
    Counter-Based RNG" (2020).

    Args:
        index: uint32, of the element in its tensor; for a third and fourth array, the bits that the first two had.
        key: uint32, of the step (`key_of`).
    """
    return noise_at(place(index, key))


def key_of(count: int) -> int:
    """The key of the noise of a step, 32 bits: those of neighbouring steps are far apart."""
    return count * 0x85EBCA6B % (1 << 32)


def from_bfloat16(code: Any) -> Any:
    """The float32 of a bfloat16, which is its first half."""
    return from_bits32(uint32(uint32(code) << uint32(16)))


def to_bfloat16(x: Any) -> Any:
    """The nearest bfloat16; of two equally near, the even one."""
    b = bits32(x)
    odd = uint32(uint32(b >> uint32(16)) & uint32(1))
    return where(x == x, uint16(uint32(uint32(uint32(b + uint32(0x7FFF)) + odd) >> uint32(16))), uint16(0x7FC0))


def to_bfloat16_stochastic(x: Any, random: Any) -> Any:
    """One of the two bfloat16 beside x."""
    b = bits32(x)
    return where(x == x, uint16(uint32(uint32(b + uint32(random >> uint32(16))) >> uint32(16))), uint16(0x7FC0))


def round_float16(x: Any, random: Any) -> Any:
    """A float32 beside x that has a float16's mantissa."""
    b = uint32(uint32(bits32(x) + uint32(random >> uint32(19))) & uint32(0xFFFFE000))
    return where(x - x == x - x, from_bits32(b), x)  # what is not finite stays as it is


def from_bfloat16_remainder(code: Any, remainder: Any) -> Any:
    """The float32 of a bfloat16 and what it leaves out, to the bit."""
    return from_bits32(uint32(uint32(uint32(code) << uint32(16)) + uint32(int32(remainder))))


def to_bfloat16_remainder(x: Any) -> Any:
    """The nearest bfloat16, of two equally near the larger one, and what it leaves out: an int16, counted in bits."""
    b = bits32(x)
    code = where(x == x, uint16(uint32(b + uint32(0x8000)) >> uint32(16)), uint16(0x7FC0))
    return code, where(x == x, int16(b), int16(0))


# 8 bits: an exponent and three bits of mantissa, which are the top bits of a float32, counted from a block's own
# exponent. A code of 0 is 0. Signed codes have their sign in front, and so a smaller range: 2^-16 of the block's
# largest instead of 2^-32.


def exponent_of(largest: Any, codes: int) -> Any:
    """What is taken from the top bits of a block's numbers: the largest, rounded up, has the last code then."""
    exponent = int32(int32(bits32(largest) >> uint32(20)) + int32(2 - codes))
    return int16(where(exponent < int32(0), int32(0), exponent))


def to_int8_unsigned(x: Any, exponent: Any, random: Any) -> Any:
    """The code of a number that is not negative; only 0 has the code 0, what is too small has 1."""
    b = bits32(x)
    top = int32(int32(uint32(uint32(b + uint32(random >> uint32(12))) >> uint32(20))) - int32(exponent))
    top = where(top < int32(1), int32(1), where(top > int32(255), int32(255), top))
    return uint8(where(b == uint32(0), int32(0), top))


def from_int8_unsigned(code: Any, exponent: Any) -> Any:
    """The number of a code."""
    top = uint32(int32(code) + int32(exponent))
    return from_bits32(where(code == uint8(0), uint32(0), uint32(top << uint32(20))))


def to_int8_signed(x: Any, exponent: Any, random: Any) -> Any:
    """The code of a number; what is too small has 0."""
    b = bits32(x)
    magnitude = uint32(b & uint32(0x7FFFFFFF))
    top = int32(int32(uint32(uint32(magnitude + uint32(random >> uint32(12))) >> uint32(20))) - int32(exponent))
    top = where(top < int32(1), int32(0), where(top > int32(127), int32(127), top))
    return uint8(uint32(uint32(top) | uint32(uint32(b >> uint32(24)) & uint32(0x80))))


def from_int8_signed(code: Any, exponent: Any) -> Any:
    """The number of a code."""
    top = uint32(uint32(code) & uint32(0x7F))
    sign = uint32(uint32(uint32(code) & uint32(0x80)) << uint32(24))
    magnitude = uint32(uint32(top + uint32(int32(exponent))) << uint32(20))
    return from_bits32(uint32(sign | where(top == uint32(0), uint32(0), magnitude)))


def turned(random: Any) -> Any:
    """The same bits in another order: the lower 20, of which codes of 8 bits take no more, come first."""
    return uint32(uint32(random << uint32(12)) | uint32(random >> uint32(20)))
