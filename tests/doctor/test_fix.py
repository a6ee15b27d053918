"""Training a problem, being told what ails it, and training it again."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from torch import nn  # noqa: E402

from adamas.cli import main  # noqa: E402
from adamas.errors import InputError  # noqa: E402
from adamas.fix import Fix, fix  # noqa: E402

SICK = Path(__file__).resolve().parents[2] / "examples" / "sick"


def codes(treated: Fix, i: int) -> list[str]:
    return [finding.code for finding in treated.rounds[i].outcome.findings if finding.severity != "note"]


def executed(treated: Fix, model: Any, x: Any, y: Any) -> dict[str, Any]:
    """The names that its lines have left, with the loss of `model` as the loop ran."""
    losses: list[float] = []

    def loss(model: Any, batch: Any) -> Any:
        value = nn.functional.cross_entropy(model(batch[0]), batch[1])
        losses.append(float(value.detach()))
        return value

    batches = [(x[i : i + 64], y[i : i + 64]) for i in range(0, len(x) - 63, 64)] * 20
    names = {"model": model, "loss": loss, "batches": batches, "x": x}
    assert treated.lines is not None
    exec(treated.lines, names)
    assert losses[-1] < 0.7 * losses[0]
    return names


def test_an_eta_that_is_too_high_is_found_lowered_and_the_run_is_cured() -> None:
    treated = fix("digits", "adam", lr=0.3, steps=120)
    before, after = treated.rounds
    assert codes(treated, 0)[0] == "D201" and codes(treated, 1) == [] and treated.cured
    assert after.outcome.metric < 0.2 < before.outcome.metric
    assert set(treated.changes) == {"lr"} and treated.changes["lr"][0] == 0.3 > treated.changes["lr"][1]
    assert treated.verdict.startswith("Cured: lr 0.3 → ") and "nothing ails it any more" in treated.verdict
    assert f"lr={treated.changes['lr'][1]:g}" in str(treated.lines)


def test_a_healthy_run_is_run_once() -> None:
    treated = fix("digits", "adamw", lr=2e-3, steps=150, schedule="cosine", warmup=0.1)
    assert len(treated.rounds) == 1 and treated.cured and treated.lines is None and not treated.changes
    assert treated.verdict == "Nothing ails this run."


def test_a_note_is_tried_and_taken_back_if_it_does_not_help() -> None:
    treated = fix("digits", "adamw", lr=2e-3, steps=150, clip=1e4, schedule="cosine", warmup=0.1)
    assert len(treated.rounds) == 2 and treated.cured and not treated.changes
    assert treated.verdict.startswith("Nothing ails this run; what is only noted was tried: clip_grad_norm 10000 → ")


def test_what_it_is_given_is_what_is_trained() -> None:
    """The same numbers as a race's trial, which another loop computes."""
    from adamas.problems import load
    from adamas.race.around import Around
    from adamas.race.drive import run
    from adamas.race.entrants import enter
    from adamas.race.trials import Trial

    treated = fix("digits", "adamw", lr=2e-3, steps=40, schedule="cosine", warmup=0.1, clip=1.0, seed=3)
    entrant = enter("adamw")
    around = Around(schedule="cosine", warmup=0.1, clip=1.0)
    raced = run(load("digits"), entrant, Trial(entrant.identity, 2e-3, 3, 40), around=around)
    assert treated.rounds[0].outcome.metric == raced.metric


def test_clipping_that_holds_the_run_up_is_widened() -> None:
    treated = fix("digits", "sgd", lr=0.05, clip=1e-5, steps=120)
    assert codes(treated, 0)[0] == "D401" and treated.changes["clip_grad_norm"][0] == 1e-5
    assert "clip_grad_norm=" in str(treated.lines) and treated.best.outcome.metric < 1


def test_the_optimizer_of_a_file_is_treated_and_its_lines_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SICK))
    treated = fix(str(SICK / "too_hot.py"), steps=200)
    assert codes(treated, 0)[0] == "D201" and treated.cured and treated.changes["lr"][0] == 0.5
    import too_hot  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    names = executed(treated, too_hot.model(), too_hot.x[:1024], too_hot.y[:1024])
    assert names["opt"].param_groups[0]["initial_lr"] == treated.changes["lr"][1]
    assert names["opt"].param_groups[0]["weight_decay"] == 0.01  # as in the file
    assert treated.rounds[2].finding.severity == "note" and treated.changes["schedule"] == ("constant", "cosine")


def test_a_files_schedule_of_the_wrong_length_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SICK))
    treated = fix(str(SICK / "by_epochs.py"), steps=300)
    assert codes(treated, 0)[0] == "D204"
    assert treated.changes == {"schedule": ("StepLR", "cosine")} and "cosine(300)" in str(treated.lines)
    import by_epochs  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    names = executed(treated, by_epochs.model(), by_epochs.x[:1024], by_epochs.y[:1024])
    assert [group["betas"] for group in names["opt"].param_groups] == [(0.9, 0.98)] * 2


def test_inputs_are_normalised_and_the_recipe_goes_on_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SICK))
    treated = fix(str(SICK / "raw_inputs.py"), steps=300)
    assert codes(treated, 0)[0] == "D601" and treated.changes == {"normalise": (False, True)}
    inputs = treated.rounds[1].outcome.run.facts["inputs"]
    assert abs(inputs["mean"]) < 0.1 and abs(inputs["std"] - 1) < 0.1
    import raw_inputs  # pyright: ignore[reportMissingImports]

    torch.manual_seed(0)
    names = executed(treated, raw_inputs.model(), raw_inputs.x[:1024], raw_inputs.y[:1024])
    assert names["scheduler"] is names["recipe"].schedule


def test_what_no_setting_changes_is_told() -> None:
    treated = fix(str(SICK / "cut_off.py"))
    assert len(treated.rounds) == 1 and not treated.cured and treated.lines is None
    assert "D504 unreached-parameters" in treated.verdict and "no setting to change" in treated.verdict


OWN = """
import torch
from torch import nn
steps = 120
x = torch.randn(512, 8, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > 0).long()
def model(): return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
def batches(): return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 32, shuffle=True)
def loss(model, batch): return nn.functional.cross_entropy(model(batch[0]), batch[1])
def validate(model): return nn.functional.cross_entropy(model(x), y)
"""


@pytest.mark.parametrize(
    ("more", "code", "name", "before"),
    [
        (
            "def optimizer(m): return torch.optim.AdamW(m.parameters(), 1e-2, betas=(0.9, 0.9999))",
            "D302", "beta2", 0.9999,
        ),
        (
            "def optimizer(m): return torch.optim.Adam(m.parameters(), 1e-2, weight_decay=0.5)",
            "D303", "decoupled", False,
        ),
        (
            "from adamas.torch import AdamW\ndef optimizer(m): return AdamW(m.parameters(), 1e-2, eps=10.0)",
            "D301", "eps", 10.0,
        ),
        (
            "def optimizer(m): return torch.optim.SGD(m.parameters(), 0.1)\nclip_grad_norm = 1e-5",
            "D401", "clip_grad_norm", 1e-5,
        ),
        (
            "def optimizer(m): return torch.optim.AdamW(m.parameters(), 1e-2)\n"
            "def schedule(opt): return lambda t: max(0.0, 1 - t / 10)",
            "D204", "schedule", "<lambda>",
        ),
    ],
)  # fmt: skip
def test_each_setting_of_a_files_optimizer_can_be_changed(
    more: str, code: str, name: str, before: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"own_{code.lower()}.py"
    path.write_text(OWN + more)
    treated = fix(str(path))
    assert code in codes(treated, 0)
    tried = treated.rounds[1]
    assert tried.finding is not None and tried.finding.code == code
    assert treated.before[name] == before and tried.run[name] != before
    settings = tried.outcome.run.settings  # of the optimizer that was made
    assert settings.get(name, tried.run[name]) == tried.run[name]
    assert code not in codes(treated, 1)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict[str, Any] = {"model": nn.Linear(8, 2), "batches": [], "loss": None}
    exec(treated.way.code(tried.run, treated.steps), names)
    group = names["opt"].param_groups[0]
    spelt = {"beta2": lambda: group["betas"][1], "decoupled": lambda: group["decoupled_weight_decay"]}
    if name in ("beta2", "decoupled", "eps"):
        assert spelt.get(name, lambda: group[name])() == tried.run[name]


def test_numpy_problems_and_torchs_optimizers_over_them() -> None:
    treated = fix("valley", "adam", lr=1e-6, steps=200)
    assert codes(treated, 0) == ["D202"] and treated.changes["lr"][1] > 1e-4
    treated = fix("rosenbrock", "torch.optim.SGD", lr=1.0, steps=300)
    assert codes(treated, 0)[0] == "D102" and treated.rounds[0].outcome.metric is None
    assert treated.rounds[0].outcome.run.count < 300  # not trained on when all is lost
    assert math.isfinite(treated.best.outcome.metric or math.nan) and "lost" in treated.verdict


def test_less_found_does_not_make_up_for_a_worse_result() -> None:
    treated = fix("rosenbrock", "sgd", lr=1.0)
    last = treated.rounds[-1]
    assert codes(treated, 1) and codes(treated, 2) == [] and not last.kept
    assert last.outcome.metric > treated.best.outcome.metric and treated.best is treated.rounds[1]
    assert treated.verdict.startswith("Better: ") and not treated.cured


@pytest.mark.parametrize("at", [60, 150])
def test_ctrl_c_ends_it_with_what_is_known(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At step 60 of the first run, and of 120 each at step 30 of the second."""
    from adamas.problems import networks

    steps = 0
    backward = networks._NetworkTraining.backward

    def interrupted(self: Any) -> float:
        nonlocal steps
        steps += 1
        if steps == at:
            raise KeyboardInterrupt
        return backward(self)

    monkeypatch.setattr(networks._NetworkTraining, "backward", interrupted)
    treated = fix("digits", "adam", lr=0.3, steps=120)
    assert treated.stopped and not treated.cured and treated.verdict.startswith("Stopped before its end.")
    assert len(treated.rounds) == 1 + (at > 120) and treated.rounds[-1].outcome.cut
    assert "D201" in treated.verdict and treated.best is treated.rounds[0]


def test_the_command_prints_a_table_and_lines_and_writes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "fix.html"
    args = ["doctor", "--fix", "digits", "--optimizer", "adam", "--lr", "0.3", "--steps", "120"]
    with pytest.raises(SystemExit) as ended:
        main([*args, "-o", str(page)])
    out, err = capsys.readouterr()
    assert ended.value.code == 0
    assert "D201 lr-too-high" in out and "Cured: lr 0.3 →" in out and 'optimizer("adam")(model.parameters()' in out
    assert "as it is: 120 steps" in err and err.count("ails it:") == 2
    text = page.read_text()
    assert "Cured" in text and "as it is" in text and "D201" in text
    with pytest.raises(SystemExit) as ended:
        main([*args, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["cured"] and told["changes"]["lr"]["before"] == 0.3 and len(told["rounds"]) == 2
    assert told["rounds"][0]["findings"][0]["code"] == told["rounds"][1]["remedy_of"] == "D201"


def test_the_command_ends_with_1_where_it_is_not_cured(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--fix", str(SICK / "cut_off.py")])
    assert ended.value.code == 1 and "Look for detach()" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--fix", "nowhere"], "Unknown problem 'nowhere'"),
        (["--fix", "no.py"], "There is no file no.py"),
        (["--fix", "run.jsonl"], "is no built-in problem, nor is there a file"),
        (["--fix", "digits", "--optimizer", "adamww"], "did you mean 'adamw'"),
        (["--fix", "digits", "--lr", "-1"], "--lr -1 is no learning rate"),
        (["--fix", "digits", "--lr", "nan"], "--lr nan is no learning rate"),
        (["--fix", "digits", "--lr", "fast"], "'fast' is not a valid float"),
        (["--fix", "digits", "--steps", "0"], "--steps 0 is too small"),
        (["--fix", "digits", "--seed", "-1"], "--seed -1 is too small"),
        (["--fix", "digits", "--schedule", "cosy"], "--schedule cosy"),
        (["--fix", "digits", "--warmup", "900"], "--warmup 900 leaves nothing"),
        (["--fix", "digits", "--clip", "0"], "--clip 0 is no norm"),
        (["--fix", "digits", "--target", "y"], "--target y only goes with"),
        (["--fix", "digits", "--optimizer", "torch.optim.Muon"], "is two optimizers here"),
        (["--fix", "digits", "-o", "x.png"], "give a name that ends in .html"),
        (
            ["--fix", str(SICK / "too_hot.py"), "--lr", "1"],
            "has an optimizer() of its own, which --lr does not go with",
        ),
        (["run.jsonl", "--lr", "1"], "--lr trains a problem, which only --fix does"),
        (["digits"], "There is no file digits"),
        (["--fix"], "Missing argument"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(args: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *args])
    out, err = capsys.readouterr()
    assert ended.value.code == 2 and sentence in err and not out
    assert err.count("adamas: ") == 1 and "Traceback" not in err


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("def optimizer(m): return 3", "optimizer() returned int"),
        ("def optimizer(m): raise KeyError('where')", "raised KeyError"),
        ("def optimizer(m): return torch.optim.SGD(m.parameters(), 0.0)", "lr = 0"),
        ("def optimizer(m): return torch.optim.SGD(m.parameters())\nscaler = 3", "trains with a scaler"),
        ("def optimizer(m): return torch.optim.SGD(m.parameters())\nclip_grad_norm = -1", "--clip -1 is no norm"),
        (
            "def optimizer(m): return torch.optim.SGD(m.parameters())\ndef schedule(opt): return 1 / 0",
            "raised ZeroDivisionError in line",
        ),
    ],
)
def test_a_file_that_cannot_be_trained_is_refused(more: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "own_bad.py"
    path.write_text(OWN + more)
    with pytest.raises(InputError) as refused:
        fix(str(path))
    assert sentence in str(refused.value)


def test_a_validation_that_fails_at_lost_numbers_is_none(tmp_path: Path) -> None:
    path = tmp_path / "own_lost.py"
    more = "def optimizer(m): return torch.optim.SGD(m.parameters(), 1e6)\n"
    more += "def validate(model):\n    assert model[0].weight.isfinite().all()\n    return 0.5\n"
    path.write_text(OWN.replace("batch[1])", "batch[1]) ** 4") + more)
    treated = fix(str(path), steps=30)
    assert treated.rounds[0].outcome.metric is None and codes(treated, 0)
