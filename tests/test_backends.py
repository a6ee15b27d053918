"""The tables of `tests.backends`: what they measure, and that docs/rules.md has the right one."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests import backends
from tests.cases import CASES
from tests.running import WAYS

ADAM = next(case for case in CASES if case.name == "adam()")


def test_every_way_has_a_column() -> None:
    assert set(WAYS) <= set(backends.MACHINES)


def test_the_page_names_a_test_for_each_rule_and_machine() -> None:
    _, table, _ = backends.parts(backends.PAGE.read_text())
    assert table == backends.markdown(), "renew it by: python -m tests.backends --write"


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


def test_the_command() -> None:
    run = [sys.executable, "-m", "tests.backends", "numpy", "--json"]
    done = subprocess.run(run, capture_output=True, text=True, cwd=backends.PAGE.parents[1], check=True)
    assert list(json.loads(done.stdout)["numpy"]) == backends.rules()
