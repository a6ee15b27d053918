"""How arrays lie in memory, and what a step asks of a front's kind of array: all in which the fronts differ."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from adamas.engine import Crew, Engine, Ints, place
from adamas.errors import InputError, InputTypeError
from adamas.kernel import Kernel


class Form(NamedTuple):
    """How an array lies in memory.

    Attributes:
        dtype: of its elements; "float32" for complex64, whose elements are pairs.
        lanes: numbers per element: 2 where complex.
        shape: in elements.
        strides: in elements.
        readable: whether its memory can be worked on as it is: aligned, no lazy conjugation, …
        writable: whether it may be changed.
        device: whose memory it is.
    """

    dtype: str
    lanes: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    readable: bool
    writable: bool = True
    device: str = "cpu"

    def open_to(self, other: "Form") -> bool:
        """Whether a kernel that works on the other array can work on this one as it is."""
        return self.readable and self.device == other.device

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return math.prod(self.shape) * self.lanes

    @property
    def contiguous(self) -> tuple[int, ...]:
        """The strides that the same shape would have in C order."""
        strides, size = [], 1
        for length in reversed(self.shape):
            strides.append(size)
            size *= max(length, 1)
        return tuple(reversed(strides))

    @property
    def dense(self) -> bool:
        """Whether the elements fill their memory, each once, in whatever order of axes."""
        size = 1
        for stride, length in sorted(zip(self.strides, self.shape, strict=True)):
            if length == 0:
                return True
            if length != 1:
                if stride != size:
                    return False
                size *= length
        return True

    def lies(self, strides: tuple[int, ...]) -> bool:
        """Whether these are its strides, along the axes where that means anything."""
        return all(a == b or n == 1 for a, b, n in zip(self.strides, strides, self.shape, strict=True))

    @property
    def overlaps(self) -> bool:
        """Whether elements share memory."""
        axes = sorted((abs(stride), n) for stride, n in zip(self.strides, self.shape, strict=True) if n != 1)
        if 0 in self.shape:
            return False
        reach = 0
        for stride, length in axes:
            if stride <= reach:  # not nested: count the places
                places = sum(np.ix_(*(np.arange(n) * s for s, n in axes)), start=np.zeros((), np.int64))
                return len(np.unique(places)) < places.size
            reach += stride * (length - 1)
        return False

    @property
    def bytes(self) -> tuple[int, int]:
        """The first byte of the array's memory and the byte after its last, seen from its first element."""
        if 0 in self.shape:
            return 0, 0
        ends = [stride * (length - 1) for stride, length in zip(self.strides, self.shape, strict=True)]
        low, high = sum(end for end in ends if end < 0), sum(end for end in ends if end > 0)
        return low * self.itemsize, (high + 1) * self.itemsize

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return _BYTES[self.dtype] * self.lanes


_BYTES = {"uint8": 1, "int16": 2, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


def sharing(forms: Sequence[Form], described: Ints, written: int | None = None) -> tuple[int, int] | None:
    """Two of these arrays that share memory, by their positions; None where all lie apart.

    Args:
        forms: how they lie.
        described: their addresses and fingerprints, from `Arrays.describe`; those without an address are passed over.
        written: how many of them are written to; the others, after them, may share memory among themselves.
    """
    written = len(forms) if written is None else written
    bounds: list[tuple[int, int, int]] = []
    for k, (form, address, mark) in enumerate(zip(forms, *described.tolist(), strict=True)):
        low, high = form.bytes
        if mark != -1 and low != high:
            bounds.append((address + low, address + high, k))
    bounds.sort()
    near: list[tuple[int, int, int]] = []  # those that reach beyond the start of the next
    for low, high, k in bounds:
        near = [other for other in near if other[1] > low]
        for *_, other in near:
            if min(k, other) >= written:
                continue
            one, two = (_view(forms[i], int(described[0, i])) for i in (other, k))
            if np.shares_memory(one, two):
                return min(k, other), max(k, other)
        near.append((low, high, k))
    return None


def _view(form: Form, address: int) -> NDArray[np.void]:
    """The array's memory as NumPy would see it; nothing in it is read."""
    strides = tuple(stride * form.itemsize for stride in form.strides)
    interface = {"data": (address, True), "shape": form.shape, "strides": strides, "typestr": f"|V{form.itemsize}"}
    return np.asarray(SimpleNamespace(__array_interface__={**interface, "version": 3}))


@dataclass(frozen=True, eq=False)
class Rows:
    """A sparse gradient: 0 but for some rows of its parameter. A row is what one index of the first axis holds.

    Attributes:
        rows: integers [k], which rows; where one is named more than once, its values are summed.
        values: [k, ...], what stands in them.
    """

    rows: Any
    values: Any


class Named(NamedTuple):
    """A sparse gradient, as a step takes it.

    Attributes:
        rows: int64, contiguous: which rows; the caller sees whether the parameter has them.
        number: how many are named.
        values: [number, ...], what stands in them.
        ascending: whether each is named once and in order, by their own account.
    """

    rows: Any
    number: int
    values: Any
    ascending: bool


#: The fingerprint of every sparse gradient: it is looked at whole at each step.
SPARSE = -2


#: What `Arrays.look` says where nothing has changed but the counts, which are the same of all parameters.
TOGETHER = 2


class Sight:
    """What a step sees of its parameters.

    Attributes:
        faces: [4, params]: identity, address and fingerprint of each parameter, fingerprint of its gradient. A
            fingerprint stands for device, dtype, shape and strides; it is 0 where there is no gradient, -1 where a
            kernel could not use the address, `SPARSE` for a sparse gradient.
        gradients: [params]: the gradients' addresses, which may change from step to step.
        hints: [params, 16]: where memory lay at the last step, to ask for it early; see `adamas.addresses`.
        versions: [params]: where the counts of a parameter's changes lie, 0 where they are not to be read in memory.
        scalars: [scalars, active]: where the counts and scalar states lie of the parameters that have a gradient.
        counts: [scalars, active], float64: what they were, with one step more.
        first: those of the first parameter; of all, where all have come equally far.
        place: where the sizes and addresses of all these lie.
    """

    def __init__(self, count: int, scalars: Ints, gradients: Ints | None = None) -> None:
        self.faces = np.zeros((4, count), np.int64)
        self.gradients = np.zeros(count, np.int64) if gradients is None else gradients
        self.hints = np.zeros((count, 16), np.int64)
        self.versions = np.zeros(count, np.int64)
        self.scalars = np.ascontiguousarray(scalars)
        self.counts = np.zeros(scalars.shape)
        self.first = self.counts[:, :1].reshape(-1).data
        lying = (self.faces, self.gradients, self.hints, self.versions, self.scalars)
        self._words = np.array([count, *map(place, lying), *scalars.shape, place(self.counts)], np.int64)
        self.place = place(self._words)


class Arrays(Protocol):
    """What a front's kind of array can do; the only thing that differs between fronts in a step."""

    def look(self, params: Sequence[Any], grads: Sequence[Any], sight: Sight) -> int:
        """Bring a sight of the parameters (a list) up to date.

        Returns:
            0 where it has changed for any of them; else `TOGETHER` where all have come equally far, 1 where not.
        """
        ...

    def describe(self, arrays: Sequence[Any]) -> Ints:
        """[2, arrays]: address and fingerprint of each array."""
        ...

    def pin(self, arrays: Sequence[Any]) -> object:
        """Something that makes looking fast while it is held."""
        ...

    def form(self, array: Any, packed: bool = False) -> Form:
        """How the array lies.

        Args:
            array: of floating-point or complex numbers.
            packed: whether it may also be of the integers that a kernel packs moments into.

        Raises:
            InputError: where it is no array of floating-point or complex numbers, or its memory is gone.
        """
        ...

    def is_sparse(self, grad: Any) -> bool:
        """Whether this is a sparse gradient."""
        ...

    def rows(self, grad: Any, clear: bool) -> Named:
        """A sparse gradient's rows.

        Args:
            grad: the gradient.
            clear: whether `clear` will be asked for.

        Raises:
            InputError: where there are no rows, or they cannot be cleared.
        """
        ...

    def clear(self, grad: Any) -> None:
        """Leave zeros in a sparse gradient."""
        ...

    def take(self, array: Any, rows: Ints) -> Any:
        """A copy of some rows."""
        ...

    def put(self, source: Any, array: Any, rows: Ints) -> None:
        """Copy to these rows, in whatever layout and precision."""
        ...

    def engine(self, param: Any, group: Mapping[str, Any]) -> Engine | None:
        """Who runs this parameter's kernels; None where its step is computed eagerly, by the front's own library."""
        ...

    def zeros(self, param: Any, dtype: str = "") -> Any:
        """A new state of the parameter's shape and layout, of this dtype or as wide as its states are."""
        ...

    def words(self, param: Any, count: int) -> Any:
        """A new array of so many int16, where the parameter is."""
        ...

    def adopted(self, array: Any, param: Any, narrow: bool) -> Any:
        """A copy of somebody's state, laid out like the parameter, and as wide as its states, if not ``narrow``."""
        ...

    def scalars(self, value: float, count: int, device: str = "cpu") -> Sequence[Any]:
        """New 0-dimensional float64 arrays on this device, side by side in memory."""
        ...

    def is_scalar(self, value: Any, device: str = "cpu") -> bool:
        """Whether this is a 0-dimensional float64 array on this device."""
        ...

    def is_zero(self, array: Any) -> bool:
        """Whether every element is 0."""
        ...

    def stage(self, form: Form, strides: tuple[int, ...]) -> Any:
        """An uninitialised array of the form's dtype and shape, with these strides, on its device."""
        ...

    def copy(self, source: Any, target: Any) -> None:
        """Copy the elements, in whatever layout and precision."""
        ...

    def call(
        self,
        kernel: Kernel,
        arrays: Sequence[Any],
        arguments: Sequence[Any],
        group: Mapping[str, Any],
        measured: bool,
    ) -> tuple[Sequence[Any], Sequence[float], Sequence[float]]:
        """An eager step: gradient, parameter, states → new parameter and states, new scalars, `adamas.tail.MEASURES`.

        Where it is measured; else there are none. NaN stands for what only kernels count.
        """
        ...

    def store(self, results: Sequence[Any], arrays: Sequence[Any], group: Mapping[str, Any]) -> None:
        """Write what `call` has computed into the parameter and its states."""
        ...

    def squares(self, array: Any) -> float:
        """Σg² of a gradient whose step is eager, in float64; of one that is sharded, over all shards."""
        ...

    def settle(self, params: Sequence[Any], active: Ints, sight: Sight) -> None:
        """Write the counts, and let it be known that the memory of the active parameters was written to."""
        ...

    @property
    def crew(self) -> Crew:
        """The threads that a step may use."""
        ...


def check_lanes(where: str, grad: Form, param: Form) -> None:
    """Refuse a complex gradient of a real parameter, and the other way round."""
    if grad.lanes != param.lanes:
        kinds = ("complex", "real") if grad.lanes > 1 else ("real", "complex")
        raise InputTypeError(f"The gradient of {where} is {kinds[0]}, the parameter is {kinds[1]}: they must agree.")


def refuse_unaddressed(fingerprints: Ints) -> None:
    """The last line of defence: nothing without an address goes to a kernel."""
    if (fingerprints == -1).any():
        raise InputError(
            "An array has no address that a kernel could use: give plain arrays, contiguous copies of these."
        )
