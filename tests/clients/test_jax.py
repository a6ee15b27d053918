"""flax and equinox: what their own loops make of the transformations."""

import pytest

pytest.importorskip("optax", reason="the front is optax's")


@pytest.mark.parametrize("client", ["flax", "equinox"])
def test_trained_as_by_optax(client):
    pytest.importorskip("flax", reason="it is a client")
    pytest.importorskip("equinox", reason="it is a client")
    from benchmarks import optax_idioms

    train = getattr(optax_idioms, f"by_{client}")
    loss, theirs, apart = optax_idioms.compared(train, "float64", steps=100)
    assert loss < 0.5 and abs(loss / theirs - 1) < 1e-9 and 0 < apart < 1e-9
