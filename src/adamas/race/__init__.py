"""Train one problem with several optimizers × learning rates × seeds; say which wins and how surely."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib

from adamas.errors import InputError
from adamas.pages import element, markup, table, write
from adamas.problems import load
from adamas.problems.base import Problem, need
from adamas.race.around import Around
from adamas.race.drive import run
from adamas.race.entrants import Entrant, enter, enter_recipe, family, prepare
from adamas.race.page import race_page
from adamas.race.progress import Progress
from adamas.race.report import as_dict, cells, versions, write_results
from adamas.race.result import Table, tabulate
from adamas.race.runner import Runner, Stopped
from adamas.race.search import Plan, search, trials_expected
from adamas.race.snippet import recipe_snippet, snippet
from adamas.race.trials import Outcome, Store, Trial, stored_identity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Race", "race"]


@dataclass(frozen=True)
class Race:
    """A race that was run.

    Args:
        stopped: why it ended before its time, or None.
        picture: the PNG, or None where matplotlib is not installed or nothing was finished.
        report: the page, report.html, or None where nothing was finished.
        lines: Python that puts the winner into a training loop, or None where nobody won.
    """

    problem: Problem
    plan: Plan
    table: Table
    outcomes: tuple[Outcome, ...]
    summary: dict[str, Any]
    folder: Path
    picture: Path | None
    report: Path | None
    stopped: str | None
    lines: str | None

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the measure against steps, a line an optimizer.

        Args:
            ax: matplotlib's axes; else those of a new figure (``result.plot().figure.savefig("curves.png")``).

        Returns:
            The axes.

        Raises:
            InputError: where nobody has won, so that there is nothing to draw; where matplotlib is not installed.
        """
        if self.lines is None:
            raise InputError(f"This race has no curves to draw. {self.table.verdict}")
        need("matplotlib", "plot")
        from adamas.race.picture import curves

        return curves(self.problem, self.table, ax)

    def __repr__(self) -> str:
        return f"<Race on {self.problem.name}: {self.table.verdict} {len(self.outcomes)} trials in {self.folder}>"

    def _repr_html_(self) -> str:
        from base64 import b64encode

        heads, rows = cells(self.problem, self.table)
        drawn = None
        if self.picture is not None and self.picture.is_file():
            source = f"data:image/png;base64,{b64encode(self.picture.read_bytes()).decode()}"
            drawn = element(
                "img", src=source, alt=f"{self.problem.name}: {self.table.headline}", style="max-width:100%"
            )
        verdict = element("p", element("b", self.table.verdict))
        lines = None if self.lines is None else element("pre", self.lines)
        return markup(verdict, table(f"Race on {self.problem.name}", heads, rows), drawn, lines)


def race(
    problem: str = "digits",
    optimizers: Sequence[str] | None = None,
    *,
    lrs: Sequence[float] | None = None,
    seeds: int = 5,
    steps: int | None = None,
    seconds: float | None = None,
    target: str | None = None,
    target_metric: float | None = None,
    schedule: str | None = None,
    warmup: float | None = None,
    clip: float | None = None,
    stop_early: int | None = None,
    switch: str | None = None,
    recipe: str | None = None,
    jobs: int | None = None,
    resume: bool = False,
    output: str | Path = "race",
) -> Race:
    """Race `optimizers` on `problem` and leave trials.jsonl, results.json, race.png and report.html in
    `output`.

    Args:
        problem: a built-in problem's name, or a .csv, .npz, .parquet or .py file.
        optimizers: registered rules, dotted torch classes, file.py:name; by default the family.
        lrs: learning rates to try instead of searching for each optimizer's own.
        seeds: how many fresh seeds the finalists are run from.
        steps: length of a full training; by default the problem's own.
        seconds: time for the whole race: without `steps` the length is chosen to fit; no trial is begun
            afterwards.
        target: the column to predict, for data files.
        target_metric: the value for "steps to the target", instead of the default described in the table.
        schedule, warmup, clip, stop_early, switch: what is done around the steps of every trial, see `Around`.
        recipe: a recipe's name, which races too, with its own schedule and clipping; for torch problems.
        jobs: trials at once; by default one a core. Results do not depend on it, times may.
        resume: go on with what `output` holds.

    Raises:
        InputError: in one sentence, for anything that cannot be raced as asked.
    """
    begun = time.monotonic()
    _check(lrs, seeds, steps, seconds, target_metric, jobs)
    around = Around(schedule, warmup, clip, stop_early, switch)
    progress = Progress()
    jobs = jobs or joblib.cpu_count()
    entrants = [enter(name) for name in optimizers or family()]
    _distinct(entrants)
    if recipe is not None:
        entrants.append(enter_recipe(recipe))
    what = load(problem, target)
    what.rehearse()
    for entrant in entrants:
        if "." in entrant.name or entrant.recipe:  # see that it goes with the problem before anything is written
            run(what, entrant, Trial(entrant.identity, 1e-3, 0, 1), around=around)
    folder = Path(output)
    if resume and steps is None:
        steps = int(stored_identity(folder)["steps"])
    if steps is None:
        steps = what.steps if seconds is None else _fitting(what, entrants, around, seeds, lrs, seconds, jobs, begun)
    around.refuse_unless_fits(steps)
    plan = Plan(entrants, what.measure, steps, seeds, tuple(dict.fromkeys(lrs)) if lrs else None, around)
    identity = {
        "problem": problem,
        "target": target,
        "fingerprint": what.fingerprint(),
        "steps": steps,
        "versions": {k: v for k, v in versions().items() if k in ("adamas", "numpy", "torch")},
        **around.as_dict(),
    }
    store = Store(folder, identity, resume=resume)
    if resume:
        progress.say(f"Resuming: {len(store.outcomes)} trials are done already.")
    if around:
        progress.say(f"Every trial with {around}.")
    deadline = None if seconds is None else time.time() + seconds - (time.monotonic() - begun)
    runner = Runner(what, entrants, store, jobs, deadline, progress, around)
    stopped: str | None = None
    try:
        search(plan, runner)
    except Stopped as e:
        stopped = str(e)
    finally:
        runner.close()
        store.close()
    found = tabulate(plan, store.outcomes, target_metric)
    settings = {
        "problem": problem,
        "target": target,
        "optimizers": [e.name for e in entrants],
        "lrs": plan.lrs,
        "seeds": seeds,
        "steps": steps,
        "seconds": seconds,
        "target_metric": target_metric,
        "jobs": jobs,
        **around.as_dict(),
        **({} if recipe is None else {"recipe": recipe}),
    }
    won = found.rows[0] if found.rows and found.rows[0].metric is not None else None
    lines = _lines(what, plan, won.entrant, won.lr) if won else None
    picture = _picture(what, plan, found, folder / "race.png") if won else None
    summary = as_dict(what, plan, found, settings, time.monotonic() - begun, stopped)
    summary["snippet"] = lines
    outcomes = tuple(store.outcomes.values())
    report = folder / "report.html" if won else None
    if report is not None:
        write(report, race_page(what, plan, found, summary, len(outcomes)))
    write_results(folder / "results.json", summary, list(outcomes))
    return Race(what, plan, found, outcomes, summary, folder, picture, report, stopped, lines)


def _lines(problem: Problem, plan: Plan, entrant: Entrant, lr: float) -> str:
    if entrant.recipe is None:
        return snippet(entrant, lr, problem.front, plan.around, plan.steps, problem.measure)
    return recipe_snippet(prepare(entrant, problem.begin(0), plan.steps), lr, plan.around, plan.steps, problem.measure)


def _picture(problem: Problem, plan: Plan, table: Table, path: Path) -> Path | None:
    try:
        from adamas.race.picture import draw
    except ModuleNotFoundError as e:
        if (e.name or "").partition(".")[0] != "matplotlib":
            raise
        return None
    draw(problem, plan, table, path)
    return path


def _check(
    lrs: Sequence[float] | None,
    seeds: int,
    steps: int | None,
    seconds: float | None,
    target_metric: float | None,
    jobs: int | None,
) -> None:
    for lr in lrs or ():
        if not (math.isfinite(lr) and lr > 0):
            raise InputError(f"The learning rate {lr:g} cannot be raced: give positive numbers.")
    if lrs is not None and not lrs:
        raise InputError("No learning rates were given: leave them out to have them searched, or give some.")
    for name, value in (("seeds", seeds), ("steps", steps), ("jobs", jobs)):
        if value is not None and value < 1:
            raise InputError(f"{name} = {value} is too small: it must be 1 or more.")
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"seconds = {seconds:g} is no time to race in: give a positive number.")
    if target_metric is not None and not math.isfinite(target_metric):
        raise InputError(f"The target metric {target_metric} cannot be reached: give a number.")


def _distinct(entrants: Sequence[Entrant]) -> None:
    names = [e.name for e in entrants]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"The optimizer {name!r} is entered {names.count(name)} times: once is enough.")


def _fitting(
    problem: Problem,
    entrants: Sequence[Entrant],
    around: Around,
    seeds: int,
    lrs: Sequence[float] | None,
    seconds: float,
    jobs: int,
    begun: float,
) -> int:
    """So many steps a trial that the race should take `seconds`, from the speed of 20 steps tried here."""
    tried = 20
    clock = time.perf_counter
    whole = replace(around, stop_early=None)
    run(problem, entrants[0], Trial(entrants[0].identity, 1e-3, 0, 2), around=whole)
    before = clock()
    run(problem, entrants[0], Trial(entrants[0].identity, 1e-3, 0, tried), around=whole)
    step = (clock() - before) / tried
    left = seconds - (time.monotonic() - begun) - START_SECONDS
    trials = trials_expected(len(entrants), seeds, len(lrs) if lrs is not None else None)
    return max(25, int(0.8 * max(left, 0) * jobs / (trials * step)))


START_SECONDS = 5.0
"""What starting the workers and drawing the picture is reckoned to take when a time is to be kept."""
