"""Threads, forked and spawned processes, and the end of the interpreter."""

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from adamas import engine

torch = pytest.importorskip("torch")
import adamas.numpy  # noqa: E402
import adamas.torch  # noqa: E402
from tests.faults.scenes import SCENES, Bits, Twin  # noqa: E402

#: Enough elements that several threads help.
MANY = 130_001


@pytest.fixture(autouse=True)
def _torchs_threads_as_before() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def run(front: str, seed: int, steps: int = 12) -> bytes:
    """The bits that so many steps lead to."""
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal(MANY).astype(np.float32)
    small = rng.standard_normal((7, 5)).astype(np.float32)
    grads = [(rng.standard_normal(MANY).astype(np.float32), rng.standard_normal((7, 5)).astype(np.float32))]
    if front == "numpy":
        opt = adamas.numpy.AdamW([theta, small], amsgrad=True)
        for step in range(steps):
            opt.step([g * (step + 1) for g in grads[0]])
        return theta.tobytes() + small.tobytes() + opt.state[0]["exp_avg_sq"].tobytes()
    ps = [torch.nn.Parameter(torch.tensor(theta)), torch.nn.Parameter(torch.tensor(small))]
    opt = adamas.torch.AdamW(ps, amsgrad=True)
    for step in range(steps):
        for p, g in zip(ps, grads[0], strict=True):
            p.grad = torch.tensor(g * np.float32(step + 1))
        opt.step()
    held = [*ps, opt.state[ps[0]]["exp_avg_sq"]]
    return b"".join(t.detach().numpy().tobytes() for t in held)


@pytest.mark.parametrize("front", ["numpy", "torch"])
def test_bits_do_not_depend_on_the_number_of_threads(front: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = set()
    for threads in (1, 2, 3, 5):
        monkeypatch.setenv("NUMBA_NUM_THREADS", str(threads))
        torch.set_num_threads(threads)
        ends.add(run(front, 0, steps=2))
    assert len(ends) == 1


@pytest.mark.parametrize("fronts", [("numpy", "numpy"), ("torch", "torch"), ("numpy", "torch")], ids="-".join)
def test_two_optimizers_in_two_threads(fronts: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    torch.set_num_threads(2)
    alone = [run(front, seed, steps=40) for seed, front in enumerate(fronts)]
    ends: dict[int, bytes] = {}

    def work(seed: int, front: str) -> None:
        ends[seed] = run(front, seed, steps=40)

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(fronts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [ends[0], ends[1]] == alone


def test_many_small_steps_in_two_threads() -> None:
    """States are made, shown and loaded while the other thread does the same."""
    names = list(SCENES)
    ends: dict[str, Bits] = {}

    def work(name: str) -> None:
        scene = SCENES[name]()
        for step in range(60):
            scene.step()
            if step % 7 == 0:
                scene.optimizer.load_state_dict(scene.optimizer.state_dict())
            if step % 5 == 0:
                scene.move()
        ends[name] = scene.bits()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for pair in ((names[0], names[3]), (names[2], names[4])):
            threads = [threading.Thread(target=work, args=(name,)) for name in pair]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            for name in pair:
                assert ends[name] == Twin(SCENES[name]).after(60), name
    finally:
        sys.setswitchinterval(before)


def test_a_change_is_seen_whatever_another_thread_has_changed_since() -> None:
    from adamas.state import State

    seen = {id(State.changes): State.changes}
    for _ in range(100):
        State()["a"] = 1
        seen[id(State.changes)] = State.changes
    assert len(seen) == 101, "marks must differ for ever: a count can be brought back by a thread that lags behind"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # of JAX, if another test has imported it
@pytest.mark.parametrize("name", SCENES)
def test_a_forked_child_and_its_parent_go_on_alike(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    monkeypatch.setattr(engine, "SERIAL", 0)
    monkeypatch.setattr(engine, "SPAN", 3)
    scene = SCENES[name]()
    scene.step()
    there, here = os.pipe()
    engine.POOL._lock.acquire()  # as another thread may have at that moment
    child = os.fork()
    if child:
        engine.POOL._lock.release()
    else:
        status = 1
        try:
            torch.set_num_threads(2)
            scene.step()
            os.write(here, pickle.dumps(scene.bits()))
            status = 0
        finally:
            os._exit(status)
    os.close(here)
    scene.step()
    assert ended(child) == 0
    with os.fdopen(there, "rb") as pipe:
        theirs = pickle.load(pipe)
    assert theirs == scene.bits() == Twin(SCENES[name]).after(2)


def ended(child: int, seconds: float = 20) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise AssertionError("the child hangs")


def step_on(pipe: Any, optimizers: dict[str, Any]) -> None:
    """In another process: scenes go on with these optimizers."""
    for name, optimizer in optimizers.items():
        scene = SCENES[name]()
        scene.step()
        scene.optimizer = optimizer
        scene.params = scene.memory = [p for group in optimizer.param_groups for p in group["params"]]
        scene.step()
        pipe.send((name, scene.bits()))
    pipe.close()


def test_a_pickled_optimizer_goes_on_in_another_process() -> None:
    context = multiprocessing.get_context("spawn")
    scenes = {name: SCENES[name]() for name in ("torch, AdamW", "numpy, NAdam")}
    for scene in scenes.values():
        scene.step()
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=step_on, args=(theirs, {name: s.optimizer for name, s in scenes.items()}))
    child.start()
    theirs.close()
    for _ in scenes:
        name, bits = ours.recv()
        expected = Twin(SCENES[name]).after(2)
        assert {**bits, "θ2": b""} == {**expected, "θ2": b""}, name  # gaps do not travel
    child.join(30)
    assert child.exitcode == 0


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("front", ["numpy", "torch"])
def test_classes_made_of_rules_can_be_copied(front: str, copied: Callable[[Any], Any]) -> None:
    module = getattr(adamas, front)
    own = type("Own", (module.Adam,), {})
    globals()["Own"], own.__module__ = own, __name__  # a class of somebody's module
    for kind in (module.optimizer("adamw"), module.optimizer("adam", "lr betas", "Mine"), module.Adam, own):
        theta = np.ones(3)
        opt = kind([torch.nn.Parameter(torch.ones(3)) if front == "torch" else theta], lr=0.5)
        other = copied(opt)
        assert type(other) is kind
        (p,), (q,) = opt.param_groups[0]["params"], other.param_groups[0]["params"]
        for each, array in ((opt, p), (other, q)):
            if front == "torch":
                array.grad = torch.ones(3)
                each.step()
            else:
                each.step(np.ones(3))
        assert _equal(p, q) and p is not q


def _equal(p: Any, q: Any) -> bool:
    return torch.equal(p, q) if isinstance(p, torch.Tensor) else np.array_equal(p, q)


# -- the end of the interpreter ----------------------------------------------------------------------------------------

START = """
import os, sys, threading
import numpy as np
from adamas import engine
engine.SERIAL = 0
os.environ["NUMBA_NUM_THREADS"] = "3"
import adamas.numpy
theta = np.zeros(300_000, np.float32)
opt = adamas.numpy.AdamW(theta)
opt.step(np.ones_like(theta))
"""
TORCH = """
import os, threading
import torch, adamas.torch
from adamas import engine
engine.SERIAL = 0
torch.set_num_threads(3)
p = torch.nn.Parameter(torch.zeros(300_000))
p.grad = torch.ones_like(p)
opt = adamas.torch.AdamW([p])
opt.step()
"""
DAEMON = """
def work():
    while True:
        {step}
threading.Thread(target=work, daemon=True).start()
threading.Event().wait(0.2)
"""
ATEXIT = """
import atexit
atexit.register(lambda: {step})
"""
THREAD = """
def work():
    threading.main_thread().join()
    for _ in range(3):
        {step}
threading.Thread(target=work).start()
"""
FORK = """
child = os.fork()
{step}
if child:
    assert os.waitpid(child, 0)[1] == 0
"""
#: After a fork a child of torch's does not live to its end, whoever has stepped: it must leave by os._exit.
ENDS = {"numpy": [DAEMON + ATEXIT, THREAD, FORK], "torch": [DAEMON + ATEXIT]}


@pytest.mark.parametrize("front", ["numpy", "torch"])
def test_nothing_is_left_at_the_end(front: str) -> None:
    """Nothing hangs, and nothing is written to standard error."""
    start, step = (START, "opt.step(np.ones_like(theta))") if front == "numpy" else (TORCH, "opt.step()")
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", start + code.format(step=step)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for code in ENDS[front]
    ]
    for code, process in zip(ENDS[front], running, strict=True):
        out, _ = process.communicate(timeout=120)
        assert (process.returncode, out) == (0, ""), code
