"""State dicts of other versions and libraries are taken exactly; what does not fit is refused with nothing changed."""

import copy
import gc
import weakref
from typing import Any

import numpy as np
import pytest

from adamas.errors import InputError

torch = pytest.importorskip("torch")
import adamas.numpy  # noqa: E402
import adamas.torch  # noqa: E402


def begun(kind: Any = None, dtype: Any = None, **options: Any) -> tuple[Any, Any]:
    p = torch.nn.Parameter(torch.linspace(-1, 1, 6, dtype=dtype).reshape(2, 3))
    opt = (kind or adamas.torch.Adam)([p], **options)
    p.grad = torch.ones_like(p)
    opt.step()
    return opt, p


@pytest.mark.parametrize("step", [256, 256.0, np.float32(256), torch.tensor(256), torch.tensor([256.0])])
def test_counts_of_older_versions(step: Any) -> None:
    opt, p = begun()
    saved = copy.deepcopy(opt.state_dict())
    saved["state"][0]["step"] = step
    opt.load_state_dict(saved)
    opt.step()
    assert opt.state[p]["step"] == 257


def test_a_count_in_bfloat16_counts_on() -> None:
    opt, p = begun()
    saved = copy.deepcopy(opt.state_dict())
    saved["state"][0]["step"] = torch.tensor(256, dtype=torch.bfloat16)
    opt.load_state_dict(saved)
    for _ in range(3):
        opt.step()
    assert opt.state[p]["step"] == 259


def test_a_dict_without_the_flags_of_later_versions() -> None:
    opt, _ = begun(lr=0.5, weight_decay=0.1)
    other, _ = begun(lr=0.1, maximize=True)
    saved = copy.deepcopy(opt.state_dict())
    kept = ("params", "lr", "betas", "eps", "weight_decay")
    saved["param_groups"] = [{name: saved["param_groups"][0][name] for name in kept}]
    other.load_state_dict(saved)
    group = other.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["maximize"], group["amsgrad"]) == (0.5, 0.1, True, False)
    other.step()
    for name in kept[1:]:
        lacking = {**saved, "param_groups": [{k: v for k, v in saved["param_groups"][0].items() if k != name}]}
        with pytest.raises(InputError, match=f"Group 0 of the state dict has no '{name}'"):
            other.load_state_dict(lacking)


def test_moments_of_a_narrow_model_of_torchs_become_wide() -> None:
    theirs, _ = begun(torch.optim.AdamW, torch.bfloat16)
    ours, p = begun(adamas.torch.AdamW, torch.bfloat16)
    saved = theirs.state_dict()
    ours.load_state_dict(saved)
    assert saved["state"][0]["exp_avg"].dtype == torch.bfloat16 != ours.state[p]["exp_avg"].dtype == torch.float32
    assert torch.equal(ours.state[p]["exp_avg"], saved["state"][0]["exp_avg"].float())


def test_what_options_have_left_behind_is_kept_and_what_they_ask_for_is_not_made_up() -> None:
    opt, p = begun(amsgrad=True)
    saved = copy.deepcopy(opt.state_dict())
    saved["param_groups"][0]["amsgrad"] = False
    opt.load_state_dict(saved)
    assert torch.equal(opt.state[p]["max_exp_avg_sq"], saved["state"][0]["max_exp_avg_sq"])
    plain, _ = begun()
    saved = copy.deepcopy(plain.state_dict())
    saved["param_groups"][0]["amsgrad"] = True
    with pytest.raises(InputError, match="The state of parameter 0 has no 'max_exp_avg_sq': load a whole state"):
        plain.load_state_dict(saved)
    plain.param_groups[0]["amsgrad"] = True
    plain.step()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_torchs_sgd_that_has_not_begun(momentum: float) -> None:
    theirs, _ = begun(torch.optim.SGD, momentum=momentum)
    ours, p = begun(adamas.torch.SGD, momentum=momentum)
    saved = copy.deepcopy(theirs.state_dict())
    saved["state"][0] = {"momentum_buffer": None}
    ours.load_state_dict(saved)
    ours.step()
    assert ours.state[p]["step"] == 1


@pytest.mark.parametrize(
    "sentence",
    [
        "loaded state dict has a different number of parameter groups",
        "loaded state dict contains a parameter group that doesn't match the size of optimizer's group",
    ],
)
@pytest.mark.parametrize("front", ["numpy", "torch"])
def test_groups_that_do_not_fit_are_refused_in_torchs_words(front: str, sentence: str) -> None:
    make = (lambda n: np.ones(n)) if front == "numpy" else (lambda n: torch.nn.Parameter(torch.ones(n)))
    opt = getattr(adamas, front).Adam([make(2)])
    wrong = [make(2), make(3)] if "size" in sentence else [{"params": [make(2)]}, {"params": [make(3)]}]
    with pytest.raises(ValueError, match=f"^{sentence}"):
        opt.load_state_dict(getattr(adamas, front).Adam(wrong).state_dict())


def test_an_empty_group_and_tensor_hyperparameters() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    lr = torch.tensor(0.5)
    opt = adamas.torch.Adam([{"params": [p]}, {"params": []}], lr=lr)
    p.grad = torch.ones(3)
    opt.step()
    saved = opt.state_dict()
    opt.load_state_dict(saved)
    lr.fill_(7)
    assert [float(group["lr"]) for group in opt.param_groups] == [0.5, 0.5]
    opt.step()
    assert opt.state[p]["step"] == 2


def test_hooks_around_a_load() -> None:
    opt, p = begun()
    saved, seen = opt.state_dict(), []
    handle = opt.register_load_state_dict_pre_hook(lambda opt, given: {**given, "state": {}})
    opt.register_load_state_dict_post_hook(lambda opt: seen.append(len(opt.state)))
    opt.load_state_dict(saved)
    assert seen == [0] and saved["state"]
    handle.remove()
    opt.register_load_state_dict_pre_hook(lambda opt, given: given.update(param_groups=5))
    with pytest.raises(InputError, match="The 'param_groups' of the state dict"):
        opt.load_state_dict(saved)
    assert seen == [0] and p not in opt.state and saved["param_groups"] != 5


def test_names_of_parameters_come_along() -> None:
    net = torch.nn.Linear(3, 2)
    named, plain = adamas.torch.Adam(net.named_parameters()), adamas.torch.Adam(net.parameters())
    unnamed = plain.state_dict()
    plain.load_state_dict(named.state_dict())
    named.load_state_dict(unnamed)
    assert plain.param_groups[0]["param_names"] == named.param_groups[0]["param_names"] == ["weight", "bias"]
    saved = named.state_dict()
    saved["param_groups"][0]["param_names"] = ["weight"]
    with pytest.raises(InputError, match="The 'param_names' of group 0 are"):
        named.load_state_dict(saved)


def test_an_optimizer_and_its_scheduler_go_when_nobody_holds_them() -> None:
    opt, _ = begun()
    scheduler = torch.optim.lr_scheduler.StepLR(opt, 3)
    opt.load_state_dict(opt.state_dict())
    opt.step()
    scheduler.step()
    gone = weakref.ref(opt)
    del opt, scheduler
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda d: d["param_groups"][0].update(params=[0, 0]), "calls two parameters 0: their names must differ"),
        (lambda d: d["param_groups"][0].update(params=[0, []]), r"calls a parameter \[\]: give a number or a name"),
        (lambda d: d["param_groups"][0].update(params=None), "Group 0 of the state dict must be a dict with a list"),
        (lambda d: d["param_groups"][0].update({3: 1}), "has an entry 3: its keys must be strings"),
        (lambda d: d["param_groups"][0].update(amsgrd=True), "'amsgrd': did you mean 'amsgrad'"),
        (lambda d: d["param_groups"][0].update(lr=float("nan")), "Invalid learning rate: nan"),
        (lambda d: d["param_groups"][0].update(lr=10**400), "Invalid learning rate: 1000"),
        (lambda d: d.update(state=[]), "The 'state' of the state dict is a list"),
        (lambda d: d["state"].update({7: {}}), "a state for 7, which is in none of its groups"),
        (lambda d: d["state"].update({1: None}), "is a NoneType: it must be a dict"),
        (lambda d: d["state"][1].update(step=-1), "has step = -1: it must be a finite number"),
        (lambda d: d["state"][1].update(exp_avg=d["state"][1]["exp_avg"].real), "is real, the parameter is complex"),
        (
            lambda d: d["state"][0].update(exp_avg=d["state"][0]["exp_avg"][:1]),
            r"has shape \(1, 3\), the parameter \(2",
        ),
        (lambda d: d["state"][0].update(exp_avg=d["state"][0]["exp_avg"] > 0), "has dtype (torch.)?bool"),
        (lambda d: d["state"][0].update(exp_avg=[0.0] * 6), "is a list: it must be"),
        (lambda d: d["state"][0].update(mine=(i for i in range(3))), "A state dict is copied, but 'mine' in the state"),
    ],
)
@pytest.mark.parametrize("front", ["numpy", "torch"])
def test_what_does_not_fit_is_refused(front: str, spoil: Any, sentence: str) -> None:
    arrays = np.ones((2, 3), np.float32), np.ones(2, np.complex64)
    params = [torch.nn.Parameter(torch.tensor(a)) for a in arrays] if front == "torch" else list(arrays)
    opt = getattr(adamas, front).Adam(params, lr=0.5)
    for p in params if front == "torch" else ():
        p.grad = torch.ones_like(p)
    opt.step(*([] if front == "torch" else [[np.ones_like(a) for a in arrays]]))
    saved = copy.deepcopy(opt.state_dict())
    saved["param_groups"][0]["lr"] = 0.25
    spoil(saved)
    states = opt.state
    before = copy.deepcopy([dict(state.peek()) for state in states.values()])
    with pytest.raises(InputError, match=sentence):
        opt.load_state_dict(saved)
    assert opt.state is states and opt.param_groups[0]["lr"] == 0.5
    for held, state in zip(before, states.values(), strict=True):
        assert all((held[name] == array).all() for name, array in state.peek().items())
