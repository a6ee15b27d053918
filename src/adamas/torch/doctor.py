# pyright: reportPrivateUsage=false
"""The doctor for torch: what a training shows to hooks on its model and optimizer, beside the numbers it is told."""

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, is_grad_enabled, nn
from torch.overrides import TorchFunctionMode
from torch.utils.data import SequentialSampler

from adamas import doctor
from adamas.doctor.observer import OFTEN, next_check, number, rate
from adamas.doctor.run import HELD, TENSORS, median
from adamas.errors import InputTypeError
from adamas.hyperparameters import whole
from adamas.schedules import Schedule
from adamas.state import State
from adamas.torch.batches import Inputs, Labels, first_in, tensors_in
from adamas.torch.roles import NORMS, roles

if TYPE_CHECKING:
    from adamas.torch.lightning import DoctorCallback as LightningCallback
    from adamas.torch.transformers import DoctorCallback as TrainerCallback

#: Training batches whose inputs and labels are looked at, from the first on.
BATCHES = 100

#: Steps at the beginning that are looked at closely, and after which activations are before examinations alone.
FIRST, PROBED = 5, 200

#: Validations that are listened to, and steps after which the first is no longer waited for; when it comes, the next
#: one is listened to. A hook makes a small model's forward pass a twentieth longer.
HEARD, WAITED = 2, 1000

#: Samples in none of which a unit is other than 0, for it to be dead: a unit may well be silent for a few. And units
#: of a layer from which on a share of them says something.
SILENT, UNITS = 64, 4

#: Elements of a tensor that are looked at where nothing measures the step: every so many-th of them.
ELEMENTS = 16384

_NOTHING: Mapping[str, float] = {}

_DROPS = (nn.modules.dropout._DropoutNd,)
_NORMS = (nn.modules.batchnorm._BatchNorm,)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)

#: activation -> which outputs pass no gradient on, or almost none.
_FLAT: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": lambda y: y.abs() > 0.99,
    "sigmoid": lambda y: (y - 0.5).abs() > 0.49,
}
_DEAD = ("relu", "relu_", "relu6")


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
        self._schedule = schedule
        self._own = not hasattr(optimizer, "last")  # measures nothing by itself
        self._params = [p for group in optimizer.param_groups for p in group["params"]]
        self._before: list[Tensor] | None = None  # θ before a step that is looked at
        self._row: tuple[float, ...] = (math.nan, math.nan, math.nan)  # ‖g‖, ‖Δθ‖, ‖θ‖ of the last step
        self._tensors: dict[str, Any] | None = None
        self._scale = math.nan  # of the loss, at the last step
        self._raw = math.nan
        self._raw_due = OFTEN  # steps after which ‖g‖ before clipping is looked at next
        self._raw_hooks: list[Any] = []
        self._told: Tensor | None = None  # a parameter whose gradient told that a backward pass was on its way
        self._passing = False  # whether one is
        self._mode: _Probe | None = None
        self._alive: dict[str, list[tuple[Tensor, int]]] = {}  # place -> units that were not 0, samples
        self._passes = 0  # forward passes in training, up to when the model was last listened to
        self._each = 0  # passes that a step has when nobody listens
        self._counted_from: tuple[int, int] | None = None  # passes and steps at the first observation
        self._left = 0  # steps when it was last listened to
        self._entering: Any = None  # the hook at the beginning of a pass; None while nobody listens
        self._due: float = 1  # the one that is looked at next
        self._close = True  # whether those of the next step are looked at more closely
        self._leaving: Any = None  # the hook at the end of such a pass
        self._backwards = self._evals = self._validations = 0
        self._trained_mode = ""  # what was at work in an evaluation in training mode
        self._seen = Inputs()
        self._seen_eval = Inputs()
        self._labels = Labels()
        self._looked: tuple[int, ...] = ()  # how much of them was known at the last examination
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
        self._listen()
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

    def _listen(self) -> None:
        """Look at forward passes from now on."""
        if self._entering is None:
            self._passes = self._made()
            self._entering = self.model.register_forward_pre_hook(self._enter, with_kwargs=True)

    def _leave_alone(self) -> None:
        """Do not."""
        if self._entering is not None:
            self._left = self.run.count
            self._entering.remove()
            self._entering = None

    def _made(self) -> int:
        """Forward passes in training so far."""
        return self._passes if self._entering else self._passes + self._each * (self.run.count - self._left)

    def _unheard(self) -> int:
        """Steps from here on whose passes nobody need listen to; fewer than 0: all are to be listened to."""
        count, told = self.run.count, self._validations
        if self._close or count < PROBED or (told < HEARD and (told or count < WAITED)):
            return -1
        if self._entering:
            passes, steps = self._counted_from or (0, 0)
            self._each, rest = divmod(self._passes - passes, max(1, count - steps))
            if rest:  # how many there will be is not known
                return -1
        each = max(1, self._each)
        return int(min(self._due - 1 - self._made(), HELD * each) // each)

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        if not (module.training and is_grad_enabled()):
            self._evaluates(module, args, kwargs)
            return
        self._passes += 1
        if self._passes >= self._due:
            self._looks_at(args, kwargs)
        if self._close and self._leaving is None:
            self._leaving = module.register_forward_hook(self._leave, always_call=True)
            if self._probes():
                self._mode = _Probe()
                self._mode.__enter__()

    def _looks_at(self, args: Any, kwargs: Any) -> None:
        """A training batch."""
        x = first_in(args) if args else first_in(kwargs)
        if self._seen.batches < BATCHES:
            self._seen.add(x)
        if self._passes >= self._seen.next:
            self._seen.mark(x, self._passes)
        self._due = self._passes + 1 if self._seen.batches < BATCHES else self._seen.next

    def _evaluates(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._evals += 1
        if module.training and not self._trained_mode:
            self._trained_mode = _at_work(module)
        if self._seen_eval.batches < 20:
            self._seen_eval.add(first_in(args) if args else first_in(kwargs))

    def _examines(self) -> bool:
        """Whether the run is examined after the next step."""
        return self.run.step + 1 >= self._next

    def _probes(self) -> bool:
        if not self.probe_every:
            return False
        if self.run.count >= PROBED:  # what nobody looks at is not worth its time
            return self._examines()
        return self.run.count % self.probe_every == min(2, self.probe_every - 1)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self._leaving.remove()
        self._leaving = None
        if self._mode is not None:
            self._mode.__exit__(None, None, None)
            self._probed(self._mode)
            self._mode = None
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

    def _probed(self, mode: "_Probe") -> None:
        if mode.alive:
            shares = [[place, self._dead(place, mode)] for place in mode.alive]
            self.note("dead", [pair for pair in shares if pair[1] is not None])
        if mode.saturated:
            self.note("saturated", mode.saturated)

    def _dead(self, place: str, mode: "_Probe") -> float | None:
        """The share of units that were 0 for every sample of late; None where there were too few to tell."""
        held, looked = list[tuple[Tensor, int]](), 0
        for alive, samples in [mode.alive[place], *self._alive.get(place, [])]:  # the latest first
            if looked >= SILENT or alive.shape != mode.alive[place][0].shape:
                break
            held.append((alive, samples))
            looked += samples
        self._alive[place] = held
        if looked < SILENT or len(held[0][0]) < UNITS:
            return None
        return round(1 - float(torch.stack([alive for alive, _ in held]).any(0).float().mean()), 3)

    # What an optimizer that does not measure shows.

    def _closely(self) -> bool:
        if self.run.count < 10 or self.run.count % max(10, self.every) == 0:
            return True
        return bool(self._raw_hooks) or self._examines()

    @torch.no_grad()
    def _before_step(self, *_: Any) -> None:
        self._tensors, self._row = None, (math.nan, math.nan, math.nan)
        gradients = [p.grad for p in self._params if p.grad is not None and not p.grad.is_sparse]
        if not gradients or self.run.count % self.every:
            return
        if not self._closely():
            if sum(g.numel() for g in gradients) <= 1_000_000:
                self._row = _norm(gradients), math.nan, math.nan
            return
        self._before = [_some(p.detach()).clone() for p in self._params]

    @torch.no_grad()
    def _after_step(self, *_: Any) -> None:
        before, self._before = self._before, None
        if before is None:
            return
        rows: list[list[float]] = []
        eps = self.optimizer.param_groups[0].get("eps", 0.0)
        for p, old in zip(self._params, before, strict=True):
            new = _some(p.detach())
            if p.grad is None or p.grad.is_sparse:
                rows.append([math.nan] * len(TENSORS))
                continue
            part = math.sqrt(p.numel() / max(1, new.numel()))
            g = _some(p.grad)
            row = [
                torch.linalg.vector_norm(p.grad, dtype=torch.float32),
                torch.linalg.vector_norm((new - old).float()) * part,
                torch.linalg.vector_norm(new.float()) * part,
                (g == 0).float().mean(),
                _under_eps(self.optimizer.state.get(p, {}), self.optimizer.param_groups[0], float(eps)),
            ]
            rows.append([float(value) for value in row])
        table = np.array(rows).reshape(-1, len(TENSORS))
        self._tensors = {name: table[:, i] for i, name in enumerate(TENSORS)}
        with np.errstate(over="ignore", invalid="ignore"):
            totals = np.sqrt(np.nansum(table[:, :3] ** 2, axis=0))
        self._row = float(totals[0]), float(totals[1]), float(totals[2])
        if np.isnan(table[~np.isnan(table[:, 3]), 0]).any():
            self._row = (math.inf, *self._row[1:])

    # ‖g‖ before the loop clips: hooks for one step, on the parameters themselves.

    def _watch_raw(self) -> None:
        if self.run.count >= FIRST:
            if self.run.count < self._raw_due or not self._measures():
                return
            self._raw_due = next_check(self.run.count)
        params = self._params if self._told is None else [self._told]
        self._told = None
        self._raw_hooks = [
            p.register_post_accumulate_grad_hook(self._arrived) for p in params if p.requires_grad and p.is_leaf
        ]

    def _forget_raw(self) -> None:
        for hook in self._raw_hooks:
            hook.remove()
        for p in self._params if self._raw_hooks else ():
            if not p._post_accumulate_grad_hooks:
                # An empty dict of them would be gone through in each backward pass, with Python's lock.
                p._post_accumulate_grad_hooks = None
        self._raw_hooks = []

    def _measures(self) -> bool:
        """Whether the next step tells ‖g‖ after clipping: of the one without the other nothing follows."""
        stepper = getattr(self.optimizer, "_stepper", None)
        return stepper is None or stepper.measures

    def _arrived(self, p: Tensor) -> None:
        """A gradient is there: at the end of this backward pass they all are."""
        self._told = p
        if not self._passing:
            self._passing = True
            torch.autograd.Variable._execution_engine.queue_callback(self._note_raw)  # pyright: ignore

    def _note_raw(self) -> None:
        self._passing = False
        gradients = [p.grad.detach() for p in self._params if p.grad is not None and not p.grad.is_sparse]
        if gradients:
            self._raw = _norm(gradients)

    def _take_raw(self) -> float:
        self._forget_raw()
        norm, self._raw = self._raw, math.nan
        scale = 1.0 if self.scaler is None else float(self.scaler.get_scale())
        return norm / scale

    # A step.

    def observe(self, loss: Any = None, *, batch: Any = None, grad_norm: Any = None, **others: Any) -> None:
        """Take in a step, after `optimizer.step`, or a validation, or both; see `adamas.doctor.Doctor.observe`.

        Args:
            loss: of the step's batch.
            batch: inputs and labels of the step; from the labels: whether they are in order, and what guessing has.
            grad_norm: what `clip_grad_norm_` returned.
            others: ``val_loss``, ``val_accuracy``, ``train_loss``, ``step``.
        """
        if self._calm and type(loss) is float and grad_norm is batch is None and not others:
            # The same as below, in as few words as can be.
            run, now = self.run, time.monotonic()
            if now < run.due and math.isfinite(loss):
                self._calm, self._stale = self._calm - 1, True
                run.count, run.step = run.count + 1, run.step + 1
                lr, last = rate(self.optimizer.param_groups), self._stepper.untold
                run.waiting.append((run.step, loss, lr, _NOTHING, last, now - self._begun))
                return
        if loss is not None:
            if type(loss) is not float:
                loss = number("loss", loss.detach() if isinstance(loss, Tensor) else loss)
            if batch is not None and self._labels.batches < BATCHES:
                self._labels.add(batch, self._seen)
            if self._raw_hooks:
                raw = self._take_raw()
                grad_norm = raw if grad_norm is None and raw == raw else grad_norm
        if others.get("val_loss") is not None:
            if self._evals and self._trained_mode:
                self.note("evaluated_in_train_mode", [self.run.step, self._trained_mode])
            self._evals, self._trained_mode = 0, ""
            self._validations += 1
            if self._open and self._validations < HEARD:
                self._listen()
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
            self._counted_from = self._passes, self.run.count
            self.run.take_in()
            self._look_at_count(int(others.get("step") or before + 1))
        self._backwards = self._calm = 0
        if self._open:
            self._prepare()

    def _prepare(self) -> None:
        """See to it that what is to be looked at in the next step is."""
        run = self.run
        self._close = run.count < FIRST or self._examines() or self._probes()
        if not self._raw_hooks:
            self._watch_raw()
        unheard = self._unheard()
        if unheard > 0:
            self._leave_alone()
        else:
            self._listen()
        if self._stepper and run.reads and run.count >= PROBED and not self._close and not self._raw_hooks:
            until = self._raw_due - run.count, self._next - 1 - run.step, HELD - len(run.waiting)
            self._calm = max(0, min(*until, HELD if unheard < 0 else unheard) - 1)

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
            row[3:6] = self._row
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
        if self._tensors is not None:
            self._sample(self._tensors)
        looked = self._seen.batches, self._seen.epoch, self._seen_eval.batches, self._labels.batches
        if looked != self._looked:
            self._looked = looked
            self._look_at_batches()
        self._look_at_count(self.run.step)
        self._look_at_amsgrad()

    def _look_at_batches(self) -> None:
        if self._seen.batches:
            self.note("inputs", self._seen.told())
            if self._seen.epoch > 0:
                self.note("order", {"epoch": self._seen.epoch})
        if self._seen_eval.batches:
            self.note("eval_inputs", self._seen_eval.told())
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
            value = _peek(self.optimizer.state.get(p, {})).get("step")
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
            top = _peek(self.optimizer.state.get(p, {})).get("max_exp_avg_sq")
            if isinstance(top, Tensor) and top.numel():
                held += float(_some(top.detach()).double().mean()) * top.numel()
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
        self._forget_raw()
        for hook in self._hooks if self._entering is None else (self._entering, *self._hooks):
            hook.remove()
        self._hooks, self._entering, self._open = [], None, False


def under_trainer(
    model: nn.Module, optimizer: Any, known: Mapping[str, Any], given: Mapping[str, Any], first: bool
) -> Doctor:
    """A doctor with what a trainer knows and, above it, what was given; of several processes the first one tells."""
    options = {**known, **given}
    if not first:
        options |= {"log": None, "to": None, "say": None}
    return Doctor(model, optimizer, **options)


class _Probe(TorchFunctionMode):
    """Notes which units of activations are alive, and how many outputs are saturated, in one forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[str, tuple[Tensor, int]] = {}
        self.saturated: list[list[Any]] = []
        self._calls: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if not isinstance(result, Tensor) or (name not in _DEAD and name not in _FLAT):
            return result
        self._calls[name] += 1
        y = result.detach()
        place = f"{name.rstrip('_')} number {self._calls[name]}"
        if name in _DEAD and y.ndim > 1 and y.numel():
            unit = 1 if y.ndim >= 4 else y.ndim - 1
            self.alive[place] = (y != 0).movedim(unit, 0).flatten(1).any(1), len(y)
        elif name in _FLAT and y.numel() > 64:
            self.saturated.append([place, round(float(_FLAT[name](y).float().mean()), 3)])
        return result


def _at_work(model: nn.Module) -> str:
    """What behaves otherwise in training mode."""
    found = {
        type(m).__name__
        for m in model.modules()
        if m.training and (isinstance(m, _NORMS) or (isinstance(m, _DROPS) and m.p > 0))
    }
    if any(isinstance(m, nn.MultiheadAttention) and m.training and m.dropout > 0 for m in model.modules()):
        found.add("attention's dropout")
    if any(isinstance(m, nn.RNNBase) and m.training and m.dropout > 0 for m in model.modules()):
        found.add("the recurrence's dropout")
    return ", ".join(sorted(found))


def _some(a: Tensor) -> Tensor:
    """All of a small tensor, of a large one elements at equal distances."""
    if a.numel() <= ELEMENTS:
        return a.reshape(-1)
    return a.reshape(-1)[:: a.numel() // ELEMENTS] if a.is_contiguous() else a[0].reshape(-1)


def _norm(tensors: list[Tensor]) -> float:
    """The norm of all together; infinite where it is NaN."""
    norms = torch._foreach_norm(tensors, 2, dtype=torch.float32)  # pyright: ignore[reportPrivateImportUsage]
    norm = float(torch.linalg.vector_norm(torch.stack([n.to(norms[0].device) for n in norms])))
    return norm if norm == norm else math.inf


def _peek(state: Any) -> Mapping[str, Any]:
    return state.peek() if isinstance(state, State) else state


def _under_eps(state: Mapping[str, Any], group: Mapping[str, Any], eps: float) -> float:
    """In which share of the coordinates ε outweighs √v̂."""
    v = state.get("exp_avg_sq")
    if v is None or not eps or "step" not in state:
        return math.nan
    beta2 = float(group["betas"][1])
    corrected = _some(v).float() / (1 - beta2 ** float(state["step"]))
    return float((corrected.sqrt() < eps).float().mean())
