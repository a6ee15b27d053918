"""One run of the clinic: all that it consists of is a value, from which it can be run again with something changed."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import adamas.torch
from adamas import schedules
from adamas.doctor import Finding
from adamas.doctor.treatment import ailing
from adamas.scaling import ScaleCollapse
from adamas.torch import Doctor
from benchmarks.clinic.tasks import DATA, Data, Shape, model


@dataclass(frozen=True)
class Run:
    """A training, healthy or not.

    Args:
        data: a name in `DATA`; rows: of the training part, 0 for all.
        decay: "cosine", "none", "restarts" (four cycles), "linear", "tenths" (after a half and three quarters);
            horizon: over which share of the run it goes.
        accumulate: mini-batches whose gradients are added up in a step; divided: and divided by their number.
        precision: of what the layers hand on: "float32", "bfloat16" or "float16", the last with a loss scale.
        keep_best: end with the weights that were best on the rows held back.

        scaled: the inputs times this. alone: whether each mini-batch is normalised by its own statistics.
        noise: share of the training labels that are drawn at random.
        shuffled: whether labels belong to other rows altogether. order: "random", or "sorted" by class.
        loss_factor: the loss times this. log_of_zero: at this step a probability of 0 meets a logarithm.
        spike_at: at this step the loss times 10⁴.
        frozen, left_out: the beginning of the names of parameters without gradient; without optimizer.
        resume_at: here the run begins anew from a checkpoint, with moments or without.
        evaluate_as: the mode of the model while it is judged, "eval" or "train".
        pretrain: steps taken on half of the rows before the run begins.
    """

    data: str
    shape: Shape = field(default_factory=Shape)
    steps: int = 300
    batch: int = 32
    optimizer: str = "AdamW"
    lr: float = 3e-3
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.9
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = True
    amsgrad: bool = False
    clip_grad_norm: float | None = None
    nonfinite: str = "propagate"
    warmup: int = 15
    decay: str = "cosine"
    horizon: float = 1.0
    accumulate: int = 1
    divided: bool = True
    precision: str = "float32"
    keep_best: bool = False

    rows: int = 0
    scaled: float = 1.0
    alone: bool = False
    noise: float = 0.0
    shuffled: bool = False
    order: str = "random"
    loss_factor: float = 1.0
    log_of_zero: int = -1
    spike_at: int = -1
    frozen: str = ""
    left_out: str = ""
    resume_at: int = -1
    moments: bool = True
    evaluate_as: str = "eval"
    pretrain: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Args:
        training: loss on (at most 1000 of) the training rows at the end, without dropout, infinite if not finite.
        held_back: loss on the rows held back as the run itself evaluates them.
        ignorance: loss of a guess.
        losses: of each step, as the run saw them.
        held_back_losses: the (step, loss) of each evaluation.
        stopped: step at which the loss scale had collapsed, or None.
        findings: what the doctor said by the end; empty where nobody watched.
    """

    training: float
    held_back: float
    ignorance: float
    losses: list[float]
    held_back_losses: list[tuple[int, float]]
    stopped: int | None
    findings: list[Finding]

    @property
    def warnings(self) -> list[Finding]:
        """The findings that say that something is wrong."""
        return ailing(self.findings)


def train(run: Run, seed: int, watched: bool = False) -> Outcome:
    """Train; the same run and seed give the same bits.

    Args:
        watched: by the doctor, who gets what a loop has at hand: model, optimizer, schedule, scaler, how many steps
            there will be, each batch, its loss, and the loss on the rows held back where it is evaluated.
    """
    torch.set_num_threads(1)
    torch.manual_seed(1000 + seed)
    data = _prepared(run, seed)
    net = model(run.shape, data, run.precision)
    if run.pretrain:
        _pretrain(net, data, run, seed)
    for name, p in net.named_parameters():
        p.requires_grad_(not (run.frozen and name.startswith(run.frozen)))
    opt = optimizer(net, run)
    factor = schedule(run)
    scaler = adamas.torch.GradScaler("cpu", enabled=run.precision == "float16")
    batches = _batches(data, run, seed)
    losses: list[float] = []
    held: list[tuple[int, float]] = []
    best: tuple[float, dict[str, Tensor]] | None = None
    every, stopped = max(1, run.steps // 15), None
    watchers: list[Doctor] = []

    def watch() -> None:
        if watched:
            watchers.append(Doctor(net, opt, steps=run.steps, schedule=factor, scaler=scaler))

    watch()
    for step in range(run.steps):
        if step == run.resume_at:
            saved = copy.deepcopy(opt.state_dict())
            opt = optimizer(net, run)
            if run.moments:
                opt.load_state_dict(saved)
            watch()
        for group in opt.param_groups:
            group["lr"] = run.lr * factor(step + 1)
        total, batch = 0.0, None
        for _ in range(run.accumulate):
            batch = _batch(data, next(batches), run)
            loss = _loss(net, batch, data, run, step)
            scaler.scale(loss / run.accumulate if run.divided else loss).backward()
            total += loss.item() / run.accumulate
        losses.append(total)
        try:
            scaler.step(opt)
            scaler.update()
        except ScaleCollapse:
            stopped = step
        if (step + 1) % every == 0:
            held.append((step + 1, _measure(net, data, "held back", run.evaluate_as)))
            if run.keep_best and (best is None or held[-1][1] < best[0]):
                best = held[-1][1], copy.deepcopy(net.state_dict())
        for doctor in watchers[-1:]:
            checked = {"val_loss": held[-1][1]} if held and held[-1][0] == step + 1 else {}
            doctor.observe(total, batch=batch, step=step + 1, **checked)
        opt.zero_grad()
        if stopped is not None:
            break
    for doctor in watchers:
        doctor.close()
    if best is not None:
        net.load_state_dict(best[1])
    end = _measure(net, data, "training"), _measure(net, data, "held back", run.evaluate_as)
    findings = [finding for doctor in reversed(watchers) for finding in doctor.findings]
    return Outcome(*end, data.ignorance, losses, held, stopped, findings)


def optimizer(net: nn.Module, run: Run) -> torch.optim.Optimizer:
    params = [p for name, p in net.named_parameters() if not (run.left_out and name.startswith(run.left_out))]
    options: dict[str, Any] = {"lr": run.lr, "weight_decay": run.weight_decay}
    options |= {"clip_grad_norm": run.clip_grad_norm, "nonfinite": run.nonfinite}
    if run.optimizer == "SGD":
        return adamas.torch.SGD(params, momentum=run.momentum, **options)
    if run.optimizer in ("Lion", "NAdam", "RMSprop", "Adagrad", "AdaBelief", "RAdam", "Adamax"):
        return getattr(adamas.torch, run.optimizer)(params, **options)
    options |= {"betas": run.betas, "eps": run.eps, "amsgrad": run.amsgrad}
    return adamas.torch.Adam(params, decoupled_weight_decay=run.decoupled, **options)


def schedule(run: Run) -> Callable[[int], float]:
    steps = max(1, round(run.steps * run.horizon))
    shape: Any = {
        "none": lambda: schedules.constant(),
        "cosine": lambda: schedules.cosine(steps),
        "restarts": lambda: schedules.cosine_restarts(max(1, steps // 4)),
        "linear": lambda: schedules.linear(steps),
        "tenths": lambda: schedules.multi_step((steps // 2, 3 * steps // 4)),
    }[run.decay]()
    if run.warmup:
        shape = schedules.warmup(run.warmup) * shape
    return lambda t: float(shape(t))


def _prepared(run: Run, seed: int) -> Data:
    data = DATA[run.data]()
    generator = torch.Generator().manual_seed(seed)
    x, y = data.x, data.y
    if run.rows:
        kept = torch.randperm(len(x), generator=generator)[: run.rows]
        x, y = x[kept], y[kept]
    if run.noise:
        other = torch.rand(y.shape, generator=generator) < run.noise
        y = torch.where(other, torch.randint(data.classes, y.shape, generator=generator), y)
    if run.shuffled:
        y = y[torch.randperm(len(y), generator=generator)]
    if run.order == "sorted":
        order = torch.argsort(y, stable=True)
        x, y = x[order], y[order]
    vx = data.vx
    if run.scaled != 1:
        x, vx = x * run.scaled, vx * run.scaled
    return replace(data, x=x, y=y, vx=vx)


def _batches(data: Data, run: Run, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(2000 + seed)
    rows = torch.arange(len(data.x))
    while True:
        order = rows[torch.randperm(len(rows), generator=generator)] if run.order == "random" else rows
        yield from order.split(run.batch)[: max(1, len(rows) // run.batch)]


def _distance(out: Tensor, y: Tensor, classes: int) -> Tensor:
    if classes:
        return functional.cross_entropy(out.flatten(0, -2), y.flatten())
    return functional.mse_loss(out[:, 0], y)


def _batch(data: Data, rows: Tensor, run: Run) -> tuple[Tensor, Tensor]:
    x, y = data.x[rows], data.y[rows]
    return ((x - x.mean(0)) / (x.std(0) + 1e-6) if run.alone else x), y


def _loss(net: nn.Module, batch: tuple[Tensor, Tensor], data: Data, run: Run, step: int) -> Tensor:
    x, y = batch
    out = net(x)
    if step == run.log_of_zero:
        out = torch.cat([out[:1] * 0 - 1e4 * functional.one_hot(y[:1], data.classes), out[1:]])
        return functional.nll_loss(out.softmax(-1).log(), y)
    loss = _distance(out, y, data.classes) * run.loss_factor
    return loss * 1e4 if step == run.spike_at else loss


def _measure(net: nn.Module, data: Data, which: str, mode: str = "eval") -> float:
    x, y = (data.vx, data.vy) if which == "held back" else (data.x[:1000], data.y[:1000])
    was = net.training
    net.train(mode == "train")
    with torch.no_grad():
        parts = zip(x.split(500), y.split(500), strict=True)
        loss = sum(_distance(net(xs), ys, data.classes).item() * len(xs) for xs, ys in parts) / len(x)
    net.train(was)
    return loss if math.isfinite(loss) else math.inf


def _pretrain(net: nn.Module, data: Data, run: Run, seed: int) -> None:
    """Learn half of the rows, with which a fine-tuning on all of them begins."""
    opt = adamas.torch.AdamW(net.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(3000 + seed)
    for _ in range(run.pretrain):
        rows = torch.randint(len(data.x) // 2, (64,), generator=generator)
        opt.zero_grad()
        _distance(net(data.x[rows]), data.y[rows], data.classes).backward()
        opt.step()
    opt.zero_grad()
