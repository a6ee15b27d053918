"""Look at a training without starting it: a few batches through a copy of the model, and a trial on one of them."""

import copy
import math
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau
from torch.overrides import TorchFunctionMode

from adamas.errors import InputError, InputTypeError, in_one_line
from adamas.torch.checks.setup import Setup
from adamas.torch.roles import Role, roles
from adamas.torch.scheduler import Scheduler

BATCHES = 8
"""That are looked at, or fewer if `PATIENCE` runs out."""

TRIAL = 50
"""Steps of the trial on one batch, or fewer, but no fewer than `FEW`."""

FEW = 10

PATIENCE = 3.0
"""Seconds for each part of the work."""

#: The tail of torch.nn.functional that compares outputs with labels: name -> kind.
CRITERIA = {
    "cross_entropy": "classes",
    "nll_loss": "classes",
    "binary_cross_entropy": "binary",
    "binary_cross_entropy_with_logits": "binary",
    "mse_loss": "numbers",
    "l1_loss": "numbers",
    "smooth_l1_loss": "numbers",
    "huber_loss": "numbers",
}

#: activation -> when a unit of it passes no gradient on.
_DEAD: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": lambda y: y == 0,
    "relu_": lambda y: y == 0,
    "relu6": lambda y: (y == 0) | (y == 6),
    "tanh": lambda y: y.abs() > 0.99,
    "sigmoid": lambda y: (y - 0.5).abs() > 0.495,
}


@dataclass(frozen=True, eq=False)
class Comparison:
    """A call that compared outputs with labels.

    Attributes:
        function: its name in torch.nn.functional.
        kind: "classes", "binary" or "numbers".
        classes: K; 2 for "binary", 0 for "numbers".
        output, target: shapes.
        labels: the labels that count, flat; class probabilities as the most probable class.
        wrong: how many labels cannot be.
        weighted: whether classes have weights.
        scale: what the outputs of a classification look like: "probabilities", "log-probabilities" or "logits".
        loss: mean over the labels; None if it raised.
    """

    function: str
    kind: str
    classes: int
    output: tuple[int, ...]
    target: tuple[int, ...]
    labels: Tensor
    wrong: int
    weighted: bool
    scale: str
    loss: float | None


@dataclass(eq=False)
class Pass:
    """What one batch did."""

    inputs: list[Tensor] = field(default_factory=list[Tensor])
    comparisons: list[Comparison] = field(default_factory=list[Comparison])
    alive: list[tuple[str, Tensor]] = field(default_factory=list[tuple[str, Tensor]])
    dtypes: set[torch.dtype] = field(default_factory=set[torch.dtype])
    called: bool = False
    loss: float = math.nan
    norm: float = math.nan


@dataclass(frozen=True)
class Trial:
    """Steps on one and the same batch.

    Attributes:
        losses: before each step, and after the last.
        ratios: ‖Δθ‖/‖θ‖ of the first step, of each weight that was not 0.
        reached: names of the parameters whose gradient was ever other than 0.
    """

    losses: tuple[float, ...]
    ratios: tuple[float, ...]
    reached: frozenset[str]

    @property
    def left(self) -> float:
        """Which part of the loss is left; infinite if it has become NaN."""
        ratio = min(self.losses[-3:]) / self.losses[0] if self.losses[0] else 0.0
        return ratio if math.isfinite(self.losses[-1]) and ratio >= 0 else math.inf


@dataclass(frozen=True)
class Rates:
    """η over the run, the largest of all groups.

    Attributes:
        steps: those at which it is known, from 1 on.
        values: η there.
        whole: whether they reach to the end of the run.
        peaks: of each group.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]
    whole: bool
    peaks: tuple[float, ...]

    @property
    def peak(self) -> float:
        return max(self.values)

    @property
    def warmup(self) -> int:
        """Steps until η has come to its peak; 0 if it begins there."""
        at = next(step for step, value in zip(self.steps, self.values, strict=True) if value == self.peak)
        return 0 if self.values[0] >= 0.9 * self.peak else at


@dataclass(frozen=True, eq=False)
class Seen:
    """Everything that the checks judge by.

    Attributes:
        passes: what each batch did.
        broken: whether the loss raised at labels that cannot be; then there is nothing after it.
        roles: of the model's parameters.
        gradients: first name -> whether there was any: "none", "zero", "not finite", "some".
        repeats: whether a second epoch begins with the same batch; None if an epoch is one batch.
        rates: None if there is no optimizer, or nothing says how η goes.
        own: a trial with the optimizer, at its largest η.
        reference: trials with Adam, η -> trial; only made where the own one was in vain.
        metric: what validation returned or raised; None if there is no validation.
    """

    setup: Setup
    passes: list[Pass]
    broken: bool
    roles: list[Role]
    gradients: Mapping[str, str]
    repeats: bool | None
    rates: Rates | None = None
    own: Trial | None = None
    reference: Mapping[float, Trial] = field(default_factory=dict[float, Trial])
    metric: Any = None

    @property
    def comparisons(self) -> list[list[Comparison]]:
        """Those of all batches, by their place in the loss."""
        longest = max((len(p.comparisons) for p in self.passes), default=0)
        return [[p.comparisons[i] for p in self.passes if i < len(p.comparisons)] for i in range(longest)]


class _Spy(TorchFunctionMode):
    """Notes what the functions of torch are given, and what they give."""

    def __init__(self, seen: Pass) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        noted = len(self.seen.comparisons)
        if name in CRITERIA and len(args) + len(kwargs) >= 2:
            self._compare(name, args, kwargs, None)  # noted now, since it may raise
        result = func(*args, **kwargs)
        if isinstance(result, Tensor) and result.is_floating_point():
            self.seen.dtypes.add(result.dtype)
            if name in CRITERIA and len(self.seen.comparisons) > noted:
                del self.seen.comparisons[noted:]
                self._compare(name, args, kwargs, result)
            if name in _DEAD and result.ndim > 1 and len(result) > 1:
                dead = _DEAD[name](result.detach())
                axes = [axis for axis in range(dead.ndim) if axis != _channel(dead)]
                self.seen.alive.append((name.rstrip("_"), ~dead.all(dim=axes)))
        return result

    def _compare(self, name: str, args: Any, kwargs: Any, result: Tensor | None) -> None:
        output, target = (*args, *(kwargs[k] for k in ("input", "target") if k in kwargs))[:2]
        if not (isinstance(output, Tensor) and isinstance(target, Tensor)):
            return
        kind = CRITERIA[name]
        labels, given = target.detach(), kwargs.get("weight", args[2] if len(args) > 2 else None)
        weighted = isinstance(given, Tensor) or isinstance(kwargs.get("pos_weight"), Tensor)
        classes = 2 if kind == "binary" else 0
        if kind == "classes":
            classes = output.shape[1] if output.ndim > 1 else output.shape[0]
            if labels.is_floating_point():
                labels = labels.argmax(1 if output.ndim > 1 else 0)
            labels = labels.flatten()
            labels = labels[labels != kwargs.get("ignore_index", -100)]
            wrong = (labels < 0) | (labels >= classes)
        else:
            labels = labels.flatten()
            wrong = (labels < 0) | (labels > 1) if kind == "binary" else ~torch.isfinite(labels)
            wrong = wrong | ~torch.isfinite(labels)
        loss = None
        if result is not None:
            total = kwargs.get("reduction") == "sum"
            loss = float(
                result.detach().double().sum() / max(1, len(labels)) if total else result.detach().double().mean()
            )
        self.seen.comparisons.append(
            Comparison(
                name,
                kind,
                classes,
                tuple(output.shape),
                tuple(target.shape),
                labels.cpu(),
                int(wrong.sum()),
                weighted,
                _scale(kind, output.detach()),
                loss,
            )
        )


def _scale(kind: str, outputs: Tensor) -> str:
    """What outputs look like."""
    if kind == "numbers" or outputs.ndim < 2 or not len(outputs):
        return "logits"
    a = outputs.double()
    ones = a.new_ones(())
    if kind == "binary":
        return "probabilities" if a.numel() >= 16 and bool(((a >= 0) & (a <= 1)).all()) else "logits"
    if bool((a >= 0).all()) and torch.allclose(a.sum(1), ones, atol=1e-2):
        return "probabilities"
    return "log-probabilities" if torch.allclose(a.exp().sum(1), ones, atol=1e-2) else "logits"


def _channel(a: Tensor) -> int:
    """The axis of units: features come last, the channels of images second."""
    return 1 if a.ndim >= 4 else a.ndim - 1


@contextmanager
def _watching(model: nn.Module, seen: Pass) -> Generator[None]:
    own = set(map(id, model.modules()))

    def note(module: nn.Module, args: Any) -> None:
        if not seen.called and id(module) in own:
            seen.called = True
            seen.inputs.extend(a.detach() for a in _tensors(args))

    handle = register_module_forward_pre_hook(note)
    try:
        with _Spy(seen):
            yield
    finally:
        handle.remove()


def _tensors(thing: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dicts."""
    if isinstance(thing, Tensor):
        return [thing]
    if isinstance(thing, Mapping):
        return _tensors(list(cast(Mapping[Any, Any], thing).values()))
    if isinstance(thing, tuple | list):
        return [tensor for part in cast(Sequence[Any], thing) for tensor in _tensors(part)]
    return []


def copied(*things: Any) -> Any:
    """A copy of all, with what they have in common in common.

    Raises:
        InputError: where something cannot be copied.
    """
    try:
        made = copy.deepcopy(things)
        for thing in made:
            if isinstance(thing, torch.optim.LBFGS):  # whose copy forgets what it steps
                vars(thing).update(_params=thing.param_groups[0]["params"], _numel_cache=None)
        return made
    except Exception as error:  # whatever a model's own __deepcopy__ raises
        raise InputError(
            f"The model or its optimizer cannot be copied ({type(error).__name__}: {in_one_line(error)}), and a check "
            "is made on a copy: give a fresh one, not yet wrapped."
        ) from error


def scalar(loss: Any) -> Tensor:
    """The loss, if it is one that can be trained by.

    Raises:
        InputError: in one sentence, what it is instead.
    """
    if not isinstance(loss, Tensor):
        raise InputTypeError(f"The loss is a {type(loss).__name__}: it must be a scalar tensor.")
    if loss.numel() != 1:
        raise InputError(f"The loss has shape {tuple(loss.shape)}: it must be a scalar; end it with .mean().")
    if not loss.requires_grad:
        raise InputError(
            "The loss does not depend on the model's parameters: look for .detach(), .item(), argmax or no_grad on the "
            "way to it."
        )
    return loss


def observe(setup: Setup) -> Seen:
    """Look at everything; the model and the optimizer themselves are not used, but for copies.

    Raises:
        InputError: where there is nothing to look at.
    """
    batches, repeats = _take(setup.batches())
    known = roles(setup.model)
    passes, gradients, broken = _passes(setup, batches, known)
    rates = _rates(setup)
    if broken:
        return Seen(setup, passes, True, known, gradients, repeats, rates)
    own, reference = None, dict[float, Trial]()
    if setup.optimizer is not None and math.isfinite(passes[0].loss):
        own = _trial(setup, batches[0], lambda model, optimizer: _peaked(optimizer, rates))
    if math.isfinite(passes[0].loss) and (own is None or not own.left <= 0.5):
        for lr in (1e-3, 1e-2):
            reference[lr] = _trial(setup, batches[0], lambda m, _, lr=lr: torch.optim.Adam(m.parameters(), lr=lr))
            if reference[lr].left <= 0.5:
                break
    return Seen(setup, passes, False, known, gradients, repeats, rates, own, reference, _metric(setup))


def _take(epoch: Iterable[Any]) -> tuple[list[Any], bool | None]:
    """Some batches, and whether a second epoch begins as the first did."""
    begun = time.monotonic()
    batches: list[Any] = []
    for batch in islice(epoch, BATCHES):
        batches.append(batch)
        if time.monotonic() - begun > PATIENCE:
            break
    if not batches:
        raise InputError("The data gave no batch: there is nothing to train on.")
    if len(batches) == 1:
        return batches, None
    again = next(iter(epoch))
    pairs = list(zip(_tensors(batches[0]), _tensors(again), strict=False))
    return batches, bool(pairs) and all(a.shape == b.shape and a.equal(b) for a, b in pairs)


def _passes(setup: Setup, batches: list[Any], known: list[Role]) -> tuple[list[Pass], dict[str, str], bool]:
    """Each batch through one copy of the model."""
    (model,) = copied(setup.model)
    mine = dict(model.named_parameters(remove_duplicate=False))
    gradients = dict.fromkeys((role.names[0] for role in known), "none")
    begun, passes = time.monotonic(), list[Pass]()
    for batch in batches:
        seen = Pass()
        passes.append(seen)
        try:
            with _watching(model, seen), torch.enable_grad():
                loss = setup.loss(model, batch)
        except Exception:  # the user's own code: a loss that refuses what a check is about to name
            if any(c.wrong for c in seen.comparisons):
                return passes, gradients, True
            raise
        loss = scalar(loss)
        model.zero_grad()
        loss.backward()
        seen.loss = loss.item()
        _note_gradients(mine, gradients, seen)
        if not seen.called and all(kind == "none" for kind in gradients.values()):
            raise InputError("The loss does not use the model that it is given: it must call its first argument.")
        if time.monotonic() - begun > PATIENCE:
            break
    if all(kind == "none" for kind in gradients.values()):
        raise InputError("The loss does not depend on the model's parameters: none of them gets a gradient.")
    return passes, gradients, False


_ORDER = ("none", "zero", "some", "not finite")


def _note_gradients(mine: Mapping[str, Tensor], gradients: dict[str, str], seen: Pass) -> None:
    squares = 0.0
    for name, before in gradients.items():
        grad = mine[name].grad
        if grad is not None:
            grad = grad.coalesce().values() if grad.is_sparse else grad
            square = float(grad.detach().abs().double().square().sum())
            squares += square
            now = "not finite" if not math.isfinite(square) else "some" if square else "zero"
            gradients[name] = max(before, now, key=_ORDER.index)
    seen.norm = math.sqrt(squares)


def _peaked(optimizer: torch.optim.Optimizer | None, rates: Rates | None) -> torch.optim.Optimizer:
    assert optimizer is not None
    for group, peak in zip(optimizer.param_groups, rates.peaks if rates else (), strict=False):
        group["lr"] = peak
    return optimizer


def _trial(
    setup: Setup,
    batch: Any,
    choose: Callable[[nn.Module, torch.optim.Optimizer | None], torch.optim.Optimizer],
) -> Trial:
    """Train a copy on one batch, with the same dropout at each step."""
    model, optimizer = copied(setup.model, setup.optimizer)
    optimizer = choose(model, optimizer)
    weights = {r.names[0]: model.get_parameter(r.names[0]) for r in roles(model)}
    before = {name: p.detach().clone() for name, p in weights.items()}
    reached, ratios, losses = set[str](), list[float](), list[float]()
    state = torch.get_rng_state()

    def closure() -> Tensor:
        torch.set_rng_state(state)
        optimizer.zero_grad()
        with torch.enable_grad():
            loss = scalar(setup.loss(model, batch))
        loss.backward()
        reached.update(n for n, p in weights.items() if p.grad is not None and n not in reached and _any(p.grad))
        if setup.clip_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), setup.clip_grad_norm)
        return loss

    begun = time.monotonic()
    for step in range(TRIAL):
        losses.append(float(cast(Any, optimizer).step(closure)))
        if step == 0:
            kinds = {role.names[0]: role.kind for role in roles(model)}
            ratios = [
                float((p.detach() - before[n]).norm() / before[n].norm())
                for n, p in weights.items()
                if kinds[n] == "weight" and before[n].any()
            ]
            before = {}
        if not math.isfinite(losses[-1]) or (step >= FEW and time.monotonic() - begun > PATIENCE):
            break
    losses.append(float(closure()))
    return Trial(tuple(losses), tuple(ratios), frozenset(reached))


def _any(grad: Tensor) -> bool:
    return bool((grad.coalesce().values() if grad.is_sparse else grad).any())


def _rates(setup: Setup) -> Rates | None:
    """η at each step of the run; at as many as can be had in time."""
    if setup.optimizer is None or not all("lr" in group for group in setup.groups):
        return None
    now = tuple(float(group["lr"]) for group in setup.groups)
    if setup.schedule is None or setup.steps is None or isinstance(setup.schedule, ReduceLROnPlateau):
        return Rates((1,), (max(now),), setup.schedule is None, now)
    memo: dict[int, Any] = {id(p): p for group in setup.groups for p in group["params"]}
    memo |= {id(s): {} for s in setup.optimizer.state.values()}
    schedule: Any = setup.schedule
    optimizer = copy.deepcopy(setup.optimizer, memo)
    schedule = copy.deepcopy(schedule, memo) if isinstance(schedule, LRScheduler) else setup.scheduled(optimizer)
    if schedule is None or schedule.optimizer is not optimizer:
        return Rates((1,), (max(now),), False, now)
    rows = [tuple(float(group["lr"]) for group in optimizer.param_groups)]
    begun, steps = time.monotonic(), [1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch misses the steps of the optimizer
        for step in range(2, setup.steps + 1):
            if step % 1000 == 0 and time.monotonic() - begun > PATIENCE / 3:
                break
            try:
                schedule.step()
            except ValueError:  # OneCycleLR, beyond its end
                break
            steps.append(step)
            rows.append(tuple(float(group["lr"]) for group in optimizer.param_groups))
    if steps[-1] < setup.steps and isinstance(schedule, LambdaLR | Scheduler):
        first = schedule.last_epoch - len(steps) + 1
        steps = [round(1 + i * (setup.steps - 1) / 2000) for i in range(2001)]
        factors = schedule.lr_lambdas if isinstance(schedule, LambdaLR) else schedule.schedules
        if len(factors) == 1:
            factors = factors * len(rows[0])
        pairs = list(zip(schedule.base_lrs, factors, strict=True))
        rows = [tuple(float(base) * f(first + step - 1) for base, f in pairs) for step in steps]
    peaks = tuple(max(column) for column in zip(*rows, strict=True))
    return Rates(tuple(steps), tuple(max(row) for row in rows), steps[-1] == setup.steps, peaks)


def _metric(setup: Setup) -> Any:
    if setup.validate is None:
        return None
    (model,) = copied(setup.model)
    model.eval()
    try:
        with torch.no_grad():
            value = setup.validate(model)
    except Exception as error:  # the user's own code: that it raises is the finding
        return error
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
