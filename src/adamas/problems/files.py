"""A table in a file (CSV, NPZ, Parquet) as a problem; the target says whether to classify or to regress."""

from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from adamas.errors import InputError
from adamas.problems.base import Problem, need
from adamas.problems.networks import NetworkProblem, small_mlp
from adamas.problems.table import split

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".npz", ".parquet")
FEW = 20
"""A target of whole numbers with at most so many different ones is taken for classes."""
MANY_WORDS = 100
"""A column of words with more different ones is taken for names or free text, and refused."""
ROWS = 10
"""Fewer rows cannot be split into a training and a validation part worth having."""


def file_problem(path: Path, target: str | None) -> Problem:
    """The problem in `path`: a network features-64-outputs, predicting `target` from the other columns."""
    frame = _read(path)
    columns = [str(c) for c in frame.columns]
    frame.columns = columns
    if target is None:
        raise InputError(f"{path} needs --target, the column to predict: one of {', '.join(columns)}.")
    if target not in columns:
        raise InputError(f"{path} has no column {target!r}; it has {', '.join(columns)}.")
    if len(columns) == 1:
        raise InputError(f"{path} has no column besides {target!r}: there is nothing to predict it from.")
    if len(frame) < ROWS:
        raise InputError(f"{path} has {len(frame)} rows: a race needs at least {ROWS}.")
    _no_gaps(path, frame)
    y, classes = _target(path, frame[target])
    table = split(_features(path, frame.drop(columns=target)), y, classes)
    what = f"network {table.x.shape[1]}-64-{classes or 1} predicting {target!r}"
    steps = int(np.clip(20 * len(table.x) / 64, 300, 2000))
    return NetworkProblem(path.name, table, small_mlp, what, steps)


def _read(path: Path) -> "pd.DataFrame":
    pandas: Any = need("pandas", "data")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty: give a file with a header and at least {ROWS} rows.")
    try:
        if path.suffix == ".csv":
            with path.open(encoding="utf-8") as f:
                header = f.readline()
            frame = pandas.read_csv(path, sep=max(",;\t", key=header.count), skipinitialspace=True)
        elif path.suffix == ".parquet":
            frame = pandas.read_parquet(path)
        else:
            frame = _npz(path)
    except InputError:
        raise
    except (ValueError, OSError, BadZipFile, KeyError) as e:  # parsers of all three derive from these
        reason = str(e).splitlines()[0].rstrip(".") if str(e) else type(e).__name__
        raise InputError(f"{path} cannot be read as {path.suffix[1:].upper()}: {reason}.") from None
    if not len(frame):
        raise InputError(f"{path} has a header but no rows: a race needs at least {ROWS}.")
    return frame


def _npz(path: Path) -> "pd.DataFrame":
    """Every array is a column, or a block of columns name0, name1, … if it is two-dimensional."""
    pandas: Any = need("pandas", "data")
    columns: dict[str, Any] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            a = arrays[name]
            if a.ndim == 1:
                columns[name] = a
            elif a.ndim == 2:
                columns.update({f"{name}{i}": a[:, i] for i in range(a.shape[1])})
            else:
                raise InputError(f"{path}: array {name!r} has shape {a.shape}; columns have one dimension, blocks two.")
    lengths = {name: len(a) for name, a in columns.items()}
    if len(set(lengths.values())) > 1:
        rows = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise InputError(f"{path}: its arrays have different numbers of rows ({rows}).")
    return pandas.DataFrame(columns)


def _no_gaps(path: Path, frame: "pd.DataFrame") -> None:
    numbers = frame.select_dtypes("number").astype("float64")
    missing: Any = frame.isna().sum()
    infinite: Any = numbers.isin([np.inf, -np.inf]).sum()
    bad = missing.add(infinite, fill_value=0).astype(int)
    gaps = [f"{n} in column {c!r}" for c, n in bad[list(frame.columns)].items() if n]
    if gaps:
        raise InputError(
            f"{path} has cells that are empty, NaN or infinite: {', '.join(gaps)}; fill them or drop the rows first."
        )


def _target(path: Path, column: Any) -> tuple[Any, int]:
    """Class numbers and how many classes, or the values and 0."""
    pandas: Any = need("pandas", "data")
    numeric = pandas.api.types.is_numeric_dtype(column) and not pandas.api.types.is_bool_dtype(column)
    different = int(column.nunique())
    name = f"column {column.name!r} of {path}"
    if different == 1:
        raise InputError(
            f"The target, {name}, has one class only ({column.iloc[0]!r}): there is nothing to learn; "
            "a target needs at least two."
        )
    if numeric and not (different <= FEW and bool((column == column.round()).all())):
        return column.to_numpy(np.float64), 0
    codes, names = pandas.factorize(column, sort=True)
    counts = np.bincount(codes)
    held_back = -(-len(codes) // 5)
    if counts.min() < 2 or different > held_back:
        rare = names[int(counts.argmin())]
        raise InputError(
            f"The target, {name}, has {different} classes in {len(codes)} rows, the rarest ({rare!r}) with "
            f"{counts.min()}: each class needs 2 rows, and the {held_back} rows held back for validation "
            "must fit one of each."
        )
    return codes.astype(np.int64), different


def _features(path: Path, frame: "pd.DataFrame") -> Any:
    """Numbers as they are, true/false as 1/0, a column for each different word: float64, (rows, features)."""
    pandas: Any = need("pandas", "data")
    for name, column in frame.items():
        if pandas.api.types.is_datetime64_any_dtype(column):
            raise InputError(f"{path}: column {name!r} holds dates; turn it into numbers or leave it out.")
        words = not pandas.api.types.is_numeric_dtype(column)
        if words and column.nunique() > MANY_WORDS:
            raise InputError(
                f"{path}: column {name!r} holds {column.nunique()} different words, over the {MANY_WORDS} "
                "that are taken for categories; leave it out."
            )
    return pandas.get_dummies(frame, dtype="float64").to_numpy(np.float64)
