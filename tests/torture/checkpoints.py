"""Checkpoints under kills, flipped bits, cuts and full disks."""

import errno
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np

from adamas import checkpoint
from adamas.errors import InputError
from tests.torture.tally import Outcome


def state(step: int, size: int = 50) -> dict[str, Any]:
    """What belongs to a step, and to no other."""
    rng = np.random.default_rng(step)
    return {
        "step": step,
        "weights": rng.normal(size=size),
        "moments": [rng.normal(size=size).astype("f4"), rng.normal(size=(2, 3)) + 1j],
        "mask": rng.integers(0, 2, 7) > 0,
        "count": np.array(rng.integers(1 << 40)),
        "rate": {1: rng.random(), "none": None},
    }


def same(found: Any, expected: Any) -> bool:
    """Whether these are the same, bit by bit."""
    match expected:
        case dict():
            return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
        case list():
            return len(found) == len(expected) and all(map(same, found, expected))
        case np.ndarray():
            return (found.dtype, found.shape, found.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())
        case _:
            return type(found) is type(expected) and found == expected


# -- kills -----------------------------------------------------------------------------------------------------------


def kill(seed: int) -> Outcome:
    """A process that saves in a loop is killed: at a line of the saving, or at a moment while much is written."""
    rng = np.random.default_rng(seed)
    by_line = seed % 3 > 0
    size, keep = (50 if by_line else 300_000), int(rng.integers(1, 4))
    with TemporaryDirectory() as name:
        folder = Path(name)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            if by_line:
                sys.settrace(_killer(int(rng.integers(400))))
            try:
                for step in range(1, 1000):
                    checkpoint.save(folder, step, keep=keep, random=False, run=state(step, size))
                    os.write(writing, step.to_bytes(8, "little"))
            finally:
                os._exit(1)
        os.close(writing)
        if not by_line:
            time.sleep(rng.uniform(0, 0.15))
            os.kill(child, signal.SIGKILL)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
        if os.waitpid(child, 0)[1] != signal.SIGKILL:
            raise RuntimeError("the process was not killed")
        returned = int.from_bytes(told[-8:], "little")

        torn = bool(list(folder.glob("*.aside")))
        run: dict[str, Any] = {}
        try:
            with warnings.catch_warnings(action="error"):  # a kill leaves nothing damaged that would be passed over
                step = checkpoint.load(folder, run=run) or 0
        except (InputError, UserWarning):
            return Outcome.LOST
        if step < returned:
            return Outcome.LOST
        if step and not same(run, state(step, size)):
            return Outcome.SILENT
        checkpoint.save(folder, step + 1, keep=keep, run=state(step + 1, size))
        if len(list(folder.glob("step-*"))) > keep:  # what the dead have left is still there
            return Outcome.SILENT
        return Outcome.DETECTED if torn else Outcome.RIGHT


def _killer(lines: int) -> Any:
    """A trace function that kills the process before it has run so many more lines of the saving."""
    left = lines

    def trace(frame: Any, event: str, argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != checkpoint.__file__ or frame.f_code.co_name not in ("save", "_write", "_alone"):
            return None
        left -= event == "line"
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


# -- damage ----------------------------------------------------------------------------------------------------------


@cache
def files() -> tuple[bytes, bytes]:
    """The files of two checkpoints."""
    with TemporaryDirectory() as folder:
        return tuple(checkpoint.save(folder, step, random=False, run=state(step)).read_bytes() for step in (1, 2))


def judge(damaged: bytes) -> Outcome:
    """How it ends if this is found in the place of the second checkpoint."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "step-00000002.safetensors").write_bytes(damaged)
        run: dict[str, Any] = {"step": "mine"}
        try:
            checkpoint.load(folder, run=run)
        except InputError:
            pass
        else:
            return Outcome.SILENT
        if run != {"step": "mine"}:
            return Outcome.LOST

        (folder / "step-00000001.safetensors").write_bytes(files()[0])
        with warnings.catch_warnings(record=True, action="always") as told:
            step = checkpoint.load(folder, run=run)
        if step != 1 or not same(run, state(1)):
            return Outcome.LOST
        return Outcome.DETECTED if len(told) == 1 and "step-00000002" in str(told[0].message) else Outcome.SILENT


def flip(seed: int) -> Outcome:
    """One bit is turned: of the header's length, the checksum, the header, its padding, or the tensors."""
    rng, file = np.random.default_rng(seed), bytearray(files()[1])
    end = 8 + int.from_bytes(file[:8], "little")
    padding = len(bytes(file[:end]).rstrip())
    checksum = file.index(b'"blake2b":"') + 11
    regions = [(0, 8), (checksum, checksum + 64), (8, padding), (padding, end), (end, len(file))]
    file[int(rng.integers(*regions[seed % 5]))] ^= 1 << int(rng.integers(8))
    return judge(bytes(file))


def cut(seed: int) -> Outcome:
    """The end is missing, or reads as zeros, or something follows it."""
    rng, file = np.random.default_rng(seed), files()[1]
    length = int(rng.integers(len(file)))
    match seed % 4:
        case 0:
            return judge(file[: [0, 8, 8 + int.from_bytes(file[:8], "little"), len(file) - 1][seed // 4 % 4]])
        case 1:
            return judge(file[:length])
        case 2:
            return judge(file[:length] + bytes(len(file) - length))
        case _:
            return judge(file + rng.bytes(int(rng.integers(1, 100))))


# -- a full disk -----------------------------------------------------------------------------------------------------


def full(seed: int) -> Outcome:
    """There is no more room after some byte of the new checkpoint, or when it is synced, or renamed."""
    rng = np.random.default_rng(seed)
    with TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint.save(folder, 1, random=False, keep=1, run=state(1))
        obstacle = [_limit(int(rng.integers(len(files()[1])))), _no_room("fsync"), _no_room("replace")][seed % 3]
        try:
            with obstacle:
                checkpoint.save(folder, 2, random=False, keep=1, run=state(2))
        except OSError as error:
            if "earlier ones are as they were" not in str(error):
                return Outcome.SILENT
        else:
            return Outcome.SILENT
        run: dict[str, Any] = {}
        if sorted(path.name for path in folder.glob("step*")) != ["step-00000001.safetensors"]:
            return Outcome.LOST
        if checkpoint.load(folder, run=run) != 1 or not same(run, state(1)):
            return Outcome.LOST
        checkpoint.save(folder, 2, keep=1, run=state(2))
        return Outcome.DETECTED if checkpoint.load(folder, run=run) == 2 else Outcome.LOST


@contextmanager
def _limit(size: int) -> Generator[None]:
    """No file grows beyond this size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _no_room(call: str) -> Any:
    return mock.patch.object(os, call, side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
