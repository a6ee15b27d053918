"""`adamas animate`."""

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import click

from adamas.cli.output import folder
from adamas.cli.show import values
from adamas.errors import InputError
from adamas.problems.base import need

FORMATS = (".html", ".gif", ".mp4", ".png")


def _outputs(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> list[Path]:
    paths = [Path(text) for text in given]
    for path in paths:
        if path.suffix.lower() not in FORMATS:
            raise InputError(f"-o {path} is no kind of picture: give a name that ends in {', '.join(FORMATS)}.")
        folder(path)
        if path.suffix.lower() != ".html":
            need("matplotlib", "plot")
        if path.suffix.lower() == ".mp4":
            from adamas.pictures.frames import ffmpeg

            ffmpeg()
    return paths


@click.command()
@click.argument("surfaces", nargs=-1)
@click.option("--demo", is_flag=True, help="The classical comparison: four optimizers at three η on a quadratic.")
@click.option("--optimizers", metavar="A,B,…", help="Rules, or file.py:name; adam@0.1 is one with an η of its own.")
@click.option("--lrs", metavar="η,η,…", help="For all, a panel each. Default: the best of a few, for each optimizer.")
@click.option("--option", "options", multiple=True, callback=values, metavar="NAME=VALUE", help="For all that have it.")
@click.option("--steps", type=int, help="How many. Default: 200.")
@click.option("--start", "starts", multiple=True, metavar="X,Y", help="From where; several times for several paths.")
@click.option("--window", metavar="LOW,HIGH,LOW,HIGH", help="The part of the surface to look at, x before y.")
@click.option("--noise", type=float, help="Standard deviation of noise on the gradient. Default: the surface's own.")
@click.option("--seed", type=int, help="Of the noise. Default: 0.")
@click.option("-o", "--output", "outputs", multiple=True, callback=_outputs, metavar="FILE",
    help="A page (.html), an animation (.gif), a film (.mp4, by ffmpeg) or a strip of moments (.png); may be given "
    "several times. Default: animate.html.",
)  # fmt: skip
@click.option(
    "--json", "as_json", is_flag=True, help="Print where each path ended as JSON, and nothing else on stdout."
)
def animate(surfaces: tuple[str, ...], demo: bool, outputs: list[Path], as_json: bool, **given: Any) -> None:
    """Show the paths of optimizers on SURFACES, step by step, and the height beside them.

    A surface is one of bowl, valley, rosenbrock, beale, himmelblau, rastrigin, ackley, booth, saddle, plateau,
    three-hills, noisy-bowl, drifting-bowl and the like; a formula in x and y, as "x**2 + 10*y**2"; or a function
    of your own, as file.py:name.
    """
    from adamas import pictures

    if demo:
        unwanted = [*surfaces, *(f"--{name}" for name, value in given.items() if value not in (None, (), {}))]
        if unwanted:
            raise InputError(f"--demo says all by itself: leave out {unwanted[0]}, or --demo.")
        scene = pictures.demo()
    else:
        scene = _scene(surfaces, **given)
    rows = _rows(scene)
    made: list[dict[str, Any]] = []
    for path in outputs or [Path("animate.html")]:
        begun = time.perf_counter()
        _write(scene, path)
        made.append({"file": str(path), "bytes": path.stat().st_size, "seconds": time.perf_counter() - begun})
    if as_json:
        click.echo(json.dumps({"paths": rows, "files": made}, indent=1, allow_nan=False))
        return
    _print(rows, made)


def _scene(
    surfaces: tuple[str, ...],
    optimizers: str | None,
    lrs: str | None,
    options: dict[str, Any],
    starts: tuple[str, ...],
    window: str | None,
    **more: Any,
) -> Any:
    from adamas.pictures.scene import DEFAULT, Scene, entry, surface

    names = [name.strip() for name in optimizers.split(",")] if optimizers is not None else list(DEFAULT)
    if not all(names):
        raise InputError(f"--optimizers {optimizers!r} has an empty name; give them as in --optimizers adam,sgd@0.01.")
    entries = tuple(entry(name, options) for name in names)
    for name in options:
        if not any(name in e.options for e in entries):
            raise InputError(f"--option {name}: none of {', '.join(names)} has it; see adamas rules.")
    seen = None
    if window is not None:
        a, b, c, d = _numbers("--window", window, 4)
        seen = (a, b), (c, d)
    rates = () if lrs is None else _numbers("--lrs", lrs)
    points = [_numbers("--start", text, 2) for text in starts]
    return Scene(
        tuple(surface(s, seen) for s in surfaces or ("valley",)),
        entries,
        rates=rates,
        starts=tuple((x, y) for x, y in points),
        **{name: value for name, value in more.items() if value is not None},
    )


def _numbers(option: str, text: str, count: int | None = None) -> tuple[float, ...]:
    """Numbers with commas between them."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(map(math.isfinite, found)) or (count is not None and len(found) != count):
        wanted = "numbers" if count is None else f"{count} numbers"
        raise InputError(f"{option} {text!r}: give {wanted} with commas between them.")
    return found


def _write(scene: Any, path: Path) -> None:
    if path.suffix.lower() == ".html":
        from adamas.pages import write
        from adamas.pictures.page import page

        write(path, page(scene))
        return
    from adamas.pictures.frames import gif, moments, mp4, strip

    if path.suffix.lower() == ".png":
        strip(scene, path)
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(path.name, total=len(moments(scene)))
        (gif if path.suffix.lower() == ".gif" else mp4)(scene, path, lambda t: bar.advance(task))


def _rows(scene: Any) -> list[dict[str, Any]]:
    """Where each path ended."""
    return [
        {
            "surface": panel.surface.name,
            "optimizer": entry.label,
            "lr": hyper["lr"],
            "start": list(way.points[0]),
            "end": list(way.points[-1]),
            "height": float(way.heights[-1]),
            "steps": len(way.points) - 1,
            "diverged": way.diverged,
        }
        for panel, hypers, rows in zip(scene.panels, scene.hypers, scene.walks, strict=True)
        for entry, hyper, ways in zip(scene.entries, hypers, rows, strict=True)
        for way in ways
    ]


def _print(rows: list[dict[str, Any]], made: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head, justify in (
        ("surface", "left"),
        ("optimizer", "left"),
        ("η", "right"),
        ("end", "right"),
        ("height", "right"),
    ):
        grid.add_column(head, justify=justify, no_wrap=True)  # pyright: ignore[reportArgumentType]
    before = None
    for row in rows:
        x, y = row["end"]
        height = f"diverged at step {row['steps']}" if row["diverged"] else f"{row['height']:.4g}"
        shown = row["surface"] if row["surface"] != before else ""
        grid.add_row(shown, row["optimizer"], f"{row['lr']:g}", f"{x:.4g}, {y:.4g}", height)
        before = row["surface"]
    console.print(grid)
    for file in made:
        size = f"{file['bytes'] / 1e6:.2f} MB" if file["bytes"] > 5e5 else f"{file['bytes'] / 1e3:.0f} kB"
        console.print(f"{file['file']}: {size}, {file['seconds']:.1f} s", markup=False, soft_wrap=True)
