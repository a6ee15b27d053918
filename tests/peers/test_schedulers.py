"""torch's schedulers over our optimizers and over torch's, side by side."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.peers.kin import PEERS, STRANGERS, assert_near, assert_same, give_gradients, ours, parameters, theirs, torch

lr = torch.optim.lr_scheduler
Make = Callable[[Any], Any]
SCHEDULERS: dict[str, Make] = {
    "LambdaLR": lambda o: lr.LambdaLR(o, [lambda t: 0.9**t, lambda t: 1 / (1 + t)]),
    "MultiplicativeLR": lambda o: lr.MultiplicativeLR(o, lambda t: 0.9),
    "StepLR": lambda o: lr.StepLR(o, 2, gamma=0.5),
    "MultiStepLR": lambda o: lr.MultiStepLR(o, [1, 4], gamma=0.3),
    "ConstantLR": lambda o: lr.ConstantLR(o, factor=0.3, total_iters=3),
    "LinearLR": lambda o: lr.LinearLR(o, start_factor=0.2, total_iters=4),
    "ExponentialLR": lambda o: lr.ExponentialLR(o, 0.8),
    "PolynomialLR": lambda o: lr.PolynomialLR(o, total_iters=5, power=0.9),
    "CosineAnnealingLR": lambda o: lr.CosineAnnealingLR(o, T_max=5, eta_min=1e-3),
    "CosineAnnealingWarmRestarts": lambda o: lr.CosineAnnealingWarmRestarts(o, T_0=2, T_mult=2),
    "CyclicLR": lambda o: lr.CyclicLR(o, 0.01, 0.2, step_size_up=3, cycle_momentum=moves_momentum(o)),
    "OneCycleLR": lambda o: lr.OneCycleLR(o, [0.2, 0.3], total_steps=9, cycle_momentum=moves_momentum(o)),
    "ReduceLROnPlateau": lambda o: lr.ReduceLROnPlateau(o, patience=1, factor=0.5),
    "SequentialLR": lambda o: lr.SequentialLR(o, [lr.ConstantLR(o, 0.1), lr.ExponentialLR(o, 0.8)], milestones=[3]),
    "ChainedScheduler": lambda o: lr.ChainedScheduler([lr.ConstantLR(o, 0.1, 4), lr.ExponentialLR(o, 0.8)]),
}


def moves_momentum(optimizer: Any) -> bool:
    return "betas" in optimizer.defaults or "momentum" in optimizer.defaults


def advance(scheduler: Any, step: int) -> None:
    scheduler.step(*[1.0 + step // 3] if isinstance(scheduler, lr.ReduceLROnPlateau) else [])


def moving(optimizer: Any) -> list[Any]:
    """What schedulers move, group by group."""
    return [
        (float(group["lr"]), float(group["betas"][0] if "betas" in group else group.get("momentum", 0)))
        for group in optimizer.param_groups
    ]


def test_none_is_forgotten() -> None:
    own = {name for name in lr.__all__ if name != "LRScheduler"}
    assert own == SCHEDULERS.keys()


@pytest.mark.parametrize("tensor", [False, True], ids=["number", "tensor"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("name", PEERS)
def test_a_scheduler_moves_ours_as_torchs(name: str, scheduler: str, tensor: bool) -> None:
    eta = [0.1, 0.05]
    mine, others = parameters([(3,), (2, 2)]), parameters([(3,), (2, 2)])
    rates = [torch.tensor(x, dtype=torch.float64) if tensor else x for x in (*eta, *eta)]
    a = ours(name, [{"params": [p], "lr": rate} for p, rate in zip(mine, rates[:2], strict=True)])
    b = theirs(name, [{"params": [p], "lr": rate} for p, rate in zip(others, rates[2:], strict=True)])
    first, second = SCHEDULERS[scheduler](a), SCHEDULERS[scheduler](b)
    seen = set()
    for step in range(9):
        assert moving(a) == moving(b)
        seen.add(str(moving(a)))
        give_gradients(mine, others, seed=step)
        a.step()
        b.step()
        assert_near(mine, others)
        if step < 8:
            advance(first, step)
            advance(second, step)
            assert first.get_last_lr() == second.get_last_lr()
    assert len(seen) > 1
    assert isinstance(a.param_groups[0]["lr"], torch.Tensor) == tensor


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("name", STRANGERS)
def test_a_scheduler_moves_those_that_torch_does_not_have(name: str, scheduler: str) -> None:
    """As it moves torch's AdamW; and what moves in the groups moves the step."""
    scheduled, other, by_hand = (parameters([(3,), (2, 2)]) for _ in range(3))
    makes = (ours, name, scheduled), (theirs, "AdamW", other), (ours, name, by_hand)
    a, b, c = (make(kind, [{"params": [p]} for p in ps], lr=0.1, betas=(0.9, 0.99)) for make, kind, ps in makes)
    first, second = SCHEDULERS[scheduler](a), SCHEDULERS[scheduler](b)
    for step in range(9):
        assert moving(a) == moving(b)
        for group, (rate, beta) in zip(c.param_groups, moving(b), strict=True):
            group.update(lr=rate, betas=(beta, 0.99))
        give_gradients(scheduled, other, by_hand, seed=step)
        for optimizer in (a, b, c):
            optimizer.step()
        assert_same(scheduled, by_hand)
        if step < 8:
            advance(first, step)
            advance(second, step)


def test_a_scheduler_that_goes_first_is_noticed() -> None:
    params = parameters()
    optimizer = ours("AdamW", params)
    scheduler = lr.StepLR(optimizer, 2)
    with pytest.warns(UserWarning, match=r"`lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        scheduler.step()


def test_a_schedule_goes_on_from_its_state_dict() -> None:
    straight, stopped = parameters(), parameters()
    a, b = ours("AdamW", straight, lr=0.1), ours("AdamW", stopped, lr=0.1)
    first, second = SCHEDULERS["CosineAnnealingLR"](a), SCHEDULERS["CosineAnnealingLR"](b)
    for step in range(6):
        if step == 3:
            states = b.state_dict(), second.state_dict()
            b = ours("AdamW", stopped, lr=0.7)
            second = SCHEDULERS["CosineAnnealingLR"](b)
            b.load_state_dict(states[0])
            second.load_state_dict(states[1])
        give_gradients(straight, stopped, seed=step)
        for optimizer, scheduler in ((a, first), (b, second)):
            optimizer.step()
            scheduler.step()
    assert_same(straight, stopped)
