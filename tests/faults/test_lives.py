"""What happens to a parameter, its gradient and its states in the course of a training, beside an undisturbed twin."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from adamas.errors import InputError

torch = pytest.importorskip("torch")
import adamas.numpy  # noqa: E402
import adamas.torch  # noqa: E402


def model(seed: int = 0, **kind: Any) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(16, 2)).to(**kind)


def train(net: Any, opt: Any, steps: int = 2, seed: int = 1) -> None:
    for step in range(steps):
        generator = torch.Generator().manual_seed(100 * seed + step)
        for p in net.parameters():
            grad = torch.randn(p.shape, generator=generator)
            p.grad = grad.to(p.dtype) if p.requires_grad else None
        opt.step()


def same(one: Any, other: Any) -> None:
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)


def bucket(net: Any) -> None:
    """As ZeRO does it: parameters become views of one flat tensor."""
    flat = torch.cat([p.detach().reshape(-1) for p in net.parameters()])
    start = 0
    for p in net.parameters():
        p.data = flat[start : start + p.numel()].view(p.shape)
        start += p.numel()


def halves(net: Any) -> None:
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(0.5)


LIVES: dict[str, Callable[[Any], Any]] = {
    "channels last": lambda net: net.to(memory_format=torch.channels_last),
    "bucketed": bucket,
    "shared between processes": lambda net: net.share_memory(),
    "moved to where it is": lambda net: net.to("cpu"),
    "loaded in place": lambda net: net.load_state_dict(copy.deepcopy(net.state_dict())),
    "loaded by assignment": lambda net: [setattr(p, "data", p.data.clone()) for p in net.parameters()],
}


@pytest.mark.parametrize("life", LIVES)
def test_a_model_goes_on_after(life: str) -> None:
    ours, theirs = model(), model()
    a, b = adamas.torch.AdamW(ours.parameters(), amsgrad=True), adamas.torch.AdamW(theirs.parameters(), amsgrad=True)
    for net, opt in ((ours, a), (theirs, b)):
        train(net, opt)
    for p in ours.parameters():
        p.grad = None
    LIVES[life](ours)
    for net, opt in ((ours, a), (theirs, b)):
        train(net, opt, steps=3, seed=2)
    same(ours, theirs)


def test_edits_between_steps_count() -> None:
    ours, theirs = model(), model()
    a, b = adamas.torch.SGD(ours.parameters(), lr=0.5), torch.optim.SGD(theirs.parameters(), lr=0.5)
    for net, opt in ((ours, a), (theirs, b)):
        train(net, opt)
        halves(net)
        train(net, opt, seed=2)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q)


def test_a_contiguous_state_goes_into_a_model_that_is_channels_last() -> None:
    ours, theirs = model(), model()
    b = adamas.torch.AdamW(theirs.parameters())
    train(theirs, b)
    ours.load_state_dict(theirs.state_dict())
    ours = ours.to(memory_format=torch.channels_last)
    a = adamas.torch.AdamW(ours.parameters())
    a.load_state_dict(b.state_dict())
    for net, opt in ((ours, a), (theirs, b)):
        train(net, opt, seed=2)
    same(ours, theirs)
    weight = ours[0].weight
    assert a.state[weight]["exp_avg"].stride() == weight.stride() != weight.contiguous().stride()
    assert not any(part.staged for part in a._stepper._plan.parts)


def test_unfrozen_and_frozen_again() -> None:
    ours, theirs = model(), model()
    for p in ours[0].parameters():
        p.requires_grad_(False)
    a, b = adamas.torch.AdamW(ours.parameters()), adamas.torch.AdamW(theirs[2].parameters())
    for net, opt in ((ours, a), (theirs, b)):
        train(net, opt)
    assert torch.equal(ours[0].weight, theirs[0].weight) and ours[0].weight not in a.state
    for p in ours[0].parameters():
        p.requires_grad_(True)
    b.add_param_group({"params": theirs[0].parameters()})
    for net, opt in ((ours, a), (theirs, b)):
        train(net, opt, seed=2)
    same(ours, theirs)
    assert [float(a.state[p]["step"]) for p in ours.parameters()] == [2, 2, 4, 4]


def test_a_parametrized_weight_is_stepped_through_its_original() -> None:
    ours, theirs = model(), model()
    for net in (ours, theirs):
        torch.nn.utils.parametrizations.weight_norm(net[2])
    a, b = adamas.torch.Adam(ours.parameters(), lr=0.1), torch.optim.Adam(theirs.parameters(), lr=0.1)
    x = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        for net, opt in ((ours, a), (theirs, b)):
            opt.zero_grad()
            net(x).square().sum().backward()
            opt.step()
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


def test_resized_with_its_gradient_its_states_are_refused() -> None:
    net = model()
    opt = adamas.torch.AdamW(net.parameters())
    train(net, opt)
    weight = net[2].weight
    weight.grad = None
    weight.data, before = torch.ones(3, 16), net[0].weight.detach().clone()
    weight.grad = torch.ones(3, 16)
    with pytest.raises(
        InputError, match=r"The state 'exp_avg' of parameter 2 has shape \(2, 16\), the parameter \(3, 16"
    ):
        opt.step()
    assert torch.equal(net[0].weight, before)
    del opt.state[weight]
    opt.step()
    assert float(opt.state[weight]["step"]) == 1


@pytest.mark.parametrize("what", ["parameter", "gradient"])
def test_memory_that_is_gone_is_refused(what: str) -> None:
    p, q = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    opt = adamas.torch.Adam([p, q])
    for x in (p, q):
        x.grad = torch.ones(3)
    opt.step()
    before = p.detach().clone()
    (q if what == "parameter" else q.grad).untyped_storage().resize_(0)
    with pytest.raises(InputError, match="has a storage of 0 bytes"):
        opt.step()
    assert torch.equal(p, before) and float(opt.state[p]["step"]) == 1


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate:UserWarning")  # torch's
def test_tied_parameters_are_refused() -> None:
    p = torch.nn.Parameter(torch.ones(4))
    p.grad = torch.ones(4)
    twin = torch.nn.Parameter(p.detach()[1:3])
    twin.grad = torch.ones(2)
    for tied in ([p, p], [p, twin]):
        with pytest.raises(InputError, match="Parameter 0 and parameter 1 share memory"):
            adamas.torch.Adam(tied).step()
        assert (p == 1).all()
    with pytest.raises(ValueError, match="some parameters appear in more than one parameter group"):
        adamas.torch.Adam([{"params": [p]}, {"params": [p]}])


def test_a_gradient_may_be_the_parameter_itself() -> None:
    theta = np.linspace(-1, 1, 4001)
    twin = theta.copy()
    a, b = adamas.numpy.Adam(theta), adamas.numpy.Adam(twin)
    p, q = torch.nn.Parameter(torch.tensor(theta)), torch.nn.Parameter(torch.tensor(theta))
    c, d = adamas.torch.Adam([p]), adamas.torch.Adam([q])
    for _ in range(3):
        a.step(theta)
        b.step(twin.copy())
        p.grad, q.grad = p.detach(), q.detach().clone()
        c.step()
        d.step()
    assert np.array_equal(theta, twin) and torch.equal(p, q)


@pytest.mark.parametrize("front", ["numpy", "torch"])
@pytest.mark.parametrize("which", ["another parameter", "itself, shifted", "a state"])
def test_a_gradient_in_memory_that_is_written_to_is_refused(front: str, which: str) -> None:
    base = np.ones(5)
    one, two, plain = base[:3], np.ones(3), np.ones(3)
    if front == "numpy":
        opt: Any = adamas.numpy.Adam([one, two])
        opt.step([plain, None])
        grads = {
            "another parameter": [plain, one],
            "itself, shifted": [base[1:4], plain],
            "a state": [plain, opt.state[0]["exp_avg"]],
        }[which]
        step: Callable[[], Any] = partial(opt.step, grads)
    else:
        p, q = torch.nn.Parameter(torch.from_numpy(one)), torch.nn.Parameter(torch.from_numpy(two))
        opt = adamas.torch.Adam([p, q])
        p.grad = torch.from_numpy(plain)
        opt.step()
        p.grad, q.grad = {
            "another parameter": (p.grad, p.detach()),
            "itself, shifted": (torch.from_numpy(base)[1:4], torch.from_numpy(plain)),
            "a state": (p.grad, opt.state[p]["exp_avg"]),
        }[which]
        step = opt.step
    before = base.copy(), two.copy()
    with pytest.raises(InputError, match=r"he gradient of parameter [01] share memory"):
        step()
    assert np.array_equal(base, before[0]) and np.array_equal(two, before[1])


def test_gradients_may_share_memory() -> None:
    grads = np.arange(12.0)
    thetas, twins = [np.ones(6), np.ones(6)], [np.ones(6), np.ones(6)]
    adamas.numpy.Adam(thetas).step([grads[:6], grads[3:9]])
    adamas.numpy.Adam(twins).step([grads[:6].copy(), grads[3:9].copy()])
    assert all(map(np.array_equal, thetas, twins))


def test_a_gradient_of_another_precision_is_rounded_to_the_parameters() -> None:
    p, q = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    grad = torch.tensor([0.1, 1e-9, -3.0], dtype=torch.float64)
    p.grad, q.grad = torch.zeros(3), grad.float()
    p.grad.data = grad
    for x in (p, q):
        adamas.torch.Adam([x]).step()
    assert torch.equal(p, q)


def test_misspelt_entries_of_a_group_are_refused_and_ones_own_kept() -> None:
    p, q = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    for name in ("weight_decy", "weightdecay", "bets", "max_imize"):
        with pytest.raises(InputError, match=f"Unknown hyperparameter of adamw '{name}': did you mean"):
            adamas.torch.AdamW([{"params": [p], name: 0.1}])
    own = {
        "lr_scale": 0.5,
        "initial_lr": 1.0,
        "max_momentum": 0.9,
        "no_weight_decay": True,
        "name": "head",
        "swa_lr": 1,
    }
    opt = adamas.torch.AdamW([{"params": [p], **own}])
    again = adamas.torch.AdamW([q])
    again.load_state_dict(opt.state_dict())
    assert own.items() <= again.param_groups[0].items()
