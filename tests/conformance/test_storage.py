"""Moments of 16 and 8 bits: what is packed, that it moves in the mean as it should, and what decides on its bits."""

import itertools
import math

import numpy as np
import pytest
import torch
from numba import njit

import adamas
import adamas.numpy
import adamas.torch
from adamas import engine
from adamas.errors import InputError
from adamas.kernel import TINY, select
from adamas.lowering import packing, storage
from adamas.lowering.signs import nonnegative
from adamas.lowering.storage import BLOCK, KINDS, noise
from tests.cases import CASES, Case
from tests.reference import textbook
from tests.reference.gradients import sequence

N = 2 * BLOCK * 9 + 77  # several blocks of the kernel, and a rest


def values(n: int = 1500) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(n) * 10.0 ** rng.integers(-6, 7, n)).astype(np.float32)
    x[::7] = 0
    x[-4:] = 1e-42, 3e38, np.inf, np.nan
    return x


def pack(kind: str, x: np.ndarray, random: np.ndarray) -> tuple[np.ndarray, ...]:
    """The meaning of ``pack_KIND``, block by block."""
    if not KINDS[kind].companion:
        to = getattr(storage, f"to_{kind}")
        return (to(x, random),) if KINDS[kind].stochastic else (to(x),)
    codes, exponents = np.zeros(x.size, np.uint8), np.zeros(-(-x.size // BLOCK), np.int16)
    for k in range(exponents.size):
        block = slice(k * BLOCK, (k + 1) * BLOCK)
        finite = np.abs(x[block])[np.isfinite(x[block])]
        exponents[k] = storage.exponent_of(finite.max(initial=np.float32(0)), 256 if kind == "int8_unsigned" else 128)
        codes[block] = getattr(storage, f"to_{kind}")(x[block], exponents[k], random[block])
    return codes, exponents


def unpack(kind: str, codes: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    return getattr(storage, f"from_{kind}")(codes, np.repeat(exponents, BLOCK)[: codes.size])


def test_bfloat16_is_torchs() -> None:
    x = values()
    assert (storage.to_bfloat16(x) == torch.tensor(x).bfloat16().view(torch.uint16).numpy())[:-1].all()
    assert np.isnan(storage.from_bfloat16(storage.to_bfloat16(x[-1:])))
    codes = np.arange(1 << 16, dtype=np.uint16)
    theirs = torch.tensor(codes.view(np.int16)).view(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(storage.from_bfloat16(codes), theirs)


@pytest.mark.parametrize("kind", ["bfloat16_stochastic", "int8_signed", "int8_unsigned"])
def test_the_mean_of_what_is_packed_is_what_was_there(kind: str) -> None:
    x = np.random.default_rng(1).uniform(0.01, 1, BLOCK).astype(np.float32)
    x = -x if kind == "int8_signed" else x
    index, total = np.arange(x.size, dtype=np.uint32), np.zeros(x.size)
    for key in range(4000):
        packed = pack(kind, x, noise(index, np.uint32(key)))
        got = unpack(kind, *packed) if len(packed) > 1 else storage.from_bfloat16(packed[0])
        assert (np.abs(got / x - 1) < (0.13 if "int8" in kind else 2**-7)).all()
        total += got
    assert np.abs(total / 4000 / x - 1).max() < 4 * (0.0625 if "int8" in kind else 2**-8) / math.sqrt(4000)


def test_only_0_is_0_among_codes_without_sign() -> None:
    x = np.array([0, 1e-45, 1e-38, 1e-20, 1.0, 1e30], np.float32)
    for random in (np.uint32(0), np.uint32(0xFFFFFFFF)):
        codes, exponents = pack("int8_unsigned", x, np.full(x.size, random))
        assert ((codes == 0) == (x == 0)).all() and codes.max() <= 255
        assert (unpack("int8_unsigned", codes, exponents) > 0).sum() == 5


def test_what_is_not_finite_does_not_take_its_block_along() -> None:
    x = np.array([np.nan, np.inf, 0.5, -0.25] * 64, np.float32)
    for kind in ("int8_signed", "int8_unsigned"):
        y = np.abs(x) if kind == "int8_unsigned" else x
        got = unpack(kind, *pack(kind, y, np.zeros(x.size, np.uint32)))
        assert (np.abs(got[2::4] / y[2::4] - 1) < 0.13).all() and np.isfinite(got).all()


def test_compiled_noise_is_numpys() -> None:
    out = np.empty(5000, np.uint32)

    @njit
    def fill(out, first, key):
        for i in range(out.size):
            out[i] = noise_(element_(first, i), key)

    @njit
    def run(out, first, key):
        place = place_(element_(first, 0), key)
        for i in range(out.size):
            out[i] = noise_at(place)
            place = next_place(place)

    element_, noise_, place_ = storage.element, storage.noise, storage.place
    noise_at, next_place = storage.noise_at, storage.next_place
    for first, key in ((0, 0), (5, 77), (2**32 - 100, 2**32 - 3), (2**40 + 3, 1)):
        with np.errstate(over="ignore"):
            expected = noise(storage.element(first, np.arange(out.size)), np.uint32(key))
        for way in (fill, run):
            way(out, first, np.uint32(key))
            assert (out == expected).all()


def test_the_noise_is_noise() -> None:
    """Uniform, and no two arrays, elements or steps are of one mind."""
    steps, elements = 600, 600
    keys = np.array([storage.key_of(t) for t in range(1, steps + 1)], np.uint32)[:, None]
    with np.errstate(over="ignore"):
        random = noise(np.arange(elements, dtype=np.uint32), keys)
        more = noise(random, keys)
        turns = [random, storage.turned(random), more, storage.turned(more)]
    for r in turns:
        u = r / 2.0**32 - 0.5
        counts = np.bincount((r >> np.uint32(24)).ravel(), minlength=256)
        expected = random.size / 256
        assert ((counts - expected) ** 2 / expected).sum() < 255 + 5 * np.sqrt(2 * 255)
        assert np.abs(u.mean(0)).max() < 5 / np.sqrt(12 * steps) and np.abs(u.mean(1)).max() < 5 / np.sqrt(
            12 * elements
        )
        for lag in (1, 2, 3, 7, 16, 64, 256):
            for one, other in ((u[lag:], u[:-lag]), (u[:, lag:], u[:, :-lag]), (u[lag:, lag:], u[:-lag, :-lag])):
                assert abs((one * other).mean() * 12) < 5 / np.sqrt(one.size)
    for one, other in itertools.combinations(range(4), 2):
        u, w = turns[one] / 2.0**32 - 0.5, turns[other] / 2.0**32 - 0.5
        assert abs((u * w).mean() * 12) < 5 / np.sqrt(u.size)


@pytest.mark.parametrize("kind", ["bfloat16", "bfloat16_stochastic", "int8_signed", "int8_unsigned"])
def test_compiled_packing_is_numpys(kind: str) -> None:
    x = np.abs(values()) if kind == "int8_unsigned" else values()
    with np.errstate(over="ignore"):
        random = noise(np.arange(5, 5 + x.size, dtype=np.uint32), np.uint32(77))
        expected = pack(kind, x, random)
    from_, to = getattr(packing, f"from_{kind}"), getattr(packing, f"to_{kind}")
    codes, back = np.zeros_like(expected[0]), np.zeros_like(x)

    if kind == "bfloat16":

        @njit
        def both(x, codes, back):
            for i in range(x.size):
                codes[i] = to(x[i])
                back[i] = from_(codes[i])

        both(x, codes, back)
    elif kind == "bfloat16_stochastic":

        @njit
        def both(x, codes, back, random):
            for i in range(x.size):
                codes[i] = to(x[i], random[i])
                back[i] = from_(codes[i])

        both(x, codes, back, random)
    else:

        @njit
        def both(x, codes, back, random, exponents):
            for i in range(x.size):
                codes[i] = to(x[i], exponents[i // BLOCK], random[i])
                back[i] = from_(codes[i], exponents[i // BLOCK])

        both(x, codes, back, random, expected[1])
    np.testing.assert_array_equal(codes, expected[0])
    np.testing.assert_array_equal(back, storage.from_bfloat16(codes) if "bfloat16" in kind else unpack(kind, *expected))


def test_float16_is_numpys_and_its_noise_is_right_in_the_mean() -> None:
    x = values()[:-4]
    x = x[np.abs(x) < 60000]
    narrow, back = np.zeros(x.size, np.uint16), np.zeros_like(x)
    from_float16, to_float16 = packing.from_float16, packing.to_float16

    @njit
    def both(x, codes, back):
        for i in range(x.size):
            codes[i] = to_float16(x[i])
            back[i] = from_float16(codes[i])

    both(x, narrow, back)
    np.testing.assert_array_equal(narrow.view(np.float16), x.astype(np.float16))
    np.testing.assert_array_equal(back, narrow.view(np.float16).astype(np.float32))
    some = np.random.default_rng(0).uniform(0.1, 1, 200).astype(np.float32)
    index = np.arange(200, dtype=np.uint32)
    mean = np.mean([storage.round_float16(some, noise(index, np.uint32(k))) for k in range(4000)], axis=0)
    assert np.abs(mean / some - 1).max() < 1e-4


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_states_that_are_said_to_be_never_negative_are_not(case: Case) -> None:
    rule = adamas.rules()[case.rule]
    hyper = rule.hyper(case.options)
    never = nonnegative(rule.source.straighten(hyper), rule.source, hyper) & set(rule.states(**case.options))
    grads = sequence(3, 6, 60, holes=False)
    _, states = getattr(textbook, case.oracle or case.rule)(np.linspace(-1, 1, 6), grads, **case.told)
    for name in rule.states(**case.options):
        told = name in ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum", "exp_inf", "exp_p", "exp_avg_var")
        assert (name in never) == told
        assert not told or (np.asarray(states[name]) >= 0).all()


def test_a_rule_of_ones_own_has_its_signs_found_out() -> None:
    @adamas.rule
    def two_sided(g, up, down, both, *, t, lr=1e-3, rate=0.5, shift=0.1):
        up = (1 - 0.5**t) * up + adamas.maximum(g, 0)
        down = 0.9 * down - abs(g)
        both = rate * both + abs(g) - shift
        return lr * (up + down + both), up, down, both

    assert select(two_sided, two_sided.defaults).program.nonnegative == {"up"}


def reference_step(name: str, hyper: dict, kinds: dict, param, states, g, count: int):
    """One step in NumPy over unpacked moments, packed again with the noise of this step."""
    rule = adamas.rules()[name]
    kernel = select(rule, hyper)
    given = {**hyper, "tiny": TINY["float32"]}
    coefficients, _ = kernel.host(float(count), *(given[n] for n in kernel.program.hyper))
    wide = [unpack(kinds[n], *states[n]) if "int8" in kinds[n] else storage.from_bfloat16(states[n][0]) for n in kinds]
    with np.errstate(over="ignore"):
        random = noise(np.arange(param.size, dtype=np.uint32), np.uint32(storage.key_of(count)))
    param, *wide = kernel.load("numpy")(g, param, *wide, tuple(np.float32(c) for c in coefficients))
    packed = {}
    for k, (n, x) in enumerate(zip(kinds, wide, strict=True)):
        if k == 2:
            with np.errstate(over="ignore"):
                random = noise(random, np.uint32(storage.key_of(count)))
        packed[n] = pack(kinds[n], x, storage.turned(random) if k % 2 else random)
    return param, packed


@pytest.mark.parametrize(("threads", "span"), [(1, 1 << 14), (2, 1000), (2, 7)])
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("state_dtype", ["bfloat16", "int8"])
def test_a_step_is_numpys(
    state_dtype: str, amsgrad: bool, threads: int, span: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "SERIAL", 0)
    monkeypatch.setattr(engine, "SPAN", span)
    torch.set_num_threads(threads)
    rng = np.random.default_rng(2)
    start = rng.standard_normal(N).astype(np.float32)
    theta = torch.tensor(start)
    opt = adamas.torch.AdamW([theta], lr=0.01, state_dtype=state_dtype, amsgrad=amsgrad)
    kinds = {"exp_avg": "int8_signed", "exp_avg_sq": "int8_unsigned"}
    kinds |= {"max_exp_avg_sq": "int8_unsigned"} if amsgrad else {}
    if state_dtype == "bfloat16":
        kinds = dict.fromkeys(kinds, "bfloat16_stochastic")
    states = {n: pack(kind, np.zeros(N, np.float32), np.zeros(N, np.uint32)) for n, kind in kinds.items()}
    param = start
    for count in range(1, 5):
        g = (rng.standard_normal(N) * 10.0 ** rng.integers(-6, 3, N)).astype(np.float32)
        g[rng.random(N) < 0.1] = 0
        theta.grad = torch.tensor(g)
        opt.step()
        hyper = adamas.rules()["adamw"].hyper({"lr": 0.01, "amsgrad": amsgrad})
        param, states = reference_step("adamw", hyper, kinds, param, states, g, count)
    assert theta.numpy().tobytes() == param.tobytes()
    for name in kinds:
        held = opt.state[theta][name]
        assert (
            held.view(torch.uint8 if state_dtype == "int8" else torch.int16).numpy().tobytes()
            == states[name][0].tobytes()
        )
        if state_dtype == "int8":
            assert (opt.state[theta][f"{name}_exponent"].numpy() == states[name][1]).all()
    torch.set_num_threads(2)


@pytest.mark.parametrize("state_dtype", ["bfloat16", "int8"])
def test_a_second_moment_does_not_stand_still(state_dtype: str) -> None:
    theta = torch.zeros(8192)
    opt = adamas.torch.Adam([theta], betas=(0.9, 0.999), state_dtype=state_dtype)
    theta.grad = torch.full_like(theta, 0.3)
    for _ in range(1500):
        opt.step()
    v = opt.state[theta]["exp_avg_sq"]
    if state_dtype == "int8":
        v = torch.tensor(unpack("int8_unsigned", v.numpy(), opt.state[theta]["exp_avg_sq_exponent"].numpy()))
    expected = 0.09 * (1 - 0.999**1500)
    assert abs(v.double().mean() / expected - 1) < 0.01
    moved = theta / -1.5  # 1500 steps of η = 1e-3 in float32
    assert abs(moved.mean() - 1) < 0.02 and moved.std() < (0.02 if state_dtype == "bfloat16" else 0.1)


@pytest.mark.parametrize("state_dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize(
    "name", ["AdamW", "RMSprop", "Adagrad", "Adamax", "LpAdam", "AdaBelief", "NAdam", "ADOPT", "Lion", "SGD"]
)
def test_every_rule_stays_finite(name: str, state_dtype: str) -> None:
    options = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    theta = torch.linspace(-1, 1, 5000)
    opt = getattr(adamas.torch, name)([theta], lr=1e-3, state_dtype=state_dtype, **options)
    generator = torch.Generator().manual_seed(0)
    for step in range(200 if name != "AdamW" else 2000):
        size = 10.0 ** (torch.rand(5000, generator=generator) * 12 - 9)
        theta.grad = torch.randn(5000, generator=generator) * size * (torch.rand(5000, generator=generator) > 0.1)
        if name in ("SGD", "Lion") or step % 7 == 3:
            theta.grad /= 1e3
        opt.step()
    assert theta.isfinite().all()
    assert any(value.dtype in (torch.uint8, torch.bfloat16) for value in opt.state[theta].values())


@pytest.mark.parametrize("state_dtype", ["bfloat16", "int8"])
def test_a_resumed_run_has_the_same_bits(state_dtype: str) -> None:
    def run(resume: int | None) -> bytes:
        torch.manual_seed(0)
        params = [torch.randn(70, 70), torch.randn(5)]
        opt = adamas.torch.AdamW(params, lr=0.1, state_dtype=state_dtype, amsgrad=True)
        for step in range(6):
            if step == resume:
                state = opt.state_dict()
                opt = adamas.torch.AdamW(params, lr=0.5, state_dtype=state_dtype, amsgrad=True)
                opt.load_state_dict(state)
            for p in params:
                p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(step))
            opt.step()
        return params[0].numpy().tobytes() + params[1].numpy().tobytes()

    assert run(None) == run(3)


def test_bytes_of_state() -> None:
    theta = torch.zeros(1000, 1000)
    for state_dtype, most in (("float32", 8.001), ("bfloat16", 4.001), ("int8", 2.02)):
        opt = adamas.torch.AdamW([theta], state_dtype=state_dtype)
        theta.grad = torch.ones_like(theta)
        opt.step()
        assert sum(v.nbytes for v in opt.state[theta].values()) / theta.numel() <= most


def test_small_complex_and_wide_tensors_keep_their_moments_whole() -> None:
    params = [torch.zeros(100), torch.zeros(9000, dtype=torch.complex64), torch.zeros(9000, dtype=torch.float64)]
    opt = adamas.torch.AdamW(params, state_dtype="int8", ema_decay=0.9)
    for p in params:
        p.grad = torch.ones_like(p)
    opt.step()
    assert [opt.state[p]["exp_avg"].dtype for p in params] == [torch.float32, torch.complex64, torch.float64]
    theta = np.zeros(5000, np.float32)
    ours = adamas.numpy.Adam(theta, state_dtype="int8", ema_decay=0.9)
    ours.step(np.ones(5000, np.float32))
    assert ours.state[0]["exp_avg"].dtype == np.uint8 and ours.state[0]["ema"].dtype == np.float32


def test_narrow_parameters_are_stepped_where_they_lie() -> None:
    params = [torch.ones(64, 65).bfloat16(), torch.ones(64, 65).half(), torch.ones(64, 65).bfloat16().t()]
    opt = adamas.torch.AdamW(params, lr=0.1, clip_grad_norm=1.0, telemetry=True)
    for p in params:
        p.grad = torch.full_like(p, 0.5)
    opt.step()
    assert not any(part.staged or part.staged_gradients for part in opt._stepper._plan.parts)
    assert math.isclose(opt.last.grad_norm, 0.5 * math.sqrt(3 * 64 * 65), rel_tol=1e-12)
    assert all(abs(p.float().mean() - 0.899) < 2e-3 for p in params)


def test_what_does_not_go_together_is_refused() -> None:
    theta = torch.zeros(64, 100)
    theta.grad = torch.ones_like(theta)
    with pytest.raises(
        InputError, match="Invalid state_dtype value: 'int4': it must be one of float32, bfloat16, int8"
    ):
        adamas.torch.AdamW([theta], state_dtype="int4")
    with pytest.raises(InputError, match="NumPy has no bfloat16"):
        adamas.numpy.Adam(np.zeros(3), state_dtype="bfloat16")
    with pytest.raises(InputError, match="state_dtype='int8' is for plain tensors that a kernel steps"):
        adamas.torch.Adam([theta], state_dtype="int8", differentiable=True).step()
    table = torch.nn.Embedding(100, 64, sparse=True)
    table(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(InputError, match="state_dtype='int8' is for dense gradients"):
        adamas.torch.Adam(table.parameters(), state_dtype="int8").step()
    opt = adamas.torch.AdamW([theta], state_dtype="int8")
    opt.step()
    saved = opt.state_dict()
    with pytest.raises(InputError, match="is of 8-bit codes: load it with state_dtype='int8'"):
        adamas.torch.AdamW([theta]).load_state_dict(saved)
    broken = {**saved, "state": {0: {k: v for k, v in saved["state"][0].items() if k != "exp_avg_exponent"}}}
    with pytest.raises(InputError, match="have 'exp_avg_exponent' beside them"):
        adamas.torch.AdamW([theta], state_dtype="int8").load_state_dict(broken)
    opt.state[theta]["exp_avg_sq_exponent"] = torch.zeros(3, dtype=torch.int16)
    with pytest.raises(InputError, match="must be int16, one per 256 elements"):
        opt.step()
    opt = adamas.torch.AdamW([theta], state_dtype="int8")
    opt.step()
    theta.data = theta.data.t().contiguous().t()
    with pytest.raises(InputError, match="lie in memory as the parameter does"):
        opt.step()


def master(theta: torch.Tensor, remainder: torch.Tensor) -> np.ndarray:
    return storage.from_bfloat16_remainder(theta.view(torch.uint16).numpy(), remainder.numpy())


def test_a_bfloat16_and_its_remainder_are_a_float32() -> None:
    x = values()[:-1]
    code, remainder = storage.to_bfloat16_remainder(x)
    assert storage.from_bfloat16_remainder(code, remainder).tobytes() == x.tobytes()
    nearest = torch.tensor(x).bfloat16().float().numpy()
    ours = storage.from_bfloat16(code)
    with np.errstate(invalid="ignore"):
        assert (
            np.abs(ours.astype(float) - x)[np.isfinite(ours)] <= np.abs(nearest.astype(float) - x)[np.isfinite(ours)]
        ).all()
    assert np.isnan(storage.from_bfloat16_remainder(*storage.to_bfloat16_remainder(np.float32("nan"))))


@pytest.mark.parametrize(("threads", "span"), [(1, 1 << 14), (2, 1000)])
@pytest.mark.parametrize("state_dtype", ["float32", "int8"])
@pytest.mark.parametrize("name", ["AdamW", "SGD", "Lion"])
def test_with_a_remainder_a_bfloat16_parameter_is_a_float32_one(
    name: str, state_dtype: str, threads: int, span: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "SERIAL", 0)
    monkeypatch.setattr(engine, "SPAN", span)
    torch.set_num_threads(threads)
    start = torch.randn(70, 71, generator=torch.Generator().manual_seed(0)).t().bfloat16()
    narrow, wide = start.clone(), start.float()
    options = {"lr": 1e-5, "state_dtype": state_dtype}
    ours = getattr(adamas.torch, name)([narrow], param_rounding="remainder", **options)
    theirs = getattr(adamas.torch, name)([wide], **options)
    for step in range(20):
        narrow.grad = torch.randn(71, 70, generator=torch.Generator().manual_seed(step)).bfloat16().t().contiguous().t()
        wide.grad = narrow.grad.float()
        if step == 10:  # and over a resume
            saved = ours.state_dict()
            ours = getattr(adamas.torch, name)([narrow], param_rounding="remainder", **options)
            ours.load_state_dict(saved)
        ours.step()
        theirs.step()
        assert master(narrow, ours.state[narrow]["param_remainder"]).tobytes() == wide.numpy().tobytes()
    assert not torch.equal(wide, start.float())
    torch.set_num_threads(2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_stochastic_parameters_move_where_nearest_ones_stand_still(dtype: torch.dtype) -> None:
    moved = {}
    for rounding in ("nearest", "stochastic"):
        theta = torch.ones(20000, dtype=dtype)
        opt = adamas.torch.SGD([theta], lr=1e-4, param_rounding=rounding)
        theta.grad = torch.ones_like(theta)
        for _ in range(100):
            opt.step()
        moved[rounding] = 1 - theta.double().mean()
    assert moved["nearest"] == 0 and abs(moved["stochastic"] / 0.01 - 1) < 0.05
    again = torch.ones(20000, dtype=dtype)
    opt = adamas.torch.SGD([again], lr=1e-4, param_rounding="stochastic")
    again.grad = torch.ones_like(again)
    for step in range(100):
        torch.set_num_threads(1 + step % 2)
        opt.step()
    assert torch.equal(again, theta)
    torch.set_num_threads(2)


def test_rounding_that_cannot_be_is_refused() -> None:
    def step(theta: torch.Tensor, rounding: str, **options: object) -> None:
        theta.grad = torch.ones_like(theta)
        before = theta.clone()
        try:
            adamas.torch.SGD([theta], param_rounding=rounding, **options).step()
        finally:
            assert torch.equal(theta, before)

    with pytest.raises(InputError, match="'up': it must be one of nearest, stochastic, remainder"):
        adamas.torch.SGD([torch.zeros(3)], param_rounding="up")
    with pytest.raises(InputError, match=r"param_rounding='remainder' is for plain tensors of bfloat16.*\(float16"):
        step(torch.zeros(3).half(), "remainder")
    with pytest.raises(InputError, match="lie dense in memory"):
        step(torch.zeros(30).bfloat16()[::2], "stochastic")
    with pytest.raises(InputError, match="keep the parameter in float32"):
        step(torch.zeros(3).bfloat16(), "stochastic", differentiable=True)
    theta = torch.zeros(300).bfloat16()
    theta.grad = torch.ones_like(theta)
    opt = adamas.torch.SGD([theta], param_rounding="remainder")
    opt.step()
    opt.state[theta]["param_remainder"] = torch.zeros(299, dtype=torch.int16)
    with pytest.raises(InputError, match="'param_remainder' of parameter 0 must be int16"):
        opt.step()
    half = np.ones(5000, np.float16)
    ours = adamas.numpy.SGD(half, lr=1e-4, param_rounding="stochastic")
    for _ in range(50):
        ours.step(np.ones(5000, np.float16))
    assert abs(1 - half.astype(float).mean() - 0.005) < 5e-4


def test_the_exponent_of_a_block_is_of_what_is_finite() -> None:
    finite = packing.finite
    compiled = njit(lambda largest, x: finite(largest, x))
    for values in ([1.0, -3.0, np.nan, 2.0], [1.0, -np.inf, -3.0], [-3.0, 0.5]):
        x = np.array(values, np.float32)
        assert compiled(np.abs(x).view(np.int32).max(), x) == 3
    theta = torch.zeros(5120)
    opt = adamas.torch.AdamW([theta], state_dtype="int8")
    theta.grad = torch.ones_like(theta)
    theta.grad[7], theta.grad[300] = torch.inf, torch.nan
    opt.step()
    codes, exponents = (opt.state[theta][name].numpy() for name in ("exp_avg", "exp_avg_exponent"))
    got = np.delete(unpack("int8_signed", codes, exponents), [7, 300])
    assert (np.abs(got / 0.1 - 1) < 0.13).all()
