"""What a person is told when something they gave cannot be used: one sentence, with the value and what is allowed."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Something the caller gave cannot be used; the command line shows the sentence and exits with status 2."""


class InputTypeError(InputError, TypeError):
    """An `InputError` about the kind of a thing rather than its value."""


def in_one_line(error: BaseException) -> str:
    """What somebody else's error says, to be part of a sentence.

    >>> in_one_line(ValueError("sizes differ:\\n  3 and 4."))
    'sizes differ: 3 and 4'
    """
    return " ".join(str(error).split()).rstrip(".")


def unknown(kind: str, name: str, allowed: Iterable[str]) -> InputError:
    """The error for a name that is not among the `allowed` ones, with the nearest of them.

    >>> str(unknown("optimizer", "adamv", ["adam", "adamw", "sgd"]))
    "Unknown optimizer 'adamv': did you mean 'adam'? Known: adam, adamw, sgd."
    """
    names = list(allowed)
    near = get_close_matches(name, names, n=1) or get_close_matches(name.lower(), names, n=1)
    hint = f"did you mean {near[0]!r}? Known: " if near else "known are "
    return InputError(f"Unknown {kind} {name!r}: {hint}{', '.join(names)}.")


def misspelt(kind: str, name: str, allowed: Iterable[str], every: bool = False) -> None:
    """Refuse a name that is almost an allowed one; one of its own, as ``lr_scale``, may stand beside them.

    Args:
        every: refuse those of their own as well.

    Raises:
        InputError: with the name that was probably meant.
    """
    names = list(allowed)
    near = get_close_matches(name, names, n=1, cutoff=0.85)
    if name not in names and (every or (near and near[0] not in name)):
        raise unknown(kind, name, names)
