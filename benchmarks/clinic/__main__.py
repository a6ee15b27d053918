"""Is the doctor right, does it leave the healthy alone, and do its remedies cure?

    python -m benchmarks.clinic [--part 1] [--seeds 5] [--jobs 2] [--only "η too,overfit"] [--markdown] [--json FILE]

Each ailment is planted in a run that trains well without it: its twin, the same to the bit but for the planting. It
must make the run worse by a criterion of its own; how many did is printed, and only those count. The doctor watches
the sick run. A finding is right if it is among the codes that the ailment names, which were fixed by what the codes
mean, and among the first two. The settings of its remedy are applied and the run is run again, up to three times,
with what is found then, for as long as it becomes better; it is cured if its loss comes within a tenth of the twin's.

A run of a healthy kind can fall ill by its seed. It is left out, and named, if it ends with a loss of more than twice
the median of its kind's seeds, whatever the doctor said of it.

The doctor's thresholds were fixed on the first three parts. The fourth has other data, other models and other seeds,
and was written after that.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from joblib import Parallel, delayed
from rich.console import Console
from rich.table import Table

from adamas.bench.report import caption
from benchmarks.clinic.ailments import AILMENTS, FLOOR, HEALTHY, Ailment
from benchmarks.clinic.training import Outcome, Run, train
from benchmarks.clinic.treatment import CURED, Case, treat

PARTS = (*3 * ("thresholds fixed on these",), "unseen")
SEEDS = (0, 100, 200, 300)
"""The first seed of each part."""


FELL = 2.0
"""A healthy run has fallen ill by its seed if it ends with more than so many times the median loss of its seeds."""


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


def fallen(seeds: Sequence[Outcome]) -> list[bool]:
    """Which of one kind's runs have fallen ill."""
    ends = [outcome.training + FLOOR * outcome.ignorance for outcome in seeds]
    return [end > FELL * statistics.median(ends) for end in ends]


def warned(outcomes: Sequence[Outcome]) -> str:
    return share(sum(bool(outcome.warnings) for outcome in outcomes), len(outcomes))


def summary(
    ailments: Sequence[Ailment], cases: Sequence[Case], healthy: Sequence[Outcome], ill: Sequence[Outcome]
) -> list[list[str]]:
    criteria = {ailment.name: ailment.sick for ailment in ailments}
    cases = [case for case in cases if case.sick >= criteria[case.ailment]]  # else it was no ailment there
    codes = {ailment.name: ailment.codes for ailment in ailments}
    settable = {ailment.name for ailment in ailments if ailment.settable}
    treated = [case for case in cases if case.ailment in settable]
    cured = sum(case.cured <= CURED for case in treated)
    right = sum(case.right(codes[case.ailment]) for case in cases)
    return [
        ["the planted ailment among the first two findings", share(right, len(cases)), "90 % or more"],
        ["healthy runs with a warning", warned(healthy), "3 % or less"],
        ["the same, with those that fell ill by their seed", warned([*healthy, *ill]), ""],
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
    parser.add_argument("--part", type=int, choices=(1, 2, 3, 4), default=1)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", help="parts of names of ailments, with commas; and no healthy runs but the twins")
    parser.add_argument("--markdown", action="store_true", help="tables as the documentation has them")
    parser.add_argument("--json", type=Path, help="write every case with its findings there")
    options = parser.parse_args()
    begun, part = time.monotonic(), options.part - 1
    wanted = options.only.split(",") if options.only else [""]
    ailments = [ailment for ailment in AILMENTS if any(each in ailment.name for each in wanted)]
    seeds = range(SEEDS[part], SEEDS[part] + options.seeds)
    kinds = {} if options.only else {name: run for name, runs in HEALTHY.items() if (run := runs[part]) is not None}
    pairs = list(
        dict.fromkeys(
            (run, seed) for run in [*(a.twins[part] for a in ailments), *kinds.values()] for seed in seeds
        )
    )  # fmt: skip
    parallel = Parallel(options.jobs)
    outcomes: dict[tuple[Run, int], Outcome] = dict(
        zip(pairs, parallel(delayed(train)(run, seed, watched=True) for run, seed in pairs), strict=True)
    )
    cases: list[Case] = parallel(
        delayed(treat)(ailment, part, seed, outcomes[ailment.twins[part], seed])
        for ailment in ailments
        for seed in seeds
    )
    console = Console(width=130)
    title = f"Part {options.part} ({PARTS[part]})"
    show(console, ROWS, by_ailment(ailments, cases), title, options.markdown)
    healthy: list[Outcome] = []
    ill: list[Outcome] = []
    told: list[str] = []
    for name, run in kinds.items():
        own = [outcomes[run, seed] for seed in seeds]
        for seed, outcome, fell in zip(seeds, own, fallen(own), strict=True):
            said = " ".join(f.code for f in outcome.warnings)
            (ill if fell else healthy).append(outcome)
            if fell or said:
                how = "Fell ill by its seed, left out" if fell else "Healthy, but warned of"
                told.append(f"{how}: {name}, seed {seed}, loss {outcome.training:.3g}: {said or 'nothing found'}")
    show(console, SUMMARY, summary(ailments, cases, healthy, ill), title, options.markdown)
    console.print("\n".join(told), highlight=False, soft_wrap=True)
    twins = dict.fromkeys((a.name, a.twins[part], seed) for a in ailments for seed in seeds)
    well = [(name, outcomes[run, seed]) for name, run, seed in twins]
    console.print(
        f"Healthy twins with a warning: {warned([outcome for _, outcome in well])}"
        + "".join(
            f"; {name}: {' '.join(f.code for f in outcome.warnings)}" for name, outcome in well if outcome.warnings
        ),
        highlight=False,
    )
    console.print(f"{time.monotonic() - begun:.0f} s")
    if options.json:
        found = {f"{run}, seed {seed}": [f.as_dict() for f in o.findings] for (run, seed), o in outcomes.items()}
        plain = {"cases": [asdict(case) for case in cases], "healthy": found}
        options.json.write_text(json.dumps(plain, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
