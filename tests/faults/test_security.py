"""Nothing that is read from a file can run, but what the user has named."""

import ast
import json
import os
import pickle
import struct
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adamas
from adamas import checkpoint, kernel
from adamas.errors import InputError

ROOT = Path(adamas.__file__).parent

# -- the sources -----------------------------------------------------------------------------------------------------

#: What can run what it is given. A module stands for all that is in it.
DANGEROUS = (
    "eval exec compile __import__ exec_module importlib.import_module importlib.util importlib.machinery runpy "
    "pickle cloudpickle dill marshal shelve yaml joblib.load numpy.load pandas.read_pickle "
    "torch.load torch.jit torch.package subprocess os.system os.popen os.execv os.execvp os.spawnv os.startfile "
    "adamas.problems.usercode.load_module"
).split()

#: Where it may stand: (file, function, what), and what it is given.
SANCTIONED = {
    ("dialect.py", "evaluate", "eval"): "a condition of a rule that the user's program has registered",
    ("dialect.py", "_code", "compile"): "the same",
    ("kernel.py", "_execute", "exec"): "text that lowering has just written",
    ("kernel.py", "_execute", "compile"): "the same",
    ("kernel.py", "compiled", "importlib.util.spec_from_file_location"): "the same, in a file of the user's alone",
    ("kernel.py", "compiled", "importlib.util.module_from_spec"): "the same",
    ("kernel.py", "compiled", "exec_module"): "the same",
    ("kernel.py", "compiled", "pickle.PickleError"): "what Numba raises when its own file is damaged",
    ("kernel.py", "text", "importlib.import_module"): "a backend of this library",
    ("torch/launching.py", "engine_of", "importlib.util.find_spec"): "triton, which is only looked for",
    ("cli/__init__.py", "get_command", "importlib.import_module"): "a command of this library",
    ("doctor/findings/__init__.py", "", "importlib.import_module"): "a finding of this library",
    ("problems/base.py", "need", "importlib.import_module"): "an installed library, named in these sources",
    ("checkpoint.py", "_torch", "importlib.import_module"): "torch",
    ("checkpoint.py", "_lock", "importlib.import_module"): "fcntl",
    ("race/entrants.py", "_from_path", "importlib.import_module"): "a dotted path from the command line",
    ("race/entrants.py", "_from_file", "adamas.problems.usercode.load_module"): "a file from the command line",
    ("cli/check.py", "_checked", "adamas.problems.usercode.load_module"): "the same",
    ("pictures/scene.py", "entry", "adamas.problems.usercode.load_module"): "the same",
    ("pictures/scene.py", "surface", "adamas.problems.usercode.load_module"): "the same",
    ("pictures/frames.py", "mp4", "subprocess.PIPE"): "ffmpeg, with arguments of ours and pixels",
    ("pictures/frames.py", "mp4", "subprocess.Popen"): "the same",
    ("plan/weights.py", "_of_module", "adamas.problems.usercode.load_module"): "the same",
    ("bench/workloads.py", "_from_module", "adamas.problems.usercode.load_module"): "the same",
    ("bench/peers.py", "", "importlib.import_module"): "an installed library that is timed, named in these sources",
    ("bench/peers.py", "__init__", "importlib.import_module"): "the same",
    ("bench/peers.py", "installed", "importlib.util.find_spec"): "the same, not even imported",
    ("problems/module.py", "__init__", "adamas.problems.usercode.load_module"): "the same",
    ("problems/usercode.py", "load_module", "importlib.util.spec_from_file_location"): "the same",
    ("problems/usercode.py", "load_module", "importlib.util.module_from_spec"): "the same",
    ("problems/usercode.py", "load_module", "exec_module"): "the same",
    ("race/runner.py", "_work", "joblib.load"): "the problem, from this race's own temporary folder",
    ("problems/files.py", "_npz", "numpy.load"): "a table, without pickles: test_a_table_runs_nothing",
}


def dangers(source: str, file: str) -> Iterator[tuple[str, str, str]]:
    """Each mention of something dangerous, with the function it is in."""
    tree = ast.parse(source)
    meaning = {"np": "numpy", "pd": "pandas"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            meaning.update({alias.asname: alias.name for alias in node.names if alias.asname})
        elif isinstance(node, ast.ImportFrom) and node.module:
            meaning.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})

    def spelled(node: ast.AST) -> str:
        if isinstance(node, ast.Name):
            return meaning.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{spelled(node.value)}.{node.attr}"
        return ""

    def walk(node: ast.AST, function: str) -> Iterator[tuple[str, str, str]]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        name = spelled(node)
        if name.endswith(".exec_module"):
            name = "exec_module"
        if any(name == danger or name.startswith(f"{danger}.") for danger in DANGEROUS):
            yield file, function, name
        else:
            for child in ast.iter_child_nodes(node):
                yield from walk(child, function)

    yield from walk(tree, "")


def test_nothing_dangerous_stands_in_the_sources_but_where_it_may() -> None:
    found = {
        danger
        for path in sorted(ROOT.rglob("*.py"))
        for danger in dangers(path.read_text(), path.relative_to(ROOT).as_posix())
    }
    assert found == set(SANCTIONED)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from pickle import loads as read\ndef f(x): return read(x)", "pickle.loads"),
        ("import numpy as arrays\ndef f(x): return arrays.load(x)", "numpy.load"),
        ("def f(x):\n    pd = need('pandas')\n    return pd.read_pickle(x)", "pandas.read_pickle"),
        ("def f(x):\n    import torch\n    g = torch.load\n    return g(x)", "torch.load"),
        ("def f(x): return map(eval, x)", "eval"),
        ("import importlib\nclass A:\n    def f(x): return importlib.util.find_spec(x)", "importlib.util.find_spec"),
    ],
)
def test_the_search_finds(source: str, name: str) -> None:
    assert list(dangers(source, "a.py")) == [("a.py", "f", name)]


# -- files -----------------------------------------------------------------------------------------------------------


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, fuse: Path) -> None:
        self.fuse = fuse

    def __reduce__(self) -> Any:
        return Path.touch, (self.fuse,)


@pytest.fixture
def fuse(tmp_path: Path) -> Path:
    return tmp_path / "it ran"


def test_a_table_runs_nothing(fuse: Path, tmp_path: Path) -> None:
    from adamas.problems import load

    np.savez(tmp_path / "table.npz", x=np.zeros(40), y=np.array([Bomb(fuse)] * 40))
    with pytest.raises(InputError, match=r"table.npz cannot be read as NPZ"):
        load(str(tmp_path / "table.npz"), target="y")
    assert not fuse.exists()


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_is_no_checkpoint(protocol: int, fuse: Path, tmp_path: Path) -> None:
    path = tmp_path / "step-00000001.safetensors"
    path.write_bytes(pickle.dumps(Bomb(fuse), protocol))
    for place in (tmp_path, path):
        with pytest.raises(InputError, match="No checkpoint is intact"):
            checkpoint.load(place, part={})
    assert not fuse.exists()


def forged(folder: Path, parts: Any, **entry: Any) -> Path:
    """A file as only an adversary writes it: the checksum fits, the content does not."""
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **entry}
    metadata = {"blake2b": "0" * 64, "adamas": "checkpoint 1", "step": "1", "parts": parts}
    text = json.dumps({"__metadata__": metadata, "t": entry}, separators=(",", ":")).encode()
    content = struct.pack("<Q", len(text)) + text + bytes(8)
    path = folder / "step-00000001.safetensors"
    path.write_bytes(content.replace(b"0" * 64, blake2b(content, digest_size=32).hexdigest().encode(), 1))
    return path


TENSOR = '{"part": {"$array": "t"}}'


@pytest.mark.parametrize(
    ("parts", "entry"),
    [
        ("not JSON", {}),
        ("[" * 100_000, {}),
        ("null", {}),
        ('{"part": {"$array": "missing"}}', {}),
        ('{"part": {"$array": ["t"]}}', {}),
        ('{"part": {"$tuple": 3}}', {}),
        ('{"part": {"$dict": [[{"$dict": []}, 1]]}}', {}),
        ('{"part": {"$float": "__import__(\'os\')"}}', {}),
        ('{"part": {"$scalar": {"$scalar": 1}}}', {}),
        (TENSOR, {"dtype": "O"}),
        (TENSOR, {"dtype": "BF16", "shape": [4]}),  # which NumPy has not
        (TENSOR, {"shape": [3]}),
        (TENSOR, {"shape": [-1]}),
        (TENSOR, {"shape": [1 << 62]}),
        (TENSOR, {"shape": "22"}),
        (TENSOR, {"data_offsets": [8, 16]}),
        (TENSOR, {"data_offsets": [-(1 << 40), 8 - (1 << 40)]}),
        (TENSOR, {"data_offsets": [1 << 70, 8 + (1 << 70)]}),
    ],
)
def test_a_forged_checkpoint_is_refused_in_a_sentence(parts: Any, entry: dict[str, Any], tmp_path: Path) -> None:
    forged(tmp_path, parts, **entry)
    held = {"mine": 1}
    with pytest.raises(InputError, match="is no checkpoint"):
        checkpoint.load(tmp_path, part=held)
    assert held == {"mine": 1}


def test_the_forgery_itself_is_sound(tmp_path: Path) -> None:
    forged(tmp_path, TENSOR)
    held = np.ones(2, np.float32)
    assert checkpoint.load(tmp_path, part=held) == 1 and held.tolist() == [0, 0]


# -- the cache of kernels --------------------------------------------------------------------------------------------

TEXT = """
from numba import njit


@njit("float64(float64)", cache=CACHE)
def double(x):
    return x * {factor}
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAMAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def plant(cache: Path, fuse: Path, factor: int) -> str:
    """A kernel whose machine code in the cache somebody has replaced; returns its text."""
    text = TEXT.format(factor=factor)
    kernel.compiled.cache_clear()
    assert kernel.compiled(text, "double").double(2.0) == 2.0 * factor
    planted = list(cache.glob("__pycache__/*.nbi"))
    assert len(planted) == 1
    planted[0].write_bytes(pickle.dumps(Bomb(fuse)))
    kernel.compiled.cache_clear()  # as in a new process
    return text


def test_the_cache_is_made_for_the_user_alone(cache: Path) -> None:
    before = os.umask(0)
    try:
        kernel.compiled(TEXT.format(factor=2), "double")
    finally:
        os.umask(before)
    assert [p.stat().st_mode & 0o777 for p in (cache, cache / "__pycache__")] == [0o700, 0o700]


@pytest.mark.parametrize("where", [".", "__pycache__"])
@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_cache_that_others_can_write_to_is_not_used(where: str, mode: int, cache: Path, fuse: Path) -> None:
    text = plant(cache, fuse, 3)
    (cache / where).chmod(mode)
    with pytest.warns(UserWarning, match=r"set ADAMAS_CACHE to a folder of your own"):
        assert kernel.compiled(text, "double").double(2.0) == 6.0
    assert not fuse.exists()


def test_a_cache_of_somebody_else_is_not_used(cache: Path, fuse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = plant(cache, fuse, 4)
    if os.geteuid() == 0:
        os.chown(cache, 65534, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 65534)
    with pytest.warns(UserWarning, match=r"which somebody else owns"):
        assert kernel.compiled(text, "double").double(2.0) == 8.0
    assert not fuse.exists()


def test_the_user_s_own_is_used_and_so_is_what_stands_there(cache: Path, fuse: Path) -> None:
    """Were it not so, the tests above would show nothing."""
    text = plant(cache, fuse, 5)
    kernel.compiled(text, "double")
    assert fuse.exists()
