"""Every kind of bad input: one plain sentence on stderr, exit status 2, nothing written."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from adamas.cli import COMMANDS, main
from adamas.problems import names

PROBLEMS = ", ".join(names())
ROWS = 40


def frame(**columns):
    rng = np.random.default_rng(0)
    base = {"a": rng.normal(size=ROWS), "b": rng.normal(size=ROWS), "y": rng.integers(2, size=ROWS)}
    return pd.DataFrame({**base, **columns})


def gaps(column, *at):
    column = column.astype(float).copy()
    column.iloc[list(at)] = np.nan
    return column


def numpy_problem(loss, gradient, start="[0.0]"):
    """Its gradient is in line 4."""
    return f"def start(rng): return {start}\ndef loss(p): return {loss}\ndef gradient(p, rng):\n    return {gradient}\n"


FILES = {
    "good.csv": frame(),
    "one.csv": frame(y="cat"),
    "rare.csv": frame(y=["cat"] * (ROWS - 1) + ["dog"]),
    "nan.csv": frame(a=gaps(frame()["a"], 1, 2, 5), y=gaps(frame()["y"], 0)),
    "inf.csv": frame(a=[np.inf] + [0.0] * (ROWS - 1)),
    "few.csv": frame().head(4),
    "lonely.csv": frame()[["y"]],
    "header.csv": frame().head(0),
    "empty.csv": "",
    "text.csv": frame(name=[f"person {i}" for i in range(ROWS)] * 1),
    "broken.npz": "no archive",
    "broken.parquet": "no parquet",
    "notes.txt": "hello",
    "raises.py": "import math\n\nx = math.sqrt(-1)\n",
    "syntax.py": "def f(:\n    pass\n",
    "nothing.py": "x = 1\n",
    "half.py": "def start(rng):\n    return [0.0]\n",
    "shape.py": numpy_problem("1.0", "[1.0]", start="[0.0, 1.0]"),
    "word.py": numpy_problem('"low"', "[1.0]"),
    "late.py": numpy_problem("1.0", "p / {}['k']"),
    "exits.py": "raise SystemExit(3)\n",
    "clash.py": "from adamas import rule\n@rule\ndef sgd(g, *, lr=0.1):\n    return lr * g\n",
    "rules.py": "from adamas import rule\n@rule\ndef mine(g, *, lr=0.1):\n    return lr * g\nother = 3\n",
}


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        if isinstance(content, str):
            Path(name).write_text(content)
        else:
            content.to_csv(name, index=False)
    np.savez("uneven.npz", x=np.zeros((5, 2)), y=np.zeros(4))
    np.savez("cube.npz", x=np.zeros((5, 2, 2)), y=np.zeros(5))
    frame(when=pd.Timestamp("2020-01-01")).to_parquet("dates.parquet")


def fails(capsys, *args):
    """What `adamas args` says on stderr; it must exit with 2 and keep quiet on stdout."""
    before = set(Path().iterdir())
    with pytest.raises(SystemExit) as exit:
        main(list(args))
    out, err = capsys.readouterr()
    assert exit.value.code == 2, err
    assert out == "" and "Traceback" not in err and err.count("\n") == 1
    assert {p for p in Path().iterdir() if p.name != "__pycache__"} == before
    return err.removeprefix("adamas: ").rstrip("\n")


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ("digit", f"Unknown problem 'digit': did you mean 'digits'? Known: {PROBLEMS}."),
        ("rosenbrok", f"Unknown problem 'rosenbrok': did you mean 'rosenbrock'? Known: {PROBLEMS}."),
        (
            "gone.csv --target y",
            "There is no file gone.csv: check the spelling, or give the path from {cwd}.",
        ),
        ("gone.py", "There is no file gone.py: check the spelling, or give the path from {cwd}."),
        (
            "notes.txt",
            "'notes.txt' is not a kind of file that can be raced on: "
            "give a built-in name or a .csv, .npz, .parquet or .py file.",
        ),
        (
            "data/mine",
            "'data/mine' is no built-in problem, nor is there a file that can be raced on: "
            "give a built-in name or a .csv, .npz, .parquet or .py file.",
        ),
        ("bowl --target y", "--target y only goes with a .csv, .npz, .parquet file, not with bowl."),
        ("good.csv", "good.csv needs --target, the column to predict: one of a, b, y."),
        ("good.csv --target z", "good.csv has no column 'z'; it has a, b, y."),
        (
            "one.csv --target y",
            "The target, column 'y' of one.csv, has one class only ('cat'): there is nothing to learn; "
            "a target needs at least two.",
        ),
        (
            "rare.csv --target y",
            "The target, column 'y' of rare.csv, has 2 classes in 40 rows, the rarest ('dog') with 1: "
            "each class needs 2 rows, and the 8 rows held back for validation must fit one of each.",
        ),
        (
            "nan.csv --target y",
            "nan.csv has cells that are empty, NaN or infinite: 3 in column 'a', 1 in column 'y'; "
            "fill them or drop the rows first.",
        ),
        (
            "inf.csv --target y",
            "inf.csv has cells that are empty, NaN or infinite: 1 in column 'a'; fill them or drop the rows first.",
        ),
        ("few.csv --target y", "few.csv has 4 rows: a race needs at least 10."),
        (
            "lonely.csv --target y",
            "lonely.csv has no column besides 'y': there is nothing to predict it from.",
        ),
        ("header.csv --target y", "header.csv has a header but no rows: a race needs at least 10."),
        ("empty.csv --target y", "empty.csv is empty: give a file with a header and at least 10 rows."),
        ("uneven.npz --target y", "uneven.npz: its arrays have different numbers of rows (x0 5, x1 5, y 4)."),
        (
            "cube.npz --target y",
            "cube.npz: array 'x' has shape (5, 2, 2); columns have one dimension, blocks two.",
        ),
        (
            "dates.parquet --target y",
            "dates.parquet: column 'when' holds dates; turn it into numbers or leave it out.",
        ),
        (
            "raises.py",
            "raises.py raised ValueError in line 3: math domain error; mend it and start again.",
        ),
        ("syntax.py", "syntax.py raised SyntaxError in line 1: invalid syntax; mend it and start again."),
        ("exits.py", "exits.py raised SystemExit in line 1: 3; mend it and start again."),
        (
            "nothing.py",
            "nothing.py defines no problem: a torch one defines model, batches, loss, validate; "
            "a NumPy one start, loss, gradient.",
        ),
        (
            "half.py",
            "half.py defines start() but no function loss, gradient; such a problem defines start, loss, gradient.",
        ),
        (
            "shape.py",
            "shape.py: gradient() has shape (1,) where the parameter has (2,); they must be the same.",
        ),
        ("word.py", "word.py: loss() returned str; it must be one number."),
        ("late.py", "late.py raised KeyError in line 4: 'k'; mend it and start again."),
        (
            "bowl --optimizers rules.py",
            "rules.py is a file: say which of its optimizers, as rules.py:my_rule.",
        ),
        (
            "bowl --optimizers rules.py:mime",
            "Unknown optimizer in rules.py 'mime': did you mean 'mine'? Known: mine.",
        ),
        (
            "bowl --optimizers rules.py:other",
            "other in rules.py is of type int: an optimizer is a function under @adamas.rule "
            "or a subclass of torch.optim.Optimizer.",
        ),
        (
            "bowl --optimizers sgd,,adam",
            "--optimizers 'sgd,,adam' has an empty name; give them as in --optimizers adamw,sgd.",
        ),
        ("bowl --optimizers clash.py:sgd", "The library has a rule 'sgd' itself: give yours another name."),
        ("bowl --optimizers sgd,sgd", "The optimizer 'sgd' is entered 2 times: once is enough."),
        (
            "bowl --optimizers torch.optim.Optimizer",
            "torch.optim.Optimizer is no torch optimizer: it must be a subclass of torch.optim.Optimizer.",
        ),
        (
            "bowl --optimizers torch.optimum.Adam",
            "The optimizer 'torch.optimum.Adam' cannot be imported: No module named 'torch.optimum'; "
            "check its dotted path.",
        ),
        (
            "bowl --optimizers torch.optim.Muon --jobs 1",
            "torch.optim.Muon trains matrices only and bowl has none: leave it out.",
        ),
        ("bowl --lrs 1e-3,x", "--lrs: 'x' is not a number; give learning rates as in --lrs 1e-3,3e-3,1e-2."),
        ("bowl --lrs 1e-3,-1", "The learning rate -1 cannot be raced: give positive numbers."),
        ("bowl --lrs nan", "The learning rate nan cannot be raced: give positive numbers."),
        ("bowl --seeds 0", "seeds = 0 is too small: it must be 1 or more."),
        ("bowl --steps -5", "steps = -5 is too small: it must be 1 or more."),
        ("bowl --seconds 0", "seconds = 0 is no time to race in: give a positive number."),
        ("bowl --target-metric nan", "The target metric nan cannot be reached: give a number."),
        (
            "bowl --resume",
            "There is no race to resume in race (no trials.jsonl): drop --resume, or name its -o folder.",
        ),
    ],
)
def test_race_says_what_is_wrong(capsys, tmp_path, args, sentence):
    said = fails(capsys, "race", *args.split(), *(["--optimizers", "sgd"] if "--opt" not in args else []))
    assert said == sentence.replace("{cwd}", str(tmp_path))


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ("rce", f"Unknown command 'rce': did you mean 'race'? Known: {', '.join(COMMANDS)}."),
        (
            "race bowl --sedes 3",
            "Unknown option '--sedes': did you mean '--seeds'? Known: --optimizers, --lrs, --seeds, --steps, "
            "--seconds, --target, --target-metric, --schedule, --warmup, --clip, --stop-early, --switch, --recipe, "
            "--jobs, --resume, -o, --output, --json, -h, --help.",
        ),
        ("race bowl bowl", "Got unexpected extra argument (bowl); see adamas race --help."),
        (
            "race bowl --seeds x",
            "Invalid value for '--seeds': 'x' is not a valid integer; see adamas race --help.",
        ),
        ("race bowl --lrs", "Option '--lrs' requires an argument; see adamas race --help."),
        ("--helq", "Unknown option '--helq': did you mean '--help'? Known: --version, -h, --help."),
    ],
)
def test_wrong_usage_is_one_sentence(capsys, args, sentence):
    assert fails(capsys, *args.split()) == sentence


@pytest.mark.parametrize("name", ["adamv", "Adam", "smd"])
def test_unknown_optimizer_suggests_the_nearest(capsys, name):
    said = fails(capsys, "race", "bowl", "--optimizers", name)
    assert said.startswith(f"Unknown optimizer {name!r}: did you mean '")


@pytest.mark.parametrize("file", ["broken.npz", "broken.parquet"])
def test_unreadable_files(capsys, file):
    said = fails(capsys, "race", file, "--target", "y", "--optimizers", "sgd")
    assert said.startswith(f"{file} cannot be read as {file.rpartition('.')[2].upper()}: ")


def test_names_and_free_text_are_refused(capsys):
    frame_of_people = pd.concat([FILES["good.csv"]] * 5, ignore_index=True)
    frame_of_people["name"] = [f"person {i}" for i in range(5 * ROWS)]
    frame_of_people.to_csv("people.csv")
    said = fails(capsys, "race", "people.csv", "--target", "y", "--optimizers", "sgd")
    assert said.startswith("people.csv: column 'name' holds 200 different words, over the 100 ")


def test_no_command_shows_the_help(capsys):
    with pytest.raises(SystemExit) as exit:
        main([])
    assert exit.value.code == 2 and "race" in capsys.readouterr().err
