"""Checkpoints: what goes in comes out, a run goes on with the same bits, and nothing is half done."""

import errno
import inspect
import io
import json
import os
import random
import subprocess
import sys
from collections import Counter, namedtuple
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

import adamas.numpy
from adamas import checkpoint
from adamas.errors import InputError
from tests.torture.checkpoints import files, same

ROOT = Path(__file__).resolve().parents[2]


def steps(folder: Path) -> list[int]:
    return sorted(int(path.name[5:13]) for path in folder.glob("step-*.safetensors"))


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def back(folder: Path, value: Any) -> Any:
    """The value after a way through a file."""
    checkpoint.save(folder, 1, random=False, part={"value": value})
    held: dict[str, Any] = {}
    assert checkpoint.load(folder, part=held) == 1
    return held["value"]


# -- what goes in comes out ------------------------------------------------------------------------------------------


def test_whatever_is_no_tensor(tmp_path: Path) -> None:
    value = {
        "none": None,
        "bools": [True, False],
        "ints": [0, -1, 1 << 200],
        "floats": (0.1, -0.0, 5e-324, 1.7976931348623157e308, float("inf"), -float("inf"), float("nan")),
        "texts": ["", "Ünïcödé ✓", '"\\\n\0', "__metadata__"],
        "empty": [[], {}, ()],
        1: {(1, "a"): 2, None: 3, 1.5: 4, True: 5},
        "$tuple": "no tuple",
        "milestones": Counter({3: 1, 5: 2}),
        "scalars": [np.float32(0.1), np.int64(7), np.bool_(True), np.complex128(1 - 2j)],
    }
    found = back(tmp_path, value)
    assert repr(found) == repr(value)  # which tells 1 from 1.0 and True, -0.0 from 0.0, a list from a tuple
    assert found["milestones"].total() == 3


DTYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128"


@pytest.mark.parametrize("dtype", [*DTYPES.split(), ">f4", ">c16"])
def test_arrays_of_numpy(dtype: str, tmp_path: Path) -> None:
    bits = np.random.default_rng(0).bytes(24 * np.dtype(dtype).itemsize)  # NaN with payloads among them
    whole = (np.frombuffer(bits, dtype) if dtype != "bool" else np.frombuffer(bits, "u1") > 99).reshape(2, 3, 4)
    kinds = [whole, whole.T, whole[:, ::-2], whole[0, 0, 0:1].reshape(()), whole[:0], np.asfortranarray(whole)]
    for kind, found in zip(kinds, back(tmp_path, kinds), strict=True):
        assert same(found, kind.astype(kind.dtype.newbyteorder("=")))


def test_names_that_meet_stay_apart(tmp_path: Path) -> None:
    value = {"a.b": np.zeros(1), "a": {"b": np.ones(1)}, 1: np.full(1, 2.0), "1": np.full(1, 3.0)}
    assert same(back(tmp_path, value), value)
    checkpoint.save(tmp_path, 1, random=False, __metadata__=np.ones(2))
    held = np.zeros(2)
    checkpoint.load(tmp_path, __metadata__=held)
    assert held.tolist() == [1, 1]


def test_what_is_loaded_is_no_window_on_the_file(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 1, random=False, part=[np.arange(1000.0)])
    held: list[Any] = []
    checkpoint.load(tmp_path, part=held)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    held[0] += 1
    assert np.array_equal(held[0], np.arange(1, 1001.0))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": [object()]}, "'part.a.0' is of type builtins.object"),
        ({"a": {1, 2}}, "'part.a' is of type builtins.set"),
        ([np.array(["text"])], "'part.0' is an array of shape (1,) and dtype str"),
        ([np.array([object()])], "'part.0' is an array of shape (1,) and dtype object"),
        ([np.zeros(1).view(np.matrix)], "'part.0' is of type numpy.matrix"),
        ([namedtuple("Point", "x y")(1, 2)], "'part.0' is of type"),
        ([print], "'part.0' is of type builtins.builtin_function_or_method"),
        (3, "a number goes into a dict"),
        (lambda step: 0.1, "a part is something with state_dict() and load_state_dict()"),
    ],
)
def test_what_cannot_be_held_is_named(value: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        checkpoint.save(tmp_path / "new", 1, part=value)
    assert told in str(caught.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("step", "keep"), [(-1, 3), (1.5, 3), (None, 3), (1, 0)])
def test_step_and_keep_are_counts(step: Any, keep: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must be a whole number"):
        checkpoint.save(tmp_path, step, keep=keep, part={})


def test_any_safetensors_library_reads_it(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors", reason="compares with the safetensors library")
    mixed = {"flag": np.array([True]), "wide": np.arange(3.0), "half": np.ones((2, 1), "f2"), "z": np.array([1 + 2j])}
    path = checkpoint.save(tmp_path, 12, model=mixed)
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata()["step"] == "12"
        for name in ("flag", "wide", "half"):
            assert same(file.get_tensor(f"model.{name}"), mixed[name])
        assert file.get_tensor("model.z").tolist() == [[1, 2]]
    # Readers that map the file want each tensor at a multiple of its itemsize.
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    entries = json.loads(content[8:start])
    assert start % 8 == 0
    assert all(entries[f"model.{name}"]["data_offsets"][0] % mixed[name].real.itemsize == 0 for name in mixed)


# -- a run goes on ---------------------------------------------------------------------------------------------------


class NumpyRun:
    """Noisy training on the NumPy front."""

    def __init__(self) -> None:
        self.theta = {"w": np.ones((3, 4), np.float32), "b": np.zeros(4)}
        self.optimizer = adamas.numpy.AdamW(self.theta, lr=0.1, amsgrad=True)
        self.rng = np.random.default_rng(7)
        self.parts = {"theta": self.theta, "optimizer": self.optimizer, "rng": self.rng}
        np.random.seed(8)  # noqa: NPY002
        random.seed(9)

    def train(self, first: int, last: int) -> None:
        for step in range(first, last):
            noise = np.random.normal() + random.random()  # noqa: NPY002
            self.optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
            grads = {k: (v + noise + self.rng.normal(size=v.shape)).astype(v.dtype) for k, v in self.theta.items()}
            self.optimizer.step(grads)

    def bits(self) -> str:
        return "".join(value.tobytes().hex() for value in self.theta.values())


class TorchRun:
    """Training with all that a torch run has: dropout, batch norm, one-cycle, a loss scale, a shuffled loader."""

    def __init__(self) -> None:
        import torch

        import adamas.torch

        torch.manual_seed(3)
        self.torch = torch
        self.data = torch.utils.data.TensorDataset(torch.randn(32, 5), torch.randn(32, 1))
        self.model = torch.nn.Sequential(
            torch.nn.Linear(5, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1)
        )
        self.optimizer = adamas.torch.AdamW(self.model.parameters(), lr=1e-2, amsgrad=True)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, 1e-1, total_steps=40)
        self.scaler = torch.amp.GradScaler("cpu", growth_interval=3)
        self.order = torch.Generator().manual_seed(5)
        self.parts = {
            "model": self.model,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "scaler": self.scaler,
            "order": self.order,
        }

    def train(self, first: int, last: int) -> None:
        torch = self.torch
        for _ in range(first, last):
            rows = torch.randperm(32, generator=self.order)[:8]
            x, y = self.data[rows]
            self.optimizer.zero_grad()
            self.scaler.scale((self.model(x) - y).square().mean()).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.schedule.step()

    def bits(self) -> str:
        values = [*self.model.state_dict().values(), self.torch.get_rng_state()]
        return "".join(value.numpy().tobytes().hex() for value in values) + str(self.scaler.state_dict())


@pytest.mark.parametrize("Run", [NumpyRun, TorchRun])
def test_a_fresh_process_goes_on_with_the_same_bits(Run: type[NumpyRun] | type[TorchRun], tmp_path: Path) -> None:
    if Run is TorchRun:
        torch = pytest.importorskip("torch", reason="a run with torch")
    whole = Run()
    whole.train(0, 20)
    expected = whole.bits()
    broken = Run()
    broken.train(0, 9)
    checkpoint.save(tmp_path, 9, **broken.parts)
    broken.train(9, 20)  # having saved changes nothing
    assert broken.bits() == expected

    code = f"""
from adamas import checkpoint
from tests.faults.test_checkpoint import {Run.__name__}
{"" if Run is NumpyRun else f"import torch; torch.set_num_threads({torch.get_num_threads()})  # for the same sums"}
run = {Run.__name__}()
run.train(0, 2)  # what is loaded over has a past of its own
run.train(checkpoint.load({str(tmp_path)!r}, **run.parts), 20)
print(run.bits())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == expected, done.stderr


def test_numpy_runs_without_torch(tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["torch"] = sys.modules["safetensors"] = None  # cannot be imported
import numpy as np
import adamas
from adamas import checkpoint
theta = np.ones(3)
checkpoint.save({str(tmp_path)!r}, 5, theta=theta)
theta[:] = 0
try:
    checkpoint.save({str(tmp_path)!r}, 6, theta=theta, other=np.zeros(1).view(np.matrix))
except adamas.InputError as error:
    assert "numpy.matrix" in str(error)
print(checkpoint.load({str(tmp_path)!r}, theta=theta), theta.sum())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["5", "3.0"], done.stderr


def test_random_states_are_left_alone_if_told_so(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, part={})
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    expected = [random.Random(0).random(), np.random.RandomState(0).random()]
    checkpoint.load(tmp_path, random=False, part={})
    assert [random.random(), np.random.random()] == expected  # noqa: NPY002
    checkpoint.load(tmp_path, part={})
    assert random.random() != random.Random(0).random()


# -- all or nothing --------------------------------------------------------------------------------------------------


class Stubborn:
    """A part that breaks when it is given its state, having taken half of it."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error, self.value = error, 0

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["value"]
        if self.value == 1 and self.error is not None:
            raise self.error


def everything(run: NumpyRun) -> dict[str, Any]:
    """All that a run's steps depend on, and that the process shares with it."""
    return {
        "theta": {name: value.copy() for name, value in run.theta.items()},
        "optimizer": run.optimizer.state_dict(),
        "rng": run.rng.bit_generator.state,
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002
    }


@pytest.mark.parametrize("error", [RuntimeError("I will not."), KeyboardInterrupt()])
def test_if_one_part_refuses_all_are_put_back(error: BaseException, tmp_path: Path) -> None:
    run, stubborn = NumpyRun(), Stubborn(error)
    run.train(0, 3)
    stubborn.value = 1
    checkpoint.save(tmp_path, 3, **run.parts, extra={"epoch": 1, "best": [1.0]}, stubborn=stubborn)

    other, stubborn.value, extra = NumpyRun(), 2, {"epoch": 7, "own": "kept"}
    other.train(0, 5)
    before, place = everything(other), other.theta["w"]
    with pytest.raises((InputError, KeyboardInterrupt)) as caught:
        checkpoint.load(tmp_path, **other.parts, extra=extra, stubborn=stubborn)
    if isinstance(error, Exception):
        assert "'stubborn' refuses its state" in str(caught.value)
        assert str(caught.value).endswith("I will not. Nothing was changed.")
    else:
        assert caught.value is error
    assert same(everything(other), before) and other.theta["w"] is place
    assert (extra, stubborn.value) == ({"epoch": 7, "own": "kept"}, 2)

    stubborn.error = None  # and now it will
    checkpoint.load(tmp_path, **other.parts, extra=extra, stubborn=stubborn)
    assert not same(everything(other), before) and extra == {"epoch": 1, "best": [1.0]}


def test_a_part_that_cannot_be_put_back_is_named(tmp_path: Path) -> None:
    never = Stubborn(ValueError("no"))
    never.value = 1
    checkpoint.save(tmp_path, 1, never=never)
    with pytest.raises(InputError, match=r"What they were before could not be given back to: never\."):
        checkpoint.load(tmp_path, never=never)


@pytest.mark.parametrize(
    ("saved", "held", "told"),
    [
        (np.zeros(3), np.zeros(4), r"array of shape \(4,\) and dtype float64, and an array of shape \(3,\)"),
        (np.zeros(3), np.zeros(3, "f4"), r"dtype float32, and an array of shape \(3,\) and dtype float64 was saved"),
        ({"w": np.zeros(3)}, {"w": np.zeros(3), "b": np.zeros(1)}, r"'part\.b' is an array .* and nothing was saved"),
        ({"w": 1}, {"w": np.zeros(1)}, r"'part\.w' is an array .* and a int was saved"),
        ([[1.0]], [(np.zeros(1),)], r"'part\.0\.0' is an array"),
        ([1], {}, r"it is a dict, and a list was saved"),
    ],
)
def test_what_does_not_fit_is_refused_first(saved: Any, held: Any, told: str, tmp_path: Path) -> None:
    first = np.ones(2)
    checkpoint.save(tmp_path, 1, first=np.zeros(2), part=saved)
    before = repr(held)
    with pytest.raises(InputError, match=told):
        checkpoint.load(tmp_path, first=first, part=held)
    assert first.tolist() == [1, 1]
    assert repr(held) == before


def test_read_only_arrays_are_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, part=[np.zeros(2)])
    held = np.ones(2)
    held.flags.writeable = False
    with pytest.raises(InputError, match=r"'part\.0' is read-only"):
        checkpoint.load(tmp_path, part=[held])


def test_arrays_inside_are_filled_in_place(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, part={"a": [np.ones(2)], "b": (np.ones(1), 5), "new": np.ones(1), "n": 1})
    a, b = np.zeros(2), np.zeros(1)
    inside = [a]
    held = {"a": inside, "b": (b, 6), "n": 2, "gone": 3}
    checkpoint.load(tmp_path, part=held)
    assert held["a"] is inside and inside[0] is a and held["b"][0] is b
    assert same(held, {"a": [np.ones(2)], "b": (b, 5), "new": np.ones(1), "n": 1}) and b.tolist() == [1]


# -- which one -------------------------------------------------------------------------------------------------------


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    held = np.ones(1)
    assert checkpoint.load(tmp_path, part=held) is None
    assert checkpoint.load(tmp_path / "runs" / "lr-0.1", part=held) is None
    (tmp_path / "step-00000001.safetensors.0f.aside").write_bytes(b"begun")
    assert checkpoint.load(tmp_path, part=held) is None


def test_a_file_may_be_named(tmp_path: Path) -> None:
    held = np.zeros(1)
    paths = [checkpoint.save(tmp_path, step, part=np.full(1, float(step))) for step in (5, 6)]
    assert checkpoint.load(paths[0], part=held) == held[0] == 5
    damage(paths[0])
    with pytest.raises(InputError, match=r"No checkpoint is intact.*step-00000005.*checksum"):
        checkpoint.load(paths[0], part=held)
    with pytest.raises(InputError, match=r"There is no file .*step-00000007"):
        checkpoint.load(tmp_path / "step-00000007.safetensors", part=held)


def test_what_cannot_be_loaded_into_is_named(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, step=1, part={"n": 1}, n={"n": 1})
    held = {"n": 2}
    with pytest.raises(InputError, match=r"'n' is a int: a part is something with .*; a number goes into a dict\."):
        checkpoint.load(tmp_path, part=held, n=5)
    assert held == {"n": 2}


def test_a_part_that_is_not_in_it_is_named_with_the_nearest(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, model=np.zeros(1))
    with pytest.raises(InputError, match=r"'modle': did you mean 'model'\? Known: model\."):
        checkpoint.load(tmp_path, modle=np.zeros(1))


def test_damaged_ones_are_passed_over_with_a_warning(tmp_path: Path) -> None:
    paths = [checkpoint.save(tmp_path, step, part=np.full(1, float(step))) for step in (1, 2, 3)]
    damage(paths[2])
    held = np.zeros(1)
    with pytest.warns(UserWarning, match=r"step-00000003.safetensors was passed over: its checksum") as told:
        assert checkpoint.load(tmp_path, part=held) == held[0] == 2
    assert told[0].filename == __file__
    paths[1].unlink()
    paths[1].mkdir()  # no file, whatever its name
    with pytest.warns(UserWarning, match=r"step-00000001.safetensors is used"):
        assert checkpoint.load(tmp_path, part=held) == held[0] == 1
    damage(paths[0])
    with pytest.raises(InputError, match=r"No checkpoint is intact\. .*step-00000003.*; .*step-00000001"):
        checkpoint.load(tmp_path, part=held)
    assert held[0] == 1


def test_a_disk_that_cannot_be_read_is_damage(tmp_path: Path) -> None:
    paths = [checkpoint.save(tmp_path, step, part={}) for step in (1, 2)]
    original = Path.open

    def broken(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path == paths[1]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(path, *args, **kwargs)

    with mock.patch.object(Path, "open", broken), mock.patch.object(checkpoint, "_verdicts", {}):
        with pytest.warns(UserWarning, match="passed over: Input/output error"):
            assert checkpoint.load(tmp_path, part={}) == 1
        checkpoint.save(tmp_path, 3, keep=2, part={})
    assert steps(tmp_path) == [1, 2, 3]


def test_one_that_goes_while_looking_has_newer_ones(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, keep=1, part={})
    original = Path.open

    def late(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == "step-00000001.safetensors" and path.exists():
            with mock.patch.object(Path, "open", original):
                checkpoint.save(tmp_path, 2, keep=1, part={})
        return original(path, *args, **kwargs)

    with mock.patch.object(Path, "open", late):
        assert checkpoint.load(tmp_path, part={}) == 2


def test_the_last_k_are_kept_and_damaged_ones_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for step in range(1, 5):
        checkpoint.save(tmp_path, step, keep=2, part={})
    assert steps(tmp_path) == [3, 4]
    damage(tmp_path / "step-00000004.safetensors")
    checkpoint.save(tmp_path, 5, keep=2, part={})
    assert steps(tmp_path) == [3, 4, 5]
    checkpoint.save(tmp_path, 6, keep=2, part={})
    assert steps(tmp_path) == [5, 6]
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("step")) == [
        ".lock",
        "notes.txt",
    ]


def test_a_step_after_a_later_one_is_refused_unless_that_is_damaged(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 100_000_000, part={"run": "old"})
    with pytest.raises(InputError, match=r"holds a checkpoint of step 100000000, later than step 7"):
        checkpoint.save(tmp_path, 7, keep=1, part={"run": "new"})
    assert [p.name for p in tmp_path.glob("step*")] == [path.name]
    damage(path)
    checkpoint.save(tmp_path, 7, part={"run": "new"})
    with pytest.warns(UserWarning, match="step-100000000"):
        assert checkpoint.load(tmp_path, part={}) == 7


def test_the_same_step_is_replaced(tmp_path: Path) -> None:
    held: dict[str, Any] = {}
    for run in ("first", "second"):
        checkpoint.save(tmp_path, 1, part={"run": run})
    assert checkpoint.load(tmp_path, part=held) == 1 and held == {"run": "second"}


def test_no_bit_is_without_cover() -> None:
    file = bytearray(files()[0])
    assert checkpoint._is_intact(io.BytesIO(file))
    for place in range(8 * len(file)):
        file[place // 8] ^= 1 << place % 8
        assert not checkpoint._is_intact(io.BytesIO(file)), f"bit {place % 8} of byte {place // 8}"
        file[place // 8] ^= 1 << place % 8


# -- writing ---------------------------------------------------------------------------------------------------------


def test_synced_before_it_is_renamed_and_old_ones_go_last(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, keep=1, part={})
    log: list[str] = []
    sync, replace, unlink = os.fsync, os.replace, Path.unlink

    def logged_sync(descriptor: int) -> None:
        target = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if target.is_file():  # all is written by then
            content = target.read_bytes()
            target = Path(target.suffix)
            with mock.patch.object(checkpoint, "_verdicts", {}):
                (tmp_path / "copy").write_bytes(content)
                assert checkpoint._was_intact(tmp_path / "copy")
        log.append(f"sync {target.name}")
        sync(descriptor)

    def logged_replace(source: Path, target: Path) -> None:
        log.append(f"rename {target.name}")
        replace(source, target)

    def logged_unlink(path: Path, **options: Any) -> None:
        log.append(f"remove {path.name}")
        unlink(path, **options)

    with mock.patch.multiple(os, fsync=logged_sync, replace=logged_replace):
        with mock.patch.object(Path, "unlink", logged_unlink):
            checkpoint.save(tmp_path, 2, keep=1, part={})
    new, old = "step-00000002.safetensors", "step-00000001.safetensors"
    assert log == ["sync .aside", f"rename {new}", f"sync {tmp_path.name}", f"remove {old}"]


def test_the_file_has_the_mode_that_the_user_wants(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = checkpoint.save(tmp_path, 1, part={})
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_two_processes_that_save_and_one_that_loads(tmp_path: Path) -> None:
    code = f"""
import numpy as np
from adamas import checkpoint
for i in range(40):
    checkpoint.save({str(tmp_path)!r}, 1, random=False, part=np.full(20_000, i))
"""
    writers = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    held, seen = np.zeros(20_000, int), 0
    while any(writer.poll() is None for writer in writers):
        seen += checkpoint.load(tmp_path, part=held) is not None  # a damaged one would be an error, or a warning
        assert (held == held[0]).all()
    for writer in writers:
        assert writer.wait() == 0, writer.communicate()[1]
        writer.communicate()
    assert seen
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "step-00000001.safetensors"]


def test_whoever_is_saving_is_waited_for(tmp_path: Path) -> None:
    """While one process saves, another neither writes nor takes its half-written file for a leftover."""
    code = f"from adamas import checkpoint; print(1, flush=True); checkpoint.save({str(tmp_path)!r}, 2, part={{}})"
    with checkpoint._alone(tmp_path):
        (tmp_path / "step-00000001.safetensors.0f.aside").write_bytes(b"half")
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert other.stdout is not None and other.stdout.read(1) == b"1"
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.5)
        assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "step-00000001.safetensors.0f.aside"]
    other.communicate(timeout=20)
    assert other.returncode == 0
    assert steps(tmp_path) == [2] and len(list(tmp_path.iterdir())) == 2


# -- torch -----------------------------------------------------------------------------------------------------------


class TestTorch:
    @pytest.fixture(autouse=True)
    def _torch(self) -> None:
        self.torch = pytest.importorskip("torch", reason="tensors of torch")

    def test_tensors(self, tmp_path: Path) -> None:
        torch = self.torch
        bits = torch.randint(0, 256, (16 * 24,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        names = [*DTYPES.split()[1:], "bfloat16", "float8_e4m3fn", "float8_e5m2"]
        dtypes = [getattr(torch, name) for name in names]
        wholes = [bits.view(d)[:24].reshape(2, 3, 4) for d in dtypes] + [(bits[:24] > 99).reshape(2, 3, 4)]
        kinds = [
            kind
            for whole in wholes
            for kind in (whole, whole.permute(2, 0, 1), whole[:, :1].expand(2, 5, 4), whole[0, 0, 0], whole[:0])
        ]
        kinds += [wholes[dtypes.index(torch.complex64)].conj(), torch.nn.Parameter(torch.ones(2))]
        for kind, found in zip(kinds, back(tmp_path, kinds), strict=True):
            assert (type(found), found.dtype, found.shape) == (torch.Tensor, kind.dtype, kind.shape)
            assert found.is_contiguous() and not found.requires_grad
            plain = kind.detach().resolve_conj().contiguous()
            assert torch.equal(found.reshape(-1).view(torch.uint8), plain.reshape(-1).view(torch.uint8)), kind.dtype

    def test_tied_weights(self, tmp_path: Path) -> None:
        torch = self.torch
        model = torch.nn.Sequential(torch.nn.Embedding(5, 3), torch.nn.Linear(3, 5, bias=False))
        model[1].weight = model[0].weight
        expected = model[0].weight.detach().clone()
        checkpoint.save(tmp_path, 1, model=model)
        with torch.no_grad():
            model[0].weight.zero_()
        checkpoint.load(tmp_path, model=model)
        assert model[1].weight is model[0].weight and torch.equal(model[0].weight, expected)

    def test_tensors_are_filled_in_place(self, tmp_path: Path) -> None:
        torch = self.torch
        checkpoint.save(tmp_path, 1, part=[torch.ones(2), np.ones(2)])
        weight, array = torch.nn.Parameter(torch.zeros(2)), np.zeros(2)
        checkpoint.load(tmp_path, part=[weight, array])
        assert weight.tolist() == array.tolist() == [1, 1] and weight.requires_grad
        with pytest.raises(InputError, match=r"'part.0' is an array .* and a tensor"):
            checkpoint.load(tmp_path, part=[array, array])

    def test_a_default_device_does_not_matter(self, tmp_path: Path) -> None:
        torch = self.torch
        checkpoint.save(tmp_path, 1, part=[torch.ones(2)])
        held: list[Any] = []
        with torch.device("meta"):
            checkpoint.load(tmp_path, random=False, part=held)
        assert held[0].tolist() == [1, 1]

    @pytest.mark.parametrize("what", ["sparse", "meta", "dtype", "quantized", "subclass"])
    def test_what_is_refused(self, what: str, tmp_path: Path) -> None:
        torch = self.torch
        value, told = {
            "sparse": (lambda: torch.eye(2).to_sparse(), "has layout torch.sparse_coo on cpu"),
            "meta": (lambda: torch.ones(1, device="meta"), "has layout torch.strided on meta"),
            "dtype": (lambda: torch.float32, "is of type torch.dtype"),
            "quantized": (lambda: torch.ones(1).to(torch.float8_e4m3fnuz), "dtype float8_e4m3fnuz; the dtype must be"),
            "subclass": (lambda: torch.ones(1).as_subclass(type("Sharded", (torch.Tensor,), {})), "Sharded"),
        }[what]
        with pytest.raises(InputError) as caught:
            checkpoint.save(tmp_path, 1, part={"a": value()})
        assert "'part.a'" in str(caught.value) and told in str(caught.value)

    def test_a_model_that_does_not_fit_leaves_the_optimizer_alone(self, tmp_path: Path) -> None:
        torch = self.torch
        run = TorchRun()
        run.train(0, 3)
        checkpoint.save(tmp_path, 3, optimizer=run.optimizer, model=run.model)
        other = TorchRun()
        other.train(0, 2)
        before = str(other.optimizer.state_dict()), other.bits()
        other.model[3] = torch.nn.Linear(8, 2)
        with pytest.raises(InputError, match=r"'model' refuses its state.*size mismatch.*Nothing was changed"):
            checkpoint.load(tmp_path, optimizer=other.optimizer, model=other.model)
        assert str(other.optimizer.state_dict()) == before[0]
        assert other.bits()[:200] == before[1][:200]  # the first layer did fit, and was put back

    def test_every_schedule_goes_on(self, tmp_path: Path) -> None:
        schedules = self.torch.optim.lr_scheduler
        made: dict[str, Any] = {
            "LambdaLR": lambda o: schedules.LambdaLR(o, lambda step: 1 / (1 + step)),
            "MultiplicativeLR": lambda o: schedules.MultiplicativeLR(o, lambda step: 0.5),
            "StepLR": lambda o: schedules.StepLR(o, 3),
            "MultiStepLR": lambda o: schedules.MultiStepLR(o, [4, 6, 6]),
            "ConstantLR": lambda o: schedules.ConstantLR(o),
            "LinearLR": lambda o: schedules.LinearLR(o),
            "ExponentialLR": lambda o: schedules.ExponentialLR(o, 0.9),
            "PolynomialLR": lambda o: schedules.PolynomialLR(o, 9),
            "CosineAnnealingLR": lambda o: schedules.CosineAnnealingLR(o, 9),
            "CosineAnnealingWarmRestarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 4),
            "CyclicLR": lambda o: schedules.CyclicLR(o, 0.1, 1.0, step_size_up=4),
            "OneCycleLR": lambda o: schedules.OneCycleLR(o, 1.0, total_steps=12),
            "ReduceLROnPlateau": lambda o: schedules.ReduceLROnPlateau(o, patience=2),
            "SequentialLR": lambda o: schedules.SequentialLR(
                o, [schedules.LinearLR(o), schedules.MultiStepLR(o, [3])], [4]
            ),
            "ChainedScheduler": lambda o: schedules.ChainedScheduler([schedules.StepLR(o, 3)], o),
        }
        known = {n for n, c in inspect.getmembers(schedules, inspect.isclass) if issubclass(c, schedules.LRScheduler)}
        assert set(made) == {n for n in known if not n.startswith("_")} - {"LRScheduler"}

        def go(schedule: Any, optimizer: Any, count: int) -> list[float]:
            rates: list[float] = []
            for _ in range(count):
                optimizer.step()
                schedule.step(*([1.0] if "Plateau" in type(schedule).__name__ else []))
                rates.append(optimizer.param_groups[0]["lr"])
            return rates

        def make(name: str) -> tuple[Any, Any]:
            optimizer = self.torch.optim.SGD([self.torch.nn.Parameter(self.torch.zeros(1))], lr=1.0, momentum=0.9)
            return made[name](optimizer), optimizer

        for name in made:
            whole = make(name)
            expected = go(*whole, 10)
            schedule, optimizer = make(name)
            go(schedule, optimizer, 5)
            checkpoint.save(tmp_path / name, 5, schedule=schedule, optimizer=optimizer)
            schedule, optimizer = make(name)
            checkpoint.load(tmp_path / name, schedule=schedule, optimizer=optimizer)
            assert go(schedule, optimizer, 5) == expected[5:], name
            assert schedule.state_dict() == whole[0].state_dict(), name

    def test_cuda_states_fit_or_are_refused(self, tmp_path: Path) -> None:
        """As many as there are devices; played on a machine without any."""
        torch = self.torch
        states = [torch.get_rng_state(), torch.get_rng_state()]
        cuda = mock.patch.multiple(
            torch.cuda, is_initialized=lambda: True, get_rng_state_all=lambda: states, device_count=lambda: 2
        )
        with cuda:
            checkpoint.save(tmp_path, 1, part={})
        random.seed(0)
        with mock.patch.object(torch.cuda, "device_count", lambda: 1):
            with pytest.raises(InputError, match=r"2 CUDA devices in it and 1 here; say random=False"):
                checkpoint.load(tmp_path, part={})
        assert random.random() == random.Random(0).random()
        with cuda, mock.patch.object(torch.cuda, "set_rng_state_all") as given:
            checkpoint.load(tmp_path, part={})
        assert all(map(torch.equal, given.call_args[0][0], states))
