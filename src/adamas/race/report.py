"""What a race leaves behind: results.json, and the table on the screen."""

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import adamas
from adamas.pages import write
from adamas.problems.base import Problem
from adamas.race.drive import LOOKS
from adamas.race.result import Row, Table
from adamas.race.search import SEARCH_SEEDS, Plan
from adamas.race.trials import Outcome

if TYPE_CHECKING:
    from rich.console import RenderableType


def versions() -> dict[str, str]:
    """Of what the numbers depend on, as far as installed."""
    found = {"adamas": adamas.__version__, "python": platform.python_version()}
    for name in ("numpy", "numba", "torch", "scikit-learn", "pandas", "joblib"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """What the seconds were measured on."""
    return {"cores": os.cpu_count(), "machine": platform.machine(), "system": platform.platform()}


def row_dict(row: Row) -> dict[str, Any]:
    """A line of the table as plain values."""
    return {
        "optimizer": row.entrant.name,
        "lr": row.lr,
        "metric": {"median": row.metric, "best": row.best, "worst": row.worst},
        "second": row.second,
        "seeds": [o.trial.seed for o in row.finals],
        "from_all_seeds": row.all_seeds,
        "diverged": sum(o.metric is None for o in row.finals),
        "steps_to_target": row.steps_to_target,
        "seconds_to_target": row.seconds_to_target,
        "width_decades": row.width.decades if row.width else None,
        "width": vars(row.width) if row.width else None,
        "wins_against_next": {"won": row.wins[0], "compared": row.wins[1]} if row.wins else None,
        "step_us": row.step_us,
        "state_bytes_per_parameter": row.state_bytes,
        "note": row.note,
    }


def as_dict(
    problem: Problem, plan: Plan, table: Table, settings: dict[str, Any], seconds: float, stopped: str | None
) -> dict[str, Any]:
    """Everything but the trials: what `--json` prints."""
    return {
        "problem": {"name": problem.name, "about": problem.about, "fingerprint": problem.fingerprint()},
        "measure": vars(problem.measure),
        "complete": stopped is None,
        "stopped": stopped,
        "seconds": round(seconds, 2),
        "target": {"value": table.target, "given": table.given, "looks": LOOKS},
        "verdict": table.verdict,
        "table": [row_dict(row) for row in table.rows],
        "settings": settings,
        "versions": versions(),
        "machine": machine(),
    }


def write_results(path: Path, summary: dict[str, Any], outcomes: list[Outcome]) -> None:
    """results.json: the summary and every trial. Replaces the file in one go."""
    whole = {**summary, "trials": [o.as_dict() for o in outcomes]}
    write(path, json.dumps(whole, indent=1, allow_nan=False) + "\n")


def number(x: float | None, digits: int = 3) -> str:
    """Short, without needless zeros; a dash where there is none.

    >>> number(0.081234), number(None), number(1e-12)
    ('0.0812', '–', '1e-12')
    """
    return "–" if x is None else f"{x:.{digits}g}"


def cells(problem: Problem, table: Table) -> tuple[list[str], list[list[str]]]:
    """The heads of the table and its lines, as text."""
    second = problem.measure.second
    heads = ["optimizer", "best η", problem.measure.name, "range", *([second] if second else []), "seeds"]
    heads += [
        "steps to\ntarget",
        "seconds to\ntarget",
        "η width,\ndecades",
        "wins\nv. next",
        "µs a\nstep",
        "state B\na param.",
    ]
    lines: list[list[str]] = []
    for row in table.rows:
        spread = number(row.best) if len(row.finals) == 1 else f"{number(row.best)} … {_worst(row)}"
        line = [row.entrant.label, number(row.lr), "diverged" if row.metric is None else number(row.metric), spread]
        line += [number(row.second)] if second else []
        line += [
            str(len(row.finals)) if row.finals[0].trial.seed not in SEARCH_SEEDS else "search",
            number(row.steps_to_target, 4),
            number(row.seconds_to_target, 2),
            str(row.width) if row.width else "–",
            f"{row.wins[0]}/{row.wins[1]}" if row.wins else "–",
            f"{row.step_us:.0f}",
            number(row.state_bytes),
        ]
        lines.append(line)
    return heads, lines


def printed(problem: Problem, plan: Plan, table: Table) -> "list[RenderableType]":
    """The table and what it takes to read it, for a rich console."""
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    heads, lines = cells(problem, table)
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column(heads[0], style="bold", no_wrap=True)
    for head in heads[1:]:
        grid.add_column(head, justify="right", no_wrap=True)
    for line in lines:
        grid.add_row(*map(Text, line))
    return [grid, *footnotes(problem, plan, table)]


def _worst(row: Row) -> str:
    return "diverged" if row.worst is None else number(row.worst)


def footnotes(problem: Problem, plan: Plan, table: Table) -> list[str]:
    """What it takes to read the table."""
    better = "higher" if problem.measure.higher_is_better else "lower"
    around, factor = plan.around, plan.around.factor(plan.steps)
    rate = "η constant" if factor is None else f"η × {factor}"
    notes = [f"{problem.measure.name}: median over seeds {plan.span}, {rate}; {better} is better."]
    if around.stop_early is not None:
        notes.append(
            f"A training ends at {around.stop_early} of the {LOOKS} points on the way in a row without improvement, "
            "and its best one counts; where it diverged before that, it diverged."
        )
    if around.clip is not None:
        notes.append(f"The norm of all gradients together is clipped to {around.clip:g}.")
    if around.switch is not None:
        notes.append(f"Rules of Adam's kin go over to gradient descent with momentum: {around.switch}.")
    if table.target is not None:
        whose = "as given" if table.given else "which three quarters of the finalists reach"
        notes.append(f"target: {number(table.target)}, {whose}; looked for at {LOOKS} points on the way.")
    notes.append("η width: the range of η within 5 % of its own best, counted on the way from untrained (seed 0).")
    notes.append("wins v. next: seeds on which it beat the optimizer in the next line.")
    notes += [f"{row.entrant.label}: {row.note}." for row in table.rows if row.note]
    return notes
