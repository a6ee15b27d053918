"""The lines that put the winner into somebody's own training loop."""

import math
import re
from collections.abc import Mapping
from inspect import signature
from types import MappingProxyType
from typing import Any, Literal, cast

from adamas.problems.base import Measure
from adamas.race.around import PLAIN, Around
from adamas.race.drive import LOOKS, can_switch
from adamas.race.entrants import Entrant, is_rule
from adamas.recipes import Recipe
from adamas.registry import Rule
from adamas.schedules import Schedule
from adamas.schedules.reading import from_plain
from adamas.schedules.shape import NAMES

_MUON = """\
import torch

matrices = [p for p in model.parameters() if p.ndim == 2]
others = [p for p in model.parameters() if p.ndim != 2]
opts = [torch.optim.Muon(matrices, lr={lr:g}), torch.optim.AdamW(others, lr={lr:g})]
"""


def snippet(
    entrant: Entrant,
    lr: float,
    front: Literal["numpy", "torch"],
    around: Around = PLAIN,
    steps: int = 1,
    measure: Measure | None = None,
    hyper: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """Python for a loop in torch or NumPy, as the problem was; a torch optimizer always gets a torch loop.

    Args:
        around: what the race did around the steps; the loop does the same.
        steps: length of a full trial.
        measure: of the problem; needed where `around` looks at it.
        hyper: other hyperparameters of the optimizer.
    """
    thing = entrant.load()
    others = "".join(f", {name}={value!r}" for name, value in hyper.items())
    loop = _Loop(around, steps, measure)
    if loop.factor is not None and loop.factor.moves_momentum and not _has_momentum(thing):
        loop.factor = _still(loop.factor)
    if not is_rule(thing):
        if entrant.name == "torch.optim.Muon":
            return loop.torch(_MUON.format(lr=lr), many=True, clip=around.clip)
        if entrant.file is not None:
            imports, make = f"from {entrant.file.stem} import {entrant.label}", entrant.label
        else:
            imports, make = f"import {entrant.name.rpartition('.')[0]}", entrant.name
        return loop.torch(f"{imports}\n\nopt = {make}(model.parameters(), lr={lr:g}{others})\n", clip=around.clip)
    imports, rule = f"from adamas.{front} import optimizer", repr(entrant.name).replace("'", '"')
    if entrant.file is not None:
        imports, rule = f"{imports}\nfrom {entrant.file.stem} import {entrant.label}", entrant.label
    options = others + loop.options(thing)
    if front == "torch":
        return loop.torch(f"{imports}\n\nopt = optimizer({rule})(model.parameters(), lr={lr:g}{options})\n")
    rate = f"{lr:g}" if loop.factor is None else repr(lr * loop.factor)
    return loop.numpy(
        f"{imports}\n\nopt = optimizer({rule})(params, lr={rate}{options})  # an array, a list or a dict of arrays\n"
    )


def recipe_snippet(recipe: Recipe, lr: float, around: Around, steps: int, measure: Measure) -> str:
    """Python for a loop with a recipe at another η; its schedule and clipping are its own."""
    loop = _Loop(Around(stop_early=around.stop_early), steps, measure)
    code = recipe.code(lr).replace("optimizer =", "opt =").replace("schedule(optimizer,", "schedule(opt,")
    return loop.torch(f"{code}\n", scheduled=True)


def looped(head: str, around: Around, steps: int, *, scheduled: bool) -> str:
    """Python for a torch loop after `head`, which makes `opt`, and its scheduler where it is `scheduled`."""
    return _Loop(around, steps, None).torch(head, scheduled=scheduled, clip=around.clip)


def _has_momentum(thing: Any) -> bool:
    names = thing.defaults if is_rule(thing) else signature(thing).parameters
    return "betas" in names or "momentum" in names


def _still(factor: Schedule) -> Schedule:
    """The same, leaving β₁ alone: elsewhere than in a race a schedule that cannot move it is refused."""

    def walked(plain: Any) -> Any:
        if isinstance(plain, list):
            return [walked(part) for part in cast(list[Any], plain)]
        if not isinstance(plain, dict):
            return plain
        given = cast(dict[str, Any], plain)
        return {key: None if key == "momentum" else walked(value) for key, value in given.items()}

    return from_plain(walked(factor.plain()))


class _Loop:
    """A loop in which is done what the race did around the steps."""

    def __init__(self, around: Around, steps: int, measure: Measure | None) -> None:
        self._around, self._measure = around, measure
        self.factor, self._switch = around.factor(steps), around.late_switch(steps)
        self._switches = False
        self._every = math.ceil(steps / LOOKS)

    def options(self, rule: Rule) -> str:
        """What more a rule's optimizer is given."""
        options = [] if self._around.clip is None else [f"clip_grad_norm={self._around.clip:g}"]
        self._switches = self._switch is not None and can_switch(rule)
        if self._switches:
            name = next(n for n in ("at", "plateau", "swats") if getattr(self._switch, n) is not None)
            options.append(f"late_switch=LateSwitch({name}={getattr(self._switch, name):g})")
        return "".join(f", {option}" for option in options)

    def torch(self, head: str, *, many: bool = False, scheduled: bool = False, clip: float | None = None) -> str:
        """The loop after `head`, which makes `opt`, or `opts` where there are `many`.

        Args:
            scheduled: `head` makes the scheduler too.
            clip: the norm that the loop has to clip to.
        """
        imports, setup, looks = self._parts()
        step: list[str] = []
        if self.factor is not None:
            imports += [self._shapes(), "from adamas.torch import schedule"]
            made = f"schedule(opt, {self.factor})"
            setup.insert(0, f"schedulers = [{made} for opt in opts]" if many else f"scheduler = {made}")
            step = ["for scheduler in schedulers:", "    scheduler.step()"] if many else ["scheduler.step()"]
        elif scheduled:
            step = ["scheduler.step()"]
        before = ["model.zero_grad()" if many else "opt.zero_grad()", "loss(model, batch).backward()"]
        if clip is not None:
            imports.append("import torch")
            before.append(f"torch.nn.utils.clip_grad_norm_(model.parameters(), {clip:g})")
        move = ["for opt in opts:", "    opt.step()"] if many else ["opt.step()"]
        return self._whole(imports, head, setup, [*before, *move, *step, *looks])

    def numpy(self, head: str) -> str:
        """The loop after `head`, which makes `opt`, with its schedule."""
        imports, setup, looks = self._parts()
        if self.factor is not None:
            imports.append(self._shapes())
        step = ["opt.step(gradient(params, batch))  # params change in place"]
        return self._whole(imports, head, setup, [*step, *looks])

    def _parts(self) -> tuple[list[str], list[str], list[str]]:
        """Imports, what comes before the loop, and what is done at a look."""
        imports: list[str] = []
        setup: list[str] = []
        looks: list[str] = []
        higher = self._measure is not None and self._measure.higher_is_better
        if self._switches:
            imports.append("from adamas import LateSwitch")
            if self._switch is not None and self._switch.plateau is not None:
                looks.append("opt.report_loss(-value)" if higher else "opt.report_loss(value)")
        if self._around.stop_early is not None:
            imports.append("from adamas.stopping import EarlyStopping")
            mode = ', mode="max"' if higher else ""
            setup.append(f"stopper = EarlyStopping({self._around.stop_early}{mode})")
            looks += ["if stopper.update(value):", "    break"]
        if looks:
            looks = [f"if step % {self._every} == 0:", "    value = validate()", *(f"    {line}" for line in looks)]
        return imports, setup, looks

    def _shapes(self) -> str:
        used = sorted(set(re.findall(r"[a-z_]+(?=\()", repr(self.factor))) & set(NAMES))
        return f"from adamas.schedules import {', '.join(used)}"

    def _whole(self, imports: list[str], head: str, setup: list[str], body: list[str]) -> str:
        counted = any(line.startswith("if step %") for line in body)
        first = "for step, batch in enumerate(batches, 1):" if counted else "for batch in batches:"
        lines = [*setup, first, *(f"    {line}" for line in body)]
        above, _, rest = head.partition("\n\n")
        above = sorted({*above.splitlines(), *imports}, key=lambda line: (not line.startswith("import"), line))
        text = "\n".join(above).replace(
            "import optimizer\nfrom adamas.torch import schedule", "import optimizer, schedule"
        )
        return f"{text}\n\n{rest}" + "".join(f"{line}\n" for line in lines)
