"""`adamas bench`: that everybody in it computes the same, that rounds are fair, and what is said of them."""

import gc
import json
import os
import random

import pytest
import torch
from safetensors.torch import save_file

from adamas import bench
from adamas.bench import peers
from adamas.bench.measure import rounds, spread
from adamas.bench.peers import NEAR, PEERS, ROUGH, TAIL, Peer, distance
from adamas.bench.workloads import NAMED, Leaf, workload
from adamas.cli import main

HERE = ["adamas", "torch-fused", "torch-foreach", "torch"]


def run(capsys, *args):
    """Exit status, stdout and stderr of `adamas bench` on a workload of no size."""
    with pytest.raises(SystemExit) as exit:
        main(["bench", *args, "--seconds", "0.01"])
    return exit.value.code, *capsys.readouterr()


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """In a folder of its own, with those who are installed wherever the tests run."""
    monkeypatch.chdir(tmp_path)
    for name in PEERS.keys() - HERE:
        monkeypatch.setitem(PEERS, name, Peer("no_such_module", name, PEERS[name].run, "", PEERS[name].exact))


EVERYBODY = dict(PEERS)


@pytest.mark.parametrize("tail", [False, True])
@pytest.mark.parametrize("name", EVERYBODY)
def test_everybody_computes_adamw(name, tail):
    peer = EVERYBODY[name]
    if not peer.installed:
        pytest.skip(f"{peer.package} is not installed")
    assert distance(peer, tail) < (NEAR if peer.exact else ROUGH)


@pytest.mark.parametrize(
    ("slip", "least"), [({"weight_decay": 0.09}, 10 * NEAR), ({"eps": 1e-3}, NEAR), ({"betas": (0.9, 0.99)}, NEAR)]
)
def test_who_computes_something_else_is_noticed(slip, least):
    wrong = peers._torch(lambda params: torch.optim.AdamW(params, **{**peers.HYPER, **slip}))
    assert distance(Peer("torch", "torch", wrong, ""), False) > least


class Unaveraged(peers._Torch):
    """Forgets to average."""

    def step(self):
        self.optimizer.step()


def test_what_is_done_around_the_step_is_looked_at_too():
    make = lambda start, grads, tail: Unaveraged(start, grads, torch.optim.AdamW, tail)  # noqa: E731
    assert distance(Peer("torch", "torch", make, ""), True) > 100 * NEAR


def test_who_computes_something_else_is_not_timed(capsys, monkeypatch):
    coupled = peers._torch(lambda params: torch.optim.Adam(params, **peers.HYPER))
    monkeypatch.setitem(PEERS, "torch-foreach", Peer("torch", "torch", coupled, ""))
    status, out, _ = run(capsys, "8-tensors", "--no-tail", "--json")
    assert status == 0
    result = json.loads(out)
    assert "off the way of AdamW after five steps" in result["absent"]["torch-foreach"]
    assert [row["peer"] for row in result["measurements"][0]["rows"]] == ["adamas", "torch-fused", "torch"]
    status, out, err = run(capsys, "8-tensors", "--no-tail", "--peers", "torch-foreach")
    assert status == 2 and out == ""
    assert err.splitlines()[-1].startswith("adamas: The peer torch-foreach is ")


@pytest.mark.parametrize("name", HERE)
def test_bytes(name):
    """28 for AdamW; with the tail 12 for norm, clearing and average here, 28 for passes of their own elsewhere."""
    start, gradients = [torch.randn(500, 200), torch.randn(7)], [torch.randn(500, 200), torch.randn(7)]
    for tail, states, moved in ((False, 8, 28), (True, 12, 44 if name == "adamas" else 56)):
        runner = PEERS[name].run(start, gradients, tail)
        runner.step()
        assert runner.state_bytes() / 100_007 == pytest.approx(states, abs=0.01)
        assert runner.moved() / 100_007 == pytest.approx(moved, abs=0.01)


@pytest.mark.parametrize("name", HERE)
def test_the_tail_clears_and_the_round_refills(name):
    start, gradients = [torch.randn(9)], [torch.randn(9)]
    runner = PEERS[name].run(start, gradients, True)
    runner.step()
    assert not runner.grads[0].any()
    runner.refill()
    assert torch.equal(runner.grads[0], gradients[0]) and runner.params[0].grad is runner.grads[0]


class Noted:
    """A runner that notes what is asked of it."""

    def __init__(self, name, log, interrupts=0):
        self.name, self.log, self.left = name, log, interrupts

    def refill(self):
        self.log.append(f"refill {self.name}")

    def step(self):
        assert not gc.isenabled()
        self.log.append(self.name)
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_rounds_interleave_everybody():
    log = []
    times, _ = rounds({name: Noted(name, log) for name in "abc"}, None, 0, pytest.fail)
    assert {len(taken) for taken in times.values()} == {5}
    steps = log[1::2]
    assert log[::2] == [f"refill {name}" for name in steps]
    orders = ["".join(steps[k : k + 3]) for k in range(0, len(steps), 3)]
    assert {"".join(sorted(order)) for order in orders} == {"abc"} and len(set(orders)) > 2
    assert gc.isenabled()


def test_an_unfinished_round_is_left_out():
    said = []
    runners = {name: Noted(name, [], interrupts=6 if name == "b" else 0) for name in "abc"}
    times, _ = rounds(runners, None, 100, lambda: said.append("stopped"))
    assert {len(taken) for taken in times.values()} == {3} and said == ["stopped"] and gc.isenabled()


def test_ratios_are_taken_round_by_round():
    """A machine that slows down tenfold in the midst changes times, and no ratio."""
    from adamas.bench.measure import Copy, tabulate

    runners = {name: PEERS[name].run([torch.randn(9)], [torch.randn(9)], False) for name in ("adamas", "torch")}
    slow = [1.0] * 4 + [10.0] * 5
    times = {"adamas": [1e-3 * s for s in slow], "torch": [3e-3 * s for s in slow]}
    copies = [1e-2 * s for s in slow]
    (ours, other), bandwidth = tabulate(runners, times, copies, workload("8-tensors"))
    assert ours.ratio == (1, 1, 1) and other.ratio == pytest.approx((3, 3, 3))
    assert other.us == pytest.approx((30_000, 3_000, 30_000))
    assert bandwidth == pytest.approx(Copy.moved / 0.1)
    assert ours.share == pytest.approx(runners["adamas"].moved() / 1e-3 / (Copy.moved / 1e-2))


def test_quartiles():
    values = [float(k) for k in range(101)]
    random.Random(0).shuffle(values)
    assert spread(values) == (50, 25, 75)
    assert spread([2.0]) == (2, 2, 2)


def test_threads_are_set_and_given_back():
    before = torch.get_num_threads()
    with bench.threads_of(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_everything_is_in_the_json(capsys):
    status, out, err = run(capsys, "8-tensors", "--threads", "1,2", "--json", "-o", "own.png")
    assert status == 0
    result = json.loads(out)
    assert result["complete"] and result["absent"].keys() == PEERS.keys() - set(HERE)
    seen = [(m["workload"], m["threads"], m["tail"]) for m in result["measurements"]]
    assert seen == [("8-tensors", n, tail) for n in (1, 2) for tail in (False, True)]
    for m in result["measurements"]:
        assert [row["peer"] for row in m["rows"]] == HERE
        assert m["rounds"] >= 5 and m["parameters"] == 17_514
        assert m["rows"][0]["ratio"]["middle"] == 1
        assert all(row["ratio"]["low"] <= row["ratio"]["middle"] <= row["ratio"]["high"] for row in m["rows"])
    assert "4 of 4" in err
    with open("own.png", "rb") as picture:
        assert picture.read(4) == b"\x89PNG"


def test_the_table_reads_at_100_columns(capsys):
    status, out, _ = run(capsys, "8-tensors", "--threads", "1,2")
    assert status == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= 100
    words = {word for line in lines for word in line.split()}
    assert {*HERE, "a", "step", "ours", "quartiles", "copy", "threads", "param."} <= words
    assert not [word for word in words if word.endswith("…") and word != "…"], "a cell is cut off"
    assert "Picture: bench.png" in lines
    assert "deepspeed: not installed (pip install deepspeed)" in " ".join(lines)


def test_what_others_print_is_no_part_of_the_report(capfd, monkeypatch):
    def loud(params):
        print("hello from Python")
        os.write(1, b"hello from C\n")
        return torch.optim.AdamW(params, **peers.HYPER)

    monkeypatch.setitem(PEERS, "torch", Peer("torch", "torch", peers._torch(loud), ""))
    status, out, err = run(capfd, "8-tensors", "--no-tail", "--json")
    assert status == 0 and json.loads(out)
    assert "hello from Python" in err and "hello from C" in err


def test_who_fails_on_a_workload_is_named(capsys, monkeypatch):
    def narrow(params):
        if params[0].dtype == torch.bfloat16:
            raise RuntimeError("no bfloat16\nsecond line")
        return torch.optim.AdamW(params, **peers.HYPER)

    monkeypatch.setitem(PEERS, "torch", Peer("torch", "torch", peers._torch(narrow), ""))
    status, out, _ = run(capsys, "8-tensors", "--no-tail", "--dtype", "bfloat16")
    assert status == 0 and "torch cannot step it: RuntimeError: no bfloat16.\n" in out


def test_what_was_measured_before_ctrl_c_is_kept(capsys, monkeypatch):
    measure = bench.rounds

    def second_is_stopped(*args):
        monkeypatch.setattr(bench, "rounds", interrupted)
        return measure(*args)

    def interrupted(runners, copy, seconds, stopped):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "rounds", second_is_stopped)
    status, out, _ = run(capsys, "8-tensors", "--json")
    assert status == 1
    result = json.loads(out)
    assert not result["complete"] and len(result["measurements"]) == 1


def test_ctrl_c_before_anything_is_measured(capsys, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "distance", interrupted)
    status, out, err = run(capsys, "8-tensors")
    assert (status, out) == (1, "")
    assert err.endswith("adamas: stopped before there was anything to report.\n")


def test_named_workloads():
    sizes = {name: (len(w.leaves), w.size) for name in NAMED if (w := workload(name))}
    assert sizes == {
        "8-tensors": (8, 17_514),
        "500x64": (500, 32_000),
        "1000x16": (1000, 16_000),
        "resnet18": (62, 11_689_512),
        "gpt2": (148, 124_439_808),
    }


def test_a_safetensors_file_by_its_header():
    tensors = {"a": torch.zeros(3, 4), "b": torch.zeros(5, dtype=torch.bfloat16), "ids": torch.zeros(6).long()}
    save_file(tensors, "w.safetensors", metadata={"format": "pt"})
    found = workload("w.safetensors")
    assert sorted(found.leaves) == [Leaf((3, 4), "float32"), Leaf((5,), "bfloat16")]
    assert found.note == "1 of its tensors are left out, being of dtype I64"
    assert {leaf.dtype for leaf in workload("w.safetensors", "float64").leaves} == {"float64"}


def test_somebodys_module(tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch\ndef make():\n    net = torch.nn.Linear(3, 2)\n"
        "    net.bias.requires_grad_(False)\n    return net\n"
    )
    assert workload("net.py:make").leaves == (Leaf((2, 3)),)


def test_the_step_with_the_tail_is_this_librarys_own():
    """Or the figures would be of something else than what a user can have."""
    runner = PEERS["adamas"].run([torch.randn(9)], [torch.randn(9)], True)
    assert runner.optimizer._stepper.tail.hyper(False)["ema_decay"] == TAIL["ema_decay"]
    runner.step()
    assert runner.optimizer.last.grad_norm == pytest.approx(runner.source[0].norm().item(), rel=1e-6)
