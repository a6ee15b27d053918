"""The command line: `adamas` and `python -m adamas`."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

import adamas
from adamas.errors import InputError, unknown

COMMANDS = {
    "animate": "Show the paths of optimizers on a surface: a page to play with, a GIF, a film or a strip.",
    "bench": "Time a step of AdamW on your own shapes, against every library that is installed.",
    "check": "Check a training before it is begun: data, labels, model, optimizer, schedule.",
    "doctor": "Say what ails a training, from its log.",
    "find-lr": "Find a learning rate for a problem and an optimizer.",
    "plan": "Say what an optimizer keeps and moves on each device, in bytes.",
    "race": "Train a problem with several optimizers and say which wins.",
    "rules": "List the registered update rules.",
    "schedule": "Show a learning-rate schedule: its values, and a picture of it.",
    "show": "Print the kernel text that a rule is lowered to.",
}
"""Every command, in a file of its name, imported when it is called; with its line in the help."""


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        return getattr(import_module(f"adamas.cli.{name}"), name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:
            raise unknown("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(adamas.__version__, message="adamas %(version)s")
def cli() -> None:
    """Adam and its family: which optimizer is best here, and what it costs.

    `adamas race` alone is a good beginning.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed or stopped, 2 wrong usage or bad input."""
    try:
        status = cli.main(args=args, prog_name="adamas", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except InputError as e:
        _fail(str(e), 2)
    except click.exceptions.NoArgsIsHelpError as e:
        click.echo(e.format_message(), err=True)
        sys.exit(2)
    except click.NoSuchOption as e:
        command = e.ctx.command.get_params(e.ctx) if e.ctx is not None else []
        _fail(str(unknown("option", e.option_name, [o for p in command for o in p.opts if o[0] == "-"])), 2)
    except click.UsageError as e:
        given = sys.argv[1:] if args is None else args
        where = next((f" {a}" for a in given if a in COMMANDS), "")
        _fail(f"{e.format_message().rstrip('.')}; see adamas{where} --help.", 2)
    except (click.Abort, KeyboardInterrupt):
        _fail("stopped before there was anything to report.", 1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as e:
        if e.filename is None:
            raise
        _fail(f"{e.filename}: {e.strerror}.", 1)


def _fail(sentence: str, status: int) -> NoReturn:
    click.echo(f"adamas: {' '.join(sentence.split())}", err=True)
    sys.exit(status)
