"""Tensors read where they lie in memory are what torch says they are, and without that reading all goes on as well."""

import itertools

import numpy as np
import pytest
import torch

import adamas.torch
from adamas.optimizer import Stepper
from adamas.tail import Tail
from adamas.torch import arrays as torch_arrays
from adamas.torch.arrays import TorchArrays
from adamas.torch.layout import find
from adamas.torch.optimizer import _ARRAYS


@pytest.fixture
def through_dlpack(monkeypatch: pytest.MonkeyPatch) -> TorchArrays:
    monkeypatch.setattr(torch_arrays, "find", lambda dtypes: None)
    return TorchArrays()


def tensors() -> list[torch.Tensor]:
    rng = np.random.default_rng(0)
    made = []
    for dtype, dims in itertools.product(torch_arrays._DTYPES, range(7)):
        shape = tuple(int(n) for n in rng.integers(0, 4, dims))
        whole = torch.zeros([n + 2 for n in shape], dtype=dtype)
        view = whole[tuple(slice(1, 1 + n) for n in shape)]
        made += [whole, view, view.permute(rng.permutation(dims).tolist()), torch.nn.Parameter(view)]
    return made


def test_the_layout_of_this_torch_is_found() -> None:
    layout = find(list(torch_arrays._DTYPES))
    assert layout is not None
    assert sorted(layout.itemsizes.values()) == [2, 2, 4, 8, 8, 16]


def test_what_is_read_is_what_torch_says(through_dlpack: TorchArrays) -> None:
    some = tensors()
    glanced, exchanged = _ARRAYS.describe(some), through_dlpack.describe(some)
    full = [k for k, t in enumerate(some) if t.numel()]  # where an empty one lies is nobody's concern
    assert len(full) > 20
    assert [*glanced[0, full]] == [*exchanged[0, full]] == [some[k].data_ptr() for k in full]
    for (a, s), (b, t) in itertools.combinations(zip(glanced[1], some, strict=True), 2):
        alike = (s.dtype, s.shape) == (t.dtype, t.shape) and all(
            x == y or n == 1 for x, y, n in zip(s.stride(), t.stride(), s.shape, strict=True)
        )
        if s.dim() <= 5 and t.dim() <= 5:
            assert (a == b) == alike


def test_what_is_not_plain_goes_through_dlpack(through_dlpack: TorchArrays) -> None:
    z = torch.zeros(3, dtype=torch.complex64)
    borrowed = torch.from_numpy(np.zeros(3, np.float32))
    odd = [z.conj(), z.conj().imag, torch.zeros(3, device="meta"), torch.zeros(3).to_sparse(), borrowed]
    assert (_ARRAYS.describe(odd) == through_dlpack.describe(odd)).all()
    assert (_ARRAYS.describe([z]) != through_dlpack.describe([z]))[1].all()  # the fingerprints are of two kinds


def test_steps_go_on_through_dlpack(through_dlpack: TorchArrays) -> None:
    ends = []
    for arrays in (through_dlpack, None):
        torch.manual_seed(0)
        params = [torch.nn.Parameter(torch.randn(n, 3)) for n in (1, 5, 700)]
        opt = adamas.torch.AdamW(params, lr=0.1)
        if arrays is not None:
            opt._stepper = Stepper(opt.rule, arrays, Tail(), opt._stepper.keys)
        for step in range(6):
            for p in params:
                p.grad = None if step == 2 else torch.randn_like(p)
            if step == 4:
                params[1].data = params[1].data.clone()
            opt.step()
        ends.append([p.detach().numpy().tobytes() for p in params])
    assert ends[0] == ends[1]


@pytest.mark.parametrize("glancing", [True, False])
def test_a_lazy_clone_keeps_its_values(glancing: bool, through_dlpack: TorchArrays) -> None:
    param = torch.nn.Parameter(torch.ones(4))
    opt = adamas.torch.SGD([param], lr=1.0)
    if not glancing:
        opt._stepper = Stepper(opt.rule, through_dlpack, Tail(), opt._stepper.keys)
    for _ in range(2):
        param.grad = torch.ones(4)
        opt.step()
    kept = torch._lazy_clone(param.detach())
    param.grad = torch.ones(4)
    opt.step()
    assert kept.tolist() == [-1.0] * 4 and param.tolist() == [-2.0] * 4
