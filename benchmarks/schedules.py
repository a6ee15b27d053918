"""How far our schedules are from those of every other library that is installed: the table of docs/schedules.md.

    python -m benchmarks.schedules

The largest difference over 10 000 steps, from a peak of 1. The rows are those of tests/peers/schedules.py.
"""

import warnings

from rich import box
from rich.console import Console
from rich.table import Table

from adamas.bench.report import caption
from tests.peers.schedules import installed, rows


def main() -> None:
    warnings.simplefilter("ignore")
    console = Console(width=180)
    table = Table("library", "theirs", "ours", "differs by", box=box.SIMPLE_HEAD, pad_edge=False)
    missing: set[str] = set()
    present: set[str] = set()
    for row in rows():
        if not installed(row.peer):
            missing.add(row.peer)
            continue
        present.add(row.peer)
        ours = repr(row.ours) + (", β₁" if row.momentum else "")
        table.add_row(row.peer, row.theirs, ours, f"{row.difference():.1e}")
    console.print(table, markup=False)
    console.print(caption(sorted(present)), markup=False)
    if missing:
        console.print(f"Not installed, and so not compared: {', '.join(sorted(missing))}.", markup=False)


if __name__ == "__main__":
    main()
