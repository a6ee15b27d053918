"""The words of a rule over NumPy arrays, made of operations that round alike on every machine.

The NumPy kernels call these as they stand; Numba compiles the same functions for scalars, with `where`, `bits`,
`from_bits` and `like` in its own terms (see `adamas.lowering.numba`). So float32 results agree to the bit.
"""

import builtins
import math
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import numpy as np

sqrt = np.sqrt


def respelt(function: Callable[..., Any], names: Mapping[str, Any]) -> Callable[..., Any]:
    """A function of this kind that finds another library's words under the names it uses."""
    assert isinstance(function, FunctionType)
    # torch's compiler looks for the built-in names where a module's functions have them
    made = FunctionType(function.__code__, {"__builtins__": builtins, **names}, function.__name__)
    made.__doc__ = function.__doc__
    return made


def where(condition: Any, a: Any, b: Any) -> Any:
    """``a`` where the condition holds, else ``b``."""
    return np.where(condition, a, b)


def bits(x: Any) -> Any:
    """The 64 bits of a float64, as an integer."""
    return np.asarray(x, np.float64).view(np.int64)


def from_bits(i: Any) -> Any:
    """The float64 that has these bits."""
    return np.asarray(i, np.int64).view(np.float64)


def like(x: Any, other: Any) -> Any:
    """``x`` rounded to the dtype of ``other``."""
    return np.asarray(x).astype(other.dtype)


def square(x: Any) -> Any:
    """x²."""
    return x * x


def sign(x: Any) -> Any:
    """-1, 0 or 1; a zero or a NaN is handed on."""
    return where(x > 0, like(1.0, x), where(x < 0, like(-1.0, x), x))


def maximum(a: Any, b: Any) -> Any:
    """The larger; NaN if either is NaN."""
    return where((a > b) | (a != a), a, b)


def minimum(a: Any, b: Any) -> Any:
    """The smaller; NaN if either is NaN."""
    return where((a < b) | (a != a), a, b)


# log₂ f = (2/ln 2)(s + s³/3 + s⁵/5 + …) with s = (f − 1)/(f + 1); |s| ≤ 0.172 for f in [√½, √2]: twelve terms
# leave less than 2⁻⁵⁶. 2ʳ = Σ (r ln 2)ᵏ/k!, |r| ≤ ½: fourteen terms.
_LOG = tuple(2 / math.log(2) / (2 * k + 1) for k in range(12))
_EXP = tuple(math.log(2) ** k / math.factorial(k) for k in range(15))
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8, _L9, _L10, _L11 = _LOG
_E0, _E1, _E2, _E3, _E4, _E5, _E6, _E7, _E8, _E9, _E10, _E11, _E12, _E13, _E14 = _EXP
_ROOT_HALF = int(np.float64(math.sqrt(0.5)).view(np.int64))


def power(x: Any, y: Any) -> Any:
    """xʸ for x ≥ 0 and finite y, computed in float64; NaN for x < 0.

    The libraries' own powers differ in the last bit between NumPy and compiled code; this one does not.
    """
    x64 = x * np.float64(1.0)
    w = y * logarithm(x64)
    within = where(w > 1024.0, 1024.0, where(w < -1022.0, -1022.0, w))
    within = where(within == within, within, 0.0)
    n = np.floor(within + 0.5)
    r = within - n
    e = _E0 + r * slope(r)
    half = n * 0.5
    lower = np.floor(half)
    e = e * exponential(lower) * exponential(n - lower)
    e = where(w < -1022.0, 0.0, where(w > 1024.0, math.inf, e))
    e = where(x64 > 0.0, e, where(y > 0.0, 0.0, where(y == 0.0, 1.0, math.inf)))
    e = where(x64 == math.inf, where(y > 0.0, math.inf, where(y == 0.0, 1.0, 0.0)), e)
    return like(where((x64 != x64) | (x64 < 0.0) | (y != y), math.nan, e), x)


def one_minus_power(x: Any, y: Any) -> Any:
    """1 − xʸ for x ≥ 0 and finite y, of float64, without cancellation."""
    w = y * logarithm(x)
    return where(abs(w) < 0.5, -w * slope(w), 1.0 - power(x, y))


def logarithm(x: Any) -> Any:
    """log₂ x of a finite float64 above 0."""
    exponent = (bits(x) - _ROOT_HALF) >> 52
    f = from_bits(bits(x) - (exponent << 52))
    s = (f - 1.0) / (f + 1.0)
    z = s * s
    log = _L6 + z * (_L7 + z * (_L8 + z * (_L9 + z * (_L10 + z * _L11))))
    return exponent + s * (_L0 + z * (_L1 + z * (_L2 + z * (_L3 + z * (_L4 + z * (_L5 + z * log))))))


def slope(r: Any) -> Any:
    """(2ʳ − 1)/r for |r| ≤ ½."""
    e = _E8 + r * (_E9 + r * (_E10 + r * (_E11 + r * (_E12 + r * (_E13 + r * _E14)))))
    return _E1 + r * (_E2 + r * (_E3 + r * (_E4 + r * (_E5 + r * (_E6 + r * (_E7 + r * e))))))


def exponential(n: Any) -> Any:
    """2ⁿ for a whole n in [-1022, 1023], by its bits."""
    return from_bits(integer(n + 1023.0) << 52)


def integer(x: Any) -> Any:
    """A whole float64 as an integer."""
    return np.asarray(x).astype(np.int64)
