"""The doctor at work: a sick run, what is found, and the run again with the remedy, a few times over."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from adamas.doctor import Finding, treatment
from benchmarks.clinic.ailments import Ailment
from benchmarks.clinic.training import Outcome, Run, train

CURED = 1.1
"""A run is cured if its loss is at most so many times its twin's."""
FIRST = 2
"""Among so many findings the right one must be."""


@dataclass(frozen=True)
class Case:
    """A sick run.

    Args:
        sick: how it ended, over how its twin did.
        findings: of the sick run, from the first on.
        remedies: the settings of each round.
        cured: how the best of the rounds ended, over how the twin did; `sick` where there was none.
    """

    ailment: str
    seed: int
    sick: float
    findings: list[Finding]
    remedies: list[dict[str, Any]]
    cured: float

    def right(self, codes: set[str]) -> bool:
        return any(finding.code in codes for finding in self.findings[:FIRST])


def treat(ailment: Ailment, part: int, seed: int, twin: Outcome) -> Case:
    rounds = list(
        treatment.treat(
            ailment.run(part),
            lambda run: train(run, seed, watched=True),
            remedied,
            lambda new, old: ailment.measured(new) < ailment.measured(old),
            treatment.ROUNDS if ailment.settable else 0,
        )
    )
    ended = [ailment.ratio(round.outcome, twin) for round in rounds]
    remedies = [round.finding.remedy.settings for round in rounds if round.finding is not None]
    return Case(ailment.name, seed, ended[0], rounds[0].outcome.findings, remedies, min(ended))


def remedied(run: Run, settings: Mapping[str, Any]) -> Run:
    """The run with the remedy's settings; where a remedy is none of an optimizer's, one of the run stands for it."""
    for name, value in settings.items():
        run = replace(run, **_changed(run, name, value))
    return run


def _changed(run: Run, name: str, value: Any) -> dict[str, Any]:
    shape = run.shape
    if name in ("lr", "warmup", "clip_grad_norm", "weight_decay", "decoupled", "eps", "amsgrad", "nonfinite"):
        return {name: value}
    return {
        "beta2": lambda: {"betas": (run.betas[0], value)},
        "schedule": lambda: {"decay": value},
        "schedule_steps": lambda: {"horizon": value / run.steps},
        "dtype": lambda: {"precision": value},
        "scaler": lambda: {},
        "load_optimizer": lambda: {"moments": True},
        "stop_at": lambda: {"steps": int(value), "horizon": run.horizon * run.steps / value},
        "wider": lambda: {"shape": replace(shape, width=max(64, shape.width))},
        "normalise": lambda: {"scaled": 1.0, "alone": False},
        "shuffle": lambda: {"order": "random"},
        "eval_mode": lambda: {"evaluate_as": "eval"},
        "divide_by": lambda: {"divided": True},
        "requires_grad": lambda: {"frozen": ""},
        "add_parameters": lambda: {"left_out": ""},
        # torch's recurrent nets know tanh and ReLU alone
        "activation": lambda: (
            {}
            if shape.kind == "rnn"
            else {"shape": replace(shape, activation={"leaky_relu": "gelu"}.get(value, value))}
        ),
        "init": lambda: {"shape": replace(shape, gain=1.0, shift=0.0)},
        "norm": lambda: {"shape": replace(shape, norm=value)},
        "labels": lambda: {"shuffled": False},
    }[name]()
