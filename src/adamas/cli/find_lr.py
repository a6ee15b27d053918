"""`adamas find-lr`."""

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adamas.cli import options
from adamas.cli.output import named
from adamas.rangetest import END, NUM_ITER, START, TRIAL, RangeTest

if TYPE_CHECKING:
    from rich.table import Table


@click.command("find-lr")
@click.argument("problem", default="digits")
@click.option(
    "--optimizer", default="adamw", show_default=True, metavar="NAME", help="A rule, a torch class, or file.py:name."
)
@options.target
@click.option("--start", default=START, show_default=True, help="The smallest η.")
@click.option("--end", default=END, show_default=True, help="The largest η.")
@click.option("--num-iter", default=NUM_ITER, show_default=True, help="Mini-batches of the sweep.")
@click.option("--trial", default=TRIAL, show_default=True, help="Steps of the last trials; 0 for the sweep alone.")
@options.seed
@click.option(
    "-o",
    "--output",
    callback=named("it is a picture or a page", ".png", ".html"),
    metavar="FILE",
    help="Draw loss against η: .png, or .html for a page.",
)
@options.as_json
def find_lr(as_json: bool, problem: str, optimizer: str, output: Path | None, **given: Any) -> int:
    """Find a learning rate for PROBLEM: raise η until the loss diverges, then try what looks best.

    PROBLEM is what `adamas race` takes: a built-in one (digits, digits-cnn, …), a .csv, .npz or .parquet file with
    --target, or your own .py file. Exit status 1 where there is no confident suggestion.
    """
    from adamas.pages import write
    from adamas.problems.base import need
    from adamas.race.progress import Progress
    from adamas.race.rate import find_lr as run
    from adamas.rangetest_page import range_page

    as_page = output is not None and output.suffix.lower() == ".html"
    if output is not None and not as_page:
        need("matplotlib", "plot")
    found = run(problem, optimizer, tell=Progress().line, **given)
    test = found.test
    if output is not None and as_page:
        what = f"{found.entrant.label} on {found.problem.name}"
        write(output, range_page(what, found.problem.about, test, found.lines))
    elif output is not None:
        figure: Any = test.plot().figure
        figure.savefig(output)
    if as_json:
        told = {"problem": problem, "optimizer": optimizer, **given, **test.as_dict(), "snippet": found.lines}
        click.echo(json.dumps(told, indent=1, allow_nan=False))
        return 0 if test.confident else 1
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(f"\n{found.problem.name}: {found.problem.about}; {found.entrant.label}", markup=False)
    console.print(_table(test))
    console.print("Read off the sweep alone, as fastai does: ", _read_off(test), sep="", markup=False, style="dim")
    console.print(f"\n{test.sentence}", style="bold", markup=False, soft_wrap=True)
    if test.confident and found.lines is not None:
        console.print(f"\nIn your own training:\n\n{options.indented(found.lines)}", markup=False, soft_wrap=True)
    if output is not None:
        console.print(f"{'Page' if as_page else 'Picture'}: {output}", markup=False, soft_wrap=True)
    console.print(f"{test.steps} mini-batches in all.", markup=False)
    return 0 if test.confident else 1


def _table(test: RangeTest) -> "Table":
    from rich import box
    from rich.table import Table

    lengths = sorted({trial.steps for trial in test.trials})
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in ("η", *(f"loss after {steps} steps" for steps in lengths)):
        grid.add_column(head, justify="right", no_wrap=True)
    losses = {(trial.lr, trial.steps): trial.loss for trial in test.trials}
    for lr in sorted({trial.lr for trial in test.trials}):
        cells = [
            "" if loss is None else f"{loss:.4g}" if math.isfinite(loss) else "diverged"
            for loss in (losses.get((lr, steps)) for steps in lengths)
        ]
        grid.add_row(f"{lr:g}", *cells, style="bold" if test.confident and lr == test.suggestion else None)
    return grid


def _read_off(test: RangeTest) -> str:
    return ", ".join(f"{name} {'–' if lr is None else f'{lr:.2g}'}" for name, lr in test.suggestions.items()) + "."
