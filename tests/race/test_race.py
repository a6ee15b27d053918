"""Whole races, small ones: what they leave behind, that they can be repeated, stopped and taken up again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from adamas.cli import main
from adamas.errors import InputError
from adamas.race import race
from adamas.race.entrants import enter
from adamas.race.search import eta

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMES = {"seconds", "step_us", "seconds_to_target", "curve", "machine", "settings"}


def bare(thing):
    """The same without times, which differ from run to run."""
    if isinstance(thing, dict):
        return {k: bare(v) for k, v in thing.items() if k not in TIMES}
    return [bare(v) for v in thing] if isinstance(thing, (list, tuple)) else thing


def trials(folder):
    """Every trial in results.json, in a fixed order, with its curve but without times."""
    found = json.loads((folder / "results.json").read_text())["trials"]
    return sorted(
        ({**bare(t), "loss": t["curve"]["loss"], "looks": t["curve"]["metric"]} for t in found),
        key=lambda t: (t["optimizer"], t["lr"], t["seed"], t["steps"]),
    )


def test_a_race_on_a_surface(tmp_path):
    result = race("valley", ["sgd", "adam"], steps=200, jobs=1, output=tmp_path)
    first, second = result.table.rows
    # On ½(x² + 100y²), sgd is best a little below its limit of 2/100.
    assert {first.entrant.name, second.entrant.name} == {"sgd", "adam"}
    sgd = next(r for r in result.table.rows if r.entrant.name == "sgd")
    assert 0.005 < sgd.lr < 0.02 and sgd.width is not None and sgd.width.high < 0.02
    assert not sgd.width.open_high and not sgd.width.open_low
    assert [o.trial.seed for o in first.finals] == [1, 2, 3, 4, 5]
    assert sgd.state_bytes <= 4  # the count of steps, shared by two parameters
    adam = next(r for r in result.table.rows if r.entrant.name == "adam")
    assert 16 <= adam.state_bytes <= 24  # two float64 moments, and a count that some fronts keep as a tensor
    kept = json.loads((tmp_path / "results.json").read_text())
    assert kept["complete"] and kept["versions"]["numpy"] == np.__version__
    assert len(kept["trials"]) == len(result.outcomes) > 20
    assert (tmp_path / "race.png").read_bytes().startswith(b"\x89PNG")
    exec(result.lines.replace("batches", "()"), {"params": np.zeros(2)})


def test_search_finds_a_best_eta_outside_the_scouted_range(tmp_path):
    path = tmp_path / "steep.py"
    path.write_text(
        "def start(rng): return rng.normal(size=2)\n"
        "def loss(p): return 5e7 * float(p @ p)\n"
        "def gradient(p, rng): return 1e8 * p\n"
    )
    result = race(str(path), ["sgd"], steps=40, seeds=1, jobs=1, output=tmp_path / "o")
    assert result.table.rows[0].lr <= eta(-27)
    assert any(o.trial.steps == 10 and o.trial.lr == 1e-7 for o in result.outcomes)  # already in the scouting


def test_every_eta_diverging_is_a_loss_and_no_crash(tmp_path):
    path = tmp_path / "cliff.py"
    path.write_text(
        "def start(rng): return [1.0]\n"
        "def loss(p): return 1.0 if p[0] == 1 else float('nan')\n"
        "def gradient(p, rng): return [1.0]\n"
    )
    result = race(str(path), ["sgd", "adam"], steps=40, seeds=2, jobs=1, output=tmp_path / "o")
    assert all(r.metric is None for r in result.table.rows)
    assert "Nobody won" in result.table.verdict and result.lines is None and result.picture is None
    assert all(o.diverged_at is not None and len(o.curve) <= 2 for o in result.outcomes)
    assert json.loads((tmp_path / "o" / "results.json").read_text())["table"][0]["diverged"] > 0


def test_given_learning_rates_are_all_that_is_tried(tmp_path):
    result = race("bowl", ["sgd"], lrs=[0.3, 0.1], seeds=2, steps=50, jobs=1, output=tmp_path)
    assert {o.trial.lr for o in result.outcomes} == {0.1, 0.3}
    width = result.table.rows[0].width
    assert width is not None and width.open_low and width.open_high


def test_results_do_not_depend_on_the_number_of_jobs(tmp_path):
    for jobs in (1, 2):
        race(
            "digits", ["sgd", "torch.optim.Adam"], lrs=[0.01, 0.1], seeds=2, steps=30, jobs=jobs,
            output=tmp_path / str(jobs),
        )  # fmt: skip
    one, two = trials(tmp_path / "1"), trials(tmp_path / "2")
    assert len(one) == 8 and one == two


def test_the_field_is_halved(tmp_path):
    names = ["sgd", "momentum", "nesterov", "adam", "adamw", "nadam", "adamax", "adagrad", "rmsprop", "lion"]
    result = race("booth", names, seeds=5, steps=60, jobs=1, output=tmp_path)
    assert [len(r.finals) for r in result.table.rows] == [5] * 5 + [3] * 5
    assert {r.entrant.name for r in result.table.rows} == set(names)


def test_reddi_adam_goes_to_the_wrong_end_and_amsgrad_does_not(tmp_path):
    result = race("reddi", ["adam", "amsgrad"], lrs=[0.1], seeds=2, jobs=1, output=tmp_path)
    assert [r.entrant.name for r in result.table.rows] == ["amsgrad", "adam"]
    amsgrad, adam = result.table.rows
    # The best x is -1, the middle 1 away from it. One is on its way there, the other has gone to +1.
    assert amsgrad.metric < 0.9
    assert 1.5 < adam.metric <= 2
    assert amsgrad.wins == (2, 2)


@pytest.mark.parametrize("problem", ["digits", "digits-softmax"])
def test_strangers(tmp_path, problem):
    mine = f"{EXAMPLES / 'my_rule.py'}:my_rule"
    result = race(problem, ["adamw", "torch.optim.Muon", mine], lrs=[0.01], seeds=1, steps=30, jobs=1, output=tmp_path)
    rows = {r.entrant.label: r for r in result.table.rows}
    assert set(rows) == {"adamw", "Muon", "my_rule"}
    assert "torch.optim.AdamW" in rows["Muon"].note
    for row in rows.values():
        assert row.finals[0].metric < row.finals[0].curve[0].metric
    # Muon keeps one buffer for matrices, AdamW two for the few others.
    size = 4 if problem == "digits" else 8
    assert size < rows["Muon"].state_bytes < 1.3 * size


def test_an_optimizer_that_cannot_be_raced_is_named_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"^torch.optim.LBFGS cannot be raced here: TypeError: .*; leave it out"):
        race("bowl", ["torch.optim.LBFGS"], jobs=1, output=tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_entrants_know_when_their_file_changed(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from adamas import rule\n@rule\ndef mine(g, *, lr=0.1):\n    return lr * g\n")
    before = enter(f"{path}:mine")
    path.write_text("from adamas import rule\n@rule\ndef mine(g, *, lr=0.1):\n    return 2 * lr * g\n")
    assert enter(f"{path}:mine").identity != before.identity


def test_resume_runs_what_is_missing_and_survives_a_torn_line(tmp_path):
    arguments = {"lrs": [0.1, 0.3], "seeds": 3, "steps": 50, "jobs": 1}
    race("bowl", ["sgd", "adam"], **arguments, output=tmp_path / "whole")
    race("bowl", ["sgd", "adam"], **arguments, output=tmp_path / "torn")
    log = tmp_path / "torn" / "trials.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    assert len(lines) == 11
    log.write_bytes(b"".join(lines[:5]) + lines[5][:40])
    marked = json.loads(lines[2])
    marked["step_us"] = 123456.0  # to be recognised: a trial that is kept, not run again
    log.write_bytes(log.read_bytes().replace(lines[2], json.dumps(marked).encode() + b"\n"))
    result = race("bowl", ["sgd", "adam"], **arguments, output=tmp_path / "torn", resume=True)
    assert trials(tmp_path / "torn") == trials(tmp_path / "whole")
    assert 123456.0 in [o.step_us for o in result.outcomes]
    more = race("bowl", ["sgd", "adam"], **{**arguments, "seeds": 5}, output=tmp_path / "torn", resume=True)
    assert len(more.outcomes) == 14


def test_resume_refuses_another_race_and_a_damaged_log(tmp_path):
    race("bowl", ["sgd"], lrs=[0.1], steps=50, jobs=1, output=tmp_path)
    with pytest.raises(InputError, match="holds a race with problem 'bowl', which 'booth' cannot continue"):
        race("booth", ["sgd"], lrs=[0.1], steps=50, jobs=1, output=tmp_path, resume=True)
    with pytest.raises(InputError, match="holds a race with steps 50, which 60 cannot continue"):
        race("bowl", ["sgd"], lrs=[0.1], steps=60, jobs=1, output=tmp_path, resume=True)
    log = tmp_path / "trials.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join([lines[0], "{rubbish\n", *lines[1:]]))
    with pytest.raises(InputError, match=r"trials.jsonl is damaged in line 2"):
        race("bowl", ["sgd"], lrs=[0.1], steps=50, jobs=1, output=tmp_path, resume=True)


def test_resume_takes_the_length_from_the_folder(tmp_path):
    race("bowl", ["sgd"], lrs=[0.1], steps=50, jobs=1, output=tmp_path)
    assert race("bowl", ["sgd"], lrs=[0.1], jobs=1, output=tmp_path, resume=True).plan.steps == 50


def test_seconds_end_the_race_and_what_is_done_is_reported(tmp_path, slow):
    begun = time.monotonic()
    result = race(str(slow), ["sgd", "adam"], seconds=1.5, steps=100, jobs=1, output=tmp_path / "o")
    assert time.monotonic() - begun < 6
    assert result.stopped == "the time given was up" and 0 < len(result.outcomes) < 20
    again = race(str(slow), ["sgd"], seconds=8, seeds=1, lrs=[0.1, 0.2], jobs=1, output=tmp_path / "p")
    assert again.stopped is None and 100 < again.plan.steps < 20000  # 3 trials of a step of about a millisecond


def test_a_worker_that_grows_is_replaced_in_silence(tmp_path):
    pytest.importorskip("psutil", reason="joblib looks at the memory of its workers by psutil")
    path = tmp_path / "hungry.py"
    path.write_text(
        "import time\nheld = []\n"
        "def start(rng):\n"
        "    held.append(b'.' * 400_000_000 if len(held) == 2 else b'')\n"
        "    time.sleep(0.6)  # joblib looks once a second\n"
        "    return rng.normal(size=2)\n"
        "def loss(p): return float(p @ p)\n"
        "def gradient(p, rng): return 2 * p\n"
    )
    command = [sys.executable, "-W", "error::UserWarning", "-m", "adamas", "race", str(path), "--optimizers", "sgd"]
    done = subprocess.run(
        [*command, "--lrs", ".1,.2,.3,.4,.5,.6,.7,.8", "--seeds", "1", "--steps", "5", "--jobs", "2", "-o", "o"],
        cwd=tmp_path, capture_output=True, text=True, timeout=90,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
    assert len(trials(tmp_path / "o")) == 9


@pytest.fixture
def slow(tmp_path):
    path = tmp_path / "slow.py"
    path.write_text(
        "import time\n"
        "def start(rng): return rng.normal(size=2)\n"
        "def loss(p): return float(p @ p)\n"
        "def gradient(p, rng):\n    time.sleep(0.001)\n    return 2 * p\n"
    )
    return path


def begin(*args, cwd):
    return subprocess.Popen(
        [sys.executable, "-m", "adamas", "race", *args],
        cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip


def wait_for_lines(path, number, process):
    deadline = time.monotonic() + 40
    while not path.exists() or path.read_bytes().count(b"\n") < number:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_keeps_and_reports_what_is_done_and_resume_completes(tmp_path, slow, jobs):
    arguments = (
        slow.name,
        "--optimizers",
        "sgd,adam",
        "--lrs",
        "0.1,0.2,0.3",
        "--seeds",
        "2",
        "--steps",
        "100",
    )
    process = begin(*arguments, "--jobs", jobs, "--json", cwd=tmp_path)
    log = tmp_path / "race" / "trials.jsonl"
    wait_for_lines(log, 4, process)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1, err
    assert "Traceback" not in err and "KeyboardInterrupt" not in err, err
    summary = json.loads(out)
    assert summary["stopped"] == "interrupted" and not summary["complete"] and summary["table"]
    done = log.read_bytes().count(b"\n") - 1
    assert 3 <= done < 10
    assert len(json.loads((tmp_path / "race" / "results.json").read_text())["trials"]) == done
    process = begin(*arguments, "--jobs", "1", "--resume", cwd=tmp_path)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert f"{done} trials are done already" in err and "10 trials" in out


def test_killed_outright_it_resumes(tmp_path, slow):
    arguments = (
        slow.name,
        "--optimizers",
        "sgd",
        "--lrs",
        "0.1,0.2",
        "--seeds",
        "2",
        "--steps",
        "100",
        "--jobs",
        "1",
    )
    process = begin(*arguments, cwd=tmp_path)
    wait_for_lines(tmp_path / "race" / "trials.jsonl", 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert (tmp_path / "race" / "trials.jsonl").read_bytes().count(b"\n") < 5
    assert not (tmp_path / "race" / "results.json").exists()
    process = begin(*arguments, "--resume", cwd=tmp_path)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "4 trials" in out, err


def test_command_line_output(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["race", "bowl", "--optimizers", "sgd,adam", "--lrs", "0.1", "--seeds", "2", "--steps", "50"]
    with pytest.raises(SystemExit) as exit:
        main([*arguments, "--jobs", "1"])
    out, err = capsys.readouterr()
    assert exit.value.code == 0
    for part in (
        "bowl: test surface",
        "best η",
        "2/2",
        "sgd wins",
        "race/race.png",
        "race/results.json",
        "lr=0.1",
    ):
        assert part in out
    assert "trials" in err  # progress
    with pytest.raises(SystemExit) as exit:
        main([*arguments, "--jobs", "1", "--json"])
    out, _ = capsys.readouterr()
    summary = json.loads(out)
    assert exit.value.code == 0 and summary["table"][0]["optimizer"] == "sgd" and summary["complete"]
    assert summary["settings"]["seeds"] == 2 and "sgd" in summary["snippet"]


def test_rules_command(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["rules", "--json"])
    table = {r["name"]: r for r in json.loads(capsys.readouterr().out)}
    assert exit.value.code == 0
    assert table["adam"]["states"] == ["exp_avg", "exp_avg_sq"] and table["adam"]["defaults"]["lr"] == 1e-3
    with pytest.raises(SystemExit):
        main(["rules"])
    assert "exp_avg_sq" in capsys.readouterr().out


def test_a_trial_has_one_thread_and_gives_the_others_back(tmp_path):
    import torch

    path = tmp_path / "threads.py"
    path.write_text((EXAMPLES / "my_problem.py").read_text() + "    return float(torch.get_num_threads())\n")
    path.write_text(path.read_text().replace("    return (model(x)", "    (model(x)"))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        result = race(str(path), ["sgd"], lrs=[0.01], seeds=1, steps=5, jobs=1, output=tmp_path / "o")
        assert result.table.rows[0].metric == 1 and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_users_torch_file(tmp_path):
    result = race(
        str(EXAMPLES / "my_problem.py"),
        ["adam", "sgd"],
        lrs=[0.01],
        seeds=3,
        steps=60,
        jobs=1,
        output=tmp_path,
    )
    assert [len(r.finals) for r in result.table.rows] == [3, 3]
    assert result.table.rows[0].metric < result.table.rows[0].finals[0].curve[0].metric
    assert "model.parameters()" in result.lines


def test_a_worker_that_dies_ends_the_race_with_what_was_done(tmp_path):
    path = tmp_path / "deadly.py"
    path.write_text(
        "import os\n"
        "def start(rng): return rng.normal(size=2)\n"
        "def loss(p): return float(p @ p)\n"
        "def gradient(p, rng):\n"
        "    if p @ p > 1e3: os._exit(9)\n"
        "    return -p\n"
    )
    result = race(str(path), ["sgd"], lrs=[1e-3, 1.0], seeds=1, steps=40, jobs=2, output=tmp_path / "o")
    assert result.stopped == "a worker process died, perhaps for lack of memory"
    assert not result.summary["complete"] and (tmp_path / "o" / "results.json").exists()
