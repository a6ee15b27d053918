"""Errors of float32 against float64: the tables of docs/accuracy.md, as Markdown.

    python -m benchmarks.accuracy [--seeds 10]

What is measured, and in which units, stands in tests/accuracy.py; the tests hold the page to what they see themselves.
"""

import argparse
import math

import adamas
from adamas.bench.report import caption
from tests import accuracy
from tests.cases import CASES

TORCH = ["torch default", "torch foreach", "torch fused"]


def up(value: float) -> str:
    """Rounded up to a tenth."""
    return f"{math.ceil(10 * value) / 10:g}"


def row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |")


def header(*cells: str) -> None:
    print()
    row(*cells)
    print("|" + "---|" * len(cells))


def steps(seeds: int) -> None:
    header("rule", "Δ: roundings", "Δ: seen", "Δ: seen, torch eager", "states: seen / roundings")
    for name in adamas.rules():
        bounds: dict[str, float] = {}
        seen: dict[str, float] = {}
        eager = 0.0
        for case in [case for case in CASES if case.rule == name]:
            for x, bound in accuracy.roundings(case).items():
                bounds[x] = max(bounds.get(x, 0.0), bound)
            for seed in range(seeds):
                for start in accuracy.starts(case, seed):
                    for x, error in accuracy.errors(case, start, *accuracy.compiled_step(case, start)).items():
                        seen[x] = max(seen.get(x, 0.0), error)
                    eager = max(eager, accuracy.errors(case, start, *accuracy.eager_step(case, start))["Δ"])
        states = ", ".join(f"`{x}` {up(seen[x])} / {up(bound)}" for x, bound in bounds.items() if x != "Δ")
        row(f"`{name}`", up(bounds["Δ"]), up(seen["Δ"]), up(eager), states or "–")


def drift() -> None:
    header("coordinates", "adamas", *TORCH)
    for n in (1000, 10_000, 100_000):
        found = accuracy.drift(["adamas", *TORCH], n, seed=0)
        row(n, *(f"{value:.1e}" for value in found.values()))


def decay() -> None:
    header("ηλ", "adamas", "torch")
    for lr, weight_decay in ((1e-3, 1e-1), (1e-3, 1e-2), (1e-3, 1e-3), (1e-3, 1e-4), (1e-3, 5e-5), (1e-3, 2.9e-5)):
        found = accuracy.decay(["adamas", "torch fused"], lr, weight_decay, n=20_001, seed=0)
        row(f"{lr * weight_decay:.1e}", *(f"{value:+.3%}" for value in found.values()))


def constant_gradient() -> None:
    header("β₁, β₂", "float32", "float64")
    for betas in ((0.0, 0.5), (0.9, 0.99), (0.9, 0.999), (0.9, 0.9999), (0.99, 0.99999)):
        seen = (accuracy.constant_gradient(dtype, betas).max() for dtype in ("float32", "float64"))
        row(", ".join(map(str, betas)), *(f"{value:.1e}" for value in seen))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="of the sequences that single steps are taken from")
    options = parser.parse_args()
    print(caption(["torch", "adamas"]))
    steps(options.seeds)
    drift()
    decay()
    constant_gradient()


if __name__ == "__main__":
    main()
