"""Rule + options → kernel: built once for each combination of static choices, and kept.

Compiled kernels are kept on disk too, in the user's cache folder under the hash of their text, so that a second
process compiles nothing. ``ADAMAS_CACHE`` names another folder. Where the folder cannot be written, or others can write
to it too, the kernel is compiled in memory and works all the same.
"""

import ast
import hashlib
import importlib.util
import linecache
import os
import pickle
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from adamas import intrinsics, lowering
from adamas.dialect import evaluate, names
from adamas.errors import unknown
from adamas.lowering.source import Program, program
from adamas.lowering.storage import Kinds
from adamas.registry import AFTER, AVERAGE, BEFORE, CLEAR, KEEP, TAIL, Rule

BACKENDS = ("numpy", "numba", "torch", "triton", "jax", "javascript")

#: backend -> what its front asks of the driver: optax's updates are changes, and XLA takes denormals for 0.
DRIVEN: Mapping[str, Mapping[str, bool]] = {"jax": {"as_change": True, "flushes": True}}

#: Smallest normal number of each dtype that a kernel computes in.
TINY = {"float32": 2.0**-126, "float64": 2.0**-1022}

Host = Callable[..., tuple[tuple[Any, ...], tuple[Any, ...]]]


@dataclass(eq=False)
class Kernel:
    """A rule under one combination of static choices, lowered on demand to any backend."""

    program: Program
    _loaded: dict[tuple[str, str, bool], Callable[..., Any]] = field(default_factory=dict)
    _addresses: dict[tuple[str, bool, Kinds], int] = field(default_factory=dict)

    @cached_property
    def host(self) -> Host:
        """Count, scalars and hyperparameters → coefficients and new scalars, in float64."""
        from adamas.lowering.host import render

        return _execute(render(self.program), f"{self.program.rule}_host", vars(intrinsics))["host"]

    @cached_property
    def host_of_tensors(self) -> Host:
        """The same where a hyperparameter is a torch tensor: the result stays on its graph."""
        from adamas.lowering import torch as words

        return _execute(self.program.host_text(), f"{self.program.rule}_host_torch", vars(words))["host"]

    @cached_property
    def host_of_tracers(self) -> Host:
        """The same where JAX traces it: both branches of a choice are computed."""
        from adamas.lowering import jax as words

        return _execute(words.host(self.program), f"{self.program.rule}_host_jax", vars(words))["host"]

    def text(self, backend: str, dtype: str = "float32", measured: bool = False) -> str:
        """The text that a backend runs.

        Raises:
            InputError: for a backend that there is not.
        """
        if backend not in BACKENDS:
            raise unknown("backend", backend, BACKENDS)
        return importlib.import_module(f"adamas.lowering.{backend}").render(self.program, dtype, measured)

    def load(self, backend: str, dtype: str = "float32", measured: bool = False) -> Callable[..., Any]:
        """The kernel over whole arrays, ready to call as its backend's file in `adamas.lowering` says."""
        key = backend, dtype, measured
        if key not in self._loaded:
            text, name = self.text(backend, dtype, measured), f"{self.program.rule}_{backend}_{dtype}"
            self._loaded[key] = _execute(text, name, {})["kernel"]
        return self._loaded[key]

    def address(self, dtype: str, measured: bool = False, kinds: Kinds = ()) -> int:
        """The address of the compiled C function that `adamas.lowering.numba.render` describes."""
        key = dtype, measured, kinds
        if key not in self._addresses:
            from adamas.lowering.numba import render

            text = render(self.program, dtype, measured, kinds)
            self._addresses[key] = compiled(text, f"{self.program.rule}_{dtype}").kernel.address
        return self._addresses[key]


@cache
def norm_address(dtype: str, kind: str = "") -> int:
    """The address of the C function that sums the squares of gradients, which may be kept in a way of their own."""
    from adamas.lowering.numba import render_norm

    return compiled(render_norm(dtype, kind), f"norm_{kind or dtype}").kernel.address


@cache
def launchable(dtype: str, measured: bool, variants: tuple[tuple[Kernel, Kinds, bool], ...]) -> Any:
    """The kernel that `adamas.lowering.triton.render_all` describes, ready to be launched.

    Args:
        dtype: what it computes in.
        measured: whether it measures.
        variants: kernel, how its arrays are kept, and whether they begin at multiples of 16 bytes.
    """
    from adamas.lowering.triton import Variant, render_all

    made = [Variant(kernel.program, kinds, aligned) for kernel, kinds, aligned in variants]
    return _execute(render_all(made, dtype, measured), f"{made[0].program.rule}_triton_{dtype}", {})["kernel"]


@cache
def lead_launchable(kinds: tuple[tuple[str, bool], ...], kernels: tuple[Kernel, ...] = ()) -> Any:
    """The kernel that `adamas.lowering.triton.render_lead` describes, ready to be launched."""
    from adamas.lowering.triton import render_lead

    return _execute(render_lead(kinds, [kernel.program for kernel in kernels]), "lead_triton", {})["kernel"]


_KERNELS: dict[tuple[Rule, tuple[bool, ...]], Kernel] = {}


def select(rule: Rule, hyper: Mapping[str, Any]) -> Kernel:
    """The kernel for the static choices that these hyperparameters make.

    Raises:
        InputError: where the rule refuses the combination.
    """
    hyper = {**TAIL, **hyper}
    key = (rule, tuple(bool(evaluate(test, hyper)) for test in _tests(rule)))
    if key not in _KERNELS:
        _KERNELS[key] = Kernel(program(rule, hyper))
    return _KERNELS[key]


def _tests(rule: Rule) -> tuple[ast.expr, ...]:
    return (*BEFORE.tests, *rule.source.tests, *AFTER.tests, *KEEP.tests, *AVERAGE.tests, *CLEAR.tests)


@cache
def choosing(rule: Rule) -> frozenset[str]:
    """The hyperparameters whose values choose a kernel."""
    return frozenset(name for test in _tests(rule) for name in names(test))


def _execute(text: str, name: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """Run a generated text; tracebacks and debuggers show its lines."""
    file = f"<adamas {name} {hashlib.sha256(text.encode()).hexdigest()[:12]}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    space = {**names, "__name__": f"adamas.generated.{name}"}
    exec(compile(text, file, "exec"), space)
    return space


def cache_folder() -> Path:
    """Where compiled kernels are kept: ``$ADAMAS_CACHE``, or the user's cache folder."""
    if named := os.environ.get("ADAMAS_CACHE"):
        return Path(named)
    from platformdirs import user_cache_path

    return user_cache_path("adamas") / "kernels"


@cache
def compiled(text: str, name: str) -> ModuleType:
    """Import a text that Numba compiles, from its file in the cache folder if that can be had.

    The text finds a name ``CACHE``, which says whether Numba is to keep what it compiles.
    """
    text = f"# Made by adamas; safe to delete. {_stamp()}\nCACHE = True\n{text}"
    module_name = f"adamas_{name}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    try:
        path = _own_folder() / f"{module_name}.py"
        if not path.exists() or path.read_text() != text:
            _write(path, text)
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module  # Numba's cache finds the functions' module by name
        spec.loader.exec_module(module)
    except (OSError, EOFError, pickle.PickleError):
        # A folder that cannot be written or is not ours alone, a full disk, a damaged cache: compile in memory.
        sys.modules.pop(module_name, None)
        module = ModuleType(module_name)
        vars(module).update(_execute(text.replace("CACHE = True", "CACHE = False", 1), name, {}))
        sys.modules[module_name] = module
    return module


def _own_folder() -> Path:
    """The cache folder, made if it is not there.

    Raises:
        OSError: where it cannot be made, or where others can write to it: what lies in it is run.
    """
    folder = cache_folder()
    for place in (folder, folder / "__pycache__"):  # in which Numba keeps machine code
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        status = place.stat()
        if hasattr(os, "geteuid") and (status.st_uid not in (os.geteuid(), 0) or status.st_mode & 0o022):
            warnings.warn(
                f"Kernels are not kept in {place}, which somebody else owns or can write to, but compiled by each "
                "process: set ADAMAS_CACHE to a folder of your own, or take that right from the others (chmod go-w).",
                stacklevel=2,
            )
            raise PermissionError(f"{place} is not the user's alone")
    return folder


def _write(path: Path, text: str) -> None:
    """Write aside and rename, so that no other process ever reads half a file."""
    handle, aside = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.utime(aside, (0, 0))  # Numba goes by the time of the file: the same text is the same kernel
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def _stamp() -> str:
    """Changes with what a compiled text is made of beside itself: the words, and how they are compiled."""
    content = b"".join(file.read_bytes() for file in sorted(Path(lowering.__file__).parent.glob("*.py")))
    return hashlib.sha256(content).hexdigest()[:16]
