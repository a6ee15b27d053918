"""`adamas find-lr`: what it prints, draws and says when something is wrong."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adamas.cli import main
from adamas.race.rate import find_lr

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_problem.py"


def run(capsys: Any, *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit:
        main(["find-lr", *args])
    out, err = capsys.readouterr()
    return int(exit.value.code or 0), out, err


def test_a_surface_has_a_rate_below_its_limit(capsys: Any, tmp_path: Path) -> None:
    """On ½(x² + 100y²) gradient descent converges below 2/100."""
    status, out, err = run(capsys, "valley", "--optimizer", "sgd", "-o", str(tmp_path / "lr.png"))
    assert status == 0 and re.search(r"Suggested learning rate: 0.01. Of \d+ values tried from the same start", out)
    assert 'opt = optimizer("sgd")(params, lr=0.01)' in out and "η = 0.03, 30 steps: diverged" not in err
    assert err.splitlines()[0].endswith(".") and "Sweep: the loss diverged at η = " in err
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("optimizer", ["adamw", "torch.optim.SGD", "lion"])
def test_json_of_somebodys_own_problem(capsys: Any, optimizer: str) -> None:
    status, out, _ = run(capsys, str(EXAMPLE), "--optimizer", optimizer, "--json", "--trial", "40")
    told = json.loads(out)
    assert status == 0 and told["confident"] and 1e-4 <= told["suggestion"] <= 1
    assert f"lr={told['suggestion']:g}" in told["snippet"]
    assert set(told["suggestions"]) == {"valley", "steepest", "minimum", "slide"}
    assert told["steps"] == len(told["sweep"]["lrs"]) + sum(t["steps"] for t in told["trials"] if t["loss"] is not None)


def test_a_table_in_a_file(capsys: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3))
    np.savez(tmp_path / "table.npz", x=x, y=x @ [1.0, 2.0, 3.0])
    status, out, _ = run(capsys, str(tmp_path / "table.npz"), "--target", "y", "--json", "--optimizer", "adam")
    assert status == 0 and 1e-3 <= json.loads(out)["suggestion"] <= 0.3


def test_the_same_again_and_another_seed() -> None:
    one, again, other = (find_lr("digits-softmax", "sgd", seed=seed).test for seed in (0, 0, 1))
    assert one == again and one.losses != other.losses


def test_no_confident_suggestion_is_status_1(capsys: Any) -> None:
    status, out, _ = run(capsys, "valley", "--optimizer", "sgd", "--end", "1e-4")
    assert status == 1 and "No confident suggestion (at best η = 0.0001): the loss is lowest at the edge" in out
    assert "In your own training" not in out
    status, out, _ = run(capsys, "reddi", "--json")
    told = json.loads(out)
    assert status == 1 and told["suggestion"] is None and told["snippet"] is None


def test_a_problem_that_gives_nan(capsys: Any, tmp_path: Path) -> None:
    path = tmp_path / "cliff.py"
    path.write_text(
        "def start(rng): return [1.0]\n"
        "def loss(p): return float('nan')\n"
        "def gradient(p, rng): return [1.0]\n"
    )  # fmt: skip
    status, out, _ = run(capsys, str(path), "--optimizer", "sgd")
    assert status == 1 and "the loss of the first mini-batch is not finite, before any step" in out
    path.write_text(path.read_text().replace("float('nan')", "p[0] if p[0] > .9 else float('nan')"))
    result = find_lr(str(path), "sgd").test
    assert math.isfinite(result.losses[-1]) and "the loss was nan" in result.ended


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ("digit", "Unknown problem 'digit': did you mean 'digits'?"),
        ("bowl --optimizer adamv", "Unknown optimizer 'adamv': did you mean 'adam"),
        ("gone.csv --target y", "There is no file gone.csv: check the spelling"),
        ("bowl --target y", "--target y only goes with a .csv, .npz, .parquet file, not with bowl."),
        ("bowl --start 0", "start is 0: it must be a learning rate, a finite number above 0."),
        ("bowl --start nan", "start is nan: it must be a learning rate, a finite number above 0."),
        ("bowl --start 1 --end 1", "start is 1 and end 1: the end must be at least 10 times the start."),
        ("bowl --num-iter 3", "num_iter is 3: it must be 30 mini-batches or more."),
        ("bowl --trial 3", "trial is 3: it must be 10 mini-batches or more, or 0 for none."),
        ("bowl --seed -1", "seed = -1 is too small: it must be 0 or more."),
        ("bowl -o lr.gif", "-o lr.gif: it is a picture or a page; give a name that ends in .png or .html."),
        ("bowl -o no/lr.png", "-o no/lr.png: there is no folder no; make it first."),
        ("bowl --optimizer torch.optim.Muon", "torch.optim.Muon trains matrices only and bowl has none: leave it out."),
        ("bowl --lr 1", "Unknown option '--lr': did you mean '--"),
        ("bowl --num-iter x", "Invalid value for '--num-iter': 'x' is not a valid integer; see adamas find-lr --help."),
    ],
)
def test_bad_input_is_one_sentence(
    capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *args.split())
    assert status == 2 and out == "" and err.count("\n") == 1 and err.startswith(f"adamas: {sentence}"), err
    assert not list(tmp_path.iterdir())
