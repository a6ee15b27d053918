"""The SciPy front: every rule under scipy.optimize.minimize, and adamas.minimize without SciPy."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy.optimize import Bounds, OptimizeResult, OptimizeWarning, minimize, rosen, rosen_der

import adamas
import adamas.numpy
import adamas.scipy
from adamas.errors import InputError
from adamas.schedules import cosine
from tests.cases import CASES, Case

SCALES = np.array([1.0, 10.0, 3.0])
LOWEST = np.array([1.0, -2.0, 0.5])


def bowl(x):
    return 0.5 * np.sum(SCALES * (x - LOWEST) ** 2)


def slope(x):
    return SCALES * (x - LOWEST)


def both(x):
    return bowl(x), slope(x)


def solve(x0=(0.0, 0.0, 0.0), jac=slope, fun=bowl, rule="adam", lr=0.1, **more):
    options = {"lr": lr, **more.pop("options", {})}
    return minimize(fun, x0, jac=jac, method=adamas.scipy.method(rule), options=options, **more)


# -- the steps are the optimizers' -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [c for c in CASES if not c.options.get("maximize")], ids=lambda case: case.name)
def test_every_rule_steps_as_the_numpy_front_does(case: Case) -> None:
    x = np.array([0.3, -1.0, 2.0])
    opt = adamas.numpy.optimizer(case.rule)(x, **case.options)
    for _ in range(25):
        opt.step(slope(x))
    seen = []
    options = {**case.options, "maxiter": 25}
    method = getattr(adamas.scipy, case.rule)
    result = minimize(bowl, [0.3, -1.0, 2.0], jac=slope, method=method, options=options, callback=seen.append)
    assert (result.nit, result.nfev, result.njev, len(seen)) == (25, 26, 26, 25)
    assert seen[-1].tolist() == x.tolist()


def test_every_rule_is_there_by_name() -> None:
    assert set(adamas.rules()) <= set(dir(adamas.scipy))
    with pytest.raises(AttributeError, match=r"'adamm'.*adam, "):
        adamas.scipy.adamm  # noqa: B018


def test_a_rule_of_ones_own() -> None:
    @adamas.rule
    def halving(g, *, lr=0.5):
        return lr * g

    result = minimize(lambda x: x @ x / 2, [1.0, 2.0], jac=lambda x: x, method=adamas.scipy.method(halving))
    assert result.success and np.abs(result.x).max() <= 1e-5


def test_a_schedule_is_asked_at_each_step() -> None:
    x = np.zeros(3)
    opt = adamas.numpy.Adam(x, lr=0.1 * cosine(50))
    for _ in range(50):
        opt.step(slope(x))
    seen = []
    solve(lr=0.1 * cosine(50), options={"maxiter": 50}, callback=seen.append)
    assert seen[-1].tolist() == x.tolist()


# -- the result ------------------------------------------------------------------------------------------------------


def test_rosenbrock() -> None:
    result = solve([-1.2, 1.0], rosen_der, rosen, lr=0.02, options={"gtol": 1e-6})
    assert isinstance(result, OptimizeResult)
    assert result.success and result.status == 0 and "success" in result.message
    assert result.x == pytest.approx(1.0, abs=1e-4)
    assert np.abs(result.jac).max() <= 1e-6 and (result.jac == rosen_der(result.x)).all()
    assert result.fun == rosen(result.x)


def test_jac_true_and_args() -> None:
    calls = []

    def shifted(x, a, b):
        calls.append(x.copy())
        return float(np.sum((x - a) ** 2) + b), 2 * (x - a)

    result = minimize(shifted, [0.0], args=(3.0, 5.0), jac=True, method=adamas.scipy.adam, options={"lr": 0.1})
    assert result.x == pytest.approx(3.0, abs=1e-4) and result.fun == pytest.approx(5.0)
    assert len(calls) == result.nfev == result.nit + 1
    one = minimize(lambda x, a: np.sum((x - a) ** 2), [0.0], args=2.0, method=adamas.scipy.adam, options={"lr": 0.1})
    assert one.x == pytest.approx(2.0, abs=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_x_keeps_its_dtype_and_x0_stays(dtype) -> None:
    x0 = np.array([5.0, 5.0, 5.0], dtype)
    seen = []
    result = solve(x0, fun=lambda x: seen.append(x.dtype) or bowl(x), options={"gtol": 1e-3})
    assert result.success and {str(d) for d in seen} == {dtype} == {str(result.x.dtype)}
    assert (x0 == 5).all()


def test_what_a_function_does_to_x_and_its_gradient_is_its_own_affair() -> None:
    held = np.empty(3)

    def destroying(x):
        held[:] = slope(x)
        x[:] = np.nan
        return held

    def filling(x):
        value = bowl(x)
        x[:] = np.nan
        return value

    result = solve(fun=filling, jac=destroying, callback=lambda xk: xk.fill(7.0))
    assert result.x == pytest.approx(LOWEST, abs=1e-4)
    assert (result.jac == slope(result.x)).all()  # though the function uses one array again and again


def test_the_best_seen_is_returned() -> None:
    values = []
    result = solve(lr=0.9, options={"maxiter": 7}, fun=lambda x: values.append(bowl(x)) or values[-1])
    assert result.fun == min(values) < values[-1] and result.fun == bowl(result.x)
    assert (result.jac == slope(result.x)).all()
    assert (result.status, result.success) == (1, False) and "iterations" in result.message


def test_no_steps_at_all() -> None:
    result = solve(options={"maxiter": 0})
    assert (result.nit, result.status, result.x.tolist()) == (0, 1, [0.0] * 3)
    assert solve(LOWEST).nit == 0


# -- when it ends ----------------------------------------------------------------------------------------------------


def test_tol_is_gtol() -> None:
    loose, tight = solve(tol=1.0), solve(tol=1e-8)
    assert loose.nit < tight.nit
    assert 1e-8 < np.abs(loose.jac).max() <= 1.0 and np.abs(tight.jac).max() <= 1e-8
    assert solve(tol=1.0, options={"gtol": 1e-8}).nit == tight.nit


def test_xtol_looks_at_steps_in_a_row() -> None:
    path = [np.zeros(3)]
    options = {"gtol": None, "xtol": 1e-3, "patience": 5, "ftol": 0.0}
    result = solve(rule="sgd", options={**options, "patience": 5}, lr=0.05, callback=path.append)
    assert result.status == 5 and result.success
    steps = np.abs(np.diff(path, axis=0)).max(axis=1) / np.maximum(1, np.abs(path[1:]).max(axis=1))
    small = steps <= 1e-3
    assert small[-5:].all() and not any(small[k : k + 5].all() for k in range(len(small) - 5))


def test_ftol_compares_means() -> None:
    values = []
    options = {"gtol": None, "ftol": 1e-3, "patience": 4}
    result = solve(fun=lambda x: values.append(bowl(x)) or values[-1], options=options)
    assert result.status == 4

    def gain(v):
        a, b = np.mean(v[:4]), np.mean(v[4:])
        return (a - b) / max(1, abs(a), abs(b))

    assert gain(values[-8:]) <= 1e-3 and all(gain(values[k : k + 8]) > 1e-3 for k in range(len(values) - 8))


def test_a_noisy_objective_ends_by_patience_and_gives_the_mean_of_its_tail() -> None:
    rng = np.random.default_rng(3)
    path, last = [], []

    def noisy(x):
        last[:] = [x]
        return bowl(x) + rng.normal(), slope(x) + 5 * rng.standard_normal(3)

    options = {"patience": 200, "tail": 100}
    result = minimize(noisy, np.zeros(3), jac=True, method=adamas.scipy.adam, options={"lr": 0.05, **options},
                      callback=path.append)  # fmt: skip
    assert result.status == 4 and result.success
    assert result.x == pytest.approx(np.mean(path[-100:], axis=0), rel=1e-12)
    assert result.nfev == result.nit + 2 and last[0].tolist() == result.x.tolist()  # its value is of itself
    alone = np.mean([bowl(x) for x in path[-100:]])
    assert bowl(result.x) < 0.5 * alone


@pytest.mark.parametrize("bad", ["fun", "jac"])
def test_what_is_not_finite_ends_it_at_the_best_before(bad) -> None:
    count = iter(range(100))

    def broken(x):
        late = next(count) == 5
        grad = slope(x)
        if late and bad == "jac":
            grad[1] = np.nan
        return np.nan if late and bad == "fun" else bowl(x), grad

    result = solve(fun=broken, jac=True)
    assert (result.status, result.success, result.nit) == (2, False, 5)
    assert np.isfinite(result.x).all() and result.fun == bowl(result.x) < bowl(np.zeros(3))


def test_skipped_where_asked_for() -> None:
    count = iter(range(10**6))

    def broken(x):
        return slope(x) if next(count) != 5 else np.full(3, np.inf)

    result = solve(jac=broken, options={"nonfinite": "skip"})
    assert result.success and result.x == pytest.approx(LOWEST, abs=1e-4)


# -- callbacks -------------------------------------------------------------------------------------------------------


def test_both_callbacks() -> None:
    xs, results = [], []

    def modern(*, intermediate_result):
        results.append(intermediate_result)

    solve(options={"maxiter": 5}, callback=xs.append)
    solve(options={"maxiter": 5}, callback=modern)
    assert [r.x.tolist() for r in results] == [x.tolist() for x in xs]
    assert all(isinstance(r, OptimizeResult) and r.fun == bowl(r.x) for r in results)


def test_stop_iteration_ends() -> None:
    def third(intermediate_result):
        count.append(0)
        if len(count) == 3:
            raise StopIteration

    count: list[int] = []
    result = solve(callback=third)
    assert (result.nit, result.status, result.success) == (3, 3, False) and "StopIteration" in result.message


def test_disp(capsys) -> None:
    solve(options={"disp": True})
    out = capsys.readouterr().out
    assert "terminated successfully" in out and "Current function value: 0.000000" in out and "Iterations:" in out
    solve()
    assert capsys.readouterr().out == ""


# -- bounds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [Bounds([-1, -1, -np.inf], [0.25, 5, np.inf]), [(-1, 0.25), (-1, 5), (None, None)]])
@pytest.mark.parametrize("jac", [slope, None], ids=["slope", "differences"])
def test_bounds_hold_and_their_gradient_is_projected(bounds, jac) -> None:
    seen = []
    result = solve([9.0, 9.0, 9.0], jac, lambda x: seen.append(x) or bowl(x), bounds=bounds, options={"gtol": 1e-5})
    assert result.success and result.x == pytest.approx([0.25, -1.0, 0.5], abs=1e-4)
    assert np.abs(result.jac).max() > 0.5  # it pulls out of the box, and ends nevertheless
    assert all(x[0] <= 0.25 and -1 <= x[1] <= 5 for x in seen)


def test_a_fixed_coordinate_stays() -> None:
    seen = []
    result = solve(jac=None, fun=lambda x: seen.append(x) or bowl(x), bounds=[(2, 2), (-9, 9), (-9, 9)])
    assert result.success and result.x == pytest.approx([2.0, -2.0, 0.5], abs=1e-4)
    assert {x[0] for x in seen} == {2.0}


# -- finite differences ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jac", [None, "2-point"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_without_a_gradient(jac, dtype) -> None:
    calls = []
    result = solve(np.zeros(3, dtype), jac, lambda x: calls.append(0) or bowl(x), options={"gtol": 1e-3})
    assert result.success and result.x == pytest.approx(LOWEST, abs=1e-3)
    assert result.nfev == len(calls) == 4 * (result.nit + 1)
    coarse = solve(jac=None, options={"finite_diff_rel_step": 0.5, "maxiter": 0})
    assert coarse.jac == pytest.approx(slope(np.zeros(3)) + SCALES * 0.25)


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"x0": [np.nan, 0, 0]}, "x0 has values that are not finite"),
        ({"x0": []}, "x0 is empty"),
        ({"x0": [1j, 0, 0]}, "x0 has dtype complex128: it must be float32"),
        ({"jac": lambda x: np.ones(2)}, r"gradient has shape \(2,\), x0 \(3,\)"),
        ({"jac": lambda x: "up"}, "gradient is 'up'"),
        ({"fun": lambda x: x}, "objective returned array.*one real number"),
        ({"fun": lambda x: "low"}, "objective returned 'low'.*one real number"),
        ({"bounds": [(0, 1)]}, "There are 1 bounds for 3 coordinates"),
        ({"bounds": [(0, 1), (2, 1), (0, 1)]}, r"bounds of x\[1\] are 2.0 and 1.0"),
        ({"bounds": 3}, "bounds are 3: give Bounds"),
        ({"bounds": Bounds([0, 0], [1, 1])}, "do not fit x0 of shape"),
        ({"constraints": {"type": "eq", "fun": bowl}}, "adam cannot handle constraints.*SLSQP"),
        ({"callback": 3}, "callback is a int"),
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"options": {"maxiter": -1}}, "Invalid maxiter value: -1"),
        ({"options": {"maxiter": 1.5}}, "Invalid maxiter value: 1.5"),
        ({"options": {"gtol": -1.0}}, "Invalid gtol value: -1.0"),
        ({"options": {"ftol": np.nan}}, "Invalid ftol value: nan"),
        ({"options": {"patience": 0}}, "Invalid patience value: 0"),
        ({"options": {"tail": -3}}, "Invalid tail value: -3"),
        ({"options": {"maximize": True}}, "maximize=True is not for a minimizer"),
    ],
)
def test_bad_input_is_named(more, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        solve(**more)


def test_unknown_options_are_warned_of_as_scipy_does() -> None:
    with pytest.warns(OptimizeWarning, match="Unknown solver options: learning_rate, maxfev") as caught:
        minimize(bowl, np.zeros(3), jac=slope, method=adamas.scipy.adam, options={"learning_rate": 1, "maxfev": 3})
    assert caught[0].filename == __file__  # the caller's line
    with pytest.warns(RuntimeWarning, match="adam does not use Hessian"):
        minimize(bowl, np.zeros(3), jac=slope, hess=lambda x: None, method=adamas.scipy.adam, options={"maxiter": 1})


# -- without SciPy's habits ------------------------------------------------------------------------------------------


def test_minimize_takes_any_shape() -> None:
    goal = np.arange(6.0).reshape(2, 3)
    result = adamas.minimize(lambda x: ((x - goal) ** 2).sum(), np.zeros((2, 3)), lambda x: 2 * (x - goal), lr=0.1)
    assert result.success and result.x == pytest.approx(goal, abs=1e-4)
    boxed = adamas.minimize(lambda x: ((x - goal) ** 2).sum(), np.zeros((2, 3)), bounds=(0, 2.5), lr=0.1)
    assert boxed.success and boxed.x == pytest.approx(np.minimum(goal, 2.5), abs=1e-4)


def test_minimize_is_the_same_descent() -> None:
    ours = adamas.minimize(both, np.zeros(3), True, rule="nadam", lr=0.1, tail=3, patience=4)
    scipys = solve(rule="nadam", options={"tail": 3, "patience": 4})
    assert vars(ours).keys() == scipys.keys()
    assert (ours.x.tolist(), ours.nit, ours.nfev, ours.message) == (
        scipys.x.tolist(), scipys.nit, scipys.nfev, scipys.message,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((None, 0.0), "objective is a NoneType"),
        ((bowl, np.zeros(3), "2-point"), "gradient is '2-point'"),
        ((bowl, np.zeros(3), True), "must return its value and gradient"),
    ],
)
def test_minimize_names_bad_input(given, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        adamas.minimize(*given)
    with pytest.raises(InputError, match="bounds have 3 parts"):
        adamas.minimize(bowl, np.zeros(3), slope, bounds=(1, 2, 3))
    with pytest.raises(InputError, match=r"'lrr'.*did you mean 'lr'"):
        adamas.minimize(bowl, np.zeros(3), slope, lrr=1)


def test_minimize_works_without_scipy() -> None:
    code = (
        "import sys; sys.modules['scipy'] = None; sys.modules['scipy.optimize'] = None\n"
        "import adamas\n"
        "print(adamas.minimize(lambda x: x * x, 1.0, lambda x: 2 * x, lr=0.1).success)\n"
        "try: adamas.minimize(lambda x: x * x, 1.0)\n"
        "except adamas.InputError as error: print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.startswith("True\nThere is no gradient, and SciPy") and "pip install scipy" in out


def test_no_warnings_of_our_own() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve([1e150] * 3, fun=lambda x: 1.0, jac=lambda x: np.ones(3), options={"patience": 2, "xtol": 1e-3})
