"""A run as a file of JSON lines: written as it goes, and whole lines only; read back, or replayed.

Steps wait a little to be written together, as `adamas.doctor.run` takes them in: a kill loses those that were observed
within one second, and 64 at most. All else is written at once, with the steps before it.

The first line is ``{"doctor": 1, "setup": {…}}``. After it every line has a ``step`` and one of: the numbers of that
step, a validation (``val_loss``), ``settings``, a ``fact`` with its ``value``, a ``sample`` of each tensor, ``opened``,
or ``cleared``. A number that is not finite is a string, "nan" or "inf", since JSON has none.
"""

import atexit
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, cast
from weakref import WeakSet

import numpy as np

from adamas.doctor.run import CHECKS, COLUMNS, Floats, Run
from adamas.errors import InputError

VERSION = 1

#: Bytes above which a journal is thinned: every second line of a step goes.
LIMIT = 32 * 2**20


class Journal:
    """Writes one.

    Args:
        path: of the file. One that is there already is gone on with, if it is of the same run: its last line, where a
            kill has cut it, is dropped.
        run: whose steps are written.
        limit: bytes above which it is thinned.

    Raises:
        InputError: for a file that is there and no journal.
    """

    def __init__(self, path: str | os.PathLike[str], run: Run, limit: int = LIMIT) -> None:
        self.path, self.run, self._limit = Path(path), run, limit
        self._file, self._stride, self._steps = -1, 1, 0
        if not self.path.parent.is_dir():
            raise InputError(f"There is no folder {self.path.parent} for the log {self.path.name}: make it first.")
        self._size = 0
        if self.path.exists() and self.path.stat().st_size:
            self._size = _whole(self.path)
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o666)
        os.ftruncate(self._file, self._size)
        self.put({"doctor": VERSION, "setup": run.setup})  # where the run is gone on with, a setup more
        run.taken = self._take
        _OPEN.add(self)

    def put(self, line: Mapping[str, Any]) -> None:
        """A line, written at once, with the steps before it."""
        self.run.take_in()
        self._write(json.dumps(_plain(line), allow_nan=False, separators=(",", ":")) + "\n")

    def _take(self, rows: Floats) -> None:
        """Steps; of those that are to be left out, one whose loss is not finite stays."""
        kept = rows
        if self._stride > 1:
            numbers = self._steps + 1 + np.arange(len(rows))
            kept = rows[(numbers % self._stride == 0) | ~np.isfinite(rows[:, COLUMNS.index("loss")])]
        self._write(_lines(kept))
        self._steps += len(rows)

    def _write(self, lines: str) -> None:
        text = lines.encode()
        if self._size + len(text) > self._limit:
            self._thin()
        begun = self._size
        try:
            while self._size < begun + len(text):
                self._size += os.write(self._file, text[self._size - begun :])
        except BaseException:  # a full disk, Ctrl-C: no half line is left to be written on
            self._size = begun
            os.ftruncate(self._file, begun)
            raise

    def _thin(self) -> None:
        """Leave out every second step, in a new file that takes the old one's place."""
        self._stride *= 2
        kept: list[bytes] = []
        steps = 0
        for line in self.path.read_bytes().splitlines(keepends=True):
            if line.startswith(b'{"step":') and b'"loss":' in line and b'"loss":"' not in line:
                steps += 1
                if steps % 2:
                    continue
            kept.append(line)
        text = b"".join(kept)
        if len(text) > 0.75 * self._limit:  # it is not the steps that fill it
            self._limit = 2 * len(text)
        aside = self.path.with_name(f"{self.path.name}.tmp")
        with aside.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.close(self._file)
        aside.replace(self.path)
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0))
        self._size = len(text)

    def close(self) -> None:
        """No more lines."""
        if self._file >= 0:
            self.run.take_in()
            self.run.taken = None
            os.close(self._file)
            self._file = -1

    __del__ = close


#: Those of this process, for whom steps may wait: they are taken in before it ends, and before it forks, or both would.
_OPEN: WeakSet[Journal] = WeakSet()


def _flush() -> None:
    for each in list(_OPEN):
        each.run.take_in()


atexit.register(_flush)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_flush)


def _lines(rows: Floats) -> str:
    """The lines of steps: NaN says that a number was not told, except of the loss."""
    told = ~np.isnan(rows)
    text = "".join(map(_line, (told @ (1 << np.arange(len(COLUMNS)))).tolist())) % tuple(rows[told].tolist())
    return text.replace(":inf", ':"inf"').replace(":-inf", ':"-inf"') if "inf" in text else text


@cache
def _line(told: int) -> str:
    """How the line of a step is written that tells these columns, a bit each."""
    names = [name for i, name in enumerate(COLUMNS) if told >> i & 1 or name == "loss"]
    forms = {"step": "%d", "loss": "%.9g" if told >> COLUMNS.index("loss") & 1 else '"nan"'}
    return "{" + ",".join(f'"{name}":{forms.get(name, "%.9g")}' for name in names) + "}\n"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else str(value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(part) for part in cast(Sequence[Any], value)]
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in cast(Mapping[Any, Any], value).items()}
    return value


def _whole(path: Path) -> int:
    """How many bytes of a journal are whole lines."""
    lines = path.read_bytes().splitlines(keepends=True)
    _first(path, lines)
    whole = 0
    for line in lines:
        if not line.endswith(b"\n"):
            break
        whole += len(line)
    return whole


def begun(path: Path) -> bool:
    """Whether there is one already.

    Raises:
        InputError: for a file that is there and no journal.
    """
    if not path.is_file() or not path.stat().st_size:
        return False
    _whole(path)
    return True


def keep(path: Path) -> Path:
    """Give one another name that is free; it is returned."""
    names = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(1))
    name = next(name for name in names if not name.exists())
    path.rename(name)
    return name


def _first(path: Path, lines: list[bytes]) -> None:
    try:
        begins = json.loads(lines[0])["doctor"] == VERSION
    except (ValueError, KeyError, TypeError, IndexError):
        begins = False
    if not begins:
        raise InputError(f"{path} does not begin as a doctor's log does: name another file.")


def lines(path: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """The lines of a journal. A last one that a kill has cut is left out.

    Raises:
        InputError: for what is no journal, or damaged before its last line.
    """
    place = Path(path)
    if not place.is_file():
        raise InputError(f"There is no file {place}: check the spelling, or give the path from {Path.cwd()}.")
    texts = place.read_bytes().splitlines(keepends=True)
    _first(place, texts)
    for number, text in enumerate(texts, 1):
        if number == len(texts) and not text.endswith(b"\n"):
            return
        try:
            line: Any = json.loads(text)
        except ValueError:
            line = None
        if not isinstance(line, dict):
            raise InputError(f"{place} is damaged in line {number}: mend or delete that line.")
        yield cast(dict[str, Any], line)


def take(run: Run, line: Mapping[str, Any]) -> bool:
    """Add a line to a run.

    Returns:
        Whether it was the numbers of a step.

    Raises:
        KeyError, TypeError, ValueError: for a line that is none.
    """
    if "setup" in line:
        if line["setup"].get("names") != run.setup.get("names"):
            run.samples.clear()  # of other tensors
        run.setup.update(line["setup"])
    elif "settings" in line:
        run.settings.update(line["settings"])
    elif "fact" in line:
        run.facts[line["fact"]] = line["value"]
    elif "sample" in line:
        run.sample(int(line["step"]), {name: np.array(v, np.float64) for name, v in line["sample"].items()})
    elif "val_loss" in line:
        run.validated([float(line.get(name, math.nan)) for name in CHECKS])
    elif "loss" in line:
        run.add(*(float(line.get(name, math.nan)) for name in COLUMNS))
        return True
    return False
