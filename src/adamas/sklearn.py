"""Linear models and multilayer perceptrons in scikit-learn's conventions, trained by any rule.

>>> import numpy as np
>>> from adamas.sklearn import AdamasRegressor
>>> x = np.random.default_rng(0).standard_normal((200, 3))
>>> model = AdamasRegressor((), lr=0.05, random_state=0).fit(x, x @ [1.0, -2.0, 0.5] + 3)
>>> model.coefs_[0].ravel().round(1).tolist(), model.intercepts_[0].round(1).tolist()
([1.0, -2.0, 0.5], [3.0])

The networks are computed here, in NumPy, both directions: for those of the size that people fit by scikit-learn this is
faster than torch's autograd, and for large ones nearly as fast (benchmarks/sklearn_digits.py); so torch is not needed.
"""

import math
import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data  # pyright: ignore[reportPrivateUsage]

from adamas.errors import InputError
from adamas.hyperparameters import whole
from adamas.numpy import Optimizer, optimizer
from adamas.registry import Rule
from adamas.schedules import Schedule

Array = NDArray[Any]

ACTIVATIONS = ("relu", "tanh", "logistic", "identity")


class _Network(BaseEstimator):
    """What classifier and regressor share."""

    _optimizer: Optimizer
    n_features_in_: int

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        *,
        activation: str = "relu",
        optimizer: str | Rule = "adam",
        lr: float | Schedule | None = None,
        optimizer_options: Mapping[str, Any] | None = None,
        weight_decay: float | None = None,
        clip_grad_norm: float | None = None,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        verbose: bool = False,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.optimizer = optimizer
        self.lr = lr
        self.optimizer_options = optimizer_options
        self.weight_decay = weight_decay
        self.clip_grad_norm = clip_grad_norm
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # -- what differs --------------------------------------------------------------------------------------------------

    @abstractmethod
    def _targets(self, y: Any, classes: Any, first: bool) -> Array:
        """[rows, outputs]: what the network is to say."""

    @abstractmethod
    def _errors(self, out: Array, y: Array) -> Array:
        """[rows]: the loss of each row; ``out`` becomes its gradient with regard to the outputs."""

    @abstractmethod
    def _said(self, out: Array) -> Array:
        """What to predict, from the outputs."""

    @abstractmethod
    def _score(self, y: Array, said: Array, weights: Array | None) -> float:
        """What ``score`` gives."""

    @abstractmethod
    def _strata(self, y: Array) -> Array | None:
        """Of what the rows held back are to have as much as the others."""

    def _weights(self, y: Any, sample_weight: Any) -> Array | None:
        """[rows]: what each row counts."""
        return sample_weight

    # -- training ------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for ``max_iter`` epochs, or until nothing improves.

        Args:
            X: [rows, features], dense or CSR.
            y: [rows], or [rows, outputs] for a regression of several.
            sample_weight: [rows].
        """
        self._check()
        again = self.warm_start and hasattr(self, "_optimizer")
        x, y, weights = self._data(X, y, sample_weight, reset=not again)
        self._random = check_random_state(self.random_state)
        held_out = None
        if self.early_stopping:
            rows = np.arange(x.shape[0])
            kept, out = train_test_split(
                rows, test_size=self.validation_fraction, random_state=self._random, stratify=self._strata(y)
            )
            if len(out) < 2:
                raise InputError(
                    f"validation_fraction={self.validation_fraction} holds {len(out)} rows of {len(rows)} back: "
                    "early stopping needs two or more."
                )
            held_out = x[out], y[out], None if weights is None else weights[out]
            x, y, weights = x[kept], y[kept], None if weights is None else weights[kept]
        targets = self._targets(y, None, first=not again)
        self._begin(x, targets, keep=again)
        self.loss_curve_: list[float] = []
        self.n_iter_ = 0
        self.validation_scores_: list[float] | None = [] if held_out else None
        best, best_flat, waited = math.inf, None, 0
        sign = -1.0 if held_out else 1.0
        try:
            for epoch in range(self.max_iter):
                self._epoch(x, targets, weights)
                self.n_iter_ = epoch + 1
                value = self.loss_curve_[-1]
                if held_out:
                    value = self._validate(*held_out)
                    self.validation_scores_.append(value)  # pyright: ignore[reportOptionalMemberAccess]
                # As MLPClassifier counts: against the best so far, and once more than n_iter_no_change.
                waited = waited + 1 if sign * value > best - self.tol else 0
                if sign * value < best:
                    best = sign * value
                    if held_out:
                        best_flat = [flat.copy() for flat in self._flat]
                if self.verbose:
                    print(f"Epoch {epoch + 1}, {'validation score' if held_out else 'loss'} {value:.8f}")
                if waited > self.n_iter_no_change:
                    break
            else:
                warnings.warn(
                    f"max_iter={self.max_iter} epochs were not enough for tol={self.tol}: give more, or a larger lr.",
                    ConvergenceWarning,
                    stacklevel=2,
                )
        except KeyboardInterrupt:
            warnings.warn("Training was interrupted: the model is as far as it came.", UserWarning, stacklevel=2)
        if best_flat is not None:
            for flat, kept in zip(self._flat, best_flat, strict=True):
                flat[:] = kept
        return self

    def _partial_fit(self, X: Any, y: Any, classes: Any, sample_weight: Any) -> Self:
        self._check()
        if self.early_stopping:
            raise InputError(
                "partial_fit sees a part of the data, so it cannot hold a part back: early_stopping=False."
            )
        first = not hasattr(self, "_optimizer")
        x, y, weights = self._data(X, y, sample_weight, reset=first)
        if first:
            self._random = check_random_state(self.random_state)
            self.loss_curve_, self.validation_scores_, self.n_iter_ = [], None, 0
        targets = self._targets(y, classes, first)
        if first:
            self._begin(x, targets, keep=False)
        self._epoch(x, targets, weights)
        self.n_iter_ += 1
        return self

    def _check(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise InputError(
                f"Invalid activation value: {self.activation!r}: it must be one of {', '.join(ACTIVATIONS)}."
            )
        for size in self._hidden():
            whole("hidden_layer_sizes", size, 1)
        if self.batch_size != "auto":
            whole("batch_size", self.batch_size, 1)
        whole("max_iter", self.max_iter, 1)
        whole("n_iter_no_change", self.n_iter_no_change, 1)
        if not 0 < self.validation_fraction < 1:
            raise InputError(
                f"Invalid validation_fraction value: {self.validation_fraction}: it must be between 0 and 1."
            )

    def _hidden(self) -> list[int]:
        sizes: Any = self.hidden_layer_sizes
        return list(sizes) if np.iterable(sizes) else [sizes]

    def _data(self, X: Any, y: Any, sample_weight: Any, reset: bool) -> tuple[Any, Array, Array | None]:
        """What is given, checked, and what each row counts."""
        checked: Any = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=(np.float64, np.float32),
            multi_output=isinstance(self, RegressorMixin),
            y_numeric=isinstance(self, RegressorMixin),
            reset=reset,
        )
        x, y = checked
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, x, dtype=x.dtype, ensure_non_negative=True)
        return x, y, self._weights(y, sample_weight)

    def _begin(self, x: Any, targets: Array, keep: bool) -> None:
        """An optimizer over the weights in one array and the intercepts in another: without decay on these."""
        sizes = list(pairwise([x.shape[1], *self._hidden(), targets.shape[1]]))
        if keep:
            if sizes != self._sizes:
                raise InputError("warm_start=True goes on with a network of the same layers: fit a new estimator.")
            flat = [part.copy() for part in self._flat]
        else:
            # Glorot and Bengio 2010, eq. 16; for the logistic function half of it, as in MLPClassifier.
            gain = 2.0 if self.activation == "logistic" else 6.0
            bounds = [math.sqrt(gain / (a + b)) for a, b in sizes]
            drawn = [
                (self._random.uniform(-r, r, a * b), self._random.uniform(-r, r, b))
                for r, (a, b) in zip(bounds, sizes, strict=True)
            ]
            flat = [np.concatenate(part).astype(x.dtype) for part in zip(*drawn, strict=True)]
        options = dict(self.optimizer_options or {})
        if self.lr is not None:
            options["lr"] = self.lr
        decay = {} if self.weight_decay is None else {"weight_decay": self.weight_decay}
        groups = [{"params": flat[0], **decay}, {"params": flat[1], "weight_decay": 0.0}]
        self._optimizer = optimizer(self.optimizer)(groups, clip_grad_norm=self.clip_grad_norm, **options)
        self._sizes, self._grads = sizes, [np.empty_like(part) for part in flat]

    @property
    def _flat(self) -> list[Array]:
        return [group["params"][0] for group in self._optimizer.param_groups]

    def _layers(self, flat: Sequence[Array]) -> list[tuple[Array, Array]]:
        """Weights and intercepts of each layer: views."""
        layers: list[tuple[Array, Array]] = []
        at, b_at = 0, 0
        for a, b in self._sizes:
            layers.append((flat[0][at : at + a * b].reshape(a, b), flat[1][b_at : b_at + b]))
            at, b_at = at + a * b, b_at + b
        return layers

    @property
    def coefs_(self) -> list[Array]:
        """The weights of each layer, [inputs, outputs]."""
        return [weight for weight, _ in self._layers(self._flat)]

    @property
    def intercepts_(self) -> list[Array]:
        """The intercepts of each layer."""
        return [bias for _, bias in self._layers(self._flat)]

    def _epoch(self, X: Any, targets: Array, weights: Array | None) -> None:
        rows = X.shape[0]
        size = min(200 if self.batch_size == "auto" else int(self.batch_size), rows)
        order = self._random.permutation(rows) if self.shuffle else None
        layers, grads = self._layers(self._flat), self._layers(self._grads)
        mean = 1.0 if weights is None else float(weights.mean())
        total = 0.0
        # A run that diverges overflows on its way; what comes of it is noticed below.
        with np.errstate(over="ignore", invalid="ignore"):
            for at in range(0, rows, size):
                batch = slice(at, at + size) if order is None else order[at : at + size]
                x, y = X[batch], targets[batch]
                w = None if weights is None else weights[batch] / mean
                total += self._backward(layers, grads, x, y, w)
                self._optimizer.step(self._grads)
        loss = total / rows
        if not (math.isfinite(loss) and all(np.isfinite(part).all() for part in self._flat)):
            lr = self._optimizer.param_groups[0]["lr"]
            raise InputError(f"The training diverged with lr={lr}: give a smaller one, and features of like scale.")
        self.loss_curve_.append(loss)

    def _forward(self, layers: Sequence[tuple[Array, Array]], x: Any) -> list[Any]:
        """The input, and what comes out of each layer."""
        values = [x]
        for k, (weight, bias) in enumerate(layers):
            z = values[-1] @ weight
            z += bias
            if k < len(layers) - 1:
                if self.activation == "relu":
                    np.maximum(z, 0, out=z)
                elif self.activation == "tanh":
                    np.tanh(z, out=z)
                elif self.activation == "logistic":
                    z *= 0.5
                    np.tanh(z, out=z)
                    z += 1
                    z *= 0.5
            values.append(z)
        return values

    def _backward(
        self,
        layers: Sequence[tuple[Array, Array]],
        grads: Sequence[tuple[Array, Array]],
        x: Any,
        y: Array,
        w: Array | None,
    ) -> float:
        """Gradients of the mean loss over the rows, into ``grads``; the sum of the losses."""
        values = self._forward(layers, x)
        delta = values[-1]
        losses = self._errors(delta, y)
        if w is not None:
            losses *= w
            delta *= w[:, None]
        delta /= len(y)
        for k in reversed(range(len(layers))):
            before = values[k]
            grads[k][0][:] = before.T @ delta
            np.add.reduce(delta, axis=0, out=grads[k][1])
            if k:
                delta = delta @ layers[k][0].T
                if self.activation == "relu":
                    delta *= before > 0
                elif self.activation == "tanh":
                    delta *= 1 - before * before
                elif self.activation == "logistic":
                    delta *= before * (1 - before)
        return float(losses.sum())

    def _validate(self, x: Any, y: Array, weights: Array | None) -> float:
        return float(self._score(y, self._said(self._forward(self._layers(self._flat), x)[-1]), weights))

    def _outputs(self, X: Any) -> Array:
        check_is_fitted(self, "n_iter_")
        x = validate_data(self, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False)
        return self._forward(self._layers(self._flat), x)[-1]

    def predict(self, X: Any) -> Array:
        """What the model says of each row: the most probable label; a number, or one for each output."""
        out = self._outputs(X)
        return self._said(out)


class AdamasClassifier(ClassifierMixin, _Network):
    """A classifier, linear or with hidden layers, by softmax and cross-entropy.

    >>> from sklearn.datasets import load_iris
    >>> x, y = load_iris(return_X_y=True)
    >>> model = AdamasClassifier((), optimizer="nadam", lr=0.05, tol=1e-3, random_state=0).fit(x, y)
    >>> model.score(x, y) > 0.95
    True

    Args:
        hidden_layer_sizes: units of each hidden layer; ``()`` is a linear model.
        activation: of the hidden layers: "relu", "tanh", "logistic" or "identity".
        optimizer: an update rule or its name, see `adamas.rules`.
        lr: the learning rate, a number or a schedule (of steps, not of epochs); None is the rule's own.
        optimizer_options: other hyperparameters: ``{"betas": (0.9, 0.99)}``.
        weight_decay: of the weights, the rule's own if None; the intercepts have none. Coupled or not as the rule has
            it, or as ``optimizer_options={"decoupled": True}`` says.
        clip_grad_norm: the largest norm that the gradient of a step may have.
        batch_size: rows of a step; "auto" is min(200, rows).
        max_iter: epochs at most.
        shuffle: whether the rows come in another order in each epoch.
        random_state: of the first weights, the order and the rows that are held back.
        tol, n_iter_no_change: training ends when more than so many epochs in a row have not improved on the best
            training loss by ``tol``; with ``early_stopping``, on the best validation score.
        early_stopping: whether to hold ``validation_fraction`` of the rows back, and to return to the weights that
            scored best on them.
        warm_start: whether a second ``fit`` goes on from the weights of the first (with a fresh optimizer).
        class_weight: what each class counts, a dict, "balanced" or None.
        verbose: whether to print a line for each epoch.

    Attributes:
        classes_: the labels.
        coefs_, intercepts_: of each layer.
        loss_curve_: the mean loss of each epoch, without the decay.
        validation_scores_: of each epoch, with ``early_stopping``.
        n_iter_: epochs.
    """

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        *,
        activation: str = "relu",
        optimizer: str | Rule = "adam",
        lr: float | Schedule | None = None,
        optimizer_options: Mapping[str, Any] | None = None,
        weight_decay: float | None = None,
        clip_grad_norm: float | None = None,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        class_weight: Any = None,
        verbose: bool = False,
    ) -> None:
        given = {name: value for name, value in locals().items() if name not in ("self", "class_weight", "__class__")}
        super().__init__(**given)
        self.class_weight = class_weight

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """One epoch over these rows.

        Args:
            classes: all labels that there will be; at the first call, unless ``y`` has them all.
        """
        return self._partial_fit(X, y, classes, sample_weight)

    def _targets(self, y: Any, classes: Any, first: bool) -> Array:
        check_classification_targets(y)
        if first:
            self.classes_ = unique_labels(y) if classes is None else unique_labels(classes)
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise InputError(
                f"y has the label {unknown.tolist()[0]!r}, which is not among classes {self.classes_.tolist()}."
            )
        return np.searchsorted(self.classes_, y)[:, None] == np.arange(len(self.classes_))

    def _weights(self, y: Any, sample_weight: Any) -> Array | None:
        if self.class_weight is None:
            return sample_weight
        by_class = compute_sample_weight(self.class_weight, y)
        return by_class if sample_weight is None else by_class * sample_weight

    def _said(self, out: Array) -> Array:
        return self.classes_[out.argmax(axis=1)]

    def _score(self, y: Array, said: Array, weights: Array | None) -> float:
        return accuracy_score(y, said, sample_weight=weights)

    def _strata(self, y: Array) -> Array | None:
        return y

    def _errors(self, out: Array, y: Array) -> Array:
        out -= out.max(axis=1, keepdims=True)
        losses = -out[y]
        np.exp(out, out=out)
        sums = out.sum(axis=1, keepdims=True)
        losses += np.log(sums[:, 0])
        out /= sums
        out -= y
        return losses

    def decision_function(self, X: Any) -> Array:
        """[rows, classes]: the outputs; [rows] for two classes: by how much the second is larger."""
        out = self._outputs(X)
        return out[:, 1] - out[:, 0] if out.shape[1] == 2 else out

    def predict_proba(self, X: Any) -> Array:
        """[rows, classes]: the probability of each class."""
        out = self._outputs(X)
        out -= out.max(axis=1, keepdims=True)
        np.exp(out, out=out)
        return out / out.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X: Any) -> Array:
        """[rows, classes]: its logarithm."""
        out = self._outputs(X)
        out -= out.max(axis=1, keepdims=True)
        return out - np.log(np.exp(out).sum(axis=1, keepdims=True))


class AdamasRegressor(RegressorMixin, _Network):
    """A regressor of one or several outputs, linear or with hidden layers, by half the squared error.

    Arguments and attributes are those of `AdamasClassifier`, but for ``class_weight`` and ``classes_``.
    """

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One epoch over these rows."""
        return self._partial_fit(X, y, None, sample_weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _targets(self, y: Any, classes: Any, first: bool) -> Array:
        if first:
            self._one = y.ndim == 1
        return y.reshape(len(y), -1)

    def _said(self, out: Array) -> Array:
        return out[:, 0] if self._one else out

    def _score(self, y: Array, said: Array, weights: Array | None) -> float:
        return r2_score(y, said, sample_weight=weights)

    def _strata(self, y: Array) -> Array | None:
        return None

    def _errors(self, out: Array, y: Array) -> Array:
        out -= y
        return np.einsum("ij,ij->i", out, out) / 2
