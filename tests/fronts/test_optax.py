"""The optax front: agreement with optax's own rules, what JAX can do with a step, what is refused."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import adamas
import adamas.numpy
from adamas.errors import InputError
from adamas.lowering import storage
from adamas.lowering.storage import BLOCK
from adamas.schedules import cosine, one_cycle, warmup
from tests.conformance.test_storage import pack, values

jax = pytest.importorskip("jax", reason="the front is JAX's")
optax = pytest.importorskip("optax", reason="the front is optax's")

import jax.numpy as jnp  # noqa: E402

import adamas.optax as ours  # noqa: E402
from adamas.lowering import jax as lowered  # noqa: E402

U = 2.0**-24


def tree() -> Any:
    rng = np.random.default_rng(0)
    return {
        "w": jnp.asarray(rng.standard_normal((5, 7)), jnp.float32),
        "b": [jnp.asarray(rng.standard_normal(3), "f4")],
    }


def gradients(step: int) -> Any:
    rng = np.random.default_rng(100 + step)
    return jax.tree.map(lambda p: jnp.asarray(rng.standard_normal(p.shape) * 0.1, p.dtype), tree())


def trained(opt: Any, params: Any, steps: int = 20) -> tuple[Any, Any]:
    state, update = opt.init(params), jax.jit(opt.update)
    for step in range(steps):
        grads = jax.tree.map(lambda g, p: g.astype(p.dtype), gradients(step), params)
        updates, state = update(grads, state, params)
        params = optax.apply_updates(params, updates)
    assert update._cache_size() == 1  # the step advances, and nothing is compiled again
    return params, state


def apart(a: Any, b: Any) -> float:
    """How far two trees are from each other, in units of the larger's rounding."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(jnp.max(jnp.abs(x - y) / jnp.maximum(jnp.abs(y), 1e-30))) for x, y in pairs) / U


#: Rule, its arguments, optax's where they differ, and for how many ulp one update differs after 20 steps, in float64.
SAME = [
    ("adam", {"eps_root": 1e-9}, {}),
    ("adamw", {"weight_decay": 0.1}, {}),
    ("nadam", {}, {}),
    ("radam", {"eps": 0.0}, {}),
    ("adamax", {}, {}),
    ("adabelief", {}, {}),
    ("lion", {}, {}),
    ("sgd", {"momentum": 0.9, "nesterov": True}, {}),
    ("sgd", {}, {}),
    ("adagrad", {}, {}),
    ("rmsprop", {"momentum": 0.5}, {}),
    ("rmsprop", {"initial_scale": 0.5, "eps_in_sqrt": False}, {}),
    ("rmsprop", {"centered": True, "eps": 1e-4}, {}),
]


@pytest.mark.parametrize(("name", "options", "more"), SAME, ids=lambda v: str(v))
def test_it_is_optaxs_rule(name: str, options: dict, more: dict) -> None:
    """In float64 to 1e-13; in float32 the corrections of optax, which are made in float32, are off by 1e-5."""
    with jax.enable_x64(True):
        params = jax.tree.map(lambda p: p.astype(jnp.float64), tree())
        a, _ = trained(getattr(ours, name)(0.01, **options), params)
        b, _ = trained(getattr(optax, name)(0.01, **{**options, **more}), params)
        assert apart(a, b) * U < 1e-12


def test_float32_is_nearer_to_float64_than_optax() -> None:
    with jax.enable_x64(True):
        exact, _ = trained(optax.adamw(0.01), jax.tree.map(lambda p: p.astype(jnp.float64), tree()), 1)
    start = tree()
    errors = []
    for front in (ours, optax):
        opt = front.adamw(0.01)
        found, _ = opt.update(gradients(0), opt.init(start), start)
        true = jax.tree.map(lambda e, p: np.asarray(e) - np.asarray(p, np.float64), exact, start)
        pairs = zip(jax.tree.leaves(found), jax.tree.leaves(true), strict=True)
        errors.append(max(np.max(np.abs(np.asarray(x, np.float64) / y - 1)) for x, y in pairs) / U)
    assert errors[0] < 6 < errors[1]


def test_under_jits_vmap_grad_and_scan() -> None:
    opt = ours.adamw(warmup(5) * 0.1, b1=0.8)
    params = tree()["w"]
    many = jnp.stack([params, 2 * params])

    def run(start: Any) -> Any:
        def step(carried: Any, k: Any) -> Any:
            p, state = carried
            updates, state = opt.update(jnp.cos(p * k), state, p)
            return (optax.apply_updates(p, updates), state), None

        return jax.lax.scan(step, (start, opt.init(start)), jnp.arange(1.0, 6.0))[0][0]

    one = [run(many[0]), run(many[1])]
    np.testing.assert_allclose(jax.jit(jax.vmap(run))(many), jnp.stack(one), rtol=1e-5)

    def loss(lr: Any) -> Any:
        opt = ours.adam(lr)
        updates, _ = opt.update(gradients(0), opt.init(tree()), tree())
        return sum(jnp.sum(u) for u in jax.tree.leaves(updates))

    slope = jax.grad(loss)(0.5)
    assert abs(slope / (loss(0.75) - loss(0.25)) * 0.5 - 1) < 1e-5


def test_with_optaxs_wrappers() -> None:
    params = tree()
    plain, _ = trained(ours.adamw(0.01), params)
    hyper, state = trained(optax.inject_hyperparams(ours.adamw)(learning_rate=0.01), params)
    assert apart(hyper, plain) < 20 and float(state.hyperparams["b1"]) == np.float32(0.9)
    finite, _ = trained(optax.apply_if_finite(ours.adamw(0.01), 3), params)
    assert apart(finite, plain) < 20
    chained, _ = trained(optax.chain(optax.clip_by_global_norm(1e9), ours.adamw(0.01)), params)
    assert apart(chained, plain) < 20
    labels = {"w": "a", "b": ["b"]}
    both, _ = trained(optax.multi_transform({"a": ours.adamw(0.01), "b": ours.sgd(0.0)}, labels), params)
    assert apart(both["w"], plain["w"]) < 20 and apart(both["b"], params["b"]) == 0
    masked, _ = trained(optax.masked(ours.adamw(0.01), {"w": True, "b": False}), params)
    assert apart(masked["w"], plain["w"]) < 20
    several, _ = trained(optax.MultiSteps(ours.adamw(0.01), 2), params, 4)
    theirs, _ = trained(optax.MultiSteps(optax.adamw(0.01), 2), params, 4)
    assert apart(several, theirs) < 300
    counted = optax.tree.get(trained(ours.adamw(0.01), params)[1], "count")
    assert int(counted) == 20


def test_what_decays() -> None:
    params = tree()
    zeros = jax.tree.map(jnp.zeros_like, params)
    for mask in ({"w": True, "b": False}, lambda p: {"w": True, "b": [False]}):
        opt = ours.adamw(0.1, weight_decay=0.5, mask=mask)
        updates, _ = opt.update(zeros, opt.init(params), params)
        assert apart(updates["w"], -0.05 * params["w"]) < 2 and float(jnp.abs(updates["b"][0]).max()) == 0
    opt = ours.adamw(0.1, weight_decay=lambda count: 0.5 * count)
    state = opt.init(params)
    for step in range(2):
        updates, state = opt.update(zeros, state, params)
        assert apart(updates["w"], -0.05 * step * params["w"]) < 2 or step == 0


def test_schedules_that_move_the_momentum() -> None:
    f = one_cycle(10)
    assert f.momentum is not None
    opt = ours.adam(1e-2 * f)
    params, _ = trained(opt, tree(), 10)
    state, theirs = opt.init(tree()), tree()
    for step in range(10):
        by_hand = ours.adam(1e-2 * f(step), b1=f.momentum(step))
        updates, state = by_hand.update(gradients(step), state, theirs)
        theirs = optax.apply_updates(theirs, updates)
    assert apart(params, theirs) < 100
    with pytest.raises(InputError, match="moves the momentum, and this rule has none"):
        ours.adagrad(f)


def test_complex_is_two_real_ones() -> None:
    z = jnp.asarray([1 + 2j, -0.5j, 3.0], jnp.complex64)
    apart_ = jnp.stack([z.real, z.imag])
    opt = ours.adamw(0.1)
    a, state = opt.update(z, opt.init(z), z)
    b, _ = opt.update(apart_, opt.init(apart_), apart_)
    assert a.dtype == state.moments["exp_avg_sq"].dtype == jnp.complex64
    np.testing.assert_array_equal(jnp.stack([a.real, a.imag]), b)


def test_bfloat16_has_float32_moments() -> None:
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), tree())
    opt = ours.adamw(0.1)
    updates, state = opt.update(params, opt.init(params), params)
    assert {u.dtype for u in jax.tree.leaves(updates)} == {jnp.dtype(jnp.bfloat16)}
    assert {m.dtype for m in jax.tree.leaves(state.moments)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("kind", ["bfloat16_stochastic", "int8_signed", "int8_unsigned"])
def test_what_is_packed_has_the_bits_of_storage(kind: str) -> None:
    x = np.abs(values()) if kind == "int8_unsigned" else values()
    key = storage.key_of(7)
    with np.errstate(over="ignore"):
        random = storage.noise(np.arange(x.size, dtype=np.uint32), np.uint32(key))
        second = storage.turned(random)
        third = storage.noise(random, np.uint32(key))
    drawn = jax.jit(lambda k: lowered.randoms(x.shape, lowered.key_of(k), 3))(jnp.int32(7))
    for a, b in zip(drawn, (random, second, third), strict=True):
        np.testing.assert_array_equal(a, b)
    packed = jax.jit(lowered.pack, static_argnums=0)(kind, x, random)
    with np.errstate(invalid="ignore", over="ignore"):
        expected = pack(kind, x, random)
    for a, b in zip(packed, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(a).view(b.dtype), b)
    wide = np.asarray(lowered.unpack(kind, packed))
    if kind == "bfloat16_stochastic":
        np.testing.assert_array_equal(wide, storage.from_bfloat16(expected[0]))
    else:
        exponents = np.repeat(expected[1], BLOCK)[: x.size]
        np.testing.assert_array_equal(wide, getattr(storage, f"from_{kind}")(expected[0], exponents))


def test_moments_of_8_bits_are_those_of_the_numpy_front() -> None:
    """The noise is the same, so that codes differ only where float32 itself was off by a rounding."""
    rng = np.random.default_rng(0)
    theta = rng.standard_normal(5000).astype(np.float32)
    ours_, theirs = jnp.asarray(theta), theta.copy()
    opt = ours.adam(0.01, state_dtype="int8")
    state, by_numpy = opt.init(ours_), adamas.numpy.Adam(theirs, lr=0.01, state_dtype="int8")
    update = jax.jit(opt.update)
    for _ in range(5):
        grad = rng.standard_normal(5000).astype(np.float32)
        updates, state = update(jnp.asarray(grad), state, ours_)
        ours_ = optax.apply_updates(ours_, updates)
        by_numpy.step(grad)
    for name in ("exp_avg", "exp_avg_sq"):
        np.testing.assert_array_equal(state.moments[name].exponents, by_numpy.state[0][f"{name}_exponent"])
        assert np.mean(np.asarray(state.moments[name].codes) != by_numpy.state[0][name]) < 1e-3


@pytest.mark.parametrize("name", ["adamw", "adamax", "adabelief", "lion", "sgd", "adagrad", "rmsprop"])
def test_states_of_optax_and_back(name: str) -> None:
    """Begun with one, gone on with the other, both ways: as if never changed."""
    options: dict[str, Any] = {"momentum": 0.9} if name == "sgd" else {}
    with jax.enable_x64(True):
        pair = [getattr(front, name)(0.01, **options) for front in (ours, optax)]
        start = jax.tree.map(lambda p: p.astype(jnp.float64), tree())
        for first, second in (pair, pair[::-1]):
            params, kept = start, start
            state, never = first.init(start), first.init(start)
            for step in range(6):
                if step == 3:
                    state = ours.convert(state, second.init(start), count=3)
                opt = first if step < 3 else second
                grads = jax.tree.map(lambda g: g.astype(jnp.float64), gradients(step))
                updates, state = opt.update(grads, state, params)
                params = optax.apply_updates(params, updates)
                updates, never = first.update(grads, never, kept)
                kept = optax.apply_updates(kept, updates)
            assert apart(params, kept) * U < 1e-12


def test_states_that_hold_something_else_are_refused() -> None:
    params = tree()
    with pytest.raises(InputError, match="do not hold the same: exp_avg on our side, ScaleByAdamState on optax's"):
        ours.convert(optax.adam(0.1).init(params), ours.lion(0.1).init(params))
    with pytest.raises(InputError, match="do not hold the same"):
        ours.convert(optax.amsgrad(0.1).init(params), ours.amsgrad(0.1).init(params))
    with pytest.raises(InputError, match="does not say how many steps were taken"):
        ours.convert(optax.sgd(0.1, 0.9).init(params), ours.sgd(0.1, 0.9).init(params))
    with pytest.raises(InputError, match="without scalars"):
        ours.convert(optax.nadam(0.1).init(params), ours.nadam(0.1).init(params))


def test_a_rule_of_ones_own() -> None:
    @adamas.rule
    def halfway(g, slow, *, lr=1e-3, pull=0.5):
        slow = pull * slow + (1 - pull) * g
        return lr * slow, slow

    make = ours.optimizer(halfway, "learning_rate pull")
    opt = make(1.0, 0.75)
    updates, state = opt.update(jnp.ones(2), opt.init(jnp.zeros(2)))
    assert make.__name__ == "halfway" and updates.tolist() == [-0.25, -0.25]
    assert state.moments["slow"].tolist() == [0.25, 0.25]


def test_what_cannot_be_is_refused() -> None:
    params = tree()
    opt = ours.adamw(0.1)
    state = opt.init(params)
    with pytest.raises(InputError, match="adamw needs the parameters here"):
        opt.update(params, state)
    with pytest.raises(InputError, match=r"Parameter \['n'\] has dtype int32: only floats are stepped"):
        opt.init({"n": jnp.arange(3)})
    with pytest.raises(InputError, match=r"Parameter \['f'\] is a function"):
        opt.init({"f": tree})
    with pytest.raises(InputError, match=r"different trees: leaf \['b'\]\[0\] is in one of them alone"):
        opt.update({"w": params["w"]}, state, params)
    with pytest.raises(InputError, match=r"The gradient of \['w'\] has shape \(7, 5\)"):
        opt.update({**params, "w": params["w"].T}, state, params)
    with pytest.raises(InputError, match="'float16': it must be one of float32, bfloat16, int8"):
        ours.adam(0.1, state_dtype="float16")
    with pytest.raises(InputError, match="Unknown argument of adam 'esp': did you mean 'eps'"):
        ours.adam(0.1, esp=0.5)
    with pytest.raises(InputError, match="Invalid learning rate: -1"):
        ours.adam(-1.0)
    with pytest.raises(InputError, match=r"an array of shape \(2,\): give one number"):
        ours.adam(jnp.ones(2))
    with pytest.raises(InputError, match="missing a required argument: 'learning_rate'"):
        ours.adam()
    with pytest.raises(InputError, match="mask is no tree as the parameters"):
        ours.adamw(0.1, mask={"v": True}).update(params, state, params)


def test_a_leaf_without_gradient_stays() -> None:
    params = tree()
    opt = ours.adamw(0.1)
    updates, state = opt.update({"w": params["w"], "b": [None]}, opt.init(params), params)
    assert updates["b"] == [None] and float(jnp.abs(state.moments["exp_avg"]["b"][0]).max()) == 0
    updates, state = opt.update(params, state, params)
    assert float(jnp.abs(updates["b"][0]).min()) > 0


def test_sharded_stays_sharded() -> None:
    """On four devices: no leaf is gathered, and the numbers are those of one."""
    code = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
import adamas.optax
mesh = Mesh(np.array(jax.devices()), ("x",))
w = jnp.arange(64.0).reshape(8, 8) / 64
sharded = jax.device_put(w, NamedSharding(mesh, P("x")))
opt = adamas.optax.adamw(0.1)
step = jax.jit(opt.update)
u, s = step(sharded, jax.jit(opt.init)(sharded), sharded)
v, _ = step(w, opt.init(w), w)
assert u.sharding.spec == P("x") and len(u.addressable_shards) == 4, u.sharding
np.testing.assert_allclose(u, v, rtol=1e-6)
text = step.lower(sharded, s, sharded).compile().as_text()
assert "all-gather" not in text and "all-reduce" not in text
"""
    flags = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], env=flags, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_without_jax_it_says_so() -> None:
    code = "import sys; sys.modules['jax'] = None; import adamas; import adamas.optax"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "adamas.optax needs JAX and optax: pip install 'adamas[jax]'" in done.stderr


def test_a_schedule_is_optaxs() -> None:
    f = 0.1 * (warmup(3) >> cosine(7))
    a, _ = trained(ours.sgd(f), tree(), 10)
    b, _ = trained(optax.sgd(f), tree(), 10)
    assert apart(a, b) < 100
