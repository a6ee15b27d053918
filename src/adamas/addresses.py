"""Compiled helpers that read objects and memory by address: where tensors lie, counts kept in 0-dimensional arrays.

Compiled like a kernel (`adamas.kernel.compiled`), so that a second process loads them from the cache.
"""

TEXT = '''
from numba import njit
from adamas.lowering.numba import call1, call2, load_float64, load_int64, store_float64
import numpy as np


@njit("int64(int64, int64[::1], int64[::1])", cache=CACHE)
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
    factor = 1
    for d in range(tensor[2] & 0xFFFFFFFF):
        size = load_int64(tensor[3] + 8 * d)
        stride = 0 if size == 1 else load_int64(tensor[4] + 8 * d)
        factor *= 0x5851F42D4C957F2D
        mark += (size * 0x14057B7EF767814F + stride * 0x2545F4914F6CDD1D) * factor
    tensor[0] += tensor[5]
    return mark


# These two hold the GIL: they call Python's C API.


@njit("int64(int64, int64, int64[::1], int64[:, ::1], int64[::1])", cache=CACHE)
def look(params, n, api, faces, gradients):
    """Bring faces[:, i] up to date: identity, address and fingerprint of a parameter, fingerprint of its gradient;
    and gradients[i], the gradient's address. Returns how many parameters have changed their face."""
    tensor = np.zeros(8, np.int64)
    changed = 0
    for i in range(n):
        param = call2(api[0], params, i)
        mark = fingerprint(param, api, tensor)
        address = tensor[0] if mark != -1 else 0
        grad = call2(api[6], param, api[7])
        grad_mark = 0 if grad == api[8] else fingerprint(grad, api, tensor)
        gradients[i] = tensor[0] if grad_mark != -1 else 0
        call1(api[2], grad)
        if faces[0, i] != param or faces[1, i] != address or faces[2, i] != mark or faces[3, i] != grad_mark:
            faces[0, i], faces[1, i], faces[2, i], faces[3, i] = param, address, mark, grad_mark
            changed += 1
    return changed


@njit("int64(int64, int64, int64[::1], int64[:, ::1])", cache=CACHE)
def describe(objects, n, api, out):
    """Fill out[:, i]: address and fingerprint of each item of a list."""
    tensor = np.zeros(8, np.int64)
    for i in range(n):
        out[1, i] = fingerprint(call2(api[0], objects, i), api, tensor)
        out[0, i] = tensor[0] if out[1, i] != -1 else 0
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
