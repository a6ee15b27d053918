"""The late switch: an adaptive rule at first, gradient descent with momentum from some step on.

The rule gets a second phase (`two_phases`), which is chosen when the kernel is built, as every `if` of a rule is. Which
phase it is, and with which η, stands in the groups beside the hyperparameters, and so in every state dict:

- ``sgd_gain``: 0 in the first phase, then SGD's η over the group's ``lr``. Whoever schedules ``lr`` goes on doing so;
- ``sgd_momentum``: μ of the second phase;
- ``late_switch``: what is known so far, in the first group; after the switch, what came of it. It is replaced, never
  changed, so a state dict that holds it keeps what it held.
"""

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from numbers import Real
from types import MappingProxyType
from typing import Any, NamedTuple

from adamas import driver, intrinsics
from adamas.dialect import Source, evaluate, parse
from adamas.errors import InputError, InputTypeError
from adamas.hyperparameters import number
from adamas.registry import Rule

#: Decay of the running average for rules that have no β₂.
BETA = 0.999

#: What the weights of an average add up to after as many steps as it looks back over, 1/(1 − β).
_SETTLED = 1 - math.exp(-1)

#: What a group holds of a switch that is still to come.
_COMING = MappingProxyType({"average": 0.0, "weight": 0.0, "best": None, "stalled": 0})

#: The names of all that a group holds.
ENTRIES = ("sgd_gain", "sgd_momentum", "late_switch")


class Switched(NamedTuple):
    """What came of a late switch.

    Attributes:
        step: the last of the adaptive steps, counted from 1.
        lr: η of gradient descent in the step after it, in the first group; later ones follow the group's ``lr``.
        momentum: its momentum μ. The step is η·m with m ← μm + (1 − μ)g; torch's SGD, whose buffer is m/(1 − μ), takes
            the same steps with a learning rate of (1 − μ)·η.
        why: the condition that was met.
    """

    step: int
    lr: float
    momentum: float
    why: str


@dataclass(frozen=True, kw_only=True)
class LateSwitch:
    """When an optimizer goes over from its adaptive rule to gradient descent with momentum.

    It is SWATS (Keskar & Socher 2017, Algorithm 1). With Δ for the rule's step, over all parameters, and g for the
    gradient that it took, γ = ΔᵀΔ/Δᵀg is the η of the gradient step whose projection on Δ is Δ itself. 1/γ is averaged
    with bias correction, and SGD begins with one over that average. Its momentum is the average of the gradients that
    the rule has kept.

    It is 1/γ where the paper averages γ: Δᵀg comes near 0 and below, and there γ has a pole, so that one mini-batch can
    outweigh a thousand.

    Attributes:
        at: the number of adaptive steps.
        plateau: at so many reported losses in a row, none of which was lower than the best before it. The step after
            the last of them is the last adaptive one.
        swats: as soon as γ and the η to begin with are less than this apart: ε of Algorithm 1. But not before the
            average is of as many steps as it looks back over, 1/(1 − β₂): at first the two agree because of that.
        min_delta: a reported loss is lower if it is so by this share of the best.
        momentum: μ of gradient descent.

    One of ``at``, ``plateau`` and ``swats`` is given.

    >>> import numpy as np
    >>> from adamas import LateSwitch
    >>> from adamas.numpy import Adam
    >>> theta = np.array([1.0, -3.0])
    >>> opt = Adam(theta, lr=0.1, late_switch=LateSwitch(at=2))
    >>> for _ in range(3):
    ...     opt.step(2 * theta)
    >>> opt.switched.step, round(opt.switched.lr, 4), opt.switched.why
    (2, 0.0256, 'at=2')

    Raises:
        InputError: for a value that cannot be.
    """

    at: int | None = None
    plateau: int | None = None
    swats: float | None = None
    min_delta: float = 1e-4
    momentum: float = 0.9

    def __post_init__(self) -> None:
        conditions = {name: getattr(self, name) for name in ("at", "plateau", "swats")}
        given = [f"{name}={value!r}" for name, value in conditions.items() if value is not None]
        if len(given) != 1:
            raise InputError(
                f"A late switch has one condition, not {' and '.join(given) or 'none'}: give at=, plateau= or swats=."
            )
        for name in ("at", "plateau"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise InputTypeError(f"Invalid {name} value: {value!r}: it must be a whole number of 1 or more.")
            if value is not None and value < 1:
                raise InputError(f"Invalid {name} value: {value}: it must be a whole number of 1 or more.")
        if self.swats is not None:
            _check("swats", self.swats, 0 < _float(self.swats) < math.inf, "a finite number above 0")
        _check("min_delta", self.min_delta, 0 <= _float(self.min_delta) < 1, "at least 0 and less than 1")
        _check("momentum", self.momentum, 0 <= _float(self.momentum) < 1, "at least 0 and less than 1")

    def entries(self) -> dict[str, Any]:
        """What a group holds at first."""
        return {"sgd_gain": 0.0, "sgd_momentum": self.momentum, "late_switch": dict(_COMING)}

    def observed(
        self, known: Mapping[str, Any], step: int, lr: float, squares: float, along: float, beta: float
    ) -> tuple[dict[str, Any], float]:
        """What is known after an adaptive step, and SGD's η over ``lr`` if it was the last one, else 0.

        Args:
            known: before it.
            step: its number.
            lr: η of the first group.
            squares: ΔᵀΔ.
            along: Σ ηΔᵀg over the groups: so γ is measured in units of their η, and does not fall with a schedule.
            beta: decay of the average; the paper takes β₂.
        """
        inverse = along / squares if 0 < squares < math.inf else math.nan
        if math.isfinite(inverse):
            average = beta * known["average"] + (1 - beta) * inverse
            known = {**known, "average": average, "weight": beta * known["weight"] + (1 - beta)}
        known = dict(known)
        gain = known["weight"] / known["average"] if known["average"] > 0 else math.nan
        if not 0 < gain < math.inf:
            return known, 0.0  # SGD would climb: the switch waits
        if self.swats is not None:
            apart = lr * abs(gain - 1 / inverse) if math.isfinite(inverse) and inverse else math.nan
            due = known["weight"] >= _SETTLED and lr > 0 and apart < self.swats
            why = f"swats={self.swats:g}: γ and η are {apart:.2g} apart"
        elif self.plateau is not None:
            due = known["stalled"] >= self.plateau
            why = f"plateau={self.plateau}: no loss below {known['best']}"
        else:
            due, why = step >= (self.at or 0), f"at={self.at}"
        return ({"step": step, "lr": gain * lr, "why": why}, gain) if due else (known, 0.0)

    def reported(self, known: Mapping[str, Any], loss: Any) -> dict[str, Any]:
        """What is known after a loss was reported.

        Raises:
            InputError: where nothing waits for it, or it is no number.
        """
        if self.plateau is None:
            raise InputError("Losses are reported to a switch at a plateau: give late_switch=LateSwitch(plateau=…).")
        value = number("loss", loss)
        if isinstance(value, bool) or not isinstance(value, Real):
            raise InputTypeError(f"Invalid loss: {loss!r}: it must be a number.")
        if "step" in known:
            return dict(known)
        value, best = float(value), known["best"]
        if math.isfinite(value) and (best is None or value < best - self.min_delta * abs(best)):
            return {**known, "best": value, "stalled": 0}
        return {**known, "stalled": known["stalled"] + 1}  # a NaN is no progress


def _float(value: Any) -> float:
    return float(value) if not isinstance(value, bool) and isinstance(value, Real) else math.nan


def _check(name: str, value: Any, fine: bool, words: str) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputTypeError(f"Invalid {name} value: {value!r}: it must be {words}.")
    if not fine:
        raise InputError(f"Invalid {name} value: {value}: it must be {words}.")


def switched(groups: Sequence[Mapping[str, Any]]) -> Switched | None:
    """What came of the switch, as the groups say; None where it is still to come, or there is none."""
    known = groups[0].get("late_switch", {})
    if "step" not in known:
        return None
    return Switched(known["step"], known["lr"], number("sgd_momentum", groups[0]["sgd_momentum"]), known["why"])


def check(group: Mapping[str, Any]) -> None:
    """Refuse what a group cannot hold of a late switch; ``sgd_gain`` and ``sgd_momentum`` are hyperparameters.

    Raises:
        InputError: with what it holds.
    """
    known = group["late_switch"]
    numbers: dict[str, Any] = dict(known) if isinstance(known, Mapping) else {}
    match numbers:
        case {"step": int(step), "lr": lr, "why": str(), **rest} if not rest:
            fine = step > 0 and 0 <= _float(lr) < math.inf and group["sgd_gain"] > 0
        case {"average": average, "weight": weight, "best": best, "stalled": int(stalled), **rest} if not rest:
            fine = math.isfinite(_float(average)) and 0 <= _float(weight) <= 1 and stalled >= 0
            fine = fine and (best is None or math.isfinite(_float(best))) and group["sgd_gain"] == 0
        case _:
            fine = False
    if not fine:
        raise InputError(
            f"A group has late_switch={known!r} with sgd_gain={group['sgd_gain']!r}, which do not go together: "
            "leave both as they were saved."
        )


def check_ahead(
    switch: LateSwitch | None, groups: Sequence[Mapping[str, Any]], states: Mapping[Any, Mapping[str, Any]]
) -> None:
    """Refuse to go on adaptively from after a switch, or from where it should have come.

    Args:
        switch: the optimizer's.
        groups: as they would be loaded.
        states: likewise, with their counts.

    Raises:
        InputError: saying what is missing.
    """
    if switch is None:
        if any(_float(group.get("sgd_gain", 0.0)) for group in groups):
            raise InputError(
                "The state dict is from after a late switch: load it into an optimizer that was made with late_switch."
            )
        return
    for group in groups:
        check(group)
    steps = max((int(state["step"]) for state in states.values() if state), default=0)
    if switch.at is not None and steps >= switch.at and switched(groups) is None:
        raise InputError(
            f"The state dict is from step {steps} of a run that has not switched, and late_switch is at={switch.at}: "
            "give a later one."
        )


# -- the second phase ------------------------------------------------------------------------------------------------

DESCEND = parse(driver.descend, "driver function", given=("g",))


@cache  # one rule, however often it is asked for: so one kernel
def two_phases(rule: Rule) -> Rule:
    """The rule as it is while ``sgd_gain`` is 0, then gradient descent with momentum.

    Args:
        rule: which keeps an average of the gradients as ``exp_avg``.

    Raises:
        InputError: for a rule that keeps none.
    """
    source = rule.source
    if "sgd_gain" in rule.defaults:
        return rule
    if "exp_avg" not in source.states or not _averages_gradients(source, rule.defaults):
        kept = "is no average of gradients" if "exp_avg" in source.states else "it does not have"
        raise InputError(
            f"A late switch carries exp_avg over as the momentum, which in rule {rule.name!r} {kept}: "
            "use it with Adam, AdamW or one of their kin."
        )
    *lines, last = DESCEND.body
    assert isinstance(last, ast.Return) and isinstance(last.value, ast.Tuple)
    handed = [ast.Name(name, ast.Load()) for name in (*source.states, *source.scalars)]  # exp_avg has its new value
    gain = ast.Name("sgd_gain", ast.Load())
    phase = ast.If(gain, [*lines, ast.Return(ast.Tuple([last.value.elts[0], *handed], ast.Load()))], [])
    own = {"sgd_gain": 0.0, "sgd_momentum": LateSwitch.momentum}
    return replace(
        rule,
        source=replace(
            source,
            defaults=MappingProxyType({**source.defaults, **own}),
            body=(ast.copy_location(phase, source.body[0]), *source.body),
            tests=(gain, *source.tests),
        ),
        defaults=MappingProxyType({**rule.defaults, **own}),
    )


def _averages_gradients(source: Source, hyper: Mapping[str, Any]) -> bool:
    """Whether the rule has exp_avg ← α·exp_avg + (1 − α)·g for some α, whatever else there is: by trying."""
    words = {word: getattr(intrinsics, word) for word in intrinsics.WORDS if word != "abs"}
    straight = source.straighten(hyper)
    rates: list[float] = []
    for g, m, other in ((0.7, -0.3, 0.5), (-1.9, 0.4, 0.5), (0.2, 2.0, 1.5), (5.0, 0.1, 0.01)):
        values = {**words, **dict.fromkeys(source.coordinates, other), **source.scalars, **hyper}
        values |= {"g": g, "exp_avg": m, "t": 3.0}
        try:
            for targets, expression in straight.assignments:
                value = evaluate(expression, values)
                values.update({targets[0]: value} if len(targets) == 1 else zip(targets, value, strict=True))
            new = float(evaluate(straight.results[1 + source.states.index("exp_avg")], values))
        except (ArithmeticError, TypeError, ValueError):
            return False
        rates.append((new - g) / (m - g))
    return max(rates) - min(rates) < 1e-9 and -1e-9 < rates[0] < 1
