"""The rules for JAX, as optax has its own: a `optax.GradientTransformationExtraArgs` from a function of the same name.

>>> import jax.numpy as jnp, optax
>>> from adamas.optax import adamw
>>> opt = adamw(1e-1, weight_decay=1e-2)
>>> params = {"w": jnp.ones(3)}
>>> state = opt.init(params)
>>> updates, state = opt.update({"w": jnp.full(3, 0.5)}, state, params)
>>> print(optax.apply_updates(params, updates)["w"])
[0.899 0.899 0.899]

Arguments have optax's names, order and defaults. What a function takes beside them is for keywords: the rule's own, and

- ``weight_decay``, ``decoupled``, ``decay_after``, ``maximize``: the options of every rule (`adamas.rules`);
- ``mask``: which leaves decay, a tree of bools as the parameters or the beginning of one, or a function that makes it
  of them;
- ``state_dtype``: how moments are kept: "float32" (as wide as the step computes), "bfloat16", or "int8".

A number may be a schedule, a function of how many steps have been taken, or an array, traced or not. An array counts
as not 0 where a 0 would choose another kernel.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

from adamas.errors import InputError, InputTypeError, unknown
from adamas.hyperparameters import check
from adamas.kernel import DRIVEN, TINY, Kernel, select
from adamas.registry import Rule, find
from adamas.schedules import Schedule
from adamas.tail import STATE_DTYPES, narrow

try:
    import jax
    import jax.numpy as jnp
    import optax
except ImportError as error:
    raise ImportError(f"adamas.optax needs JAX and optax: pip install 'adamas[jax]' ({error}).") from None

from adamas.lowering import jax as words


class Codes(NamedTuple):
    """A moment of 8 bits: a code for each element, an exponent for each 256 of them in a row."""

    codes: Any
    exponents: Any


class RuleState(NamedTuple):
    """What a rule remembers.

    Attributes:
        count: how many steps have been taken.
        scalars: scalar state -> its value.
        moments: state, named as in torch -> a tree as the parameters.
    """

    count: Any
    scalars: dict[str, Any]
    moments: dict[str, Any]


class _Late:
    """Stands for a number that is known when the step runs, where a kernel is chosen."""

    def __bool__(self) -> bool:
        return True

    def _refuse(self, other: object) -> bool:
        raise InputError("A rule compares a hyperparameter to choose its kernel: give a plain number, no array for it.")

    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _refuse  # pyright: ignore[reportAssignmentType]
    __hash__ = object.__hash__


_LATE = _Late()


def _is_late(value: Any) -> bool:
    return callable(value) or (hasattr(value, "dtype") and not isinstance(value, float | int))


def _chosen(rule: Rule, hyper: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters as a kernel is chosen by them; what is known of them by now is checked."""
    static: dict[str, Any] = {}
    checked: dict[str, Any] = {}
    for name, default in rule.defaults.items():
        value = hyper[name]
        if isinstance(value, tuple):
            static[name] = tuple(_LATE if _is_late(v) else v for v in value)
            several = default if isinstance(default, tuple) else value
            checked[name] = tuple(d if _is_late(v) else v for v, d in zip(value, several, strict=True))
        elif _is_late(value):
            if isinstance(default, bool | str):
                raise InputTypeError(f"Invalid {name} value: {value!r}: it chooses a kernel, and so is no array.")
            if not callable(value) and value.shape:
                raise InputError(f"Invalid {name} value: an array of shape {value.shape}: give one number.")
            static[name], checked[name] = _LATE, default
        else:
            static[name] = checked[name] = value
    check(checked, rule.defaults)
    rule.source.straighten(static)
    return static


def _is_none(leaf: Any) -> bool:
    return leaf is None


def _wide(dtype: Any) -> Any:
    """What a leaf of this dtype is computed in."""
    return jnp.promote_types(dtype, jnp.float32) if jnp.finfo(dtype).bits < 32 else dtype


def _checked(path: Any, leaf: Any, what: str) -> Any:
    """A leaf, if it is one to be stepped."""
    if not hasattr(leaf, "dtype") and not isinstance(leaf, float | complex):
        raise InputTypeError(
            f"{what} {jax.tree_util.keystr(path) or 'itself'} is a {type(leaf).__name__}: give arrays of numbers, "
            "as equinox.filter(model, equinox.is_inexact_array) leaves them."
        )
    leaf = jnp.asarray(leaf)
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        raise InputTypeError(
            f"{what} {jax.tree_util.keystr(path) or 'itself'} has dtype {leaf.dtype}: only floats are stepped; leave "
            "it out by optax.masked, or by equinox.filter(model, equinox.is_inexact_array)."
        )
    return leaf


def _flat(updates: Any, tree: Any, treedef: Any, what: str) -> list[Any]:
    """The leaves of a tree that must be as that of the gradients."""
    try:
        return treedef.flatten_up_to(tree)
    except ValueError as error:
        ours, theirs = (
            {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_flatten_with_path(t)[0]}
            for t in (updates, tree)
        )
        apart = sorted(ours ^ theirs)
        leaf = f"leaf {apart[0]} is in one of them alone" if apart else str(error)
        raise InputError(f"The gradients and {what} are different trees: {leaf}.") from None


def _kinds(kernel: Kernel, leaf: Any, state_dtype: str) -> tuple[tuple[str, str], ...]:
    """How the moments of a leaf are kept, in the order in which their noise is drawn."""
    lanes = 2 if jnp.iscomplexobj(leaf) else 1
    kept = narrow(state_dtype, str(_wide(leaf.dtype)), lanes, leaf.size)
    if not kept:
        return ()
    if kept == "bfloat16":
        return tuple((state, "bfloat16_stochastic") for state in kernel.program.states)
    unsigned = kernel.program.nonnegative
    return tuple((s, "int8_unsigned" if s in unsigned else "int8_signed") for s in kernel.program.states)


@cache
def _step(kernel: Kernel, kinds: tuple[tuple[str, str], ...], dtype: str) -> Callable[..., Any]:
    """The kernel over one leaf as it lies in memory; leaves that are alike are traced once."""
    compute, states = kernel.load("jax", dtype), kernel.program.states

    def step(g: Any, param: Any, held: tuple[Any, ...], c: Any, key: Any) -> Any:
        lanes = jnp.iscomplexobj(g)

        def wide(x: Any) -> Any:
            return jnp.stack([x.real, x.imag]).astype(dtype) if lanes else x.astype(dtype)

        def back(x: Any) -> Any:
            return jax.lax.complex(x[0], x[1]) if lanes else x

        kept = dict(kinds)
        moments = [
            words.unpack(kept[s], tuple(h) if isinstance(h, tuple) else (h,)) if s in kept else wide(h)
            for s, h in zip(states, held, strict=True)
        ]
        update, *new = compute(wide(g), None if param is None else wide(param), *moments, c)
        drawn = iter(words.randoms(g.shape, key, len(kinds)))
        results: list[Any] = []
        for state, value in zip(states, new, strict=True):
            if state in kept:
                packed = words.pack(kept[state], value, next(drawn))
                results.append(Codes(*packed) if len(packed) == 2 else packed[0])
            else:
                results.append(back(value))
        return back(update).astype(g.dtype), results

    return jax.jit(step)


def _transformation(
    rule: Rule, hyper: Mapping[str, Any], mask: Any, state_dtype: str, initial: Mapping[str, Any] = {}
) -> optax.GradientTransformationExtraArgs:
    """A rule as optax has it.

    Args:
        hyper: every hyperparameter of the rule.
        initial: state -> what it begins with, where that is not 0.
    """
    if state_dtype not in STATE_DTYPES:
        raise InputError(f"Invalid state_dtype value: {state_dtype!r}: it must be one of {', '.join(STATE_DTYPES)}.")
    static = _chosen(rule, hyper)
    chosen = {**static, **DRIVEN["jax"]}
    kernels = [select(rule, {**chosen, "weight_decay": decay}) for decay in (0.0, 1.0)]
    decaying = bool(static["weight_decay"])
    states = kernels[0].program.states

    def init(params: Any) -> RuleState:
        found, treedef = jax.tree_util.tree_flatten_with_path(params)
        leaves = [_checked(path, leaf, "Parameter") for path, leaf in found]

        def begin(state: str, leaf: Any) -> Any:
            wide = jnp.full_like(leaf, initial.get(state, 0.0), dtype=_wide(leaf.dtype))
            kept = dict(_kinds(kernels[0], leaf, state_dtype))
            if state not in kept:
                return wide
            packed = words.pack(kept[state], wide, jnp.zeros(wide.shape, jnp.uint32))
            return Codes(*packed) if len(packed) == 2 else packed[0]

        moments = {s: treedef.unflatten([begin(s, leaf) for leaf in leaves]) for s in states}
        scalars = {name: jnp.asarray(value, jnp.result_type(float)) for name, value in rule.source.scalars.items()}
        return RuleState(jnp.zeros([], jnp.int32), scalars, moments)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, RuleState]:
        found, treedef = jax.tree_util.tree_flatten_with_path(updates, is_leaf=_is_none)
        if params is None and (decaying or rule.takes_param):
            raise InputError(f"{rule.name} needs the parameters here: call update(gradients, state, params).")
        thetas = [None] * len(found) if params is None else _flat(updates, params, treedef, "the parameters")
        held = [_flat(updates, state.moments[s], treedef, f"the state {s}") for s in states]
        decays = _decays(mask, params, treedef, len(found)) if decaying else [False] * len(found)
        count = optax.safe_increment(state.count)
        key = words.key_of(count)
        at = _Coefficients(rule, hyper, state, count)
        changes: list[Any] = []
        news: list[tuple[Any, ...]] = []
        for i, (path, g) in enumerate(found):
            old = tuple(moments[i] for moments in held)
            if g is None:
                changes.append(None)
                news.append(old)
                continue
            g = _checked(path, g, "The gradient of")
            for other in (thetas[i], *(h.codes if isinstance(h, Codes) else h for h in old)):
                if other is not None and jnp.shape(other) != g.shape:
                    raise InputError(
                        f"The gradient of {jax.tree_util.keystr(path)} has shape {g.shape}, and the parameter or its "
                        f"state {jnp.shape(other)}: they must be the same."
                    )
            theta = None if thetas[i] is None else jnp.asarray(thetas[i])
            kernel = kernels[decays[i]]
            real = jnp.finfo(_wide((g if theta is None else theta).dtype)).dtype
            step = _step(kernel, _kinds(kernel, g if theta is None else theta, state_dtype), str(real))
            change, new = step(g, theta, old, at.coefficients(kernel, real), key)
            changes.append(change)
            news.append(tuple(new))
        moments = {s: treedef.unflatten([new[k] for new in news]) for k, s in enumerate(states)}
        return treedef.unflatten(changes), RuleState(count, at.scalars(kernels[0]), moments)

    return optax.GradientTransformationExtraArgs(init, update)


def _decays(mask: Any, params: Any, treedef: Any, leaves: int) -> list[bool]:
    """Which leaves decay."""
    if mask is None:
        return [True] * leaves
    tree = mask(params) if callable(mask) else mask
    try:
        whole: Any = jax.tree.map(_everywhere, tree, params)
    except ValueError as error:
        raise InputError(f"mask is no tree as the parameters, nor the beginning of one: {error}") from None
    return [bool(yes) for yes in treedef.flatten_up_to(whole)]


def _everywhere(value: Any, tree: Any) -> Any:
    return jax.tree.structure(tree).unflatten([value] * jax.tree.structure(tree).num_leaves)


class _Coefficients:
    """What the host computes, here as a part of the step, in float64 all the same: a few numbers."""

    def __init__(self, rule: Rule, hyper: Mapping[str, Any], state: RuleState, count: Any) -> None:
        self.scalar_states = [state.scalars[name] for name in rule.source.scalars]
        self.names = tuple(rule.source.scalars)
        with jax.enable_x64(True):
            self.count = count.astype(jnp.float64)
            self.hyper = {
                name: tuple(self._number(v, state.count) for v in value)
                if isinstance(value, tuple)
                else self._number(value, state.count)
                for name, value in hyper.items()
            }
        self.known: dict[tuple[Kernel, str], Any] = {}

    @staticmethod
    def _number(value: Any, taken: Any) -> Any:
        if isinstance(value, Schedule):
            return value(taken.astype(jnp.float64))
        if callable(value):
            with jax.enable_x64(False):
                value = value(taken)
        return jnp.asarray(value, jnp.float64) if _is_late(value) else value

    def _host(self, kernel: Kernel, dtype: str) -> Any:
        key = kernel, dtype
        if key not in self.known:
            hyper = {**self.hyper, "tiny": TINY[dtype]}
            before = [jnp.asarray(s, jnp.float64) for s in self.scalar_states]
            self.known[key] = kernel.host_of_tracers(
                self.count, *before, *(hyper[name] for name in kernel.program.hyper)
            )
        return self.known[key]

    def coefficients(self, kernel: Kernel, dtype: Any) -> tuple[Any, ...]:
        """As a kernel takes them."""
        with jax.enable_x64(True):
            values, _ = self._host(kernel, str(dtype))
            flags = kernel.program.flags
            named = zip(kernel.program.coefficients, values, strict=True)
            return tuple(jnp.asarray(value, bool if name in flags else dtype) for name, value in named)

    def scalars(self, kernel: Kernel) -> dict[str, Any]:
        """The scalar states after the step."""
        with jax.enable_x64(True):
            _, new = self._host(kernel, "float32")
            old = zip(self.names, new, self.scalar_states, strict=True)
            return {name: jnp.asarray(value, before.dtype) for name, value, before in old}


# -- from optax's states and back ------------------------------------------------------------------------------------

#: optax's state -> its fields, and which of ours each may be.
_FIELDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "ScaleByAdamState": {"mu": ("exp_avg",), "nu": ("exp_avg_sq", "exp_inf")},
    "ScaleByBeliefState": {"mu": ("exp_avg",), "nu": ("exp_avg_var",)},
    "ScaleByLionState": {"mu": ("exp_avg",)},
    "ScaleByRssState": {"sum_of_squares": ("sum",)},
    "ScaleByRmsState": {"nu": ("square_avg",)},
    "ScaleByRStdDevState": {"mu": ("grad_avg",), "nu": ("square_avg",)},
    "TraceState": {"trace": ("momentum_buffer",)},
}


def convert(state: Any, like: Any, count: Any = None) -> Any:
    """A state of optax's rule as ours, or ours as optax's: the same training, gone on with by the other.

    Args:
        state: of either.
        like: what ``init`` of the other returned.
        count: how many steps were taken, where ``state`` does not say so: optax's sgd, adagrad and rmsprop do not.

    >>> theirs = optax.adam(1e-3)
    >>> state = theirs.init(jnp.ones(2))
    >>> _, state = theirs.update(jnp.ones(2), state)
    >>> convert(state, adam(1e-3).init(jnp.ones(2))).moments["exp_avg"].tolist()
    [0.10000000149011612, 0.10000000149011612]

    Raises:
        InputError: where one has what the other does not.
    """
    ours, theirs = (state, like) if isinstance(state, RuleState) else (like, state)
    if not isinstance(ours, RuleState) or ours.scalars or any(isinstance(m, Codes) for m in _parts(ours.moments)):
        raise InputError("One of the two must be a state of adamas.optax, without scalars and 8-bit moments.")
    found = [part for part in _parts(theirs) if type(part).__name__ in _FIELDS]
    pairs: dict[str, tuple[Any, str]] = {}
    for part in found:
        for field, names in _FIELDS[type(part).__name__].items():
            pairs |= {name: (part, field) for name in names if name in ours.moments}
    wanted = sum(len(_FIELDS[type(part).__name__]) for part in found)
    if pairs.keys() != ours.moments.keys() or len(pairs) != wanted or len(found) > 1:
        raise InputError(
            f"The states do not hold the same: {', '.join(ours.moments) or 'nothing'} on our side, "
            f"{', '.join(type(part).__name__ for part in found) or 'nothing'} on optax's."
        )
    if theirs is state:
        counts = [part.count for part in _parts(theirs) if "count" in getattr(part, "_fields", ())]
        taken = counts[0] if counts else count
        if taken is None:
            raise InputError("optax's state does not say how many steps were taken: give count=….")
        moments = {name: getattr(*pair) for name, pair in pairs.items()}
        return RuleState(jnp.asarray(taken, jnp.int32), {}, moments)
    fields = {field: ours.moments[name] for name, (_, field) in pairs.items()}

    def filled(part: Any) -> Any:
        if "count" in getattr(part, "_fields", ()):
            part = part._replace(count=ours.count)
        return part._replace(**fields) if type(part).__name__ in _FIELDS else part

    return jax.tree.map(filled, like, is_leaf=_is_part)


def _is_part(node: Any) -> bool:
    return type(node).__name__ in _FIELDS or isinstance(node, Codes) or "count" in getattr(node, "_fields", ())


def _parts(tree: Any) -> list[Any]:
    return jax.tree.leaves(tree, is_leaf=_is_part)


# -- the functions ---------------------------------------------------------------------------------------------------


def _plain(hyper: dict[str, Any]) -> dict[str, Any]:
    return hyper


def optimizer(
    rule: Rule | str, positional: str = "learning_rate", name: str = "", **defaults: Any
) -> Callable[..., optax.GradientTransformationExtraArgs]:
    """The function that makes optax's transformation of a rule, the library's or your own.

    ``lr`` is called ``learning_rate`` here, and must be given; a pair ``betas`` is ``b1`` and ``b2``.

    Args:
        rule: a rule, or the name of a registered one.
        positional: arguments that may be given by position, in this order.
        name: of the function; else that of the rule.
        **defaults: defaults that are not the rule's.
    """
    return _named(find(rule) if isinstance(rule, str) else rule, positional, name, defaults)


def _named(
    rule: Rule,
    positional: str,
    name: str,
    defaults: Mapping[str, Any],
    note: str = "",
    into: Callable[[dict[str, Any]], dict[str, Any]] = _plain,
) -> Callable[..., optax.GradientTransformationExtraArgs]:
    """`optimizer`, where arguments are not all the rule's.

    Args:
        note: where the function is not as optax's.
        into: arguments → the rule's, ``initial_scale`` and what else there is.
    """
    betas: Any = rule.defaults.get("betas")
    pair = isinstance(betas, tuple) and len(betas) == 2
    own: dict[str, Any] = {}
    for key, value in rule.defaults.items():
        own |= {"b1": betas[0], "b2": betas[1]} if pair and key == "betas" else {key: value}
    own = {"learning_rate": inspect.Parameter.empty, **own, "mask": None, "state_dtype": "float32", **defaults}
    del own["lr"]
    own = {key: value for key, value in own.items() if value is not _GONE}
    order = positional.split()
    kinds = {key: inspect.Parameter.POSITIONAL_OR_KEYWORD for key in order}
    signature = inspect.Signature(
        [
            inspect.Parameter(key, kinds.get(key, inspect.Parameter.KEYWORD_ONLY), default=own[key])
            for key in (*order, *(key for key in own if key not in order))
        ]
    )

    def make(*args: Any, **kwargs: Any) -> optax.GradientTransformationExtraArgs:
        if wrong := [key for key in kwargs if key not in own]:
            raise InputTypeError(str(unknown(f"argument of {make.__name__}", wrong[0], own)))
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InputTypeError(f"{make.__name__}: {error}; the arguments are {signature}.") from None
        bound.apply_defaults()
        given = dict(bound.arguments)
        mask, state_dtype = given.pop("mask"), given.pop("state_dtype")
        hyper = into(given)
        initial = hyper.pop("initial", {})
        hyper["lr"] = lr = hyper.pop("learning_rate")
        if pair:
            hyper["betas"] = (hyper.pop("b1"), hyper.pop("b2"))
        if isinstance(lr, Schedule) and lr.momentum is not None:
            if pair:
                hyper["betas"] = (_momentum(lr), hyper["betas"][1])
            elif "momentum" in hyper:
                hyper["momentum"] = _momentum(lr)
            else:
                raise InputError(f"{lr} moves the momentum, and this rule has none: give momentum=None.")
        return _transformation(rule, hyper, mask, state_dtype, initial)

    make.__name__ = make.__qualname__ = name or rule.name
    make.__doc__ = f"{rule.doc}\n\n{note}".rstrip()
    make.__module__ = __name__
    vars(make)["__signature__"] = signature
    return make


def _momentum(schedule: Schedule) -> Callable[[Any], Any]:
    momentum = schedule.momentum
    assert momentum is not None

    def at(taken: Any) -> Any:
        return momentum(taken)

    return at


#: A hyperparameter that a function has no argument for.
_GONE = object()

_ADAM = "learning_rate b1 b2 eps eps_root"

adam = _named(find("adam"), _ADAM, "adam", {"amsgrad": _GONE}, into=lambda h: {**h, "amsgrad": False})
adamw = _named(
    find("adamw"), _ADAM, "adamw", {"amsgrad": _GONE, "weight_decay": 1e-4}, into=lambda h: {**h, "amsgrad": False}
)
amsgrad = _named(
    find("amsgrad"),
    _ADAM,
    "amsgrad",
    {"amsgrad": _GONE},
    "The maximum is of v before its correction, as in torch and in the paper; optax takes that of v̂.",
    lambda h: {**h, "amsgrad": True},
)
radam = _named(
    find("radam"),
    _ADAM,
    "radam",
    {},
    "ε is added to √v, as torch has it; optax adds it to √v̂, where it counts for √(1 − β₂ᵗ) times less.",
)
adamax = _named(
    find("adamax"), "learning_rate b1 b2 eps", "adamax", {"eps_form": "torch"}, "``eps_form`` is optax's and torch's."
)
adabelief = _named(
    find("adabelief"),
    _ADAM,
    "adabelief",
    {},
    "``eps`` stands in both places of the formula; optax's ``eps_root`` is the one in s, and ours stands under the "
    "root. With one value for both of optax's the two agree, so they do by default.",
)
lion = _named(find("lion"), "learning_rate b1 b2", "lion", {"weight_decay": 1e-3})
adopt = _named(find("adopt"), _ADAM, "adopt", {})
lpadam = _named(find("lpadam"), "learning_rate b1 b2 eps p", "lpadam", {})


def _nadam(hyper: dict[str, Any]) -> dict[str, Any]:
    constant = 1e6  # 0.96 to the power of it is 0, and μ_t = β₁
    return {**hyper, "momentum_decay": constant if hyper["momentum_decay"] is None else hyper["momentum_decay"]}


nadam = _named(
    find("nadam"),
    _ADAM,
    "nadam",
    {"momentum_decay": None},
    "Without ``momentum_decay`` μ_t = β₁ throughout, as in optax; torch's default is 4e-3.",
    _nadam,
)


def _sgd(hyper: dict[str, Any]) -> dict[str, Any]:
    return {**hyper, "momentum": 0.0 if hyper["momentum"] is None else hyper["momentum"]}


sgd = _named(find("sgd"), "learning_rate momentum nesterov", "sgd", {"momentum": None}, into=_sgd)


def _adagrad(hyper: dict[str, Any]) -> dict[str, Any]:
    return {**hyper, "eps": 0.0, "eps_root": hyper["eps"]}


adagrad = _named(
    find("adagrad"),
    "learning_rate initial_accumulator_value eps",
    "adagrad",
    {"initial_accumulator_value": 0.1, "eps": 1e-7, "eps_root": _GONE},
    "ε stands under the root, and s begins at 0.1, as in optax.",
    _adagrad,
)


def _rmsprop(hyper: dict[str, Any]) -> dict[str, Any]:
    inside = hyper.pop("eps_in_sqrt")
    if not isinstance(inside, bool):
        raise InputTypeError(f"Invalid eps_in_sqrt value: {inside!r}: it must be True or False.")
    alpha, eps, begin = (hyper.pop(name) for name in ("decay", "eps", "initial_scale"))
    return {
        **_sgd(hyper),
        "alpha": alpha,
        "eps": 0.0 if inside else eps,
        "eps_root": eps if inside else 0.0,
        "initial": {"square_avg": begin},
    }


rmsprop = _named(
    find("rmsprop"),
    "learning_rate decay eps initial_scale eps_in_sqrt centered momentum",
    "rmsprop",
    {"decay": 0.9, "initial_scale": 0.0, "eps_in_sqrt": True, "momentum": None, "alpha": _GONE, "eps_root": _GONE},
    "v begins at ``initial_scale``. ε stands under the root, unless ``eps_in_sqrt`` is False. The momentum is of "
    "directions, and η is applied after it; optax adds up steps, which is the same while η is constant.",
    _rmsprop,
)
