# pyright: reportPrivateUsage=false
"""The doctor for torch: what a training shows to hooks on its model and optimizer, beside the numbers it is told."""

import math
import os
from collections.abc import Callable, Mapping
from math import isfinite
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import SequentialSampler

from adamas import doctor
from adamas.doctor.observer import OFTEN, next_check, number, rate
from adamas.doctor.run import HELD, median
from adamas.errors import InputTypeError
from adamas.hyperparameters import whole
from adamas.schedules import Schedule
from adamas.state import peek
from adamas.torch.activations import Activations
from adamas.torch.batches import Labels, tensors_in
from adamas.torch.passes import BATCHES, PROBED, Passes
from adamas.torch.roles import NORMS, roles
from adamas.torch.samples import Samples, some
from adamas.torch.unclipped import Unclipped

if TYPE_CHECKING:
    from adamas.torch.lightning import DoctorCallback as LightningCallback
    from adamas.torch.transformers import DoctorCallback as TrainerCallback

#: Steps at the beginning that are looked at closely.
FIRST = 5

_RECURRENT = (nn.RNNBase, nn.RNNCellBase)

_NOTHING: Mapping[str, float] = {}


class Doctor(doctor.Doctor):
    """Watches the training of a torch model.

    Its hooks see whether a forward pass is for training or evaluation, and in which mode; how many backward passes make
    a step; what the inputs are like; and, now and then, which units are dead or saturated. An optimizer of
    `adamas.torch` measures in the step itself; of others a sample of each tensor is looked at.

    Args:
        model: the module that the loop calls.
        optimizer: that steps it.
        steps: optimizer steps planned in all.
        data: the training loader; its sampler is looked at, no batch is taken.
        schedule: a torch scheduler, a schedule of `adamas.schedules`, or a function of the step: how η goes on.
        scaler: the GradScaler.
        clip_grad_norm: what the loop itself clips to.
        classes, log, to, say, every: see `adamas.doctor.Doctor`.
        probe_every: look at activations at every how many of the first 200 steps, and later when the run is examined;
            0: never.

    Raises:
        InputError: for a value that cannot be.

    >>> model = nn.Linear(4, 2)
    >>> opt = torch.optim.Adam([model.weight], lr=1e-3)
    >>> with Doctor(model, opt) as watched:
    ...     for _ in range(10):
    ...         loss = model(torch.ones(8, 4)).square().mean()
    ...         loss.backward()
    ...         opt.step()
    ...         watched.observe(loss)
    >>> watched.findings[0].name, watched.findings[0].remedy.settings
    ('missing-parameters', {'add_parameters': ['bias']})
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        steps: int | None = None,
        data: Any = None,
        schedule: Any = None,
        scaler: Any = None,
        clip_grad_norm: float | None = None,
        classes: int | None = None,
        log: str | os.PathLike[str] | None = None,
        to: Any = None,
        say: Callable[[str], Any] | None = None,
        every: int | None = None,
        probe_every: int = 25,
    ) -> None:
        if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputTypeError(f"The model is a {type(model).__name__}: it must be a torch.nn.Module.")
        if not isinstance(optimizer, torch.optim.Optimizer):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputTypeError(f"A {type(optimizer).__name__} is no torch optimizer: give one of torch's kind.")
        self.model, self.scaler, self.probe_every = model, scaler, whole("probe_every", probe_every, 0)
        self._probed = min(2, self.probe_every - 1)  # steps after which activations are looked at first
        self._schedule = schedule
        self._own = not hasattr(optimizer, "last")  # measures nothing by itself
        self._params = [p for group in optimizer.param_groups for p in group["params"]]
        self._samples = Samples(optimizer, self._params)
        self._unclipped = Unclipped(self._params)
        self._raw_due = OFTEN  # steps after which ‖g‖ before clipping is looked at next
        self._scale = math.nan  # of the loss, at the last step
        self._activations = Activations()
        self._calm = 0  # steps that have nothing to do but to wait
        self._close = True  # whether the passes of the next step are looked at more closely
        self._leaving: Any = None  # the hook at the end of such a pass
        self._backwards = 0
        self._labels = Labels()
        self._looked: tuple[int, ...] = ()  # how much of the batches was known at the last examination
        self._output: dict[str, float] = {}
        self._count = -1.0
        super().__init__(
            optimizer,
            steps=steps,
            settings={} if clip_grad_norm is None else {"clip_grad_norm": number("clip_grad_norm", clip_grad_norm)},
            classes=classes,
            log=log,
            to=to,
            say=say,
            every=every,
        )
        if self._own or scaler is not None:
            self._beside, self.run.reads = self._fill_in, None
        self._look_at_model(data)
        self._open = True
        self._passes = Passes(model, self._enter)
        self._hooks: list[Any] = []
        if self._own:
            self._hooks = [
                optimizer.register_step_pre_hook(self._before_step),
                optimizer.register_step_post_hook(self._after_step),
            ]

    # What does not change.

    def _setup(self) -> None:
        names = {id(p): name for name, p in self.model.named_parameters()}
        kinds = {id(role.param): role.kind for role in roles(self.model, frozen=True)}
        self.run.setup |= {
            "names": [names.get(id(p), f"parameter {i}") for i, p in enumerate(self._params)],
            "sizes": [p.numel() for p in self._params],
            "kinds": [kinds.get(id(p), "weight" if p.ndim > 1 else "vector") for p in self._params],
            "scaler": self.scaler is not None,
        }

    def _look_at_model(self, data: Any) -> None:
        own = set(map(id, self._params))
        named = dict(self.model.named_parameters())
        frozen = [name for name, p in named.items() if not p.requires_grad]
        missing = [name for name, p in named.items() if p.requires_grad and id(p) not in own]
        total = sum(p.numel() for p in named.values())
        if frozen or missing:
            share = sum(named[name].numel() for name in frozen) / max(1, total)
            self.note("parameters", {"frozen": frozen, "missing": missing, "frozen_share": share, "all": len(named)})
        modules = list(self.model.modules())
        first = next((m for m in modules if not list(m.children())), None)
        recurrent = any(isinstance(m, _RECURRENT) for m in modules)
        if recurrent:
            self._eases = None  # an explosion lasts a step or two, and a step is cheap beside a recurrence
        self.note(
            "architecture",
            {
                "recurrent": recurrent,
                "post_norm": sum(
                    isinstance(m, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer) and not m.norm_first
                    for m in modules
                ),
                "normalises": isinstance(first, NORMS),
            },
        )
        if half := [name for name, p in named.items() if p.dtype == torch.float16]:
            self.note("half", f"{len(half)} parameters")
        order = data
        while (inner := getattr(order, "batch_sampler", None)) is not None:  # then its own sampler goes unused
            order = inner
        if isinstance(getattr(order, "sampler", None), SequentialSampler) and len(data) > 1:
            self.note("order", {"sampler": "SequentialSampler"})
        self._look_ahead()

    def _look_ahead(self) -> None:
        """How η goes on, where the schedule can be asked: (step, factor of the peak)."""
        steps, f = self.run.setup.get("steps"), self._schedule
        if f is None or steps is None:
            return
        if isinstance(f, torch.optim.lr_scheduler.LambdaLR):
            f = f.lr_lambdas[0]
        elif hasattr(f, "schedules"):
            f = f.schedules[0]
        if not (isinstance(f, Schedule) or (callable(f) and not isinstance(f, torch.optim.lr_scheduler.LRScheduler))):
            return
        at = sorted({round(i * (steps - 1) / 100) for i in range(101)})
        values = [float(cast(Callable[[int], Any], f)(i)) for i in at]
        peak = max(values)
        if peak > 0:
            self.note("rates_ahead", [[i + 1, value / peak] for i, value in zip(at, values, strict=True)])

    # What passes through the model.

    def _enter(self) -> None:
        if self._close and self._leaving is None:
            self._leaving = self.model.register_forward_hook(self._leave, always_call=True)
            if self._probes():
                self._activations.begin()

    def _examines(self) -> bool:
        """Whether the run is examined after the next step."""
        return self.run.step + 1 >= self._next

    def _probes(self) -> bool:
        if not self.probe_every:
            return False
        if self.run.count >= PROBED:  # what nobody looks at is not worth its time
            return self._examines()
        return self.run.count % self.probe_every == self._probed

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._leaving.remove()
        self._leaving = None
        for fact, value in self._activations.end().items():
            self.note(fact, value)
        if self.run.count < FIRST or self._examines():
            # A loss that the model has computed itself says nothing of how it was divided.
            tensor = next((each for each in tensors_in(output) if each.ndim), None)
            if tensor is not None and tensor.requires_grad:
                if tensor.dtype == torch.float16:
                    self.note("half", "the model's outputs")
                tensor.register_hook(self._backward)

    def _backward(self, g: Tensor) -> None:
        """A backward pass came by the output: how large a gradient a mean loss gives it."""
        self._backwards += 1
        if self._backwards == 1:
            scale = 1.0 if self.scaler is None else float(self.scaler.get_scale())
            a = g.detach().double() / scale
            self._output = {
                "sum": float(a.abs().sum()),
                "norm": float(a.norm()),
                "rows": float(a.sum(-1).abs().sum()) if a.ndim > 1 else math.nan,
                "numel": float(a.numel()),
            }

    # What an optimizer that does not measure shows.

    def _closely(self) -> bool:
        if self.run.count < 10 or self.run.count % max(10, self.every) == 0:
            return True
        return self._unclipped.waits or self._examines()

    def _before_step(self, *_: Any) -> None:
        self._samples.before(self.run.count % self.every == 0, self._closely())

    def _after_step(self, *_: Any) -> None:
        self._samples.after()

    # ‖g‖ before the loop clips.

    def _watch_raw(self) -> None:
        if self.run.count >= FIRST:
            if self.run.count < self._raw_due or not self._measures():
                return
            self._raw_due = next_check(self.run.count)
        self._unclipped.wait()

    def _measures(self) -> bool:
        """Whether the next step tells ‖g‖ after clipping: of the one without the other nothing follows."""
        stepper = getattr(self.optimizer, "_stepper", None)
        return stepper is None or not stepper.until_measured

    def _take_raw(self) -> float:
        return self._unclipped.take() / (1.0 if self.scaler is None else float(self.scaler.get_scale()))

    # A step.

    def observe(self, loss: Any = None, *, batch: Any = None, grad_norm: Any = None, **others: Any) -> None:
        """Take in a step, after `optimizer.step`, or a validation, or both; see `adamas.doctor.Doctor.observe`.

        Args:
            loss: of the step's batch.
            batch: inputs and labels of the step; from the labels: whether they are in order, and what guessing has.
            grad_norm: what `clip_grad_norm_` returned.
            others: ``val_loss``, ``val_accuracy``, ``train_loss``, ``step``.
        """
        if loss is not None and type(loss) is not float:
            loss = number("loss", loss.detach() if isinstance(loss, Tensor) else loss)
        if batch is not None and self._labels.batches >= BATCHES:
            batch = None  # it has nothing more to tell
        if self._calm and loss is not None and grad_norm is batch is None and not others:
            # The same as below, in as few words as can be: whatever is touched here has to come from memory.
            run, now, groups = self.run, monotonic(), self.optimizer.param_groups
            if now < run.due and isfinite(loss):
                self._calm, self._stale = self._calm - 1, True
                run.count += 1
                run.step = step = run.step + 1
                lr = groups[0]["lr"]
                if len(groups) > 1 or type(lr) is not float:
                    lr = rate(groups)
                run.waiting.append((step, loss, lr, _NOTHING, self._stepper.untold, now - self._begun))
                return
        if loss is not None:
            if batch is not None:
                self._labels.add(batch, self._passes.inputs)
            if self._unclipped.waits:
                raw = self._take_raw()
                grad_norm = raw if grad_norm is None and raw == raw else grad_norm
        if others.get("val_loss") is not None:
            if mode := self._passes.validated():
                self.note("evaluated_in_train_mode", [self.run.step, mode])
            if self._open and self._passes.wants:
                self._passes.listen(self.run.count)
        if loss is None:
            super().observe(**others)
            return
        if self._output:
            self._look_at_passes(loss)
        first, before = self._count < 0, self.run.step
        if others:
            super().observe(loss, grad_norm=grad_norm, **others)
        elif self._take(loss, _NOTHING if grad_norm is None else {"grad_norm": number("grad_norm", grad_norm)}):
            self.check()
        if first:
            self._passes.begin(self.run.count)
            self.run.take_in()
            self._look_at_count(int(others.get("step") or before + 1))
        self._backwards = self._calm = 0
        if self._open:
            self._prepare()

    def _prepare(self) -> None:
        """See to it that what is to be looked at in the next step is."""
        run = self.run
        self._close = run.count < FIRST or self._examines() or self._probes()
        if not self._unclipped.waits:
            self._watch_raw()
        unheard = -1 if self._close else self._passes.unheard(run.count, HELD)
        if unheard > 0:
            self._passes.leave(run.count)
        else:
            self._passes.listen(run.count)
        if self._stepper and run.reads and not self._close and not self._unclipped.waits:
            raw = max(self._raw_due - run.count, self._stepper.until_measured)
            until = [raw, self._next - 1 - run.step, HELD - len(run.waiting)]
            if unheard >= 0:
                until.append(unheard)
            if self._eases is not None:
                until.append(self._eases - run.count)
            if self.probe_every and run.count < PROBED:
                until.append((self._probed - run.count) % self.probe_every)
            self._calm = int(max(0, min(until) - 1))

    def _look_at_passes(self, loss: float) -> None:
        """How many backward passes made this step, and whether their losses were divided."""
        seen, passes = self._output, self._backwards
        self._output = {}
        if passes < 2 or not math.isfinite(loss) or loss <= 0:
            return
        if seen["rows"] <= 1e-3 * seen["sum"]:  # p − y adds up to 0: a cross-entropy of logits
            # A mean over samples of 2(1 − p), and by convexity no more than 2(1 − exp(−loss)).
            share, kind = seen["sum"] / (2 * (1 - math.exp(-loss))), "cross-entropy"
        elif abs(seen["norm"] ** 2 * seen["numel"] / 4 / loss - 1) < 0.05:
            share, kind = 1.0, "squared error"
        else:
            share, kind = seen["norm"] * math.sqrt(seen["numel"]) / (2 * math.sqrt(loss)), "squared error"
        self.note("accumulation", {"passes": passes, "loss": kind, "share": round(share, 2)})

    def _fill_in(self, row: list[float]) -> None:
        """What is looked at where the optimizer does not measure; and the scale."""
        if self._own:
            row[3:6] = self._samples.row
            if row[6] != row[6] and not self.run.settings.get("clip_grad_norm") and row[3] == math.inf:
                row[6] = math.inf
        if self.scaler is not None:
            before, self._scale = self._scale, float(self.scaler.get_scale())
            row[9] = self._scale
            if self._own and row[8] != row[8] and before == before:
                row[8] = float(self._scale < before)

    # Now and then.

    def _look(self) -> None:
        super()._look()
        if self._samples.tensors is not None:
            self._sample(self._samples.tensors)
        inputs, evaluated = self._passes.inputs, self._passes.evaluated
        looked = inputs.batches, inputs.epoch, evaluated.batches, self._labels.batches
        if looked != self._looked:
            self._looked = looked
            self._look_at_batches()
        self._look_at_count(self.run.step)
        self._look_at_amsgrad()

    def _look_at_batches(self) -> None:
        inputs, evaluated = self._passes.inputs, self._passes.evaluated
        if inputs.batches:
            self.note("inputs", inputs.told())
            if inputs.epoch > 0:
                self.note("order", {"epoch": inputs.epoch})
        if evaluated.batches:
            self.note("eval_inputs", evaluated.told())
        if self._labels.batches:
            self.note("labels", self._labels.told())
            column = self._labels.column()
            if column is not None:
                self.note("telling_column", column)

    def _look_at_count(self, step: int) -> None:
        count = self._counted()
        if count is None:
            return
        if self._count < 0:
            expected = step - self.run.skips
            epoch = getattr(self._schedule, "last_epoch", 0)
            if isinstance(epoch, int):
                expected = max(expected, epoch)
        else:
            expected = self._count
        if count < 0.8 * expected - 5 and "moments_lost" not in self.run.facts:
            self.note("moments_lost", [step, int(count), int(expected)])
        self._count = count

    def _counted(self) -> float | None:
        """Steps that the optimizer has counted, the most of its first parameters."""
        counts: list[float] = []
        for p in self._params[:4]:
            value = peek(self.optimizer.state.get(p, {})).get("step")
            if value is not None:
                counts.append(float(value))
        if counts:
            return max(counts)
        keeps = self.optimizer.param_groups[0].get("betas") is not None
        return 0.0 if keeps and self._count > 0 else None

    def _look_at_amsgrad(self) -> None:
        if not self.run.settings.get("amsgrad"):
            return
        held, count = 0.0, self._counted() or 0.0
        for p in self._params:
            top = peek(self.optimizer.state.get(p, {})).get("max_exp_avg_sq")
            if isinstance(top, Tensor) and top.numel():
                held += float(some(top.detach()).double().mean()) * top.numel()
        norms = self.run.history.rows[-30:, 3]
        late = median(norms)
        if held > 0 and count and late > 0:
            corrected = held / (1 - self.run.settings["beta2"] ** count)
            self.note("amsgrad", float(f"{math.sqrt(corrected) / late:.3g}"))

    @staticmethod
    def transformers_callback(**options: Any) -> "TrainerCallback":
        """For ``Trainer(callbacks=[…])`` of Hugging Face: a doctor from the beginning of `train` to its end.

        The losses are those that the model computes from its labels. The callback has the doctor as ``doctor``.

        Args:
            options: of the doctor; model, optimizer, schedule, steps, loader and clipping are the Trainer's.
        """
        from adamas.torch.transformers import DoctorCallback

        return DoctorCallback(options)

    @staticmethod
    def lightning_callback(monitor: str = "val_loss", **options: Any) -> "LightningCallback":
        """For ``Trainer(callbacks=[…])`` of Lightning: a doctor from the beginning of the fit to its end.

        The callback has the doctor as ``doctor``.

        Args:
            monitor: under which name the module logs its validation loss, if it does.
            options: of the doctor; model, optimizer, schedule, steps, loader, scaler and clipping are the Trainer's.
        """
        from adamas.torch.lightning import DoctorCallback

        return DoctorCallback(monitor, options)

    def close(self) -> None:
        """The run is over: examine it once more, take the hooks away, and close the log."""
        super().close()
        self._unclipped.forget()
        self._passes.leave(self.run.count)
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._open = [], False


def under_trainer(
    model: nn.Module, optimizer: Any, known: Mapping[str, Any], given: Mapping[str, Any], first: bool
) -> Doctor:
    """A doctor with what a trainer knows and, above it, what was given; of several processes the first one tells."""
    options = {**known, **given}
    if not first:
        options |= {"log": None, "to": None, "say": None}
    return Doctor(model, optimizer, **options)
