"""With ``capturable=True`` the GPU keeps the counts and decides: steps can be captured, and nobody waits."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

import adamas
import adamas.torch
from adamas import checkpoint
from adamas.lowering.triton import BLOCK
from adamas.torch import launching
from tests.gpu.conftest import INTERPRETED
from tests.gpu.test_kernels import assert_same, bits, by_numba, stepped, tensors

SIZES = (5, BLOCK + 3)


class Recording:
    """A graph of Triton's launches where there is no GPU: they are kept, and made by `replay`."""

    def __init__(self) -> None:
        self.launches: list[Callable[[], None]] = []

    def replay(self) -> None:
        with np.errstate(all="ignore"):
            for launch in self.launches:
                launch()


@contextmanager
def capturing() -> Iterator[Any]:
    """A graph that records what is launched while this lasts."""
    if not INTERPRETED:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            yield graph
        return
    recording = Recording()

    def run(self: Any, crew: Any) -> None:
        if self._pending is not None:
            recording.launches.append(self._pending)
            self._pending = None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launching, "_capturing", lambda device: True)
        patch.setattr(launching._Launch, "run", run)
        yield recording


@contextmanager
def nobody_waits(device: str) -> Iterator[None]:
    """The host does not look at what the device finds."""

    def refused(job: Any) -> None:
        raise AssertionError("the host looked")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launching._Job, "results", property(refused))
        patch.setattr(torch.Tensor, "item", refused)
        patch.setattr(torch.Tensor, "__float__", refused)
        patch.setattr(torch.Tensor, "__bool__", refused)
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            if device == "cuda":
                torch.cuda.set_sync_debug_mode("default")


def give(params: Sequence[Any], row: Sequence[Any], device: str) -> None:
    for p, g in zip(params, row, strict=True):
        p.grad = g.clone().to(device)


def step(optimizer: Any) -> None:
    with np.errstate(all="ignore"):
        optimizer.step()


def snapshot(params: Sequence[Any], optimizer: Any) -> list[np.ndarray]:
    """All that a step may change, to the bit."""
    held = [t for p in params for t in (p, p.grad, *optimizer.state[p].values())]
    return [bits(t).copy() for t in held]


@pytest.mark.parametrize(
    "options",
    [
        {"weight_decay": 0.1},
        {"clip_grad_norm": 1.0, "ema_decay": 0.9, "nonfinite": "skip", "zero_grad": True, "state_dtype": "bfloat16"},
    ],
    ids=str,
)
def test_a_replayed_step_is_a_step(options: dict[str, Any], device: str) -> None:
    """With gradients that lie elsewhere than before the capture, an η that changes, and one that is not finite."""
    starts, grads = tensors(6, sizes=SIZES)
    grads[1][0] = torch.ones(5)
    grads[4][1][7] = torch.inf if "nonfinite" in options else 1.0

    def run(captured: bool) -> tuple[Any, Any, list[Any]]:
        params = [torch.nn.Parameter(start.clone().to(device)) for start in starts]
        lr, *betas = (torch.tensor(x, dtype=torch.float64, device=device) for x in (0.1, 0.8, 0.99))
        optimizer = adamas.torch.AdamW(params, lr=lr, betas=tuple(betas), capturable=True, **options)
        graph, said = None, []
        for k, row in enumerate(grads):
            if k < 2 or not captured:
                give(params, row, device)
                step(optimizer)
            else:
                if graph is None:
                    give(params, row, device)
                    with capturing() as graph:
                        step(optimizer)
                for p, g in zip(params, row, strict=True):
                    p.grad.copy_(g)
                graph.replay()
            said.append(optimizer.last)
            lr.fill_(0.1 / (k + 2))
        return params, optimizer, said

    *one, told = run(captured=True)
    *other, expected = run(captured=False)
    assert_same(one, other)
    assert [last.skipped for last in told] == [last.skipped for last in expected]
    assert [last.grad_norm for last in told] == [last.grad_norm for last in expected]
    skipped = sum(last.skipped for last in told)
    assert skipped == ("nonfinite" in options)
    assert float(one[1].state[one[0][0]]["step"]) == len(grads) - skipped


@pytest.mark.parametrize("found", ["by the step", "by somebody"])
def test_a_skipped_step_changes_nothing(found: str, device: str) -> None:
    starts, grads = tensors(4, sizes=SIZES)
    grads[1][0] = grads[0][0]
    options = {"ema_decay": 0.9, "zero_grad": True, "state_dtype": "bfloat16", "capturable": True}
    options |= {"nonfinite": "skip", "clip_grad_norm": 1.0} if found == "by the step" else {}
    params, optimizer = stepped("nadam", device, starts, grads[:2], **options)
    give(params, grads[2], device)
    if found == "by the step":
        params[1].grad[3] = torch.nan
    else:
        optimizer.found_inf = torch.tensor(2.0, device=device)
    before = snapshot(params, optimizer)
    step(optimizer)  # in which the plan is made, since the states were looked at
    with nobody_waits(device):
        step(optimizer)
    assert optimizer.last.skipped
    for one, other in zip(before, snapshot(params, optimizer), strict=True):
        np.testing.assert_array_equal(one, other)
    give(params, grads[3], device)
    if found == "by somebody":
        optimizer.found_inf = torch.tensor(0.0, device=device)
    with nobody_waits(device):
        step(optimizer)
    assert not optimizer.last.skipped
    assert all(float(optimizer.state[p]["step"]) == 3 for p in params)
    assert_same((params, optimizer), stepped("nadam", device, starts, [*grads[:2], grads[3]], **options))


def test_a_grad_scaler_is_not_waited_for(device: str) -> None:
    starts, grads = tensors(4, sizes=SIZES)
    grads[1][0] = grads[0][0]
    grads[2][1][3] = torch.inf

    def run(capturable: bool) -> Any:
        params = [torch.nn.Parameter(start.clone().to(device)) for start in starts]
        optimizer = adamas.torch.AdamW(params, fused=True, capturable=capturable, clip_grad_norm=1.0)
        scaler = torch.amp.GradScaler(device, init_scale=8.0, growth_interval=2)
        said = []
        for row in grads:
            give(params, row, device)
            loss = sum((p * p.grad).sum() for p in params)  # whose gradient is p.grad
            for p in params:
                p.grad = None
            scaler.scale(loss).backward()
            with np.errstate(all="ignore"):
                scaler.step(optimizer)
            scaler.update()
            said.append(optimizer.last)
        return params, optimizer, said, scaler.get_scale()

    *one, told, scale = run(capturable=True)
    *other, expected, same = run(capturable=False)
    assert_same(one, other)
    assert scale == same
    assert [last.skipped for last in told] == [last.skipped for last in expected] == [False, False, True, False]
    assert float(one[1].state[one[0][0]]["step"]) == 3


def test_counts_lie_on_the_device_and_come_and_go(device: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """To an optimizer that is not capturable and back, through a file, through torch's."""
    starts, grads = tensors(4, sizes=SIZES)
    grads[1][0] = grads[0][0]
    expected = by_numba(monkeypatch, "nadam", starts, grads)
    params = [torch.nn.Parameter(start.clone().to(device)) for start in starts]

    def made(capturable: bool) -> Any:
        return adamas.torch.NAdam(params, capturable=capturable)

    optimizer = made(True)
    for k, row in enumerate(grads):
        give(params, row, device)
        step(optimizer)
        state = optimizer.state[params[0]]
        for name in ("step", "mu_product"):
            assert (state[name].shape, state[name].dtype) == ((), torch.float64)
            assert state[name].device.type == (device if k % 2 == 0 else "cpu")
        held = optimizer.state_dict()
        if k == 0:
            theirs = torch.optim.NAdam(params, capturable=True)
            theirs.load_state_dict(held)
            held = theirs.state_dict()
        elif k == 1:
            checkpoint.save(tmp_path, 2, optimizer=optimizer)
            optimizer = made(True)
            checkpoint.load(tmp_path, optimizer=optimizer)
            held = optimizer.state_dict()
        optimizer = made(k % 2 == 1)
        held["param_groups"][0]["capturable"] = k % 2 == 1
        optimizer.load_state_dict(held)
    for p, q in zip(params, expected[0], strict=True):
        torch.testing.assert_close(p.detach().cpu(), q.detach(), rtol=1e-6, atol=0)
    assert all(float(optimizer.state[p]["step"]) == 4 for p in params)


@pytest.mark.filterwarnings("ignore:The CUDA Graph is empty")
def test_what_was_not_the_step_before_cannot_be_captured(device: str) -> None:
    starts, grads = tensors(2, sizes=SIZES)
    grads[1][0] = grads[0][0]
    params, optimizer = stepped("adamw", device, starts, grads, capturable=True, telemetry=2)
    before = snapshot(params, optimizer)
    with pytest.raises(ValueError, match="this step is not like the one before"), capturing():
        step(optimizer)  # whose states have been looked at
    assert all((a == b).all() for a, b in zip(before, snapshot(params, optimizer), strict=True))
    for row in grads:
        give(params, row, device)
        step(optimizer)
    with pytest.raises(ValueError, match="nobody looks at what telemetry=2 measures"), capturing():
        step(optimizer)
    params[0].grad = None
    with pytest.raises(ValueError, match="this step is not like the one before"), capturing():
        step(optimizer)


@pytest.mark.filterwarnings("ignore:The CUDA Graph is empty")
def test_a_kernel_that_was_not_compiled_cannot_be_captured(device: str) -> None:
    starts, grads = tensors(1, sizes=SIZES)
    params, optimizer = stepped("sgd", device, starts, grads, capturable=True)
    params[0].grad = torch.ones(6, device=device)[1:]  # at no multiple of 16 bytes, as all were
    before = [bits(p).copy() for p in params]
    with pytest.raises(ValueError, match="this step is not like the one before"), capturing():
        step(optimizer)
    assert all((bits(p) == b).all() for p, b in zip(params, before, strict=True))


def test_telemetry_of_a_step_that_is_skipped_comes_at_the_next(device: str) -> None:
    starts, grads = tensors(3, sizes=SIZES)
    grads[1][0] = grads[0][0]
    grads[0][1][3] = torch.inf
    params = [torch.nn.Parameter(start.clone().to(device)) for start in starts]
    optimizer = adamas.torch.AdamW(params, capturable=True, nonfinite="skip", telemetry=2)
    measured = []
    for row in grads:
        give(params, row, device)
        step(optimizer)
        measured.append(optimizer.last.telemetry is not None)
    assert measured == [False, True, False]


@pytest.mark.parametrize(
    ("options", "groups", "sentence"),
    [
        ({"nonfinite": "raise"}, [{}, {}], "nobody to raise"),
        ({"late_switch": adamas.LateSwitch(at=3)}, [{}, {}], "decided by the host"),
        ({}, [{}, {"capturable": False}], "for all parameters of an optimizer"),
        ({"differentiable": True}, [{}, {}], "plain parameters on an NVIDIA GPU"),
        ({"lr": torch.tensor(0.1, dtype=torch.bfloat16)}, [{}, {}], "one number of float32 or float64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_only_the_host_can_do_is_refused(
    options: dict[str, Any], groups: list[dict[str, Any]], sentence: str, device: str
) -> None:
    starts, grads = tensors(1, sizes=SIZES)
    params = [torch.nn.Parameter(start.to(device)) for start in starts]
    if isinstance(lr := options.get("lr"), torch.Tensor):
        options = {"lr": lr.to(device)}
    given = [{"params": [p], **group} for p, group in zip(params, groups, strict=True)]
    optimizer = adamas.torch.AdamW(given, **{"capturable": True, **options})
    give(params, grads[0], device)
    before = [bits(p).copy() for p in params]
    with pytest.raises(ValueError, match=sentence):
        step(optimizer)
    assert all((bits(p) == b).all() for p, b in zip(params, before, strict=True))


def test_on_the_cpu_it_is_refused(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    starts, grads = tensors(1, sizes=SIZES)
    monkeypatch.setattr(adamas.torch.arrays, "engine_of", launching.engine_of)
    with pytest.raises(ValueError, match="here one is a Parameter on cpu: leave it out"):
        stepped("adamw", "cpu", starts, grads, capturable=True)
