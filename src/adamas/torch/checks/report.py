"""What the checks found, as a table, as HTML, as plain values."""

from collections import Counter
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Group

#: status -> its mark, its colour, what it is called in the count; the worst first.
STATUSES = {
    "fail": ("✗", "red", "failed"),
    "warn": ("!", "yellow", "warned"),
    "pass": ("✓", "green", "passed"),
    "skip": ("–", "dim", "did not apply"),
}


@dataclass(frozen=True)
class Result:
    """What one check found.

    Attributes:
        code: stable, as "P07"; docs/check.md tells more.
        name: as "initial-loss".
        status: "pass", "warn", "fail", or "skip" where there is nothing to look at.
        evidence: what was seen, in numbers.
        remedy: what to do; "" where nothing needs doing.
    """

    code: str
    name: str
    status: str
    evidence: str
    remedy: str = ""


@dataclass(frozen=True)
class Report:
    """What all checks found; shown as a table, the worst first.

    Attributes:
        about: what was checked, in a line.
        seconds: it took.
        results: in the order of their codes.
    """

    about: str
    seconds: float
    results: tuple[Result, ...]

    def __getitem__(self, code: str) -> Result:
        """The result of a check, by its code."""
        return next(result for result in self.results if result.code == code)

    @property
    def ok(self) -> bool:
        """Whether no check failed; warnings are none."""
        return not any(result.status == "fail" for result in self.results)

    @property
    def verdict(self) -> str:
        counts = Counter(result.status for result in self.results)
        return ", ".join(f"{counts[s]} {said}" for s, (_, _, said) in STATUSES.items() if counts[s])

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "about": self.about,
            "ok": self.ok,
            "seconds": round(self.seconds, 2),
            "counts": {s: sum(r.status == s for r in self.results) for s in STATUSES},
            "results": [vars(result) for result in self.results],
        }

    def _sorted(self) -> list[Result]:
        return sorted(self.results, key=lambda result: list(STATUSES).index(result.status))

    def __rich__(self) -> "Group":
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 1))
        for _ in range(3):
            grid.add_column(no_wrap=True)
        grid.add_column()
        for result in self._sorted():
            if result.status == "skip":
                continue
            mark, style, _ = STATUSES[result.status]
            grid.add_row(Text(mark, style), Text(result.code, style), Text(result.name, style), Text(result.evidence))
            if result.remedy:
                grid.add_row("", "", "", Text(f"→ {result.remedy}", style="bold"))
        reasons: dict[str, list[str]] = {}
        for result in self.results:
            if result.status == "skip":
                reasons.setdefault(result.evidence, []).append(result.code)
        left_out = [Text(f"– {', '.join(codes)}: {why}", style="dim") for why, codes in reasons.items()]
        color = next(style for s, (_, style, _) in STATUSES.items() if any(r.status == s for r in self.results))
        return Group(
            Text(self.about), "", grid, *left_out, "", Text(f"{self.verdict}; {self.seconds:.1f} s.", f"bold {color}")
        )

    def __str__(self) -> str:
        from rich.console import Console

        file = StringIO()
        Console(file=file, width=120).print(self)
        return "\n".join(line.rstrip() for line in file.getvalue().splitlines())

    def _repr_html_(self) -> str:
        colors = {"fail": "#c00", "warn": "#b80", "pass": "#080", "skip": "#888"}
        rows = "".join(
            f"<tr><td style='color:{colors[r.status]}'>{STATUSES[r.status][0]}</td><td>{r.code}</td><td>{r.name}</td>"
            f"<td style='text-align:left'>{escape(r.evidence)}"
            + (f"<br><b>→ {escape(r.remedy)}</b>" if r.remedy else "")
            + "</td></tr>"
            for r in self._sorted()
        )
        return f"<p>{escape(self.about)}</p><table>{rows}</table><p><b>{self.verdict}</b></p>"
