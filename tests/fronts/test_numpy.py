"""The NumPy front: arrays, lists, dicts and groups of arrays, stepped in place."""

import copy
import pickle

import numpy as np
import pytest

import adamas.numpy
from adamas.errors import InputError

NAMES = [
    "SGD",
    "Adagrad",
    "RMSprop",
    "Adam",
    "AdamW",
    "Adamax",
    "LpAdam",
    "AdaBelief",
    "NAdam",
    "RAdam",
    "ADOPT",
    "Lion",
]


SHARED = np.ones(5)


def test_columns_of_a_matrix_do_not_share_memory():
    matrix = np.zeros((3, 2))
    adamas.numpy.SGD([matrix[:, 0], matrix[:, 1]], lr=1.0).step([np.ones(3), np.full(3, 2.0)])
    assert matrix.tolist() == [[-1, -2]] * 3


def test_betas_changed_in_place_are_checked():
    theta = np.zeros(1)
    opt = adamas.numpy.Adam(theta)
    opt.param_groups[0]["betas"] = [0.9, 0.999]
    opt.step(np.ones(1))
    opt.param_groups[0]["betas"][0] = float("nan")
    with pytest.raises(InputError, match="Invalid beta parameter at index 0: nan"):
        opt.step(np.ones(1))


def test_the_scalar_quadratic():
    theta = np.zeros(1)
    opt = adamas.numpy.Adam(theta, lr=0.1)
    for _ in range(20):
        opt.step(2 * (theta - 3))
    assert theta[0] == pytest.approx(1.880639520896, abs=1e-12)


@pytest.mark.parametrize(("decay_after", "expected"), [(True, 0.531183971932), (False, 0.531183960673)])
def test_the_logistic_regression(decay_after, expected):
    np.random.seed(0)  # noqa: NPY002  (the published run draws from the legacy generator)
    x = np.random.randn(2000, 10)  # noqa: NPY002
    w_true = np.random.randn(10)  # noqa: NPY002
    y = (x @ w_true + 0.25 * np.random.randn(2000) > 0).astype(float)  # noqa: NPY002
    w = np.zeros(10)
    opt = adamas.numpy.AdamW(w, lr=1e-3, weight_decay=1e-4, decay_after=decay_after)
    for _ in range(10):
        order = np.random.permutation(2000)  # noqa: NPY002
        for first in range(0, 2000, 64):
            batch = order[first : first + 64]
            opt.step(x[batch].T @ (1 / (1 + np.exp(-x[batch] @ w)) - y[batch]) / len(batch))
    p = 1 / (1 + np.exp(-x @ w))
    loss = -np.mean(y * np.log(p + 1e-12) + (1 - y) * np.log(1 - p + 1e-12))
    assert loss == pytest.approx(expected, abs=1e-11)


def test_arrays_lists_dicts_and_groups_are_the_same():
    rng = np.random.default_rng(0)
    start = {"w": rng.standard_normal((4, 3)), "b": rng.standard_normal(3)}
    grads = [{"w": rng.standard_normal((4, 3)), "b": rng.standard_normal(3)} for _ in range(3)]

    def fresh():
        return copy.deepcopy(start)

    as_dict, as_list, alone, grouped = fresh(), fresh(), fresh(), fresh()
    by_dict = adamas.numpy.AdamW(as_dict, lr=0.1)
    by_list = adamas.numpy.AdamW([as_list["w"], as_list["b"]], lr=0.1)
    by_one = [adamas.numpy.AdamW(alone[k], lr=0.1) for k in ("w", "b")]
    by_group = adamas.numpy.AdamW([{"params": grouped["w"]}, {"params": {"b": grouped["b"]}, "lr": 0.1}], lr=0.1)
    for g in grads:
        by_dict.step(g)
        by_list.step([g["w"], g["b"]])
        by_one[0].step(g["w"])
        by_one[1].step(g["b"])
        by_group.step([g["w"], g["b"]])
    for other in (as_list, alone, grouped):
        for k in start:
            assert np.array_equal(as_dict[k], other[k])
    assert list(by_dict.state) == ["w", "b"]


def test_groups_have_their_own_hyperparameters_and_are_read_at_each_step():
    a, b = np.zeros(2), np.zeros(2)
    opt = adamas.numpy.SGD([{"params": a, "lr": 1.0}, {"params": b}], lr=0.5)
    opt.step([np.ones(2), np.ones(2)])
    opt.param_groups[1]["lr"] = 0.25
    opt.step([np.ones(2), np.ones(2)])
    assert a.tolist() == [-2, -2] and b.tolist() == [-0.75, -0.75]


def test_a_missing_gradient_leaves_its_parameter_and_count_alone():
    params = {"a": np.ones(3), "b": np.ones(3)}
    opt = adamas.numpy.Adam(params)
    opt.step({"a": np.ones(3)})
    opt.step({"a": np.ones(3), "b": None})
    opt.step({})
    assert params["b"].tolist() == [1, 1, 1]
    assert float(opt.state["a"]["step"]) == 2 and "b" not in opt.state


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_resumes_to_the_bit(name):
    rng = np.random.default_rng(0)
    straight = rng.standard_normal((5, 3)).astype(np.float32)
    stopped = straight.copy()
    grads = rng.standard_normal((6, 5, 3)).astype(np.float32)
    a, b = getattr(adamas.numpy, name)(straight), getattr(adamas.numpy, name)(stopped)
    for step, g in enumerate(grads):
        if step == 3:
            saved = b.state_dict()
            kept = copy.deepcopy(saved)
            b = getattr(adamas.numpy, name)(stopped, lr=0.7)
            b.load_state_dict(saved)
        a.step(g)
        b.step(g)
    assert np.array_equal(straight, stopped)
    for key, value in kept["state"][0].items():
        assert np.array_equal(value, saved["state"][0][key]), "the saved state was changed by going on"


@pytest.mark.parametrize("dtype", [np.float16, np.complex64, np.complex128])
def test_other_dtypes(dtype):
    rng = np.random.default_rng(0)
    theta = (
        (rng.standard_normal(9) + 1j * rng.standard_normal(9)).astype(dtype) if np.dtype(dtype).kind == "c" else None
    )
    theta = rng.standard_normal(9).astype(dtype) if theta is None else theta
    parts = theta.view(theta.real.dtype).astype(np.float64 if dtype == np.complex128 else np.float32)
    opt, reference = adamas.numpy.Adam(theta, lr=0.01), adamas.numpy.Adam(parts, lr=0.01)
    for _ in range(3):
        g = (rng.standard_normal(9) * (1 + 1j if np.dtype(dtype).kind == "c" else 1)).astype(dtype)
        opt.step(g)
        reference.step(g.view(g.real.dtype).astype(parts.dtype))
    tolerance = 5e-3 if dtype == np.float16 else 0
    np.testing.assert_allclose(theta.view(theta.real.dtype), parts, atol=tolerance, rtol=0)


def test_a_column_of_a_matrix_is_stepped_in_place():
    matrix = np.ones((4, 3))
    opt = adamas.numpy.SGD(matrix[:, 1], lr=1.0)
    opt.step(np.arange(4.0))
    assert matrix.tolist() == [[1, 1, 1], [1, 0, 1], [1, -1, 1], [1, -2, 1]]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: adamas.numpy.Adam(np.zeros(3, int)),
            "Parameter 0 has dtype int64: it must be float16, float32",
        ),
        (lambda: adamas.numpy.Adam([[1.0, 2.0]]), "Parameter 0 is a list: it must be a NumPy array."),
        (
            lambda: adamas.numpy.Adam(3.0),
            "The parameters are a float: give an array, a list or a dict of arrays",
        ),
        (lambda: adamas.numpy.Adam([]), "optimizer got an empty parameter list: give at least one array."),
        (lambda: adamas.numpy.Adam(np.broadcast_to(0.0, 3)), "Parameter 0 is read-only"),
        (
            lambda: adamas.numpy.Adam(np.zeros(3), lr=float("inf")),
            "Invalid learning rate: inf: it must be a finite",
        ),
        (
            lambda: adamas.numpy.Adam(np.zeros(3), learning_rate=1),
            "Unknown argument of Adam 'learning_rate': known are",
        ),
        (
            lambda: adamas.numpy.Adam([{"params": np.zeros(3), "weight_decy": 0.1}]),
            "Unknown hyperparameter of adam 'weight_decy': did you mean 'weight_decay'?",
        ),
        (lambda: adamas.numpy.SGD(np.ones(1), lr=np.ones(2)), "Tensor lr must be 1-element: it has shape (2,)."),
        (lambda: adamas.numpy.SGD(np.ones(1), lr=np.array("a")), "Invalid learning rate: 'a': it must be a finite"),
        (lambda: adamas.numpy.SGD([SHARED, SHARED]), "Parameters 0 and 1 share memory: give one of them."),
        (lambda: adamas.numpy.SGD([SHARED[2:], np.ones(2), SHARED[:3]]), "Parameters 0 and 2 share memory"),
        (lambda: adamas.numpy.optimizer("adanw"), "Unknown optimizer 'adanw': did you mean 'adamw'?"),
    ],
)
def test_construction_refuses(make, sentence):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("grads", "sentence"),
    [
        (
            [np.ones(3), np.ones(4)],
            "The gradient of parameter 1 has shape (4,), the parameter (2, 2): they must agree.",
        ),
        ([np.ones(3)], "There are 1 gradients for 2 parameters: give one each."),
        ([np.ones(3), np.ones((2, 2), int)], "The gradient of parameter 1 has dtype int64"),
        (
            [np.ones(3), np.ones((2, 2), complex)],
            "The gradient of parameter 1 is complex, the parameter is real",
        ),
        ({7: np.ones(3)}, "There is a gradient for 7, but no such parameter."),
        ("abc", "The gradients are a str"),
    ],
)
def test_a_step_that_cannot_be_changes_nothing(grads, sentence):
    params = [np.ones(3), np.ones((2, 2))]
    opt = adamas.numpy.Adam(params)
    with pytest.raises(InputError) as caught:
        opt.step(grads)
    assert str(caught.value).startswith(sentence)
    assert all((p == 1).all() for p in params) and not opt.state


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda d: d.pop("state"), "A state dict has the keys 'state' and 'param_groups'"),
        (
            lambda d: d["param_groups"].append(d["param_groups"][0]),
            "loaded state dict has a different number of parameter groups: 2, the optimizer 1.",
        ),
        (
            lambda d: d["state"][0].update(exp_avg=np.zeros(7)),
            "The state 'exp_avg' of parameter 0 has shape (7,)",
        ),
        (lambda d: d["param_groups"][0].update(lr=-1), "Invalid learning rate: -1"),
        (lambda d: d["state"].update({9: {}}), "The state dict has a state for 9"),
    ],
)
def test_a_state_dict_that_does_not_fit_changes_nothing(spoil, sentence):
    theta = np.ones(3)
    opt = adamas.numpy.Adam(theta, lr=0.1)
    opt.step(np.ones(3))
    bad = opt.state_dict()
    spoil(bad)
    before = opt.state_dict()
    with pytest.raises(InputError) as caught:
        opt.load_state_dict(bad)
    assert str(caught.value).startswith(sentence)
    after = opt.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert all(np.array_equal(after["state"][0][k], v) for k, v in before["state"][0].items())


def test_long_silence_leaves_no_denormals():
    theta = np.ones(8, np.float32)
    opt = adamas.numpy.Adam(theta)
    opt.step(np.full(8, 1e-3, np.float32))
    for _ in range(900):
        opt.step(np.zeros(8, np.float32))
    m = opt.state[0]["exp_avg"]
    assert ((m == 0) | (np.abs(m) >= np.finfo(np.float32).tiny)).all() and (m == 0).all()
    assert (opt.state[0]["exp_avg_sq"] > 0).all()


def test_a_tiny_gradient_keeps_its_denormal_moment():
    theta = np.ones(3, np.float32)
    opt = adamas.numpy.Adam(theta)
    opt.step(np.full(3, 1e-20, np.float32))
    assert (opt.state[0]["exp_avg_sq"] > 0).all()


@pytest.mark.parametrize("name", ["AMSGrad", "Adamax", "LpAdam", "ADOPT", "Lion", "RMSprop"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_is_handed_on(name, dtype):
    theta = np.ones(20, dtype)
    opt = adamas.numpy.optimizer(name.lower())(theta, **({"centered": True} if name == "RMSprop" else {}))
    for _ in range(2):
        opt.step(np.where(np.arange(20) == 3, np.nan, 1).astype(dtype))
    assert np.isnan(theta).tolist() == (np.arange(20) == 3).tolist()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_a_copy_is_its_own(copied):
    theta = np.ones(4)
    a = adamas.numpy.Adam(theta)
    a.step(np.ones(4))
    b = copied(a)
    (other,) = b.param_groups[0]["params"]
    a.step(np.ones(4))
    assert not np.array_equal(theta, other)
    b.step(np.ones(4))
    assert np.array_equal(theta, other) and b.rule is a.rule


def test_counts_that_meet_again_share_one_row():
    a, b = np.ones(3), np.ones(3)
    opt = adamas.numpy.Adam([a, b], lr=0.1)
    opt.step([np.ones(3), None])
    opt.step([np.ones(3), np.ones(3)])
    first, second = dict(opt.state[0]), dict(opt.state[1])
    opt.step([np.ones(3), np.ones(3)])  # counts of 3 and 2: two rows of coefficients
    for name in first:
        np.copyto(second[name], first[name])
    np.copyto(b, a)
    opt.step([np.ones(3), np.ones(3)])
    assert np.array_equal(a, b) and float(second["step"]) == 4


def test_a_real_gradient_of_a_complex_parameter_is_refused() -> None:
    """Its memory is half as long as the kernel would read."""
    theta = np.zeros(4, np.complex64)
    with pytest.raises(InputError, match="The gradient of parameter 0 is real, the parameter is complex"):
        adamas.numpy.SGD(theta).step(np.ones(4, np.float32))
    assert not theta.any()
