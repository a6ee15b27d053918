"""What every test may count on."""

import os
from collections.abc import Iterator

import pytest

from adamas import registry

# Tests run beside one another, and torch's threads would fight for the cores; those about threads ask for more.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KERAS_BACKEND", "torch")  # tensorflow, its first choice, is not what is tested here

#: Begun first: each of these waits long for processes of its own, and at the end would leave all workers but one idle.
LONG = ("tests/test_gpu.py", "tests/clients/test_distributed.py", "tests/clients/test_examples.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))


@pytest.fixture(autouse=True)
def _rules_of_a_test_go_with_it() -> Iterator[None]:
    before = dict(registry._REGISTRY)
    yield
    registry._REGISTRY.clear()
    registry._REGISTRY.update(before)
