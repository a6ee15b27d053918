"""A check leaves everything bit for bit as it was, however it ends."""

import os
import random
import signal

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import adamas.torch
from adamas.torch import preflight


class Noisy(nn.Module):
    """With all that a forward pass can change: running statistics, dropout, a counter, spectral norm's vectors."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.first = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 8))
        self.last, self.frozen = nn.Linear(8, 3), nn.Linear(3, 3)
        self.frozen.requires_grad_(False)
        self.calls, self.seen = 0, []

    def forward(self, x):
        self.calls += 1
        self.seen.append(float(x.mean()))
        return self.frozen(self.last(self.drop(self.first(self.norm(x)))))


class Scene:
    """A training under way: two steps are done, a gradient stands, an epoch is half through."""

    def __init__(self, kind, schedule=torch.optim.lr_scheduler.CosineAnnealingLR):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        self.model = Noisy()
        self.optimizer = kind(self.model.parameters(), lr=1e-2)
        self.schedule = schedule(self.optimizer, 100)
        self.scaler = torch.amp.GradScaler("cpu")
        x = torch.randn(64, 4)
        self.loader = DataLoader(
            TensorDataset(x, (x[:, 0] > 0).long()), 16, shuffle=True, generator=torch.Generator().manual_seed(7)
        )
        self.epoch = iter(self.loader)
        for _ in range(2):
            self.step(next(self.epoch))
        self.model.norm.eval()

    def loss(self, model, batch):
        x, y = batch
        noise = 0.01 * (random.random() + np.random.rand() + torch.rand(()))  # noqa: NPY002
        return nn.functional.cross_entropy(model(x + noise), y)

    def step(self, batch):
        self.optimizer.zero_grad()
        self.loss(self.model, batch).backward()
        self.optimizer.step()
        self.schedule.step()

    def check(self, **arguments):
        given = {"loss_fn": self.loss, "validate": lambda model: float(torch.rand(()) + model(torch.ones(2, 4)).sum())}
        return preflight(
            self.model,
            self.loader,
            self.optimizer,
            self.schedule,
            **{**given, "steps": 50, "scaler": self.scaler, **arguments},
        )

    def everything(self):
        """All that can be seen of it; floats and tensors as their bytes."""
        model, params = self.model, [*self.model.parameters(), *self.model.buffers()]
        return repr(
            [
                [(p.dtype, p.requires_grad, _bytes(p), None if p.grad is None else _bytes(p.grad)) for p in params],
                [(module.training, len(module._forward_hooks)) for module in model.modules()],
                (model.calls, model.seen),
                _plain(self.optimizer.state_dict()),
                _plain(self.schedule.state_dict()),
                _plain(self.scaler.state_dict()),
                (random.getstate(), np.random.get_state(), _bytes(torch.get_rng_state())),  # noqa: NPY002
                _bytes(self.loader.generator.get_state()),
                torch.is_grad_enabled(),
            ]
        )

    def held(self):
        """Objects that must stay the same ones."""
        return [id(p) for p in self.model.parameters()] + [id(p.grad) for p in self.model.parameters()]


def _bytes(tensor):
    return tensor.detach().contiguous().numpy().tobytes()


def _plain(thing):
    if isinstance(thing, torch.Tensor):
        return _bytes(thing)
    if isinstance(thing, dict):
        return {key: _plain(value) for key, value in thing.items()}
    return [_plain(v) for v in thing] if isinstance(thing, list | tuple) else thing


KINDS = [adamas.torch.AdamW, torch.optim.AdamW, torch.optim.SGD]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k.__module__}.{k.__name__}")
def test_nothing_is_changed(kind):
    scene = Scene(kind)
    before, held = scene.everything(), scene.held()
    report = scene.check()
    assert (scene.everything(), scene.held()) == (before, held)
    assert report["P13"].status == "pass" and report["P23"].status == "pass"


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k.__module__}.{k.__name__}")
def test_the_training_goes_on_as_if_nothing_had_been(kind):
    ends = []
    for checked in (False, True):
        scene = Scene(kind)
        if checked:
            scene.check()
        for batch in [*scene.epoch, *scene.loader]:
            scene.step(batch)
        ends.append(scene.everything())
    assert ends[0] == ends[1]


class Stop(BaseException):
    pass


def _interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("at", [1, 3, 6, 30, 70])
@pytest.mark.parametrize("raised", [ValueError, Stop, KeyboardInterrupt])
def test_nothing_is_changed_by_what_is_raised(at, raised):
    """In a look at a batch, or in the trial."""
    scene = Scene(adamas.torch.AdamW)
    before, held, calls = scene.everything(), scene.held(), 0

    def loss(model, batch):
        nonlocal calls
        calls += 1
        if calls == at:
            model.train(False)
            if raised is KeyboardInterrupt:
                _interrupt()
            raise raised("in the midst")
        # Always learning slowly, so that all trials are made
        return scene.loss(model, batch) * 0 + sum(p.sum() for p in model.parameters())

    with pytest.raises(raised):
        scene.check(loss_fn=loss)
    assert calls == at
    assert (scene.everything(), scene.held()) == (before, held)


def test_nothing_is_changed_by_validation_that_is_interrupted():
    scene = Scene(torch.optim.AdamW)
    before = scene.everything()

    def validate(model):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scene.check(validate=validate)
    assert scene.everything() == before


def test_a_loss_that_goes_round_the_copy_changes_nothing():
    scene = Scene(torch.optim.AdamW)
    before, held = scene.everything(), scene.held()

    def loss(model, batch):
        with torch.no_grad():
            scene.model.last.bias += 1
        return scene.loss(scene.model, batch)

    with pytest.raises(adamas.InputError, match="does not use the model that it is given"):
        scene.check(loss_fn=loss)
    assert (scene.everything(), scene.held()) == (before, held)


class Where(TensorDataset):
    """Notes in which process it is read."""

    processes: tuple[int, ...] = ()

    def __getitem__(self, index):
        Where.processes += (os.getpid(),)
        return super().__getitem__(index)


def test_a_loader_s_workers_are_left_where_they_are():
    scene = Scene(torch.optim.AdamW)
    scene.loader = DataLoader(
        Where(*scene.loader.dataset.tensors), 16, shuffle=True, num_workers=1, persistent_workers=True,
        generator=torch.Generator(),
    )  # fmt: skip
    scene.check()
    assert set(Where.processes) == {os.getpid()}
    assert scene.loader._iterator is None and (scene.loader.num_workers, scene.loader.persistent_workers) == (1, True)


def test_an_optimizer_that_wants_a_closure():
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    x = torch.randn(64, 4)
    before = _bytes(model.weight)
    report = preflight(
        model, [(x, x[:, :1])], torch.optim.LBFGS(model.parameters()), loss_fn=nn.functional.mse_loss, steps=100
    )
    assert report["P13"].status == "pass" and "the optimizer" in report["P13"].evidence
    assert _bytes(model.weight) == before


def test_the_trial_keeps_its_dropout():
    """So that the loss falls for what is learnt alone, and stands still where nothing is."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 32), nn.Dropout(0.5), nn.Linear(32, 1))
    x = torch.randn(16, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    report = preflight(model, [(x, x[:, :1])], optimizer, loss_fn=nn.functional.mse_loss)
    first, last = report["P13"].evidence.split("as it is set from ")[1].split(" in ")[0].split(" to ")
    assert first == last and report["P13"].status == "warn"
