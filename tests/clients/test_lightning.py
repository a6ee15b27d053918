"""Lightning: automatic and manual optimization, clipping, accumulation, precisions, a resumed run; and Fabric."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the torch front")
L = pytest.importorskip("lightning", reason="Lightning's Trainer")

import adamas.doctor  # noqa: E402
import adamas.torch  # noqa: E402

STEPS, CLIP = 8, 0.5
PRECISIONS = ["32-true", "bf16-mixed", "bf16-true", "64-true"]

pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers"),  # nor many rows
    # Lightning's own use of torch
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.* is deprecated"),
]


class Module(L.LightningModule):
    """A regression; ``make`` makes the optimizer from groups, whose η falls over so many steps."""

    length = STEPS

    def __init__(self, make):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        self.make = make

    def training_step(self, batch, index):
        x, y = batch
        return (self.layers(x) - y).square().mean()

    def configure_optimizers(self):
        matrices = [p for p in self.parameters() if p.ndim > 1]
        others = [p for p in self.parameters() if p.ndim <= 1]
        opt = self.make([{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, self.length)
        return {"optimizer": opt, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Manual(Module):
    """The same by hand: two accumulated batches, clipped, then a step by closure or without."""

    automatic_optimization = False
    with_closure = False

    def training_step(self, batch, index):
        opt = self.optimizers()
        if index % 2 == 0:
            opt.zero_grad()
        loss = super().training_step(batch, index) / 2

        def closure():
            self.manual_backward(loss)
            self.clip_gradients(opt, gradient_clip_val=CLIP, gradient_clip_algorithm="norm")

        if index % 2 == 0:
            self.manual_backward(loss)
        elif self.with_closure:
            opt.step(closure=closure)
            self.lr_schedulers().step()
        else:
            closure()
            opt.step()
            self.lr_schedulers().step()
        return 2 * loss.detach()


class ManualWithClosure(Manual):
    with_closure = True


def ours(groups):
    return adamas.torch.AdamW(groups, lr=0.05, betas=(0.8, 0.95))


def theirs(groups):
    return torch.optim.AdamW(groups, lr=0.05, betas=(0.8, 0.95))


def loader(dtype=torch.float32):
    """An epoch: half of a run."""
    drawn = torch.randn(STEPS // 2 * 8, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    data = torch.utils.data.TensorDataset(drawn[:, :5], 3 * drawn[:, 5:])
    return torch.utils.data.DataLoader(data, batch_size=4)


def fit(module, folder, epochs=2, resume=None, precision="32-true", **options):
    if module.automatic_optimization:
        options = {"gradient_clip_val": CLIP, "accumulate_grad_batches": 2, **options}
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        precision=precision,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, loader(torch.float64 if precision == "64-true" else torch.float32), ckpt_path=resume)
    assert trainer.global_step == epochs * STEPS // 2
    return trainer


def weights(module):
    return {name: p.detach().clone() for name, p in module.named_parameters()}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_automatic_optimization(precision, tmp_path):
    """With a closure, as Lightning always steps: backward and clipping happen in it."""
    a, b = Module(ours), Module(theirs)
    trainer = fit(a, tmp_path, precision=precision)
    fit(b, tmp_path, precision=precision)
    assert isinstance(trainer.optimizers[0], adamas.torch.AdamW)
    assert trainer.optimizers[0].param_groups[0]["lr"] < 1e-6, "the schedule has run to its end"
    # where weights are bfloat16 torch keeps the moments so too, and ours are float32
    how = {"rtol": 0.05, "atol": 0.01} if precision == "bf16-true" else {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(weights(a), weights(b), **how)
    for p in a.parameters():
        wide = torch.float64 if precision == "64-true" else torch.float32
        assert trainer.optimizers[0].state[p]["exp_avg"].dtype == wide
        assert float(trainer.optimizers[0].state[p]["step"]) == STEPS


@pytest.mark.parametrize("kind", [Manual, ManualWithClosure])
def test_manual_optimization(kind, tmp_path):
    a, b = kind(ours), Module(ours)
    fit(a, tmp_path)
    fit(b, tmp_path)
    torch.testing.assert_close(weights(a), weights(b), rtol=1e-6, atol=1e-7)


# Not "64-true": Lightning reads the weights of a checkpoint into a float32 module first.
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_resumed_goes_on_as_if_never_stopped(precision, tmp_path):
    whole, begun, resumed = Module(ours), Module(ours), Module(ours)
    fit(whole, tmp_path, precision=precision)
    fit(begun, tmp_path, epochs=1, precision=precision).save_checkpoint(tmp_path / "half.ckpt")
    trainer = fit(resumed, tmp_path, resume=tmp_path / "half.ckpt", precision=precision)
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)
    assert all(float(trainer.optimizers[0].state[p]["step"]) == STEPS for p in resumed.parameters())


def test_fabric(tmp_path):
    """Its optimizer is a subclass of ours, made on the spot."""

    def run(make):
        module = Module(make)
        made = module.configure_optimizers()
        opt, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
        fabric = L.Fabric(accelerator="cpu", devices=1)
        model, opt = fabric.setup(module.layers, opt)
        for index, (x, y) in enumerate(loader()):
            fabric.backward((model(x) - y).square().mean() / 2)
            if index % 2:
                fabric.clip_gradients(model, opt, max_norm=CLIP)
                opt.step()
                schedule.step()
                opt.zero_grad()
            if index == 3:
                fabric.save(tmp_path / "state.ckpt", {"opt": opt})
                saved = opt.state_dict()
        assert isinstance(opt, type(made["optimizer"]))
        return module, opt, saved

    a, opt, saved = run(ours)
    b, _, _ = run(theirs)
    torch.testing.assert_close(weights(a), weights(b), rtol=1e-5, atol=1e-6)
    fabric = L.Fabric(accelerator="cpu", devices=1)
    fabric.load(tmp_path / "state.ckpt", {"opt": opt})
    assert [float(state["step"]) for state in opt.state.values()] == [2] * 4
    assert opt.param_groups[0]["lr"] == saved["param_groups"][0]["lr"]


@pytest.mark.parametrize("fused", [None, True])
def test_under_our_gradient_scaler(fused, tmp_path):
    """A scale that is too large at first: steps are left out, and the schedule gives no false warning."""
    scaler = adamas.torch.GradScaler("cpu", 2.0**17, growth_interval=3)
    plugin = L.pytorch.plugins.MixedPrecision("16-mixed", "cpu", scaler=scaler)
    module = Module(lambda groups: adamas.torch.AdamW(groups, lr=0.05, fused=fused))
    before = weights(module)
    options = {"plugins": [plugin], "precision": None, "gradient_clip_val": None if fused else CLIP}
    trainer = fit(module, tmp_path, **options)
    steps = {float(state["step"]) for state in trainer.optimizers[0].state.values()}
    assert scaler.skipped > 0 and steps == {STEPS - scaler.skipped}
    assert any(not torch.equal(before[name], w) for name, w in weights(module).items())


class Validated(Module):
    """Its validation value is what ``values`` says, epoch after epoch."""

    def __init__(self, values):
        super().__init__(ours)
        self.values, self.seen = values, []

    def validation_step(self, batch, index):
        pass

    def on_validation_epoch_end(self):
        if not self.trainer.sanity_checking:
            self.seen.append(weights(self))
            self.log("value", self.values[self.current_epoch])

    def on_fit_end(self):
        self.after = weights(self)


def validated(values, folder, epochs=10, resume=None, patience=3):
    module = Validated(values)
    stopper = adamas.torch.EarlyStopping(patience, keep={"model": module})
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[stopper.lightning_callback("value")],
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader(), loader(), ckpt_path=resume)
    return module, stopper, trainer


@pytest.mark.filterwarnings("ignore:The 'val_dataloader' does not have many workers")
def test_our_early_stopping(tmp_path):
    values = [5.0, 3.0, 4.0, 3.5, 3.2, 1.0, 1.0]
    module, stopper, trainer = validated(values, tmp_path)
    assert (trainer.current_epoch, stopper.checks) == (5, 5)
    assert stopper.reason == "3 checks without an improvement on 3 of check 2."
    torch.testing.assert_close(weights(module), module.seen[1], rtol=0, atol=0)
    _, begun, trainer = validated(values, tmp_path, epochs=3)
    assert not begun.stopped
    trainer.save_checkpoint(tmp_path / "begun.ckpt")
    resumed, stopper, _ = validated(values, tmp_path, resume=tmp_path / "begun.ckpt")
    assert (stopper.checks, stopper.best_check) == (5, 2) and len(resumed.seen) == 2
    torch.testing.assert_close(weights(resumed), module.seen[1], rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:The 'val_dataloader' does not have many workers")
def test_our_early_stopping_wants_its_value_logged(tmp_path):
    module = Validated([1.0])
    stopper = adamas.torch.EarlyStopping(3)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, callbacks=[stopper.lightning_callback("val_loss")], **options)
    with pytest.raises(ValueError, match="The module has not logged 'val_loss': it has value"):
        trainer.fit(module, loader(), loader())


def watched(folder, rate, kind=Module, **options):
    """15 epochs of 8 batches, which are 4 steps."""
    module = kind(lambda groups: adamas.torch.AdamW(groups, lr=rate))
    module.length = 15 * STEPS // 2
    callback = adamas.torch.Doctor.lightning_callback("value", log=folder / f"{rate}.jsonl", **options)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=15,
        accumulate_grad_batches=2 if module.automatic_optimization else 1,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, shuffled(), loader() if kind is Logs else None)
    return callback.doctor, trainer


def shuffled():
    return torch.utils.data.DataLoader(loader().dataset, batch_size=4, shuffle=True)


class Logs(Module):
    def validation_step(self, batch, index):
        self.log("value", super().training_step(batch, index))


@pytest.mark.filterwarnings("ignore:The 'val_dataloader' does not have many workers")
@pytest.mark.parametrize("kind", [Logs, Manual])
def test_our_doctor(kind, tmp_path):
    doctor, trainer = watched(tmp_path, 0.02, kind)
    steps = 15 * STEPS // 2
    assert [finding.code for finding in doctor.findings if finding.severity != "note"] == []
    assert doctor.run.history.rows[:, 0].tolist() == [*range(1, steps + 1)] and trainer.global_step == steps
    assert np.isfinite(doctor.run.history.rows[:, 1:6]).all()
    if kind is Logs:
        assert doctor.run.setup["steps"] == steps
        assert doctor.run.validations.rows[:, 0].tolist() == [*range(STEPS // 2, steps + 1, STEPS // 2)]
    assert doctor.run.facts["inputs"]["batches"] > 10, "the network inside of the module is looked at"
    assert adamas.doctor.replay(tmp_path / "0.02.jsonl")[0].count == steps
    doctor, _ = watched(tmp_path, 10.0, kind)
    assert doctor.findings[0].code == "D201"


def test_our_doctor_wants_one_optimizer_and_the_loss(tmp_path):
    class Two(Manual):
        def configure_optimizers(self):
            return [ours([*self.layers[0].parameters()]), ours([*self.layers[2].parameters()])]

    class Silent(Manual):
        def training_step(self, batch, index):
            super().training_step(batch, index)

    for kind, sentence in ((Two, "The module has 2 optimizers"), (Silent, "training_step has returned no loss")):
        with pytest.raises(ValueError, match=sentence):
            watched(tmp_path, 0.02, kind)
