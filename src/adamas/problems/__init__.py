"""What can be raced on: test surfaces, data sets, files, somebody's own Python file."""

from collections.abc import Callable
from pathlib import Path

from adamas.errors import InputError, unknown
from adamas.problems.base import Problem


def _data(name: str) -> Problem:
    from adamas.problems import datasets

    return getattr(datasets, name.replace("-", "_"))()


def _surface(name: str) -> Problem:
    from adamas.problems.landscape import SurfaceProblem

    return SurfaceProblem(name)


def _reddi(name: str) -> Problem:
    from adamas.problems.landscape import ReddiProblem

    return ReddiProblem()


def names() -> dict[str, Callable[[str], Problem]]:
    """Every built-in problem's name, with what makes it."""
    from adamas.problems.surfaces import SURFACES

    data = ("digits", "digits-softmax", "digits-cnn", "breast-cancer", "sparse-embedding")
    return {**dict.fromkeys(data, _data), "reddi": _reddi, **dict.fromkeys(SURFACES, _surface)}


def load(what: str, target: str | None = None) -> Problem:
    """The problem called `what`: a built-in name, or the path of a .csv, .npz, .parquet or .py file.

    Args:
        target: the column to predict, for the first three kinds of file.

    Raises:
        InputError: in one sentence, whatever is wrong with it.

    >>> load("booth").about
    'test surface of two variables, start (-6.0, 4.0)'
    """
    from adamas.problems.files import SUFFIXES

    known = names()
    path = Path(what)
    is_table, is_code = path.suffix in SUFFIXES, path.suffix == ".py"
    if what not in known and not is_table and not is_code:
        if path.is_file() or path.suffix or len(path.parts) > 1:
            state = "is not a kind of file" if path.exists() else "is no built-in problem, nor is there a file"
            raise InputError(
                f"{what!r} {state} that can be raced on: give a built-in name or a {', '.join(SUFFIXES)} or .py file."
            )
        raise unknown("problem", what, known)
    if target is not None and not is_table:
        raise InputError(f"--target {target} only goes with a {', '.join(SUFFIXES)} file, not with {what}.")
    if what in known:
        return known[what](what)
    if not path.is_file():
        raise InputError(f"There is no file {what}: check the spelling, or give the path from {Path.cwd()}.")
    if is_table:
        from adamas.problems.files import file_problem

        return file_problem(path, target)
    from adamas.problems.module import ModuleProblem

    return ModuleProblem(path)
