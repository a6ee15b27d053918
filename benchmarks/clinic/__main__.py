"""Is the doctor right, does it leave the healthy alone, and do its remedies cure?

    python -m benchmarks.clinic [--half 1] [--seeds 5] [--jobs 2] [--only "η too,overfit"] [--markdown] [--json FILE]

Each ailment is planted in a run that trains well without it: its twin, the same to the bit but for the planting. It
must make the run worse by a criterion of its own; how many did is printed, and only those count. The doctor watches
the sick run. A finding is right if it is among the codes that the ailment names, which were fixed by what the codes
mean, and among the first two. The settings of its remedy are applied and the run is run again, up to three times,
with what is found then, for as long as it becomes better; it is cured if its loss comes within a tenth of the twin's.

The doctor's thresholds were fixed on the first half. The second has other data, other models and other seeds.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from joblib import Parallel, delayed
from rich.console import Console
from rich.table import Table

from adamas.bench.report import caption
from benchmarks.clinic.ailments import AILMENTS, HEALTHY, Ailment
from benchmarks.clinic.training import Outcome, Run, train
from benchmarks.clinic.treatment import CURED, Case, treat

HALVES = ("thresholds fixed on these", "unseen")
SEEDS = (0, 100)
"""The first seed of either half."""


def share(good: int, of: int) -> str:
    return f"{good} of {of} ({100 * good / of:.0f} %)" if of else "–"


def by_ailment(ailments: Sequence[Ailment], cases: Sequence[Case]) -> list[list[str]]:
    rows: list[list[str]] = []
    for ailment in ailments:
        own = [case for case in cases if case.ailment == ailment.name]
        wrong = [case.findings[0].code if case.findings else "none" for case in own if not case.right(ailment.codes)]
        cured = sum(case.cured <= CURED for case in own)
        rows.append(
            [
                ailment.name,
                " ".join(sorted(ailment.codes)),
                f"{sum(case.sick >= ailment.sick for case in own)}/{len(own)}",
                f"{len(own) - len(wrong)}/{len(own)}",
                f"{cured}/{len(own)}" if ailment.settable else "–",
                " ".join(f"{code}" for code in dict.fromkeys(wrong)),
            ]
        )
    return rows


def summary(ailments: Sequence[Ailment], cases: Sequence[Case], healthy: Sequence[Outcome]) -> list[list[str]]:
    criteria = {ailment.name: ailment.sick for ailment in ailments}
    cases = [case for case in cases if case.sick >= criteria[case.ailment]]  # else it was no ailment there
    codes = {ailment.name: ailment.codes for ailment in ailments}
    settable = {ailment.name for ailment in ailments if ailment.settable}
    treated = [case for case in cases if case.ailment in settable]
    cured = sum(case.cured <= CURED for case in treated)
    right = sum(case.right(codes[case.ailment]) for case in cases)
    return [
        ["the planted ailment among the first two findings", share(right, len(cases)), "90 % or more"],
        ["healthy runs with a warning", share(sum(bool(o.warnings) for o in healthy), len(healthy)), "3 % or less"],
        ["cured, of those that a setting can cure", share(cured, len(treated)), "80 % or more"],
    ]


SUMMARY, ROWS = ("", "found", "target"), ("ailment", "right codes", "sick", "found", "cured", "said instead")


def show(console: Console, heads: Sequence[str], rows: Sequence[Sequence[str]], title: str, markdown: bool) -> None:
    if markdown:
        lines = [heads, ["---"] * len(heads), *rows]
        console.print("\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n", highlight=False, soft_wrap=True)
        return
    table = Table(*heads, title=title, caption=caption(["torch", "scikit-learn", "adamas"]))
    for row in rows:
        table.add_row(*row)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", type=int, choices=(1, 2), default=1)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", help="parts of names of ailments, with commas; and no healthy runs but the twins")
    parser.add_argument("--markdown", action="store_true", help="tables as the documentation has them")
    parser.add_argument("--json", type=Path, help="write every case with its findings there")
    options = parser.parse_args()
    begun, half = time.monotonic(), options.half - 1
    parts = options.only.split(",") if options.only else [""]
    ailments = [ailment for ailment in AILMENTS if any(part in ailment.name for part in parts)]
    seeds = range(SEEDS[half], SEEDS[half] + options.seeds)
    kinds = {} if options.only else {name: runs[half] for name, runs in HEALTHY.items()}
    pairs = list(
        dict.fromkeys(
            (run, seed) for run in [*(a.twins[half] for a in ailments), *kinds.values()] for seed in seeds
        )
    )  # fmt: skip
    parallel = Parallel(options.jobs)
    outcomes: dict[tuple[Run, int], Outcome] = dict(
        zip(pairs, parallel(delayed(train)(run, seed, watched=True) for run, seed in pairs), strict=True)
    )
    cases: list[Case] = parallel(
        delayed(treat)(ailment, half, seed, outcomes[ailment.twins[half], seed])
        for ailment in ailments
        for seed in seeds
    )
    console = Console(width=130)
    title = f"Half {options.half} ({HALVES[half]})"
    show(console, ROWS, by_ailment(ailments, cases), title, options.markdown)
    healthy = [outcomes[run, seed] for run in kinds.values() for seed in seeds]
    show(console, SUMMARY, summary(ailments, cases, healthy), title, options.markdown)
    for name, run in kinds.items():
        said = [f.code for seed in seeds for f in outcomes[run, seed].warnings]
        if said:
            console.print(f"Healthy, but warned of: {name}: {' '.join(said)}", highlight=False)
    twins = dict.fromkeys((a.name, a.twins[half], seed) for a in ailments for seed in seeds)
    warned = [(name, [f.code for f in outcomes[run, seed].warnings]) for name, run, seed in twins]
    console.print(
        f"Healthy twins with a warning: {share(sum(bool(said) for _, said in warned), len(warned))}"
        + "".join(f"; {name}: {' '.join(said)}" for name, said in warned if said),
        highlight=False,
    )
    console.print(f"{time.monotonic() - begun:.0f} s")
    if options.json:
        told = {f"{run}": [finding.as_dict() for finding in o.findings] for (run, _), o in outcomes.items()}
        plain = {"cases": [asdict(case) for case in cases], "healthy": told}
        options.json.write_text(json.dumps(plain, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
