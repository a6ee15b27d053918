"""What stands beside an optimizer in a training loop: loss scaling, clipping, averaging, profiling, compiling."""

from typing import Any

import pytest

from tests.peers.kin import (
    ALL,
    PEERS,
    assert_held,
    assert_near,
    assert_same,
    copies,
    default_dtype,
    give_gradients,
    held,
    ours,
    parameters,
    steps,
    theirs,
    torch,
)

SCALE = 2.0**12


def scaler() -> Any:
    return torch.amp.GradScaler(device="cpu", init_scale=SCALE, growth_interval=3)


def give_scaled(scaling: Any, params: Any, seed: int, spoil: float | None = None) -> None:
    """Gradients as a scaled loss gives them, one of them spoilt."""
    scaling.scale(torch.tensor(0.0))  # makes its scale
    give_gradients(params, seed=seed)
    for p in params:
        p.grad *= scaling.get_scale()
    if spoil is not None:
        params[-2].grad[0] = spoil


# -- loss scaling -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fused"),
    # Fused, the step undoes the scale itself, by a kernel apart, but the same line before every rule.
    [*((name, None) for name in ALL), *((name, True) for name in ("SGD", "AdamW", "NAdam", "Lion"))],
)
def test_a_scaled_step_is_the_step_and_an_overflow_is_none(name: str, fused: bool | None) -> None:
    params, plain = parameters(), parameters()
    scaling, optimizer, unscaled = scaler(), ours(name, params, fused=fused), ours(name, plain)
    for step in range(8):
        spoil = {2: float("inf"), 3: float("nan"), 6: -float("inf")}.get(step)
        give_scaled(scaling, params, step, spoil)
        before, scale = held(optimizer, params), scaling.get_scale()
        assert scaling.step(optimizer) is None
        scaling.update()
        if spoil is not None:
            assert_held(optimizer, params, before)
            assert scaling.get_scale() == scale / 2
        else:
            steps(unscaled, plain, [step])
    assert_same(params, plain)  # a scale is a power of two
    assert all(float(optimizer.state[p]["step"]) == 5 for p in params)


@pytest.mark.parametrize("name", PEERS)
def test_unscaled_and_clipped_as_torchs(name: str) -> None:
    def run(make: Any) -> tuple[list[Any], list[Any]]:
        params = parameters()
        scaling, optimizer = scaler(), make(name, params, lr=0.1)
        noted = []
        for step in range(6):
            give_scaled(scaling, params, step, float("inf") if step == 1 else None)
            scaling.unscale_(optimizer)
            noted.append(float(torch.nn.utils.clip_grad_norm_(params, 0.5)))
            scaling.step(optimizer)
            scaling.update()
            noted.append(scaling.get_scale())
        return params, noted

    with default_dtype(torch.float64):
        (mine, noted), (others, expected) = run(ours), run(theirs)
    assert noted == expected
    assert_near(mine, others)


def test_unscaling_twice_is_refused_as_for_any() -> None:
    params = parameters()
    scaling, optimizer = scaler(), ours("AdamW", params)
    give_scaled(scaling, params, 0)
    scaling.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaling.unscale_(optimizer)


def test_autocast_and_scaler_train_a_model_as_with_torch() -> None:
    def run(make: Any) -> list[float]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
        x = torch.randn(32, 6)
        y = x.sum(1, keepdim=True)
        scaling, optimizer, losses = scaler(), make("AdamW", model.parameters(), lr=0.01), []
        for _ in range(20):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = torch.nn.functional.mse_loss(model(x).float(), y)
            scaling.scale(loss).backward()
            scaling.step(optimizer)
            scaling.update()
            losses.append(loss.item())
        return losses

    mine, others = run(ours), run(theirs)
    assert mine == pytest.approx(others, rel=1e-2) and mine[-1] < 0.8 * mine[0]


# -- averaging --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", ["mean", "ema", "swa"])
def test_averaged_models_follow_ours_as_torchs(average: str) -> None:
    from torch.optim import swa_utils

    how = {
        "mean": {},
        "ema": {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.9)},
        "swa": {"multi_avg_fn": swa_utils.get_swa_multi_avg_fn()},
    }

    def run(make: Any) -> list[Any]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8, bias=False), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 1))
        model = model.to(torch.float64)
        x = torch.randn(16, 4, dtype=torch.float64)
        optimizer = make("AdamW", model.parameters(), lr=0.05)
        averaged = swa_utils.AveragedModel(model, **how[average])
        schedule = swa_utils.SWALR(optimizer, swa_lr=0.01, anneal_epochs=3)
        rates = []
        for _ in range(6):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
            averaged.update_parameters(model)
            schedule.step()
            rates.append(optimizer.param_groups[0]["lr"])
        swa_utils.update_bn([x], averaged)
        assert rates[-1] == 0.01 and rates[0] > 0.01
        return [*model.parameters(), *averaged.parameters(), *(b.double() for b in averaged.buffers())]

    with default_dtype(torch.float64):
        assert_near(run(ours), run(theirs))


# -- watching ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_the_profiler_names_the_step(name: str) -> None:
    params = parameters()
    optimizer = ours(name, params)
    steps(optimizer, params, [0])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        steps(optimizer, params, [1, 2])
        optimizer.zero_grad()
    names = [event.name for event in profile.events()]
    assert names.count(f"Optimizer.step#{name}.step") == 2
    assert names.count(f"Optimizer.zero_grad#{name}.zero_grad") == 1


# -- other ways to train ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_step_in_the_backward_pass_is_the_step(name: str) -> None:
    """An optimizer for each parameter, called by a hook as soon as its gradient is there."""
    together, alone = parameters(), parameters()
    optimizer = ours(name, together)
    each = {p: ours(name, [p]) for p in alone}

    def step(p: Any) -> None:
        each[p].step()
        each[p].zero_grad()

    for p in alone:
        p.register_post_accumulate_grad_hook(step)
    for _ in range(3):
        for params in (together, alone):
            (sum((p.sin() * (i + 1)).sum() for i, p in enumerate(params))).backward()
        optimizer.step()
        optimizer.zero_grad()
        assert all(p.grad is None for p in alone)
    assert_same(together, alone)


# torch's compiler looks at .grad of whatever it meets, and hides this warning unless warnings are errors.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("name", ALL)
def test_a_compiled_training_step_is_the_training_step(name: str) -> None:
    params = parameters([(6, 4), (4,)])
    same = copies(params)

    def train(weights: Any, optimizer: Any, x: Any) -> Any:
        optimizer.zero_grad()
        loss = (x @ weights[0] + weights[1]).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    compiled, plain = ours(name, params), ours(name, same)
    torch._dynamo.reset()
    run = torch.compile(train, backend="eager")
    for seed in range(3):
        x = torch.randn(5, 6, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(run(params, compiled, x), train(same, plain, x))
    assert_same(params, same)


def test_a_distributed_checkpoint_of_one_process_goes_on() -> None:
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    def model() -> Any:
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 1))

    first, second = model(), model()
    a = ours("AdamW", first.parameters(), lr=0.1)
    steps(a, [*first.parameters()], range(3))
    states = get_optimizer_state_dict(first, a)
    assert {*states["state"]} == {name for name, _ in first.named_parameters()}
    b = ours("AdamW", second.parameters())
    set_optimizer_state_dict(second, b, states)
    second.load_state_dict(first.state_dict())
    steps(a, [*first.parameters()], range(3, 5))
    steps(b, [*second.parameters()], range(3, 5))
    assert b.param_groups[0]["lr"] == 0.1
    assert_same([*first.parameters()], [*second.parameters()])
