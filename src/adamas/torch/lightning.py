"""Callbacks for Lightning's Trainer."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from adamas.errors import InputError
from adamas.stopping import EarlyStopping


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
