"""torch.distributed.checkpoint: states are asked for, saved and loaded by names, on one process.

On several: test_distributed.py.
"""

import pytest

torch = pytest.importorskip("torch", reason="the torch front")

import torch.distributed.checkpoint as dcp  # noqa: E402
from torch.distributed.checkpoint.state_dict import (  # noqa: E402
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)

import adamas.torch  # noqa: E402
from tests.clients.workers import OPTIONS, SAVED, decay_groups, make_model, states, train, weights  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")  # which is what is wanted
FLATTENED = StateDictOptions(flatten_optimizer_state_dict=True)


def made(name, **options):
    model = make_model()
    weights, biases = decay_groups(model)
    biases["weight_decay"] = 0.01  # a group apart, with the same kernel
    return model, getattr(adamas.torch, name)([weights, biases], **{"lr": 0.05, **OPTIONS[name], **options})


def equal(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("name", OPTIONS)
def test_asking_for_states_is_no_step(name):
    """torch makes them by a step with η = 0 and gradients of zeros."""
    model, opt = made(name)
    other, asked = made(name)
    states = get_optimizer_state_dict(other, asked)["state"]
    equal(weights(other), weights(model))
    assert all(float(state["step"]) == 0 for state in states.values())
    train(model, opt)
    train(other, asked)
    equal(weights(other), weights(model))
    assert {key for state in states.values() for key in state} == set(opt.state[model[0].weight])


def test_asking_a_tensor_learning_rate_for_states_is_no_step():
    model, opt = made("AdamW", lr=torch.tensor(0.05))
    other, asked = made("AdamW", lr=torch.tensor(0.05))
    get_optimizer_state_dict(other, asked)
    train(model, opt)
    train(other, asked)
    equal(weights(other), weights(model))


@pytest.mark.parametrize("options", [None, FLATTENED], ids=["nested", "flattened"])
@pytest.mark.parametrize("name", OPTIONS)
def test_saved_and_loaded_goes_on_as_if_never_stopped(name, options, tmp_path):
    model, opt = made(name)
    train(model, opt, last=SAVED)
    model_state, opt_state = get_state_dict(model, opt, options=options)
    dcp.save({"model": model_state, "opt": opt_state}, checkpoint_id=tmp_path, no_dist=True)

    other, resumed = made(name, lr=0.01)
    model_state, opt_state = get_state_dict(other, resumed, options=options)
    dcp.load({"model": model_state, "opt": opt_state}, checkpoint_id=tmp_path, no_dist=True)
    set_state_dict(other, resumed, model_state_dict=model_state, optim_state_dict=opt_state, options=options)
    assert resumed.param_groups[0]["lr"] == 0.05
    train(model, opt, first=SAVED)
    train(other, resumed, first=SAVED)
    equal(weights(other), weights(model))
    equal(states(other, resumed), states(model, opt))


def test_float32_states_of_bfloat16_weights_stay_float32():
    model, opt = made("AdamW")
    model.to(torch.bfloat16)
    model.forward = lambda x: torch.nn.Sequential.forward(model, x.bfloat16())
    train(model, opt, last=SAVED)
    other, resumed = made("AdamW")
    other.to(torch.bfloat16)
    set_optimizer_state_dict(other, resumed, get_optimizer_state_dict(model, opt))
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert resumed.state[q]["exp_avg"].dtype == torch.float32
        equal(dict(resumed.state[q]), dict(opt.state[p]))
