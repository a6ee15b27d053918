"""The tables of `tests.backends`: what they measure, and that docs/rules.md has the right one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import backends
from tests.cases import CASES
from tests.running import WAYS

ADAM = next(case for case in CASES if case.name == "adam()")


def test_every_way_has_a_column() -> None:
    assert {*WAYS, "triton"} == set(backends.MACHINES)


def test_the_page_names_a_test_for_each_rule_and_machine() -> None:
    _, table, _ = backends.parts(backends.PAGE.read_text())
    assert table == backends.markdown(), "renew it by: python -m tests.backends --write"
    for file in ("conformance/test_trajectories.py", "gpu/test_kernels.py"):
        text = (Path(__file__).parent / file).read_text()
        assert '@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)\ndef test_float64_is_the' in text


@pytest.mark.parametrize("way", ["numpy", "numba", "torch-eager"])
def test_every_rule_stays_within_the_bound(way) -> None:
    if way == "torch-eager":
        pytest.importorskip("torch")
    found = backends.measure(CASES, WAYS[way])
    assert isinstance(found, dict) and list(found) == backends.rules()
    assert max(found.values()) <= backends.BOUND


def off_by(relative):
    def way(case, theta, grads, dtype):
        param, states = WAYS["numba"](case, theta, grads, dtype)
        return param * np.float32(1 + relative), states

    return way


def test_a_backend_that_is_off_is_seen() -> None:
    assert backends.error(ADAM, WAYS["numba"]) <= backends.BOUND < backends.error(ADAM, off_by(2e-6))


def test_a_missing_library_is_named() -> None:
    def way(*given):
        raise ModuleNotFoundError("No module named 'jax'", name="jax")

    assert backends.measure(CASES, way) == "needs jax"


def run(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        cwd=backends.PAGE.parents[1],
        check=True,
    )
    return done.stdout


def test_the_command() -> None:
    command = ("-m", "tests.backends", "numpy")
    assert list(json.loads(run(*command, "--json"))["numpy"]) == backends.rules()
    assert "adamw" in run(*command)


def test_the_column_of_triton_is_tritons() -> None:
    pytest.importorskip("triton")
    code = (
        "from tests import backends; from tests.cases import CASES; from adamas.torch.launching import _Launch\n"
        "launched, run = [], _Launch.run\n"
        "_Launch.run = lambda self, crew: launched.append(0) or run(self, crew)\n"
        "print(next(backends.error(case, backends.triton) for case in CASES if case.name == 'adam()'), len(launched))"
    )
    error, launched = run("-c", code, TRITON_INTERPRET="1").split()
    assert float(error) == backends.error(ADAM, WAYS["numba"]) and int(launched) == backends.STEPS
