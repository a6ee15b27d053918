"""Checkpoints: everything that a run needs to go on, in one file that is intact or known not to be.

>>> import numpy as np
>>> from adamas import checkpoint
>>> from adamas.numpy import AdamW
>>> theta = np.zeros(2)
>>> opt = AdamW(theta, lr=0.1)
>>> opt.step(np.ones(2))
>>> checkpoint.save("run", 1, theta=theta, optimizer=opt).name
'step-00000001.safetensors'
>>> theta[:] = np.nan
>>> checkpoint.load("run", theta=theta, optimizer=opt)
1
>>> theta
array([-0.1, -0.1])

A checkpoint is a safetensors file: tensors under the names that lead to them and, as JSON in the file's metadata,
whatever is no tensor. Nothing in it can run. Any safetensors library reads it; it is written here, and not by such a
library, so that tensors pass through memory one by one and a checksum can cover every bit: the metadata begins with
one over the whole file, in which its own place counts as zeros.
"""

import copy
import importlib
import json
import math
import os
import random as python_random
import re
import secrets
import sys
import warnings
from collections import Counter, OrderedDict
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from io import BufferedReader, TextIOWrapper
from itertools import chain
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from adamas.errors import InputError, InputTypeError, in_one_line, unknown


def save(folder: str | os.PathLike[str], /, step: int, *, keep: int = 3, random: bool = True, **parts: Any) -> Path:
    """Write a checkpoint into a folder, and remove old ones once it is safely there.

    The file is written aside, synced and renamed: whatever happens meanwhile, the earlier checkpoints are as they
    were. Processes that save into one folder wait for one another.

    Args:
        folder: is made if it is not there.
        step: how far the run has come; `load` returns it.
        keep: how many of the last intact checkpoints to keep, this one among them.
        random: whether to save the states of the global random generators too: Python's, NumPy's and, where torch is
            imported, torch's on the CPU and on CUDA devices.
        **parts: what the run consists of, each under a name: whatever has `state_dict` and `load_state_dict` (models,
            optimizers, schedules, scalers); random generators of NumPy and torch; arrays and tensors; dicts and lists
            of these and of numbers and strings.

    Returns:
        The path of the file.

    Raises:
        InputError: for a part that a checkpoint cannot hold, or where the folder has an intact checkpoint of a later
            step. Nothing is written.
        OSError: where the file cannot be written.
    """
    step, keep, folder = _count("step", step, 0), _count("keep", keep, 1), Path(folder)
    if random:
        parts["random"] = GlobalRandom()
    tensors: dict[str, Any] = {}
    states = {name: _encode(_state(name, part), name, tensors) for name, part in parts.items()}
    metadata = {"adamas": _FORMAT, "step": str(step), "parts": json.dumps(states, allow_nan=False)}

    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        for there, path in _checkpoints(folder):
            if there > step and _was_intact(path):
                raise InputError(
                    f"{folder} holds a checkpoint of step {there}, later than step {step}: go on from there with "
                    "`load`, or save into another folder."
                )
        for left in folder.glob("step-*.aside"):  # by a process that was killed: nobody else is writing now
            left.unlink(missing_ok=True)
        path = folder / f"step-{step:08d}.safetensors"
        try:
            _write(path, metadata, tensors)
        except OSError as error:
            reason = f"{error.strerror}: the checkpoint was not written, and earlier ones are as they were"
            raise OSError(error.errno, reason, str(path)) from error
        intact = 0
        for _, old in _checkpoints(folder):
            if intact == keep:
                old.unlink(missing_ok=True)
            elif _was_intact(old):
                intact += 1
    return path


def load(folder: str | os.PathLike[str], /, *, random: bool = True, **parts: Any) -> int | None:
    """Bring everything back to where the newest intact checkpoint has it.

    This happens wholly or not: if one part refuses its state, all get back what they had. Damaged checkpoints are
    passed over with a warning.

    Args:
        folder: where `save` has written; or the file of one checkpoint.
        random: whether to restore the global random generators, where they were saved.
        **parts: what to restore, under the names it was saved by; the checkpoint may hold more. Arrays and tensors are
            filled in place, those inside of dicts and lists too; apart from that, a dict or list becomes equal to the
            saved one.

    Returns:
        The step that was saved; None, with nothing changed, where there is no checkpoint.

    Raises:
        InputError: where there are checkpoints but none is intact, or where a part is not in it or does not fit.
            Nothing is changed.
    """
    found = _newest(Path(folder), [*parts, "random"] if random else [*parts])
    if found is None:
        return None
    path, step, states = found
    if "random" in states:
        parts["random"] = GlobalRandom()
    restore(parts, states, str(path))
    return step


def copied(parts: Mapping[str, Any]) -> dict[str, Any]:
    """What there is to save of each part, in memory of its own: what `restore` takes."""
    return {name: copy.deepcopy(_state(name, part)) for name, part in parts.items()}


def restore(parts: Mapping[str, Any], states: Mapping[str, Any], source: str) -> None:
    """Bring parts back to states, wholly or not: if one part refuses its state, all get back what they had.

    Args:
        parts: name -> part.
        states: name -> its state; there may be more.
        source: where the states are from, in the words of the error.

    Raises:
        InputError: where a state does not fit its part. Nothing is changed.
    """
    for name, part in parts.items():
        _check_fit(part, states[name], name)
    before = copied(parts)
    begun: dict[str, Any] = {}
    try:
        for name, part in parts.items():
            begun[name] = part
            _restore(part, states[name])
    except BaseException as error:
        outcome = _put_back(begun, before)
        if not isinstance(error, Exception):
            raise
        said = in_one_line(error)
        raise InputError(f"{[*begun][-1]!r} refuses its state in {source}: {said}. {outcome}") from error


def _count(name: str, value: int, least: int) -> int:
    try:
        count = index(value)
    except TypeError:
        count = -1
    if count < least:
        raise InputError(f"{name} is {value!r}: it must be a whole number, {least} or more.")
    return count


# -- parts -----------------------------------------------------------------------------------------------------------


class GlobalRandom:
    """The random generators that a program has without asking for them."""

    def state_dict(self) -> dict[str, Any]:
        state = {"python": python_random.getstate(), "numpy": np.random.get_state(legacy=False)}  # noqa: NPY002
        if torch := sys.modules.get("torch"):
            state["torch"] = torch.get_rng_state()
            if torch.cuda.is_initialized():
                state["cuda"] = torch.cuda.get_rng_state_all()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        cuda = state.get("cuda", [])
        if cuda and (count := _torch().cuda.device_count()) != len(cuda):
            raise InputError(f"there are {len(cuda)} CUDA devices in it and {count} here; say random=False")
        python_random.setstate(state["python"])
        np.random.set_state(state["numpy"])  # noqa: NPY002
        if "torch" in state:
            _torch().set_rng_state(state["torch"])
        if cuda:
            _torch().cuda.set_rng_state_all(cuda)


def _state(name: str, part: Any) -> Any:
    """What there is to save of a part."""
    refuse_unless_part(name, part)
    if hasattr(part, "load_state_dict"):
        return part.state_dict()
    if isinstance(part, np.random.Generator):
        return part.bit_generator.state
    if hasattr(part, "set_state"):  # torch.Generator, numpy.random.RandomState
        return part.get_state()
    return part


def refuse_unless_part(name: str, part: Any) -> None:
    """
    Raises:
        InputTypeError: for what `save` cannot take as a part.
    """
    known = hasattr(part, "load_state_dict") or hasattr(part, "set_state") or _is_array(part)
    if not known and not isinstance(part, np.random.Generator | dict | list):
        raise InputTypeError(
            f"{name!r} is a {type(part).__name__}: a part is something with state_dict() and load_state_dict(), a "
            "random generator, an array or tensor, or a dict or list; a number goes into a dict."
        )


def _restore(part: Any, state: Any) -> None:
    if hasattr(part, "load_state_dict"):
        part.load_state_dict(state)
    elif isinstance(part, np.random.Generator):
        part.bit_generator.state = state
    elif hasattr(part, "set_state"):
        part.set_state(state)
    elif _fill(part, state) is not part:
        raise InputTypeError(f"it is a {type(part).__name__}, and a {type(state).__name__} was saved")


def _put_back(parts: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Give the parts what they had, and say what came of it."""
    lost: list[str] = []
    for name, part in parts.items():
        try:
            _restore(part, before[name])
        except Exception:  # whatever a part's own code raises; the others are still put back
            lost.append(name)
    return f"What they were before could not be given back to: {', '.join(lost)}." if lost else "Nothing was changed."


def _check_fit(held: Any, saved: Any, where: str) -> None:
    """Refuse what could not be filled into the arrays that a part holds."""
    if _is_array(held):
        if _looks(held) != _looks(saved):
            raise InputError(f"{where!r} is {_looks(held)}, and {_looks(saved)} was saved. Nothing was changed.")
        if isinstance(held, np.ndarray) and not held.flags.writeable:
            raise InputError(
                f"{where!r} is read-only, and is to be filled in place: give a writeable array. Nothing was changed."
            )
    inside = dict(_items(saved))
    for key, value in _items(held):
        _check_fit(value, inside.get(key), f"{where}.{key}")


def _fill(held: Any, saved: Any) -> Any:
    """What takes the place of ``held``: itself, made equal to ``saved``, where it can be changed."""
    if isinstance(held, np.ndarray):
        held[...] = saved
        return held
    if _is_tensor(held):
        with _torch().no_grad():
            return held.copy_(saved)
    inside = dict(_items(held))
    filled = {key: _fill(inside.get(key), value) for key, value in _items(saved)}
    match held, saved:
        case dict(), dict():
            held.clear()
            held.update(filled)
            return held
        case list(), list():
            held[:] = filled.values()
            return held
        case _, dict():
            return type(saved)(filled)
        case _, list() | tuple():
            return type(saved)(filled.values())
        case _:
            return saved


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    match value:
        case dict():
            return value.items()
        case list() | tuple():
            return enumerate(value)
        case _:
            return ()


def _looks(value: Any) -> str:
    if not _is_array(value):
        return f"a {type(value).__name__}" if value is not None else "nothing"
    kind = "an array" if isinstance(value, np.ndarray) else "a tensor"
    return f"{kind} of shape {tuple(value.shape)} and dtype {_dtype(value)}"


# -- states to JSON and tensors, and back ----------------------------------------------------------------------------
#
# What JSON knows stands as it is: None, bool, int, finite float, str, list, dict with keys that are str. All else is a
# dict with one key that begins with "$", and says what it is.


def _encode(value: Any, where: str, tensors: dict[str, Any]) -> Any:
    """The value as JSON; the tensors in it are added to ``tensors`` under the names that lead to them.

    Raises:
        InputTypeError: for what cannot be held, with the place where it is.
    """
    kind: Any = type(value)
    if value is None or kind in (bool, int, str) or (kind is float and math.isfinite(value)):
        return value
    if kind is float:
        return {"$float": str(value)}
    if kind in (np.ndarray, np.memmap):
        return _tensor("$array", value, where, tensors)
    if issubclass(kind, np.generic):
        return {"$scalar": _tensor("$array", np.asarray(value), where, tensors)}
    if _is_tensor(value) and kind in (_torch().Tensor, _torch().nn.Parameter):
        if value.layout is not _torch().strided or value.is_meta:
            raise InputTypeError(f"{where!r} has layout {value.layout} on {value.device}: give a dense tensor.")
        return _tensor("$tensor", value.detach().resolve_conj().resolve_neg(), where, tensors)
    if kind is list:
        return [_encode(item, f"{where}.{i}", tensors) for i, item in enumerate(value)]
    if issubclass(kind, tuple) and not hasattr(kind, "_fields"):  # torch.Size is a tuple too
        return {"$tuple": _encode(list(value), where, tensors)}
    if kind in (dict, OrderedDict, Counter):
        items = {key: _encode(item, f"{where}.{key}", tensors) for key, item in value.items()}
        if kind is not Counter and all(type(key) is str and not key.startswith("$") for key in items):
            return items
        pairs = [[_encode(key, f"{where}, key {key!r}", tensors), item] for key, item in items.items()]
        return {"$counter" if kind is Counter else "$dict": pairs}
    hint = "use torch.distributed.checkpoint" if kind.__name__ == "DTensor" else "leave it out"
    raise InputTypeError(
        f"{where!r} is of type {kind.__module__}.{kind.__qualname__}: a checkpoint holds arrays, tensors, numbers, "
        f"strings, None, and dicts, lists and tuples of these; {hint}."
    )


def _tensor(kind: str, tensor: Any, where: str, tensors: dict[str, Any]) -> dict[str, Any]:
    """Add a tensor; complex ones as pairs of real ones."""
    is_array = isinstance(tensor, np.ndarray)
    if tensor.dtype.kind == "c" if is_array else tensor.is_complex():
        pairs = np.stack([tensor.real, tensor.imag], -1) if is_array else _torch().view_as_real(tensor)
        return {"$complex": _tensor(kind, pairs, where, tensors)}
    known = _DTYPES if is_array else _CODES
    if _dtype(tensor) not in known:
        raise InputTypeError(f"{where!r} is {_looks(tensor)}; the dtype must be one of {', '.join(known)}, or complex.")
    name = where
    while name in tensors or name == "__metadata__":
        name += "~"
    tensors[name] = tensor
    return {kind: name}


def _decode(node: Any, contents: "_Contents") -> Any:
    match node:
        case list():
            return [_decode(item, contents) for item in node]
        case {"$float": text}:
            return float(text)
        case {"$array": name}:
            return contents.tensor(name, np)
        case {"$tensor": name}:
            return contents.tensor(name, _torch())
        case {"$scalar": inner}:
            return _decode(inner, contents)[()]
        case {"$complex": inner}:
            pairs = _decode(inner, contents)
            if isinstance(pairs, np.ndarray):
                return pairs.view(np.result_type(pairs, np.complex64))[..., 0]
            return _torch().view_as_complex(pairs)
        case {"$tuple": items}:
            return tuple(_decode(items, contents))
        case {"$dict": pairs}:
            return {_decode(key, contents): _decode(item, contents) for key, item in pairs}
        case {"$counter": pairs}:
            return Counter({_decode(key, contents): _decode(item, contents) for key, item in pairs})
        case dict():
            return {key: _decode(item, contents) for key, item in node.items()}
        case _:
            return node


def _torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise InputError("The checkpoint holds tensors of torch: pip install 'adamas[torch]'.") from None


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) or _is_tensor(value)


def _dtype(array: Any) -> str:
    return array.dtype.name if isinstance(array, np.ndarray) else str(array.dtype).removeprefix("torch.")


# -- the file --------------------------------------------------------------------------------------------------------

#: dtype -> its name in the file.
_DTYPES = {
    "bool": "BOOL",
    **{f"{prefix}int{bits}": f"{prefix or 'i'}{bits}".upper() for prefix in ("", "u") for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"F{bits}" for bits in (16, 32, 64)},
}
_CODES = {**_DTYPES, "bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"}  # torch's too
_NAMES = {code: name for name, code in _CODES.items()}

_FORMAT = "checkpoint 1"
_BLANK = "0" * 64
_START = b'{"__metadata__":{"blake2b":"'
_CHECKSUM = slice(8 + len(_START), 8 + len(_START) + len(_BLANK))  # where it is in the file
_CHUNK = 1 << 20

#: Files that this process has written or read through, and whether they are intact.
_verdicts: dict[tuple[int, ...], bool] = {}


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Step and path of those in a folder, the newest first."""
    names = ((re.fullmatch(r"step-([0-9]+)\.safetensors", path.name), path) for path in folder.glob("step-*"))
    return sorted(((int(name[1]), path) for name, path in names if name and path.is_file()), reverse=True)


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    """While this lasts, nobody else saves into the folder; it ends with the process, however that ends."""
    with open(folder / ".lock", "a") as file:
        _lock(file, "LOCK_EX")
        try:
            yield
        finally:
            _lock(file, "LOCK_UN")  # a child forked meanwhile holds the file open too


def _lock(file: TextIOWrapper, operation: str) -> None:
    # Windows and some network file systems have no such locks. There, of two processes that save at once, one may find
    # its file gone before it is renamed, and fails.
    with suppress(ImportError, OSError):
        fcntl = importlib.import_module("fcntl")
        fcntl.flock(file, getattr(fcntl, operation))


def _write(path: Path, metadata: Mapping[str, str], tensors: Mapping[str, Any]) -> None:
    """Write a file aside, see it to the disk, and rename it: under its own name it is always whole."""
    order = sorted(tensors, key=lambda name: -tensors[name].itemsize)  # so each begins at a multiple of its itemsize
    header: dict[str, Any] = {"__metadata__": {"blake2b": _BLANK, **metadata}}
    end = 0
    for name in order:
        begin, end = end, end + tensors[name].nbytes
        shape, code = [*tensors[name].shape], _CODES[_dtype(tensors[name])]
        header[name] = {"dtype": code, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.aside")
    digest = blake2b(digest_size=32)
    try:
        with open(aside, "xb") as file:
            for piece in chain((len(text).to_bytes(8, "little"), text), (_ready(tensors[name]) for name in order)):
                digest.update(piece)
                file.write(piece)
            file.seek(_CHECKSUM.start)
            file.write(digest.hexdigest().encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # elsewhere folders cannot be opened
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    _verdicts[_mark(path)] = True


def _ready(tensor: Any) -> memoryview:
    """The bytes of a tensor as they stand in the file."""
    if isinstance(tensor, np.ndarray):
        return _memory(np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<")))
    return _memory(tensor.cpu().contiguous())


def _memory(tensor: Any) -> memoryview:
    """The memory of a contiguous tensor."""
    flat = tensor.reshape(-1)
    return (flat.view(np.uint8) if isinstance(flat, np.ndarray) else flat.view(_torch().uint8).numpy()).data


def _mark(path: Path) -> tuple[int, ...]:
    """Changes when the file does."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _was_intact(path: Path) -> bool:
    """Whether the file was intact when this process first had to do with it."""
    try:
        mark = _mark(path)
        if mark not in _verdicts:
            with path.open("rb") as file:
                _verdicts[mark] = _is_intact(file)
        return _verdicts[mark]
    except OSError:
        return False


def _is_intact(file: BufferedReader) -> bool:
    """Whether the checksum fits the bytes."""
    start = file.read(_CHECKSUM.stop)
    digest = blake2b(start[: _CHECKSUM.start] + _BLANK.encode(), digest_size=32)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return start[_CHECKSUM] == digest.hexdigest().encode()


def _newest(folder: Path, names: Sequence[str]) -> tuple[Path, int, dict[str, Any]] | None:
    """What `_read` finds in the newest intact checkpoint, or in the one that the path names; and its path."""
    paths = [path for _, path in _checkpoints(folder)]
    if folder.is_file() or folder.suffix == ".safetensors":
        paths = [folder]
    damaged: dict[Path, str] = {}
    for path in paths:
        try:
            with path.open("rb") as file:
                if _is_intact(file):
                    for other, reason in damaged.items():
                        warnings.warn(f"{other} was passed over: {reason}. {path.name} is used.", stacklevel=3)
                    return path, *_read(path, file, names)
            damaged[path] = "its checksum does not fit its bytes"
        except FileNotFoundError:
            if path == folder:
                raise InputError(f"There is no file {path}: check the spelling.") from None
            return _newest(folder, names)  # a save has just removed it, so there are newer ones
        except OSError as error:
            damaged[path] = str(error.strerror)
    if damaged:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in damaged.items())
        raise InputError(f"No checkpoint is intact. {reasons}.")
    return None


class _Contents:
    """An open file whose checksum fits: its metadata, and its tensors when asked for."""

    def __init__(self, file: BufferedReader) -> None:
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        self.entries = json.loads(file.read(length))
        self.metadata = self.entries.pop("__metadata__")
        self.file, self.start = file, 8 + length

    def tensor(self, name: str, library: Any) -> Any:
        """A tensor of NumPy or torch, in memory of its own."""
        entry = self.entries[name]
        begin, end = entry["data_offsets"]
        tensor = library.empty(tuple(entry["shape"]), dtype=getattr(library, _NAMES[entry["dtype"]]), device="cpu")
        memory = _memory(tensor)
        if begin < 0 or end - begin != len(memory):
            raise ValueError(f"{name} has other bytes than its shape takes")
        self.file.seek(self.start + begin)
        if self.file.readinto(memory) != len(memory):
            raise ValueError(f"the bytes of {name} are not there")
        return tensor


def _read(path: Path, file: BufferedReader, names: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """The step and the states of the parts with these names; that of "random" if it is there."""
    try:
        contents = _Contents(file)
        if contents.metadata["adamas"] != _FORMAT:
            raise InputError(f"{path} is a {contents.metadata['adamas']!r}, and this version reads {_FORMAT!r} alone.")
        nodes = json.loads(contents.metadata["parts"])
        if missing := [name for name in names if name not in nodes and name != "random"]:
            raise unknown(f"part of {path}", missing[0], [name for name in nodes if name != "random"])
        states = {name: _decode(nodes[name], contents) for name in names if name in nodes}
        return int(contents.metadata["step"]), states
    except (InputError, OSError):
        raise
    except Exception as error:
        # The checksum fits, so the file is as it was written, but not by this module. Whatever it made of it ends here.
        raise InputError(f"{path} is no checkpoint: {type(error).__name__}: {error}.") from error
