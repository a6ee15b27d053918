"""Sparse gradients: touched rows are stepped, all others left alone, and nothing as large as the table is made."""

import copy
import math
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import adamas
import adamas.numpy
import adamas.torch
from adamas import engine
from adamas.errors import InputError
from adamas.numpy import Rows
from adamas.optimizer import Stepper
from tests.cases import CASES, Case

SHAPE = (23, 5)


def coo(rows: Any, values: Any, shape: Sequence[int], **marks: Any) -> torch.Tensor:
    return torch.sparse_coo_tensor(
        torch.as_tensor(rows)[None], torch.as_tensor(values), shape, check_invariants=False, **marks
    )


def draws(seed: int, steps: int, shape: tuple[int, ...] = SHAPE, dtype: Any = np.float32) -> list[Rows]:
    """Rows that repeat themselves; in some steps none."""
    rng = np.random.default_rng(seed)
    counts = [0 if k == 2 else int(rng.integers(1, 9)) for k in range(steps)]
    rows = [rng.integers(0, shape[0], count) for count in counts]
    return [Rows(r, rng.standard_normal((len(r), *shape[1:])).astype(dtype)) for r in rows]


def summed(grad: Rows) -> tuple[np.ndarray, np.ndarray]:
    """The rows, each once, and the sums of their values in the order in which they were given."""
    rows = np.unique(grad.rows)
    values = np.zeros((len(rows), *grad.values.shape[1:]), grad.values.dtype)
    for row, value in zip(grad.rows, grad.values, strict=True):
        values[np.searchsorted(rows, row)] += value
    return rows, values


class Dense:
    """What a sparse step is: a dense one of the touched rows, cut out of the table and put back."""

    def __init__(self, case: Case, table: np.ndarray, **options: Any) -> None:
        self.make = adamas.numpy.optimizer(case.rule)
        self.options, self.table, self.count = {**case.options, **options}, table, 0.0
        self.states: dict[str, np.ndarray] = {}
        self.scalars: dict[str, np.ndarray] = {}

    def step(self, grad: Rows) -> None:
        rows, values = summed(grad)
        if not len(rows):
            rows, values = np.zeros(1, np.int64), np.zeros((1, *self.table.shape[1:]), self.table.dtype)
        part = self.table[rows]
        opt = self.make(part, **self.options)
        if self.count:
            cut = {name: state[rows] for name, state in self.states.items()}
            opt.state[0] = {"step": np.array(self.count), **self.scalars, **cut}
        opt.step(values)
        self.count += 1
        for name, state in opt.state[0].items():
            if name in ("step", *opt.rule.source.scalars):
                self.scalars[name] = state.copy()
                continue
            start = (
                self.table
                if name == "ema"
                else np.full_like(self.table, self.options.get("initial_accumulator_value", 0))
            )
            whole = self.states.setdefault(name, start.copy())
            if len(grad.rows):
                whole[rows] = state
        del self.scalars["step"]
        if len(grad.rows):
            self.table[rows] = part


def give(params: Any, grads: Any) -> None:
    for p, grad in zip(params, grads, strict=True):
        p.grad = coo(grad.rows, grad.values, p.shape) if isinstance(grad, Rows) else grad


def table(seed: int = 0, shape: tuple[int, ...] = SHAPE, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(100 + seed).standard_normal(shape).astype(dtype)


def held(opt: Any) -> Any:
    """All that a step can change, copied."""
    params = [p for group in opt.param_groups for p in group["params"]]
    states = [dict(opt.state.get(p if isinstance(p, torch.Tensor) else k, {})) for k, p in enumerate(params)]
    return copy.deepcopy([[params[k], *state.values()] for k, state in enumerate(states)])


def assert_same(a: Any, b: Any) -> None:
    """To the bit."""
    a, b = (x.detach().numpy() if isinstance(x, torch.Tensor) else x for x in (a, b))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_step_is_the_dense_step_of_the_touched_rows(case: Case) -> None:
    theta = table()
    dense, ours, tensor = Dense(case, theta.copy()), theta.copy(), torch.tensor(theta)
    a = adamas.numpy.optimizer(case.rule)(ours, **case.options)
    b = adamas.torch.optimizer(case.rule)([tensor], **case.options)
    for grad in draws(0, 12):
        dense.step(grad)
        a.step(grad)
        give([tensor], [grad])
        b.step()
    states = {"step": np.array(12.0), **dense.scalars, **dense.states}
    for param, state in ((ours, a.state[0]), (tensor, b.state[tensor])):
        assert_same(param, dense.table)
        assert state.keys() == states.keys()
        for name, value in states.items():
            assert_same(state[name], value)
    untouched = np.setdiff1d(np.arange(len(theta)), np.concatenate([grad.rows for grad in draws(0, 12)]))
    assert len(untouched)
    assert_same(ours[untouched], theta[untouched])


@pytest.mark.parametrize("options", [{}, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "maximize": True}])
def test_sparse_adam_is_torchs(options: dict[str, Any]) -> None:
    shapes = [(40, 6), (9,), (7, 2, 3)]
    ours = [torch.nn.Parameter(torch.tensor(table(k, shape, np.float64))) for k, shape in enumerate(shapes)]
    theirs = copy.deepcopy(ours)
    a, b = adamas.torch.SparseAdam(ours, **options), torch.optim.SparseAdam(theirs, **options)
    for step in range(60):
        for k, shape in enumerate(shapes):
            grad = draws(step + 1000 * k, 1 + step % 4, shape, np.float64)[-1]
            give([ours[k], theirs[k]], [grad, grad] if step % 5 or k else [None, None])
        a.step()
        b.step()
        if step == 20:  # each goes on with the other's state dict
            ours_dict, theirs_dict = a.state_dict(), b.state_dict()
            a, b = adamas.torch.SparseAdam(ours, lr=9.0), torch.optim.SparseAdam(theirs, lr=9.0)
            a.load_state_dict(theirs_dict)
            b.load_state_dict(ours_dict)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-15)
        assert float(a.state[p]["step"]) == b.state[q]["step"] >= 40
        for name in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(a.state[p][name], b.state[q][name], rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [255, 256, 257, 65_536, 70_000])
def test_rows_named_often_and_in_any_order_are_summed_as_they_stand(size: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(size)
    p = torch.nn.Parameter(torch.zeros(size, 3, dtype=dtype))
    opt = adamas.torch.SGD([p], lr=1.0)
    for count in (1, 40, 700, 300, 0, 1500):
        few = torch.randint(0, size, (max(count // 3, 1),), generator=generator)
        rows = few[torch.randint(0, len(few), (count,), generator=generator)]
        rows[-1:] = size - 1
        values = torch.randn(count, 3, generator=generator, dtype=dtype)
        p.data.zero_()
        p.grad = coo(rows, values.clone(), p.shape)
        expected = np.zeros(p.shape, values.numpy().dtype)
        np.add.at(expected, rows.numpy(), values.numpy())
        opt.step()
        assert torch.equal(p, -torch.from_numpy(expected))
        assert torch.equal(p.grad._values(), values)


def test_a_step_counts_one_change_of_the_parameter_and_no_more_of_others() -> None:
    params = [torch.nn.Parameter(torch.zeros(SHAPE)) for _ in range(3)]
    params[0].grad, params[1].grad = coo([3, 1], torch.ones(2, SHAPE[1]), SHAPE), torch.ones(SHAPE)
    opt = adamas.torch.SGD(params, lr=1.0)
    for times in (1, 2):
        opt.step()
        assert [p._version for p in params] == [times, times, 0]


def test_a_gradient_that_turns_sparse_is_seen() -> None:
    p = torch.nn.Parameter(torch.zeros(SHAPE))
    opt = adamas.torch.SGD([p], lr=1.0)
    for grad in (torch.ones(SHAPE), coo([2], torch.ones(1, SHAPE[1]), SHAPE), torch.ones(SHAPE)):
        p.grad = grad
        opt.step()
    assert p[:, 0].tolist() == [-3.0 if row == 2 else -2.0 for row in range(SHAPE[0])]


def test_an_embedding_learns() -> None:
    def losses(opt: type, **options: Any) -> list[float]:
        torch.manual_seed(0)
        embedding, head = torch.nn.Embedding(50, 8, sparse=True), torch.nn.Linear(8, 1)
        optimizers = [opt(embedding.parameters(), lr=0.05), adamas.torch.Adam(head.parameters(), lr=0.05)]
        words = torch.randint(0, 50, (20, 30))
        seen: list[float] = []
        for batch in words:
            loss = (head(embedding(batch)).squeeze(1) - (batch % 2).float()).square().mean()
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            seen.append(loss.item())
        return seen

    ours = losses(adamas.torch.SparseAdam)
    np.testing.assert_allclose(ours, losses(torch.optim.SparseAdam), rtol=1e-4)
    assert ours[-1] < 0.5 * ours[0]


class TestTail:
    def test_one_norm_over_sparse_and_dense(self) -> None:
        big, sparse = table(1, (4, 4)), draws(3, 1)[0]
        norm = math.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in (big, summed(sparse)[1])))
        assert len(np.unique(sparse.rows)) < len(sparse.rows)
        for dense_first in (True, False):
            params = [np.zeros((4, 4), np.float32), np.zeros(SHAPE, np.float32)]
            grads: list[Any] = [big, sparse]
            if not dense_first:
                params, grads = params[::-1], grads[::-1]
            opt = adamas.numpy.SGD(params, lr=1.0, clip_grad_norm=0.5)
            opt.step(grads)
            assert math.isclose(opt.last.grad_norm, norm, rel_tol=1e-12)
            moved = math.sqrt(sum((p.astype(np.float64) ** 2).sum() for p in params))
            assert math.isclose(moved, 0.5, rel_tol=1e-5)

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_what_is_not_finite_is_skipped_whole(self, bad: float) -> None:
        params = [table(0), table(1, (6, 3))]
        opt = adamas.numpy.Adam(params, nonfinite="skip", ema_decay=0.9)
        good = [draws(0, 1)[0], draws(1, 1, (6, 3))[0]]
        opt.step(good)
        before = held(opt)
        spoilt = draws(2, 1, (6, 3))[0]
        spoilt.values[-1, -1] = bad
        opt.step([good[0], spoilt])
        assert opt.last.skipped
        opt._stepper.tail.__dict__["nonfinite"] = "raise"
        with pytest.raises(FloatingPointError, match="The gradient of parameter 1 is not finite"):
            opt.step([good[0], spoilt])
        np.testing.assert_equal(held(opt), before)

    def test_averages_clipping_by_value_and_scale(self) -> None:
        theta = table()
        case = Case("adam", {"weight_decay": 0.1, "ema_decay": 0.75, "clip_grad_value": 0.5})
        dense, tensor = Dense(case, theta.copy()), torch.tensor(theta)
        opt = adamas.torch.Adam([tensor], fused=True, **case.options)
        for grad in draws(4, 8):
            dense.step(grad)
            give([tensor], [Rows(grad.rows, 8 * grad.values)])
            opt.grad_scale = torch.tensor(8.0)
            opt.step()
        assert_same(tensor, dense.table)
        assert_same(opt.state[tensor]["ema"], dense.states["ema"])
        with opt.averaged():
            assert_same(tensor, dense.states["ema"])

    def test_zero_grad_leaves_a_gradient_without_rows(self) -> None:
        tensor = torch.tensor(table())
        opt = adamas.torch.Adam([tensor], zero_grad=True)
        for marked in (False, True):
            tensor.grad = coo([3, 9], np.ones((2, 5), np.float32), SHAPE, is_coalesced=marked)
            given = tensor.grad
            opt.step()
            assert tensor.grad is given and given._nnz() == 0
        before = tensor.clone()
        opt.step()
        assert torch.equal(tensor, before) and opt.state[tensor]["step"] == 3
        values = np.ones((3, 5), np.float32)
        adamas.numpy.SGD(table(), zero_grad=True).step(Rows([1, 2, 1], values))
        assert not values.any()

    def test_telemetry_is_of_the_touched_rows(self) -> None:
        params = [table(0), table(1, (6, 4))]
        opt = adamas.numpy.SGD(params, lr=0.5, telemetry=True)
        grad = Rows([4, 2, 4], np.array([[1, 2, 0, 0, 0], [0, 0, 0, 3, -9], [0, 2, 0, 0, 0]], np.float32))
        opt.step([grad, np.ones((6, 4), np.float32)])
        said = opt.last.telemetry
        np.testing.assert_allclose(said.grad_norm, [math.sqrt(1 + 16 + 9 + 81), math.sqrt(24)], rtol=1e-6)
        np.testing.assert_array_equal(said.grad_max, [9, 1])
        np.testing.assert_allclose(said.zero_share, [6 / 10, 0])
        np.testing.assert_allclose(said.update_norm, 0.5 * said.grad_norm, rtol=1e-6)
        np.testing.assert_allclose(said.param_norm[0], np.linalg.norm(params[0][[2, 4]].astype(float)), rtol=1e-6)


class TestLayouts:
    @pytest.mark.parametrize(
        "place",
        [
            lambda a: np.repeat(a, 2, axis=0)[::2],
            lambda a: a[::-1].copy()[::-1],
            lambda a: np.asfortranarray(a),
            lambda a: np.repeat(a, 3, axis=1)[:, ::3],
            lambda a: a.astype(a.dtype.newbyteorder()),
            lambda a: np.frombuffer(bytearray(b" " + a.tobytes()), a.dtype, offset=1).reshape(a.shape),
        ],
        ids=["rows apart", "upside down", "Fortran", "columns apart", "byte-swapped", "misaligned"],
    )
    @pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
    def test_bits_do_not_depend_on_the_layout(self, place: Any, dtype: str) -> None:
        plain, theta = table(dtype=dtype), place(table(dtype=dtype))
        a, b = (adamas.numpy.AdamW(p, lr=0.1, clip_grad_norm=3.0) for p in (plain, theta))
        for grad in draws(0, 5, dtype=dtype):
            a.step(Rows(grad.rows, grad.values))
            b.step(Rows(grad.rows.astype(np.uint16), place(grad.values) if len(grad.rows) else grad.values))
        assert_same(theta, plain)
        assert_same(np.asarray(b.state[0]["exp_avg"]), a.state[0]["exp_avg"])

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_computed_in_float32(self, dtype: torch.dtype) -> None:
        theta = torch.tensor(table()).to(dtype)
        wide, half = theta.float(), theta.clone()
        a, b = adamas.torch.Adam([wide], lr=0.1), adamas.torch.Adam([half], lr=0.1)
        for step in range(4):
            values = torch.tensor(table(step, (3, 5))).to(dtype)
            with torch.no_grad():
                wide.copy_(half)
            wide.grad, half.grad = (coo([1 + step, 20, 7], v, SHAPE) for v in (values.float(), values))
            a.step()
            b.step()
            assert torch.equal(half, wide.to(dtype))
        assert b.state[half]["exp_avg"].dtype == torch.float32

    def test_tensors_of_every_layout(self) -> None:
        theta = torch.tensor(table())
        ways = [theta.clone(), theta.t().contiguous().t(), theta.repeat_interleave(2, 0)[::2]]
        ways += [torch.stack([theta, theta], 2)[:, :, 0], torch.nn.Parameter(theta.clone())]
        opts = [adamas.torch.RMSprop([p], lr=0.1) for p in ways]
        for grad in draws(6, 4):
            for p, opt in zip(ways, opts, strict=True):
                give([p], [grad])
                opt.step()
        for p in ways[1:]:
            assert torch.equal(p, ways[0])
        expanded = torch.ones(1).expand(2, 5)
        for values in (expanded, torch.ones(5, 2).t(), torch.ones(2, 5)):
            p = theta.clone()
            p.grad = coo([2, 5], values, SHAPE, is_coalesced=True)
            adamas.torch.SGD([p], lr=1.0).step()
            assert torch.equal(p[[2, 5]], theta[[2, 5]] - 1)

    def test_rows_longer_than_a_span_and_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(engine, "SERIAL", 0)
        shape = (7, engine.SPAN + 3)
        ends: list[Any] = []
        for threads in (1, 2, 3):
            monkeypatch.setenv("NUMBA_NUM_THREADS", str(threads))
            theta, other = table(0, shape), table(1)
            opt = adamas.numpy.Adam([theta, other], lr=0.1, clip_grad_norm=1.0, telemetry=True)
            opt.step([draws(1, 1, shape)[0], None])  # so that the two have come differently far
            for step in range(3):
                opt.step([draws(step, 1, shape)[0], draws(step, 1)[0]])
            ends.append([theta, other, opt.last.grad_norm, opt.last.telemetry.update_norm])
        for end in ends[1:]:
            for a, b in zip(end, ends[0], strict=True):
                assert_same(a, b)
        alone = Dense(Case("adam", {"lr": 0.1}), table(1))
        opt = adamas.numpy.Adam([table(0, shape), theta := table(1)], lr=0.1)
        opt.step([draws(1, 1, shape)[0], None])
        for step in range(3):
            opt.step([draws(step, 1, shape)[0], draws(step, 1)[0]])
            alone.step(draws(step, 1)[0])
        assert_same(theta, alone.table)

    def test_a_table_beyond_2_to_the_31_elements(self, tmp_path: Path) -> None:
        """And with no room for another one of its size: its file is a hole, of which two pages are written."""
        last = 2**25
        whole = np.memmap(tmp_path / "table", np.float32, "w+", shape=(last + 1, 64))
        tensor = torch.from_numpy(whole)
        tensor.grad = coo([last, 0, last], np.ones((3, 64), np.float32), tensor.shape)
        adamas.torch.SGD([tensor], lr=0.5, weight_decay=0.1, clip_grad_norm=1e9).step()
        adamas.numpy.SGD(whole, lr=0.5, telemetry=True).step(Rows([last], np.ones((1, 64), np.float32)))
        assert (whole[0] == -0.5).all() and (whole[last] == -1.5).all() and (whole[last - 1] == 0).all()
        assert (tmp_path / "table").stat().st_blocks * 512 < 2**20


def test_the_values_of_every_step_are_looked_at() -> None:
    theta, rng = np.zeros(SHAPE, np.float32), np.random.default_rng(0)
    opt = adamas.numpy.SGD(theta, lr=1.0)
    for place in (np.array, np.asfortranarray, np.array, lambda v: np.repeat(v, 2, 1)[:, ::2], np.float64, np.array):
        values = rng.standard_normal((2, 5)).astype(np.float32)
        theta[...] = 0
        opt.step(Rows([9, 4], place(values)))
        assert np.array_equal(theta[[9, 4]], -values)
    with pytest.raises(InputError, match=r"has rows of shape \(4,\), the parameter has shape \(23, 5\)"):
        opt.step(Rows([9, 4], values[:, :4]))


def test_nothing_as_large_as_the_table_is_made() -> None:
    theta = table(0, (20_011, 33))
    opt = adamas.numpy.AdamW(theta, clip_grad_norm=1.0, telemetry=1, ema_decay=0.9, nonfinite="skip", zero_grad=True)
    half = np.zeros((20_011, 33), np.float16)
    staged = adamas.numpy.Adam(half)
    grads = draws(0, 6, theta.shape)
    opt.step(grads[0])
    staged.step(grads[0])
    tracemalloc.start()
    for grad in grads:
        opt.step(grad)
        staged.step(grad)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < theta.nbytes / 20


def test_a_step_without_rows_counts() -> None:
    theta = table()
    opt = adamas.numpy.AdamW(theta, weight_decay=0.5, clip_grad_norm=1.0, telemetry=True)
    for rows in ([], np.zeros(0, np.int32)):
        opt.step(Rows(rows, np.zeros((0, 5), np.float32)))
    assert_same(theta, table())
    assert opt.state[0]["step"] == 2 and opt.last.grad_norm == 0


def test_dense_parameters_keep_their_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    make = Stepper._make
    monkeypatch.setattr(Stepper, "_make", lambda *args: made.append(1) or make(*args))
    embedding, alone = torch.tensor(table()), torch.tensor(table())
    dense = [torch.tensor(table(k)) for k in (1, 2)]
    apart = copy.deepcopy(dense)
    mixed = adamas.torch.Adam([{"params": [dense[0], embedding]}, {"params": [dense[1]], "lr": 0.3}])
    one = adamas.torch.Adam([alone])
    two = adamas.torch.Adam([{"params": [apart[0]]}, {"params": [apart[1]], "lr": 0.3}])
    for step, grad in enumerate(draws(5, 10)):
        give([embedding, alone], [grad, grad])
        for p, q in zip(dense, apart, strict=True):
            p.grad = q.grad = torch.tensor(table(step))
        for opt in (mixed, one, two):
            opt.step()
        if step == 1:
            made.clear()  # at the second step the states have been made
    assert not made
    assert torch.equal(embedding, alone) and all(map(torch.equal, dense, apart))


@pytest.mark.parametrize("front", ["numpy", "torch"])
def test_gradients_change_their_kind(front: str) -> None:
    """Sparse, dense, none and sparse again, each step by what is there; all rows touched are a dense step."""
    theta, twin = table(), table()
    kinds: list[Any] = [draws(1, 1)[0], table(7), None, table(8)[:, ::-1], draws(2, 1)[0], draws(3, 1)[0], table(9)]
    whole = [None if k is None else summed(k) if isinstance(k, Rows) else (np.arange(23), k) for k in kinds]
    expected = Dense(Case("adam", {"lr": 0.1}), twin)
    for step in whole:
        if step is not None:
            expected.step(Rows(*step))
    if front == "numpy":
        opt = adamas.numpy.Adam(theta, lr=0.1)
        for grad in kinds:
            opt.step([grad])
    else:
        p = torch.from_numpy(theta)
        opt = adamas.torch.Adam([p], lr=0.1)
        for grad in kinds:
            give([p], [torch.tensor(grad.copy()) if isinstance(grad, np.ndarray) else grad])
            opt.step()
    assert_same(theta, expected.table)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled")  # of tensors that torch makes
def test_adagrad_begins_every_row_alike_as_in_torch() -> None:
    ours, theirs = torch.tensor(table(dtype=np.float64)), torch.tensor(table(dtype=np.float64))
    options = {"lr": 0.1, "initial_accumulator_value": 0.5, "lr_decay": 0.1}
    a, b = adamas.torch.Adagrad([ours], **options), torch.optim.Adagrad([theirs], **options)
    for grad in draws(0, 12, dtype=np.float64):
        give([ours, theirs], [grad, grad])
        a.step()
        b.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    torch.testing.assert_close(a.state[ours]["sum"], b.state[theirs]["sum"], rtol=1e-12, atol=0)


ONES = np.ones((2, 5), np.float32)


@pytest.mark.parametrize(
    ("grad", "sentence"),
    [
        (Rows([0, 23], ONES), "has a row 23: the parameter has the rows 0 to 22."),
        (Rows([-1, 3], ONES), "has a row -1: the parameter has the rows 0 to 22."),
        (Rows([1, 2, 3], ONES), "names 3 rows for values of shape (2, 5)"),
        (Rows([1.0, 2.0], ONES), "names its rows by an array of shape (2,) and dtype float64: give integers"),
        (Rows([[1], [2]], ONES), "names its rows by an array of shape (2, 1)"),
        (Rows([1, 2], ONES[:, :4]), "has rows of shape (4,), the parameter has shape (23, 5)"),
        (Rows([1, 2], ONES.tolist()), "has values that are a list: give a NumPy array."),
        (Rows([1, 2], ONES.astype(int)), "has dtype int64"),
        (Rows([1, 2], ONES + 0j), "is complex, the parameter is real"),
        (Rows([1, 2], np.broadcast_to(np.float32(1), (2, 5))), "has read-only values, which zero_grad=True cannot"),
    ],
)
def test_what_cannot_be_changes_nothing(grad: Rows, sentence: str) -> None:
    params = [table(0, (3,)), table()]
    opt = adamas.numpy.Adam(params, zero_grad=True)
    for first in (True, False):
        before = held(opt)
        with pytest.raises(InputError) as caught:
            opt.step([np.ones(3, np.float32), grad])
        assert str(caught.value).startswith(f"The gradient of parameter 1 {sentence}")
        np.testing.assert_equal(held(opt), before)
        if first:
            opt.step([np.ones(3, np.float32), Rows([1], ONES[:1].copy())])


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda p: coo([3, 99], ONES, SHAPE), "has a row 99"),
        (lambda p: coo([5, 3], ONES, SHAPE, is_coalesced=True), "is marked as coalesced and is not"),
        (lambda p: coo([3, 3], ONES, SHAPE, is_coalesced=True), "is marked as coalesced and is not"),
        (lambda p: torch.ones(SHAPE).to_sparse(), "is sparse along 2 axes: only whole rows may be left out"),
    ],
)
def test_tensors_that_cannot_be_change_nothing(spoil: Any, sentence: str) -> None:
    params = [torch.tensor(table(0, (3,))), torch.tensor(table())]
    opt = adamas.torch.AdamW(params)
    for first in (True, False):
        before = held(opt)
        params[0].grad, params[1].grad = torch.ones(3), spoil(params[1])
        with pytest.raises(InputError) as caught:
            opt.step()
        assert str(caught.value).startswith(f"The gradient of parameter 1 {sentence}")
        torch.testing.assert_close(held(opt), before, rtol=0, atol=0)
        if first:
            params[1].grad = coo([1], ONES[:1], SHAPE)
            opt.step()


def test_what_torch_computes_takes_dense_gradients_alone() -> None:
    p = torch.tensor(table())
    p.grad = coo([1], ONES[:1], SHAPE)
    with pytest.raises(InputError, match=r"sparse, which only plain parameters on the CPU .* torch.optim.SparseAdam"):
        adamas.torch.Adam([p], differentiable=True).step()
    assert_same(p, table())


def test_values_that_are_rows_of_the_parameter_are_refused() -> None:
    theta = table()
    for values in (theta[4:6], theta[:2]):
        with pytest.raises(InputError, match="Parameter 0 and the gradient of parameter 0 share memory"):
            adamas.numpy.SGD(theta).step(Rows([3, 4], values))
    opt = adamas.numpy.SGD(theta, lr=1.0)
    opt.step(Rows([4, 3, 4], theta[[4, 3, 4]]))
    assert not theta[3].any() and np.array_equal(theta[4], -table()[4])
