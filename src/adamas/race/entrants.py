"""Who races: registered rules, torch optimizer classes by dotted path, either from somebody's own file; recipes."""

from dataclasses import dataclass
from importlib import import_module
from inspect import isclass
from pathlib import Path
from typing import Any

import adamas
from adamas import recipes
from adamas.errors import InputError, unknown
from adamas.problems.base import Training, need
from adamas.problems.usercode import digest, load_module

RECIPE = "recipe-"
"""What the name of a racing recipe begins with."""

RECIPES = {make.__name__: make for make in (recipes.general, recipes.transformer, recipes.vision, recipes.large_batch)}


@dataclass(frozen=True)
class Entrant:
    """One optimizer in the race.

    Args:
        name: as it was given: `adamw`, `torch.optim.Muon`, `my_rule.py:my_rule`; `recipe-general` for a recipe.
        identity: name, and for a file its digest: changes when the optimizer may have.
    """

    name: str
    identity: str

    @property
    def label(self) -> str:
        """Short enough for a table."""
        return self.name.rpartition(":")[2].rpartition(".")[2]

    @property
    def file(self) -> Path | None:
        path, colon, _ = self.name.rpartition(":")
        return Path(path) if colon else None

    @property
    def recipe(self) -> str | None:
        """The recipe's name, if it is one."""
        return self.name.removeprefix(RECIPE) if self.name.startswith(RECIPE) else None

    def load(self) -> Any:
        """The Rule instance, the torch Optimizer class, or the function that makes the recipe."""
        if self.file is not None:
            return _from_file(self.file, self.name.rpartition(":")[2])
        if self.recipe is not None:
            if self.recipe not in RECIPES:
                raise InputError(f"--recipe {self.recipe}: {unknown('recipe', self.recipe, RECIPES)}")
            return RECIPES[self.recipe]
        if "." in self.name:
            return _from_path(self.name)
        known = adamas.rules()
        if self.name not in known:
            raise unknown("optimizer", self.name, known)
        return known[self.name]


def family() -> list[str]:
    """Who races unless told otherwise: every rule but lpadam, which at its default p = 2 is Adam."""
    return [name for name in adamas.rules() if name != "lpadam"]


def enter(name: str) -> Entrant:
    """The entrant called `name`, tried out: raises InputError where there is none."""
    path, colon, _ = name.rpartition(":")
    if not colon and name.endswith(".py"):
        raise InputError(f"{name} is a file: say which of its optimizers, as {name}:my_rule.")
    if name.startswith(RECIPE):
        raise InputError(f"{name} is no optimizer by itself: a race takes it by --recipe {name.removeprefix(RECIPE)}.")
    identity = f"{name}@{digest(Path(path))}" if colon and Path(path).is_file() else name
    entrant = Entrant(name, identity)
    entrant.load()
    return entrant


def enter_recipe(name: str) -> Entrant:
    """The recipe called `name`: raises InputError where there is none."""
    entrant = Entrant(f"{RECIPE}{name}", f"{RECIPE}{name}")
    entrant.load()
    return entrant


def prepare(entrant: Entrant, training: Training, steps: int) -> recipes.Recipe:
    """The recipe for the module of a training of so many steps.

    Raises:
        InputError: where there is none, or the recipe does not take it.
    """
    option = f"--recipe {entrant.recipe}"
    if training.module is None:
        raise InputError(f"{option} needs a torch module, which this problem has not: leave it out, or race on digits.")
    try:
        return entrant.load()(training.module, steps=steps, batch_size=training.batch_size())
    except InputError as e:
        raise InputError(f"{option}: {e}") from None


def is_rule(thing: Any) -> bool:
    """Whether it is an update rule of ours (else it is a torch Optimizer class, or makes a recipe)."""
    return isinstance(thing, adamas.Rule)


def _is_torch(thing: Any) -> bool:
    optimizer: Any = need("torch.optim", "torch").Optimizer
    return isclass(thing) and issubclass(thing, optimizer) and thing is not optimizer


def _from_file(path: Path, name: str) -> Any:
    module = load_module(path)
    if not hasattr(module, name):
        offered = [n for n, v in vars(module).items() if is_rule(v) or _is_torch(v)]
        raise unknown(f"optimizer in {path}", name, offered or ["none"])
    thing = getattr(module, name)
    if not is_rule(thing) and not _is_torch(thing):
        raise InputError(
            f"{name} in {path} is of type {type(thing).__name__}: an optimizer is a function under "
            "@adamas.rule or a subclass of torch.optim.Optimizer."
        )
    return thing


def _from_path(name: str) -> Any:
    where, _, last = name.rpartition(".")
    if where.partition(".")[0] == "torch":
        need("torch", "torch")
    try:
        module = import_module(where)
    except ImportError as e:
        raise InputError(f"The optimizer {name!r} cannot be imported: {e}; check its dotted path.") from None
    if not hasattr(module, last):
        offered = [n for n, v in vars(module).items() if _is_torch(v)]
        raise unknown(f"optimizer in {where}", last, offered or ["none"])
    thing = getattr(module, last)
    if not _is_torch(thing):
        raise InputError(f"{name} is no torch optimizer: it must be a subclass of torch.optim.Optimizer.")
    return thing
