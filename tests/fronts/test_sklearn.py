"""The scikit-learn front: scikit-learn's own checks, and what they do not look at."""

import copy
import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import adamas
from adamas.errors import InputError
from adamas.schedules import cosine
from adamas.sklearn import AdamasClassifier, AdamasRegressor

ESTIMATORS = [
    AdamasClassifier((), lr=0.1, max_iter=100),
    AdamasClassifier((8,), optimizer="adamw", lr=0.02, weight_decay=1e-3, clip_grad_norm=1.0, activation="logistic"),
    AdamasRegressor((), lr=0.3),
    AdamasRegressor((16,), activation="tanh", optimizer="adamw", lr=0.05, batch_size=16),
]


def expected_to_fail(estimator) -> dict[str, str]:
    """Where there are mini-batches, a row of weight 2 and two rows of weight 1 meet in other ones."""
    name = "check_sample_weight_equivalence_on"
    return {f"{name}_{kind}_data": "rows are drawn" for kind in ("dense", "sparse") if estimator.batch_size != "auto"}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_to_fail)
def test_scikit_learns_checks(estimator, check) -> None:
    check(estimator)


# -- the steps are the optimizers' -----------------------------------------------------------------------------------


def loss_of(model, x, y, weights):
    """Mean loss of a network of one hidden layer, written anew, in the model's activation."""
    w1, b1, w2, b2 = weights
    z = x @ w1 + b1
    h = {
        "relu": lambda: np.where(z > 0, z, 0),
        "tanh": lambda: np.sinh(z) / np.cosh(z),
        "logistic": lambda: 1 / (1 + np.exp(-z)),
        "identity": lambda: z,
    }[model.activation]()
    out = h @ w2 + b2
    if isinstance(model, AdamasRegressor):
        return 0.5 * ((out - y.reshape(len(y), -1)) ** 2).sum() / len(y)
    p = np.exp(out) / np.exp(out).sum(axis=1, keepdims=True)
    return -np.log(p[np.arange(len(y)), y]).mean()


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("kind", [AdamasClassifier, AdamasRegressor])
def test_a_step_is_adam_on_the_gradient_by_differences(kind, activation) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((12, 3))
    y = np.arange(12) % 3 if kind is AdamasClassifier else rng.standard_normal((12, 2))
    model = kind(4, activation=activation, lr=0.01, weight_decay=0.1, random_state=2, shuffle=False)
    model.partial_fit(x, y)
    states = [part["exp_avg"].copy() for part in model._optimizer.state_dict()["state"].values()]
    # After one step m is (1 − β₁) times the gradient as Adam sees it: with decay in the weights, not the intercepts.
    before = clone(model)
    before._check()
    before._random = np.random.RandomState(2)
    before._begin(x, before._targets(y, None, first=True), keep=False)
    weights = [part for pair in zip(before.coefs_, before.intercepts_, strict=True) for part in pair]
    gradients = []
    for part in weights:
        gradient = np.empty_like(part)
        for at in np.ndindex(part.shape):
            kept, values = part[at], []
            for h in (1e-6, -1e-6):
                part[at] = kept + h
                values.append(loss_of(model, x, y, weights))
            part[at], gradient[at] = kept, (values[0] - values[1]) / 2e-6
        gradients.append(gradient)
    w1, b1, w2, b2 = gradients
    decay = 0.1 * np.concatenate([weights[0].ravel(), weights[2].ravel()])
    assert states[0] == pytest.approx(0.1 * (np.concatenate([w1.ravel(), w2.ravel()]) + decay), rel=1e-5, abs=1e-9)
    assert states[1] == pytest.approx(0.1 * np.concatenate([b1, b2]), rel=1e-5, abs=1e-9)
    assert model.loss_curve_ == pytest.approx([loss_of(model, x, y, weights)], rel=1e-9)


@pytest.mark.parametrize("rule", ["sgd", "nesterov", "adagrad", "rmsprop", "nadam", "lion", "adopt"])
def test_any_rule_learns(rule) -> None:
    x, y = load_iris(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    lr = {"sgd": 0.5, "nesterov": 0.05, "adagrad": 0.2, "adopt": 0.1}.get(rule, 0.02)
    model = AdamasClassifier(
        (), optimizer=rule, lr=lr * cosine(300), random_state=0, max_iter=300, n_iter_no_change=300
    )
    with pytest.warns(ConvergenceWarning):
        model.fit(x, y)
    assert model.score(x, y) > 0.94


def test_a_rule_of_ones_own_and_its_options() -> None:
    @adamas.rule
    def scaled(g, *, lr=1e-3, gain=1.0):
        return lr * gain * g

    x, y = load_iris(return_X_y=True)
    given = {"random_state": 0, "max_iter": 3, "lr": 1e-3}
    with pytest.warns(ConvergenceWarning, match="max_iter=3 epochs"):
        ours = clone(AdamasClassifier((), optimizer=scaled, optimizer_options={"gain": 3.0}, **given)).fit(x, y)
    with pytest.warns(ConvergenceWarning):
        sgd = AdamasClassifier((), optimizer="sgd", **{**given, "lr": 3e-3}).fit(x, y)
    assert ours.coefs_[0] == pytest.approx(sgd.coefs_[0], rel=1e-12)


# -- scikit-learn's ways ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
def test_as_good_as_its_peer(activation) -> None:
    x, y = load_digits(return_X_y=True)
    x = x / 16
    given = {"activation": activation, "max_iter": 15, "random_state": 0}
    with pytest.warns(ConvergenceWarning):
        ours = AdamasClassifier(32, lr=0.01, **given).fit(x[:1200], y[:1200])
    with pytest.warns(ConvergenceWarning):
        theirs = MLPClassifier(32, learning_rate_init=0.01, alpha=0, **given).fit(x[:1200], y[:1200])
    assert ours.score(x[1200:], y[1200:]) > theirs.score(x[1200:], y[1200:]) - 0.02
    assert ours.loss_curve_[-1] == pytest.approx(theirs.loss_curve_[-1], rel=0.3)


def test_pipeline_and_grid_search() -> None:
    x, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), AdamasClassifier((), lr=0.1, random_state=0, max_iter=60))
    grid = {"adamasclassifier__optimizer": ["adam", "sgd"], "adamasclassifier__lr": [1e-6, 0.1]}
    with pytest.warns(ConvergenceWarning):
        search = GridSearchCV(pipeline, grid, cv=3).fit(x, y)
    assert search.best_params_["adamasclassifier__lr"] == 0.1 and search.best_score_ > 0.9


def test_multioutput_regression_and_sparse_input() -> None:
    rng = np.random.default_rng(0)
    x = sparse.random(300, 6, 0.5, format="csr", random_state=0)
    y = x @ rng.standard_normal((6, 2)) + [1.0, -1.0]
    model = AdamasRegressor((), lr=0.05, random_state=0, tol=1e-7).fit(x, y)
    assert model.predict(x).shape == (300, 2) and model.score(x, y) > 0.999
    dense = AdamasRegressor((), lr=0.05, random_state=0, tol=1e-7).fit(x.toarray(), y)
    assert dense.predict(x) == pytest.approx(model.predict(x), abs=1e-8)
    assert AdamasRegressor((), random_state=0, max_iter=1).partial_fit(x, y[:, 0]).predict(x).shape == (300,)


def test_class_weight_is_sample_weight() -> None:
    x, y = load_iris(return_X_y=True)
    given = {"lr": 0.05, "random_state": 0, "tol": 1e-3}
    by_class = AdamasClassifier((), class_weight={0: 1, 1: 5, 2: 1}, **given).fit(x, y)
    by_row = AdamasClassifier((), **given).fit(x, y, sample_weight=np.where(y == 1, 5.0, 1.0))
    plain = AdamasClassifier((), **given).fit(x, y)
    assert by_class.coefs_[0].tolist() == by_row.coefs_[0].tolist() != plain.coefs_[0].tolist()
    assert (by_class.predict(x) == 1).sum() > (plain.predict(x) == 1).sum()
    alike = AdamasClassifier((), **given).fit(x, y, sample_weight=np.full(150, 3.0))
    assert alike.loss_curve_ == pytest.approx(plain.loss_curve_, rel=1e-12)


@pytest.mark.parametrize("held_back", [False, True])
def test_ends_where_mlp_classifier_would(held_back) -> None:
    x, y = load_digits(return_X_y=True)
    model = AdamasClassifier(
        16, lr=0.02, random_state=0, tol=1e-2, n_iter_no_change=3, early_stopping=held_back, max_iter=300
    ).fit(x[:600] / 16, y[:600])
    values = [-v for v in model.validation_scores_] if held_back else model.loss_curve_
    best, waited, ends = np.inf, 0, None
    for epoch, value in enumerate(values, start=1):  # as scikit-learn 1.9 counts
        waited = waited + 1 if value > best - 1e-2 else 0
        best = min(best, value)
        if waited > 3:
            ends = epoch
            break
    assert model.n_iter_ == len(values) == ends


def test_early_stopping_goes_back_to_the_best() -> None:
    x, y = load_digits(return_X_y=True)
    x = x[:300] / 16
    seen = []

    class Watched(AdamasClassifier):
        def _validate(self, x, y, weights):
            seen.append([part.copy() for part in self._flat])
            return super()._validate(x, y, weights)

    model = Watched(16, lr=0.1, random_state=0, early_stopping=True, n_iter_no_change=5).fit(x, y[:300])
    best = int(np.argmax(model.validation_scores_))
    assert best < len(seen) - 1
    for kept, part in zip(seen[best], model._flat, strict=True):
        assert kept.tolist() == part.tolist()


def test_decay_is_the_rules_own_unless_given() -> None:
    x, y = load_diabetes(return_X_y=True)
    given = {"hidden_layer_sizes": (), "optimizer": "adamw", "lr": 0.1, "random_state": 0}
    models = [AdamasRegressor(weight_decay=decay, **given).partial_fit(x, y) for decay in (None, 1e-2, 0.0)]
    own, same, none = (model.coefs_[0].tolist() for model in models)
    assert own == same != none


def test_an_interrupted_training_is_kept() -> None:
    class Interrupted(AdamasRegressor):
        def _epoch(self, x, targets, weights):
            if len(self.loss_curve_) == 3:
                raise KeyboardInterrupt
            super()._epoch(x, targets, weights)

    x, y = load_diabetes(return_X_y=True)
    with pytest.warns(UserWarning, match="interrupted"):
        model = Interrupted((), lr=0.1, random_state=0).fit(x, y)
    with pytest.warns(ConvergenceWarning):
        three = AdamasRegressor((), lr=0.1, random_state=0, max_iter=3).fit(x, y)
    assert model.n_iter_ == 3 and model.predict(x).tolist() == three.predict(x).tolist()


def test_names_of_features_are_kept_and_compared() -> None:
    x, y = load_iris(return_X_y=True, as_frame=True)
    model = AdamasClassifier((), lr=0.05, random_state=0, early_stopping=True).fit(x, y)
    assert model.feature_names_in_.tolist() == list(x.columns)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(x.rename(columns=str.upper))


def test_warm_start_and_partial_fit() -> None:
    x, y = load_iris(return_X_y=True)
    model = AdamasClassifier((), lr=1e-3, random_state=0, max_iter=2, warm_start=True)
    with pytest.warns(ConvergenceWarning):
        first = model.fit(x, y).loss_curve_[-1]
        second = model.fit(x, y).loss_curve_[0]
    assert second < first
    with pytest.raises(InputError, match="same layers"):
        model.set_params(hidden_layer_sizes=(3,)).fit(x, y)
    assert len(model.coefs_) == 1  # it is as it was
    model.predict(x)

    parts = AdamasClassifier((), lr=0.05, random_state=0)
    for _ in range(80):
        parts.partial_fit(x[:60], y[:60], classes=[0, 1, 2]).partial_fit(x[60:], y[60:])
    assert parts.n_iter_ == len(parts.loss_curve_) == 160 and parts.score(x, y) > 0.9
    with pytest.raises(InputError, match="label 7"):
        parts.partial_fit(x, np.full(150, 7))


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_goes_on_as_the_model_does(again) -> None:
    x, y = load_diabetes(return_X_y=True)
    model = AdamasRegressor(5, lr=0.01, random_state=0).partial_fit(x, y)
    other = again(model)
    for _ in range(3):
        model.partial_fit(x, y)
        other.partial_fit(x, y)
    assert other.predict(x).tolist() == model.predict(x).tolist()


def test_float32_stays() -> None:
    x, y = load_diabetes(return_X_y=True)
    model = AdamasRegressor(5, lr=0.1, random_state=0).partial_fit(x.astype(np.float32), y.astype(np.float32))
    assert {part.dtype.name for part in (*model.coefs_, *model.intercepts_)} == {"float32"}
    assert model.predict(x.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"activation": "gelu"}, "Invalid activation value: 'gelu'"),
        ({"hidden_layer_sizes": (3, 0)}, "Invalid hidden_layer_sizes value: 0"),
        ({"batch_size": 0}, "Invalid batch_size value: 0"),
        ({"max_iter": 0}, "Invalid max_iter value: 0"),
        ({"validation_fraction": 1.0}, "Invalid validation_fraction value: 1.0"),
        ({"early_stopping": True, "validation_fraction": 0.01}, r"validation_fraction=0.01 holds"),
        ({"optimizer": "adamm"}, "Unknown optimizer 'adamm': did you mean 'adam'"),
        ({"lr": -1.0}, "Invalid learning rate: -1.0"),
        ({"optimizer_options": {"beta": 3}}, r"'beta'.*did you mean 'betas'"),
        ({"lr": 1e30, "optimizer": "sgd", "hidden_layer_sizes": ()}, r"diverged with lr=1e\+30"),
    ],
)
def test_bad_input_is_named(given, sentence) -> None:
    x, y = load_diabetes(return_X_y=True)
    with pytest.raises(InputError, match=sentence):
        AdamasRegressor(**{"hidden_layer_sizes": (4,), "random_state": 0, **given}).fit(x[:60], y[:60])


def test_partial_fit_cannot_hold_back() -> None:
    with pytest.raises(InputError, match="early_stopping=False"):
        AdamasRegressor(early_stopping=True).partial_fit(np.ones((3, 1)), np.ones(3))
