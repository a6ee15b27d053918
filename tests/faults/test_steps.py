"""A step happens wholly or not: whatever fails, and whenever somebody presses Ctrl-C."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import adamas
from adamas import engine
from adamas.errors import InputError

torch = pytest.importorskip("torch")
import adamas.numpy  # noqa: E402
import adamas.torch  # noqa: E402
from tests.faults.scenes import SCENES, SPARSE, Scene, Twin, interrupted  # noqa: E402

# -- Ctrl-C ------------------------------------------------------------------------------------------------------------


def walk(name: str, steps: int, stride: int, once: str = "") -> int:
    """Interrupt at every so many places; how many that were."""
    make = {**SCENES, **SPARSE}[name]
    twin, at = Twin(make), 1
    while interrupted(make, steps, at, twin, once, moved=bool(at % 2)):
        at += stride
    return at // stride


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("name", [*SCENES, *SPARSE])
def test_an_interrupted_step_has_happened_or_not(name: str, steps: int) -> None:
    assert walk(name, steps, 397 if steps < 3 else 29) > 3


@pytest.mark.parametrize("name", [*SCENES, *SPARSE])
def test_what_a_step_has_begun_to_change_it_ends(name: str) -> None:
    assert walk(name, 1, 2, "unbroken") > 11


def test_threads_that_help_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    monkeypatch.setattr(engine, "SERIAL", 0)
    monkeypatch.setattr(engine, "SPAN", 3)
    assert walk("numpy, Adam", 0, 2, "unbroken") > 40


def test_a_second_interruption_does_not_leave_a_thread_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    monkeypatch.setattr(engine, "SERIAL", 0)
    ends: list[bool] = []

    class Interrupted(engine._Shift):
        def end(self) -> None:
            ends.append(True)
            if len(ends) < engine.ATTEMPTS:
                raise KeyboardInterrupt
            super().end()

    monkeypatch.setattr(engine, "_Shift", Interrupted)
    theta = np.ones(100)
    with pytest.raises(KeyboardInterrupt):
        adamas.numpy.SGD(theta, lr=1.0).step(np.ones(100))
    assert (theta == 0).all() and not engine.POOL._shifts


def test_where_no_thread_is_to_be_had_the_caller_does_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    class None_:
        def submit(self, *_: Any) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    monkeypatch.setattr(engine, "SERIAL", 0)
    monkeypatch.setattr(engine, "ThreadPoolExecutor", lambda *_, **__: None_())
    monkeypatch.setattr(engine, "POOL", engine.Pool())
    monkeypatch.setattr(adamas.numpy, "POOL", engine.POOL)
    theta = np.ones(100)
    adamas.numpy.SGD(theta, lr=1.0).step(np.ones(100))
    assert (theta == 0).all()


# -- what fails --------------------------------------------------------------------------------------------------------


def after(name: str, steps: int) -> Scene:
    scene = SCENES[name]()
    for _ in range(steps):
        scene.step()
    return scene


def refused(
    scene: Scene, step: Callable[[], Any], sentence: str | None, error: type[BaseException] = InputError
) -> None:
    """The step raises and changes nothing."""
    before = scene.bits()
    with pytest.raises(error, match=sentence):
        step()
    assert scene.bits() == before


def goes_on(scene: Scene, name: str) -> None:
    steps = scene.steps
    scene.step()
    assert scene.bits() == Twin(SCENES[name]).after(steps + 1)


def wrong_gradients(scene: Scene, right: Any) -> list[Any]:
    shapes = [right.reshape(-1)[:0], right.reshape((1, *right.shape))]
    if not scene.torch:
        return [*shapes, "abc", right.astype(bool), right.astype(object)]
    sparse = (
        right.to_sparse()
        if right.ndim != 1
        else torch.sparse_coo_tensor([[99]], right[:1], right.shape, check_invariants=False)
    )
    return [*shapes, right.to(torch.bool), sparse]


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("name", SCENES)
def test_one_gradient_that_does_not_fit(name: str, steps: int) -> None:
    for k in range(5):
        scene = after(name, steps)
        grads = scene.gradients()
        for wrong in wrong_gradients(scene, grads[k]):
            given = [*grads[:k], wrong, *grads[k + 1 :]]
            refused(scene, partial(step_with, scene, given), f"radient of parameter {k}")
        goes_on(scene, name)


def step_with(scene: Scene, grads: list[Any]) -> None:
    if not scene.torch:
        scene.optimizer.step(grads)
        return
    for p, g in zip(scene.params, grads, strict=True):
        if g.layout is torch.strided:
            p.grad = torch.zeros_like(p)
            p.grad.data = g  # what is wrong is not let through otherwise
        else:
            p.grad = g
    scene.optimizer.step()


@pytest.mark.parametrize("name", SCENES)
def test_a_hyperparameter_of_the_second_group_that_cannot_be(name: str) -> None:
    scene = after(name, 2)
    group = scene.optimizer.param_groups[1]
    two = torch.ones(2) if scene.torch else np.ones(2)
    for value, sentence in ((two, "lr must be 1-element"), (math.nan, "rate: nan"), (None, "None"), ("0", "'0'")):
        right, group["lr"] = group["lr"], value
        refused(scene, scene.step, sentence)
        group["lr"] = right
    if scene.torch:
        group["lr"] = torch.ones((), device="meta")
        refused(scene, scene.step, "lr has no value")
        group["lr"] = right
    goes_on(scene, name)


@pytest.mark.parametrize("differentiable", [False, True])
@pytest.mark.parametrize("front", ["numpy", "torch"])
def test_a_coefficient_of_the_second_group_that_cannot_be_computed(front: str, differentiable: bool) -> None:
    @adamas.rule
    def divides(g, exp_avg, *, lr=1e-3, by=1.0):
        return lr / by * g, exp_avg + g

    options = {"differentiable": True} if front == "torch" and differentiable else {}
    scene = Scene(front, "divides", **options)
    scene.step()
    scene.optimizer.param_groups[1]["by"] = 0.0
    refused(scene, scene.step, "Rule 'divides' cannot be computed with .*by=0.0.*: float division by zero")
    scene.optimizer.param_groups[1]["by"] = 1.0
    scene.step()
    other = Scene(front, "divides", **options)
    for _ in range(2):
        other.step()
    assert scene.bits() == other.bits()


@pytest.mark.parametrize("name", SCENES)
def test_no_memory(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever allocation it is that fails."""
    for what in ("zeros", "stage", "scalars"):
        for k in range(1 if what == "scalars" else 9):
            scene = SCENES[name]()
            arrays = type(scene.optimizer._stepper.arrays)
            make, calls = getattr(arrays, what), []

            def fail(*given: Any, make: Any = make, calls: list[int] = calls, k: int = k) -> Any:
                calls.append(1)
                if len(calls) > k:
                    raise MemoryError
                return make(*given)

            with monkeypatch.context() as patch:
                patch.setattr(arrays, what, fail)
                before = scene.bits()
                try:
                    scene.step()
                except MemoryError:
                    assert scene.bits() == before
                    scene.steps = 0
                else:
                    assert k >= len(calls) > 0, what
                    break
            goes_on(scene, name)


@pytest.mark.parametrize("name", [name for name in SCENES if name.startswith("torch")])
def test_closures_and_hooks_that_raise(name: str) -> None:
    scene = after(name, 2)

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    scene.gradients()
    refused(scene, lambda: scene.optimizer.step(fail), None, KeyboardInterrupt)
    hook = scene.optimizer.register_step_pre_hook(fail)
    refused(scene, lambda: scene.optimizer.step(), None, KeyboardInterrupt)
    hook.remove()
    hook = scene.optimizer.register_step_post_hook(fail)
    with pytest.raises(KeyboardInterrupt):
        scene.step()
    hook.remove()
    assert scene.bits() == Twin(SCENES[name]).after(3), "what was done before a hook raised stays done"
    scene.steps = 3
    goes_on(scene, name)


# -- what could not be written to --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda s: s.update(exp_avg=torch.zeros(1).expand(3)), "The state 'exp_avg' of parameter 1 overlaps itself"),
        (lambda s: s.update(exp_avg=torch.zeros(3, dtype=torch.int64)), "The state 'exp_avg' of parameter 1 has dtype"),
        (
            lambda s: s.update(exp_avg=torch.zeros(3, dtype=torch.complex64)),
            "parameter 1 is complex, the parameter is real",
        ),
        (lambda s: s.update(exp_avg=torch.zeros(3).to_sparse()), "The state 'exp_avg' of parameter 1 has layout"),
        (lambda s: s.update(exp_avg="zeros"), "The state 'exp_avg' of parameter 1 is a str"),
        (lambda s: s["exp_avg"].untyped_storage().resize_(0), "has a storage of 0 bytes"),
        (lambda s: s.update(step=True), "has step = True"),
        (lambda s: s.update(step="10"), "has step = 10"),
        (lambda s: s.update(step=10**400), "it must be a finite number"),
        (lambda s: s.update(step=torch.ones(2)), "it must be a finite number"),
    ],
)
def test_a_state_that_could_not_be_written_to_is_refused(spoil: Callable[[Any], Any], sentence: str) -> None:
    ps = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    opt = adamas.torch.Adam(ps)
    for p in ps:
        p.grad = torch.ones(3)
    opt.step()
    spoil(opt.state[ps[1]])
    before = ps[0].detach().clone(), opt.state[ps[0]]["exp_avg"].clone()
    with pytest.raises(InputError, match=sentence):
        opt.step()
    assert torch.equal(ps[0], before[0]) and torch.equal(opt.state[ps[0]]["exp_avg"], before[1])
    assert float(opt.state[ps[0]]["step"]) == 1


def test_what_became_read_only_is_refused() -> None:
    thetas = [np.ones(3, np.float32), np.ones(3, np.float32)]
    opt = adamas.numpy.Adam(thetas)
    opt.step([np.ones(3)] * 2)
    before = thetas[0].copy()
    for spoiled, sentence in (
        (thetas[1], "Parameter 1 is read-only"),
        (opt.state[1]["exp_avg"], "of parameter 1 is read"),
    ):
        spoiled.flags.writeable = False
        with pytest.raises(InputError, match=sentence):
            opt.step([np.ones(3)] * 2)
        spoiled.flags.writeable = True
    assert np.array_equal(thetas[0], before) and float(opt.state[0]["step"]) == 1


def unwritable(which: str) -> Any:
    leaf = torch.ones(2, 3, requires_grad=True)
    if which == "view made without autograd":
        with torch.no_grad():
            return (leaf * 1)[0]
    return {
        "leaf": torch.ones(3, requires_grad=True),
        "view of a leaf": leaf[0],
        "one of several views": (leaf * 1).unbind()[0],
        "state": torch.ones(3),
    }[which]


@pytest.mark.parametrize(
    "which", ["leaf", "view of a leaf", "one of several views", "view made without autograd", "state"]
)
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)  # torch's: it is set
def test_where_autograd_would_not_let_a_differentiable_step_write(which: str) -> None:
    other, p = torch.ones(3), unwritable(which)
    groups = [{"params": [other], "differentiable": False}, {"params": [p]}]
    opt = adamas.torch.SGD(groups, lr=1.0, momentum=0.9, differentiable=True)
    other.grad = p.grad = torch.ones(3)
    if which == "state":
        opt.step()
        opt.state[p]["momentum_buffer"] = torch.ones(3, requires_grad=True)
    before = other.clone()
    with pytest.raises(InputError, match="Parameter 1 is a leaf that requires a gradient, or such a view"):
        opt.step()
    assert torch.equal(other, before)
