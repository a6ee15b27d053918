"""The classes that the fronts share: their names, their rules, and how they are called."""

import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from adamas.errors import InputTypeError, unknown

#: class -> its rule, and the order of its positional arguments after ``params``, which is torch's.
CLASSES = {
    "SGD": ("sgd", "lr momentum dampening weight_decay nesterov"),
    "Adagrad": ("adagrad", "lr lr_decay weight_decay initial_accumulator_value eps"),
    "RMSprop": ("rmsprop", "lr alpha eps weight_decay momentum centered"),
    "Adam": ("adam", "lr betas eps weight_decay amsgrad"),
    "AdamW": ("adamw", "lr betas eps weight_decay amsgrad"),
    "Adamax": ("adamax", "lr betas eps weight_decay"),
    "LpAdam": ("lpadam", "lr betas p eps weight_decay"),
    "AdaBelief": ("adabelief", "lr betas eps weight_decay"),
    "SparseAdam": ("sparse_adam", "lr betas eps maximize"),
    "NAdam": ("nadam", "lr betas eps weight_decay momentum_decay"),
    "RAdam": ("radam", "lr betas eps weight_decay"),
    "ADOPT": ("adopt", "lr betas eps weight_decay"),
    "Lion": ("lion", "lr betas weight_decay"),
}


def signature(defaults: Mapping[str, Any], positional: Sequence[str]) -> inspect.Signature:
    """The signature of an optimizer: ``params``, some hyperparameters by position, the others by keyword."""
    order = (*positional, *(name for name in defaults if name not in positional))
    return inspect.Signature(
        [
            inspect.Parameter("params", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            *(
                inspect.Parameter(
                    name,
                    inspect.Parameter.POSITIONAL_OR_KEYWORD if name in positional else inspect.Parameter.KEYWORD_ONLY,
                    default=defaults[name],
                )
                for name in order
            ),
        ]
    )


def bind(
    name: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """``params`` and the full hyperparameters of a call to an optimizer's class.

    Raises:
        InputTypeError: for an argument that it does not have, with the nearest that it has.
    """
    if wrong := [k for k in kwargs if k not in signature.parameters]:
        raise InputTypeError(str(unknown(f"argument of {name}", wrong[0], list(signature.parameters))))
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InputTypeError(f"{name}: {error}; the arguments are {signature}.") from None
    bound.apply_defaults()
    params = bound.arguments.pop("params")
    return params, bound.arguments


def named(kind: type) -> bool:
    """Whether a class is found under its name, so that pickle can do with that."""
    return getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind
