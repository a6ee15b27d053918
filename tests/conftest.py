"""What every test may count on."""

import os
from collections.abc import Iterator

import pytest

from adamas import registry

# Tests run beside one another, and torch's threads would fight for the cores; those about threads ask for more.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KERAS_BACKEND", "torch")  # tensorflow, its first choice, is not what is tested here


@pytest.fixture(autouse=True)
def _rules_of_a_test_go_with_it() -> Iterator[None]:
    before = dict(registry._REGISTRY)
    yield
    registry._REGISTRY.clear()
    registry._REGISTRY.update(before)
