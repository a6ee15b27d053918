"""Somebody's own Python file: loading it, and saying in one sentence where it failed."""

import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from traceback import extract_tb
from types import ModuleType

from adamas.errors import InputError


@contextmanager
def blamed(path: Path, where: str = "") -> Generator[None]:
    """Turn whatever the file's code raises into one sentence with the exception, its message and the line.

    What it prints goes to stderr, so that `--json` stays JSON.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except InputError:
        raise
    except (Exception, SystemExit) as e:
        lines = [frame.lineno for frame in extract_tb(e.__traceback__) if Path(frame.filename) == path.resolve()]
        line = e.lineno if isinstance(e, SyntaxError) else lines[-1] if lines else None
        message = " ".join((e.msg if isinstance(e, SyntaxError) else str(e)).split())
        raise InputError(
            f"{path} raised {type(e).__name__}"
            + (f" in line {line}" if line else "")
            + (f" ({where})" if where else "")
            + (f": {message}" if message else "")
            + "; mend it and start again."
        ) from None


def load_module(path: Path) -> ModuleType:
    """Run the file as a module, its own folder importable as if it were run as a script."""
    if not path.is_file():
        raise InputError(f"There is no file {path}: check the spelling, or give the path from {Path.cwd()}.")
    name = f"adamas_user_{path.stem}_{digest(path)}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise InputError(f"{path} is not a Python file: its name must end in .py.")
    module = module_from_spec(spec)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    sys.modules[name] = module
    try:
        with blamed(path):
            spec.loader.exec_module(module)
    except InputError:
        del sys.modules[name]
        raise
    return module


def digest(path: Path) -> str:
    """Changes when the file does."""
    return sha256(path.read_bytes()).hexdigest()[:16]
