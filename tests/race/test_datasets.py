"""Data problems: what is learnt from, how it is split and scaled, and that every problem is repeatable."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from adamas.errors import InputError
from adamas.problems import load, names
from adamas.problems.base import Batches

EXAMPLES = Path(__file__).parents[2] / "examples"
ROWS = 200


def walk(problem, seed, steps=5):
    """Losses and measures of a few steps of plain gradient descent by hand."""
    training = problem.begin(seed)
    seen = [training.validate()[0]]
    for _ in range(steps):
        seen.append(training.backward())
        if problem.front == "numpy":
            for name, p in training.parameters.items():
                p -= 1e-4 * training.gradients[name]
        else:
            for p in training.parameters:
                p.data -= 1e-2 * p.grad
        training.constrain()
    return [*seen, training.validate()[0]]


@pytest.mark.parametrize("name", [*names(), str(EXAMPLES / "my_problem.py")])
def test_same_seed_same_run_other_seed_other_run(name):
    problem = load(name)
    first = walk(problem, 1)
    assert np.isfinite(first).all()
    assert walk(problem, 1) == first
    if name != "reddi":  # its losses are the same for all x up to rounding of the start
        assert walk(problem, 2) != first
    assert problem.about and problem.steps >= 100 and problem.fingerprint()


@pytest.mark.parametrize("name", ["digits-softmax", "breast-cancer"])
def test_softmax_gradient_is_the_slope_of_its_loss(name):
    problem = load(name)
    training = problem.begin(1)
    rng = np.random.default_rng(0)
    for p in training.parameters.values():
        p += 0.1 * rng.standard_normal(p.shape)
    training.backward()
    gradient = {k: g.copy() for k, g in training.gradients.items()}
    batch = problem.begin(1)
    for name_of, at in (("weight", (5, 1)), ("bias", (1,))):
        values = []
        for sign in (1, -1):
            other = problem.begin(1)
            for key, p in training.parameters.items():
                other.parameters[key][...] = p
            other.parameters[name_of][at] += sign * 1e-6
            values.append(other.backward())
        assert gradient[name_of][at] == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-8)
    assert batch.backward() == pytest.approx(np.log(problem.table.classes))


@pytest.mark.parametrize("name", ["digits", "breast-cancer"])
def test_split_is_stratified_and_scaled_on_the_training_part_alone(name):
    table = load(name).table
    counts = np.bincount(table.y) / len(table.y), np.bincount(table.vy) / len(table.vy)
    np.testing.assert_allclose(*counts, atol=0.01)
    np.testing.assert_allclose(table.x.mean(axis=0), 0, atol=1e-9)
    used = table.x.std(axis=0) > 0
    np.testing.assert_allclose(table.x.std(axis=0)[used], 1)
    assert abs(table.vx.mean(axis=0)).max() > 1e-3  # their own mean was not taken away


def test_reddi_keeps_x_where_it_may_be():
    training = load("reddi").begin(0)
    for far, end in ((7.0, 1.0), (-7.0, -1.0), (0.3, 0.3)):
        training.parameters["x"][...] = far
        training.constrain()
        assert training.parameters["x"] == end


def test_batches_cover_every_row_once_an_epoch_the_ragged_last_included():
    batches = Batches(10, 4, np.random.default_rng(0))
    epochs = [[next(batches) for _ in range(3)] for _ in range(2)]
    assert [len(b) for b in epochs[0]] == [4, 4, 2]
    for epoch in epochs:
        assert sorted(np.concatenate(epoch)) == list(range(10))
    assert not np.array_equal(np.concatenate(epochs[0]), np.concatenate(epochs[1]))


def frame():
    rng = np.random.default_rng(0)
    colour = rng.choice(["red", "green", "blue"], ROWS)
    a = rng.normal(3, 2, ROWS)
    return pd.DataFrame({"a": a, "colour": colour, "flag": rng.random(ROWS) < 0.5, "y": a + (colour == "red")})


TARGETS = {
    "real numbers": (lambda f: f["y"], 0),
    "few whole numbers": (lambda f: (f["a"] > 3) + 1, 2),
    "whole numbers as floats": (lambda f: (f["a"] > 3) * 1.0, 2),
    "many whole numbers": (lambda f: (100 * f["a"]).astype(int), 0),
    "words": (lambda f: pd.cut(f["a"], [-99, 1, 4, 99], labels=["low", "fair", "high"]).astype(str), 3),
    "true and false": (lambda f: f["a"] > 3, 2),
}


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
def test_file_kind_of_target_is_found_out(tmp_path, kind, suffix):
    make, classes = TARGETS[kind]
    f = frame()
    f["y"] = make(f)
    path = tmp_path / f"data.{suffix}"
    if suffix == "csv":
        f.to_csv(path, index=False)
    elif suffix == "parquet":
        f.to_parquet(path)
    else:
        np.savez(path, y=f["y"].to_numpy(dtype=str if kind == "words" else None), x=f[["a"]], b=f["flag"])
    problem = load(str(path), target="y")
    assert problem.table.classes == classes
    assert problem.table.x.shape == (160, 2 if suffix == "npz" else 5) and len(problem.table.vx) == 40
    assert problem.measure.second == ("accuracy" if classes else "R²")
    if classes:
        assert set(problem.table.y) == set(range(classes))
    else:
        assert problem.table.y.mean() == pytest.approx(0) and problem.table.y.std() == pytest.approx(1)
    before, after = walk(problem, 1, steps=150)[::151]
    assert after < before


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv_separators(tmp_path, separator):
    path = tmp_path / "data.csv"
    frame().to_csv(path, index=False, sep=separator)
    assert load(str(path), target="y").table.x.shape[1] == 5


def test_fingerprint_follows_the_data(tmp_path):
    path = tmp_path / "data.csv"
    f = frame()
    f.to_csv(path, index=False)
    before = load(str(path), target="y").fingerprint()
    assert load(str(path), target="y").fingerprint() == before
    f.loc[3, "a"] += 1
    f.to_csv(path, index=False)
    assert load(str(path), target="y").fingerprint() != before


NUMPY = """
import numpy as np
steps = 40
def start(rng):
    return {"w": rng.normal(size=3).astype(np.float32), "b": 1}
def loss(p):
    return float(np.sum(p["w"] ** 2) + p["b"] ** 2)
def gradient(p, rng):
    print("noise")
    return {"w": 2 * p["w"], "b": 2 * p["b"]}
"""


def test_a_numpy_file_with_a_dict_of_arrays(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(NUMPY)
    problem = load(str(path))
    assert (problem.front, problem.steps) == ("numpy", 40)
    training = problem.begin(3)
    training.backward()
    assert training.parameters["w"].dtype == np.float32 and training.parameters["b"].dtype == np.float64
    np.testing.assert_allclose(training.gradients["w"], 2 * training.parameters["w"])
    assert training.validate() == (pytest.approx(training.backward()), None)
    assert capsys.readouterr().out == ""  # what it prints does not spoil --json


def test_a_torch_file_that_has_no_model(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def model(): return 3\ndef batches(): return []\ndef loss(m, b): ...\ndef validate(m): ...\n")
    with pytest.raises(InputError, match=r"model\(\) returned int, not a torch.nn.Module"):
        load(str(path)).rehearse()
    path.write_text(
        "import torch\ndef model(): return torch.nn.Linear(1, 1)\ndef batches(): return []\n"
        "def loss(m, b): ...\ndef validate(m): return 1.0\n"
    )
    with pytest.raises(InputError, match=r"batches\(\) gave no batch"):
        load(str(path)).rehearse()
