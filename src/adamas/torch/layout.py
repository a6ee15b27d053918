# pyright: reportPrivateUsage=false
"""Where torch's tensors keep what a step must read of each: found out by looking at tensors that are known.

Python's own ways to a tensor's address and layout cost more than the arithmetic of a small tensor. The fields lie at
fixed places of the C++ objects, but which places is up to the build of torch. So nothing is supposed: tensors are made
that differ in one thing at a time, and a field is where their memory differs accordingly, and nowhere else. Where that
does not give one place for each, `find` gives None, and tensors are read through DLPack.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

#: Bytes of a C++ object that are looked through.
_TENSOR, _STORAGE, _NOTES, _COUNTER = 184, 48, 56, 24


class Layout(NamedTuple):
    """Places, in bytes from the beginning of the C++ object.

    Attributes:
        storage: in a tensor, its storage.
        notes: in a tensor, autograd's notes; 0 if there are none.
        dims: in a tensor, the number of axes; five sizes and five strides follow, where there are at most five axes.
        offset: in a tensor, its first element in the storage.
        dtype: in a tensor, the number of its dtype, in 16 bits.
        keys: in a tensor, what it is dispatched by: device, sparse or not, conjugated or not, …
        data: in a storage, the address of its memory; who frees that follows.
        grad: in autograd's notes, the tensor that is the gradient.
        versions: in a tensor, what it shares with its views beside the storage: the count of changes in place.
        counter: in that, the count, in 32 bits.
        plain: the keys of a plain tensor on the CPU.
        sparse: those of one of layout torch.sparse_coo.
        none: what stands for no gradient.
        freed: who frees a plain tensor's memory. Where it is somebody else, it may not be the tensor's alone.
        itemsizes: number of a dtype -> bytes of an element.
    """

    storage: int
    notes: int
    dims: int
    offset: int
    dtype: int
    keys: int
    data: int
    grad: int
    versions: int
    counter: int
    plain: int
    sparse: int
    none: int
    freed: int
    itemsizes: dict[int, int]


def find(dtypes: Sequence[torch.dtype]) -> Layout | None:
    """The layout of this build's tensors; None where it does not show.

    Args:
        dtypes: that are to be told apart.
    """
    memory = torch.zeros(4096)
    shapes = [(3,), (5, 7), (2, 3, 11), (3, 1, 2, 5), (2, 3, 2, 3, 5)]
    views = [
        memory.as_strided(shape, [13 + 3 * axis for axis in range(len(shape))], 101 + 10 * len(shape))
        for shape in shapes
    ]
    kinds = [torch.zeros(3, dtype=dtype) for dtype in dtypes]
    leaves = [torch.nn.Parameter(torch.zeros(size)) for size in (2, 3)]
    for leaf in leaves:
        leaf.grad = torch.zeros_like(leaf)
    twins = [torch.zeros(3) for _ in range(5)]  # which differ in how often they were changed
    for times, twin in enumerate(twins):
        for _ in range(3 + 2 * times):
            twin.zero_()
    plain = [*views, *kinds, *leaves, *twins]
    odd = [torch.zeros(3, dtype=torch.complex64).conj(), torch.zeros(3, dtype=torch.complex64).conj().imag]
    sparse = torch.zeros(3).to_sparse()
    odd += [torch.zeros(3, device="meta"), _inference(), sparse]

    def place(objects: Sequence[Any], size: int, fits: Callable[[int, Any, int], bool]) -> int | None:
        return next((at for at in range(0, size, 8) if all(fits(_body(o), o, at) for o in objects)), None)

    storage = place(plain, _TENSOR, lambda body, t, at: _word(body + at) == t.untyped_storage()._cdata)
    offset = place(views, _TENSOR, lambda body, t, at: _word(body + at) == t.storage_offset())
    dims = place(views, _TENSOR - 80, lambda body, t, at: _axes(body + at) == (t.shape, t.stride()))
    keys = [
        at
        for at in range(0, _TENSOR, 8)
        if len({_word(_body(t) + at) for t in plain}) == 1
        and all(_word(_body(t) + at) != _word(_body(plain[0]) + at) for t in odd)
    ]
    dtype = [
        at
        for at in range(0, _TENSOR, 2)
        if len({_half(_body(t) + at) for t in kinds}) == len(kinds)
        and all(_half(_body(t) + at) == _half(_body(kinds[dtypes.index(t.dtype)]) + at) for t in plain)
    ]
    if storage is None or offset is None or dims is None or len(keys) != 1 or len(dtype) != 1:
        return None
    data = place(
        plain, _STORAGE, lambda body, t, at: _word(_word(body + storage) + at) == t.untyped_storage().data_ptr()
    )
    pairs = [
        (notes, grad)
        for notes in range(0, _TENSOR, 8)
        if all(_word(_body(t) + notes) == 0 for t in kinds) and all(_word(_body(t) + notes) != 0 for t in leaves)
        for grad in range(0, _NOTES, 8)
        if all(_word(_word(_body(t) + notes) + grad) == _body(t.grad) for t in leaves)
    ]
    shared = [
        at
        for at in range(0, _TENSOR, 8)
        if len({_word(_body(t) + at) for t in twins}) == len(twins)
        and all(_word(_body(t) + at) == _word(_body(t.detach()) + at) for t in twins)
    ]  # so these are addresses, and not null
    versions = [
        (at, count)
        for at in shared
        for count in range(0, _COUNTER, 4)
        if all(_number(_word(_body(t) + at) + count) == t._version for t in twins)
    ]
    if data is None or len(pairs) != 1 or len(versions) != 1:
        return None
    freed = {_word(_word(_body(t) + storage) + data + 8) for t in plain}
    notes, grad = pairs[0]
    itemsizes = {_half(_body(t) + dtype[0]): t.itemsize for t in kinds}
    leaves[0].grad = leaves[1].grad = None
    none = {_word(_word(_body(t) + notes) + grad) for t in leaves}
    if len(none) != 1 or len(freed) != 1:
        return None
    places = storage, notes, dims, offset, dtype[0], keys[0], data, grad, *versions[0]
    plain_keys, sparse_keys = (_word(_body(t) + keys[0]) for t in (memory, sparse))
    return Layout(*places, plain_keys, sparse_keys, none.pop(), freed.pop(), itemsizes)


def _inference() -> Tensor:
    with torch.inference_mode():
        return torch.zeros(3)


def _body(tensor: Any) -> int:
    return tensor._cdata


def _word(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def _half(address: int) -> int:
    return ctypes.c_uint16.from_address(address).value


def _number(address: int) -> int:
    return ctypes.c_uint32.from_address(address).value


def _axes(address: int) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    dims = _word(address)
    if not 0 < dims <= 5:
        return None
    words = [_word(address + 8 + 8 * k) for k in range(10)]
    return tuple(words[:dims]), tuple(words[5 : 5 + dims])
