"""The picture and the winner's lines: drawn for every kind of result, and lines that run."""

from types import SimpleNamespace

import numpy as np
import pytest

from adamas.race.entrants import enter
from adamas.race.picture import draw
from adamas.race.snippet import snippet
from tests.race.tables import KINDS, made


@pytest.mark.parametrize(("kind", "number"), [("loss", 1), *((kind, 7) for kind in KINDS)])
def test_drawn_without_a_warning(tmp_path, kind, number):
    measure, plan, table = made(kind, number)
    draw(SimpleNamespace(name="made by hand", measure=measure), plan, table, tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["adamw", "momentum", "torch.optim.AdamW", "torch.optim.Muon"])
def test_the_lines_for_torch_train(name):
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))
    x = torch.randn(32, 3)

    def loss(model, batch):
        return (model(batch) - batch[:, :1]).square().mean()

    before = loss(model, x).item()
    exec(snippet(enter(name), 0.01, "torch"), {"model": model, "loss": loss, "batches": [x] * 30})
    assert loss(model, x).item() < 0.9 * before


@pytest.mark.parametrize("form", ["array", "list", "dict"])
def test_the_lines_for_numpy_train(form):
    p = np.array([1.0, -2.0])
    params = {"array": p, "list": [p], "dict": {"p": p}}[form]

    def gradient(params, batch):
        return {"array": 2 * p, "list": [2 * p], "dict": {"p": 2 * p}}[form]

    exec(snippet(enter("adam"), 0.1, "numpy"), {"params": params, "gradient": gradient, "batches": range(60)})
    assert abs(p).max() < 0.3


def test_the_lines_for_a_rule_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "own_rules.py").write_text(
        "from adamas import rule\n@rule\ndef slow(g, *, lr=0.1):\n    return lr * g\n"
    )
    monkeypatch.chdir(tmp_path)
    lines = snippet(enter("own_rules.py:slow"), 0.5, "numpy")
    monkeypatch.syspath_prepend(str(tmp_path))
    p = np.ones(2)
    exec(lines, {"params": p, "gradient": lambda p, b: p, "batches": [0]})
    assert p.tolist() == [0.5, 0.5]
