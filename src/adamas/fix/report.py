"""What a treatment has come to, in words, as a table, as plain values."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adamas.doctor.treatment import ailing
from adamas.problems.base import Problem

if TYPE_CHECKING:
    from rich.table import Table

    from adamas.fix import Fix
    from adamas.fix.watched import Outcome


def shown(value: Any) -> str:
    """
    >>> shown(0.30000000000000004), shown(None), shown(True)
    ('0.3', 'none', 'on')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def number(value: float | None) -> str:
    """
    >>> number(0.081234), number(None)
    ('0.0812', 'lost')
    """
    return "lost" if value is None or not math.isfinite(value) else f"{value:.3g}"


def changed(before: Mapping[str, Any], changes: Mapping[str, Any]) -> str:
    """
    >>> changed({"lr": 0.3, "warmup": None}, {"lr": 0.01, "warmup": 30})
    'lr 0.3 → 0.01, warmup none → 30'
    """
    return ", ".join(f"{name} {shown(before[name])} → {shown(value)}" for name, value in changes.items())


def codes(outcome: "Outcome") -> str:
    """What ails a run, by code and name, the first two."""
    found = ailing(outcome.findings)
    told = ", ".join(f"{finding.code} {finding.name}" for finding in found[:2])
    return f"{told} and {len(found) - 2} more" if len(found) > 2 else told or "nothing"


def said(problem: Problem, outcome: "Outcome") -> str:
    """A run in a line."""
    first, last = outcome.losses
    ended = "stopped; " if outcome.cut else f"{problem.measure.name} {number(outcome.metric)}, "
    return f"{ended}loss {number(first)} → {number(last)}; ails it: {codes(outcome)}."


def cells(fix: "Fix") -> list[list[str]]:
    """The lines of the table."""
    before = fix.before
    rows: list[list[str]] = []
    for i, round in enumerate(fix.rounds):
        outcome = round.outcome
        first, last = outcome.losses
        measured = "stopped" if outcome.cut else number(outcome.metric)
        if outcome.second is not None and not outcome.cut:
            measured += f" ({fix.problem.measure.second} {number(outcome.second)})"
        if i == 0:
            told = "as it is"
        else:
            told = changed(before, round.run)
        kept = "" if len(fix.rounds) == 1 else "best" if round is fix.best else "" if round.kept else "taken back"
        rows.append([str(i), told, f"{number(first)} → {number(last)}", measured, codes(outcome), kept])
    return rows


def table(fix: "Fix") -> "Table":
    """For a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in heads(fix):
        grid.add_column(head, overflow="fold")
    for row, round in zip(cells(fix), fix.rounds, strict=True):
        grid.add_row(*map(Text, row), style="bold" if round is fix.best else "dim" if not round.kept else None)
    return grid


def heads(fix: "Fix") -> list[str]:
    """Of the table's columns."""
    return ["", "changed", "loss", fix.problem.measure.name, "ails it", ""]


def verdict(fix: "Fix") -> str:
    """What has come of it, in a few sentences."""
    first, best, left = fix.rounds[0].outcome, fix.best.outcome, fix.ailing
    stopped = "Stopped before its end. " if fix.stopped else ""
    if fix.best.run:
        told = changed(fix.before, fix.best.run)
        told += f" brought {fix.problem.measure.name} from {number(first.metric)} to {number(best.metric)}"
        if not left:
            return f"{stopped}Cured: {told}, and nothing ails it any more."
        return f"{stopped}Better: {told}; {codes(best)} still ails it."
    tried = [f"{changed(fix.before, round.run)} did not help" for round in fix.rounds[1:] if not round.outcome.cut]
    if not left:
        if first.cut:
            return f"{stopped}Nothing was found so far."
        return f"{stopped}Nothing ails this run" + (f"; what is only noted was tried: {tried[-1]}." if tried else ".")
    if tried:
        return f"{stopped}{codes(first)} ails it, and {tried[-1]}."
    if fix.stopped:
        return f"{stopped}{codes(first)} ails it."
    return f"{codes(first)} ails it, and --fix has no setting to change for that."


def remaining(fix: "Fix") -> list[str]:
    """What ails the best run, and what to do."""
    return [f"{finding.code} {finding.name}: {finding.evidence}. {finding.remedy.text}" for finding in fix.ailing]


def as_dict(fix: "Fix") -> dict[str, Any]:
    """Plain values for JSON."""
    rounds: list[dict[str, Any]] = []
    for round in fix.rounds:
        outcome = round.outcome
        first, last = (value if math.isfinite(value) else None for value in outcome.losses)
        rounds.append(
            {
                "changes": dict(round.run),
                "remedy_of": None if round.finding is None else round.finding.code,
                "kept": round.kept,
                "stopped": outcome.cut,
                "steps": outcome.run.count,
                "loss": {"first": first, "last": last},
                "metric": outcome.metric,
                "second": outcome.second,
                "findings": [finding.as_dict() for finding in outcome.findings],
            }
        )
    return {
        "problem": {"name": fix.problem.name, "about": fix.problem.about},
        "optimizer": fix.way.label,
        "lr": fix.way.lr,
        "steps": fix.steps,
        "seed": fix.seed,
        "measure": vars(fix.problem.measure),
        "complete": not fix.stopped,
        "cured": fix.cured,
        "verdict": fix.verdict,
        "changes": {name: {"before": old, "after": new} for name, (old, new) in fix.changes.items()},
        "rounds": rounds,
        "snippet": fix.lines,
    }
