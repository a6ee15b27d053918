"""What may be in a state, and how a state dict is taken over: verified and copied whole, before anything is changed."""

import copy
import math
from collections.abc import Hashable, Mapping, Sequence
from numbers import Real
from typing import Any

from adamas.arrays import Arrays, Form
from adamas.errors import InputError, InputTypeError, misspelt
from adamas.hyperparameters import number
from adamas.late_switch import ENTRIES, check_ahead
from adamas.lowering.storage import BLOCK
from adamas.registry import Rule
from adamas.tail import Tail


def count(where: str, name: str, value: Any) -> float:
    """The value of a count or another scalar state.

    Raises:
        InputError: where it is no finite number of 0 or more.
    """
    try:
        held = number(name, value)
        if not isinstance(held, bool) and isinstance(held, Real) and 0 <= float(held) < math.inf:
            return float(held)
    except (InputError, OverflowError):
        pass
    raise InputError(f"The state of {where} has {name} = {value}: it must be a finite number, 0 or more.")


def check_array(arrays: Arrays, where: str, name: str, state: Mapping[str, Any], param: Form) -> None:
    """Refuse what cannot be a state of the parameter.

    Raises:
        InputError: naming the state, and what it must be.
    """
    what = f"The state {name!r} of {where}"
    try:
        form = arrays.form(state[name], packed=True)
    except InputError as error:
        raise type(error)(f"{what} {error}") from None
    if form.shape != param.shape:
        raise InputError(
            f"{what} has shape {form.shape}, the parameter {param.shape}: "
            "load the state that belongs to it, or clear it."
        )
    if form.lanes != param.lanes:
        kinds = ("complex", "real") if form.lanes > 1 else ("real", "complex")
        raise InputTypeError(f"{what} is {kinds[0]}, the parameter is {kinds[1]}: load the state that belongs to it.")
    if form.dtype not in ("uint8", "int16"):
        return
    exponents = state.get(f"{name}_exponent")
    lies = form.open_to(param) and param.dense and form.lies(param.strides)
    if form.dtype == "int16" or param.dtype == "float64" or exponents is None or not lies:
        raise InputError(
            f"{what} is of {form.dtype}: 8-bit codes belong to a float32, bfloat16 or float16 parameter, have "
            f"{name + '_exponent'!r} beside them, and lie in memory as the parameter does (strides {param.strides})."
        )
    found = arrays.form(exponents, packed=True)
    if (
        (found.dtype, found.shape) != ("int16", (-(-param.size // BLOCK),))
        or not found.open_to(param)
        or not found.dense
    ):
        raise InputError(f"The state {name + '_exponent'!r} of {where} must be int16, one per {BLOCK} elements.")


def check_remainder(arrays: Arrays, where: str, remainder: Any, param: Form) -> None:
    """Refuse what cannot be what a bfloat16 parameter leaves out of a float32.

    Raises:
        InputError: saying what it must be.
    """
    form = arrays.form(remainder, packed=True)
    if (form.dtype, form.shape) != ("int16", param.shape) or not (form.open_to(param) and form.lies(param.strides)):
        raise InputError(
            f"The state 'param_remainder' of {where} must be int16 and lie in memory as the parameter does "
            f"(shape {param.shape}, strides {param.strides}): load the state that belongs to it, or clear it."
        )


def counted(rule: Rule, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """A state with its count: torch's SGD keeps none; where it has a buffer, it has begun."""
    if rule.source.name != "sgd" or "step" in state:
        return state
    return {**state, "step": 1.0} if state.get("momentum_buffer") is not None else {}


def load(
    rule: Rule,
    tail: Tail,
    arrays: Arrays,
    state_dict: Any,
    groups: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    defaults: Mapping[str, Any],
    keys: Mapping[str, str],
    others: bool,
) -> tuple[list[dict[str, Any]], dict[int, dict[str, Any]], dict[Hashable, Any]]:
    """What an optimizer goes on from; nothing in it is held by anyone else.

    Args:
        rule: the optimizer's rule.
        tail: whose ``state_dtype`` says whether moments may be narrow.
        arrays: the front's kind of array.
        state_dict: what was given.
        groups: the optimizer's own groups.
        names: what sentences call the parameters.
        defaults: what a group holds beside its parameters. Flags and words that a state dict lacks, because it is of
            an older version or another library, have these values.
        keys: hyperparameter -> its name in the groups, where that differs.
        others: whether there may be further entries: in groups, and states that belong to no parameter.

    Returns:
        The groups; the states by position of their parameter; the states that belong to no parameter.

    Raises:
        InputError: saying what does not fit.
    """
    theirs, states = _entries(state_dict)
    if tail.late_switch is None:
        check_ahead(None, theirs, {})
    _check_sizes(theirs, groups)
    params = [param for group in groups for param in group["params"]]
    position = _positions([key for group in theirs for key in group["params"]], params)

    merged: list[dict[str, Any]] = []
    alive: list[tuple[str, ...]] = []
    for k, (group, own) in enumerate(zip(theirs, groups, strict=True)):
        options = {name: _copied(f"{name!r} of group {k}", v) for name, v in group.items() if name != "params"}
        for name in defaults:
            if name not in options and not _may_be_missing(rule, name, defaults[name]):
                raise InputError(f"Group {k} of the state dict has no {name!r}: give a whole state dict.")
        for name in options:
            misspelt(f"entry of group {k} of the state dict", name, [*defaults, "params"], every=not others)
        merged.append({**defaults, **options, "params": own["params"]})
        hyper = {name: merged[k][keys.get(name, name)] for name in rule.defaults}
        living = rule.states(**{name: number(keys.get(name, name), value) for name, value in hyper.items()})
        alive += [living] * len(own["params"])

    loaded: dict[int, dict[str, Any]] = {}
    rest: dict[Hashable, Any] = {}
    for key, state in states.items():
        if key in position:
            i = position[key]
            if not isinstance(state, Mapping):
                raise InputTypeError(f"The state of {names[i]} is a {type(state).__name__}: it must be a dict.")
            narrow = tail.state_dtype != "float32"
            loaded[i] = _state(rule, arrays, names[i], counted(rule, state), params[i], alive[i], narrow)
        elif others and not isinstance(key, int):
            rest[key] = _copied(f"the state of {key!r}", state)
        else:
            raise InputError(f"The state dict has a state for {key!r}, which is in none of its groups.")
    if tail.late_switch is not None:
        check_ahead(tail.late_switch, merged, loaded)
    return merged, loaded, rest


def _entries(state_dict: Any) -> tuple[Sequence[Mapping[str, Any]], Mapping[Hashable, Any]]:
    try:
        groups, states = state_dict["param_groups"], state_dict["state"]
    except (KeyError, TypeError, IndexError):
        raise InputError("A state dict has the keys 'state' and 'param_groups'; this one has not.") from None
    if not isinstance(states, Mapping):
        raise InputTypeError(f"The 'state' of the state dict is a {type(states).__name__}: it must be a dict.")
    if not isinstance(groups, list | tuple):
        raise InputTypeError(f"The 'param_groups' of the state dict are a {type(groups).__name__}: give a list.")
    for k, group in enumerate(groups):
        if not (isinstance(group, Mapping) and isinstance(group.get("params"), list | tuple)):
            raise InputTypeError(f"Group {k} of the state dict must be a dict with a list 'params'.")
        if wrong := [name for name in group if not isinstance(name, str)]:
            raise InputTypeError(f"Group {k} of the state dict has an entry {wrong[0]!r}: its keys must be strings.")
    return groups, states


def _check_sizes(theirs: Sequence[Mapping[str, Any]], groups: Sequence[Mapping[str, Any]]) -> None:
    """In the words of torch.optim, for code that matches on them."""
    if len(theirs) != len(groups):
        raise InputError(
            f"loaded state dict has a different number of parameter groups: {len(theirs)}, the optimizer {len(groups)}."
        )
    for k, (their, own) in enumerate(zip(theirs, groups, strict=True)):
        if len(their["params"]) != len(own["params"]):
            raise InputError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group: "
                f"group {k} has {len(their['params'])} parameters, the optimizer's {len(own['params'])}."
            )


def _positions(keys: Sequence[Any], params: Sequence[Any]) -> dict[Hashable, int]:
    position: dict[Hashable, int] = {}
    for i, key in enumerate(keys):
        try:
            first = position.setdefault(key, i)
        except TypeError:
            raise InputTypeError(f"The state dict calls a parameter {key!r}: give a number or a name.") from None
        if params[first] is not params[i]:
            raise InputError(f"The state dict calls two parameters {key!r}: their names must differ.")
    return position


def _may_be_missing(rule: Rule, name: str, default: Any) -> bool:
    """Flags, words and ``eps_root`` are what versions and libraries differ in; numbers all have.

    But torch's SparseAdam knows no decay, and a late switch may be asked for in the middle of a run.
    """
    optional = {"eps_root", "weight_decay"} if rule.name == "sparse_adam" else {"eps_root"}
    return default is None or isinstance(default, bool | str) or name in optional or name in ENTRIES


def _state(
    rule: Rule,
    arrays: Arrays,
    where: str,
    state: Mapping[str, Any],
    param: Any,
    alive: Sequence[str],
    narrow: bool,
) -> dict[str, Any]:
    form = arrays.form(param)
    held: dict[str, Any] = {}
    for name, value in state.items():
        if name == "step" or name in rule.source.scalars:
            held[name] = arrays.scalars(count(where, name, value), 1)[0]
        elif name == "param_remainder" and form.dtype == "bfloat16":
            held[name] = arrays.adopted(value, param, narrow=True)
            check_remainder(arrays, where, held[name], form)
        elif name not in (*rule.source.states, "ema"):
            held[name] = _copied(f"{name!r} in the state of {where}", value)
        elif value is not None and not _is_empty(value):
            check_array(arrays, where, name, state, form)
            if not narrow and arrays.form(value, packed=True).dtype == "uint8":
                raise InputError(f"The state {name!r} of {where} is of 8-bit codes: load it with state_dtype='int8'.")
            held[name] = arrays.adopted(value, param, narrow)
    for name in ("step", *rule.source.scalars, *alive) if held else ():
        if name not in held:
            raise InputError(
                f"The state of {where} has no {name!r}: load a whole state; "
                "an option that begins another one is switched on after loading."
            )
    return held


def _is_empty(value: Any) -> bool:
    """Whether this is what torch's distributed checkpoint puts where a flattened state dict has nothing."""
    return isinstance(value, dict) and not value


def _copied(what: str, value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception as error:  # whatever somebody else's object raises
        raise InputError(f"A state dict is copied, but {what} cannot be: {error}") from None
