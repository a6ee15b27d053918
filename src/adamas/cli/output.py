"""Where a command writes to, checked before it begins."""

from collections.abc import Callable
from pathlib import Path

import click

from adamas.errors import InputError


def folder(path: Path) -> Path:
    """The path, if there is a folder for it.

    Raises:
        InputError: where there is none.
    """
    if not path.absolute().parent.is_dir():
        raise InputError(f"-o {path}: there is no folder {path.parent}; make it first.")
    return path


def named(what: str, *suffixes: str) -> Callable[[click.Context, click.Parameter, str | None], Path | None]:
    """A callback of ``-o`` for a file whose name ends in one of these; ``what`` says of it what it is."""

    def check(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
        if value is None:
            return None
        path = Path(value)
        if path.suffix.lower() not in suffixes:
            raise InputError(f"-o {value}: {what}; give a name that ends in {' or '.join(suffixes)}.")
        return folder(path)

    return check
