"""`adamas rules`."""

import json

import click

import adamas
from adamas.registry import OPTIONS


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on stdout.")
def rules(as_json: bool) -> None:
    """List the registered update rules: what they do, what they keep for each parameter, their defaults."""
    known = adamas.rules()
    if as_json:
        table = [
            {"name": name, "states": list(rule.states()), "defaults": dict(rule.defaults)}
            for name, rule in known.items()
        ]
        click.echo(json.dumps(table, indent=1))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    grid = Table("rule", "states per parameter", "defaults", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, rule in known.items():
        own = ", ".join(f"{k}={v}" for k, v in rule.defaults.items() if k not in OPTIONS or OPTIONS[k] != v)
        grid.add_row(name, ", ".join(rule.states()) or "–", own)
    console = Console(highlight=False)
    console.print(grid)
    shared = ", ".join(f"{k}={v}" for k, v in OPTIONS.items())
    console.print(f"Every rule also takes: {shared}.", markup=False)
