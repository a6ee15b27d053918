"""Whether the loss jumps when an optimizer goes over from AdamW to gradient descent.

    python -m benchmarks.late_switch [--seeds 5] [--steps 800] [--png late-switch.png]

A small convolutional network on scikit-learn's digits, under a cosine schedule, by each of the three conditions. How a
jump and the run's own noise are measured stands in tests/late_switch.py. The column "γ averaged" is the η that
Algorithm 1 of Keskar & Socher (2017) would have begun with in the same place.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from adamas.bench.report import caption
from tests.late_switch import NEAR, WAYS, WINDOW, Trained, train

BETA2 = 0.99


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--png", type=Path, default=Path("late-switch.png"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=120)
    alone = [train(seed, None, options.steps, beta2=BETA2).accuracy for seed in range(options.seeds)]
    runs: dict[tuple[str, int], Trained] = {}
    for name, switch in WAYS.items():
        for seed in range(options.seeds):
            runs[name, seed] = train(seed, switch, options.steps, beta2=BETA2)
            console.print(f"{name}, seed {seed}: {runs[name, seed].switched}", style="dim", highlight=False)

    table = Table(
        "switch", "seed", "after step", "η", "γ averaged", "loss before", "jump", "noise", "jump/noise", "accuracy, %",
        caption=caption(["adamas", "torch"]),
    )  # fmt: skip
    ratios: list[float] = []
    for (name, seed), run in runs.items():
        if run.switched is None:
            table.add_row(name, str(seed), "never", *["–"] * 6, f"{100 * run.accuracy:.1f}")
            continue
        step, (jump, noise) = run.switched.step, run.jump()
        ratios.append(jump / noise)
        table.add_row(
            name,
            str(seed),
            str(step),
            f"{run.switched.lr:.3g}",
            f"{run.papers(BETA2):.3g}",
            f"{run.losses[step - WINDOW : step].mean():.4f}",
            f"{jump:+.4f}",
            f"{noise:.4f}",
            f"{ratios[-1]:+.1f}",
            f"{100 * run.accuracy:.1f}",
        )
    console.print(table)
    wrong = sum(
        run.papers(BETA2) <= 0 or run.papers(BETA2) > 3 * run.switched.lr for run in runs.values() if run.switched
    )
    console.print(
        f"Jumps beyond 3 times the noise: {sum(abs(r) > 3 for r in ratios)} of {len(ratios)}; "
        f"largest {max(map(abs, ratios)):.1f}, root mean square {np.sqrt(np.mean(np.square(ratios))):.1f} "
        "(1 is what noise alone would give).\n"
        f"γ averaged is not above 0, or more than 3 times η: {wrong} of {len(ratios)}.\n"
        f"AdamW alone: accuracy {100 * statistics.mean(alone):.1f} % on average; "
        f"with a switch: {100 * statistics.mean(run.accuracy for run in runs.values()):.1f} %.",
        highlight=False,
    )
    draw({name: runs[name, 0] for name in WAYS if runs[name, 0].switched}, options.png)
    console.print(f"{options.png}", highlight=False)


def draw(runs: dict[str, Trained], path: Path) -> None:
    """The losses before and after, a panel for each condition."""
    from matplotlib.figure import Figure

    from adamas.race.picture import COLOURS, INK

    figure = Figure(figsize=(10, 3.0), dpi=100, layout="constrained")
    panels = figure.subplots(1, len(runs), squeeze=False)[0]
    for panel, (name, run) in zip(panels, runs.items(), strict=True):
        assert run.switched is not None
        step, (jump, noise) = run.switched.step, run.jump()
        first, last = max(step - NEAR, 0), min(step + NEAR, len(run.losses))
        for a, b, colour in ((first, step, COLOURS[0]), (step, last, COLOURS[1])):
            panel.plot(np.arange(a, b) + 1, run.losses[a:b], ".", markersize=3, color=colour, alpha=0.45)
        for a, b, colour in ((step - WINDOW, step, COLOURS[0]), (step, step + WINDOW, COLOURS[1])):
            panel.plot([a + 1, b], [run.losses[a:b].mean()] * 2, linewidth=3, color=colour, solid_capstyle="butt")
        panel.axvline(step + 0.5, color=INK, linewidth=0.8, linestyle=":")
        for side, word, colour in (("right", "AdamW ", COLOURS[0]), ("left", " SGD", COLOURS[1])):
            place = {"ha": side, "transform": panel.get_xaxis_transform()}
            panel.text(step + 0.5, 0.94, word, color=colour, fontsize=9, weight="bold", **place)
        panel.set_yscale("log")
        panel.set_title(f"{name}: jump {jump / noise:+.1f} × noise", loc="left", fontsize=10, color=INK, weight="bold")
        panel.set_xlabel(f"step; SGD from {step + 1} on, η = {run.switched.lr:.2g}", fontsize=8.5, color=INK)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(labelsize=8, colors=INK)
    panels[0].set_ylabel("loss of a mini-batch", fontsize=8.5, color=INK)
    figure.savefig(path)


if __name__ == "__main__":
    main()
