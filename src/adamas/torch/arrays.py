"""Tensors as a step sees them: where they lie, what is made for them, and the eager step for all that is not plain.

Addresses and layouts are read through DLPack's C exchange table, which torch offers for this: some 25 ns a tensor,
so that they can be read anew at each step.
"""

import ctypes
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from adamas.addresses import helper
from adamas.arrays import Form, Named, Sight
from adamas.engine import POOL, Crew, Engine, Ints
from adamas.errors import InputError, InputTypeError
from adamas.kernel import Kernel
from adamas.torch.launching import UNLIKE, engine_of
from adamas.torch.layout import find

_DTYPES = {
    torch.float16: ("float16", 1),
    torch.bfloat16: ("bfloat16", 1),
    torch.float32: ("float32", 1),
    torch.float64: ("float64", 1),
    torch.complex64: ("float32", 2),
    torch.complex128: ("float64", 2),
}
_PACKED = {torch.uint8: ("uint8", 1), torch.int16: ("int16", 1)}
_STAGES = {
    ("float32", 1): torch.float32,
    ("float64", 1): torch.float64,
    ("float32", 2): torch.complex64,
    ("float64", 2): torch.complex128,
}
_PLAIN = (Tensor, Parameter)


def _api() -> Ints:
    """Addresses of the C functions and objects that `adamas.addresses` uses, in its order."""
    python = ctypes.pythonapi
    python.PyCapsule_GetPointer.restype = ctypes.c_void_p
    python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    table = python.PyCapsule_GetPointer(Tensor.__dlpack_c_exchange_api__, b"dlpack_exchange_api")
    major = ctypes.c_uint32.from_address(table).value
    if major != 1:
        raise ImportError(f"torch {torch.__version__} speaks DLPack {major}; adamas knows DLPack 1: use torch 2.13.")
    # struct DLPackExchangeAPI: version, previous, allocator, from object, to object, DLTensor from object, stream
    to_dltensor = _word(table + 5 * 8)
    functions = (python.PyList_GetItem, python.PyErr_Clear, python.Py_DecRef)
    item, clear, release = (ctypes.cast(function, ctypes.c_void_p).value for function in functions)
    attribute = ctypes.cast(python.PyObject_GetAttr, ctypes.c_void_p).value
    objects = (id(Tensor), id(Parameter), attribute, id(_GRAD), id(None))
    tensor = torch.zeros(1)
    if _word(id(tensor) + 8) != id(Tensor):
        raise ImportError(
            "This Python keeps an object's type elsewhere than CPython does: adamas.torch cannot run here."
        )
    layout = find([*_DTYPES, *_PACKED, torch.int64]) if _word(id(tensor) + 16) == tensor._cdata else None  # pyright: ignore[reportPrivateUsage]
    known = [] if layout is None else [*layout[:-1], *(layout.itemsizes.get(number, 0) for number in range(64))]
    sparse = (id(_IS_SPARSE), id(True))
    return np.array(
        [item, clear, release, to_dltensor, *objects, layout is not None, *sparse, *[0] * 8, *known], np.int64
    )


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


_GRAD, _IS_SPARSE = "grad", "is_sparse"


class _OpenMP:
    """torch's own crew: the OpenMP threads that have just computed the gradients.

    They wait for work in a loop for a while after each parallel region, and threads of our own would have to fight them
    for the cores. Where torch was built without GNU's OpenMP, and in a forked child, which has none of these
    threads, it is our own threads all the same.
    """

    def __init__(self) -> None:
        try:
            library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
            self._parallel: Any = library.GOMP_parallel
        except (OSError, AttributeError):
            self._parallel = None
        else:
            self._parallel.restype = None
            self._parallel.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint, ctypes.c_uint]
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._parallel = None

    def threads(self) -> int:
        return torch.get_num_threads()

    def work(self, kernel: int, task: int, threads: int) -> None:
        if self._parallel is None:
            POOL.work(kernel, task, threads)
        else:
            self._parallel(kernel, task, threads, 0)


class TorchArrays:
    """torch's tensors, as a step sees them (`adamas.arrays.Arrays`)."""

    def __init__(self) -> None:
        self._api = _api()
        self._place = int(self._api.ctypes.data)
        self._look, self._settle, self._describe = helper("look", 3), helper("settle", 1), helper("describe", 4)
        self.crew: Crew = _OpenMP()

    def look(self, params: Sequence[Any], grads: Sequence[Any], sight: Sight) -> int:
        return self._look(id(params), self._place, sight.place)

    def describe(self, arrays: Sequence[Any]) -> Ints:
        arrays = list(arrays)
        out = (ctypes.c_int64 * (2 * len(arrays)))()
        self._describe(id(arrays), len(arrays), self._place, ctypes.addressof(out))
        words: Any = out  # a buffer, which its type does not tell
        return np.frombuffer(words, np.int64, len(out)).reshape(2, len(arrays))

    def pin(self, arrays: Sequence[Any]) -> object:
        # A tensor that only Python holds costs twice as much to read: C++ takes and drops a reference to it. A
        # DLPack capsule is a reference that stays.
        return [torch.to_dlpack(a) for a in arrays if self._plain(a) and a.device.type == "cpu"]

    def _plain(self, tensor: Any) -> bool:
        return (
            type(tensor) in _PLAIN
            and tensor.device.type in ("cpu", "cuda")
            and tensor.layout is torch.strided
            and not tensor.is_conj()
            and not tensor.is_neg()
        )

    def form(self, array: Any, packed: bool = False) -> Form:
        if not isinstance(array, Tensor):
            raise InputTypeError(f"is a {type(array).__name__}: it must be a tensor.")
        known = {**_DTYPES, **_PACKED} if packed else _DTYPES
        if array.dtype not in known:
            raise InputTypeError(
                f"has dtype {array.dtype}: it must be float16, bfloat16, float32, float64, complex64 or complex128."
            )
        if array.layout is not torch.strided:
            raise InputTypeError(
                f"has layout {array.layout}, which is not supported: make it dense; a gradient may also be a plain "
                "tensor of layout torch.sparse_coo, as nn.Embedding(sparse=True) gives."
            )
        if array.is_inference() and not torch.is_inference_mode_enabled():
            raise InputTypeError(
                "was made in inference mode, so only there can it be changed: step there, or clone it."
            )
        dtype, lanes = known[array.dtype]
        form = Form(
            dtype, lanes, tuple(array.shape), tuple(array.stride()), self._plain(array), device=str(array.device)
        )
        if form.readable and (held := array.untyped_storage().nbytes()) < _needed(array, form):
            raise InputError(
                f"has a storage of {held} bytes, less than its shape {form.shape} takes: it was freed or cut."
            )
        return form

    def is_sparse(self, grad: Any) -> bool:
        return type(grad) in _PLAIN and grad.is_sparse

    def rows(self, grad: Tensor, clear: bool) -> Named:
        if grad.sparse_dim() != 1:
            raise InputError(
                f"is sparse along {grad.sparse_dim()} axes: only whole rows may be left out, as from "
                "nn.Embedding(sparse=True) or to_sparse(1); give such a one, or a dense one."
            )
        # Not `coalesce`: it copies all values to put them in order, and the table has an order of its own.
        rows, values = grad._indices(), grad._values()  # pyright: ignore[reportPrivateUsage]
        return Named(rows.contiguous(), rows.shape[1], values, grad.is_coalesced())

    def clear(self, grad: Tensor) -> None:
        with torch.no_grad():
            grad.zero_()  # which leaves it without rows

    def take(self, array: Tensor, rows: Ints) -> Tensor:
        return array.detach()[torch.from_numpy(rows)]

    def put(self, source: Tensor, array: Tensor, rows: Ints) -> None:
        array.detach()[torch.from_numpy(rows)] = source.to(array.dtype)

    def engine(self, param: Tensor, group: Mapping[str, Any]) -> Engine | None:
        plain = type(param) in _PLAIN and not group["differentiable"]
        engine = engine_of(param.device, group["capturable"]) if plain else None
        if group["capturable"]:
            if engine is None or engine.keeper is None:
                raise InputError(
                    "capturable=True is for plain parameters on an NVIDIA GPU that a kernel steps, without "
                    f"differentiable=True; here one is a {type(param).__name__} on {param.device}: leave it out."
                )
            if engine.keeper.capturing:
                raise InputError(UNLIKE)
        return engine

    def zeros(self, param: Tensor, dtype: str = "") -> Tensor:
        kind = getattr(torch, dtype) if dtype else _wide(param)
        return torch.zeros_like(param, dtype=kind, memory_format=torch.preserve_format)

    def words(self, param: Tensor, count: int) -> Tensor:
        return torch.zeros(count, dtype=torch.int16, device=param.device)

    def adopted(self, array: Tensor, param: Tensor, narrow: bool) -> Tensor:
        if array.device.type == "meta" != param.device.type:
            raise InputError("lies on the meta device, so it has no values: load one that has.")
        array = array.detach()
        dtype = array.dtype if narrow else torch.promote_types(array.dtype, _wide(param))
        if type(param) not in _PLAIN:
            return array.to(param.device, dtype, copy=True)
        return torch.empty_like(param, dtype=dtype, memory_format=torch.preserve_format).copy_(array)

    def scalars(self, value: float, count: int, device: str = "cpu") -> Sequence[Tensor]:
        return torch.full((count,), value, dtype=torch.float64, device=device).unbind()

    def is_scalar(self, value: Any, device: str = "cpu") -> bool:
        return (
            type(value) is Tensor
            and value.shape == ()
            and value.dtype == torch.float64
            and value.device == torch.device(device)
        )

    def is_zero(self, array: Tensor) -> bool:
        if array.is_sparse:
            array = array.detach().coalesce().values()
        return array.device.type != "meta" and not _of_all(array, torch.count_nonzero)

    def stage(self, form: Form, strides: tuple[int, ...]) -> Tensor:
        return torch.empty_strided(form.shape, strides, dtype=_STAGES[form.dtype, form.lanes], device=form.device)

    def copy(self, source: Any, target: Tensor) -> None:
        with torch.no_grad():
            target.copy_(source) if isinstance(source, Tensor) else target.fill_(source)

    def call(
        self,
        kernel: Kernel,
        arrays: Sequence[Tensor],
        arguments: Sequence[Any],
        group: Mapping[str, Any],
        measured: bool,
    ) -> tuple[Sequence[Any], Sequence[float], Sequence[float]]:
        if group["differentiable"]:
            for target in arrays[1:]:
                _refuse_unrecordable(target)
        with _recording(group):
            results, scalars = self._call(kernel, arrays, arguments, measured)
        if not measured:
            return results, scalars, ()
        *results, step, seen = results
        return results, scalars, self._measure(arrays[0], arrays[1], results[0], step, seen)

    def store(self, results: Sequence[Any], arrays: Sequence[Tensor], group: Mapping[str, Any]) -> None:
        with _recording(group):
            for result, target in zip(results, arrays, strict=True):
                target.copy_(result) if isinstance(result, Tensor) else target.fill_(result)

    def _call(
        self, kernel: Kernel, arrays: Sequence[Tensor], arguments: Sequence[Any], measured: bool
    ) -> tuple[Sequence[Any], Sequence[float]]:
        param = arrays[1]
        if any(map(_is_tensor, arguments)):
            coefficients, scalars = kernel.host_of_tensors(*map(_scalar, arguments))
        else:
            coefficients, scalars = kernel.host(*arguments)
        if torch.is_grad_enabled():  # the graph keeps what it read, and the originals are written to afterwards
            arrays = [a.clone() for a in arrays]
        real = [torch.view_as_real(a.resolve_conj()) if a.is_complex() else a for a in arrays]
        wide = torch.promote_types(real[1].dtype, torch.float32)
        run = kernel.load("torch", measured=measured)
        results = run(*(a if a.dtype == wide else a.to(wide) for a in real), coefficients)
        if param.is_complex():
            results = [torch.view_as_complex(r) for r in results]
        return results, [float(s) for s in scalars]

    def squares(self, array: Tensor) -> float:
        return _of_all(array, _squares)

    def _measure(self, grad: Tensor, param: Tensor, new: Any, step: Any, seen: Any) -> Sequence[float]:
        zeros = self.form(grad).size - _of_all(grad, torch.count_nonzero)
        largest = _of_all(grad, lambda g: g.abs().max() if g.numel() else g.new_zeros(()), "max")
        return (
            self.squares(grad),
            largest,
            zeros,
            self.squares(new.detach() - param.detach()),
            self.squares(new),
            math.nan,
            self.squares(step),
            _of_all(_products(step.detach(), seen.detach()), lambda x: x.sum(dtype=_widest(x))),
        )

    def settle(self, params: Sequence[Tensor], active: Ints, sight: Sight) -> None:
        if self._settle(sight.place) < len(active):
            rest = [params[i] for i in active if not sight.versions[i]]
            # what was made in inference mode has no version
            torch.autograd.graph.increment_version([p for p in rest if not p.is_inference()])


def _wide(param: Tensor) -> torch.dtype:
    """The dtype of a parameter's states."""
    return torch.float32 if param.dtype in (torch.float16, torch.bfloat16) else param.dtype


def _squares(tensor: Tensor) -> Tensor:
    """Σx², in float64 where the device has that."""
    return torch.linalg.vector_norm(tensor, dtype=_widest(tensor)).square()


def _widest(tensor: Tensor) -> torch.dtype:
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def _products(a: Tensor, b: Tensor) -> Tensor:
    """Number by number, of which a complex element has two."""
    return torch.view_as_real(a) * torch.view_as_real(b) if a.is_complex() else a * b


def _of_all(tensor: Any, says: Callable[[Tensor], Tensor], together: str = "sum") -> float:
    """What a function says of a tensor's numbers; where they are sharded, of each shard, once, put together.

    All processes that hold a shard must ask, and are told the same.
    """
    local: Tensor = tensor.detach()
    if sharded := hasattr(local, "to_local"):
        local = tensor.detach().to_local()
    said = says(torch.view_as_real(local.resolve_conj()) if local.is_complex() else local)
    if sharded:
        from torch.distributed.tensor import DTensor, Partial, Replicate

        placements = [Partial(together) if p.is_shard() else Replicate() for p in tensor.placements]
        said = DTensor.from_local(said, tensor.device_mesh, placements, run_check=False).full_tensor()
    return float(said)


def _needed(tensor: Tensor, form: Form) -> int:
    """Bytes of storage that the tensor reaches into."""
    return form.bytes[1] and form.bytes[1] + int(tensor.storage_offset()) * form.itemsize


def _recording(group: Mapping[str, Any]) -> Any:
    # Not set_grad_enabled: it acts before it is entered, and an interruption between the two would leave it at that.
    return torch.enable_grad() if group["differentiable"] else torch.no_grad()


def _refuse_unrecordable(target: Tensor) -> None:
    """Refuse what autograd would not let be written to, before anything else has been."""
    base: Any = target._base if target._is_view() else target  # pyright: ignore[reportPrivateUsage]
    usual = torch._C._autograd.CreationMeta.DEFAULT  # pyright: ignore
    if (base.is_leaf and base.requires_grad) or (
        target._is_view() and torch._C._autograd._get_creation_meta(target) != usual  # pyright: ignore
    ):
        raise InputError(
            "is a leaf that requires a gradient, or such a view, and a differentiable step would write over it: "
            "step a clone of it, as torch.func does, or leave differentiable=True out."
        )


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, tuple | list) and any(map(_is_tensor, value)))


def _scalar(value: Any) -> Any:
    """A hyperparameter whose tensors have lost their axes, which would pass on to all that they are multiplied with."""
    if isinstance(value, tuple | list):
        return tuple(map(_scalar, value))
    return value.reshape(()) if isinstance(value, Tensor) else value
