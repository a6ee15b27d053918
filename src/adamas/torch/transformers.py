"""Callbacks for the Trainer of Hugging Face's transformers."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from adamas import checkpoint
from adamas.errors import InputError
from adamas.stopping import EarlyStopping
from adamas.torch.doctor import Doctor, under_trainer


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


class DoctorCallback(TrainerCallback):
    """See `adamas.torch.Doctor.transformers_callback`."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.doctor: Doctor | None = None
        self._hook: Any = None
        self._losses: list[Tensor] = []  # of the batches of a step
        self._batch: Any = None
        self._parts = False  # whether these losses are parts of the step's, or each is a mean by itself

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        optimizer, schedule = given["optimizer"], given["lr_scheduler"]
        known: dict[str, Any] = {
            "steps": state.max_steps,
            "data": given["train_dataloader"],
            "schedule": getattr(schedule, "scheduler", schedule),
            "clip_grad_norm": args.max_grad_norm or None,
        }
        plain = getattr(optimizer, "optimizer", optimizer)
        self.doctor = under_trainer(given["model"], plain, known, self.options, state.is_world_process_zero)
        self._hook = given["model"].register_forward_hook(self._seen, with_kwargs=True)

    def _seen(self, model: nn.Module, args: Any, inputs: dict[str, Any], output: Any) -> None:
        loss = output.get("loss") if isinstance(output, dict) else None
        if model.training and torch.is_grad_enabled() and loss is not None:
            self._losses.append(loss.detach())
            self._parts = inputs.get("num_items_in_batch") is not None
            labels = inputs.get("labels")
            self._batch = None if labels is None else (next(iter(inputs.values())), labels)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.doctor is None:
            return
        if not self._losses:
            raise InputError(
                "The model's output has no loss, by which the doctor knows how the training goes: give the model its "
                "labels, or leave the callback out and call Doctor.observe in a loop of your own."
            )
        losses, self._losses = torch.stack(self._losses), []
        loss = losses.sum() if self._parts else losses.mean()
        self.doctor.observe(loss, batch=self._batch, step=state.global_step)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        found = metrics or {}
        if self.doctor is not None and "eval_loss" in found:
            self.doctor.observe(val_loss=found["eval_loss"], val_accuracy=found.get("eval_accuracy"))

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.doctor is not None:
            self._hook.remove()
            self.doctor.close()


def _place(args: TrainingArguments, state: TrainerState) -> Path:
    """In the Trainer's own checkpoint of this step."""
    return Path(args.output_dir or ".") / f"checkpoint-{state.global_step}" / "early-stopping"
