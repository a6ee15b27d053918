"""Recipes: groups by what a parameter is, values that follow the papers' rules, code that builds the same."""

import math
import pickle

import pytest
import torch
from torch import nn

from adamas import InputError, recipes
from adamas.torch import decay_groups
from adamas.torch.roles import roles

RECIPES = ("general", "transformer", "vision", "large_batch")


class Own(nn.Module):
    """A module that the library does not know."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6))
        self.token = nn.Parameter(torch.zeros(1, 1, 6))
        self.matrix = nn.Parameter(torch.zeros(6, 6))
        self.out_bias = nn.Parameter(torch.zeros(2, 3))


class MyNorm(nn.LayerNorm):
    pass


@pytest.mark.parametrize(
    ("module", "kinds"),
    [
        (nn.Linear(3, 1), "weight bias"),
        (nn.Conv2d(3, 4, 1), "weight bias"),
        (nn.Conv1d(1, 1, 1, bias=False), "weight"),  # one number, but a weight
        (nn.ConvTranspose2d(3, 4, 1), "weight bias"),
        (nn.Bilinear(2, 3, 4), "weight bias"),
        (nn.Embedding(5, 3), "embedding"),
        (nn.EmbeddingBag(5, 1), "embedding"),
        (nn.BatchNorm2d(3), "norm norm"),
        (nn.SyncBatchNorm(3), "norm norm"),
        (nn.InstanceNorm1d(3, affine=True), "norm norm"),
        (nn.GroupNorm(1, 3), "norm norm"),
        (nn.LayerNorm((3, 4)), "norm norm"),  # of two dimensions
        (nn.RMSNorm(3), "norm"),
        (MyNorm(3), "norm norm"),
        (nn.LSTM(2, 3, proj_size=1), "weight weight bias bias weight"),
        (nn.GRUCell(2, 3), "weight weight bias bias"),
        (nn.MultiheadAttention(4, 2, add_bias_kv=True), "weight bias bias bias weight bias"),
        (nn.PReLU(3), "vector"),
        (Own(), "vector vector weight bias"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), "bias vector weight"),  # gain, direction
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, nn.Module) else "",
)
def test_what_a_parameter_is(module, kinds):
    assert [role.kind for role in roles(module)] == kinds.split()
    decayed = sum(kind == "weight" for kind in kinds.split())
    groups = decay_groups(module, 0.3)
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [
        (n, decay) for n, decay in ((decayed, 0.3), (len(kinds.split()) - decayed, 0.0)) if n
    ]


@pytest.mark.parametrize("first", ["embedding", "head"])
def test_a_tied_weight_comes_once_and_does_not_decay(first):
    embedding, head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
    head.weight = embedding.weight
    parts = {"embedding": embedding, "head": head}
    model = nn.ModuleDict({name: parts[name] for name in sorted(parts, key=lambda n: n != first)})
    (role,) = roles(model)
    assert role.kind == "embedding" and set(role.names) == {"embedding.weight", "head.weight"}
    recipe = recipes.general(model, steps=100, batch_size=128)
    assert [g["weight_decay"] for g in recipe.optimizer.param_groups] == [0.0]
    assert "Tied: " in str(recipe)


def test_two_names_in_one_module_are_both_told():
    module = Own()
    module.again = module.matrix
    assert [role.names for role in roles(module)][2] == ("matrix", "again")


def test_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    model[0].requires_grad_(False)
    recipe = recipes.vision(model, steps=100, batch_size=128)
    held = [p for g in recipe.optimizer.param_groups for p in g["params"]]
    assert {id(p) for p in held} == {id(p) for p in model[1].parameters()} and len(held) == 2
    assert recipe.names == {"decay": ["1.weight"], "no decay": ["1.bias"]}


@pytest.mark.parametrize("family", ["adam", "sgd"])
@pytest.mark.parametrize("k", [0.25, 2, 8])
def test_the_scaling_rules(family, k):
    got = recipes.scale_batch(family, int(k * 128), 128, lr=0.3, betas=(0.9, 0.995), eps=1e-6, warmup=400)
    assert (got.k, got.warmup) == (k, 400 / k)
    if family == "sgd":
        assert (got.lr, got.betas, got.eps) == (0.3 * k, None, None)
        return
    assert math.isclose(got.lr / 0.3, k**0.5) and math.isclose(got.eps / 1e-6, k**-0.5)
    assert [1 - b for b in got.betas] == pytest.approx([0.1 * k, 0.005 * k])


def test_scaling_there_and_back_is_nothing():
    there = recipes.scale_batch("adam", 1024, 256, lr=1e-3, betas=(0.95, 0.99), warmup=800)
    back = recipes.scale_batch("adam", 256, 1024, lr=there.lr, betas=there.betas, eps=there.eps, warmup=there.warmup)
    assert (back.lr, *back.betas, back.eps, back.warmup) == pytest.approx((1e-3, 0.95, 0.99, 1e-8, 800))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"family": "lion"}, "Unknown family 'lion': known are adam, sgd."),
        ({"batch_size": 0}, "batch_size is 0: it must be a whole number from 1 on."),
        ({"reference": 2.5}, "reference is 2.5: it must be a whole number from 1 on."),
        ({"lr": -1.0}, "lr is -1.0: it must be a finite number above 0."),
        ({"lr": math.nan}, "lr is nan: it must be a finite number above 0."),
        ({"betas": (0.9, 1.0)}, r"betas\[1\] is 1.0: it must be at least 0 and less than 1."),
        ({"eps": "small"}, "eps is 'small': it must be a number 0 or more."),
        ({"warmup": -1}, "warmup is -1: it must be a whole number from 0 on."),
        (
            {"batch_size": 2048},
            "A batch of 2048 is 16 times 128, and 1 − β ∝ k would leave β = -0.6: the rule ends at a batch of 1280.",
        ),
    ],
)
def test_scaling_refuses(given, sentence):
    with pytest.raises(InputError, match=f"^{sentence}$"):
        recipes.scale_batch(**{"family": "adam", "batch_size": 64, "reference": 128, "lr": 1e-3, **given})


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("given", [{"steps": 0}, {"steps": -3}, {"batch_size": 0}, {"steps": 1.5}, {"steps": True}])
def test_recipes_refuse(name, given):
    model = nn.Linear(2, 1)
    with pytest.raises(InputError, match=f"^{next(iter(given))} is .*: it must be a whole number from 1 on.$"):
        getattr(recipes, name)(model, **{"steps": 100, "batch_size": 512, **given})


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_refuse_what_cannot_be_trained(name):
    frozen = nn.Linear(2, 1).requires_grad_(False)
    with pytest.raises(InputError, match=r"^Linear has no parameter that requires a gradient: there is nothing to t"):
        getattr(recipes, name)(frozen, steps=100, batch_size=512)
    with pytest.raises(InputError, match=r"^The model is a list: it must be a torch.nn.Module.$"):
        getattr(recipes, name)([], steps=100, batch_size=512)
    with pytest.raises(InputError, match=r"^Parameter weight has no shape yet: run one batch through the model first"):
        getattr(recipes, name)(nn.LazyLinear(2), steps=100, batch_size=512)


def test_large_batch_wants_a_large_one():
    with pytest.raises(InputError, match=r"^batch_size is 511: large_batch begins at 512; take adamas.recipes.gen"):
        recipes.large_batch(nn.Linear(2, 1), steps=100, batch_size=511)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize(("steps", "batch_size"), [(1, 512), (40, 1000), (3000, 512), (10**6, 65536)])
def test_code_builds_the_same(name, steps, batch_size):
    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 1))
    second = pickle.loads(pickle.dumps(first))
    recipe = getattr(recipes, name)(first, steps=steps, batch_size=batch_size)
    space = {"model": second}
    exec(recipe.code(), space)
    x = torch.randn(8, 3)
    for _ in range(3):
        for model, optimizer, schedule in (
            (first, recipe.optimizer, recipe.schedule),
            (second, space["optimizer"], space["scheduler"]),
        ):
            (100 * model(x).square().sum()).backward()  # so that clipping shows
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    assert recipe.schedule.get_last_lr() == space["scheduler"].get_last_lr()
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(p, q)
    assert all(torch.isfinite(p).all() for p in first.parameters())


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("steps", [1, 2, 30, 5000])
@pytest.mark.parametrize("batch_size", [512, 4096, 200_000])
def test_values_are_such_as_can_train(name, steps, batch_size):
    recipe = getattr(recipes, name)(nn.Linear(2, 1), steps=steps, batch_size=batch_size)
    values = {choice.name: choice.value for choice in recipe.choices}
    assert 1 <= values["warm-up"] <= max(1, steps // 5) and 0 < recipe.schedule.get_last_lr()[0] <= values["η"]
    if "β₂" in values:
        assert 0.95 <= values["β₂"] < 1 and (values["β₂"] == 0.95 or 1 / (1 - values["β₂"]) <= steps / 10 + 1e-6)
    group = recipe.optimizer.param_groups[0]
    assert group["initial_lr"] == values["η"] and group["weight_decay"] == values["λ"]
    assert recipe.clip_grad_norm == values["clipping"] == recipe.optimizer._stepper.tail.clip_grad_norm


def test_the_papers_values_at_the_papers_batch():
    general = recipes.general(nn.Linear(2, 1), steps=10**6, batch_size=128).optimizer.param_groups[0]
    assert (general["initial_lr"], general["betas"], general["eps"]) == (1e-3, (0.9, 0.999), 1e-8)
    doubled = recipes.general(nn.Linear(2, 1), steps=10**6, batch_size=256).optimizer.param_groups[0]
    assert (doubled["initial_lr"], doubled["betas"][1]) == (pytest.approx(1e-3 * 2**0.5), pytest.approx(0.998))
    vision = recipes.vision(nn.Linear(2, 1), steps=90, batch_size=8192)
    assert vision.optimizer.param_groups[0]["initial_lr"] == pytest.approx(3.2)  # Goyal et al. 2017, Table 1
    assert vision.schedule.get_last_lr() == pytest.approx([3.2 / 5] * 2)
    large = nn.Linear(1000, 400_000, bias=False, device="meta")  # 400 M
    gpt = recipes.transformer(large, steps=10**5, batch_size=256).optimizer.param_groups[0]
    assert (gpt["initial_lr"], gpt["betas"], gpt["weight_decay"]) == (3e-4, (0.9, 0.95), 0.1)


def test_a_step_of_ηλ_decays_as_much_an_epoch_however_large_the_batch():
    """Above where η is held as well."""
    for batch_size in (512, 4096, 65536):
        group = recipes.large_batch(nn.Linear(2, 1), steps=100, batch_size=batch_size).optimizer.param_groups[0]
        assert group["initial_lr"] * group["weight_decay"] / batch_size == pytest.approx(1e-3 * 0.01 / 128)


def test_the_schedule():
    """All steps of the run, the first of them not in vain, the end of the cosine where the run ends."""
    recipe = recipes.transformer(nn.Linear(2, 1), steps=110, batch_size=256)
    assert str(recipe._factor) == "warmup(11) >> cosine(99, floor=0.1)"
    assert recipe.schedule.get_last_lr()[0] == pytest.approx(6e-4 / 11)


@pytest.mark.parametrize("name", RECIPES)
def test_every_value_has_its_reason_and_source(name):
    recipe = getattr(recipes, name)(nn.Sequential(nn.Linear(2, 1), nn.LayerNorm(1)), steps=500, batch_size=512)
    shown, html = " ".join(str(recipe).split()), recipe._repr_html_()
    for choice in recipe.choices:
        assert choice.reason and (choice.source or choice.name == "optimizer")
        assert choice.name in shown and choice.name in html
    said = {c.name for c in recipe.choices}
    arguments = {"lr": "η", "betas": "β₂", "momentum": "momentum", "eps": "ε", "weight_decay": "λ"}
    assert {arguments[a] for a in recipe._arguments if a in arguments} <= said
