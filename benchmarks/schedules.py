"""How far our schedules are from those of every other library that is installed: the table of docs/schedules.md.

    python -m benchmarks.schedules                                        the table, as Markdown
    python -m benchmarks.schedules --picture docs/images/schedules.png    the page's picture instead

The largest difference over 10 000 steps, from a peak of 1. The rows are those of tests/peers/schedules.py.
"""

import argparse
import warnings

from adamas.bench.report import caption
from adamas.schedules import parse
from tests.peers.schedules import installed, rows

SHOWN = (
    "constant(.5)", "linear(1000)", "warmup(1000)", "cosine(1000, floor=.1)", "cosine_restarts(143, multiplier=2)",
    "step_decay(250, factor=.5)", "multi_step([500, 800], factor=.3)", "exponential(.5, every=200)",
    "polynomial(1000, power=2)", "one_minus_sqrt(1000)", "inverse_sqrt(100)", "one_cycle(1000)",
    "warmup(100) >> cosine(900)", "wsd(1000, warmup=100, decay=300)", "cosine_restarts(250) * linear(1000)",
)  # fmt: skip


def table() -> None:
    warnings.simplefilter("ignore")
    missing: set[str] = set()
    present: set[str] = set()
    print("| library | theirs | ours | differs by |\n|---|---|---|---|")
    for row in rows():
        (present if installed(row.peer) else missing).add(row.peer)
        if installed(row.peer):
            print(f"| {row.peer} | `{row.theirs}` | `{row.ours}` | {row.difference():.0e} |")
    print(f"\n{caption(sorted(present))}")
    if missing:
        print(f"Not installed, and so not compared: {', '.join(sorted(missing))}.")


def picture(path: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8.2), dpi=90, layout="constrained")
    for axes, text in zip(figure.subplots(5, 3).ravel(), SHOWN, strict=True):
        parse(text).plot(axes, steps=1000)
        axes.set_title(text, loc="left", fontsize=8.5, weight="bold", color="#333333")
        axes.set(xlabel="", ylabel="", xticks=[0, 500, 1000], yticks=[0, 0.5, 1], ylim=(0, 1.05))
    figure.savefig(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", metavar="PNG")
    options = parser.parse_args()
    picture(options.picture) if options.picture else table()
