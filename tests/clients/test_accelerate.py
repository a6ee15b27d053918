"""Accelerate: prepared, accumulated, clipped, under a schedule, saved and gone on with."""

import pytest

torch = pytest.importorskip("torch", reason="the torch front")
accelerate = pytest.importorskip("accelerate", reason="Hugging Face's Accelerate")

import adamas.torch  # noqa: E402

STEPS, SAVED, CLIP = 8, 4, 0.5
OPTIONS = {"lr": 0.05, "betas": (0.8, 0.95)}


@pytest.fixture(autouse=True)
def _forgetful():
    """Accelerate keeps its settings for the rest of a process."""
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


class Run:
    """A training loop as Accelerate's documentation has it."""

    def __init__(self, cls, precision="no", scaler=None, **options):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        groups = [
            {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.inner = cls(groups, **{**OPTIONS, **options})
        schedule = torch.optim.lr_scheduler.LambdaLR(self.inner, lambda step: min(1, step / 2) * 0.9**step)
        drawn = torch.randn(STEPS * 8, 6, generator=torch.Generator().manual_seed(1))
        data = torch.utils.data.TensorDataset(drawn[:, :5], 3 * drawn[:, 5:])
        self.accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2, mixed_precision=precision)
        self.accelerator.scaler = scaler
        self.model, self.opt, self.loader, self.schedule = self.accelerator.prepare(
            model, self.inner, torch.utils.data.DataLoader(data, batch_size=4), schedule
        )
        self.norms, self.clip = [], CLIP

    def train(self, first=0, last=STEPS):
        for index, (x, y) in enumerate(self.loader):
            if not first <= index // 2 < last:
                continue
            with self.accelerator.accumulate(self.model):
                self.accelerator.backward((self.model(x) - y).square().mean())
                if self.accelerator.sync_gradients:
                    self.norms.append(float(self.accelerator.clip_grad_norm_(self.model.parameters(), self.clip)))
                self.opt.step()
                self.schedule.step()
                self.opt.zero_grad()
        return self

    def weights(self):
        return dict(self.accelerator.unwrap_model(self.model).state_dict())


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_prepared_accumulated_clipped(precision):
    ours = Run(adamas.torch.AdamW, precision).train()
    theirs = Run(torch.optim.AdamW, precision).train()
    assert ours.opt.optimizer is ours.inner
    assert len(ours.norms) == STEPS and min(ours.norms) > CLIP
    torch.testing.assert_close(ours.norms, theirs.norms, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.weights(), theirs.weights(), rtol=1e-5, atol=1e-6)
    assert ours.inner.param_groups[0]["lr"] == theirs.inner.param_groups[0]["lr"] < OPTIONS["lr"]
    # The first rate is 0; that was a step all the same.
    assert [float(ours.inner.state[p]["step"]) for p in ours.model.parameters()] == [STEPS] * 4


def test_an_optimizer_that_has_begun_can_be_prepared():
    """Accelerate loads the states back at once."""
    ours = Run(adamas.torch.AdamW).train(last=SAVED)
    before = {p: dict(ours.inner.state[p]) for p in ours.model.parameters()}
    again = ours.accelerator.prepare_optimizer(ours.inner)
    for p, state in before.items():
        torch.testing.assert_close(dict(again.state[p]), state, rtol=0, atol=0)
    ours.opt = again
    ours.train(first=SAVED)
    torch.testing.assert_close(ours.weights(), Run(adamas.torch.AdamW).train().weights(), rtol=0, atol=0)


def test_saved_and_loaded_goes_on_as_if_never_stopped(tmp_path):
    whole = Run(adamas.torch.AdamW).train()
    Run(adamas.torch.AdamW).train(last=SAVED).accelerator.save_state(str(tmp_path))
    resumed = Run(adamas.torch.AdamW, lr=0.01)
    resumed.accelerator.load_state(str(tmp_path))
    resumed.train(first=SAVED)
    assert resumed.norms == whole.norms[SAVED:]
    torch.testing.assert_close(resumed.weights(), whole.weights(), rtol=0, atol=0)


@pytest.mark.parametrize("kind", [torch.amp.GradScaler, adamas.torch.GradScaler])
def test_under_a_gradient_scaler(kind):
    """Accelerate puts its own function in place of ``step`` while the scaler steps, and the old one back."""
    plain, scaled = Run(adamas.torch.AdamW), Run(adamas.torch.AdamW, scaler=kind("cpu"))
    plain.clip = scaled.clip = 1e9  # not at all: Accelerate unscales before it clips under mixed_precision="fp16" alone
    torch.testing.assert_close(scaled.train().weights(), plain.train().weights(), rtol=0, atol=0)
    before = {name: w.clone() for name, w in scaled.weights().items()}
    for p in scaled.model.parameters():
        p.grad = torch.full_like(p, torch.inf)
    scaled.opt.step()
    torch.testing.assert_close(scaled.weights(), before, rtol=0, atol=0)
    assert [float(scaled.inner.state[p]["step"]) for p in scaled.model.parameters()] == [STEPS] * 4
    assert scaled.opt.step_was_skipped and scaled.accelerator.optimizer_step_was_skipped
    if kind is adamas.torch.GradScaler:
        assert scaled.inner.last.skipped and scaled.accelerator.scaler.last_skipped
