"""The tests of the kernels for GPUs, in a process of their own: see `tests/gpu/conftest.py`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "gpu"


@pytest.mark.parametrize("file", sorted(path.name for path in FOLDER.glob("test_*.py")))
def test_in_the_interpreter(file: str) -> None:
    pytest.importorskip("triton", reason="triton is not installed, which runs and interprets the kernels for GPUs")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(FOLDER / file)]
    ran = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout


def test_the_benchmark_says_what_it_needs() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu"]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(command, env=hidden, cwd=FOLDER.parent.parent, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout.count("\n")) == (2, 1)
    assert "no NVIDIA GPU here" in ran.stdout
