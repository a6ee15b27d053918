"""The log of a run: cut anywhere, gone on with, thinned, replayed; and what else gets the numbers."""

import errno
import gc
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adamas.numpy
from adamas.cli import main
from adamas.doctor import Doctor, replay
from adamas.doctor.journal import Journal, lines
from adamas.doctor.run import COLUMNS, HELD, Run
from adamas.errors import InputError
from tests.doctor.histories import falling, told


def written(path: Path, doctor_say: Any = None, **run: Any) -> Doctor:
    doctor = Doctor(steps=200, settings={"rule": "adamw", "lr": 1e-3}, log=path, say=doctor_say)
    told(doctor=doctor, **run)
    doctor.close()
    return doctor


def test_cut_at_every_byte_it_is_read_up_to_the_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    written(path, count=40, validate=falling(2.4, 0.3))
    whole = path.read_bytes()
    every = [json.loads(line) for line in whole.splitlines()]
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(ends[-5], len(whole) + 1):
        path.write_bytes(whole[:cut])
        assert list(lines(path)) == every[: sum(end <= cut for end in ends)]
        replay(path)


def test_a_run_that_is_taken_up_again_goes_on_in_its_log(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    written(path, count=50)
    with path.open("ab") as file:
        file.write(b'{"step":51,"lo')  # by a kill
    again = Doctor(settings={"rule": "adamw", "lr": 1e-3}, log=path)
    again.observe(val_loss=0.7)
    again.observe(0.5, step=51)
    assert again.run.setup["steps"] == 200
    again.close()
    run, _ = replay(path)
    assert (run.count, run.step, run.validations.rows[:, :2].tolist()) == (51, 51, [[50.0, 0.7]])
    assert [file.name for file in tmp_path.iterdir()] == ["run.jsonl"]


def test_another_run_is_kept_by_another_name_and_said(tmp_path: Path) -> None:
    path, said = tmp_path / "run.jsonl", list[str]()
    for steps in (30, 20, 10):
        written(path, count=steps, doctor_say=said.append)
    kept = {name: replay(tmp_path / name)[0].count for name in ("run-1.jsonl", "run-2.jsonl", "run.jsonl")}
    assert kept == {"run-1.jsonl": 30, "run-2.jsonl": 20, "run.jsonl": 10}
    assert said == [
        f"{path} was the log of another run, of 30 steps: it is run-1.jsonl now.",
        f"{path} was the log of another run, of 20 steps: it is run-2.jsonl now.",
    ]


def test_the_number_of_the_first_step_says_whose_log_it_is(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    written(path, count=30)
    for step, others in ((0, 1), (1, 2), (21, 2), (2, 2), (None, 3)):  # 21: from a checkpoint before the kill
        with Doctor(log=path) as doctor:
            doctor.observe(1.0, step=step)
        assert len(list(tmp_path.glob("run-*.jsonl"))) == others


def test_the_count_of_the_optimizer_says_it_where_no_number_is_given(tmp_path: Path) -> None:
    path, theta = tmp_path / "run.jsonl", np.full(5, 3.0)

    def trained(opt: Any, steps: int) -> int:
        with Doctor(opt, log=path) as doctor:
            for _ in range(steps):
                opt.step(2 * theta)
                doctor.observe(1.0)
            return doctor.run.step

    opt = adamas.numpy.AdamW(theta, lr=1e-2)
    assert trained(opt, 20) == 20
    again = adamas.numpy.AdamW(theta, lr=1e-2)
    again.load_state_dict(opt.state_dict())
    assert trained(again, 5) == 25 and not list(tmp_path.glob("run-*.jsonl"))
    assert trained(adamas.numpy.AdamW(theta, lr=1e-2), 5) == 5
    assert replay(tmp_path / "run-1.jsonl")[0].count == 25


def test_a_run_that_goes_on_with_other_tensors_is_read_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    for count, first in ((4, 1), (3, 61)):
        theta = [np.full(5, 3.0) for _ in range(count)]
        opt = adamas.numpy.AdamW(theta, lr=1e-2)
        with Doctor(opt, log=path) as doctor:
            for step in range(first, first + 60):
                opt.step([2 * part for part in theta])
                doctor.observe(1.0, step=step)
    assert replay(path)[0].count == 120


def test_what_was_begun_and_never_stepped_is_gone_on_with_and_what_is_never_stepped_changes_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "run.jsonl"
    Doctor(log=path).close()
    written(path, count=3)
    text = path.read_bytes()
    with Doctor(log=path) as doctor:
        doctor.observe(val_loss=1.0)
    assert path.read_bytes() == text and [file.name for file in tmp_path.iterdir()] == ["run.jsonl"]


def test_each_step_has_its_line_with_what_it_told_and_in_its_order(tmp_path: Path) -> None:
    path, told = tmp_path / "run.jsonl", list[dict[str, float]]()
    rng = np.random.default_rng(0)
    with Doctor(log=path, to=lambda numbers, step: told.append({"step": step, **numbers})) as doctor:
        for step in range(1, 151):
            loss = {70: math.inf, 71: -math.inf, 72: math.nan}.get(step, rng.standard_normal())
            names = [name for name in ("lr", "grad_norm", "update_norm", "scale", "skipped") if rng.random() < 0.5]
            doctor.observe(loss, **dict(zip(names, 10.0 ** rng.integers(-30, 30, 5) * rng.random(5), strict=False)))
            if step % 40 == 0:
                doctor.observe(val_loss=loss)
    assert len(told) == 153

    def plain(value: float) -> Any:
        return float(f"{value:.9g}") if math.isfinite(value) else str(value)

    expected = [{name.removeprefix("doctor/"): plain(value) for name, value in each.items()} for each in told]
    expected[72]["loss"] = "nan"  # which trackers do not get
    assert [line for line in lines(path) if {"loss", "val_loss"} & line.keys()] == expected


def test_replayed_it_finds_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    doctor = written(path, loss=lambda t: 2.3 if t == 0 else 9 + 3 * math.sin(t), ratio=lambda t: 0.5)
    _, diagnosis = replay(path)
    live = [(finding.code, finding.step) for finding in doctor.findings]
    assert live and [(finding.code, finding.step) for finding in diagnosis.findings] == live


TRAINING = """
import os, signal, sys
import numpy as np
import adamas.numpy
from adamas.doctor import Doctor

theta = np.full(50, 3.0)
opt = adamas.numpy.AdamW(theta, lr=1e-2)
doctor = Doctor(opt, log=sys.argv[1])
step = 0

def train(steps):
    global step
    for step in range(step + 1, step + 1 + steps):
        loss = float(theta @ theta)
        opt.step(2 * theta)
        doctor.observe(loss)
"""


def test_a_training_that_is_killed_loses_the_steps_that_wait_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    code = TRAINING + "while True:\n    train(50)\n    print(step, flush=True)"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 1000:
            pass
        process.kill()
        told = max(map(int, process.stdout.read().split()), default=1000)
    assert process.returncode == -signal.SIGKILL
    run, _ = replay(path)
    assert run.count == run.step >= told - HELD
    assert np.isfinite(run.history.rows[:200, 3:6]).all()


def test_a_training_that_is_killed_in_the_middle_of_a_line_is_read_up_to_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.jsonl"
    code = f"""{TRAINING}
def cut(file, text):
    write(file, text[: text.rindex(b"loss")])
    os.kill(os.getpid(), signal.SIGKILL)

train(100)
write, os.write = os.write, cut
train(100)
"""
    process = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert process.returncode == -signal.SIGKILL
    text = path.read_text()
    assert text.endswith(',"') or text.endswith('{"')
    whole = [json.loads(line) for line in text.splitlines()[:-1]]
    assert list(lines(path)) == whole
    last = whole[-1]["step"]
    assert 100 <= last < 100 + HELD
    with pytest.raises(SystemExit) as ended:
        main(["doctor", str(path), "--json"])
    assert ended.value.code == 0 and json.loads(capsys.readouterr().out)["steps"] == last
    with Doctor(log=path) as again:
        again.observe(1.0, step=last + 1)
    assert replay(path)[0].step == last + 1


def test_steps_wait_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adamas.doctor.run.SECONDS", 0.0)
    doctor = Doctor(log=tmp_path / "run.jsonl")
    for step in range(1, 4):
        doctor.observe(1.0)
        assert replay(tmp_path / "run.jsonl")[0].step == step
    doctor.close()


def test_who_closes_nothing_loses_nothing(tmp_path: Path) -> None:
    code = TRAINING + "train(25)\nif os.fork() == 0:\n    train(1)\nelse:\n    os.wait()"
    subprocess.run([sys.executable, "-c", code, str(path := tmp_path / "run.jsonl")], check=True)
    assert [line["step"] for line in lines(path) if "loss" in line] == [*range(1, 27)]
    Doctor(log=(path := tmp_path / "dropped.jsonl")).observe(1.0)
    gc.collect()
    assert replay(path)[0].count == 1


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.jsonl"
    doctor = Doctor(log=path)
    write = os.write

    def full(file: int, text: bytes) -> int:
        if len(text) < 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, text[:-9])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            for _ in range(HELD):
                doctor.observe(1.0)
    assert path.read_bytes().endswith(b"}\n")
    doctor.observe(2.0)
    doctor.close()
    run, _ = replay(path)
    assert run.history.rows[-1, 1] == 2.0 and run.history.rows[:, 0].tolist() == [*range(1, run.step + 1)]


def test_it_stays_below_its_limit_and_keeps_what_matters(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    run = Run()
    journal = Journal(path, run, limit=20_000)
    for t in range(5000):
        row = [math.nan] * len(COLUMNS)
        row[0], row[1] = float(t + 1), math.inf if t in (777, 3776) else 1.0
        run.add(*row)
    journal.close()
    assert path.stat().st_size <= 20_000
    run, _ = replay(path)
    assert run.broken == [(778, "loss"), (3777, "loss")]
    steps = run.history.rows[:, 0]
    assert steps[0] < 200 and steps[-1] > 4800 and len(steps) > 100
    assert not list(tmp_path.glob("*.tmp"))


def test_losses_that_are_no_number_are_kept_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with Doctor(log=path) as doctor:
        for loss in (1.0, math.nan, math.inf):
            doctor.observe(loss)
    text = path.read_text()
    assert '"loss":"nan"' in text and '"loss":"inf"' in text and ":NaN" not in text
    assert math.isnan(replay(path)[0].history.rows[1, 1])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "does not begin as a doctor's log does"),
        ('{"step": 1}\n', "does not begin as a doctor's log does"),
        ('{"doctor": 1, "setup": {}}\nnonsense\n{"step": 2, "loss": 1}\n', "is damaged in line 2"),
        ('{"doctor": 1, "setup": {}}\n[1]\n', "is damaged in line 2"),
        ('{"doctor": 1, "setup": {}}\n{"step": "x", "loss": 1}\n', "is damaged in line 2"),
    ],
)
def test_what_is_no_log_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        replay(path)


def test_trackers_of_three_shapes_get_the_numbers(tmp_path: Path) -> None:
    got: list[Any] = []

    class Board:
        def add_scalar(self, name: str, value: float, step: int) -> None:
            got.append((name, value, step))

    class Wandb:
        def log(self, numbers: dict[str, float], step: int) -> None:
            got.append((numbers["doctor/loss"], step))

    doctor = Doctor(to=[Board(), Wandb(), lambda numbers, step: got.append((sorted(numbers), step))])
    doctor.observe(0.5, lr=0.1)
    assert ("doctor/loss", 0.5, 1) in got and (0.5, 1) in got
    with pytest.raises(InputError, match="A int takes no numbers"):
        Doctor(to=3)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Doctor(steps=0), "Invalid steps value: 0"),
        (lambda: Doctor(every=1.5), "Invalid every value: 1.5"),
        (lambda: Doctor(log="/nowhere/run.jsonl"), "There is no folder /nowhere"),
        (lambda: Doctor().observe("low"), "Invalid loss: str"),
        (lambda: Doctor().observe(val_accuracy=0.5), "A validation needs its val_loss"),
    ],
)
def test_bad_input_is_refused(call: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        call()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, page = tmp_path / "run.jsonl", tmp_path / "run.html"
    written(path, loss=lambda t: 2.3 if t == 0 else 9 + 3 * math.sin(t), ratio=lambda t: 0.5)
    with pytest.raises(SystemExit) as ended:
        main(["doctor", str(path), "-o", str(page)])
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert "D201 lr-too-high" in out and "Timeline:" in out
    text = page.read_text()
    assert "D201" in text and "http" not in text.replace("http-equiv", "").partition("uPlot")[0]
    with pytest.raises(SystemExit) as ended:
        main(["doctor", str(path), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["findings"][0]["code"] == "D201" and told["findings"][0]["remedy"]["settings"]["lr"] > 0


def test_a_healthy_run_ends_with_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.jsonl"
    written(path)
    with pytest.raises(SystemExit) as ended:
        main(["doctor", str(path)])
    assert ended.value.code == 0
    assert "Nothing ails this run." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["nowhere.jsonl"], "There is no file nowhere.jsonl"),
        (["x.jsonl", "-o", "x.png"], "the timeline is a page"),
    ],
)
def test_the_command_refuses_in_a_sentence(args: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *args])
    err = capsys.readouterr().err
    assert ended.value.code == 2 and sentence in err and err.count("\n") == 1
