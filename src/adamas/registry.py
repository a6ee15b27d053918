"""What a rule is, and the registry that names them all."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, overload

from adamas import driver, hyperparameters
from adamas.dialect import Source, Value, parse
from adamas.errors import InputError, unknown
from adamas.intrinsics import RESERVED

BEFORE = parse(driver.before, "driver function")
AFTER = parse(driver.after, "driver function", given=("param", "step"))
KEEP = parse(driver.keep, "driver function", given=("g", "state"))
AVERAGE = parse(driver.average, "driver function", given=("param", "ema"))
CLEAR = parse(driver.clear, "driver function", given=("g",))

#: The options that every rule takes, with their defaults.
OPTIONS: Mapping[str, Value] = MappingProxyType(
    {"weight_decay": 0.0, "decoupled": False, "decay_after": False, "maximize": False}
)

#: What else the driver's functions take: the tail of a step, which is switched on for an optimizer as a whole.
TAIL: Mapping[str, Value] = MappingProxyType(
    {
        name: default
        for function in (BEFORE, AFTER, KEEP, AVERAGE, CLEAR)
        for name, default in function.defaults.items()
        if name not in {*OPTIONS, "lr", "tiny"}
    }
)


@dataclass(frozen=True, eq=False)
class Rule:
    """An update rule: its source, and the values its hyperparameters have unless told otherwise.

    Attributes:
        name: as in `adamas.rules`.
        source: the parsed function.
        defaults: hyperparameter -> default, the rule's own first, then the `OPTIONS` of every rule.
    """

    name: str
    source: Source
    defaults: Mapping[str, Value]

    @property
    def doc(self) -> str:
        """The rule's docstring: formula and source."""
        return self.source.doc

    @property
    def takes_param(self) -> bool:
        """Whether the rule reads θ itself."""
        return "param" in self.source.coordinates

    def states(self, **options: Value) -> tuple[str, ...]:
        """The states kept under these options, shaped like the parameter.

        >>> import adamas
        >>> adamas.rules()["adam"].states(amsgrad=True)
        ('exp_avg', 'exp_avg_sq', 'max_exp_avg_sq')

        Raises:
            InputError: for an option the rule does not have, or a value it cannot take.
        """
        return self.source.straighten(self.hyper(options)).alive(self.source.states)

    def hyper(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The defaults with ``options`` put over them, all checked.

        Raises:
            InputError: for an option the rule does not have, or a value it cannot take.
        """
        for name in options:
            if name not in self.defaults:
                raise unknown(f"hyperparameter of {self.name}", name, self.defaults)
        hyper = {**self.defaults, **options}
        self.check(hyper)
        return hyper

    def check(self, hyper: Mapping[str, Any]) -> None:
        """Refuse values that a hyperparameter, or the rule as a whole, cannot have."""
        hyperparameters.check(hyper, self.defaults)
        self.source.straighten(hyper)

    def variant(self, name: str, doc: str = "", **defaults: Value) -> "Rule":
        """The same rule under another name, with other defaults, registered."""
        new = replace(
            self,
            name=name,
            source=replace(self.source, doc=doc or self.doc),
            defaults=MappingProxyType(self.hyper(defaults)),
        )
        return _enter(new)

    def __reduce__(self) -> Any:
        return find, (self.name,)

    def __repr__(self) -> str:
        values = ", ".join(f"{k}={v!r}" for k, v in self.defaults.items())
        return f"<rule {self.name}({values})>"


_REGISTRY: dict[str, Rule] = {}
_LIBRARY: set[str] = set()


@overload
def rule(function: Callable[..., Any], /) -> Rule: ...
@overload
def rule(**options: Value) -> Callable[[Callable[..., Any]], Rule]: ...
def rule(function: Callable[..., Any] | None = None, /, **options: Value) -> Any:
    """Make an update rule of a function, and register it under the function's name.

    The function describes one coordinate. It takes the gradient ``g`` (and ``param`` if it needs θ), the states
    by name (they start at 0), and after a ``*`` its hyperparameters with their defaults, ``lr`` among them, and
    ``t`` (1, 2, …) if it needs the count. It returns the step Δ, which the driver subtracts from θ, and the new
    states in the order of the signature.

    >>> import adamas
    >>> @adamas.rule
    ... def signed_momentum(g, exp_avg, *, lr=1e-3, beta1=0.9):
    ...     exp_avg = beta1 * exp_avg + (1 - beta1) * g
    ...     return lr * adamas.sign(exp_avg), exp_avg
    >>> signed_momentum.states()
    ('exp_avg',)

    Arithmetic on hyperparameters and ``t`` alone is done on the host in float64, whatever the parameter's
    dtype: ``(1 - beta1)`` and ``1 - beta1**t`` lose nothing by standing in the rule as the paper has them.

    Args:
        function: the rule.
        **options: other defaults for the `OPTIONS` of every rule: ``@rule(decoupled=True)``.

    Raises:
        InputError: what is wrong with the function, at which line, and how to write it.
    """
    if function is None:
        return partial(_register, options=options)
    return _register(function, {})


def _register(function: Callable[..., Any], options: Mapping[str, Value]) -> Rule:
    first = next(iter(inspect.signature(function).parameters), None)
    if first != "g":
        raise InputError(
            f"Rule {function.__name__!r} takes {first or 'nothing'!r} first: "
            "the first argument of a rule is the gradient, `g`."
        )
    source = parse(function)
    if "lr" not in source.defaults:
        raise InputError(f"{source.place % source.body[0].lineno} has no learning rate: write `lr=1e-3` after the '*'.")
    if taken := sorted((OPTIONS.keys() | TAIL.keys() | {"ema"}) & source.names):
        raise InputError(
            f"{source.place % source.body[0].lineno} uses {taken[0]!r}, which belongs to the driver: leave it out."
        )
    if taken := sorted(name for name in source.names if name in RESERVED or name.endswith("_")):
        raise InputError(
            f"{source.place % source.body[0].lineno} calls something {taken[0]!r}, a name that kernels need for "
            "themselves: rename it."
        )
    new = Rule(source.name, source, MappingProxyType({**source.defaults, **OPTIONS}))
    new = replace(new, defaults=MappingProxyType(new.hyper(options)))
    return _enter(new)


def _enter(rule: Rule) -> Rule:
    if rule.name in _LIBRARY:
        raise InputError(f"The library has a rule {rule.name!r} itself: give yours another name.")
    _REGISTRY[rule.name] = rule
    return rule


def seal() -> None:
    """Keep the names registered so far for the library."""
    _LIBRARY.update(_REGISTRY)


def rules() -> dict[str, Rule]:
    """Every registered rule by name, the library's own first.

    >>> import adamas
    >>> adamas.rules()["adamw"].defaults["weight_decay"]
    0.01
    """
    return dict(_REGISTRY)


def find(name: str) -> Rule:
    """The rule of this name.

    Raises:
        InputError: with the nearest name, if there is none.
    """
    registered = rules()
    if name not in registered:
        raise unknown("optimizer", name, registered)
    return registered[name]
