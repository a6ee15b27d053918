"""Every input and every error input of torch's database, on our class beside torch's."""

from typing import Any

import pytest

from tests.peers.kin import INFOS, adamas, assert_near, common, copies, default_dtype, give_gradients, torch

#: What torch's test database gives for a GPU holds its inputs for the CPU too, and tensors for hyperparameters. Each
#: comes without flags and with each of the flags that choose between torch's implementations.
INPUTS = [
    pytest.param(name, given, i // (1 + len(info.supported_impls)), id=f"{name}-{given.desc}")
    for name, info in INFOS.items()
    for i, given in enumerate(common._get_optim_inputs_including_global_cliquey_kwargs("cuda", torch.float32, info))
]
ERRORS = [
    pytest.param(name, given, id=f"{name}-{given.optimizer_error_input.desc}")
    for name, info in INFOS.items()
    for given in info.optim_error_inputs_func(device="cpu", dtype=torch.float32)
]


def real() -> list[Any]:
    """Of every layout."""
    generator = torch.Generator().manual_seed(0)
    plain = [torch.randn(s, generator=generator, dtype=torch.float64) for s in ((3, 4), (5,), (), (1,), (0, 3))]
    image = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    return [*plain, plain[0].clone().t(), image.to(memory_format=torch.channels_last), image[:, :, ::2, 1:4]]


def complex_() -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(s, generator=generator, dtype=torch.complex128) for s in ((3, 4), (), (4, 1))]


def in_float64(option: Any) -> Any:
    """A hyperparameter of its own; torch computes in the dtype of one that is a tensor."""
    if isinstance(option, tuple):
        return tuple(map(in_float64, option))
    return option.double() if isinstance(option, torch.Tensor) else option


def peer(name: str, tensors: list[Any], options: dict[str, Any]) -> tuple[list[Any], Any]:
    """torch's optimizer over the same numbers, under the same options so far as it takes them here."""
    if options.pop("capturable", False):  # on a GPU alone
        options = {key: value for key, value in options.items() if key not in ("foreach", "fused")}
    if options.get("fused"):  # real numbers alone, and their memory as it comes, whatever the layout
        if any(map(torch.is_complex, tensors)):
            del options["fused"]
        else:
            tensors = [t.detach().contiguous().requires_grad_(t.requires_grad) for t in tensors]
    params = copies(tensors)
    return params, INFOS[name].optim_cls(params, **options)


@pytest.mark.parametrize("kind", [real, complex_])
@pytest.mark.parametrize(("name", "given", "number"), INPUTS)
def test_an_input(name: str, given: Any, number: int, kind: Any, record_property: Any) -> None:
    record_property("peer", [name, "input", number])
    with default_dtype(torch.float64):
        tensors = kind()
        if not given.kwargs.get("differentiable"):
            tensors = [t.requires_grad_() for t in tensors]
        mine = copies(tensors)
        options, same = ({key: in_float64(value) for key, value in given.kwargs.items()} for _ in range(2))
        a = getattr(adamas.torch, name)(mine, **options)
        others, b = peer(name, tensors, same)
        if given.kwargs.get("capturable"):
            give_gradients(mine, others, seed=0)
            with pytest.raises(ValueError, match="capturable=True is for plain parameters on an NVIDIA GPU"):
                a.step()
            for group in a.param_groups:
                group["capturable"] = False
        for step in range(8):
            give_gradients(mine, others, seed=step)
            if step == 3:
                mine[0].grad = others[0].grad = None
            a.step()
            b.step()
        assert_near(mine, others)
        for p, q in zip(mine, others, strict=True):
            state = dict(b.state[q])
            if name == "SGD":  # which in torch keeps no count, and None for a buffer that it does not use
                state = {"step": torch.tensor(7.0 if q is others[0] else 8.0), **state}
                state = {key: value for key, value in state.items() if value is not None}
            assert a.state[p].keys() == state.keys()
            assert float(a.state[p].pop("step")) == float(state.pop("step"))  # float32 where torch fuses
            assert_near(list(a.state[p].values()), [state[key] for key in a.state[p]])


@pytest.mark.parametrize(("name", "given"), ERRORS)
def test_an_error_input(name: str, given: Any, record_property: Any) -> None:
    put = given.optimizer_error_input
    record_property("peer", [name, "error", put.desc])
    params = put.params if put.params is not None else [torch.nn.Parameter(torch.zeros(2, 3))]
    make = getattr(adamas.torch, name)
    assert given.error_on is common.OptimizerErrorEnum.CONSTRUCTION_ERROR
    if given.error_type is UserWarning:
        with pytest.warns(UserWarning, match=given.error_regex):
            make(params, **put.kwargs)
    else:
        with pytest.raises(given.error_type, match=given.error_regex):
            make(params, **put.kwargs)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled")  # of tensors that torch makes
@pytest.mark.parametrize("name", [name for name, info in INFOS.items() if info.supports_sparse])
def test_sparse_gradients(name: str, record_property: Any) -> None:
    record_property("peer", [name, "sparse", ""])
    options, _ = INFOS[name].metadata_for_sparse
    generator = torch.Generator().manual_seed(0)
    mine = [torch.randn(7, 2, generator=generator, dtype=torch.float64)]
    others = copies(mine)
    a, b = getattr(adamas.torch, name)(mine, **options), INFOS[name].optim_cls(others, **options)
    for _ in range(8):
        rows = torch.randint(0, 7, (1, 4), generator=generator)
        values = torch.randn(4, 2, generator=generator, dtype=torch.float64)
        for p in (*mine, *others):
            p.grad = torch.sparse_coo_tensor(rows, values, (7, 2), check_invariants=True)
        a.step()
        b.step()
    assert_near(mine, others)
