"""JAX: functions that can be traced, for XLA to compile and fuse.

XLA may contract a product and a sum to a fused multiply-add, and does on most processors: results agree with the other
backends to rounding, not to the bit.
"""

import ast
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from adamas.lowering import storage, words
from adamas.lowering.source import Program
from adamas.lowering.storage import BLOCK, KINDS


def render(program: Program, dtype: str = "", measured: bool = False) -> str:
    """The text of a kernel over whole arrays.

    ``kernel(g, param, <states>, c)`` returns the new param and states, and changes nothing. One text serves
    every dtype. Where it is measured, the rule's step and the gradient that it saw come after them.
    """
    used = "maximum, minimum, number, power, sign, sqrt, square, where"
    return program.functional_text(
        f"# {program.rule}, JAX", f"from adamas.lowering.jax import {used}", measured=measured
    )


def host(program: Program) -> str:
    """The text of the host's function: a traced count decides nothing, so that ``where`` is a word again."""
    tree = ast.parse(program.host_text())

    class Where(ast.NodeTransformer):
        def visit_IfExp(self, node: ast.IfExp) -> ast.Call:
            self.generic_visit(node)
            return ast.Call(ast.Name("where", ast.Load()), [node.test, node.body, node.orelse], [])

    return ast.unparse(Where().visit(tree)) + "\n"


# -- the words: over arrays, and over the host's numbers where they are not traced -----------------------------------


number = float


def where(condition: Any, a: Any, b: Any) -> Any:
    """``a`` where the condition holds, else ``b``."""
    return jnp.where(condition, a, b) if isinstance(condition, jax.Array) else (a if condition else b)


def _like(x: Any, other: Any) -> Any:
    return x  # numbers take the dtype of what they meet


_WORDS = {"where": where, "like": _like}
maximum, minimum, sign, square = (
    words.respelt(word, _WORDS) for word in (words.maximum, words.minimum, words.sign, words.square)
)


def power(x: Any, y: Any) -> Any:
    """xʸ."""
    return jnp.power(x, y)


def sqrt(x: Any) -> Any:
    """√x."""
    return jnp.sqrt(x) if isinstance(x, jax.Array) else (math.sqrt(x) if x >= 0 else math.nan)


def one_minus_power(base: Any, exponent: Any) -> Any:
    """``1 - base ** exponent`` without cancellation, for a base in [0, 1]."""
    if isinstance(base, jax.Array):
        return -jnp.expm1(exponent * jnp.log(base))
    if isinstance(exponent, jax.Array) and 0 < base:
        return -jnp.expm1(exponent * math.log(base))
    return -math.expm1(exponent * math.log(base)) if 0 < base < 2 else 1 - base**exponent


# -- narrow numbers: the functions of `storage`, over JAX's arrays ---------------------------------------------------


def _to(kind: Any) -> Callable[[Any], Any]:
    return lambda x: x.astype(kind) if isinstance(x, jax.Array) else kind(x)


_NAMES: dict[str, Any] = {
    **{kind.__name__: _to(kind) for kind in (np.int16, np.int32, np.uint8, np.uint16, np.uint32)},
    "where": where,
    "bits32": partial(jax.lax.bitcast_convert_type, new_dtype=jnp.uint32),
    "from_bits32": partial(jax.lax.bitcast_convert_type, new_dtype=jnp.float32),
}


def _traceable(name: str) -> Callable[..., Any]:
    """A function of `storage` that finds JAX's words under the names it uses."""
    return words.respelt(getattr(storage, name), _NAMES)


_NAMES.update({name: _traceable(name) for name in ("place", "noise_at")})  # which `noise` calls
_exponent_of, _noise, _turned = map(_traceable, ("exponent_of", "noise", "turned"))
_CODES = {
    f"{way}_{kind}": _traceable(f"{way}_{kind}") for way in ("to", "from") for kind in ("int8_signed", "int8_unsigned")
}
_to_bfloat16_stochastic = _traceable("to_bfloat16_stochastic")


def key_of(count: Any) -> Any:
    """`storage.key_of` of a traced count: products of 32 bits leave out what is above them."""
    return count.astype(jnp.uint32) * np.uint32(storage.key_of(1))


def randoms(shape: tuple[int, ...], key: Any, count: int) -> list[Any]:
    """32 random bits for each element of ``count`` arrays, as every backend draws them."""
    drawn: list[Any] = []
    bits = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    for k in range(count):
        if k % 2:
            drawn.append(_turned(bits))
        else:
            bits = _noise(bits, key)
            drawn.append(bits)
    return drawn


def pack(kind: str, x: Any, random: Any) -> tuple[Any, ...]:
    """A float32 array as it is kept: one array, or the codes and an exponent per `BLOCK`.

    Args:
        kind: "bfloat16_stochastic", "int8_signed" or "int8_unsigned".
        random: uint32, of the shape of x.
    """
    if kind == "bfloat16_stochastic":
        return (jax.lax.bitcast_convert_type(_to_bfloat16_stochastic(x, random), jnp.bfloat16),)
    blocks, random = _in_blocks(x), _in_blocks(random)
    magnitudes = jnp.abs(blocks)
    largest = jnp.max(jnp.where(jnp.isfinite(magnitudes), magnitudes, 0), axis=1, keepdims=True)
    exponents = _exponent_of(largest, KINDS[kind].codes)
    codes = _CODES[f"to_{kind}"](blocks, exponents, random)
    return codes.reshape(-1)[: x.size].reshape(x.shape), exponents[:, 0]


def unpack(kind: str, held: tuple[Any, ...]) -> Any:
    """The float32 array that `pack` has packed."""
    if kind == "bfloat16_stochastic":
        return held[0].astype(jnp.float32)
    codes, exponents = held
    wide = _CODES[f"from_{kind}"](_in_blocks(codes), exponents[:, None])
    return wide.reshape(-1)[: codes.size].reshape(codes.shape)


def _in_blocks(x: Any) -> Any:
    return jnp.pad(x.reshape(-1), (0, -x.size % BLOCK)).reshape(-1, BLOCK)
