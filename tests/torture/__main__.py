"""`make torture`: every kind of trial in full, and a table of how they ended."""

import argparse
import sys

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.torture.tally import Outcome, run
from tests.torture.trials import TRIALS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"only these: {', '.join(TRIALS)}")
    parser.add_argument("--count", type=int, help="so many of each, instead of the full number")
    options = parser.parse_args()
    if unknown := [kind for kind in options.kinds if kind not in TRIALS]:
        parser.error(f"there are no {unknown[0]!r}: known are {', '.join(TRIALS)}")

    table = Table("trials", "tried", *(outcome.value for outcome in Outcome))
    bad = []
    with Progress(console=Console(stderr=True)) as progress:
        for kind in options.kinds or TRIALS:
            trial = TRIALS[kind]
            count = options.count or trial.full
            task = progress.add_task(kind, total=count)
            tally = run(trial.place, count, lambda done, task=task: progress.update(task, completed=done))
            table.add_row(kind, str(tally.tried), *(str(tally.counts[outcome]) for outcome in Outcome))
            bad += [(kind, *entry) for entry in tally.bad]
    console = Console()
    console.print(table)
    for kind, seed, outcome, seen in bad[:40]:
        console.print(f"{kind}, seed {seed}: {outcome.value} {seen}", markup=False, highlight=False)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
