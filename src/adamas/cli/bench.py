"""`adamas bench`."""

import json
import sys
from pathlib import Path

import click

from adamas.errors import InputError
from adamas.problems.base import need

DTYPES = ("float32", "float64", "bfloat16", "float16")


def _threads(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int] | None:
    if value is None:
        return None
    try:
        counts = [int(text) for text in value.split(",")]
    except ValueError:
        counts = [0]
    if min(counts) < 1:
        raise InputError(f"--threads {value!r}: give whole numbers from 1 on, as in --threads 1,2.")
    return list(dict.fromkeys(counts))


def _peers(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
    return None if value is None else [name.strip() for name in value.split(",")]


@click.command()
@click.argument("workloads", nargs=-1, metavar="[WORKLOAD]…")
@click.option(
    "--peers", callback=_peers, metavar="A,B,…", help="Against whom, as torch-fused. Default: all who are installed."
)
@click.option("--threads", callback=_threads, metavar="N,N,…", help="Default: as many as torch takes.")
@click.option(
    "--tail/--no-tail",
    default=None,
    help="Only with, or only without, clipping, averaging and clearing around the step. Default: both.",
)
@click.option("--seconds", default=5.0, show_default=True, help="For each workload, number of threads, and tail.")
@click.option("--dtype", type=click.Choice(DTYPES), help="Of all parameters. Default: the file's, or float32.")
@click.option(
    "-o", "--output", default="bench.png", show_default=True, type=click.Path(dir_okay=False, path_type=Path),
    metavar="PNG", help="Gets the picture; an earlier one is replaced.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON and nothing else on stdout.")
def bench(
    workloads: tuple[str, ...],
    peers: list[str] | None,
    threads: list[int] | None,
    tail: bool | None,
    seconds: float,
    dtype: str | None,
    output: Path,
    as_json: bool,
) -> int:
    """Time a step of AdamW, here and with every other library that is installed, on the CPU.

    WORKLOAD is one of 8-tensors, 500x64, 1000x16, resnet18, gpt2 (default: all five), a weights.safetensors file,
    of which only the header is read, or module.py:factory, a function of yours that returns a torch module.

    Peers: torch-fused, torch-foreach, torch, deepspeed, optax, optimi, bitsandbytes, torchao, torchao-4bit. Each is
    tried first: who does not compute AdamW is not timed. Everybody has parameters, gradients and states of their own.
    """
    if not 0 < seconds < float("inf"):
        raise InputError(f"--seconds {seconds:g} is no time to measure in: give a positive number.")
    if not output.absolute().parent.is_dir():
        raise InputError(f"There is no folder {output.parent} for the picture: make it, or name another with -o.")
    torch = need("torch", "torch")
    from adamas.bench import bench as run
    from adamas.bench.report import as_dict, printed
    from adamas.bench.workloads import NAMED, workload
    from adamas.race.progress import Progress

    result = run(
        [workload(name, dtype) for name in dict.fromkeys(workloads or NAMED)],
        peers,
        threads or [torch.get_num_threads()],
        [False, True] if tail is None else [tail],
        seconds,
        Progress().say,
    )
    if not result.measurements:
        raise KeyboardInterrupt
    try:
        from adamas.bench.picture import draw
    except ModuleNotFoundError:
        picture = "Picture: none, for that needs matplotlib (pip install 'adamas[plot]')."
    else:
        draw(result, output)
        picture = f"Picture: {output}"
    if as_json:
        click.echo(json.dumps(as_dict(result), indent=1, allow_nan=False))
        return 0 if result.complete else 1
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    for part in printed(result):
        console.print(part, style="dim" if isinstance(part, str) else None, soft_wrap=not isinstance(part, str))
    console.print(picture, markup=False, soft_wrap=True)
    if not result.complete:
        click.echo("adamas: stopped before the end; what was measured until then is above.", err=True)
        return 1
    return 0
