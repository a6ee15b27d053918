"""What torch's tests ask of an optimizer, asked of each of ours."""

import copy
import io
import pickle
from typing import Any

import pytest

from tests.peers.kin import (
    ALL,
    PEERS,
    SHAPES,
    adamas,
    assert_held,
    assert_near,
    assert_same,
    copies,
    default_dtype,
    give_gradients,
    held,
    ours,
    outcome,
    parameters,
    steps,
    theirs,
    torch,
)


def saved(state_dict: dict[str, Any]) -> dict[str, Any]:
    """Through a file that may hold nothing but tensors and plain types."""
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# -- groups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_group_steps_as_it_would_alone(name: str) -> None:
    together, alone = parameters(), parameters()
    own = [{}, {"lr": 0.5}, {"lr": 0.01, "weight_decay": 0.2}]
    groups = [{"params": [p], **options} for p, options in zip(together, own, strict=True)]
    both = ours(name, groups, lr=0.1)
    each = [ours(name, [p], **{"lr": 0.1, **options}) for p, options in zip(alone, own, strict=True)]
    for step in range(3):
        give_gradients(together, alone, seed=step)
        for optimizer in (both, *each):
            optimizer.step()
    assert_same(together, alone)


@pytest.mark.parametrize("name", ALL)
def test_a_group_without_learning_rate_stays(name: str) -> None:
    p, q = parameters([(3,), (4,)])
    before = q.detach().clone()
    steps(ours(name, [{"params": [p]}, {"params": [q], "lr": 0.0}], lr=0.1), [p, q], range(3))
    assert_same([q], [before])


@pytest.mark.parametrize("name", ["SGD", "AdamW", "NAdam"])
def test_dtypes_share_an_optimizer(name: str) -> None:
    kinds = torch.float32, torch.float64, torch.bfloat16, torch.complex64, torch.float16
    together = [parameters([(4, 3)], dtype=kind)[0] for kind in kinds]
    alone = copies(together)
    optimizer, each = ours(name, together), [ours(name, [p]) for p in alone]
    for step in range(3):
        give_gradients(together, alone, seed=step)
        for opt in (optimizer, *each):
            opt.step()
    assert_same(together, alone)
    for p, q, opt in zip(together, alone, each, strict=True):
        assert_same(list(optimizer.state[p].values()), list(opt.state[q].values()))


def bad_groups() -> dict[str, Any]:
    p, q = parameters([(3,), (4,)])
    return {
        "no dict": lambda taken: [p],
        "a set": lambda taken: {"params": {p, q}},
        "no tensor": lambda taken: {"params": [p, 3.0]},
        "no leaf": lambda taken: {"params": [p, q * 2]},
        "taken": lambda taken: {"params": [p, taken]},
        "named": lambda taken: {"params": [("p", p)]},
        "half named": lambda taken: {"params": [("p", p), q]},
        "bad value": lambda taken: {"params": [p], "lr": -1.0},
        "two learning rates": lambda taken: {"params": [p], "lr": torch.tensor([0.1, 0.2])},
    }


@pytest.mark.parametrize("what", bad_groups())
def test_a_bad_group_is_refused_in_torchs_words(what: str) -> None:
    (mine,), (other,) = parameters([(2,)]), parameters([(2,)])
    a, b = ours("AdamW", [mine]), theirs("AdamW", [other])
    give_gradients([mine], seed=0)
    a.step()
    before, groups = held(a, [mine]), copy.deepcopy(a.param_groups)
    kind, sentence = outcome(lambda: a.add_param_group(bad_groups()[what](mine)))
    if what in ("bad value", "two learning rates"):  # where torch waits for the step
        assert issubclass(kind, ValueError) and ("learning rate: -1.0" in sentence or "must be 1-element" in sentence)
    else:
        their_kind, their_sentence = outcome(lambda: b.add_param_group(bad_groups()[what](other)))
        assert issubclass(kind, their_kind) and sentence.startswith(their_sentence.rstrip("."))
    assert repr(a.param_groups) == repr(groups)
    assert_held(a, [mine], before)


@pytest.mark.parametrize("name", ALL)
def test_a_group_keeps_what_its_owner_put_there(name: str) -> None:
    p, q = parameters([(3,), (4,)])
    optimizer = ours(name, [{"params": [p], "layer": "first"}])
    optimizer.add_param_group({"params": q, "layer": "second", "initial_lr": 3.0})
    optimizer.load_state_dict(saved(optimizer.state_dict()))
    assert [group["layer"] for group in optimizer.param_groups] == ["first", "second"]
    assert optimizer.param_groups[1]["initial_lr"] == 3.0 and optimizer.param_groups[1]["params"] == [q]
    assert optimizer.param_groups[1].keys() >= optimizer.defaults.keys()


# -- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_without_gradients_nothing_happens(name: str) -> None:
    params = parameters()
    optimizer = ours(name, params)
    before = held(optimizer, params)
    optimizer.step()
    assert_held(optimizer, params, before)
    steps(optimizer, params, range(2))
    optimizer.zero_grad()
    before = held(optimizer, params)
    optimizer.step()
    assert_held(optimizer, params, before)


@pytest.mark.parametrize("name", ALL)
def test_zero_gradients_move_nothing(name: str) -> None:
    params = parameters(dtype=torch.float64)
    before = copies(params)
    optimizer = getattr(adamas.torch, name)(params, weight_decay=0.0)
    for _ in range(3):
        for p in params:
            p.grad = torch.zeros_like(p)
        optimizer.step()
    assert_same(params, before)
    assert all(float(optimizer.state[p]["step"]) == 3 for p in params)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, options) for name in ALL for options in ({}, {"differentiable": True})),
        *((name, {flag: True}) for name in ("SGD", "Adam") for flag in ("maximize", "decoupled", "foreach", "fused")),
    ],
    ids=str,
)
def test_gradients_are_read_alone(name: str, options: dict[str, Any]) -> None:
    plain = parameters([(4, 3), (4, 3)])
    params = [*plain, *parameters([(4, 3)], dtype=torch.bfloat16), *parameters([(4, 3)], dtype=torch.complex64)]
    params = [p.detach() for p in params]
    optimizer = ours(name, params, **options)
    for step in range(3):
        give_gradients(params, seed=step)
        params[1].grad = params[1].grad.t().contiguous().t()
        grads = [p.grad for p in params]
        before, versions = [g.clone() for g in grads], [g._version for g in grads]
        optimizer.step()
        assert all(p.grad is g for p, g in zip(params, grads, strict=True))
        assert_same(grads, before)
        assert [g._version for g in grads] == versions and not any(g.requires_grad for g in grads)


@pytest.mark.parametrize("foreach", [None, True])
@pytest.mark.parametrize("name", ALL)
def test_gradients_are_cleared_both_ways(name: str, foreach: bool | None) -> None:
    params = parameters()
    optimizer = ours(name, params, foreach=foreach)
    steps(optimizer, params, [0])
    grads = [p.grad for p in params]
    optimizer.zero_grad(set_to_none=False)
    assert all(p.grad is g and not g.any() for p, g in zip(params, grads, strict=True))
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)


@pytest.mark.parametrize("name", ALL)
def test_a_step_takes_no_memory(name: str) -> None:
    params = parameters([(1000,), (50, 40)])
    optimizer = ours(name, params)
    steps(optimizer, params, range(2))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        optimizer.step()
    assert sum(max(event.self_cpu_memory_usage, 0) for event in profile.events()) < 1000


# -- closures and hooks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_closure_is_called_once_with_gradients_on(name: str) -> None:
    params, same = parameters(), parameters()
    optimizer, plain = ours(name, params), ours(name, same)
    calls = []

    def closure() -> Any:
        calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = sum((p * p).sum() for p in params)
        loss.backward()
        return loss

    with torch.no_grad():
        loss = optimizer.step(closure)
        assert not torch.is_grad_enabled()
    assert calls == [True]
    assert loss.item() == sum((p * p).sum() for p in same).item()
    for p in same:
        p.grad = 2 * p.detach()
    assert plain.step() is None
    assert_same(params, same)


@pytest.mark.parametrize("name", ALL)
def test_a_closure_that_fails_leaves_all_as_it_was(name: str) -> None:
    params = parameters()
    optimizer = ours(name, params)
    steps(optimizer, params, range(2))
    before = held(optimizer, params)

    def closure() -> Any:
        raise KeyError("the loss")

    with pytest.raises(KeyError, match="the loss"):
        optimizer.step(closure)
    assert_held(optimizer, params, before)
    assert torch.is_grad_enabled()


def test_step_hooks_are_called_in_torchs_order() -> None:
    from torch.optim import optimizer as torchs

    def run(make: Any) -> list[Any]:
        (p,) = parameters([(3,)])
        optimizer = make("AdamW", [p])
        p.grad = torch.ones(3)
        optimizer.step()  # before there are any
        seen: list[Any] = []
        start = p.detach().clone()

        def note(what: str) -> Any:
            return lambda opt, args, kwargs: seen.append(
                (what, opt is optimizer, len(args), [*kwargs], torch.equal(p, start))
            )

        own = optimizer.register_step_pre_hook(note("pre"))
        handles = [
            torchs.register_optimizer_step_post_hook(note("global post")),
            optimizer.register_step_post_hook(note("post")),
            torchs.register_optimizer_step_pre_hook(note("global pre")),
            optimizer.register_step_pre_hook(note("second pre")),
        ]
        try:
            optimizer.step()
            optimizer.step(lambda: seen.append("closure"))
            own.remove()
            optimizer.step()
        finally:
            for handle in handles:
                handle.remove()
        optimizer.step()
        return seen

    assert run(ours) == run(theirs)
    assert [what for what, *_ in run(ours)][:5] == ["global pre", "pre", "second pre", "post", "global post"]


@pytest.mark.parametrize("when", ["pre", "post"])
@pytest.mark.parametrize("whose", ["everybody's", "its own"])
def test_a_step_hook_is_called_where_it_is_the_only_one(when: str, whose: str) -> None:
    from torch.optim import optimizer as torchs

    (p,) = parameters([(3,)])
    optimizer = ours("AdamW", [p])
    steps(optimizer, [p], [0])
    everybodys = getattr(torchs, f"register_optimizer_step_{when}_hook")
    register = everybodys if whose == "everybody's" else getattr(optimizer, f"register_step_{when}_hook")
    seen: list[Any] = []
    handle = register(lambda opt, args, kwargs: seen.append(opt))
    try:
        steps(optimizer, [p], [1])
    finally:
        handle.remove()
    steps(optimizer, [p], [2])
    assert seen == [optimizer]


def test_a_pre_hook_may_change_the_arguments() -> None:
    (p,) = parameters([(3,)])
    optimizer = ours("AdamW", [p])
    handle = optimizer.register_step_pre_hook(lambda opt, args, kwargs: ((opt, lambda: 7.0), {}))
    assert optimizer.step() == 7.0
    handle.remove()
    optimizer.register_step_pre_hook(lambda *_: "nonsense")
    with pytest.raises(RuntimeError, match=r"must return None or a tuple of \(new_args, new_kwargs\)"):
        optimizer.step()


def test_hooks_of_state_dicts_are_called_in_torchs_order() -> None:
    def run(make: Any) -> list[Any]:
        params = parameters()
        optimizer = make("AdamW", params, lr=0.5)
        steps(optimizer, params, range(2))
        seen: list[Any] = []

        def note(what: str, result: Any = None) -> Any:
            def hook(opt: Any, *state_dict: Any) -> Any:
                seen.append((what, opt is optimizer, [sorted(x) for x in state_dict], opt.param_groups[0]["lr"]))
                return result(*state_dict) if result else None

            return hook

        def slower(state_dict: Any) -> Any:
            groups = [{**group, "lr": group["lr"] / 2} for group in state_dict["param_groups"]]
            return {**state_dict, "param_groups": groups}

        for kind in ("state_dict_pre", "state_dict_post", "load_state_dict_pre", "load_state_dict_post"):
            register = getattr(optimizer, f"register_{kind}_hook")
            register(note(kind))
            register(note(f"{kind} prepended"), prepend=True)
            removed = register(note(f"{kind} removed"))
            removed.remove()
        optimizer.register_state_dict_post_hook(note("halved", slower))
        optimizer.register_load_state_dict_pre_hook(note("halved again", slower))
        state_dict = optimizer.state_dict()
        seen.append(state_dict["param_groups"][0]["lr"])
        optimizer.load_state_dict(state_dict)
        seen.append(state_dict["param_groups"][0]["lr"])
        seen.append(optimizer.param_groups[0]["lr"])
        return seen

    assert run(ours) == run(theirs)
    assert run(ours)[-1] == 0.125


# -- state dicts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_state_dict_holds_plain_things(name: str) -> None:
    params = parameters()
    optimizer = ours(name, params)
    steps(optimizer, params, range(2))
    state_dict = optimizer.state_dict()
    assert type(state_dict) is dict and type(state_dict["state"]) is dict
    assert [*state_dict["state"]] == [0, 1, 2] == state_dict["param_groups"][0]["params"]
    for state in state_dict["state"].values():
        assert type(state) is dict and all(type(value) is torch.Tensor for value in state.values())
    loaded = saved(state_dict)
    assert loaded["param_groups"] == state_dict["param_groups"]
    for key, state in state_dict["state"].items():
        assert loaded["state"][key].keys() == state.keys()
        assert_same(list(loaded["state"][key].values()), list(state.values()))
    assert [*optimizer.state_dict()["state"][0]] == [*state_dict["state"][0]]


def test_a_hook_may_give_the_state_dict_another_shape() -> None:
    params = parameters()
    optimizer = ours("AdamW", params)
    steps(optimizer, params, [0])
    seen = []
    optimizer.register_state_dict_post_hook(lambda _, given: {"kinds": [type(s) for s in given["state"].values()]})
    optimizer.register_state_dict_post_hook(lambda _, given: seen.append(given))
    assert optimizer.state_dict() == {"kinds": [dict, dict, dict]} == seen[0]


@pytest.mark.parametrize("name", ALL)
def test_a_hook_may_change_what_is_loaded(name: str) -> None:
    """Here it gives each parameter the state of the other, as one does that goes by names."""
    params = parameters([(3,), (3,)])
    optimizer, swapped = ours(name, params), ours(name, params[::-1])
    steps(optimizer, params, range(2))
    seen = []

    def swap(_: Any, given: dict[str, Any]) -> dict[str, Any]:
        return {**given["wrapped"], "state": {1 - key: state for key, state in given["wrapped"]["state"].items()}}

    def look(opt: Any) -> None:
        seen.append(copy.deepcopy([[*opt.state[p].values()] for p in params]))

    swapped.register_load_state_dict_pre_hook(swap)
    swapped.register_load_state_dict_post_hook(look)
    swapped.load_state_dict({"wrapped": saved(optimizer.state_dict())})
    for p, state in zip(params, seen[0], strict=True):
        assert_same([*swapped.state[p].values()], [*optimizer.state[p].values()])
        assert_same(state, [*optimizer.state[p].values()])


@pytest.mark.parametrize("name", PEERS)
def test_parameters_that_have_not_begun_do_so_after_a_load(name: str) -> None:
    start = {"initial_accumulator_value": 0.3} if name == "Adagrad" else {}
    with default_dtype(torch.float64):
        straight, moved = (parameters(SHAPES, dtype=torch.float64) for _ in range(2))
        straight += parameters([(3,)], dtype=torch.complex128)
        moved += parameters([(3,)], dtype=torch.complex128)
        a, b = theirs(name, straight, **start), ours(name, moved, **start)
        for step in range(6):
            give_gradients(straight, moved, seed=step)
            if step < 4:
                straight[1].grad = moved[1].grad = straight[3].grad = moved[3].grad = None
            if step in (2, 4, 5):
                other = (theirs if step % 2 == 0 else ours)(name, moved, **start)
                other.load_state_dict(saved(b.state_dict()))
                b = other
            a.step()
            b.step()
        assert_near(moved, straight)


@pytest.mark.parametrize("name", PEERS)
def test_torch_goes_on_where_ours_stopped_and_ours_where_torch_did(name: str) -> None:
    with default_dtype(torch.float64):
        mine, others, straight = (parameters(dtype=torch.float64) for _ in range(3))
        a, b, c = ours(name, mine, lr=0.02), theirs(name, others), theirs(name, straight, lr=0.02)
        steps(c, straight, range(9))
        steps(a, mine, range(3))
        with torch.no_grad():
            for p, q in zip(mine, others, strict=True):
                q.copy_(p)
        b.load_state_dict(saved(a.state_dict()))
        steps(b, others, range(3, 6))
        with torch.no_grad():
            for p, q in zip(mine, others, strict=True):
                p.copy_(q)
        a = ours(name, mine)
        a.load_state_dict(saved(b.state_dict()))
        steps(a, mine, range(6, 9))
    assert_near(mine, straight)


OLDER = {
    "a float": float,
    "an int": int,
    "float32": lambda step: torch.tensor(float(step)),
    "int64": lambda step: torch.tensor(int(step)),
    "one element": lambda step: torch.tensor([float(step)]),
}


@pytest.mark.parametrize("step", OLDER)
@pytest.mark.parametrize("name", ALL)
def test_state_dicts_of_older_versions_load(name: str, step: str) -> None:
    """Which lack the options that came later, and count in some other way."""
    params = parameters()
    optimizer = ours(name, params, lr=0.05)
    steps(optimizer, params, range(3))
    old = copy.deepcopy(optimizer.state_dict())
    for group in old["param_groups"]:
        for option, value in [*group.items()]:
            if value is False or value is None or option in ("eps_form", "eps_root", "decoupled_weight_decay"):
                del group[option]
    for state in old["state"].values():
        for key in state.keys() & {"step", "mu_product"}:
            if key == "step" or step in ("a float", "float32", "one element"):
                state[key] = OLDER[step](state[key])
    again = copies(params)
    loaded = ours(name, again)
    loaded.load_state_dict(saved(old))
    assert loaded.param_groups[0].keys() == optimizer.param_groups[0].keys()
    steps(optimizer, params, range(3, 6))
    steps(loaded, again, range(3, 6))
    assert all(float(loaded.state[p]["step"]) == 6 for p in again)
    if name == "NAdam":  # whose product of μ was float32
        assert_near(again, params)
    else:
        assert_same(again, params)


def test_adamw_decouples_whatever_it_has_loaded() -> None:
    """As torch's does, so that an Adam's state dict goes on as AdamW's."""
    with default_dtype(torch.float64):
        started, mine, others, own = (parameters(dtype=torch.float64) for _ in range(4))
        adam = theirs("Adam", started, weight_decay=0.3)
        steps(adam, started, range(2))
        a, b = ours("AdamW", mine), theirs("AdamW", others)
        for optimizer in (a, b):
            optimizer.load_state_dict(copy.deepcopy(adam.state_dict()))
        for params, optimizer in ((mine, a), (others, b)):
            steps(optimizer, params, range(2, 5))
        assert_near(mine, others)
    c = ours("AdamW", [{"params": [p], "decoupled": i > 0} for i, p in enumerate(own)])
    c.load_state_dict(c.state_dict())
    assert [group["decoupled_weight_decay"] for group in c.param_groups] == [False, True, True]
    d = pickle.loads(pickle.dumps(c))
    assert [group["decoupled_weight_decay"] for group in d.param_groups] == [False, True, True]


@pytest.mark.parametrize("name", ["Adam", "Lion"])
def test_a_pickle_of_an_older_version_loads(name: str) -> None:
    params = parameters()
    optimizer = ours(name, params)
    steps(optimizer, params, range(2))
    old = optimizer.__getstate__()
    old = pickle.loads(pickle.dumps(old))
    for group in old["param_groups"]:
        del group["maximize"], group["foreach"], group["differentiable"], group["decay_after"]
    again = type(optimizer).__new__(type(optimizer))
    again.__setstate__(old)
    copied = again.param_groups[0]["params"]
    steps(optimizer, params, range(2, 4))
    steps(again, copied, range(2, 4))
    assert_same(copied, params)
    handle = again.register_step_post_hook(lambda *_: None)
    handle.remove()


@pytest.mark.parametrize("name", ALL)
def test_what_does_not_belong_is_not_loaded(name: str) -> None:
    params = parameters()
    optimizer = ours(name, params)
    steps(optimizer, params, range(2))
    before = held(optimizer, params)
    fewer, more = ours(name, params[:2]).state_dict(), ours(name, [{"params": [p]} for p in params]).state_dict()
    with pytest.raises(ValueError, match="doesn't match the size of optimizer's group"):
        optimizer.load_state_dict(fewer)
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optimizer.load_state_dict(more)
    assert_held(optimizer, params, before)


# -- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_copy_has_all_and_goes_on_alone(name: str) -> None:
    params = parameters()
    optimizer = ours(name, params, lr=torch.tensor(0.1, dtype=torch.float64))
    steps(optimizer, params, range(2))
    for copied in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        public = [attribute for attribute in dir(optimizer) if not attribute.startswith("_")]
        assert [attribute for attribute in dir(copied) if not attribute.startswith("_")] == public
        assert repr(copied) == repr(optimizer)
        again = copied.param_groups[0]["params"]
        assert copied.param_groups[0]["lr"] is not optimizer.param_groups[0]["lr"]
        assert_held(copied, again, held(optimizer, params))
        straight, before = copy.deepcopy(optimizer), held(optimizer, params)
        steps(copied, again, range(2, 4))
        assert_held(optimizer, params, before)
        same = straight.param_groups[0]["params"]
        steps(straight, same, range(2, 4))
        assert_same(again, same)
        assert not torch.equal(again[0], params[0])


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_parameters_may_have_names(name: str) -> None:
    model, twin = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    twin.load_state_dict(model.state_dict())
    named, plain = ours(name, model.named_parameters()), ours(name, twin.parameters())
    assert named.param_groups[0]["param_names"] == ["weight", "bias"]
    assert "param_names" not in plain.param_groups[0]
    for step in range(4):
        give_gradients([*model.parameters()], [*twin.parameters()], seed=step)
        named.step()
        plain.step()
        if step == 1:  # each goes on from the other's state dict
            first, second = saved(named.state_dict()), saved(plain.state_dict())
            assert first["param_groups"][0]["param_names"] == ["weight", "bias"]
            named.load_state_dict(second)
            plain.load_state_dict(first)
            assert named.param_groups[0]["param_names"] == ["weight", "bias"]
            assert plain.param_groups[0]["param_names"] == ["weight", "bias"]
    assert_same([*model.parameters()], [*twin.parameters()])


def test_named_groups_stay_with_their_kind() -> None:
    first, second = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    optimizer = ours("AdamW", first.named_parameters())
    optimizer.add_param_group({"params": second.named_parameters(prefix="second"), "lr": 0.5})
    assert optimizer.param_groups[1]["param_names"] == ["second.weight", "second.bias"]
    with pytest.raises(ValueError, match="cannot add param group without names"):
        optimizer.add_param_group({"params": parameters()})
    assert len(optimizer.param_groups) == 2


# -- hyperparameters that are tensors ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize("name", ALL)
def test_a_tensor_for_a_learning_rate_counts_as_its_value(name: str, shape: tuple[int, ...]) -> None:
    params, same = parameters(), parameters()
    lr = torch.full(shape, 0.1, dtype=torch.float64)
    a, b = ours(name, params, lr=lr), ours(name, same, lr=0.1)
    for step in range(4):
        give_gradients(params, same, seed=step)
        a.step()
        b.step()
        assert a.param_groups[0]["lr"] is lr and lr.shape == shape and lr.item() == b.param_groups[0]["lr"]
        lr.mul_(0.5)
        b.param_groups[0]["lr"] *= 0.5
    assert_same(params, same)


# -- the rest of the surface ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PEERS)
def test_whatever_torchs_class_has_is_there(name: str) -> None:
    theirs_only = {
        attribute
        for attribute in dir(getattr(torch.optim, name))
        if not attribute.startswith("_") and not hasattr(getattr(adamas.torch, name), attribute)
    }
    # torch's Adagrad makes its states when it is made itself, and can share them; ours makes them when they are wanted.
    assert theirs_only == ({"share_memory"} if name == "Adagrad" else set())
    assert issubclass(getattr(adamas.torch, name), torch.optim.Optimizer)


@pytest.mark.parametrize("name", PEERS)
def test_it_is_printed_as_torchs(name: str) -> None:
    lines = repr(ours(name, parameters())).splitlines()
    expected = repr(theirs(name, parameters())).splitlines()
    number = [line.replace(": 0.0", ": 0") for line in lines]
    assert [line for line in number if line in {e.replace(": 0.0", ": 0") for e in expected}] == [
        e.replace(": 0.0", ": 0") for e in expected
    ]


@pytest.mark.parametrize("flags", [{"foreach": True}, {"differentiable": True}], ids=str)
@pytest.mark.parametrize("name", ALL)
def test_flags_that_exclude_each_other_are_refused(name: str, flags: dict[str, bool]) -> None:
    with pytest.raises(RuntimeError, match=r"`fused` (and `foreach` cannot be `True`|does not support `diff)"):
        ours(name, parameters(), fused=True, **flags)
