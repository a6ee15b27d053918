"""`adamas doctor`."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from adamas.cli import options
from adamas.cli.output import named
from adamas.errors import InputError


@click.command()
@click.argument("run", metavar="RUN.jsonl | --fix PROBLEM")
@click.option("--fix", is_flag=True, help="Train a problem, change what ails the training, and train again.")
@click.option(
    "--optimizer",
    metavar="NAME",
    help="With --fix: a rule, a torch class, or file.py:name. Default: the file's own optimizer(model), or else adamw.",
)
@click.option("--lr", type=float, metavar="η", help="Its learning rate. Default: its own.")
@click.option("--steps", type=int, help="Steps of a training. Default: the problem's own.")
@options.target
@options.schedule
@options.warmup
@options.clip
@options.seed
@click.option(
    "-o", "--output", callback=named("the timeline is a page", ".html", ".htm"), metavar="FILE.html",
    help="Write a page: the timeline of the run; with --fix, the curves before and after.",
)  # fmt: skip
@options.as_json
@click.pass_context
def doctor(ctx: click.Context, run: str, fix: bool, output: Path | None, as_json: bool, **given: Any) -> int:
    """Say what ails a training, from the log that a Doctor has written while it ran.

    With --fix PROBLEM, train a problem as `adamas race` takes it: a built-in one (digits, digits-cnn, …), a .csv, .npz
    or .parquet file with --target, or your own .py file. What is found first and a setting can change is changed, and
    the problem trained again, up to three times.

    Exit status 1 where something ails the training, with --fix the best one (notes do not count).
    """
    if fix:
        return _fixed(run, output, as_json, given)
    source = click.core.ParameterSource.DEFAULT
    alone = [name for name in given if ctx.get_parameter_source(name) is not source]
    if alone:
        raise InputError(f"--{alone[0]} trains a problem, which only --fix does: give --fix too, or leave it out.")
    return _read(run, output, as_json)


def _read(run: str, output: Path | None, as_json: bool) -> int:
    from adamas.doctor import replay
    from adamas.doctor.report import printed, summary, verdict

    seen, diagnosis = replay(run)
    findings, cleared = diagnosis.findings, diagnosis.cleared
    if output is not None:
        from adamas.doctor.page import doctor_page
        from adamas.pages import write

        write(output, doctor_page(Path(run).name, seen, findings, cleared))
    status = int(any(finding.severity != "note" for finding in findings))
    if as_json:
        told = {
            "run": run,
            "steps": seen.count,
            "summary": summary(seen),
            "verdict": verdict(findings),
            "findings": [finding.as_dict() for finding in findings],
            "cleared": [finding.as_dict() for finding in cleared],
        }
        click.echo(json.dumps(told, indent=1, allow_nan=False, ensure_ascii=False))
        return status
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    for part in printed(seen, findings, cleared):
        console.print(part)
    if output is not None:
        console.print(f"Timeline: {output}", markup=False, soft_wrap=True)
    return status


def _fixed(problem: str, output: Path | None, as_json: bool, given: dict[str, Any]) -> int:
    from adamas.fix import fix
    from adamas.fix.report import remaining, table

    treated = fix(problem, **given)
    if output is not None:
        treated.write(output)
    if as_json:
        click.echo(json.dumps(treated.as_dict(), indent=1, allow_nan=False, ensure_ascii=False))
        return 0 if treated.cured else 1
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    console.print(table(treated))
    console.print(treated.verdict, style="bold", markup=False, soft_wrap=True)
    for finding in remaining(treated):
        console.print(finding, markup=False, soft_wrap=True)
    if treated.lines is not None:
        console.print(f"\nIn your own training:\n\n{options.indented(treated.lines)}", markup=False, soft_wrap=True)
    if output is not None:
        console.print(f"Page: {output}", markup=False, soft_wrap=True)
    return 0 if treated.cured else 1
