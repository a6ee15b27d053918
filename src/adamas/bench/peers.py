# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false
# torch's operations on lists of tensors have names with an underscore.
"""Who is timed: AdamW of this library and of every other that is installed, each in its best setting on a CPU.

A `Runner` is one of them with parameters, gradients and states of its own. *The tail* is what training does around the
step: clip the gradients to a norm, average the weights, clear the gradients. This library does it in the step; around
the others stands the fastest composition that torch offers, and in optax one jitted function does it all.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

import adamas
import adamas.torch
from adamas.plan.step import Step, described
from adamas.tail import Tail

LR, BETAS, EPS, DECAY = 1e-3, (0.9, 0.999), 1e-8, 0.1
HYPER: Mapping[str, Any] = {"lr": LR, "betas": BETAS, "eps": EPS, "weight_decay": DECAY}
MAX_NORM, AVERAGE = 1.0, 0.999
TAIL: Mapping[str, Any] = {"clip_grad_norm": MAX_NORM, "ema_decay": AVERAGE, "zero_grad": True}

Tensors = Sequence[Tensor]


class Runner(ABC):
    """An optimizer with parameters, gradients and states of its own."""

    @abstractmethod
    def refill(self) -> None:
        """Give it fresh gradients, as a backward pass does. Not timed."""

    @abstractmethod
    def step(self) -> None:
        """One step, with the tail if there is one; it is done when this returns."""

    @abstractmethod
    def results(self) -> list[Tensor]:
        """The parameters and, with the tail, their averages."""

    @abstractmethod
    def state_bytes(self) -> int:
        """What it keeps beside parameters and gradients, as measured. Asked last: to show a state may slow a step."""

    @abstractmethod
    def moved(self) -> int:
        """Bytes that a step has to read and write, passes through temporaries of its own not counted."""


class _Torch(Runner):
    """A torch optimizer, and around it the tail, if it is not the optimizer's own."""

    def __init__(
        self, start: Tensors, gradients: Tensors, make: Callable[[list[Tensor]], torch.optim.Optimizer], tail: bool
    ) -> None:
        self.params: list[Tensor] = [torch.nn.Parameter(p.clone()) for p in start]
        self.grads = [g.clone() for g in gradients]
        for p, g in zip(self.params, self.grads, strict=True):
            p.grad = g
        self.source = list(gradients)
        self.optimizer = make(self.params)
        self.averages = [p.clone() for p in start] if tail else []
        self.steps = 0

    def refill(self) -> None:
        torch._foreach_copy_(self.grads, self.source)

    def step(self) -> None:
        if not self.averages:
            self.optimizer.step()
            return
        self.steps += 1
        torch.nn.utils.clip_grad_norm_(self.params, MAX_NORM, foreach=True)
        self.optimizer.step()
        # By the law of our own averages, so that both compute the same.
        weight = 1 - min(AVERAGE, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.params, weight)
        torch._foreach_zero_(self.grads)

    def results(self) -> list[Tensor]:
        return [p.detach() for p in (*self.params, *self.averages)]

    def state_bytes(self) -> int:
        held = (value for state in self.optimizer.state.values() for value in state.values())
        return _bytes((*(v for v in held if isinstance(v, Tensor)), *self.averages))

    def moved(self) -> int:
        params, grads = (sum(t.nbytes for t in tensors) for tensors in (self.params, self.grads))
        around = 4 * grads + params if self.averages else 0  # norm, shortening, clearing; θ read for the average
        return 2 * params + grads + 2 * self.state_bytes() + around


class _Adamas(_Torch):
    """This library's, whose tail is its own."""

    def __init__(self, start: Tensors, gradients: Tensors, tail: bool, state_dtype: str = "float32") -> None:
        options: dict[str, Any] = {**(TAIL if tail else {}), "state_dtype": state_dtype}
        self.tail = Tail(**options)
        super().__init__(start, gradients, lambda params: adamas.torch.AdamW(params, **HYPER, **options), False)

    def results(self) -> list[Tensor]:
        averages = [self.optimizer.state[p]["ema"] for p in self.params] if self.tail.ema_decay else []
        return [*super().results(), *averages]

    def moved(self) -> int:
        rule = adamas.rules()["adamw"]
        step = Step.of(rule, {**HYPER, "decoupled": True}, self.tail, self.tail.state_dtype)
        kinds = ((tuple(p.shape), str(p.dtype).removeprefix("torch.")) for p in self.params)
        return sum(step.moved(described(shape, dtype)) for shape, dtype in kinds)


def _narrow(state_dtype: str) -> Callable[[Tensors, Tensors, bool], Runner]:
    return lambda start, gradients, tail: _Adamas(start, gradients, tail, state_dtype)


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Of the memory behind the tensors, each piece once; a quantised tensor is made of several plain ones."""
    storages: dict[int, int] = {}
    for tensor in tensors:
        if hasattr(tensor, "__tensor_flatten__"):
            inner: Any = tensor
            parts = [getattr(inner, name) for name in inner.__tensor_flatten__()[0]]
        else:
            parts = [tensor]
        for part in parts:
            storage = part.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


class _Optax(Runner):
    """optax.adamw under jit, parameters, states and averages donated."""

    def __init__(self, start: Tensors, gradients: Tensors, tail: bool) -> None:
        # XLA's threads are as many as the environment says when its client begins.
        threads = str(torch.get_num_threads())
        self.jax: Any = import_module("jax")
        if os.environ.get("PJRT_NPROC") != threads:
            os.environ["PJRT_NPROC"] = threads
            import_module("jax.extend.backend").clear_backends()
        # JAX has no float64 until it is told to; told so for good, it would be another one for the rest of the process.
        wide = any(t.dtype == torch.float64 for t in start)
        self.numbers: Callable[[], Any] = partial(self.jax.enable_x64, True) if wide else nullcontext
        optax: Any = import_module("optax")
        rule = optax.adamw(LR, b1=BETAS[0], b2=BETAS[1], eps=EPS, weight_decay=DECAY)
        if tail:
            rule = optax.chain(optax.clip_by_global_norm(MAX_NORM), rule)
        self.source, self.tail = gradients, tail
        self.params = self._arrays(start)
        self.averages = self._arrays(start) if tail else []
        with self.numbers():
            self.state = rule.init(self.params)
        self.count = 0
        self.refill()

        def step(params: Any, state: Any, averages: Any, grads: Any, weight: Any) -> Any:
            updates, state = rule.update(grads, state, params)
            params = optax.apply_updates(params, updates)
            averages = [e + weight.astype(e.dtype) * (p - e) for e, p in zip(averages, params, strict=False)]
            return params, state, averages

        self.jitted = self.jax.jit(step, donate_argnums=(0, 1, 2))

    def _arrays(self, tensors: Tensors) -> list[Any]:
        jnp = self.jax.numpy
        with self.numbers():
            return [jnp.array(jnp.from_dlpack(t), copy=True) for t in tensors]

    def refill(self) -> None:
        self.grads = self.jax.block_until_ready(self._arrays(self.source))

    def step(self) -> None:
        self.count += 1
        weight = self.jax.numpy.float32(1 - min(AVERAGE, (1 + self.count) / (10 + self.count)))
        with self.numbers():
            self.params, self.state, self.averages = self.jax.block_until_ready(
                self.jitted(self.params, self.state, self.averages, self.grads, weight)
            )

    def results(self) -> list[Tensor]:
        return [torch.from_dlpack(p) for p in (*self.params, *self.averages)]

    def state_bytes(self) -> int:
        return sum(leaf.nbytes for leaf in self.jax.tree.leaves((self.state, self.averages)))

    def moved(self) -> int:
        params, grads = (sum(a.nbytes for a in arrays) for arrays in (self.params, self.grads))
        return 2 * params + grads + 2 * self.state_bytes() + (grads if self.tail else 0)


@dataclass(frozen=True)
class Peer:
    """One that can be timed.

    Attributes:
        module: what must be there to import.
        package: what pip installs it from.
        run: initial parameters, gradients, whether with the tail → the runner, which has copies.
        setting: how it is called.
        exact: whether its states have the precision of the parameters, or fewer bits.
    """

    module: str
    package: str
    run: Callable[[Tensors, Tensors, bool], Runner]
    setting: str
    exact: bool = True

    @property
    def installed(self) -> bool:
        return find_spec(self.module) is not None


def _torch(make: Callable[[list[Tensor]], Any]) -> Callable[[Tensors, Tensors, bool], Runner]:
    return lambda start, gradients, tail: _Torch(start, gradients, make, tail)


PEERS: Mapping[str, Peer] = {
    "adamas": Peer("adamas", "adamas", _Adamas, "adamas.torch.AdamW"),
    **{
        f"adamas-{name}": Peer("adamas", "adamas", _narrow(name), f"AdamW(state_dtype={name!r})", exact=False)
        for name in ("bfloat16", "int8")
    },
    "torch-fused": Peer(
        "torch", "torch", _torch(lambda params: torch.optim.AdamW(params, **HYPER, fused=True)), "AdamW(fused=True)"
    ),
    "torch-foreach": Peer(
        "torch", "torch", _torch(lambda params: torch.optim.AdamW(params, **HYPER, foreach=True)), "AdamW(foreach=True)"
    ),
    "torch": Peer("torch", "torch", _torch(lambda params: torch.optim.AdamW(params, **HYPER)), "AdamW()"),
    "deepspeed": Peer(
        "deepspeed",
        "deepspeed",
        _torch(lambda params: import_module("deepspeed.ops.adam").DeepSpeedCPUAdam(params, **HYPER, adamw_mode=True)),
        "DeepSpeedCPUAdam(adamw_mode=True)",
    ),
    "optax": Peer("optax", "optax", _Optax, "adamw under jit, all donated"),
    "optimi": Peer(
        "optimi",
        "torch-optimi",
        _torch(lambda params: import_module("optimi").AdamW(params, **HYPER, foreach=True)),
        "AdamW(foreach=True)",
    ),
    "bitsandbytes": Peer(
        "bitsandbytes",
        "bitsandbytes",
        _torch(lambda params: import_module("bitsandbytes").optim.AdamW8bit(params, **HYPER)),
        "AdamW8bit",
        exact=False,
    ),
    "torchao": Peer(
        "torchao",
        "torchao",
        _torch(lambda params: import_module("torchao.optim").AdamW8bit(params, **HYPER)),
        "AdamW8bit",
        exact=False,
    ),
    "torchao-4bit": Peer(
        "torchao",
        "torchao",
        _torch(lambda params: import_module("torchao.optim").AdamW4bit(params, **HYPER)),
        "AdamW4bit",
        exact=False,
    ),
}
"""Everybody, this library first: the others are compared with it."""

#: How far the parameters may be from where AdamW leads, as a share of the way: float32 states, states of few bits.
NEAR, ROUGH = 1e-4, 0.2


def distance(peer: Peer, tail: bool, steps: int = 5) -> float:
    """How far a few float32 steps end from where AdamW leads, as a share of the way: torch's own in float64.

    With the tail, parameters and their averages together.
    """
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=generator) for shape in ((96, 64), (7,))]
    gradients = [torch.empty_like(p) for p in start]
    wide = [g.double() for g in gradients]
    runner = peer.run(start, gradients, tail)
    reference = PEERS["torch"].run([p.double() for p in start], wide, tail)
    for _ in range(steps):
        for g, w in zip(gradients, wide, strict=True):
            w.copy_(g.normal_(generator=generator))
        for each in (runner, reference):
            each.refill()
            each.step()
    starts = start * (2 if tail else 1)
    pairs = zip(runner.results(), reference.results(), starts, strict=True)
    squares = [((a - b).square().sum(), (b - s).square().sum()) for a, b, s in pairs]
    return float((sum(s for s, _ in squares) / sum(s for _, s in squares)) ** 0.5)
