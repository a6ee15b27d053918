"""Schedules under the trainers: taken for what they are, saved, and gone on with."""

from typing import Any

import pytest

from adamas.schedules import cosine, one_cycle, warmup

F = warmup(4) >> cosine(6, floor=0.1)
CYCLE = one_cycle(10, peak_at=0.4)


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="the torch front")


def test_hugging_face(torch: Any, tmp_path: Any) -> None:
    """The Trainer takes it for a schedule, logs its rates, saves it and goes on with it."""
    pytest.importorskip("transformers", reason="Hugging Face's Trainer")
    pytest.importorskip("accelerate", reason="Hugging Face's Trainer needs it")
    from adamas.torch import AdamW, schedule
    from tests.clients.test_transformers import SAVED, STEPS, logged, make_model, trainer

    f = warmup(2) >> one_cycle(STEPS - 2)

    def run(folder: str, resumed: str | None = None) -> Any:
        model = make_model()
        opt = AdamW(model.parameters(), lr=0.02)
        made = trainer(tmp_path / folder, model, optimizers=(opt, schedule(opt, f)))
        made.train(resume_from_checkpoint=resumed)
        return made

    whole = run("a")
    rates = [rate for _, rate, _ in logged(whole)]
    # what is logged after a step is the rate of the next one
    assert rates in ([0.02 * f(t) for t in range(STEPS)], [0.02 * f(t + 1) for t in range(STEPS)])
    again = run("b", str(tmp_path / "a" / f"checkpoint-{SAVED}"))
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.filterwarnings("ignore:The 'train_dataloader' does not have many workers")
@pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.* is deprecated")
def test_lightning(torch: Any, tmp_path: Any) -> None:
    L = pytest.importorskip("lightning", reason="Lightning's Trainer")
    from adamas.torch import AdamW, schedule
    from tests.clients.test_lightning import Module, loader

    class Scheduled(Module):
        def configure_optimizers(self) -> Any:
            opt = AdamW(self.parameters(), lr=0.05)
            return {"optimizer": opt, "lr_scheduler": {"scheduler": schedule(opt, CYCLE), "interval": "step"}}

    trainer = L.Trainer(
        default_root_dir=tmp_path, accelerator="cpu", max_steps=4, logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    module = Scheduled(None)
    trainer.fit(module, loader())
    group = trainer.optimizers[0].param_groups[0]
    assert CYCLE.momentum is not None
    assert (group["lr"], group["betas"][0]) == (0.05 * CYCLE(4), CYCLE.momentum(4))


def test_accelerate(torch: Any) -> None:
    accelerate = pytest.importorskip("accelerate", reason="Hugging Face's Accelerate")
    from adamas.torch import AdamW, schedule

    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    try:
        model = torch.nn.Linear(3, 1)
        accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
        opt = AdamW(model.parameters(), lr=0.05)
        model, prepared, scheduler = accelerator.prepare(model, opt, schedule(opt, F))
        for _ in range(6):
            with accelerator.accumulate(model):
                accelerator.backward(model(torch.ones(2, 3)).sum())
                prepared.step()
                scheduler.step()
                prepared.zero_grad()
        assert opt.param_groups[0]["lr"] == 0.05 * F(3)
    finally:
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
