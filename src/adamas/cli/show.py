"""`adamas show`."""

import ast
import json
from typing import Any

import click

from adamas.errors import InputError
from adamas.kernel import BACKENDS, DRIVEN, TINY, select
from adamas.registry import Rule


def values(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """What was given as --option NAME=VALUE."""
    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"--option {text!r} has no value; give it as in --option amsgrad=True.")
        try:
            options[name.strip()] = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            options[name.strip()] = value.strip()
    return options


def find(name: str) -> Rule:
    """The rule of this name, registered or in a file.

    Raises:
        InputError: where there is none, or it is a class of torch.
    """
    from adamas.race.entrants import enter, is_rule

    found = enter(name).load()
    if not is_rule(found):
        raise InputError(f"{name} is a torch class: only rules are lowered; name one of `adamas rules`.")
    return found


@click.command()
@click.argument("rule")
@click.option("--backend", default="numba", show_default=True, metavar="NAME", help=f"One of {', '.join(BACKENDS)}.")
@click.option("--dtype", default="float32", show_default=True, type=click.Choice(list(TINY)))
@click.option(
    "--option", "options", multiple=True, callback=values, metavar="NAME=VALUE", help="As --option amsgrad=True."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on stdout.")
def show(rule: str, backend: str, dtype: str, options: dict[str, Any], as_json: bool) -> None:
    """Print the text that RULE is lowered to: what the host computes at each step, and the kernel.

    RULE is a registered one (see `adamas rules`) or your own, as path/to/file.py:name.
    """
    found = find(rule)
    kernel = select(found, {**found.hyper(options), **DRIVEN.get(backend, {})})
    host, text = kernel.program.host_text(), kernel.text(backend, dtype)
    if as_json:
        click.echo(json.dumps({"rule": found.name, "backend": backend, "dtype": dtype, "host": host, "kernel": text}))
        return
    click.echo(f"# {found.name}: on the host, in float64, once a step\n{host}\n{text}", nl=False)
