"""What a person is told when something they gave cannot be used: one sentence, with the value and what is allowed."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Something the caller gave cannot be used; the command line shows the sentence and exits with status 2."""


class InputTypeError(InputError, TypeError):
    """An `InputError` about the kind of a thing rather than its value."""


def unknown(kind: str, name: str, allowed: Iterable[str]) -> InputError:
    """The error for a name that is not among the `allowed` ones, with the nearest of them.

    >>> str(unknown("optimizer", "adamv", ["adam", "adamw", "sgd"]))
    "Unknown optimizer 'adamv': did you mean 'adam'? Known: adam, adamw, sgd."
    """
    names = list(allowed)
    near = get_close_matches(name, names, n=1) or get_close_matches(name.lower(), names, n=1)
    hint = f"did you mean {near[0]!r}? Known: " if near else "known are "
    return InputError(f"Unknown {kind} {name!r}: {hint}{', '.join(names)}.")
