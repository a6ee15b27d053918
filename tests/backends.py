"""Every rule on every backend, against the float64 oracle: ``python -m tests.backends`` prints how far each is off.

Ten steps in float32 are taken from a float32 start, over gradients of twelve decades and zeros; the oracle takes the
same in float64. The error is that of θ, in units of float32's last place at the largest |θ| of its way. A number is
the largest over all of a rule's rows in `tests.cases` and all coordinates. To round θ costs up to a half at each
step, 5 in all; exit status 1 if a number is more than twice that.

``--markdown`` prints the table that docs/rules.md has, which names a test for each; ``--write`` puts it there.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.cases import CASES, Case
from tests.reference import textbook
from tests.reference.gradients import sequence
from tests.running import WAYS

STEPS = 10
PAGE = Path(__file__).parents[1] / "docs" / "rules.md"
BEGIN, END = "<!-- python -m tests.backends --write -->\n\n", "\n<!-- end -->\n"

#: What a number may be: twice what it costs to round θ once a step.
BOUND = STEPS

#: Ways to run a rule, as the tables head them. PyTorch's second column is its own arithmetic, for every device.
MACHINES = {
    "numpy": "NumPy text",
    "numba": "NumPy front",
    "torch": "PyTorch CPU",
    "torch-eager": "PyTorch eager",
    "jax": "JAX",
    "triton": "Triton interpreted",
    "javascript": "browser",
}

Way = Callable[..., Any]


def triton(case: Case, theta: np.ndarray, grads: list[Any], dtype: str) -> Any:
    """The torch front on the CPU, but by the GPU's kernels, which the interpreter runs."""
    import torch

    from adamas.torch import arrays
    from adamas.torch.launching import Launcher

    engine = Launcher(torch.device("cpu"))
    arrays.engine_of = lambda device, capturable: engine
    with np.errstate(all="ignore"):  # of the interpreter's
        return WAYS["torch"](case, theta, grads, dtype)


def interpreted() -> dict[str, float] | str:
    """What `measure` finds by Triton, in a process of its own: it is chosen before triton is imported."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        return measure(CASES, triton)
    if importlib.util.find_spec("triton") is None:
        return "needs triton"
    command = [sys.executable, "-m", "tests.backends", "triton", "--json"]
    ran = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, cwd=PAGE.parents[1], stdout=subprocess.PIPE, text=True
    )
    return json.loads(ran.stdout)["triton"] if ran.stdout else f"failed, with exit status {ran.returncode}"


@cache
def given(short: bool) -> tuple[np.ndarray, list[np.ndarray]]:
    """A start and gradients, in numbers that float32 has."""
    n = 6 if short else 21
    return np.linspace(-1.5, 2.0, n).astype(np.float32).astype(np.float64), sequence(11, n, STEPS)


def error(case: Case, way: Way) -> float:
    """The largest error of a row on one backend, in ulp."""
    theta, grads = given(case.rule == "lpadam")  # whose oracle counts in decimals
    oracle = getattr(textbook, case.oracle or case.rule)
    largest = np.abs(theta)
    for k in range(1, STEPS + 1):
        exact, _ = oracle(theta, grads[:k], **case.told)
        largest = np.maximum(largest, np.abs(exact))
    param, _ = way(case, theta, grads, "float32")
    return float(np.max(np.abs(param.astype(np.float64) - exact) / np.spacing(largest.astype(np.float32))))


def measure(cases: list[Case], way: Way) -> dict[str, float] | str:
    """Rule -> largest error; or why there is none."""
    found: dict[str, float] = {}
    for case in cases:
        try:
            found[case.rule] = max(found.get(case.rule, 0.0), error(case, way))
        except ModuleNotFoundError as missing:
            return f"needs {missing.name}"
        except BaseException as skipped:
            if type(skipped).__name__ == "Skipped":  # by pytest, where there is no browser
                return str(skipped)
            raise
    return found


def rules() -> list[str]:
    return list(dict.fromkeys(case.rule for case in CASES))


def markdown() -> str:
    """Rule × machine: the id of a test that passes there."""
    first = {case.rule: case.name for case in reversed(CASES)}
    lines = [
        "| tested on | " + " | ".join(MACHINES.values()) + " |",
        "|---" * (1 + len(MACHINES)) + "|",
    ]
    for rule in rules():
        cells = [f"`{first[rule]}-{way}`" if way in WAYS else f"`{first[rule]}`" for way in MACHINES]
        lines.append(f"| `{rule}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def parts(page: str) -> tuple[str, str, str]:
    """The page before the table, the table, and the page after it."""
    before, rest = page.split(BEGIN)
    table, after = rest.split(END)
    return before + BEGIN, table, END + after


def columns(ways: list[str]) -> Iterator[tuple[str, dict[str, float] | str]]:
    for way in track(ways, "Backends", console=Console(stderr=True), transient=True):
        yield way, interpreted() if way == "triton" else measure(CASES, WAYS[way])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", choices=[[], *MACHINES], metavar="BACKEND", help=f"of {', '.join(MACHINES)}")
    parser.add_argument("--json", action="store_true", help="the numbers, by backend and rule")
    parser.add_argument("--markdown", action="store_true", help="the table of docs/rules.md")
    parser.add_argument("--write", action="store_true", help="put that table into docs/rules.md")
    args = parser.parse_args()
    if args.write:
        before, _, after = parts(PAGE.read_text())
        PAGE.write_text(before + markdown() + after)
    elif args.markdown:
        print(markdown(), end="")
    else:
        found = dict(columns(args.ways or list(MACHINES)))
        if args.json:
            print(json.dumps(found, indent=2))
        else:
            show(found)
        if (
            max((x for column in found.values() if isinstance(column, dict) for x in column.values()), default=0)
            > BOUND
        ):
            sys.exit(f"More than {BOUND} ulp: see above.")


def show(found: dict[str, dict[str, float] | str]) -> None:
    """Print the table, and why a column is empty."""
    table = Table(title=f"Largest error of θ after {STEPS} float32 steps, in ulp")
    table.add_column("rule", no_wrap=True)
    for way in found:
        table.add_column("\n".join(MACHINES[way].split()), justify="right")
    for rule in rules():
        cells = [f"{column[rule]:.2f}" if isinstance(column, dict) else "–" for column in found.values()]
        table.add_row(rule, *cells)
    Console().print(table)
    for way, column in found.items():
        if isinstance(column, str):
            print(f"{MACHINES[way]}: {column}")


if __name__ == "__main__":
    main()
