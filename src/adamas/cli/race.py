"""`adamas race`."""

import json
import sys
from typing import Any

import click

from adamas.cli import options
from adamas.errors import InputError


def _rates(ctx: click.Context, param: click.Parameter, value: str | None) -> list[float] | None:
    if value is None:
        return None
    rates: list[float] = []
    for text in value.split(","):
        try:
            rates.append(float(text))
        except ValueError:
            raise InputError(
                f"--lrs: {text.strip()!r} is not a number; give learning rates as in --lrs 1e-3,3e-3,1e-2."
            ) from None
    return rates


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
    if value is None:
        return None
    names = [name.strip() for name in value.split(",")]
    if not all(names):
        raise InputError(f"--optimizers {value!r} has an empty name; give them as in --optimizers adamw,sgd.")
    return names


@click.command()
@click.argument("problem", default="digits")
@click.option(
    "--optimizers",
    callback=_names,
    metavar="A,B,…",
    help="Rules, torch classes by dotted path, file.py:name. Default: the family.",
)
@click.option(
    "--lrs",
    callback=_rates,
    metavar="η,η,…",
    help="Learning rates to try. Default: searched for each optimizer.",
)
@click.option("--seeds", default=5, show_default=True, help="Fresh seeds the finalists are run from.")
@click.option("--steps", type=int, help="Steps of a full training. Default: the problem's own.")
@click.option("--seconds", type=float, help="Time for the whole race; without --steps the length is chosen to fit.")
@options.target
@click.option("--target-metric", type=float, help='Value for "steps to the target", instead of the default.')
@options.schedule
@options.warmup
@options.clip
@click.option(
    "--stop-early",
    type=int,
    metavar="N",
    help="End a trial at N validations in a row without improvement, of 25 in all; its best one counts.",
)
@click.option(
    "--switch",
    metavar="WHEN",
    help="From Adam's kin to gradient descent: at=200, at=0.6 (of a trial), plateau=3 or swats=1e-3.",
)
@click.option("--recipe", metavar="NAME", help="Have a recipe race too: general, transformer, vision or large_batch.")
@click.option("--jobs", type=int, help="Trials at once. Default: one a core.")
@click.option("--resume", is_flag=True, help="Go on with the race in the output folder.")
@click.option(
    "-o",
    "--output",
    default="race",
    show_default=True,
    metavar="FOLDER",
    help="Gets trials.jsonl, results.json, race.png and report.html; an earlier race there is replaced.",
)
@options.as_json
def race(as_json: bool, problem: str, **given: Any) -> int:
    """Train PROBLEM with several optimizers, learning rates and seeds; say which wins and how sure that is.

    PROBLEM is a built-in one (digits, digits-softmax, digits-cnn, breast-cancer, sparse-embedding, reddi,
    rosenbrock and other test surfaces), a .csv, .npz or .parquet file with --target, or your own .py file.
    """
    from adamas.race import race as run
    from adamas.race.report import printed

    result = run(problem, **given)
    if as_json:
        click.echo(json.dumps(result.summary, indent=1, allow_nan=False))
        return 1 if result.stopped else 0
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(f"\n{result.problem.name}: {result.problem.about}", markup=False)
    if result.table.rows:
        for part in printed(result.problem, result.plan, result.table):
            console.print(part, markup=False, style="dim" if isinstance(part, str) else None, soft_wrap=True)
    console.print(f"\n{result.table.verdict}", style="bold", markup=False, soft_wrap=True)
    if result.lines is not None:
        console.print(f"\nIn your own training:\n\n{options.indented(result.lines)}", markup=False, soft_wrap=True)
    if result.report is not None:
        console.print(f"Report, for a browser: {result.report}", markup=False, soft_wrap=True)
    if result.picture is not None:
        console.print(f"Picture: {result.picture}", markup=False, soft_wrap=True)
    elif result.lines is not None:
        console.print("Picture: none, for that needs matplotlib (pip install 'adamas[plot]').", markup=False)
    console.print(f"All trials: {result.folder / 'results.json'}", markup=False, soft_wrap=True)
    console.print(f"{len(result.outcomes)} trials, {result.summary['seconds']:.1f} s in all.", markup=False)
    if result.stopped is not None:
        click.echo(
            f"adamas: the race is not complete ({result.stopped}); what was finished is above and kept: "
            "the same command with --resume goes on.",
            err=True,
        )
        return 1
    return 0
