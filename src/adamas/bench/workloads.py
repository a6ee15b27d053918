"""What is timed: shapes and dtypes, by name, of somebody's own torch module, or from a safetensors file's header."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from adamas.errors import InputError, unknown
from adamas.problems.base import need
from adamas.problems.usercode import blamed, load_module

#: dtype -> bytes of an element.
SIZES = {"float32": 4, "float64": 8, "bfloat16": 2, "float16": 2}

#: The codes of those dtypes in a safetensors file.
CODES = {"F32": "float32", "F64": "float64", "BF16": "bfloat16", "F16": "float16"}

#: Bytes of the longest header that a safetensors file may have.
LONGEST = 100_000_000


class Leaf(NamedTuple):
    """One parameter."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Workload:
    """The parameters that are stepped.

    Attributes:
        name: as on the command line.
        leaves: the parameters.
        note: what was left out of a file.
    """

    name: str
    leaves: tuple[Leaf, ...]
    note: str = ""

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return sum(leaf.size for leaf in self.leaves)

    @property
    def about(self) -> str:
        """
        >>> Workload("mine", (Leaf((1000, 20)), Leaf((20,)))).about
        '2 tensors, 20,020 parameters, float32'
        """
        tensors = "1 tensor" if len(self.leaves) == 1 else f"{len(self.leaves):,} tensors"
        return f"{tensors}, {self.size:,} parameters, {', '.join(sorted({leaf.dtype for leaf in self.leaves}))}"


Shapes = list[tuple[int, ...]]


def resnet18() -> Shapes:
    """The parameters of ResNet-18 for ImageNet (He et al. 2016): 62 tensors, 11.7 M."""
    shapes: Shapes = [(64, 3, 7, 7), (64,), (64,)]
    width = 64
    for out in (64, 128, 256, 512):
        for _ in range(2):
            shapes += [(out, width, 3, 3), (out,), (out,), (out, out, 3, 3), (out,), (out,)]
            if width != out:
                shapes += [(out, width, 1, 1), (out,), (out,)]
            width = out
    return [*shapes, (1000, 512), (1000,)]


def gpt2() -> Shapes:
    """The parameters of GPT-2 small (Radford et al. 2019): 148 tensors, 124 M."""
    block = [(768,), (768,), (768, 2304), (2304,), (768, 768), (768,)]
    block += [(768,), (768,), (768, 3072), (3072,), (3072, 768), (768,)]
    return [(50257, 768), (1024, 768), *block * 12, (768,), (768,)]


NAMED: Mapping[str, Callable[[], Shapes]] = {
    "8-tensors": lambda: [(64, 128), (128,), (128, 64), (64,), (64, 10), (10,), (32,), (16, 16)],
    "500x64": lambda: [(64,)] * 500,
    "1000x16": lambda: [(16,)] * 1000,
    "resnet18": resnet18,
    "gpt2": gpt2,
}


def workload(name: str, dtype: str | None = None) -> Workload:
    """The workload that a word on the command line means.

    Args:
        name: one of `NAMED`, a ``.safetensors`` file, or ``file.py:factory``, whose function returns a torch module.
        dtype: of all parameters, instead of their own.

    Raises:
        InputError: where there is none, or it cannot be used.
    """
    path, colon, factory = name.rpartition(":")
    if name.endswith(".safetensors"):
        found = _from_safetensors(name)
    elif name.endswith(".py"):
        raise InputError(f"{name} is a file: say which of its functions makes the module, as {name}:model.")
    elif colon and path.endswith(".py"):
        found = _from_module(name, Path(path), factory)
    elif name in NAMED:
        found = Workload(name, tuple(map(Leaf, NAMED[name]())))
    else:
        raise unknown("workload", name, [*NAMED, "weights.safetensors", "module.py:factory"])
    if dtype is None:
        return found
    return replace(found, leaves=tuple(leaf._replace(dtype=dtype) for leaf in found.leaves))


def _from_module(name: str, path: Path, factory: str) -> Workload:
    torch = need("torch", "torch")
    module = load_module(path)
    make = getattr(module, factory, None)
    if not callable(make):
        offered = [
            n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__
        ]
        raise unknown(f"function in {path}", factory, offered or ["none"])
    with blamed(path, f"{factory}()"):
        made: Any = make()
    if not isinstance(made, torch.nn.Module):
        raise InputError(f"{path}: {factory}() returned {type(made).__name__}, not a torch.nn.Module.")
    found = [Leaf(tuple(p.shape), str(p.dtype).removeprefix("torch.")) for p in made.parameters() if p.requires_grad]
    if not found:
        raise InputError(f"{path}: {factory}() has no parameter that requires a gradient: there is nothing to step.")
    if odd := sorted({leaf.dtype for leaf in found} - SIZES.keys()):
        raise InputError(f"{path}: {factory}() has parameters of dtype {odd[0]}; known are {', '.join(SIZES)}.")
    return Workload(name, tuple(found))


def _from_safetensors(name: str) -> Workload:
    header = _header(Path(name))
    header.pop("__metadata__", None)
    found: list[Leaf] = []
    other: set[str] = set()
    for tensor, entry in header.items():
        match entry:
            case {"dtype": str(code), "shape": list(shape)} if all(type(n) is int and n >= 0 for n in shape):
                if code in CODES:
                    found.append(Leaf(tuple(shape), CODES[code]))
                else:
                    other.add(code)
            case _:
                raise InputError(f"{name} is no safetensors file: it says of {tensor!r} neither dtype nor shape.")
    if not sum(leaf.size for leaf in found):
        raise InputError(f"{name} has no tensor of dtype {', '.join(CODES)}: there is nothing to step.")
    left = len(header) - len(found)
    note = f"{left} of its tensors are left out, being of dtype {', '.join(sorted(other))}" if left else ""
    return Workload(name, tuple(found), note)


def _header(path: Path) -> dict[str, Any]:
    """The JSON that a safetensors file begins with, after its length in 8 bytes. No weight is read."""
    if not path.is_file():
        raise InputError(f"There is no file {path}: check the spelling, or give the path from {Path.cwd()}.")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(LONGEST, path.stat().st_size - 8):
            raise InputError(
                f"{path} is no safetensors file, or not all of one: it announces a header of {length:,} bytes and has "
                f"{path.stat().st_size:,} in all."
            )
        text = file.read(length)
    try:
        header: Any = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise InputError(f"{path} is no safetensors file: what it has in the header's place is no JSON object.")
    return header
