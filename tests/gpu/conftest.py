"""Kernels for GPUs: compiled where there is one, else by Triton's interpreter.

The interpreter must be chosen before triton is imported, for the whole process: `tests/test_gpu.py` runs this folder in
one of its own, and nobody else collects it.
"""

import importlib.util
import os

import pytest

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

if not INTERPRETED:
    import torch

    if not torch.cuda.is_available() or importlib.util.find_spec("triton") is None:
        collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> str:
    """Where tensors are that Triton's kernels step: the GPU, or the CPU with the GPU's engine."""
    import torch

    from adamas.torch import arrays
    from adamas.torch.launching import Launcher

    if not INTERPRETED:
        return "cuda"
    engines = [Launcher(torch.device("cpu"), capturable) for capturable in (False, True)]
    monkeypatch.setattr(arrays, "engine_of", lambda device, capturable: engines[capturable])
    return "cpu"
