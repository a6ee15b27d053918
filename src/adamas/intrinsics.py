"""The words a rule may use beside ``+ - * / **``, comparisons and ``abs``: their meaning for one coordinate.

A rule is never run as it stands: its source is lowered (see `adamas.lowering`), and each backend spells these
words in its own way. The functions below say what a word means, and are what the host computes with when a
word is applied to hyperparameters alone.

A NaN among the operands of `maximum` and `minimum` is handed on, on every backend.
"""

import math


def sqrt(x: float) -> float:
    """√x; NaN where x is negative.

    >>> sqrt(2.25)
    1.5
    """
    return math.sqrt(x) if x >= 0 else math.nan


def sign(x: float) -> float:
    """-1, 0 or 1 by the sign of x; a zero or a NaN is handed on as it is.

    >>> sign(-0.3)
    -1.0
    """
    return 1.0 if x > 0 else (-1.0 if x < 0 else x)


def maximum(a: float, b: float) -> float:
    """The larger of two; NaN if either is NaN.

    >>> maximum(1.0, 2.0), maximum(float("nan"), 1.0)
    (2.0, nan)
    """
    return a if (a > b or a != a) else b


def minimum(a: float, b: float) -> float:
    """The smaller of two; NaN if either is NaN.

    >>> minimum(1.0, 2.0)
    1.0
    """
    return a if (a < b or a != a) else b


def where(condition: bool, a: float, b: float) -> float:
    """``a`` where the condition holds, else ``b``: a choice made coordinate by coordinate.

    >>> where(1 > 2, 10.0, 20.0)
    20.0
    """
    return a if condition else b


def one_minus_power(base: float, exponent: float) -> float:
    """``1 - base ** exponent`` for a base in [0, 1], without cancellation.

    The lowering puts this in place of ``1 - beta**t`` on the host, so that a bias correction keeps its digits
    for a β near 1.

    >>> one_minus_power(0.5, 3)
    0.875
    """
    return -math.expm1(exponent * math.log(base)) if 0 < base < 2 else 1 - base**exponent


#: word -> number of operands; these are all the calls a rule may make.
WORDS = {"sqrt": 1, "abs": 1, "sign": 1, "maximum": 2, "minimum": 2, "where": 3}

#: Names that kernels use beside a rule's own; so they do with every name that ends in an underscore.
RESERVED = frozenset({"array", "number", "one_minus_power", "power", "square", "tiny", "tl"})
