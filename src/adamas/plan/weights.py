"""The weights of a model: from their number, from the header of a file, or from a module's parameters."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from adamas.arrays import Form
from adamas.errors import InputError, InputTypeError, unknown
from adamas.plan.step import cast, described
from adamas.problems.base import need
from adamas.problems.usercode import blamed, load_module

_THOUSANDS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9, "t": 10**12}
_MOST = 10**15

#: The dtypes of a safetensors file that can be trained -> dtype, numbers per element.
_TRAINED = {
    "F16": ("float16", 1),
    "BF16": ("bfloat16", 1),
    "F32": ("float32", 1),
    "F64": ("float64", 1),
    "C64": ("float32", 2),
}
_WHOLE = re.compile("BOOL|[IU][0-9]+")  # no weights


@dataclass(frozen=True)
class Weights:
    """A model's parameters.

    Attributes:
        trained: those that an optimizer steps.
        frozen: the others.
        exact: whether they are known one by one; else all are taken for one that can be split anywhere.
    """

    trained: tuple[Form, ...]
    frozen: tuple[Form, ...] = ()
    exact: bool = True

    @property
    def elements(self) -> int:
        """How many there are."""
        return sum(math.prod(form.shape) for form in (*self.trained, *self.frozen))

    def cast(self, dtype: str | None) -> "Weights":
        """The same in another dtype, if one is given."""
        return self._map(lambda form: cast(form, dtype))

    def sharded(self, devices: int) -> "Weights":
        """What the first of the devices has, which has most: of each parameter the first chunk of `torch.chunk`.

        One without dimensions, which `fully_shard` does not take, is left whole.
        """
        return self._map(lambda form: described(_shard(form.shape, devices), form.dtype, form.lanes))

    def _map(self, change: Callable[[Form], Form]) -> "Weights":
        return Weights(tuple(map(change, self.trained)), tuple(map(change, self.frozen)), self.exact)


def _shard(shape: tuple[int, ...], devices: int) -> tuple[int, ...]:
    return (-(-shape[0] // devices), *shape[1:]) if shape else shape


def weights(model: str) -> Weights:
    """What is meant on the command line: ``124M``, ``weights.safetensors`` or ``model.py:factory``.

    Raises:
        InputError: where it is none of these, or has nothing to train.
    """
    path, colon, name = model.rpartition(":")
    if colon:
        found = _of_module(Path(path), name)
    elif model.endswith(".py"):
        raise InputError(f"{model} is a file: say what in it makes the module, as {model}:make_model.")
    elif model.endswith(".safetensors") or Path(model).is_file():
        found = _of_file(Path(model))
    else:
        return Weights((described((_count(model),)),), exact=False)
    if not found.trained:
        raise InputError(f"{model} has no parameter that requires a gradient: there is nothing to step.")
    return found


def _count(text: str) -> int:
    match = re.fullmatch(r"([0-9][0-9_,]*(?:\.[0-9]+)?(?:e\+?[0-9]{1,2})?) ?([kmgbt]?)", text.strip().lower())
    count = Decimal(re.sub("[_,]", "", match[1])) * _THOUSANDS[match[2]] if match else Decimal(0)
    if count != int(count) or not 1 <= count <= _MOST:
        raise InputError(
            f"{text!r} is no number of parameters: give a whole one from 1 to 1e15, as 124M or 1.3e9, or a file "
            "weights.safetensors, or model.py:factory."
        )
    return int(count)


def _of_file(path: Path) -> Weights:
    """From the header of a safetensors file; its tensors are not read."""
    if not path.is_file():
        raise InputError(f"There is no file {path}: check the spelling, or give the path from {Path.cwd()}.")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length < path.stat().st_size else b""
    try:
        entries = json.loads(text)
        metadata = entries.pop("__metadata__", {})
        shapes = {name: (str(entry["dtype"]), tuple(entry["shape"])) for name, entry in entries.items()}
        if not all(isinstance(length, int) and length >= 0 for _, shape in shapes.values() for length in shape):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InputError(
            f"{path} is no safetensors file: its header cannot be read; give one, a number as 124M, "
            "or model.py:factory."
        ) from None
    if "adamas" in metadata:
        raise InputError(f"{path} is a checkpoint, with states beside the weights: give a file of weights alone.")
    found: list[Form] = []
    for name, (code, shape) in shapes.items():
        if code in _TRAINED:
            found.append(described(shape, *_TRAINED[code]))
        elif not _WHOLE.fullmatch(code):
            raise InputError(
                f"{path}: {name} is {code}, which cannot be trained: the weights must be {', '.join(_TRAINED)}."
            )
    return Weights(tuple(found))


def _of_module(path: Path, name: str) -> Weights:
    """From a module, or from what a function makes on the meta device, where it takes no memory."""
    torch: Any = need("torch", "torch")
    from adamas.torch.arrays import TorchArrays

    file = load_module(path)
    if not hasattr(file, name):
        raise unknown(f"module in {path}", name, [n for n, v in vars(file).items() if callable(v) and n[0] != "_"])
    thing: Any = getattr(file, name)
    if not isinstance(thing, torch.nn.Module) and callable(thing):
        with blamed(path, f"{name}() on the meta device"), torch.device("meta"):
            thing = thing()
    if not isinstance(thing, torch.nn.Module):
        raise InputError(f"{name} in {path} makes a {type(thing).__name__}: it must make a torch.nn.Module.")
    forms: dict[bool, list[Form]] = {True: [], False: []}
    for where, param in thing.named_parameters():
        if torch.nn.parameter.is_lazy(param):
            raise InputError(f"{where} in {path} has no shape yet: give a module that has seen its first input.")
        try:
            form = TorchArrays().form(param)
        except InputTypeError as error:
            raise InputTypeError(f"{where} in {path} {error}") from None
        forms[param.requires_grad].append(described(form.shape, form.dtype, form.lanes))
    return Weights(tuple(forms[True]), tuple(forms[False]))
