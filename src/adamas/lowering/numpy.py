"""NumPy: the readable meaning of a kernel, in float64 the reference for all others."""

from adamas.lowering.source import Program


def render(program: Program, dtype: str, measured: bool = False) -> str:
    """The text of a kernel over whole arrays.

    ``kernel(g, param, <states>, c)`` returns the new param and states, and changes nothing. Where it is measured, the
    rule's step and the gradient that it saw come after them.
    """
    return program.functional_text(
        f"# {program.rule}, {dtype}, NumPy",
        f"from numpy import {dtype} as number",
        "from adamas.lowering.words import maximum, minimum, power, sign, sqrt, square, where",
        measured=measured,
    )
