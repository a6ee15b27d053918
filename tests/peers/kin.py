"""torch's own database of optimizers, and how our classes are set beside torch's."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

torch = pytest.importorskip("torch")
common = pytest.importorskip(
    "torch.testing._internal.common_optimizers",
    reason="torch's test database needs expecttest, which the extra 'test' brings",
    exc_type=ImportError,
)
# The import forbids the whole process to set flags of torch.backends, which is meant for torch's own tests alone.
torch.backends.__allow_nonbracketed_mutation_flag = True

import adamas.torch  # noqa: E402

#: The optimizers that torch has too, as its database describes them.
INFOS = {
    info.name: info
    for info in common.optim_db
    if info.name in adamas.torch.__all__ and not info.only_supports_sparse_grads  # SparseAdam: fronts/test_sparse.py
}
PEERS = list(INFOS)
#: Those that it does not have.
STRANGERS = ["LpAdam", "AdaBelief", "ADOPT", "Lion"]
ALL = [*PEERS, *STRANGERS]

#: Options under which a class keeps every state that it can. A kernel is compiled for each combination of options, so
#: tests to which they do not matter use these.
FULL: dict[str, dict[str, Any]] = {name: {"weight_decay": 0.1} for name in ALL}
FULL["SGD"] |= {"momentum": 0.9}
FULL["RMSprop"] |= {"momentum": 0.1, "centered": True}
FULL["Adam"] |= {"amsgrad": True}
FULL["AdamW"] |= {"amsgrad": True}


def ours(name: str, params: Any, **options: Any) -> Any:
    return getattr(adamas.torch, name)(params, **{**FULL[name], **options})


def theirs(name: str, params: Any, **options: Any) -> Any:
    return getattr(torch.optim, name)(params, **{**FULL[name], **options})


SHAPES = [(3, 4), (5,), ()]


def parameters(shapes: Sequence[tuple[int, ...]] = SHAPES, seed: int = 0, **kind: Any) -> list[Any]:
    generator = torch.Generator().manual_seed(seed)
    kind.setdefault("dtype", torch.float32)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator, **kind)) for shape in shapes]


def copies(params: Sequence[Any]) -> list[Any]:
    """The same parameters over again, in the same layout."""
    return [torch.empty_like(p.detach()).copy_(p.detach()).requires_grad_(p.requires_grad) for p in params]


def give_gradients(*many: Sequence[Any], seed: int) -> None:
    """The same fresh gradients to the parameters of each."""
    generator = torch.Generator().manual_seed(1000 + seed)
    for together in zip(*many, strict=True):
        grad = torch.randn(together[0].shape, generator=generator, dtype=together[0].dtype)
        for p in together:
            p.grad = grad.clone()


def steps(optimizer: Any, params: Sequence[Any], seeds: Sequence[int]) -> None:
    for seed in seeds:
        give_gradients(params, seed=seed)
        optimizer.step()


def assert_same(actual: Sequence[Any], expected: Sequence[Any]) -> None:
    """Equal to the bit."""
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b), (a, b)


def assert_near(actual: Sequence[Any], expected: Sequence[Any]) -> None:
    """Equal to some roundings of the dtype."""
    for a, b in zip(actual, expected, strict=True):
        wide = b.dtype in (torch.float64, torch.complex128)
        torch.testing.assert_close(a, b, rtol=1e-10 if wide else 1e-4, atol=1e-12 if wide else 1e-6)


def held(optimizer: Any, params: Sequence[Any]) -> list[Any]:
    """A copy of all that a step changes."""
    states = [sorted(optimizer.state[p].items()) if p in optimizer.state else [] for p in params]
    return copy.deepcopy([[p.detach() for p in params], states])


def assert_held(optimizer: Any, params: Sequence[Any], before: list[Any]) -> None:
    """Nothing has changed since `held`."""
    now = held(optimizer, params)
    assert_same(now[0], before[0])
    for state, old in zip(now[1], before[1], strict=True):
        assert [name for name, _ in state] == [name for name, _ in old]
        assert_same([value for _, value in state], [value for _, value in old])


@contextmanager
def default_dtype(dtype: Any) -> Iterator[None]:
    """torch keeps counts and NAdam's product of μ in this dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def outcome(call: Callable[[], Any]) -> tuple[type[BaseException] | None, str]:
    """The error that a call ends with, if it does."""
    try:
        call()
    except Exception as error:
        return type(error), str(error)
    return None, ""
