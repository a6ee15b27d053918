"""`adamas schedule`."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import click

from adamas.errors import InputError
from adamas.pages import write
from adamas.schedules import Schedule, from_json, parse
from adamas.schedules.base import Then
from adamas.schedules.page import rows as values
from adamas.schedules.page import schedule_page, span

_FORMATS = (".png", ".svg", ".pdf", ".html")
_BARS = "▁▂▃▄▅▆▇█"


def _read(text: str) -> Schedule:
    if not text.endswith(".json"):
        return parse(text)
    path = Path(text)
    if not path.is_file():
        raise InputError(f"There is no file {text}: check the spelling, or give the path from {Path.cwd()}.")
    try:
        return from_json(path.read_bytes())
    except InputError as error:
        raise InputError(f"{text}: {error}") from None


@click.command()
@click.argument("schedule")
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="How many to show. Default: all.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Gets the picture, .png, .svg or .pdf, or a page, .html; an earlier one is replaced.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on stdout.")
def schedule(schedule: str, steps: int | None, output: Path | None, as_json: bool) -> None:
    """Show a SCHEDULE: its values at the steps that matter, and a picture of it.

    SCHEDULE is an expression, as "3e-4 * (warmup(500) >> cosine(9500, floor=.1))", or a .json file that
    to_json() wrote. Shapes: constant, cosine, cosine_restarts, exponential, inverse_sqrt, linear, multi_step,
    one_cycle, one_minus_sqrt, polynomial, step_decay, warmup, wsd. a >> b: b after a; a * b: the product; a[:n]: the
    first n steps.
    """
    if output is not None and output.suffix not in _FORMATS:
        raise InputError(
            f"-o {output} is no kind of picture: name it {output.stem or 'schedule'}.png, .svg, .pdf or .html."
        )
    if output is not None and not output.absolute().parent.is_dir():
        raise InputError(f"There is no folder {output.parent} for the picture: make it, or name another with -o.")
    found = _read(schedule)
    shown = steps or found.view
    rows = values(found, shown)
    if output is not None and output.suffix == ".html":
        write(output, schedule_page(found, shown))
    elif output is not None:
        from adamas.schedules.picture import figure

        figure(found, shown).savefig(output)
    if as_json:
        told = {
            "expression": repr(found),
            "schedule": found.plain(),
            "length": None if found.length == math.inf else found.length,
            "rows": rows,
            "picture": None if output is None else str(output),
        }
        click.echo(json.dumps(told, indent=1, allow_nan=False))
        return
    _print(found, shown, rows, output)


def _print(found: Schedule, shown: int, rows: list[dict[str, Any]], output: Path | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    console.print(repr(found), style="bold", markup=False, soft_wrap=True)
    console.print(span(found, shown))
    console.print(f"\n{_line(found, shown, min(60, console.width))}", style="cyan")
    parts = isinstance(found, Then)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("steps taken", justify="right", no_wrap=True)
    table.add_column("η, or its factor", justify="right", no_wrap=True)
    if found.momentum is not None:
        table.add_column("β₁", justify="right", no_wrap=True)
    if parts:
        table.add_column("by")
    before = ""
    for row in rows:
        cells = [f"{row['step']:,}", f"{row['value']:.6g}"]
        if "momentum" in row:
            cells.append(f"{row['momentum']:.4g}")
        if isinstance(found, Then):
            part = repr(found.at(row["step"]))
            cells.append("" if part == before else part)
            before = part
        table.add_row(*cells)
    console.print(table)
    if output is not None:
        console.print(f"Picture: {output}", markup=False, soft_wrap=True)


def _line(found: Schedule, shown: int, width: int) -> str:
    """The curve as a row of bars."""
    values = [found(round(k * shown / (width - 1))) for k in range(width)]
    top = max(values) or 1.0
    return "".join(_BARS[min(len(_BARS) - 1, int(value / top * len(_BARS)))] for value in values)
