# pyright: reportPrivateUsage=false
# What torch.optim.Optimizer shares with its subclasses has names with an underscore.
"""The class that all optimizers of this front share."""

from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar

import torch
import torch.optim.optimizer as torch_optimizer
from torch import Tensor
from torch.autograd import profiler
from torch.compiler import is_dynamo_compiling

from adamas import late_switch
from adamas.errors import InputError, InputTypeError, misspelt
from adamas.hyperparameters import number
from adamas.late_switch import Switched, switched
from adamas.loading import counted, load
from adamas.optimizer import Stepper
from adamas.registry import Rule, find
from adamas.signatures import bind, named, signature
from adamas.state import State, States
from adamas.tail import OPTIONS, Last, Tail
from adamas.torch.arrays import TorchArrays

#: Flags that choose between torch's own implementations; here ``foreach`` is only kept, for the state dicts' sake.
_FLAGS = {"foreach": None, "capturable": False, "differentiable": False, "fused": None}

#: hyperparameter of the rules -> torch's name for it.
_KEYS = {"decoupled": "decoupled_weight_decay"}

_ARRAYS = TorchArrays()


class _Gradients(Sequence[Tensor | None]):
    """The gradients of parameters, fetched when asked for: a step as a rule reads their addresses alone."""

    def __init__(self, params: Sequence[Tensor]) -> None:
        self.params = params

    def __len__(self) -> int:
        return len(self.params)

    def __getitem__(self, i: Any) -> Any:
        return self.params[i].grad


class Optimizer(torch.optim.Optimizer):
    """Steps torch parameters by one of the rules; a `torch.optim.Optimizer` in every respect.

    Args:
        params: parameters, or dicts of a group's parameters and hyperparameters, as for torch.optim. On the CPU and
            of dtype float32 or float64 they are stepped by a compiled kernel, in place, whatever their layout;
            float16 and bfloat16 are computed in float32 and keep float32 states. On NVIDIA GPUs, where triton is
            installed, one launch steps them all. On other devices, for tensor
            subclasses, and with ``differentiable=True`` torch computes the step. Sparse gradients, as from
            ``nn.Embedding(sparse=True)``, move the rows that they touch and leave all others and their states alone.
        lr: the learning rate; and the other hyperparameters of the rule, see `adamas.rules`. Where torch has a class
            of the same name, they have its names and order. ``decoupled`` may be said for ``decoupled_weight_decay``.
        foreach: accepted as by torch, and without effect.
        fused: with True, a `torch.amp.GradScaler` leaves it to the step to undo its scale, as it does with torch's.
        capturable: the counts lie on the GPU, and steps can be captured in a CUDA graph; then ``lr`` and others may be
            tensors there, which the step reads, and nobody waits for a step that may be skipped. Refused at the first
            step of a parameter that is not on an NVIDIA GPU.
        differentiable: let autograd run through the step.
        clip_grad_norm, clip_grad_value, ema_decay, nonfinite, state_dtype, zero_grad, telemetry, late_switch: what the
            step does beside the rule, in the same pass over memory, and how it keeps its moments; see
            `adamas.tail.Tail`.

    Raises:
        InputError: (a ValueError) for an argument that cannot be; nothing is made.
    """

    rule: ClassVar[Rule]
    made: ClassVar[tuple[Any, ...]]  # the arguments of `optimizer`
    state: Any  # `States`, which is the defaultdict that torch asks for
    __signature__: ClassVar[Any]
    _gradients = _Gradients(())  # of the last step's parameters

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        params, defaults = bind(type(self).__name__, self.__signature__, args, _torch_names(kwargs))
        tail = Tail(**{name: defaults.pop(name) for name in OPTIONS})
        self._stepper = Stepper(self.rule, _ARRAYS, tail, _KEYS)
        if tail.late_switch is not None:
            defaults |= tail.late_switch.entries()
        self._check(defaults)
        if defaults["fused"] and defaults["differentiable"]:
            raise RuntimeError("`fused` does not support `differentiable`: leave one of them out.")
        if defaults["fused"] and defaults["foreach"]:
            raise RuntimeError("`fused` and `foreach` cannot be `True` together: leave one of them out.")
        super().__init__(params, defaults)
        self._step_supports_amp_scaling = bool(defaults["fused"])
        self._adopt()

    def _check(self, group: dict[str, Any]) -> None:
        for flag in _FLAGS:
            if not (group[flag] is None or isinstance(group[flag], bool)):
                raise InputTypeError(f"Invalid {flag} value: {group[flag]!r}: it must be True, False or None.")
        rule = self._stepper.rule
        names = {name: _KEYS.get(name, name) for name in rule.defaults}
        rule.check({name: number(key, group[key]) for name, key in names.items()})
        if self._stepper.tail.late_switch is not None:
            late_switch.check(group)
        if self.rule.source.name == "adam":  # Adam and AdamW: torch's other classes take any tensors
            _refuse_tensors(group)

    def add_param_group(self, param_group: Any) -> None:
        """Add a group, as in torch.optim; its hyperparameters are checked first."""
        if isinstance(param_group, dict):
            param_group = _torch_names(param_group)
            for name in (name for name in param_group if isinstance(name, str)):
                misspelt(f"hyperparameter of {self.rule.name}", name, [*self.defaults, "params", "param_names"])
            if self._stepper.tail.late_switch is not None and self.param_groups:  # which may have switched
                for name in late_switch.ENTRIES:
                    param_group.setdefault(name, self.param_groups[0][name])
            self._check({**self.defaults, **param_group})
            params = param_group.get("params", ())
            if not isinstance(params, Tensor | set):
                param_group["params"] = params = list(params)
            for p in [params] if isinstance(params, Tensor) else params:
                tensor = p[1] if isinstance(p, tuple) else p
                if isinstance(tensor, Tensor) and not (tensor.is_floating_point() or tensor.is_complex()):
                    raise InputTypeError(
                        f"A parameter of shape {tuple(tensor.shape)} has dtype {tensor.dtype}: "
                        "it must be of a floating-point or complex dtype; leave it out of the optimizer."
                    )
        super().add_param_group(param_group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient.

        Args:
            closure: reevaluates the model and returns the loss.

        Returns:
            What the closure returned.

        Raises:
            InputError: where a gradient or state does not fit its parameter; nothing is changed.
        """
        if is_dynamo_compiling():
            return self._uncompiled(closure)
        if (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or torch_optimizer._global_optimizer_pre_hooks
            or torch_optimizer._global_optimizer_post_hooks
            or profiler._is_profiler_enabled
        ):
            return self._watched() if closure is None else self._watched(closure)  # hooks see the arguments
        return self._step(closure)

    # torch wraps `step` in a profiler's record and a walk over hooks, which cost as much as a small step does. Marked
    # as wrapped already, it goes that way only where someone is watching.
    step.hooked = True  # pyright: ignore[reportFunctionMemberAccess]

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if type(self.state) is not States:
            self._adopt()
        groups = self.param_groups
        params = groups[0]["params"] if len(groups) == 1 else [p for group in groups for p in group["params"]]
        if self._gradients.params is not params:
            self._gradients = _Gradients(params)
        kept = bool(groups[0]["capturable"])
        scale, found = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        if not (kept and isinstance(found, Tensor)):
            found = bool(found)
        if scale is not None and not kept:
            scale = float(scale)
        self._stepper.step(groups, self.state, params, params, self._gradients, scale, found, kept)
        return loss

    @property
    def last(self) -> Last:
        """What the last step says of itself: the gradients' norm, whether it was skipped, what it measured."""
        return self._stepper.last

    @property
    def switched(self) -> Switched | None:
        """When the late switch came, with which η and why; None before, and where there is none."""
        return switched(self.param_groups)

    def report_loss(self, loss: Any) -> None:
        """Tell a `LateSwitch` at a plateau how it goes, once an epoch or so.

        Args:
            loss: a number or a tensor of one element; a NaN counts as no progress.

        Raises:
            InputError: where no such switch was asked for.
        """
        self._stepper.report_loss(self.param_groups, loss)

    def note_skip(self) -> None:
        """A gradient scaler that undoes its scale itself leaves a step out by not making it: so it says so here."""
        self._stepper.untold = Last(skipped=True)

    @contextmanager
    def averaged(self) -> Generator[None]:
        """While this lasts, the parameters hold the averages of the weights (``ema_decay``).

        >>> import torch
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> opt = optimizer("sgd")([weight], lr=1.0, ema_decay=0.5)
        >>> weight.grad = torch.ones(1)
        >>> opt.step()
        >>> with opt.averaged():
        ...     print(weight.item())
        -0.8181818127632141
        >>> weight.item()
        -1.0

        Raises:
            InputError: where nothing is averaged.
        """
        params = [p for group in self.param_groups for p in group["params"]]
        with self._stepper.averaged(self.state, params, params):
            yield

    @property
    def is_averaged(self) -> bool:
        """Whether the parameters hold their averages now: inside of ``with opt.averaged()``."""
        return self._stepper.lent

    _watched = torch.optim.Optimizer.profile_hook_step(_step)

    # torch.compiler.disable, without its import of the whole compiler
    @torch._disable_dynamo  # pyright: ignore[reportPrivateImportUsage]
    def _uncompiled(self, closure: Callable[[], Any] | None) -> Any:
        """A step inside ``torch.compile``: the kernels are compiled already, and it is left out of the graph."""
        return self.step(closure)

    def _adopt(self) -> None:
        """Take over states that came from elsewhere."""
        self.state = self._states(self.state)

    def _states(self, given: Mapping[Any, Any]) -> States:
        """States that came from elsewhere, as a step takes them."""
        states = States(given)
        for p, state in states.items():
            held = state.peek() if isinstance(state, State) else {}
            if held and (begun := counted(self.rule, held)) is not held:
                states[p] = State(begun)
        return states

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_tail": self._stepper.tail}

    def __setstate__(self, state: dict[str, Any]) -> None:
        whole = {**vars(self), **state}
        for group in whole["param_groups"]:
            for name, value in whole["defaults"].items():
                group.setdefault(name, value)
        if self.rule.name == "adamw":  # what it loads may be an Adam's: as in torch, that decides nothing here
            for group, own in zip(whole["param_groups"], vars(self).get("param_groups", ()), strict=False):
                group["decoupled_weight_decay"] = own["decoupled_weight_decay"]
        super().__setstate__({**state, "state": self._states(whole["state"])})
        if "_stepper" not in self.__dict__:
            self._stepper = Stepper(self.rule, _ARRAYS, self.__dict__.pop("_tail", Tail()), _KEYS)
            self._step_supports_amp_scaling = bool(self.defaults["fused"])

    def __reduce_ex__(self, protocol: Any) -> Any:
        if named(type(self)) or "made" not in vars(type(self)):
            return super().__reduce_ex__(protocol)
        return _again, self.made, self.__getstate__()  # a class that `optimizer` has made is no name in a module

    def state_dict(self) -> dict[str, Any]:
        """As in torch.optim; torch's own optimizers load it."""
        for state in self.state.values():
            if isinstance(state, State):
                state.show()
        hooks = self._optimizer_state_dict_post_hooks
        # What the hooks see, and may give another shape, is made of plain dicts already.
        self._optimizer_state_dict_post_hooks = OrderedDict({-1: _plain, **hooks})
        try:
            return super().state_dict()
        finally:
            self._optimizer_state_dict_post_hooks = hooks

    @torch._disable_dynamo  # pyright: ignore[reportPrivateImportUsage]
    def load_state_dict(self, state_dict: Any) -> None:
        """As in torch.optim, from whose own optimizers it takes state dicts too.

        All of it is verified and copied before anything is changed. States are laid out like their parameters, and
        keep their precision: float32 states of float16 or bfloat16 parameters stay float32.

        Raises:
            InputError: where it does not fit this optimizer; nothing is changed.
        """
        if isinstance(state_dict, dict):
            state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, state_dict)
            state_dict = state_dict if changed is None else changed
        params = [p for group in self.param_groups for p in group["params"]]
        names = [f"parameter {i}" for i in range(len(params))]
        rule, tail = self._stepper.rule, self._stepper.tail
        groups, states, rest = load(
            rule, tail, _ARRAYS, state_dict, self.param_groups, names, self.defaults, _KEYS, True
        )
        for k, (group, own) in enumerate(zip(groups, self.param_groups, strict=True)):
            self._check(group)
            given = group.setdefault("param_names", own.get("param_names"))
            if given is None:
                del group["param_names"]
            elif not (isinstance(given, list) and len(given) == len(group["params"])):
                raise InputError(f"The 'param_names' of group {k} are {given!r}: give a list, a name per parameter.")
        held = {params[i]: State.hidden(state) for i, state in states.items()}
        self.__setstate__({"state": States({**held, **rest}), "param_groups": groups})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)


def _plain(optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
    state_dict["state"] = {key: dict(s) if isinstance(s, State) else s for key, s in state_dict["state"].items()}


def _torch_names(options: dict[str, Any]) -> dict[str, Any]:
    return {_KEYS.get(name, name): value for name, value in options.items()}


def _refuse_tensors(group: Mapping[str, Any]) -> None:
    """What torch's Adam and AdamW refuse, so that options which pass here pass there."""
    beta1, beta2 = group["betas"]
    if isinstance(beta1, Tensor) != isinstance(beta2, Tensor):
        raise InputError(f"betas must be either both floats or both Tensors: {(beta1, beta2)}; give both in one kind.")
    if group["foreach"] and not group["capturable"]:
        for name, value in (("lr", group["lr"]), ("betas[0]", beta1)):
            if isinstance(value, Tensor):
                raise InputError(
                    f"{name} as a Tensor is not supported for capturable=False and foreach=True: leave foreach out, "
                    "which has no effect here."
                )


def optimizer(rule: Rule | str, positional: str = "lr", name: str = "", **defaults: Any) -> type[Optimizer]:
    """The optimizer class of a rule, the library's or your own.

    Args:
        rule: a rule, or the name of a registered one.
        positional: arguments that may be given by position after ``params``, in this order.
        name: of the class; else that of the rule.
        **defaults: hyperparameters whose default differs in this class.

    >>> import adamas, torch
    >>> @adamas.rule
    ... def sign_descent(g, *, lr=1e-3):
    ...     return lr * adamas.sign(g)
    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, -0.5])
    >>> optimizer(sign_descent)([weight], lr=0.1).step()
    >>> weight.tolist()
    [-0.10000000149011612, 0.10000000149011612]
    """
    return _make(find(rule) if isinstance(rule, str) else rule, positional, name, tuple(defaults.items()))


@cache  # one class, however often it is asked for: so what was pickled is of the class that it was of
def _make(rule: Rule, positional: str, name: str, defaults: tuple[tuple[str, Any], ...]) -> type[Optimizer]:
    names = {**_torch_names({**rule.hyper(dict(defaults)), **_FLAGS}), **OPTIONS}
    body = {
        "rule": rule,
        "made": (rule, positional, name, defaults),
        "__doc__": f"{rule.doc}\n\n{Optimizer.__doc__}",
        "__signature__": signature(names, positional.split()),
        "__module__": "adamas.torch",
    }
    return type(name or rule.name, (Optimizer,), body)


def _again(*made: Any) -> Optimizer:
    kind = _make(*made)
    return kind.__new__(kind)
