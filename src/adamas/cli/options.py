"""Options that several commands have."""

import click

target = click.option("--target", metavar="COLUMN", help="The column to predict in a CSV, NPZ or Parquet file.")
schedule = click.option(
    "--schedule",
    metavar="SHAPE",
    help="Of η: constant, cosine, linear, one_cycle, one_minus_sqrt or wsd over each training, or an expression in "
    "steps, as adamas schedule takes it. Default: constant.",
)
warmup = click.option("--warmup", type=float, metavar="N", help="Steps up to η; below 1, a share of each training.")
clip = click.option("--clip", type=float, metavar="X", help="Clip the norm of all gradients together to X.")
seed = click.option("--seed", default=0, show_default=True, help="Of the start and the mini-batches.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON and nothing else on stdout.")


def indented(lines: str) -> str:
    """Code within what is printed."""
    return "".join(f"    {line}" if line.strip() else line for line in lines.splitlines(keepends=True))
