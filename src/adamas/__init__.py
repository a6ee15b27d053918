"""Adam and its family: each update rule written once, run at the speed of memory.

The fronts are imported where they are used: `adamas.torch`, `adamas.numpy`, `adamas.scipy`, ….
"""

# Importing the package registers its rules; the name `adamas.rules` then goes to the function that lists them.
import adamas.rules  # pyright: ignore[reportUnusedImport]
from adamas import recipes
from adamas.dialect import Scalar
from adamas.errors import InputError
from adamas.intrinsics import maximum, minimum, sign, sqrt, where
from adamas.late_switch import LateSwitch
from adamas.registry import Rule, rule, rules

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name == "schedules":  # which imports NumPy, and so waits until it is asked for
        import adamas.schedules

        return adamas.schedules
    if name == "minimize":  # likewise
        from adamas.descent import minimize

        return minimize
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "InputError",
    "LateSwitch",
    "Rule",
    "Scalar",
    "__version__",
    "maximum",
    "minimum",
    "recipes",
    "rule",
    "rules",
    "sign",
    "sqrt",
    "where",
]
