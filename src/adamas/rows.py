"""Sparse gradients: the rows that one touches are to a kernel what tensors are elsewhere."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from adamas.addresses import helper
from adamas.arrays import Arrays, Form, Named, check_lanes, refuse_unaddressed
from adamas.engine import Ints, Table, place
from adamas.errors import InputError


def read(arrays: Arrays, where: str, grad: Any, clear: bool) -> Named:
    """What a sparse gradient consists of.

    Raises:
        InputError: as `Arrays.rows` does, with the parameter's name.
    """
    try:
        return arrays.rows(grad, clear)
    except InputError as error:
        raise type(error)(f"The gradient of {where} {error}") from None


def check(arrays: Arrays, where: str, values: Any, param: Form) -> Form:
    """How a sparse gradient's values lie.

    Raises:
        InputError: where they do not go together with the parameter.
    """
    try:
        form = arrays.form(values)
    except InputError as error:
        raise type(error)(f"The gradient of {where} {error}") from None
    if not param.shape or form.shape[1:] != param.shape[1:]:
        raise InputError(
            f"The gradient of {where} has rows of shape {form.shape[1:]}, the parameter has shape {param.shape}: "
            "they must agree in all axes but the first."
        )
    check_lanes(where, form, param)
    return form


class TouchedRows:
    """A parameter with a sparse gradient, and the table of the rows that it touches.

    Attributes:
        table: of these rows; another one where there are more of them than ever before.
    """

    def __init__(self, arrays: Arrays, where: str, param: Form, held: Sequence[Any], dtype: str, width: int) -> None:
        """
        Args:
            arrays: the front's kind of array.
            where: the parameter's name, for errors.
            param: how it lies.
            held: itself and its states.
            dtype: that the kernel computes in.
            width: how many coefficients it takes.
        """
        self._arrays, self._where, self._param, self._held = arrays, where, param, held
        self._line = _in_line(dtype, param.lanes, param.shape[1:])
        self._width = width
        forms = [arrays.form(array) for array in held]
        described = arrays.describe(held)
        # Those whose rows a kernel cannot work on in place, and the copies of the rows that a gradient touches.
        self._beside = [k for k, form in enumerate(forms) if not self._plain(form)]
        self._stages: list[Any] = []
        refuse_unaddressed(np.delete(described[1], self._beside))
        self._steps = np.concatenate([described[0], [form.strides[0] * form.itemsize for form in forms]])
        self._values: Any = None
        self._mark = -1  # the fingerprint of values that have been looked at
        self._in_place = False  # whether they can be read where they lie
        self._touch = helper("touch", 5)
        self._allow(0)

    def _allow(self, capacity: int) -> None:
        """Make room for so many rows."""
        line = self._line
        self.table = Table(
            np.zeros((1 + len(self._held), capacity), np.int64),
            np.full(capacity, line.size, np.int64),
            self._width,
            line.dtype,
            whole=False,
        )
        self._sums = np.empty((capacity, line.size), line.dtype)
        self._found = np.empty(capacity, np.int64)
        self._order = np.empty((4, capacity), np.int64)
        places = (place(array) for array in (self._sums, self.table.addresses, self._found, self._order))
        size, number = line.size * line.itemsize // line.lanes, line.itemsize // line.lanes
        job = len(self._held), self._param.shape[0], size, number, *places, capacity, *self._steps
        self._job = np.array(job, np.int64)
        self._job_place = place(self._job)

    def lay_out(self, grad: Any, clear: bool) -> None:
        """Fill the table with the rows that a gradient touches, and copy those that cannot be worked on in place.

        Args:
            grad: the gradient.
            clear: whether it will be cleared.

        Raises:
            InputError: where it does not go together with the parameter.
        """
        arrays = self._arrays
        given = read(arrays, self._where, grad, clear)
        values = given.values
        (rows, address), (_, mark) = arrays.describe([given.rows, values]).tolist()
        if mark in (-1, 0) or mark != self._mark:
            form = check(arrays, self._where, values, self._param)
            self._in_place = self._plain(form) and form.lies(form.contiguous)
            self._mark = mark
        if not self._in_place:
            self._values = self._stage(given.number)
            arrays.copy(values, self._values)
            ((address,),) = arrays.describe([self._values])[:1].tolist()
        if given.number > self.table.addresses.shape[1]:
            self._allow(max(given.number, 2 * self.table.addresses.shape[1]))
        count = self._touch(self._job_place, rows, given.number, not given.ascending, address)
        if count < 0:
            raise self._wrong(np.asarray(given.rows).reshape(-1), beyond=count == -1)
        self.table.limit(count)
        self._stages = [self._stage(count) for _ in self._beside]
        for k, stage in zip(self._beside, self._stages, strict=True):
            arrays.copy(arrays.take(self._held[k], self._found[:count]), stage)
            (first,) = arrays.describe([stage])[0]
            self.table.addresses[1 + k, :count] = first + np.arange(count) * int(self._job[2])

    def put_back(self) -> None:
        """Copy the rows that were worked on beside their arrays to where they belong."""
        for k, stage in zip(self._beside, self._stages, strict=True):
            self._arrays.put(stage, self._held[k], self._found[: len(stage)])

    def drop(self) -> None:
        """Forget the copies."""
        self._values, self._stages = None, []

    def _stage(self, count: int) -> Any:
        form = _in_line(self._line.dtype, self._line.lanes, (count, *self._line.shape))
        return self._arrays.stage(form, form.strides)

    def _plain(self, form: Form) -> bool:
        """Whether a kernel can work on each row in place."""
        row = form._replace(shape=form.shape[1:], strides=form.strides[1:])
        same = form.dtype == self._line.dtype and form.lanes == self._line.lanes
        return form.open_to(self._line) and same and row.lies(row.contiguous)

    def _wrong(self, rows: Ints, beyond: bool) -> InputError:
        if not beyond:
            return InputError(
                f"The gradient of {self._where} is marked as coalesced and is not: its rows must ascend; leave the "
                "mark out."
            )
        last = self._param.shape[0] - 1
        wrong = rows[(rows < 0) | (rows > last)][0]
        return InputError(f"The gradient of {self._where} has a row {wrong}: the parameter has the rows 0 to {last}.")


def _in_line(dtype: str, lanes: int, shape: tuple[int, ...]) -> Form:
    form = Form(dtype, lanes, shape, (), readable=True)
    return form._replace(strides=form.contiguous)
