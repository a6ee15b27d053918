"""The findings of a run in words."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adamas.doctor.diagnosis import Finding
from adamas.doctor.run import Look, Run

if TYPE_CHECKING:
    from rich.console import RenderableType


def summary(run: Run) -> str:
    """The run in a line."""
    look = Look(run)
    if not run.count:
        return "No step was observed."
    told = f"{run.count} steps" if not look.steps else f"step {run.step} of {look.steps}"
    if len(look.loss):
        told += f"; loss {look.first:.4g} → {look.now:.4g}"
    _, values = look.validations
    if len(values):
        told += f"; validation {values[0]:.4g} → {values[-1]:.4g}, best {values.min():.4g}"
    return f"{told}."


def verdict(findings: Sequence[Finding]) -> str:
    """What they come to, in a sentence."""
    ailing = [finding for finding in findings if finding.severity != "note"]
    if not ailing:
        return "Nothing ails this run."
    below = sum(len(finding.consequences) for finding in findings)
    rest = len(ailing) - 1 - below
    told = f"{ailing[0].name} comes first: {ailing[0].remedy.text}"
    return told if rest <= 0 else f"{told} Then {rest} more."


def roots(findings: Sequence[Finding]) -> list[Finding]:
    """Those that no other one explains."""
    explained = {below.code for finding in findings for below in finding.consequences}
    return [finding for finding in findings if finding.code not in explained]


def printed(run: Run, findings: Sequence[Finding], cleared: Sequence[Finding]) -> "list[RenderableType]":
    """For a terminal: root causes, and below each what it explains."""
    from rich.text import Text
    from rich.tree import Tree

    colours = {"error": "bold red", "warning": "bold yellow", "note": "bold blue"}
    parts: list[RenderableType] = [Text(summary(run))]
    for finding in roots(findings):
        head = Text.assemble(
            (f"{finding.code} {finding.name}", colours[finding.severity]),
            f"  since step {finding.step}",
            (f"  {finding.confidence:.0%} sure", "dim"),
        )
        tree = Tree(head, guide_style="dim")
        for label, words in (("seen", finding.evidence), ("cause", finding.cause), ("do", finding.remedy.text)):
            tree.add(Text.assemble((f"{label:<6}", "dim"), words))
        for below in finding.consequences:
            tree.add(
                Text.assemble(
                    ("hence ", "dim"), (f"{below.code} {below.name}", colours[below.severity]), f"  {below.evidence}"
                )
            )
        tree.add(Text(finding.url, style="dim"))
        parts += [Text(""), tree]
    if cleared:
        told = "; ".join(f"{f.code} {f.name} from step {f.step} to {f.cleared}" for f in cleared)
        parts += [Text(""), Text(f"Cleared: {told}.", style="dim")]
    return [*parts, Text(""), Text(verdict(findings), style="bold")]


def text(run: Run, findings: Sequence[Finding], cleared: Sequence[Finding], width: int = 110) -> str:
    """The same as plain text."""
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), width=width, highlight=False, color_system=None)
    for part in printed(run, findings, cleared):
        console.print(part)
    return str(console.file.getvalue())  # pyright: ignore[reportAttributeAccessIssue]
