"""`adamas doctor`."""

import json
import sys
from pathlib import Path

import click

from adamas.cli.output import named


@click.command()
@click.argument("run", metavar="RUN.jsonl")
@click.option(
    "-o", "--output", callback=named("the timeline is a page", ".html", ".htm"), metavar="FILE.html",
    help="Write the timeline: curves and moments.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON and nothing else on stdout.")
def doctor(run: str, output: Path | None, as_json: bool) -> int:
    """Say what ails a training, from the log that a Doctor has written while it ran.

    Exit status 1 where something ails it (notes do not count).
    """
    from adamas.doctor import replay
    from adamas.doctor.report import printed, summary, verdict

    seen, diagnosis = replay(run)
    findings, cleared = diagnosis.findings, diagnosis.cleared
    if output is not None:
        from adamas.doctor.page import doctor_page
        from adamas.pages import write

        write(output, doctor_page(Path(run).name, seen, findings, cleared))
    status = int(any(finding.severity != "note" for finding in findings))
    if as_json:
        told = {
            "run": run,
            "steps": seen.count,
            "summary": summary(seen),
            "verdict": verdict(findings),
            "findings": [finding.as_dict() for finding in findings],
            "cleared": [finding.as_dict() for finding in cleared],
        }
        click.echo(json.dumps(told, indent=1, allow_nan=False, ensure_ascii=False))
        return status
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    for part in printed(seen, findings, cleared):
        console.print(part)
    if output is not None:
        console.print(f"Timeline: {output}", markup=False, soft_wrap=True)
    return status
