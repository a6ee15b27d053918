"""State dicts that are damaged in one to three ways: refused whole, or taken exactly as they are."""

import copy
import math
import random
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

import adamas.numpy
import adamas.torch
from adamas.errors import InputError
from adamas.state import State
from tests.cases import Case
from tests.torture.tally import Outcome
from tests.torture.trials import cases

SHAPES = ((3, 4), (5,), ())
WILD = [
    math.nan,
    -1,
    math.inf,
    -math.inf,
    None,
    "0.1",
    "",
    True,
    1j,
    10**400,
    [],
    [0.5],
    {},
    (0.9,),
    {"lr": 1},
    1e300,
    0,
]


class Bench:
    """An optimizer of a rule on a front, and what a trial does with it."""

    def __init__(self, rng: random.Random, cases: list[Case]) -> None:
        self.rng = rng
        self.case = rng.choice(cases)
        self.torch = rng.random() < 0.6
        self.dtype = rng.choice(["float32", "float64", "bfloat16" if self.torch else "float16", "complex64"])
        self.values = np.random.default_rng(rng.randrange(1 << 30))

    def array(self, shape: tuple[int, ...], dtype: str = "") -> Any:
        values = np.asarray(self.values.standard_normal(shape))
        dtype = dtype or self.dtype
        return torch.tensor(values).to(getattr(torch, dtype)) if self.torch else values.astype(dtype)

    def optimizer(self, make: Any = None, **more: Any) -> Any:
        make = make or getattr(adamas, "torch" if self.torch else "numpy").optimizer(self.case.rule)
        a, b, c = (self.array(shape) for shape in SHAPES)
        opt = make([{"params": [a, b], "lr": 0.03}, {"params": [c]}], **{**self.case.options, **more})
        for _ in range(self.rng.randrange(1, 4)):
            self.step(opt)
        return opt

    def step(self, opt: Any) -> None:
        params = [p for group in opt.param_groups for p in group["params"]]
        grads = [None if self.rng.random() < 0.15 else self.array(tuple(p.shape)) for p in params]
        if not self.torch:
            opt.step(grads)
            return
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        opt.step()

    def saved(self) -> dict[str, Any]:
        """A sound state dict, in some cases torch's own."""
        known = self.case.torch not in ("", "SparseAdam")  # the latter takes sparse gradients alone
        other = self.torch and known and self.dtype == "float32" and self.rng.random() < 0.3
        make = getattr(torch.optim, self.case.torch) if other else None
        options = {name: v for name, v in self.case.options.items() if name != "eps_form"}
        if other:
            kept, self.case = self.case, type(self.case)(self.case.rule, options)
            saved = self.optimizer(make).state_dict()
            self.case = kept
        else:
            saved = self.optimizer().state_dict()
        return copy.deepcopy(saved)


# -- damage ------------------------------------------------------------------------------------------------------------


def misspelt(rng: random.Random, name: Any) -> Any:
    if not isinstance(name, str) or len(name) < 2:
        return "x"
    k = rng.randrange(len(name) - 1)
    swapped = name[:k] + name[k + 1] + name[k] + name[k + 2 :]
    return rng.choice([name[:k] + name[k + 1 :], swapped, name + "s", name.upper()])


def rename(rng: random.Random, held: dict[Any, Any], name: Any) -> None:
    held[misspelt(rng, name)] = held.pop(name)


def damage_whole(bench: Bench, saved: dict[str, Any]) -> None:
    rng = bench.rng
    name = rng.choice(["state", "param_groups"])
    rng.choice(
        [
            lambda: saved.pop(name),
            lambda: rename(rng, saved, name),
            lambda: saved.update({name: rng.choice(WILD)}),
            lambda: saved.update(param_groups=tuple(saved["param_groups"])),
            lambda: saved.update(more=1),
        ]
    )()


def damage_groups(bench: Bench, saved: dict[str, Any]) -> None:
    rng, groups = bench.rng, saved["param_groups"]
    k = rng.randrange(len(groups))
    rng.choice(
        [
            lambda: groups.pop(k),
            lambda: groups.append(copy.deepcopy(groups[k])),
            lambda: groups.__setitem__(k, rng.choice(WILD)),
            groups.reverse,
        ]
    )()


def damage_group(bench: Bench, saved: dict[str, Any]) -> None:
    rng = bench.rng
    group = rng.choice(saved["param_groups"])
    name = rng.choice(list(group))
    wild = [*WILD, bench.array((2,), "float32"), bench.array((1,), "float32"), bench.array((), "float32")]
    if bench.torch:
        wild += [torch.zeros((), device="meta"), torch.zeros(2).to_sparse(), (i for i in range(3))]
    rng.choice(
        [
            lambda: group.pop(name),
            lambda: rename(rng, group, name),
            lambda: group.update({name: rng.choice(wild)}),
            lambda: group.update(lr_scale=0.5, initial_lr=[1.0]),
            lambda: group.update({rng.choice([3, None, ("lr",), "Lr"]): rng.choice(WILD)}),
        ]
    )()


def damage_names(bench: Bench, saved: dict[str, Any]) -> None:
    rng = bench.rng
    params = rng.choice(saved["param_groups"])["params"]
    k = rng.randrange(len(params))
    everyone = [key for group in saved["param_groups"] for key in group["params"]]
    rng.choice(
        [
            lambda: params.pop(k),
            lambda: params.append(rng.choice(everyone)),
            lambda: params.__setitem__(k, rng.choice(everyone)),
            lambda: params.__setitem__(k, rng.choice([77, "w", None, [], {}, math.nan])),
            params.reverse,
        ]
    )()


def damage_states(bench: Bench, saved: dict[str, Any]) -> None:
    rng, states = bench.rng, saved["state"]
    key = rng.choice(list(states))
    rng.choice(
        [
            lambda: states.pop(key),
            lambda: states.update({77: states.pop(key)}),
            lambda: states.update({rng.choice(["w", None, -1]): copy.deepcopy(states[key])}),
            lambda: states.update({key: rng.choice(WILD)}),
            lambda: states.update({key: list(states[key].items())}),
        ]
    )()


def damage_state(bench: Bench, saved: dict[str, Any]) -> None:
    rng = bench.rng
    state = rng.choice(list(saved["state"].values()))
    name = rng.choice(list(state))
    extra = rng.choice([3, "text", {"deep": [bench.array((2,)), {"deeper": bench.array(())}]}, bench.array((9,))])
    rng.choice(
        [
            lambda: state.pop(name),
            lambda: rename(rng, state, name),
            lambda: state.update(mine=extra),
            lambda: state.update({rng.choice([3, None]): 1}),
            lambda: state.update({name: state[rng.choice(list(state))]}),
        ]
    )()


def damage_array(bench: Bench, saved: dict[str, Any]) -> None:
    rng = bench.rng
    state = rng.choice(list(saved["state"].values()))
    name = rng.choice([name for name in state if name != "step"])
    array = state[name]
    one = array.reshape(-1)
    ways: list[Callable[[], Any]] = [
        lambda: one[:-1],
        lambda: array.reshape((1, *array.shape)),
        lambda: array.T if array.ndim > 1 else one[:0],
        lambda: bench.array(()),
        lambda: bench.array((1,)),
        lambda: array * math.nan,
        lambda: float(one[0].real),
        lambda: array.tolist(),
        lambda: rng.choice(WILD),
    ]
    dtypes = ["int64", "bool", "uint8", "complex64", "complex128", "float16", "float32", "float64"]
    if bench.torch:
        dtype = getattr(torch, rng.choice(dtypes))
        ways += [
            lambda: (array.real if array.is_complex() and not dtype.is_complex else array).to(dtype),
            lambda: one[:1].expand(one.shape).reshape(array.shape) if one.numel() else array,
            lambda: array.detach().clone().requires_grad_(),
            lambda: array.clone().requires_grad_() * 2,
            lambda: array.to("meta"),
            lambda: array.to_sparse() if array.ndim else array,
            lambda: torch.nn.Parameter(array),
            lambda: array.numpy() if array.dtype != torch.bfloat16 else array,
            lambda: torch._neg_view(array),
            lambda: _inferred(array),
        ]
    else:
        dtype = np.dtype(rng.choice([*dtypes, "object", "U3", ">f4"]))
        ways += [
            lambda: (array.real if array.dtype.kind == "c" and dtype.kind != "c" else array).astype(dtype),
            lambda: np.broadcast_to(one[0], array.shape),
            lambda: np.array(array)[::-1] if array.ndim else array,
            lambda: torch.tensor(array),
        ]
    state[name] = rng.choice(ways)()


def _inferred(array: Any) -> Any:
    with torch.inference_mode():
        return array.clone()


def damage_count(bench: Bench, saved: dict[str, Any]) -> None:
    rng = bench.rng
    state = rng.choice([s for s in saved["state"].values() if "step" in s])
    name = rng.choice(["step", *(name for name in state if name == "mu_product")])
    like = (lambda x: torch.tensor(x)) if bench.torch else np.asarray
    wild = [*WILD, 2.5, 3, like(3), like([3.0]), like([[1.0, 2.0]]), like(math.nan), like(-1.0), like(1j), like(True)]
    state[name] = rng.choice([*wild, *([torch.zeros((), device="meta")] if bench.torch else ["3"])])


DAMAGE = [
    damage_whole,
    damage_groups,
    damage_group,
    damage_names,
    damage_states,
    damage_state,
    damage_array,
    damage_count,
]


# -- what becomes of it ------------------------------------------------------------------------------------------------


def mutated(seed: int) -> Outcome:
    """Load a damaged state dict."""
    bench = Bench(random.Random(seed), cases(seed))
    saved = bench.saved()
    target = bench.optimizer()
    for _ in range(bench.rng.choice([1, 1, 2, 3])):
        try:
            bench.rng.choice(DAMAGE)(bench, saved)
        except (KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError):
            pass  # what another one has left cannot be damaged in this way
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = everything(target)
        try:
            target.load_state_dict(saved)
        except InputError as error:
            assert str(error).strip()
            return Outcome.DETECTED if everything(target) == before else Outcome.LOST
        params = [p for group in target.param_groups for p in group["params"]]
        if wrong := loaded_wrongly(bench, target, saved, params):
            raise AssertionError(f"SILENT: {wrong}")
        before = everything(target)
        spoil(saved)
        if everything(target) != before:
            raise AssertionError("SILENT: what was loaded is still the caller's")
        try:
            bench.step(target)
        except InputError as error:
            assert str(error).strip()
            return Outcome.DETECTED if everything(target) == before else Outcome.LOST
        bench.step(target)
    return Outcome.RIGHT


def everything(opt: Any) -> Any:
    """Every bit of the parameters, states and groups."""
    groups = [{name: value for name, value in group.items() if name != "params"} for group in opt.param_groups]
    params = [p for group in opt.param_groups for p in group["params"]]
    states = {
        key if isinstance(key, str) else id(key): state.peek() if isinstance(state, State) else state
        for key, state in opt.state.items()
    }
    return plain([groups, params, [id(p) for p in params], states])


def plain(value: Any) -> Any:
    """Values whose equality means equal bits."""
    if isinstance(value, torch.Tensor):
        if value.layout is not torch.strided or value.device.type == "meta":
            return str(value.layout), str(value.device), tuple(value.shape)
        raw = value.detach().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return str(value.dtype), tuple(value.shape), raw
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value if isinstance(value, str | type(None)) else repr(value)


def spoil(value: Any) -> None:
    """Change everything that could be held by somebody else."""
    if isinstance(value, torch.Tensor):
        if value.layout is torch.strided and value.device.type != "meta" and not value.is_inference():
            with torch.no_grad():
                (value.clone().resize_(0) if value.dtype is torch.bool else value).fill_(7)
    elif isinstance(value, np.ndarray):
        if value.flags.writeable and value.dtype.kind in "fciu":
            value.fill(7)
    elif isinstance(value, dict):
        for v in value.values():
            spoil(v)
        value["spoilt"] = True
    elif isinstance(value, list):
        for v in value:
            spoil(v)
        value.append("spoilt")


def loaded_wrongly(bench: Bench, opt: Any, saved: dict[str, Any], params: list[Any]) -> str:
    """How what was taken differs from what was given; "" if it does not."""
    keys = [key for group in saved["param_groups"] for key in group["params"]]
    if len(keys) != len(params) or len(set(keys)) != len(keys):
        return "parameters and their names"
    for own, given in zip(opt.param_groups, saved["param_groups"], strict=True):
        for name, value in given.items():
            if name != "params" and plain(own[name]) != plain(value):
                return f"the group's {name!r}: {own[name]!r} for {value!r}"
        for name in own.keys() - given.keys():
            optional = {"eps_root", "weight_decay"} if opt.rule.name == "sparse_adam" else {"eps_root"}
            if not isinstance(own[name], bool | str | None) and name not in optional:
                return f"the group's {name!r} was made up"
    own_keys = params if bench.torch else [0, 1, 2]
    for key, own_key, p in zip(keys, own_keys, params, strict=True):
        state = opt.state[own_key].peek() if own_key in opt.state else {}
        given = saved["state"].get(key, {})
        sgd = "step" not in given and opt.rule.source.name == "sgd"
        if sgd and given.get("momentum_buffer") is None:
            given = {}
        options = {k: v for k, v in zip(opt.rule.defaults, opt._stepper._hyper[0].get(group_of(opt, p)), strict=True)}
        alive = opt.rule.states(**{k: v.item() if hasattr(v, "item") else v for k, v in options.items()})
        for name in ("step", *alive) if state else ():
            if name not in given and not (sgd and name == "step"):
                return f"{name!r} of {key!r} was lost"
        if missing := given.keys() - state.keys() - {n for n, v in given.items() if v is None}:
            return f"{missing} of {key!r} were lost"
        for name, value in given.items():
            if name in ("step", "mu_product"):
                if not 0 <= float(state[name]) < math.inf:
                    return f"{name!r} of {key!r} is {state[name]}"
                if float(state[name]) != (value.item() if hasattr(value, "item") else value):
                    return f"{name!r} of {key!r} is {state[name]} for {value}"
            elif name in opt.rule.source.states and value is not None:
                if tuple(state[name].shape) != tuple(p.shape) or not same(state[name], value):
                    return f"{name!r} of {key!r}"
            elif value is not None and plain(state[name]) != plain(value):
                return f"{name!r} of {key!r}"
    return ""


def group_of(opt: Any, p: Any) -> Any:
    return next(group for group in opt.param_groups if any(p is q for q in group["params"]))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        wide = torch.complex128
        one, other = one.detach().to(wide).resolve_neg().numpy(), other.detach().to(wide).resolve_neg().numpy()
    return np.shape(one) == np.shape(other) and np.array_equal(one, other, equal_nan=True)
