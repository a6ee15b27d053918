"""The oracles against third parties, closed forms and identities: an oracle that is wrong proves nothing."""

import inspect
import math
from itertools import pairwise

import numpy as np
import pytest

from tests.cases import CASES
from tests.reference import textbook
from tests.reference.gradients import LARGEST, SMALLEST, sequence

N = 12
STEPS = 300
STOPS = (1, 2, 7, STEPS)

EVERY = (
    "sgd",
    "adagrad",
    "rmsprop",
    "adam",
    "sparse_adam",
    "adamw",
    "adamax",
    "lpadam",
    "adabelief",
    "nadam",
    "radam",
    "adopt",
)
EVERY += ("lion",)


def theta0(n=N):
    return np.linspace(-1.5, 2.0, n)


def assert_same(actual, expected, scale=1.0, rtol=1e-12):
    """Equal to rtol, or to rtol of what the value was added up from where terms cancel (scale)."""
    actual, expected = np.asarray(actual, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert actual.shape == expected.shape
    assert np.isfinite(expected).all()
    excess = np.abs(actual - expected) - rtol * np.maximum(np.abs(expected), scale)
    assert (excess <= 0).all(), f"{actual} is not {expected}, off by {np.abs(actual - expected).max()}"


# --- torch.optim ---

# oracle, class in torch.optim, options (decoupled stands for torch's decoupled_weight_decay)
AGAINST_TORCH = [
    ("sgd", "SGD", {}),
    ("sgd", "SGD", {"lr": 1e-2, "weight_decay": 1e-2}),
    ("sgd", "SGD", {"momentum": 0.9}),
    ("sgd", "SGD", {"momentum": 0.9, "dampening": 0.3}),
    ("sgd", "SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-2, "maximize": True}),
    ("sgd", "SGD", {"momentum": 0.5, "dampening": 0.1, "weight_decay": 1e-3}),
    ("adagrad", "Adagrad", {}),
    ("adagrad", "Adagrad", {"lr_decay": 1e-2, "initial_accumulator_value": 0.1, "maximize": True}),
    ("adagrad", "Adagrad", {"lr": 0.3, "lr_decay": 0.1, "eps": 1e-6, "weight_decay": 1e-2}),
    ("rmsprop", "RMSprop", {}),
    ("rmsprop", "RMSprop", {"centered": True, "alpha": 0.9}),
    ("rmsprop", "RMSprop", {"momentum": 0.9, "weight_decay": 1e-2}),
    ("rmsprop", "RMSprop", {"centered": True, "momentum": 0.8, "eps": 1e-6, "maximize": True}),
    ("adam", "Adam", {}),
    ("adam", "Adam", {"amsgrad": True, "betas": (0.8, 0.9)}),
    ("adam", "Adam", {"weight_decay": 1e-2, "eps": 1e-5, "maximize": True}),
    ("adam", "Adam", {"weight_decay": 1e-2, "decoupled": True, "lr": 3e-2}),
    ("adam", "Adam", {"betas": (0.0, 0.5), "amsgrad": True, "weight_decay": 0.1}),
    ("adamw", "AdamW", {}),
    ("adamw", "AdamW", {"amsgrad": True, "lr": 1e-2, "weight_decay": 0.1, "maximize": True}),
    ("adamax", "Adamax", {}),
    ("adamax", "Adamax", {"betas": (0.7, 0.95), "eps": 1e-4, "weight_decay": 1e-2, "maximize": True}),
    ("nadam", "NAdam", {}),
    ("nadam", "NAdam", {"momentum_decay": 0.05, "betas": (0.95, 0.99), "weight_decay": 1e-2}),
    ("nadam", "NAdam", {"weight_decay": 1e-2, "decoupled": True, "maximize": True}),
    ("radam", "RAdam", {}),
    ("radam", "RAdam", {"betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 1e-2}),
    ("radam", "RAdam", {"weight_decay": 1e-2, "decoupled": True, "maximize": True}),
    ("radam", "RAdam", {"betas": (0.9, 0.6)}),  # ρ∞ = 4: never rectified
]


@pytest.fixture
def torch64():
    """torch with float64 as its default: NAdam's mu_product has the default dtype, not the parameter's."""
    torch = pytest.importorskip("torch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


def run_torch(torch, name, options, grads, rates=None):
    """Theta and states after torch.optim has had its turn, with options under the oracles' names."""
    options = dict(options)
    if options.pop("decoupled", False):
        options["decoupled_weight_decay"] = True
    p = torch.nn.Parameter(torch.tensor(theta0()))
    opt = getattr(torch.optim, name)([p], foreach=False, **options)
    for k, g in enumerate(grads):
        if rates is not None:
            opt.param_groups[0]["lr"] = rates[k]
        p.grad = None if g is None else torch.tensor(g)
        opt.step()
    return p.detach().numpy(), {k: v for k, v in opt.state[p].items() if v is not None}


def assert_same_as_torch(theta, states, torch_theta, torch_states, grads, options):
    # A coordinate of the first moment is a sum of gradients of both signs and of every size seen so far: its
    # rounding is measured against the largest of them. Second moments cannot cancel and have no such excuse.
    given = [np.abs(g) for g in grads if g is not None]
    largest = np.max(given, axis=0, initial=0.0) + options.get("weight_decay", 0.0) * 10
    assert_same(theta, torch_theta)
    for key, value in torch_states.items():
        if key in ("exp_avg", "grad_avg", "momentum_buffer"):
            assert_same(states[key], value.numpy(), scale=largest)
        elif key == "mu_product":
            assert_same(states[key], float(value), scale=0.0)
        elif key == "step":
            assert states[key] == int(value)
        elif options.get("weight_decay", 0.0) != 0 and not options.get("decoupled", False):
            assert_same(states[key], value.numpy(), scale=0.0, rtol=1e-10)  # g + λθ may cancel, then be squared
        else:
            assert_same(states[key], value.numpy(), scale=0.0)
    assert set(torch_states) <= set(states)


@pytest.mark.parametrize("holes", [False, True], ids=["full", "holes"])
@pytest.mark.parametrize(
    ("oracle", "name", "options"), AGAINST_TORCH, ids=lambda x: str(x) if isinstance(x, dict) else x
)
def test_equals_torch(torch64, oracle, name, options, holes):
    grads = sequence(seed=len(name) + 10 * len(options), n=N, steps=STEPS, holes=holes)
    for stop in STOPS:
        theta, states = getattr(textbook, oracle)(theta0(), grads[:stop], **options)
        torch_theta, torch_states = run_torch(torch64, name, options, grads[:stop])
        assert_same_as_torch(theta, states, torch_theta, torch_states, grads[:stop], options)


@pytest.mark.parametrize(
    ("oracle", "name", "options"),
    [
        ("sgd", "SGD", {"momentum": 0.9, "nesterov": True}),
        ("adagrad", "Adagrad", {"lr_decay": 1e-2}),
        ("rmsprop", "RMSprop", {"momentum": 0.9}),
        ("adamw", "AdamW", {"amsgrad": True}),
        ("adamax", "Adamax", {}),
        ("nadam", "NAdam", {"weight_decay": 1e-2, "decoupled": True}),
        ("radam", "RAdam", {"weight_decay": 1e-2, "decoupled": True}),
    ],
)
def test_scheduled_rate_equals_torch(torch64, oracle, name, options):
    def rate(t):
        return 1e-2 * (1 + math.cos(t / 40)) + 1e-4

    grads = sequence(seed=3, n=N, steps=STEPS)
    rates = [rate(t) for t in range(1, STEPS + 1)]
    theta, states = getattr(textbook, oracle)(theta0(), grads, lr=rate, **options)
    torch_theta, torch_states = run_torch(torch64, name, options, grads, rates)
    assert_same_as_torch(theta, states, torch_theta, torch_states, grads, options)


# --- scikit-learn ---


@pytest.mark.parametrize("options", [{}, {"betas": (0.8, 0.95), "eps": 1e-4, "lr": 1e-2}])
def test_adam_equals_sklearn(options):
    """scikit-learn's ε stands beside the uncorrected √v ("ε-hat"): the same step has ε·√(1−β₂ᵗ) there."""
    module = pytest.importorskip("sklearn.neural_network._stochastic_optimizers")
    lr, (beta1, beta2), eps = (
        options.get("lr", 1e-3),
        options.get("betas", (0.9, 0.999)),
        options.get("eps", 1e-8),
    )
    grads = sequence(seed=5, n=N, steps=STEPS)
    theirs = theta0()
    opt = module.AdamOptimizer([theirs], learning_rate_init=lr, beta_1=beta1, beta_2=beta2)
    for t, g in enumerate(grads, start=1):
        opt.epsilon = eps * math.sqrt(1 - beta2**t)
        opt.update_params([theirs], [g])
    theta, states = textbook.adam(theta0(), grads, **options)
    assert_same(theta, theirs)
    assert_same(states["exp_avg_sq"], opt.vs[0], scale=0.0)
    assert states["step"] == opt.t


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("power_t", [0.0, 0.5])
def test_velocity_form_equals_sklearn(nesterov, power_t):
    module = pytest.importorskip("sklearn.neural_network._stochastic_optimizers")
    grads = sequence(seed=6, n=N, steps=STEPS)
    theirs = theta0()
    opt = module.SGDOptimizer([theirs], 1e-3, "invscaling", momentum=0.9, nesterov=nesterov, power_t=power_t)
    for k, g in enumerate(grads, start=1):
        opt.update_params([theirs], [g])
        opt.iteration_ends(k)
    theta, states = textbook.sgd(
        theta0(),
        grads,
        lr=lambda t: 1e-3 / t**power_t,
        momentum=0.9,
        nesterov=nesterov,
        momentum_form="velocity",
    )
    # sklearn's iteration_ends(k) sets the rate to η/(k+1)^power_t: that of step k+1.
    assert_same(theta, theirs, scale=np.abs(theirs).max())
    assert_same(states["momentum_buffer"], -opt.velocities[0], scale=1e-3 * LARGEST)


# --- identities ---


def test_velocity_form_equals_torch_form_while_the_rate_is_constant_and_only_then():
    grads = sequence(seed=7, n=N, steps=STEPS, holes=True)
    for nesterov in (False, True):
        options = {"momentum": 0.9, "nesterov": nesterov, "weight_decay": 1e-2}
        b, b_states = textbook.sgd(theta0(), grads, lr=1e-2, **options)
        u, u_states = textbook.sgd(theta0(), grads, lr=1e-2, momentum_form="velocity", **options)
        assert_same(u, b, scale=np.abs(b).max())
        assert_same(u_states["momentum_buffer"], 1e-2 * b_states["momentum_buffer"], scale=1e-2 * LARGEST)
        b, _ = textbook.sgd(theta0(), grads, lr=lambda t: 1e-2 / t, **options)
        u, _ = textbook.sgd(theta0(), grads, lr=lambda t: 1e-2 / t, momentum_form="velocity", **options)
        assert np.abs(u - b).max() > 1e-3


def test_lpadam_of_order_two_is_adam_with_the_square_of_beta2():
    grads = sequence(seed=8, n=N, steps=STEPS, holes=True)
    theta, states = textbook.lpadam(theta0(), grads, betas=(0.9, 0.99), p=2.0, weight_decay=1e-2)
    expected, adam_states = textbook.adam(theta0(), grads, betas=(0.9, 0.99**2), weight_decay=1e-2)
    assert_same(theta, expected)
    assert_same(states["exp_avg"], adam_states["exp_avg"], scale=LARGEST)
    assert_same(states["exp_p"] ** 2, adam_states["exp_avg_sq"], scale=0.0, rtol=1e-11)  # g + λθ may cancel


def test_lpadam_of_order_three_in_plain_float64():
    grads = [np.clip(np.abs(g), 1e-3, 10.0) * np.where(g < 0, -1, 1) for g in sequence(seed=9, n=N, steps=60)]
    m, v, theta = np.zeros(N), np.zeros(N), theta0()
    for t, g in enumerate(grads, start=1):
        m = 0.9 * m + 0.1 * g
        v = 0.95**3 * v + (1 - 0.95**3) * np.abs(g) ** 3
        theta -= 1e-3 * m / (1 - 0.9**t) / (np.cbrt(v / (1 - 0.95 ** (3 * t))) + 1e-8)
    actual, states = textbook.lpadam(theta0(), grads, betas=(0.9, 0.95), p=3)
    assert_same(actual, theta)
    assert_same(states["exp_p"], np.cbrt(v), scale=0.0)


def test_lpadam_of_large_order_tends_to_adamax():
    grads = sequence(seed=10, n=N, steps=100)
    expected, expected_states = textbook.adamax(theta0(), grads, lr=1e-3, betas=(0.9, 0.9), eps_form="paper")
    distances = []
    for p in (10, 100, 1000, 10000):
        theta, states = textbook.lpadam(theta0(), grads, lr=1e-3, betas=(0.9, 0.9), p=p)
        distances.append(np.abs(theta - expected).max())
        # The largest of the discounted gradients enters with weight 1−β₂ᵖ, and there are 100 at most.
        low = expected_states["exp_inf"] * (1 - 0.9**p) ** (1 / p)
        assert (states["exp_p"] >= low * (1 - 1e-12)).all()
        assert (states["exp_p"] <= expected_states["exp_inf"] * 100 ** (1 / p)).all()
    assert all(later < earlier / 5 for earlier, later in pairwise(distances))
    assert distances[-1] < 1e-5


@pytest.mark.parametrize("p", [2, 3.5, 1000])
@pytest.mark.parametrize("size", [SMALLEST, 1.0, LARGEST])
def test_lpadam_of_a_constant_gradient_steps_by_the_rate(p, size):
    theta, states = textbook.lpadam(np.zeros(1), [np.array([size])] * 5, lr=0.5, p=p, eps=0.0)
    assert_same(theta, [-2.5])
    assert_same(states["exp_p"], [size * (-math.expm1(5 * p * math.log(0.999))) ** (1 / p)], scale=0.0)


def test_adamw_without_decay_is_adam():
    grads = sequence(seed=11, n=N, steps=STEPS, holes=True)
    for amsgrad in (False, True):
        theta, states = textbook.adamw(theta0(), grads, weight_decay=0.0, amsgrad=amsgrad)
        expected, expected_states = textbook.adam(theta0(), grads, amsgrad=amsgrad)
        assert (theta == expected).all()
        assert set(states) == set(expected_states)
        assert all((states[k] == expected_states[k]).all() for k in states if k != "step")


def test_the_two_places_of_epsilon_in_adamax_differ_by_it_alone():
    grads = sequence(seed=12, n=N, steps=STEPS)
    a, _ = textbook.adamax(theta0(), grads, eps=0.1)
    b, _ = textbook.adamax(theta0(), grads, eps=0.1, eps_form="paper")
    assert np.abs(a - b).max() > 1e-5
    m = sum(0.9 ** (STEPS - k) * 0.1 * g for k, g in enumerate(grads, start=1))
    u = np.max([0.999 ** (STEPS - k) * np.abs(g) for k, g in enumerate(grads, start=1)], axis=0)
    before, _ = textbook.adamax(theta0(), grads[:-1], eps=0.1, eps_form="paper")
    assert_same(b, before - 2e-3 / (1 - 0.9**STEPS) * m / (u + 0.1))


def test_eps_root_stands_inside_the_root_beside_the_corrected_moment():
    g, root, eps = np.array([3.0, -0.5, 0.0]), 0.25, 0.1
    sign_step = g / (np.sqrt(g**2 + root) + eps)  # one step from zero: m̂ = g, v̂ = g²
    start = np.zeros(3)
    assert_same(textbook.adam(start, [g], lr=1.0, eps=eps, eps_root=root)[0], -sign_step)
    assert_same(textbook.adagrad(start, [g], lr=1.0, eps=eps, eps_root=root)[0], -sign_step)
    assert_same(
        textbook.rmsprop(start, [g], lr=1.0, alpha=0.0, eps=eps, eps_root=root)[0],
        -sign_step,
    )
    assert_same(  # the belief is (g−m)² = (β₁g)², then (1−β₂) and the correction cancel
        textbook.adabelief(start, [g], lr=1.0, eps=0.0, eps_root=root)[0],
        -g / np.sqrt((0.9 * g) ** 2 + root),
    )
    mu1, mu2 = (0.9 * (1 - 0.5 * 0.96 ** (t * 4e-3)) for t in (1, 2))
    assert_same(
        textbook.nadam(start, [g], lr=1.0, eps=eps, eps_root=root)[0],
        -(mu2 * 0.1 / (1 - mu1 * mu2) + 1) * sign_step,
    )
    # RAdam: the sixth step is the first rectified one at β₂ = 0.999; all gradients alike make m̂ = g, v̂ = g².
    five, _ = textbook.radam(start, [g] * 5, lr=1.0, eps=0.0, eps_root=root)
    six, _ = textbook.radam(start, [g] * 6, lr=1.0, eps=0.0, eps_root=root)
    assert_same(five, -5 * g)
    rho_inf = 2 / (1 - 0.999) - 1
    rho = rho_inf - 12 * 0.999**6 / (1 - 0.999**6)
    r = math.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
    assert_same(six - five, -r * g / np.sqrt(g**2 + root), scale=5 * np.abs(g).max())


# --- closed forms, for what no installed library has ---


def average(values, beta, t):
    """(1−β) Σ β^{t−i} xᵢ: the exponential average written out."""
    return (1 - beta) * sum(beta ** (t - i) * x for i, x in enumerate(values[:t], start=1))


def test_adabelief_written_out():
    grads, lr, (b1, b2), eps = sequence(seed=13, n=N, steps=40), 1e-3, (0.9, 0.99), 1e-6
    theta, m, s = theta0(), [], None
    for t in range(1, len(grads) + 1):
        m.append(average(grads, b1, t))
        s = average([(g - mean) ** 2 for g, mean in zip(grads, m, strict=False)], b2, t)
        s = s + eps * (1 - b2**t) / (1 - b2)
        theta = theta - lr * m[-1] / (1 - b1**t) / (np.sqrt(s / (1 - b2**t)) + eps)
    actual, states = textbook.adabelief(theta0(), grads, lr=lr, betas=(b1, b2), eps=eps)
    assert_same(actual, theta)
    assert_same(states["exp_avg"], m[-1], scale=LARGEST)
    assert_same(states["exp_avg_var"], s, scale=0.0)


def test_adopt_written_out():
    grads, lr, (b1, b2), eps = sequence(seed=14, n=N, steps=40), 1e-3, (0.9, 0.99), 1e-6
    theta, normed = theta0(), []
    for t in range(2, len(grads) + 1):
        v = b2 ** (t - 2) * grads[0] ** 2 + average([g**2 for g in grads[1:]], b2, t - 2)
        limit = math.sqrt(math.sqrt(t - 1))
        normed.append(np.minimum(np.maximum(grads[t - 1] / np.maximum(np.sqrt(v), eps), -limit), limit))
        theta = theta - lr * average(normed, b1, t - 1)
    actual, states = textbook.adopt(theta0(), grads, lr=lr, betas=(b1, b2), eps=eps)
    assert_same(actual, theta)
    assert_same(states["exp_avg"], average(normed, b1, len(normed)))
    assert (np.abs(normed) == [[math.sqrt(math.sqrt(t))] for t in range(1, 40)]).any()  # some were clipped


@pytest.mark.parametrize("decoupled", [False, True])
def test_adopt_does_not_move_at_its_first_call(decoupled):
    g = np.array([2.0, -3.0])
    options = {"weight_decay": 0.2, "decoupled": decoupled}
    theta, states = textbook.adopt([1.0, 1.0], [None, g, None], **options)
    assert (theta == 1.0).all()
    assert states["step"] == 1
    assert (states["exp_avg"] == 0).all()
    assert_same(states["exp_avg_sq"], (g if decoupled else g + 0.2) ** 2)
    assert (textbook.adopt([1.0, 1.0], [g, g], **options)[0] != 1.0).all()


def test_lion_written_out():
    grads, lr, (b1, b2) = sequence(seed=15, n=N, steps=40), 1e-4, (0.9, 0.99)
    theta, m = theta0(), np.zeros(N)
    for t, g in enumerate(grads, start=1):
        theta = theta - lr * np.sign(b1 * m + (1 - b1) * g)
        m = average(grads, b2, t)
    actual, states = textbook.lion(theta0(), grads, lr=lr, betas=(b1, b2))
    assert_same(actual, theta)
    assert_same(states["exp_avg"], m, scale=LARGEST)


# --- decay, maximize, missing gradients: of every optimizer ---

DECAYING = [(name, {}) for name in EVERY] + [
    ("sgd", {"momentum": 0.9, "nesterov": True}),
    ("sgd", {"momentum": 0.9, "momentum_form": "velocity"}),
    ("rmsprop", {"momentum": 0.9}),
    ("adagrad", {"lr_decay": 0.1}),
    ("adam", {"amsgrad": True}),
    ("lpadam", {"p": 1000}),
    ("adamax", {"eps_form": "paper"}),
]


@pytest.mark.parametrize(("name", "options"), DECAYING)
@pytest.mark.parametrize("decay_after", [False, True])
def test_decoupled_decay_acts_beside_the_step(name, options, decay_after):
    """The gradients being given, the steps Δ do not know of the decay: take them from a run without it."""
    grads, steps, decay = sequence(seed=16, n=5, steps=25), 25, 0.3
    oracle = getattr(textbook, name)

    def rate(t):
        return 0.01 + 0.001 * t

    path = [oracle(np.zeros(5), grads[:k], lr=rate, weight_decay=0.0, **options)[0] for k in range(steps + 1)]
    theta = theta0(5)
    for t in range(1, steps + 1):
        delta = path[t - 1] - path[t]
        if name == "adopt" and t == 1:
            assert (delta == 0).all()
        elif decay_after:
            theta = (theta - delta) * (1 - rate(t) * decay)
        else:
            theta = theta * (1 - rate(t) * decay) - delta
    actual, _ = oracle(
        theta0(5), grads, lr=rate, weight_decay=decay, decoupled=True, decay_after=decay_after, **options
    )
    assert_same(actual, theta, scale=np.maximum(1.0, np.abs(path).max()))


@pytest.mark.parametrize(("name", "options"), DECAYING)
@pytest.mark.parametrize("maximize", [False, True])
def test_coupled_decay_is_part_of_the_gradient(name, options, maximize):
    """λθ added to each gradient by hand, after the negation; decay_after has no say in it."""
    grads, steps, decay = sequence(seed=17, n=5, steps=25), 25, 0.3
    oracle = getattr(textbook, name)
    sign = -1.0 if maximize else 1.0
    theta, joined = theta0(5), []
    for k in range(steps):
        joined.append(sign * grads[k] + decay * theta)
        theta, states = oracle(theta0(5), joined, weight_decay=0.0, **options)
    for after in (False, True):
        actual, actual_states = oracle(
            theta0(5),
            grads,
            weight_decay=decay,
            decoupled=False,
            decay_after=after,
            maximize=maximize,
            **options,
        )
        assert (actual == theta).all()
        assert all(np.array_equal(actual_states[key], states[key]) for key in states)


@pytest.mark.parametrize("name", EVERY)
def test_maximize_negates_the_gradient_alone(name):
    grads = sequence(seed=18, n=5, steps=25)
    oracle = getattr(textbook, name)
    for decoupled in (False, True):
        options = {"weight_decay": 0.1, "decoupled": decoupled}
        up, _ = oracle(theta0(5), grads, maximize=True, **options)
        down, _ = oracle(theta0(5), [-g for g in grads], **options)
        assert (up == down).all()


@pytest.mark.parametrize("name", EVERY)
def test_no_gradient_is_not_a_zero_gradient(name):
    """None changes nothing and costs no count, not even with decay; a zero gradient counts."""
    oracle = getattr(textbook, name)
    holed = sequence(seed=19, n=5, steps=60, holes=True)
    given = [g for g in holed if g is not None]
    options = {"weight_decay": 0.1, "lr": lambda t: 0.01 / t}
    theta, states = oracle(theta0(5), iter(holed), **options)
    expected, expected_states = oracle(theta0(5), given, **options)
    assert (theta == expected).all()
    assert all(np.array_equal(states[key], expected_states[key]) for key in states)
    assert states["step"] == len(given) < len(holed)
    zeroed, zeroed_states = oracle(theta0(5), [np.zeros(5) if g is None else g for g in holed], **options)
    assert zeroed_states["step"] == len(holed)
    assert (zeroed != expected).any()


@pytest.mark.parametrize("name", EVERY)
def test_what_is_passed_in_stays_as_it_was(name):
    grads = sequence(seed=20, n=5, steps=10)
    theta, kept, kept_grads = theta0(5), theta0(5), [g.copy() for g in grads]
    result, _ = getattr(textbook, name)(theta, grads, weight_decay=0.1)
    assert (theta == kept).all()
    untouched, states = getattr(textbook, name)(theta, [None])
    assert untouched is not theta and (untouched == kept).all() and states["step"] == 0
    assert getattr(textbook, name)([1, 2], [])[0].dtype == np.float64
    assert result.dtype == np.float64
    assert all((a == b).all() for a, b in zip(grads, kept_grads, strict=True))


def test_defaults_are_those_of_torch(torch64):
    translated = {"decoupled_weight_decay": "decoupled"}
    names = {"sgd": "SGD", "adagrad": "Adagrad", "rmsprop": "RMSprop", "adam": "Adam", "adamax": "Adamax"}
    names |= {"nadam": "NAdam", "radam": "RAdam", "adamw": "AdamW"}
    for oracle, name in names.items():
        ours = inspect.signature(getattr(textbook, oracle)).parameters
        theirs = inspect.signature(getattr(torch64.optim, name)).parameters
        for key, parameter in theirs.items():
            key = translated.get(key, key)
            if key in ours and not (oracle == "adamw" and key == "decoupled"):
                assert ours[key].default == parameter.default, (name, key)


# --- the gradients themselves ---


@pytest.mark.parametrize("seed", range(5))
def test_gradients_reach_the_corners(seed):
    grads = sequence(seed, n=16, steps=300, holes=True)
    given = np.array([g for g in grads if g is not None])
    size = np.abs(given)
    assert size[size > 0].min() == np.float32(SMALLEST)
    assert size.max() == np.float32(LARGEST)
    assert (given.astype(np.float32) == given).all()
    assert 10 < len(grads) - len(given) < 60
    assert grads[0] is None
    assert 3 < (given == 0).all(axis=1).sum() < 60  # gradients that are zero throughout
    assert (given[: len(given) // 4, 1] == 0).all() and (given[:, 1] != 0).any()  # a late starter
    assert (given[:, -1] == 0).all()
    assert (given[:, 0] > 0).any() and (given[:, 0] < 0).any()
    logs = np.log10(np.where(size > 0, size, np.nan))[:, :-1]
    spread = np.nanmax(logs, axis=0) - np.nanmin(logs, axis=0)
    assert np.median(spread) > 3  # scales change in time
    assert np.nanmedian(logs, axis=0).std() > 1  # and differ between coordinates


def test_gradients_are_the_same_every_time():
    first, again, other = (sequence(seed, n=4, steps=50, holes=True) for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        assert (a is None and b is None) or (a == b).all()
    assert any(a is not None and b is not None and (a != b).any() for a, b in zip(first, other, strict=True))
    assert [g.shape for g in sequence(1, 1, 3)] == [(1,)] * 3
    assert [g.shape for g in sequence(1, 0, 2)] == [(0,)] * 2


# --- going on ---


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_going_on_equals_never_having_stopped(case):
    grads = sequence(seed=11, n=N, steps=40, holes=True)
    oracle = getattr(textbook, case.oracle or case.rule)
    expected, expected_states = oracle(theta0(), grads, **case.told)
    for stop in (0, 1, 2, 23):
        theta, states = oracle(theta0(), grads[:stop], **case.told)
        theta, states = oracle(theta, grads[stop:], states=states, **case.told)
        assert_same(theta, expected)
        assert states.keys() == expected_states.keys()
        for name, state in states.items():
            assert_same(state, expected_states[name], scale=1e-30)
