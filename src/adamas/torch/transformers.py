"""Callbacks for the Trainer of Hugging Face's transformers."""

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from adamas import checkpoint
from adamas.errors import InputError
from adamas.stopping import EarlyStopping


class StopCallback(TrainerCallback):
    """See `adamas.torch.EarlyStopping.transformers_callback`."""

    def __init__(self, stopper: EarlyStopping, metric: str) -> None:
        self.stopper, self.metric = stopper, metric

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        place = _place(args, state)
        if state.global_step and place.is_dir():
            checkpoint.load(place, random=False, stopper=self.stopper)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        found = metrics or {}
        if self.metric not in found:
            raise InputError(f"The evaluation has no {self.metric!r}: it has {', '.join(found) or 'nothing'}.")
        if self.stopper.update(found[self.metric]):
            control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if args.should_save:
            checkpoint.save(_place(args, state), state.global_step, keep=1, random=False, stopper=self.stopper)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.stopper.keep:
            self.stopper.restore()


def _place(args: TrainingArguments, state: TrainerState) -> Path:
    """In the Trainer's own checkpoint of this step."""
    return Path(args.output_dir or ".") / f"checkpoint-{state.global_step}" / "early-stopping"
