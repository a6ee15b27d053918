"""`adamas check`: the examples, the exit status, JSON, and every kind of bad input in one sentence."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from adamas import InputError
from adamas.cli import main
from adamas.torch import AdamW, preflight

ROOT = Path(__file__).parents[2]
SICK = ROOT / "examples" / "sick"

#: example -> what is found, the whole of it.
ILL = {
    "healthy.py": {},
    "raw_inputs.py": {"P02": "fail", "P07": "fail"},
    "cut_off.py": {"P11": "fail"},
    "two_softmaxes.py": {"P13": "warn", "P25": "fail"},
    "too_hot.py": {"P15": "fail", "P18": "warn", "P19": "warn", "P20": "warn"},
    "by_epochs.py": {"P17": "fail"},
}


def run(capsys, *args):
    with pytest.raises(SystemExit) as exit:
        main(["check", *map(str, args)])
    out, err = capsys.readouterr()
    return exit.value.code, out, err


@pytest.mark.parametrize("name", ILL)
def test_examples(name, capsys):
    status, out, err = run(capsys, SICK / name, "--json")
    told = json.loads(out)
    assert err == "" and status == (1 if "fail" in ILL[name].values() else 0)
    assert {r["code"]: r["status"] for r in told["results"] if r["status"] in ("warn", "fail")} == ILL[name]
    assert told["ok"] is (status == 0) and told["counts"]["fail"] == list(ILL[name].values()).count("fail")
    assert {"about", "file", "seconds"} < set(told) and set(told["results"][0]) == {
        *("code", "name", "status", "evidence", "remedy")
    }


def test_every_example_is_here():
    assert {path.name for path in SICK.glob("*.py")} == set(ILL)
    for path in SICK.glob("*.py"):
        assert len(path.read_text().splitlines()) < 55


def test_a_warning_is_no_failure(tmp_path, capsys):
    path = tmp_path / "t.py"
    path.write_text((SICK / "healthy.py").read_text().replace("def validate", "def judged"))
    status, out, _ = run(capsys, path, "--json")
    told = json.loads(out)
    assert status == 0 and told["ok"] and told["counts"]["warn"] == 1 and told["counts"]["fail"] == 0


def test_one_file_serves_a_race_and_a_check(capsys):
    status, out, _ = run(capsys, ROOT / "examples" / "my_problem.py")
    assert status == 0 and "warned" not in out and "failed" not in out


def test_the_table(capsys):
    """The worst first, remedies below; what does not apply in a line for each reason."""
    status, out, err = run(capsys, SICK / "too_hot.py")
    assert (status, err) == (1, "")
    marks = re.findall(r"^([✗!✓]) (P\d\d) ", out, re.M)
    assert [mark for mark, _ in marks] == sorted((mark for mark, _ in marks), key="✗!✓".index)
    assert out.count("→") == 4 and "– P17: There is no schedule." in out
    assert re.search(r"^1 failed, 3 warned, \d+ passed, 4 did not apply; [\d.]+ s\.$", out, re.M)


def test_in_a_notebook():
    model = nn.Linear(2, 1)
    x = torch.randn(8, 2)
    report = preflight(model, [(x, x)], None, loss_fn=lambda m, b: m(b[0]).square().mean(), steps=10)
    html = report._repr_html_()
    assert html.count("<tr>") == len(report.results) and "give validate(model) -&gt; number" in html
    with pytest.raises(AttributeError):
        report["P01"].status = "pass"
    assert str(report).splitlines()[0] == report.about


def test_steps_of_the_command_line_go_first(capsys):
    _, out, _ = run(capsys, SICK / "healthy.py", "--steps", "50", "--json")
    assert {r["code"]: r["status"] for r in json.loads(out)["results"]}["P16"] == "fail"


TORCH = "import torch\nfrom torch import nn\n"
WHOLE = (
    f"{TORCH}def model(): return nn.Linear(2, 1)\ndef batches(): return [torch.ones(4, 2)]\n"
    "def loss(model, batch): return model(batch).mean()\n"
)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1\n", "t.py lacks model, batches, loss: a training defines model(), batches() and loss("),
        (f"{TORCH}def model(): pass\nbatches = []\n", "t.py lacks batches, loss: a training defines"),
        (
            "def start(rng): pass\ndef loss(p): pass\ndef gradient(p, rng): pass\n",
            "t.py is a problem for plain NumPy, which is raced and not checked: a training defines model(), batches()",
        ),
        ("def f(:\n", "t.py raised SyntaxError in line 1: "),
        (WHOLE.replace("nn.Linear(2, 1)", "3"), "t.py: The model is a int: it must be a torch.nn.Module."),
        (WHOLE.replace("nn.Linear(2, 1)", "1 / 0"), "t.py raised ZeroDivisionError in line 3 (model()): division by"),
        (WHOLE.replace("[torch.ones(4, 2)]", "[]"), "t.py: The data gave no batch: there is nothing to train on."),
        (WHOLE.replace("[torch.ones(4, 2)]", "3"), "t.py raised TypeError (batches()): 'int' object is not iterable"),
        (WHOLE.replace(".mean()", ""), "t.py: The loss has shape (4, 1): it must be a scalar; end it with .mean()."),
        (WHOLE.replace(".mean()", ".mean().item()"), "t.py: The loss is a float: it must be a scalar tensor."),
        (
            WHOLE.replace(".mean()", ".mean().detach()"),
            "t.py: The loss does not depend on the model's parameters: look",
        ),
        (
            WHOLE.replace("model(batch).mean()", "torch.ones((), requires_grad=True) + model(batch).detach().sum()"),
            "t.py: The loss does not depend on the model's parameters: none of them gets a gradient.",
        ),
        (WHOLE.replace("batch).mean()", "batch[0])[7]"), "t.py raised IndexError in line 5 (loss()): index 7 is out"),
        (f"{WHOLE}steps = 0\n", "t.py: steps is 0: it must be a whole number from 1 on."),
        (f"{WHOLE}steps = 2.5\n", "t.py: steps is 2.5: it must be a whole number from 1 on."),
        (f"{WHOLE}clip_grad_norm = -1\n", "t.py: clip_grad_norm is -1: it must be a finite number above 0, or None."),
        (f"{WHOLE}def optimizer(model): return 1\n", "t.py: The optimizer is a int: it must be a torch.optim.Optimiz"),
        (
            f"{WHOLE}def optimizer(model): return torch.optim.Adam(model.parameters())\ndef schedule(o): return 1\n",
            "t.py: The schedule is a int: it must be one of torch.optim.lr_scheduler, or a function from the number",
        ),
        (f"{WHOLE}def validate(model): raise SystemExit\n", None),
    ],
)
def test_bad_files(text, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("t.py").write_text(text)
    status, out, err = run(capsys, "t.py")
    if sentence is None:  # a check, not a complaint
        assert status == 1 and "P23 validation" in out
        return
    assert (status, out) == (2, "") and err.startswith(f"adamas: {sentence}"), err
    assert err.count("\n") == 1 and "Traceback" not in err


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["gone.py"], "There is no file gone.py: check the spelling"),
        (["notes.txt"], "notes.txt is no Python file: give one that defines model, batches, loss."),
        ([str(SICK / "healthy.py"), "--steps", "0"], f"{SICK / 'healthy.py'}: steps is 0: it must be a whole number"),
        ([str(SICK / "healthy.py"), "--steps", "-4"], f"{SICK / 'healthy.py'}: steps is -4: it must be a whole numb"),
        ([str(SICK / "healthy.py"), "--steps", "many"], "Invalid value for '--steps'"),
        ([str(SICK / "healthy.py"), "--step", "4"], "Unknown option '--step': did you mean '--steps'?"),
        ([], "Missing argument 'FILE'"),
    ],
)
def test_bad_arguments(args, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *args)
    assert (status, out) == (2, "") and err.startswith(f"adamas: {sentence}"), err
    assert err.count("\n") == 1


def test_what_the_file_prints_does_not_spoil_the_json(tmp_path, capsys):
    path = tmp_path / "t.py"
    path.write_text(WHOLE.replace("return model(batch)", "print('hello'); return model(batch)"))
    _, out, err = run(capsys, path, "--json")
    assert json.loads(out)["file"] == str(path) and "hello" in err


GOOD = {"model": nn.Linear(2, 1), "data": [(torch.ones(4, 2), torch.ones(4, 1))], "optimizer": None}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"data": iter([1])}, "The data are an iterator: batches taken from it would be missing in training; give"),
        ({"data": 3}, "The data are a int: give a DataLoader or a list of batches."),
        (
            {"model": nn.Linear(2, 1).requires_grad_(False)},
            "The model has no parameter that requires a gradient: there",
        ),
        ({"model": nn.LazyLinear(1)}, "The model has a lazy parameter without a shape: run one batch through it first"),
        ({"loss_fn": "mse"}, "loss_fn is 'mse': it must be a function of the model."),
        ({"validate": 0.5}, "validate is 0.5: it must be a function of the model."),
        ({"schedule": lambda t: 1.0}, "There is a schedule and no optimizer: give both."),
        ({"steps": True}, "steps is True: it must be a whole number from 1 on."),
        (
            {"data": [torch.ones(4, 2)]},
            "A batch is a Tensor, and a loss of torch.nn takes pairs of inputs and targets:",
        ),
        ({"loss_fn": lambda m, b: m(b[0])}, r"The loss has shape \(4, 1\): it must be a scalar; end it with .mean()."),
    ],
)
def test_bad_arguments_of_the_function(given, sentence):
    with pytest.raises(InputError, match=f"^{sentence}"):
        preflight(**{**GOOD, "loss_fn": nn.functional.mse_loss, **given})


def test_what_cannot_be_copied_says_so():
    model = nn.Linear(2, 1)
    model.held = model.weight * 2  # no leaf: deepcopy refuses
    with pytest.raises(InputError, match=r"cannot be copied .* and a check is made on a copy: give a fresh one"):
        preflight(model, **{k: v for k, v in GOOD.items() if k != "model"}, loss_fn=nn.functional.mse_loss)


def test_an_optimizer_s_own_clipping_counts():
    model = nn.RNN(2, 1)
    loss = lambda m, b: m(b[0])[0].square().mean()  # noqa: E731
    for options, status in (({}, "warn"), ({"clip_grad_norm": 0.5}, "pass"), ({"clip_grad_value": 2.0}, "pass")):
        report = preflight(model, GOOD["data"], AdamW(model.parameters(), **options), loss_fn=loss)
        assert report["P21"].status == status


def test_the_page_has_a_row_for_every_check():
    page = (ROOT / "docs" / "check.md").read_text()
    told = re.findall(r"^\| (P\d\d [\w-]+) \|", page, re.M)
    report = preflight(**GOOD, loss_fn=nn.functional.mse_loss)
    assert told == [f"{result.code} {result.name}" for result in report.results]
