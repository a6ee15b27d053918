"""More than 2³¹ elements in a tensor, in memory that is mapped and hardly touched; and what a step allocates."""

import mmap
import tracemalloc

import numpy as np
import pytest
import torch

import adamas
import adamas.numpy
import adamas.torch
from adamas import engine
from adamas.kernel import select
from adamas.lowering.storage import BLOCK
from adamas.numpy import Rows

MANY = 2**31 + 3 * engine.SPAN + 77


def mapped(dtype: str, count: int) -> np.ndarray:
    """Zeros that take no memory until they are written."""
    size = count * np.dtype(dtype).itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    return np.frombuffer(mmap.mmap(-1, size, flags=flags), dtype)


@pytest.mark.parametrize("kinds", [(), (("exp_avg", "int8_signed"), ("exp_avg_sq", "int8_unsigned"))])
def test_a_kernel_reaches_beyond_2_to_the_31(kinds: tuple) -> None:
    adam = adamas.rules()["adam"]
    kernel = select(adam, adam.defaults)
    moments = [mapped("u1" if kinds else "f4", MANY) for _ in range(2)]
    arrays = [mapped("f4", MANY), mapped("f4", MANY), *moments]
    arrays += [mapped("i2", -(-MANY // BLOCK)) for _ in kinds]
    arrays[0][-5:], arrays[0][72:77] = 1, 7  # where 32 bits would lead: far before
    addresses = np.array([[array.ctypes.data] for array in arrays])
    table = engine.Table(addresses, np.array([MANY]), len(kernel.program.coefficients), "float32", BLOCK)
    assert table.spans[-1, 1] + table.spans[-1, 2] == MANY == table.elements == table.spans[:, 2].sum()
    assert (np.diff(table.spans[:, 1]) == table.spans[:-1, 2]).all() and table.spans[-1, 1] > 2**31
    given = {**adam.defaults, "tiny": 2.0**-126}
    line, _ = kernel.host(1.0, *(given[name] for name in kernel.program.hyper))
    table.use([line], None, [1])
    task = engine.Task(kernel.address("float32", False, kinds), table)
    task.begin()
    task._words[0], task._words[2] = len(table.spans) - 1, 1  # the last span alone: all others stay untouched
    engine.FUNCTION(task._kernel)(task._place)
    theta = arrays[1]
    assert np.allclose(theta[-5:], -1e-3) and not theta[-300:-5].any() and not theta[:1000].any()
    assert moments[0][-5:].all() and not moments[0][:1000].any()


def test_rows_beyond_2_to_the_31() -> None:
    rows, width = 2**25 + 5, 64
    table = mapped("f4", rows * width).reshape(rows, width)
    opt = adamas.numpy.SGD([table], lr=2.0)
    opt.step([Rows(np.array([3, rows - 1]), np.full((2, width), 0.5, np.float32))])
    assert np.allclose(table[[3, rows - 1]], -1) and not table[[0, 4, rows - 2]].any()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"clip_grad_norm": 1.0, "ema_decay": 0.99, "zero_grad": True},
        {"telemetry": True},
        {"state_dtype": "int8"},
        {"state_dtype": "bfloat16"},
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_makes_no_temporary_of_a_parameters_size(options: dict, dtype: torch.dtype) -> None:
    theta = torch.zeros(1 << 20, dtype=dtype)
    opt = adamas.torch.AdamW([theta], **options)
    theta.grad = torch.ones_like(theta)
    opt.step()  # states are made
    activities = [torch.profiler.ProfilerActivity.CPU]
    tracemalloc.start()
    try:
        with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
            opt.step()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    largest = max((event.self_cpu_memory_usage for event in profile.events()), default=0)
    assert largest < theta.nbytes / 8 and peak < theta.nbytes / 4


def test_the_peak_of_a_process_does_not_move() -> None:
    """Whatever allocates, and however: by what the system has given out."""
    with open("/proc/self/statm") as file:
        if not file.read():
            pytest.skip("the system does not tell")
    theta = torch.zeros(1 << 24)
    opt = adamas.torch.AdamW([theta], clip_grad_norm=1.0, ema_decay=0.99, state_dtype="int8", telemetry=True)
    theta.grad = torch.ones_like(theta)
    for _ in range(2):
        opt.step()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    before = _resident("VmRSS")
    opt.step()
    assert _resident("VmHWM") - before < theta.nbytes / 8


def _resident(what: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(what))
