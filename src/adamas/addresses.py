"""Compiled helpers that read objects and memory by address: descriptions of tensors, counts kept in 0-dim arrays.

Compiled like a kernel (`adamas.kernel.compiled`), so that a second process loads them from the cache.
"""

TEXT = '''
from numba import njit
from adamas.lowering.numba import call1, call2, load_float64, load_int64, store_float64
import numpy as np


@njit("int64(int64, int64, int64[::1], int64[:, ::1])", cache=CACHE)
def describe(objects, n, api, out):
    """Fill out[:, i] with address, fingerprint of device, dtype, shape and strides, and object of list item i.

    None leaves zeros; what cannot be described leaves the fingerprint -1. Holds the GIL: it calls Python's C API.
    """
    item, clear, to_dlpack, tensor, parameter, none = api
    scratch = np.zeros(8, np.int64)  # a DLTensor: data, device, ndim | dtype, shape, strides, byte offset
    for i in range(n):
        thing = call2(item, objects, i)
        out[2, i] = thing
        if thing == none:
            out[0, i] = 0
            out[1, i] = 0
            continue
        kind = load_int64(thing + 8)  # Py_TYPE(thing)
        if kind != tensor and kind != parameter:
            out[0, i] = 0
            out[1, i] = -1
            continue
        if call2(to_dlpack, thing, scratch.ctypes.data) & 0xFFFFFFFF != 0:
            call1(clear, 0)
            out[0, i] = 0
            out[1, i] = -1
            continue
        mark = scratch[1] * 0x6C8E9CF570932BD5 + scratch[2] * 0x2127599BF4325C37
        factor = 1
        for d in range(scratch[2] & 0xFFFFFFFF):
            size = load_int64(scratch[3] + 8 * d)
            stride = 0 if size == 1 else load_int64(scratch[4] + 8 * d)
            factor *= 0x5851F42D4C957F2D
            mark += (size * 0x14057B7EF767814F + stride * 0x2545F4914F6CDD1D) * factor
        out[0, i] = scratch[0] + scratch[5]
        out[1, i] = mark
    return 0


@njit("void(int64[:], float64[::1])", cache=CACHE)
def gather(addresses, values):
    for i in range(addresses.size):
        values[i] = load_float64(addresses[i])


@njit("void(int64[:], float64[::1])", cache=CACHE)
def scatter(addresses, values):
    for i in range(addresses.size):
        store_float64(addresses[i], values[i])
'''
