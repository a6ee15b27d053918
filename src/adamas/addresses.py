"""Compiled helpers that read objects and memory by address: where tensors lie, counts kept in 0-dimensional arrays.

Compiled like a kernel (`adamas.kernel.compiled`), so that a second process loads them from the cache. They are C
functions of integers and addresses: a call costs less than a microsecond, and touches little memory beside its own.
"""

import ctypes
from collections.abc import Callable
from functools import cache

from adamas.kernel import compiled

TEXT = '''
from numba import cfunc, njit
import numpy as np
from adamas.lowering.memory import *


@njit("int64(int64, int64[:], int64[:])", cache=CACHE)
def fingerprint(thing, api, tensor):
    """Describe a torch tensor into the DLTensor ``tensor``; its fingerprint, or -1 where it is no plain tensor."""
    kind = load_int64(thing + 8)  # Py_TYPE(thing)
    if kind != api[4] and kind != api[5]:
        return -1
    if call2(api[3], thing, tensor.ctypes.data) & 0xFFFFFFFF != 0:
        call1(api[1], 0)
        return -1
    # data, device, ndim | dtype, shape, strides, byte offset
    mark = tensor[1] * 0x6C8E9CF570932BD5 + tensor[2] * 0x2127599BF4325C37
    factor = elements = 1
    for d in range(tensor[2] & 0xFFFFFFFF):
        size = load_int64(tensor[3] + 8 * d)
        stride = 0 if size == 1 else load_int64(tensor[4] + 8 * d)
        factor *= 0x5851F42D4C957F2D
        mark += (size * 0x14057B7EF767814F + stride * 0x2545F4914F6CDD1D) * factor
        elements *= size
    if tensor[0] == 0 and elements != 0:  # its memory was freed
        return -1
    tensor[0] += tensor[5]
    return mark


# What follows the room for a DLTensor in the API table: the places of `adamas.torch.layout.Layout`, and the size of an
# element by the number of its dtype.
STORAGE, NOTES, DIMS, OFFSET, DTYPE, KEYS, DATA, GRAD = 20, 21, 22, 23, 24, 25, 26, 27
VERSIONS, COUNT, PLAIN, THIN, NONE, FREED, SIZES, ENTRIES = 28, 29, 30, 31, 32, 33, 34, 64


@njit("int64(int64, int64[:], int64[:])", cache=CACHE)
def glance(body, api, tensor):
    """As `fingerprint`, by the memory of the C++ tensor; -1 where that is not the memory of a plain one."""
    dims, number = load_int64(body + api[DIMS]), load_int64(body + api[DTYPE]) & 0xFFFF
    if load_int64(body + api[KEYS]) != api[PLAIN] or dims > 5 or number >= ENTRIES or api[SIZES + number] == 0:
        return -1
    storage = load_int64(body + api[STORAGE]) + api[DATA]
    if load_int64(storage + 8) != api[FREED]:
        return -1
    mark = (number * 8 + dims) * 0x6C8E9CF570932BD5
    factor = elements = 1
    for d in range(dims):
        size = load_int64(body + api[DIMS] + 8 + 8 * d)
        stride = 0 if size == 1 else load_int64(body + api[DIMS] + 48 + 8 * d)
        factor *= 0x5851F42D4C957F2D
        mark += (size * 0x14057B7EF767814F + stride * 0x2545F4914F6CDD1D) * factor
        elements *= size
    if load_int64(storage) == 0 and elements != 0:  # its memory was freed
        return -1
    tensor[0] = load_int64(storage) + load_int64(body + api[OFFSET]) * api[SIZES + number]
    return mark


SPARSE = -2


@njit("int64(int64, int64, int64[:], int64[:])", cache=CACHE)
def fingerprint_gradient(grad, last, api, tensor):
    """The same for a gradient, whose last fingerprint was ``last``: 0 for None, `SPARSE` for a sparse one.

    What is sparse is asked last, being rare, but first where it was so at the last step: that torch cannot describe
    it costs a thousand times more than to describe it."""
    if grad == api[8]:
        return 0
    mark = -1 if last == SPARSE else fingerprint(grad, api, tensor)
    kind = load_int64(grad + 8)
    if mark == -1 and (kind == api[4] or kind == api[5]):
        answer = call2(api[6], grad, api[10])
        call1(api[2], answer)
        if answer == api[11]:
            return SPARSE
        if last == SPARSE:
            return fingerprint(grad, api, tensor)
    return mark


AHEAD, HINTS = 8, 16


@njit("void(int64[:], int64)", cache=CACHE)
def ask(hints, i):
    """Ask for the memory that a parameter will need, by where it lay at the last step."""
    for k in range(HINTS * i, HINTS * i + HINTS):
        prefetch(hints[k])


@njit("void(int64[:], int64, int64[:], int64, int64, int64, int64)", cache=CACHE)
def remember(hints, i, api, param, body, notes, grad):
    """Note where a parameter's memory lies, for `ask`: object, tensor, storage, autograd's notes, count of changes,
    gradient."""
    k = HINTS * i
    hints[k], hints[k + 1], hints[k + 2], hints[k + 3] = param, body, body + 64, body + 128
    hints[k + 4], hints[k + 5], hints[k + 6] = load_int64(body + api[STORAGE]), notes, load_int64(body + api[VERSIONS])
    hints[k + 7], hints[k + 8], hints[k + 9] = grad, grad + 64, grad + 128
    hints[k + 10] = load_int64(grad + api[STORAGE])


# The words at the place of an `adamas.arrays.Sight`.
PARAMS, FACES, GRADIENTS, HINTED, CHANGES, SCALARS, ROWS, COLUMNS, COUNTS, WORDS = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9


@njit("int64(int64[:])", cache=CACHE)
def count(sight):
    """Read the counts and scalar states, with one step more; 2, which is `adamas.arrays.TOGETHER`, where they are the
    same of all parameters, else 1."""
    n, size = sight[COLUMNS], sight[ROWS] * sight[COLUMNS]
    places, counts = int64_array(sight[SCALARS], size), float64_array(sight[COUNTS], size)
    same = 2
    for i in range(size):
        counts[i] = load_float64(places[i]) + (1.0 if i < n else 0.0)
        if counts[i] != counts[i - i % n]:
            same = 1
    return same


@cfunc("int64(int64)", cache=CACHE)
def advance(sight):
    """`count`, for a front that looks at its arrays itself."""
    return count(int64_array(sight, WORDS))


# All of them hold the GIL: these read Python's objects and call its C API.


@cfunc("int64(int64, int64, int64)", cache=CACHE)
def look(params, api_, sight_):
    """Bring faces[:, i] up to date: identity, address and fingerprint of a parameter, fingerprint of its gradient;
    and gradients[i], the gradient's address; and versions[i], where the parameter's changes are counted, 0 where that
    is not known or it will not be changed. Returns 0 where any face has changed, else what `count` says."""
    api, tensor = int64_array(api_, SIZES + ENTRIES), int64_array(api_ + 96, 8)
    sight = int64_array(sight_, WORDS)
    n = sight[PARAMS]
    faces, gradients = int64_array(sight[FACES], 4 * n), int64_array(sight[GRADIENTS], n)
    hints, versions = int64_array(sight[HINTED], HINTS * n), int64_array(sight[CHANGES], n)
    for i in range(min(AHEAD, n)):
        ask(hints, i)
    changed = 0
    for i in range(n):
        if i + AHEAD < n:
            ask(hints, i + AHEAD)
        param = call2(api[0], params, i)
        kind = load_int64(param + 8)
        mark = grad_mark = -1
        versions[i] = 0
        if api[9] and (kind == api[4] or kind == api[5]):
            body = load_int64(param + 16)
            mark = glance(body, api, tensor)
            address = tensor[0]
            notes = load_int64(body + api[NOTES])
            grad = load_int64(notes + api[GRAD]) if notes != 0 else 0
            if notes == 0 or grad == api[NONE]:
                grad_mark = 0
            else:
                sparse = load_int64(grad + api[KEYS]) == api[THIN]
                grad_mark = SPARSE if sparse else glance(grad, api, tensor)
                if mark != -1 and grad_mark != -1:
                    remember(hints, i, api, param, body, notes, grad)
                    counter = load_int64(body + api[VERSIONS])
                    versions[i] = counter + api[COUNT] if counter != 0 else 0
        if mark == -1 or grad_mark == -1:
            mark = fingerprint(param, api, tensor)
            address = tensor[0] if mark != -1 else 0
            grad = call2(api[6], param, api[7])
            grad_mark = fingerprint_gradient(grad, faces[3 * n + i], api, tensor)
            call1(api[2], grad)
        gradients[i] = 0 if grad_mark == -1 or grad_mark == 0 or grad_mark == SPARSE else tensor[0]
        if (
            faces[i] != param or faces[n + i] != address
            or faces[2 * n + i] != mark or faces[3 * n + i] != grad_mark
        ):
            faces[i], faces[n + i], faces[2 * n + i], faces[3 * n + i] = param, address, mark, grad_mark
            changed += 1
    return 0 if changed else count(sight)


@cfunc("int64(int64)", cache=CACHE)
def settle(sight_):
    """Write the counts and scalar states to where they belong, and count one change more of each parameter that tells
    where its changes are counted; returns how many do.

    The count is not an atomic one: whoever counts at the same time has changed the parameter in the midst of a step."""
    sight = int64_array(sight_, WORDS)
    size = sight[ROWS] * sight[COLUMNS]
    places, counts = int64_array(sight[SCALARS], size), float64_array(sight[COUNTS], size)
    for i in range(size):
        store_float64(places[i], counts[i])
    versions, told = int64_array(sight[CHANGES], sight[PARAMS]), 0
    for i in range(versions.size):
        if versions[i] != 0:
            int32_array(versions[i], 1)[0] += 1
            told += 1
    return told


@cfunc("int64(int64, int64, int64, int64)", cache=CACHE)
def describe(objects, n, api_, out_):
    """Fill out[:, i]: address and fingerprint of each item of a list."""
    api, tensor, out = int64_array(api_, SIZES + ENTRIES), int64_array(api_ + 96, 8), int64_array(out_, 2 * n)
    for i in range(n):
        thing = call2(api[0], objects, i)
        kind = load_int64(thing + 8)
        mark = -1
        if api[9] and (kind == api[4] or kind == api[5]):
            mark = glance(load_int64(thing + 16), api, tensor)
        if mark == -1:
            mark = fingerprint(thing, api, tensor)
        out[i], out[n + i] = tensor[0] if mark != -1 else 0, mark
    return 0


@cfunc("int64(int64, int64, int64)", cache=CACHE)
def total(values, n, sum_):
    """Add up n float64 numbers."""
    numbers = float64_array(values, n)
    whole = 0.0
    for i in range(n):
        whole += numbers[i]
    store_float64(sum_, whole)
    return 0


@njit("void(int64, int64, int64, int64)", cache=CACHE)
def add(values, total, size, bytes_):
    """Add ``size`` bytes of numbers of ``bytes_`` bytes each to those at ``total``."""
    if bytes_ == 4:
        narrow, narrow_total = float32_array(values, size // 4), float32_array(total, size // 4)
        for i in range(narrow.size):
            narrow_total[i] += narrow[i]
    else:
        wide, wide_total = float64_array(values, size // 8), float64_array(total, size // 8)
        for i in range(wide.size):
            wide_total[i] += wide[i]


@njit("void(int64, int64, int64)", cache=CACHE)
def copy(source, target, size):
    words, other = int16_array(source, size // 2), int16_array(target, size // 2)
    for i in range(words.size):
        other[i] = words[i]


@njit("void(int64[:], int64[:], int64[:], int64[:], int64, int64)", cache=CACHE)
def sort(rows, order, other_rows, other_order, n, limit):
    """Put rows below ``limit`` in order, and with them the places where they stood; equal ones stay as they are.

    By their digits of 8 bits, from the last on; the others are room to work in."""
    digits = 1
    while limit > 1 << (8 * digits):
        digits += 1
    digits += digits % 2  # after an even number of rounds all is back where it was
    begins = np.empty(257, np.int64)
    for digit in range(digits):
        begins[:] = 0
        for k in range(n):
            begins[1 + (rows[k] >> (8 * digit) & 255)] += 1
        for value in range(256):
            begins[value + 1] += begins[value]
        for k in range(n):
            value = rows[k] >> (8 * digit) & 255
            other_rows[begins[value]], other_order[begins[value]] = rows[k], order[k]
            begins[value] += 1
        rows, order, other_rows, other_order = other_rows, other_order, rows, order


@cfunc("int64(int64, int64, int64, int64, int64)", cache=CACHE)
def touch(job_, named_, n, disorderly, values):
    """Say where each row lies that a sparse gradient touches, in the gradient, its parameter and its states.

    ``job``: how many arrays there are beside the gradient, how many rows in each, bytes of a row of the gradient and
    of a number in it, a place for sums, addresses [1 + arrays, capacity] and numbers of rows [capacity] to fill, room
    for an order [4, capacity], the capacity; then the address of each array, and its bytes from row to row. Where rows
    are ``disorderly`` they are put in order, and values of the same one are added up as they stand. Returns how many
    rows there are; -1 where one is beyond the limit, -2 where they should ascend and do not."""
    job = int64_array(job_, 9)
    arrays, limit, size, bytes_, sums, capacity = job[0], job[1], job[2], job[3], job[4], job[8]
    places, steps = int64_array(job_ + 72, arrays), int64_array(job_ + 72 + 8 * arrays, arrays)
    addresses, found = int64_array(job[5], (1 + arrays) * capacity), int64_array(job[6], capacity)
    named, room = int64_array(named_, n), int64_array(job[7], 4 * capacity)
    rows, order = room[:capacity], room[capacity:2 * capacity]
    for k in range(n):
        if named[k] < 0 or named[k] >= limit:
            return -1
        rows[k], order[k] = named[k], k
    if disorderly:
        sort(rows, order, room[2 * capacity:3 * capacity], room[3 * capacity:], n, limit)
    count, last = 0, -1
    for k in range(n):
        row, value = rows[k], values + order[k] * size
        if row == last and disorderly:
            total = sums + (count - 1) * size
            if addresses[count - 1] != total:
                copy(addresses[count - 1], total, size)
                addresses[count - 1] = total
            add(value, total, size, bytes_)
            continue
        if row <= last:
            return -2
        addresses[count], found[count], last = value, row, row
        for a in range(arrays):
            addresses[(1 + a) * capacity + count] = places[a] + row * steps[a]
        count += 1
    return count
'''


@cache
def helper(name: str, operands: int) -> Callable[..., int]:
    """A helper as a C function of so many 64-bit integers."""
    prototype = ctypes.PYFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * operands)
    return prototype(getattr(compiled(TEXT, "addresses"), name).address)
