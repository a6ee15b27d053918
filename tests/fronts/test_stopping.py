"""Early stopping: side by side with Lightning's, scikit-learn's, Hugging Face's and a restatement of Keras'."""

import io
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import adamas.numpy
from adamas import checkpoint
from adamas.errors import InputError
from adamas.stopping import EarlyStopping

NAN, INF = math.nan, math.inf
#: Few enough that ties and steps of just min_delta are common; in halves, so that sums are exact.
LEVELS = st.integers(-6, 6).map(lambda k: k / 2)
VALUES = st.lists(LEVELS, min_size=1, max_size=30)
ANY_VALUES = st.lists(st.one_of(LEVELS, LEVELS, st.sampled_from([NAN, INF, -INF])), min_size=1, max_size=30)
MODES = st.sampled_from(["min", "max"])
DELTAS = st.sampled_from([0.0, 0.5, 1.0])


def told(stopper: EarlyStopping, values: Any) -> int:
    """The check at which it stops; 0 where it does not."""
    for check, value in enumerate(values, 1):
        if stopper.update(value):
            assert stopper.stopped and stopper.checks == check and stopper.cause and stopper.reason.endswith(".")
            return check
        assert not stopper.stopped and (stopper.cause, stopper.reason) == ("", "")
    return 0


# -- others ----------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    values=ANY_VALUES,
    patience=st.integers(1, 5),
    min_delta=DELTAS,
    mode=MODES,
    check_finite=st.booleans(),
    threshold=st.one_of(st.none(), LEVELS),
)
def test_lightnings(values, patience, min_delta, mode, check_finite, threshold) -> None:
    """All that both have is the same, check for check."""
    torch = pytest.importorskip("torch")
    theirs_module = pytest.importorskip("lightning.pytorch.callbacks.early_stopping", reason="to compare with")
    theirs = theirs_module.EarlyStopping(
        "value", min_delta, patience, mode=mode, check_finite=check_finite, divergence_threshold=threshold
    )
    ours = EarlyStopping(
        patience, mode=mode, min_delta=min_delta, check_finite=check_finite, divergence_threshold=threshold
    )
    causes = {"NON_FINITE_METRIC": "nonfinite", "DIVERGENCE_THRESHOLD": "divergence", "PATIENCE_EXHAUSTED": "patience"}
    for value in values:
        stop, _ = theirs._evaluate_stopping_criteria(torch.tensor(value, dtype=torch.float64))
        assert ours.update(value) == stop
        assert ours.best == float(theirs.best_score)
        assert causes.get(theirs.stopping_reason.name, "") == ours.cause
        if stop:
            return
        assert ours.waited == theirs.wait_count


def keras(values, patience, min_delta, mode, start_from_epoch) -> tuple[int, int]:
    """Keras 3's EarlyStopping with restore_best_weights: the epochs, from 1, at which it stops and that it restores."""
    sign = 1 if mode == "min" else -1
    best, wait, kept = INF, 0, 0
    for epoch, value in enumerate(values):
        if epoch < start_from_epoch:
            continue
        kept = kept or epoch + 1  # the first weights that it sees, whatever they are worth
        wait += 1
        if sign * value + min_delta < best:
            best, wait, kept = sign * value, 0, epoch + 1
        elif wait >= patience and epoch > 0:
            return epoch + 1, kept
    return 0, kept


@settings(max_examples=300, deadline=None)
@given(values=ANY_VALUES, patience=st.integers(1, 5), min_delta=DELTAS, mode=MODES, warmup=st.integers(0, 4))
def test_keras(values, patience, min_delta, mode, warmup) -> None:
    """The same with check_finite=False, but for a first epoch that ends everything, and weights that are no better."""
    theta = np.zeros(1)
    ours = EarlyStopping(
        patience, mode=mode, min_delta=min_delta, warmup=warmup, check_finite=False, keep={"theta": theta}
    )
    stop = 0
    for check, value in enumerate(values, 1):
        theta[0] = check
        stop = check if ours.update(value) else 0
        if stop:
            break
    assume(not (stop == 1 and patience == 1))  # Keras never stops at the first epoch
    expected, restored = keras(values, patience, min_delta, mode, warmup)
    assert stop == expected
    if ours.best_check:
        assert ours.restore() == theta[0] == restored
    else:
        assert ours.restore() is None and restored in (0, warmup + 1)


def test_where_keras_differs() -> None:
    assert keras([NAN, NAN, NAN], 1, 0.0, "min", 0) == (2, 1)
    assert told(EarlyStopping(1, check_finite=False), [NAN, NAN, NAN]) == 1
    assert told(EarlyStopping(1), [1.0, NAN]) == 2 and keras([1.0, NAN, 0.5], 2, 0.0, "min", 0)[0] == 0


def sklearns(values, n_iter_no_change, tol, scores) -> int:
    """When scikit-learn's MLP stops: its own bookkeeping, on values instead of a training."""
    network = pytest.importorskip("sklearn.neural_network", reason="to compare with")
    fake: Any = SimpleNamespace(
        loss_curve_=[], best_loss_=INF, tol=tol, _no_improvement_count=0, verbose=False, validation_scores_=[]
    )
    fake.best_validation_score_, fake.coefs_, fake.intercepts_ = -INF, [], []
    for check, value in enumerate(values, 1):
        fake.loss_curve_.append(value)
        fake._score = lambda X, y, sample_weight=None, value=value: value
        network.MLPRegressor._update_no_improvement_count(fake, scores, None, None, None)
        if fake._no_improvement_count > n_iter_no_change:  # as its `fit` asks
            return check
    return 0


@settings(max_examples=200, deadline=None)
@given(values=st.lists(LEVELS, min_size=1, max_size=30, unique=True), n=st.integers(1, 5), scores=st.booleans())
def test_scikit_learns_with_one_check_more_and_no_tolerance(values, n, scores) -> None:
    assert told(EarlyStopping(n + 1, mode="max" if scores else "min"), values) == sklearns(values, n, 0.0, scores)


@settings(max_examples=200, deadline=None)
@given(best=LEVELS, values=st.lists(LEVELS, max_size=20), n=st.integers(1, 3), tol=DELTAS)
def test_scikit_learns_in_general_as_the_docs_tell(best, values, n, tol) -> None:
    """An improvement is one of tol or more, a tie where tol is 0; and any value that is better is the new best."""
    values = [best, *values]
    reference, count, expected = INF, 0, 0
    for check, value in enumerate(values, 1):
        count = 0 if value <= reference - tol else count + 1
        reference = min(reference, value)
        if count > n:
            expected = check
            break
    assert sklearns(values, n, tol, False) == expected


def test_where_scikit_learn_differs() -> None:
    ties, drift = [1.0] * 20, [1 - 0.01 * k for k in range(20)]
    assert sklearns(ties, 3, 0.0, False) == 0 and told(EarlyStopping(3), ties) == 4
    assert sklearns(drift, 3, 0.025, False) == 5  # measured against the last step of the drift
    assert told(EarlyStopping(4, min_delta=0.025), drift) == 0  # measured against the last best
    nans = [1.0, *[NAN] * 20]
    assert sklearns(nans, 3, 0.0, False) == 0 and told(EarlyStopping(3), nans) == 2


def hugging_faces(values, patience, threshold, mode) -> int:
    transformers = pytest.importorskip("transformers", reason="to compare with")
    callback = transformers.EarlyStoppingCallback(patience, threshold)
    arguments, state = SimpleNamespace(greater_is_better=mode == "max"), SimpleNamespace(best_metric=None)
    for check, value in enumerate(values, 1):
        callback.check_metric_value(arguments, state, None, value)
        if callback.early_stopping_patience_counter >= patience:
            return check
        better = state.best_metric is None or (
            value > state.best_metric if mode == "max" else value < state.best_metric
        )
        state.best_metric = value if better else state.best_metric  # the Trainer does, whatever the threshold
    return 0


@settings(max_examples=200, deadline=None)
@given(values=VALUES, patience=st.integers(1, 5), mode=MODES)
def test_hugging_faces_without_a_threshold(values, patience, mode) -> None:
    assert told(EarlyStopping(patience, mode=mode), values) == hugging_faces(values, patience, 0.0, mode)


def test_where_hugging_face_differs() -> None:
    drift = [1 - 0.01 * k for k in range(20)]
    assert hugging_faces(drift, 3, 0.025, "min") == 4 and told(EarlyStopping(3, min_delta=0.025), drift) == 0
    assert hugging_faces([NAN, 1.0, 0.5, 0.25], 3, 0.0, "min") == 4  # against NaN nothing is better


# -- what it says ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "values", "check", "cause", "reason"),
    [
        ({"patience": 2}, [3, 1, 1, 2], 4, "patience", "2 checks without an improvement on 1 of check 2."),
        ({"patience": 1}, [3, 4], 2, "patience", "One check without an improvement on 3 of check 1."),
        (
            {"patience": 3, "min_delta": 0.1, "relative": True},
            [100, 91, 90, 89],
            0,
            "",
            "",
        ),
        (
            {"patience": 2, "min_delta": 0.1, "relative": True},
            [-10, -10.5, -10.9],
            3,
            "patience",
            "2 checks without an improvement on -10 of check 1 by more than 0.1 of it.",
        ),
        (
            {"patience": 3, "min_delta": 0.1, "relative": True},
            [100, 91, 92, 90.0],
            4,
            "patience",
            "3 checks without an improvement on 100 of check 1 by more than 0.1 of it.",
        ),
        (
            {"patience": 2, "min_delta": 0.5, "mode": "max"},
            [-10, -9.5, -9.5],
            3,
            "patience",
            "2 checks without an improvement on -10 of check 1 by more than 0.5.",
        ),
        (
            {"patience": 2, "min_delta": 0.1, "relative": True, "mode": "max"},
            [-10, -9.0, -8.9, -8.5],
            0,
            "",
            "",
        ),
        (
            {"patience": 5},
            [3, 2, NAN],
            3,
            "nonfinite",
            "The value nan at check 3 is not finite; the best was 2 of check 2.",
        ),
        (
            {"patience": 5, "warmup": 9},
            [INF],
            1,
            "nonfinite",
            "The value inf at check 1 is not finite; there was no best.",
        ),
        (
            {"patience": 5, "divergence_threshold": 10, "warmup": 1},
            [11, 10, 10.5],
            3,
            "divergence",
            "The value 10.5 at check 3 is worse than the threshold of 10; the best was 10 of check 2.",
        ),
        (
            {"patience": 2, "warmup": 3},
            [1, 1, 1, 5, 5, 5],
            6,
            "patience",
            "2 checks without an improvement on 5 of check 4.",
        ),
        (
            {"patience": 5, "divergence_threshold": 0.1, "mode": "max"},
            [0.5, 0.1, 0.05],
            3,
            "divergence",
            "The value 0.05 at check 3 is worse than the threshold of 0.1; the best was 0.5 of check 1.",
        ),
        (
            {"patience": 2, "check_finite": False},
            [NAN, NAN],
            2,
            "patience",
            "2 checks without an improvement from the start.",
        ),
    ],
)
def test_a_stop_says_why(options: dict, values: list, check: int, cause: str, reason: str) -> None:
    stopper = EarlyStopping(**options)
    assert told(stopper, values) == check
    assert (stopper.cause, stopper.reason) == (cause, reason)


def test_a_stop_stays() -> None:
    stopper = EarlyStopping(1)
    told(stopper, [1.0, 2.0])
    before = stopper.state_dict()
    assert stopper.update(0.5) and stopper.state_dict() == before


def plain(value: Any) -> Any:
    """Equal if and only if the bits are; the order of keys aside."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value.tobytes() if isinstance(value, np.ndarray) else value


# -- what it keeps ---------------------------------------------------------------------------------------------------


def training(theta: np.ndarray, opt: Any, check: int) -> float:
    opt.step(2 * (theta - 3) + 0.1 * check)
    return float(np.abs(theta - 2.5).max())


@pytest.mark.parametrize("where", ["memory", "file"])
def test_the_best_is_back_bit_for_bit(where: str, tmp_path: Path) -> None:
    theta = np.zeros((3, 4), np.float32)
    opt = adamas.numpy.AdamW(theta, lr=0.3)
    counts = {"seen": 0, "order": [1, 2]}
    keep = {"theta": theta, "optimizer": opt, "counts": counts}
    stopper = EarlyStopping(4, keep=keep, folder=tmp_path / "best" if where == "file" else None)
    seen = {}
    for check in range(1, 50):
        value = training(theta, opt, check)
        counts["seen"] = check
        counts["order"].reverse()
        seen[check] = theta.copy(), plain(opt.state_dict()), dict(counts, order=list(counts["order"]))
        if stopper.update(value):
            break
    assert stopper.stopped and 1 < stopper.best_check == check - 4
    for _ in range(2):  # and once more
        theta[...] = 7
        assert stopper.restore() == stopper.best_check
        assert (theta.tobytes(), plain(opt.state_dict()), counts) == (
            seen[stopper.best_check][0].tobytes(),
            *seen[stopper.best_check][1:],
        )
        training(theta, opt, 0)  # what is restored is a copy


@settings(max_examples=60, deadline=None)
@given(values=ANY_VALUES, cut=st.integers(0, 30), check_finite=st.booleans(), relative=st.booleans())
def test_resumed_it_goes_on_as_if_never_stopped(values, cut, check_finite, relative) -> None:
    options = {"patience": 4, "min_delta": 0.25, "relative": relative, "warmup": 2, "check_finite": check_finite}
    theta, other = np.zeros(1), np.zeros(1)
    whole, begun = EarlyStopping(**options, keep={"theta": theta}), EarlyStopping(**options, keep={"theta": other})
    for check, value in enumerate(values):
        if check == cut:
            saved = begun.state_dict()
            other = np.zeros(1)
            begun = EarlyStopping(**options, keep={"theta": other})
            begun.load_state_dict(saved)
        theta[0] = other[0] = check
        assert whole.update(value) == begun.update(value)
        assert str(whole.state_dict()) == str(begun.state_dict())
    assert whole.restore() == begun.restore() and theta[0] == other[0]


@pytest.mark.parametrize("where", ["memory", "file"])
def test_a_run_that_is_killed_and_taken_up(where: str, tmp_path: Path) -> None:
    """Its own checkpoint is of an earlier check than the best that was kept last."""
    values = [5.0, 4.0, 4.5, 3.0, 2.0, 6.0, 6.0, 6.0]
    folder = tmp_path / "best" if where == "file" else None

    def make():
        theta = np.zeros(1)
        return theta, EarlyStopping(3, keep={"theta": theta}, folder=folder)

    theta, stopper = make()
    for check, value in enumerate(values[:5], 1):
        theta[0] = check
        stopper.update(value)
        if check == 3:
            checkpoint.save(tmp_path / "run", check, stopper=stopper, theta=theta)
    for changed in (False, True):
        theta, stopper = make()
        assert checkpoint.load(tmp_path / "run", stopper=stopper, theta=theta) == 3 == stopper.checks
        if changed:  # the run goes otherwise this time, and never gets better than check 2
            for _ in range(3):
                stopped = stopper.update(9.0)
            assert stopped and stopper.restore() == theta[0] == 2
            continue
        for check, value in enumerate(values[3:], 4):
            theta[0] = check
            stopper.update(value)
        assert stopper.stopped and stopper.restore() == theta[0] == 5


def test_the_files_of_the_last_three_dicts_stay(tmp_path: Path) -> None:
    theta = np.zeros(1)
    stopper = EarlyStopping(3, keep={"theta": theta}, folder=tmp_path)
    dicts = []
    for check in range(1, 9):
        theta[0] = check
        stopper.update(-check)
        if check % 2 == 0 and check < 8:
            dicts.append(stopper.state_dict())
    assert len(list(tmp_path.glob("*.safetensors"))) == 4, "those, and that of the best"
    for state, best in zip(dicts, (2, 4, 6), strict=True):
        again = EarlyStopping(3, keep={"theta": theta}, folder=tmp_path)
        again.load_state_dict(state)
        assert again.restore() == theta[0] == best
    assert stopper.restore() == theta[0] == 8


def test_what_is_restored_shares_nothing_with_what_is_kept() -> None:
    part = {"a": np.ones(2)}
    stopper = EarlyStopping(3, keep={"part": part})
    stopper.update(1.0)
    for _ in range(2):
        part.clear()
        stopper.restore()
        assert part["a"].tolist() == [1, 1]
        part["a"][:] = 7


def test_a_longer_patience_takes_back_a_stop_for_want_of_it() -> None:
    short = EarlyStopping(2)
    assert told(short, [1.0, 2.0, 2.0]) == 3
    longer = EarlyStopping(4)
    longer.load_state_dict(short.state_dict())
    assert (longer.stopped, longer.reason) == (False, "") and not longer.update(2.0) and longer.update(2.0)
    diverged = EarlyStopping(2)
    told(diverged, [NAN])
    longer.load_state_dict(diverged.state_dict())
    assert longer.stopped and longer.cause == "nonfinite"


def test_nothing_to_restore() -> None:
    theta = np.ones(1)
    stopper = EarlyStopping(2, keep={"theta": theta})
    assert stopper.restore() is None and theta[0] == 1
    stopper.update(NAN)
    assert stopper.restore() is None
    with pytest.raises(InputError, match="There is nothing to restore: say what is to be kept"):
        EarlyStopping(2).restore()


def test_what_was_kept_is_gone_or_does_not_fit(tmp_path: Path) -> None:
    theta, more = np.ones(2), {"a": np.ones(3)}
    kept = EarlyStopping(2, keep={"theta": theta, "more": more})
    kept.update(1.0)
    more["a"], theta[:] = np.ones(4), 5.0
    with pytest.raises(InputError, match=r"'more.a' is an array of shape \(4,\)"):
        kept.restore()
    assert (theta == 5).all()
    filed = EarlyStopping(2, keep={"theta": theta}, folder=tmp_path)
    filed.update(1.0)
    next(tmp_path.glob("*.safetensors")).unlink()
    with pytest.raises(InputError, match="with what was kept at check 1, is gone"):
        filed.restore()
    elsewhere = EarlyStopping(2, keep={"theta": theta})
    elsewhere.load_state_dict(filed.state_dict())
    with pytest.raises(InputError, match="What was kept at check 1 is not in memory"):
        elsewhere.restore()


def test_a_failed_save_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "best").write_text("not a folder")
    stopper = EarlyStopping(2, keep={"theta": np.ones(2)}, folder=tmp_path / "best")
    before = stopper.state_dict()
    with pytest.raises(OSError):
        stopper.update(1.0)
    assert stopper.state_dict() == before


# -- averages --------------------------------------------------------------------------------------------------------


def test_averages_are_measured_and_weights_kept() -> None:
    theta = np.zeros(4, np.float32)
    opt = adamas.numpy.SGD(theta, lr=0.45, ema_decay=0.7)
    stopper = EarlyStopping(3, keep={"theta": theta, "optimizer": opt})
    seen = {}
    for check in range(1, 60):
        opt.step(2 * (theta - 3))
        with opt.averaged():
            average, value = theta.copy(), float(np.abs(theta - 2.9).max())
            with pytest.raises(
                InputError, match=r"hold their averages: update after `with opt.averaged\(\)`, not inside"
            ):
                stopper.update(value)
        seen[check] = theta.copy(), average
        if stopper.update(value):
            break
    assert stopper.stopped
    with opt.averaged(), pytest.raises(InputError, match="hold their averages: restore after"):
        stopper.restore()
    best = stopper.restore()
    assert best == check - 3 and np.array_equal(theta, seen[best][0])
    with opt.averaged():
        assert np.array_equal(theta, seen[best][1])
    opt.step(2 * (theta - 3))  # and it goes on from there as it went on then
    assert np.array_equal(theta, seen[best + 1][0])
    with opt.averaged():
        assert np.array_equal(theta, seen[best + 1][1])


def test_of_a_torch_model() -> None:
    torch = pytest.importorskip("torch")
    import adamas.torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    opt = adamas.torch.AdamW(model.parameters(), lr=0.05, ema_decay=0.5)
    stopper = adamas.torch.EarlyStopping(2, mode="max", keep={"model": model, "optimizer": opt})
    x = torch.randn(8, 3)
    seen = {}

    def everything() -> str:
        with opt.averaged():
            averages = [p.detach().clone() for p in model.parameters()]
        return str([model.state_dict(), opt.state_dict(), averages])

    for check, value in enumerate([0.1, 0.3, 0.2, 0.25], 1):
        opt.zero_grad()
        model(x).square().mean().backward()
        opt.step()
        seen[check] = everything()
        assert stopper.update(torch.tensor(value)) == (check == 4)
    assert everything() != seen[2]
    file = io.BytesIO()
    torch.save(stopper.state_dict(), file)
    file.seek(0)
    again = adamas.torch.EarlyStopping(2, mode="max", keep={"model": model, "optimizer": opt})
    again.load_state_dict(torch.load(file, weights_only=True))
    held = list(model.parameters())
    assert again.restore() == 2 and everything() == seen[2]
    assert all(p is q for p, q in zip(held, model.parameters(), strict=True))


# -- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"patience": 0}, "Invalid patience value: 0: it must be a whole number, 1 or more."),
        ({"patience": 2.5}, "Invalid patience value: 2.5"),
        ({"patience": True}, "Invalid patience value: True"),
        ({"mode": "auto"}, "Invalid mode value: 'auto': it must be 'min' or 'max'."),
        ({"min_delta": -0.1}, "Invalid min_delta value: -0.1: it must be a finite number, 0 or more."),
        ({"min_delta": NAN}, "Invalid min_delta value: nan"),
        ({"min_delta": "1"}, "Invalid min_delta value: '1': it must be a number."),
        ({"relative": 1}, "Invalid relative value: 1: it must be True or False."),
        ({"warmup": -1}, "Invalid warmup value: -1: it must be a whole number, 0 or more."),
        ({"check_finite": None}, "Invalid check_finite value: None"),
        ({"divergence_threshold": NAN}, "Invalid divergence_threshold value: nan"),
        ({"divergence_threshold": "big"}, "Invalid divergence_threshold value: 'big'"),
        ({"keep": np.ones(2)}, "it must be a dict of parts, as keep={'model': model}."),
        ({"keep": {}}, "Invalid keep value: {}"),
        ({"keep": {"rate": 0.5}}, "'rate' is a float: a part is something with state_dict() and load_state_dict()"),
        ({"keep": {"random": {}}}, "A part cannot be called 'random': give it another name."),
        ({"folder": "best"}, "There is nothing to keep in best: say what by keep={'model': model}."),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        EarlyStopping(**{"patience": 3, **options})


@pytest.mark.parametrize("value", ["0.5", None, True, 1j, np.ones(2), [1.0]])
def test_values_that_are_no_number_are_refused(value: Any) -> None:
    stopper = EarlyStopping(3)
    before = stopper.state_dict()
    with pytest.raises(InputError, match=r"The value (is|has shape) .*: it must be (a|one) number"):
        stopper.update(value)
    assert stopper.state_dict() == before


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.ones(1), np.array(1.0)])
def test_values_that_are_numbers(value: Any) -> None:
    stopper = EarlyStopping(3)
    stopper.update(value)
    assert stopper.best == 1 and type(stopper.best) is float and stopper.improved


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"mode": "max"}, "The state dict is of mode 'max', and this is of mode 'min'."),
        ({"checks": -1}, "Invalid checks value: -1"),
        ({"waited": 1.5}, "Invalid waited value: 1.5"),
        ({"best": None}, "Invalid best value: None"),
        (
            {"cause": "boredom"},
            "Invalid cause value: 'boredom': it must be '' or one of patience, divergence, nonfinite.",
        ),
        ({"kept": {"phi": 1}}, "The state dict has kept phi, and keep names theta: give the same parts."),
        ("lacks", "The state dict of early stopping lacks 'mode'"),
        ({"files": ["../elsewhere"]}, "Invalid files value: ['../elsewhere']: it must be a list of names as step-0"),
        ("list", "The state dict of early stopping is a list: give a dict."),
    ],
)
def test_a_dict_that_cannot_be_is_refused_whole(change: Any, sentence: str) -> None:
    stopper = EarlyStopping(3, keep={"theta": np.ones(1)})
    stopper.update(2.0)
    before = str(stopper.state_dict())
    bad: Any = {"lacks": {}, "list": []}[change] if isinstance(change, str) else {**stopper.state_dict(), **change}
    with pytest.raises(InputError, match=re.escape(sentence)):
        stopper.load_state_dict({**bad, "waited": 2, **change} if isinstance(change, dict) else bad)
    assert str(stopper.state_dict()) == before
