"""How a problem is trained, as something that a remedy's settings can change: by a named optimizer, or by its own."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from adamas.errors import InputError, InputTypeError
from adamas.problems.base import Problem, Training
from adamas.problems.module import ModuleProblem
from adamas.problems.usercode import blamed
from adamas.race.around import SPANNING, Around
from adamas.race.drive import Stepper, plainly
from adamas.race.entrants import Entrant, enter, is_rule
from adamas.race.snippet import looped, snippet
from adamas.recipes import Recipe
from adamas.schedules import Schedule

Changes = Mapping[str, Any]
"""Settings that are not as they were, by the names that remedies have for them, and ``steps``."""

UNCHANGED: Changes = MappingProxyType({})

NORMALISE = """\
mean, std = x.mean(0), x.std(0)  # of all training inputs; of images x.mean() and x.std()
model.register_forward_pre_hook(lambda module, given: ((given[0] - mean) / std, *given[1:]))
"""
"""The hook in front of a module that is to have its inputs normalised, as code."""

_LAMBDA = "torch.optim.lr_scheduler.LambdaLR(opt, {})"

_HYPER = ("eps", "weight_decay", "amsgrad", "decoupled", "beta2", "nonfinite")


def _hyper_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters by the names that remedies have for them.

    >>> _hyper_of({"lr": 0.1, "betas": (0.9, 0.99), "decoupled_weight_decay": True, "foreach": None})
    {'decoupled': True, 'beta2': 0.99}
    """
    found = {name: values[name] for name in _HYPER if name in values}
    if "decoupled_weight_decay" in values:
        found["decoupled"] = values["decoupled_weight_decay"]
    if isinstance(values.get("betas"), tuple | list):
        found["beta2"] = values["betas"][1]
    return found


@dataclass(frozen=True)
class Going:
    """A training under way.

    Args:
        step: to be called after each backward pass.
        optimizer: what steps it.
        factor: the schedule, as far as it can be asked ahead.
        clip: what the loop itself clips to, or None.
    """

    step: Callable[[], None]
    optimizer: Any
    factor: Any
    clip: float | None


class Way(ABC):
    """How a problem is trained.

    Attributes:
        entrant: the optimizer by its name; None where the problem has its own.
        label: of the optimizer.
        front: whose arrays the parameters are.
        lr: η, as it is without changes.
        around: what is done around the steps, likewise.
    """

    entrant: Entrant | None
    front: str
    label: str
    lr: float
    around: Around
    _had: Mapping[str, Any]  # the optimizer's hyperparameters, of those in `_HYPER` that it has
    _clips: float | None = None  # what the optimizer itself clips to: then another limit of the loop's changes nothing

    @abstractmethod
    def begin(self, training: Training, changes: Changes, steps: int) -> Going:
        """An optimizer for a fresh training."""

    def code(self, changes: Changes, steps: int) -> str:
        """Python that does the same in a loop of one's own."""
        imports, _, rest = self._code_of(changes, steps).partition("\n\n")
        return f"{imports}\n\n{NORMALISE if 'normalise' in changes else ''}{rest}"

    @abstractmethod
    def _code_of(self, changes: Changes, steps: int) -> str:
        """All of it but the inputs."""

    @abstractmethod
    def blamed(self) -> AbstractContextManager[None]:
        """Within it, errors of the optimizer are one sentence."""

    @property
    def scheduled(self) -> str | None:
        """The schedule in words; None for a constant η."""
        return self.around.schedule

    @property
    def before(self) -> dict[str, Any]:
        """The value of everything that can be changed, as it is without; of groups that of the first."""
        around = self.around
        return {
            **self._had,
            "lr": self.lr,
            **({"clip_grad_norm": around.clip} if self._clips is None else {}),
            "warmup": around.warmup,
            "schedule": self.scheduled or "constant",
            **({"normalise": False} if self.front == "torch" else {}),
        }

    def changed(self, changes: Changes, settings: Mapping[str, Any]) -> Changes:
        """The changes with those of a remedy, or the same where they are nothing of an optimizer's or a loop's."""
        now, new = {**self.before, **changes}, dict[str, Any]()
        for name, value in settings.items():
            if name == "stop_at":
                new["steps"] = int(value)
            elif name == "schedule_steps":  # those with a name are as long as the run
                if now["schedule"] not in SPANNING:
                    new.setdefault("schedule", "cosine")
            elif name in self.before:
                new[name] = value
        if "schedule" in new and "warmup" not in changes and "warmup" not in new:
            new |= self._rise()
        if "warmup" in new and self._foreign and "schedule" not in changes:
            new.setdefault("schedule", "cosine")
        return {**changes, **{name: value for name, value in new.items() if now.get(name) != value}}

    @property
    def _foreign(self) -> bool:
        """Whether there is a schedule that a warm-up cannot be put in front of."""
        return self.around.schedule is not None and self.around.schedule not in SPANNING

    def _rise(self) -> dict[str, int]:
        """The warm-up of a schedule that is to be replaced."""
        factor = self.around.factor(1000) if self._foreign else None
        if factor is None:
            return {}
        values = np.asarray(factor(np.arange(1000)))
        length = int(values.argmax()) + 1
        return {"warmup": length} if 1 < length < 1000 and values[0] < 0.9 * values.max() else {}

    def round_about(self, changes: Changes) -> Around:
        """What is done around the steps, with the changes."""
        around = self.around
        for name, own in (("schedule", "schedule"), ("warmup", "warmup"), ("clip_grad_norm", "clip")):
            if name in changes:
                around = replace(around, **{own: changes[name]})
        return around


class Named(Way):
    """By an optimizer that is called by its name."""

    def __init__(self, name: str, problem: Problem, lr: float | None, around: Around) -> None:
        self.entrant, self.around, self._problem, self.front = enter(name), around, problem, problem.front
        self.label = self.entrant.label
        thing = self.entrant.load()
        defaults: Mapping[str, Any] = (
            thing.defaults if is_rule(thing) else {k: p.default for k, p in signature(thing).parameters.items()}
        )
        self._rule, self._betas = is_rule(thing), defaults.get("betas", (0.0, 0.0))
        self._had = _hyper_of({**defaults, "nonfinite": "propagate"} if self._rule else defaults)
        given = defaults.get("lr")
        if lr is None and not isinstance(given, float | int):
            raise InputError(f"{name} has no learning rate of its own: give --lr.")
        self.lr = float(lr if lr is not None else given)  # pyright: ignore[reportArgumentType]
        self._decoupled = "decoupled" if self._rule and problem.front == "numpy" else "decoupled_weight_decay"

    def _hyper(self, changes: Changes) -> dict[str, Any]:
        hyper: dict[str, Any] = {}
        for name in _HYPER:
            if name not in changes:
                continue
            if name == "beta2":
                hyper["betas"] = (self._betas[0], changes[name])
            else:
                hyper[self._decoupled if name == "decoupled" else name] = changes[name]
        return hyper

    def begin(self, training: Training, changes: Changes, steps: int) -> Going:
        assert self.entrant is not None
        around = self.round_about(changes)
        stepper = Stepper(
            self.entrant, self._problem, training, changes.get("lr", self.lr), around, steps, self._hyper(changes)
        )
        if len(stepper.optimizers) > 1:
            raise InputError(
                f"{self.entrant.name} is two optimizers here, of which a doctor watches one: give another."
            )
        return Going(stepper.step, stepper.optimizers[0], around.factor(steps), None if self._rule else around.clip)

    def _code_of(self, changes: Changes, steps: int) -> str:
        assert self.entrant is not None
        lr, front, hyper = changes.get("lr", self.lr), self._problem.front, self._hyper(changes)
        return snippet(self.entrant, lr, front, self.round_about(changes), steps, self._problem.measure, hyper)

    def blamed(self) -> AbstractContextManager[None]:
        assert self.entrant is not None
        return plainly(self.entrant)


class Own(Way):
    """By the optimizer, the schedule and the clipping that the problem's file defines, as `adamas check` takes them."""

    entrant, front = None, "torch"

    def __init__(self, problem: ModuleProblem) -> None:
        self._path: Path = problem.path
        self._code = problem.code
        if getattr(self._code, "scaler", None) is not None:
            raise InputError(
                f"{self._path} trains with a scaler, which --fix does not: give --optimizer to train it without, or "
                "have its own loop watched by adamas.torch.Doctor."
            )
        self._decays = False  # some groups and perhaps not all
        optimizer, schedule, recipe = self._made(problem.begin(0))
        groups = optimizer.param_groups
        self._had = _hyper_of(groups[0])
        self._recipe = recipe is not None
        self.label, self.lr = type(optimizer).__name__, max(float(group["lr"]) for group in groups)
        if not 0 < self.lr < math.inf:
            raise InputError(f"{self._path}: the optimizer has lr = {self.lr:g}: it must be a finite number above 0.")
        self._decays = any(group.get("weight_decay") for group in groups)
        self._alike = len({float(group["lr"]) for group in groups}) == 1
        self._clips = getattr(getattr(getattr(optimizer, "_stepper", None), "tail", None), "clip_grad_norm", None)
        factor = schedule if recipe is None else recipe.factor
        self.around = Around(
            schedule=repr(factor) if isinstance(factor, Schedule) else None,
            clip=getattr(self._code, "clip_grad_norm", None),
        )
        self._schedule = None if isinstance(factor, Schedule) else schedule
        self._function = not hasattr(schedule, "step")  # of the step

    @property
    def scheduled(self) -> str | None:
        return self.around.schedule if self._schedule is None else _named(self._schedule)

    @property
    def _foreign(self) -> bool:
        return self._schedule is not None or super()._foreign

    def _made(self, training: Training, changes: Changes = UNCHANGED) -> tuple[Any, Any, Recipe | None]:
        """Optimizer and schedule as the file makes them, with the changes; and the recipe, if it is one."""
        import torch

        with self.blamed():
            made = self._code.optimizer(training.module)
        recipe = made if isinstance(made, Recipe) else None
        optimizer = made if recipe is None else recipe.optimizer
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise InputTypeError(
                f"{self._path}: optimizer() returned {type(made).__name__}: it must be a torch optimizer or a recipe."
            )
        for group in optimizer.param_groups:  # what a recipe has begun to schedule
            group["lr"] = group.pop("initial_lr", group["lr"])
        self._change(optimizer, changes)
        if recipe is not None or not hasattr(self._code, "schedule"):
            return optimizer, None, recipe
        with self.blamed():
            return optimizer, self._code.schedule(optimizer), None

    def _change(self, optimizer: Any, changes: Changes) -> None:
        if "lr" in changes:
            for group in optimizer.param_groups:
                group["lr"] *= changes["lr"] / self.lr
        for group in optimizer.param_groups:
            group |= self._entries(changes)
            if "weight_decay" in changes and (group["weight_decay"] or not self._decays):
                group["weight_decay"] = changes["weight_decay"]
            if "beta2" in changes:
                group["betas"] = (group["betas"][0], changes["beta2"])

    @staticmethod
    def _entries(changes: Changes) -> dict[str, Any]:
        """What is the same in all groups."""
        names = {"eps": "eps", "amsgrad": "amsgrad", "decoupled": "decoupled_weight_decay"}
        return {own: changes[name] for name, own in names.items() if name in changes}

    def begin(self, training: Training, changes: Changes, steps: int) -> Going:
        import torch

        from adamas.torch import schedule

        optimizer, scheduler, _ = self._made(training, changes)
        around = self.round_about(changes)
        factor = around.factor(steps)
        if factor is not None:
            scheduler = schedule(optimizer, factor)
        elif scheduler is not None and self._function:
            scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, scheduler)
        moved = [p for group in optimizer.param_groups for p in group["params"]]

        def step() -> None:
            if around.clip is not None:
                torch.nn.utils.clip_grad_norm_(moved, around.clip)
            optimizer.step()
            if scheduler is not None:
                scheduler.step()

        return Going(step, optimizer, factor if factor is not None else scheduler, around.clip)

    def _code_of(self, changes: Changes, steps: int) -> str:
        """The file's functions are called, and what they made is changed."""
        around = self.round_about(changes)
        whole = self._recipe and not {"lr", "schedule", "warmup"} & set(changes)  # its schedule goes on as it is
        keeps = self._schedule is not None and around.factor(steps) is None
        imports = "import torch\n" if keeps and self._function else ""
        head = f"{imports}from {self._path.stem} import optimizer{', schedule' if keeps else ''}\n\n"
        if whole:
            head += "recipe = optimizer(model)\nopt, scheduler = recipe.optimizer, recipe.schedule\n"
            around = replace(around, schedule=None)
        else:
            head += f"opt = optimizer(model){'.optimizer' if self._recipe else ''}\n"
        lines: list[str] = []
        if "lr" in changes or (self._recipe and not whole):
            lr = changes.get("lr", self.lr)
            lines.append(f'group["lr"] = {lr:g}' if self._alike else f'group["lr"] *= {lr:g} / {self.lr:g}')
        lines += [f'group["{own}"] = {value!r}' for own, value in self._entries(changes).items()]
        if "weight_decay" in changes:
            where = ' if group["weight_decay"] else 0.0' if self._decays else ""
            lines.append(f'group["weight_decay"] = {changes["weight_decay"]!r}{where}')
        if "beta2" in changes:
            lines.append(f'group["betas"] = (group["betas"][0], {changes["beta2"]!r})')
        if lines:
            head += "for group in opt.param_groups:\n" + "".join(f"    {line}\n" for line in lines)
        if keeps:
            head += f"scheduler = {_LAMBDA.format('schedule(opt)') if self._function else 'schedule(opt)'}\n"
        return looped(head, around, steps, scheduled=keeps or whole)

    def blamed(self) -> AbstractContextManager[None]:
        return blamed(self._path, "optimizer()")


def _named(schedule: Any) -> str:
    return str(getattr(schedule, "__name__", type(schedule).__name__))


def way(problem: Problem, optimizer: str | None, lr: float | None, around: Around) -> Way:
    """How the problem is to be trained.

    Args:
        optimizer: a name; None for the problem's own, or else adamw.
        lr: η; None for the optimizer's own.

    Raises:
        InputError: in one sentence, for what cannot be.
    """
    if lr is not None and not 0 < lr < math.inf:
        raise InputError(f"--lr {lr:g} is no learning rate: give a finite number above 0.")
    own = isinstance(problem, ModuleProblem) and problem.front == "torch" and hasattr(problem.code, "optimizer")
    if optimizer is None and own:
        given = [f"--{name}" for name in ("schedule", "warmup", "clip") if getattr(around, name) is not None]
        given += [] if lr is None else ["--lr"]
        if given:
            raise InputError(
                f"{problem.name} has an optimizer() of its own, which {' and '.join(given)} "
                f"{'do' if len(given) > 1 else 'does'} not go with: change it there, or give --optimizer too."
            )
        assert isinstance(problem, ModuleProblem)
        return Own(problem)
    return Named(optimizer or "adamw", problem, lr, around)
