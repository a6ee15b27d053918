"""Callbacks for Lightning's Trainer."""

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from adamas.errors import InputError
from adamas.stopping import EarlyStopping
from adamas.torch.doctor import Doctor, under_trainer


class StopCallback(Callback):
    """See `adamas.torch.EarlyStopping.lightning_callback`."""

    def __init__(self, stopper: EarlyStopping, monitor: str) -> None:
        self.stopper, self.monitor = stopper, monitor

    @property
    def state_key(self) -> str:
        return self._generate_state_key(monitor=self.monitor, mode=self.stopper.mode)

    def state_dict(self) -> dict[str, Any]:
        return self.stopper.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.stopper.load_state_dict(state_dict)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        logged = trainer.callback_metrics
        if self.monitor not in logged:
            raise InputError(f"The module has not logged {self.monitor!r}: it has {', '.join(logged) or 'nothing'}.")
        stop = self.stopper.update(logged[self.monitor])
        # Processes that see different values must not part company.
        trainer.should_stop = trainer.should_stop or trainer.strategy.reduce_boolean_decision(stop, all=False)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.stopper.keep:
            self.stopper.restore()


class DoctorCallback(Callback):
    """See `adamas.torch.Doctor.lightning_callback`."""

    def __init__(self, monitor: str, options: dict[str, Any]) -> None:
        self.monitor, self.options = monitor, options
        self.doctor: Doctor | None = None
        self._losses: list[float] = []  # of the batches of a step
        self._step = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if len(trainer.optimizers) != 1:
            raise InputError(f"The module has {len(trainer.optimizers)} optimizers: the doctor watches one.")
        steps = trainer.estimated_stepping_batches
        schedules = [each.scheduler for each in trainer.lr_scheduler_configs if each.interval == "step"]
        clips = trainer.gradient_clip_val if trainer.gradient_clip_algorithm in (None, "norm") else None
        known: dict[str, Any] = {
            "steps": int(steps) if 0 < steps < math.inf else None,
            "data": trainer.train_dataloader,
            "schedule": schedules[0] if schedules else None,
            "scaler": getattr(trainer.precision_plugin, "scaler", None),
            "clip_grad_norm": clips or None,
        }
        # Lightning calls training_step, not the module: what that calls is seen where it is one network.
        networks = [m for m in pl_module.children() if next(m.parameters(), None) is not None]
        model = networks[0] if len(networks) == 1 else pl_module
        self.doctor = under_trainer(model, trainer.optimizers[0], known, self.options, trainer.is_global_zero)
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.doctor is None:
            return
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if loss is None:
            raise InputError(
                "training_step has returned no loss, by which the doctor knows how the training goes: return it, also "
                "where you optimize by hand."
            )
        self._losses.append(loss.detach())
        if trainer.global_step > self._step:
            self._step = trainer.global_step
            losses, self._losses = self._losses, []
            # Lightning has divided each by the number of batches; by hand nobody has.
            total = sum(losses) if pl_module.automatic_optimization else sum(losses) / len(losses)
            self.doctor.observe(total, batch=batch, step=self._step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = trainer.callback_metrics.get(self.monitor)
        if self.doctor is not None and value is not None and not trainer.sanity_checking:
            self.doctor.observe(val_loss=value)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.doctor is not None:
            self.doctor.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.on_train_end(trainer, pl_module)
