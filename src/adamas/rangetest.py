"""The learning-rate range test: what every front shares.

Two phases. The *sweep* trains on one mini-batch after another while η grows geometrically (Smith 2015, "Cyclical
learning rates for training neural networks", section 3.3) and ends where the loss diverges. Where the loss falls and
rises in it depends on the optimizer's memory, on how fast η grows and on the order of the mini-batches, so it says to a
factor of ten or so which η is good. The *trials* find out the rest: short trainings at constant η, each from the same
start, on the same mini-batches, with the same dropout.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from adamas.errors import InputError, InputTypeError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

START, END, NUM_ITER = 1e-7, 10.0, 100
"""The sweep's range of η and its mini-batches, as in fastai."""
BETA = 0.98
"""Decay of the mean that smooths the loss, as in fastai."""
DIVERGED = 4.0
"""The sweep ends when the smoothed loss is this many times its best, as in fastai."""
LEAST = 30
"""Fewer mini-batches make no curve."""
QUICK = 0.8
"""Decay of the mean that shows where the loss begins to fall."""
TRIAL = 300
"""Steps of the last trials; the first ones take `SHORT` of them."""
SHORT = 0.2
LAST = 3
"""How many are tried at full length."""
SURE = 2.0
"""Standard errors by which the best trial's loss must lie below that of the beginning."""

NAMES = ("valley", "steepest", "minimum", "slide")


@dataclass(frozen=True)
class Trial:
    """A short training at constant η.

    Args:
        lr: η.
        losses: of each mini-batch, before the step on it; they end where one was not finite.
        steps: how many there were to be.
    """

    lr: float
    losses: tuple[float, ...]
    steps: int

    @property
    def loss(self) -> float:
        """Mean over the last third; ∞ where it did not get to the end."""
        if len(self.losses) < self.steps:
            return math.inf
        mean = float(np.mean(self.end))
        return mean if math.isfinite(mean) else math.inf

    @property
    def end(self) -> tuple[float, ...]:
        """The losses of the last third."""
        return self.losses[-math.ceil(self.steps / 3) :]


@dataclass(frozen=True)
class RangeTest:
    """What a range test found.

    Args:
        lrs: η of each mini-batch of the sweep.
        losses: loss on it, before the step of that η.
        smoothed: their exponential mean, corrected for its beginning at 0.
        trials: in the order in which they were made.
        num_iter: how many mini-batches the sweep was to have.
        ended: why the sweep ended, in words.
        suggestion: the η to train at; None where there is none.
        confident: whether to rely on it.
        reason: why it was chosen, or why there is none to rely on; a sentence.
        ratios: η of each parameter group over that of the largest, which is the one that all numbers here mean.
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    trials: tuple[Trial, ...]
    num_iter: int
    ended: str
    suggestion: float | None
    confident: bool
    reason: str
    ratios: tuple[float, ...] = (1.0,)

    @cached_property
    def suggestions(self) -> Mapping[str, float | None]:
        """What fastai's four rules make of the sweep; None where it is too short for one."""
        return classical(self.lrs, self.smoothed, self.num_iter // 10)

    @property
    def group_lrs(self) -> tuple[float, ...]:
        """The suggestion for each parameter group, in their order; empty where there is none."""
        return () if self.suggestion is None else tuple(self.suggestion * ratio for ratio in self.ratios)

    @property
    def steps(self) -> int:
        """Mini-batches trained on in all."""
        return len(self.losses) + sum(len(trial.losses) for trial in self.trials)

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        if self.suggestion is None:
            return f"No confident suggestion: {self.reason}"
        if not self.confident:
            return f"No confident suggestion (at best η = {self.suggestion:g}): {self.reason}"
        return f"Suggested learning rate: {self.suggestion:g}. {self.reason}"

    def __repr__(self) -> str:
        others = ", ".join(f"{name} {_short(lr)}" for name, lr in self.suggestions.items())
        return f"<RangeTest: {self.sentence} {self.steps} mini-batches; {others}>"

    def _repr_html_(self) -> str:
        from base64 import b64encode
        from html import escape
        from io import BytesIO

        rows = {"suggestion": self.suggestion, **self.suggestions}
        cells = "".join(f"<tr><td>{name}</td><td>{_short(lr)}</td></tr>" for name, lr in rows.items())
        html = f"<p>{escape(self.sentence)}</p><table>{cells}</table>"
        try:
            axes = self.plot()
        except ModuleNotFoundError:  # no picture without matplotlib
            return html
        png = BytesIO()
        figure: Any = axes.figure
        figure.savefig(png, format="png")
        return f'{html}<img alt="loss against η" src="data:image/png;base64,{b64encode(png.getvalue()).decode()}">'

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the loss against η: the sweep, the trials and what is suggested.

        Args:
            ax: axes to draw on; else those of a new figure (``result.plot().figure.savefig("lr.png")``).

        Returns:
            The axes.
        """
        from adamas.rangetest_picture import draw

        return draw(self, ax)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "suggestion": self.suggestion,
            "confident": self.confident,
            "reason": self.reason,
            "suggestions": dict(self.suggestions),
            "group_lrs": list(self.group_lrs),
            "steps": self.steps,
            "trials": [
                {"lr": t.lr, "steps": t.steps, "loss": t.loss if math.isfinite(t.loss) else None} for t in self.trials
            ],
            "sweep": {
                "ended": self.ended,
                "lrs": list(self.lrs),
                "losses": list(self.losses),
                "smoothed": list(self.smoothed),
            },
        }


def _short(lr: float | None) -> str:
    return "–" if lr is None else f"{lr:.2g}"


# -- fastai's rules --------------------------------------------------------------------------------------------------


def classical(lrs: Sequence[float], smoothed: Sequence[float], skip: int) -> dict[str, float | None]:
    """The four suggestions that fastai reads off a sweep.

    - valley: the longest run of points, not necessarily neighbours, whose loss falls from each to the next; it ends at
      point b and has L points; the suggestion is point b − L + ⌊L/3⌋ + ⌊L/6⌋;
    - steepest: where the loss falls most over log η from one point to the next;
    - minimum: a tenth of the η at which the loss is lowest;
    - slide: a window of 15 moves left from the end as long as the slopes of the loss at its two ends differ by more
      than 0.005; the suggestion is where its left end was last.

    Args:
        lrs: η, growing.
        smoothed: the loss at each.
        skip: points left out at the beginning; at the end it is five.

    Returns:
        None for those that need more points.

    Source: fastai 2.7, callback/schedule.py.
    """
    lr, loss = np.asarray(lrs)[skip:-5], np.asarray(smoothed)[skip:-5]
    if len(lr) < 2:
        return dict.fromkeys(NAMES)
    return {
        "valley": float(lr[_valley(loss)]),
        "steepest": float(lr[np.argmin(np.diff(loss) / np.diff(np.log(lr)))]),
        "minimum": float(lr[loss.argmin()]) / 10,
        "slide": _slide(lr, loss),
    }


def _valley(loss: Any) -> int:
    """The point in the longest falling run."""
    lengths = np.ones(len(loss), int)  # of the longest run that ends at each point
    for i in range(1, len(loss)):
        higher = lengths[:i][loss[:i] > loss[i]]
        lengths[i] = 1 + (higher.max() if len(higher) else 0)
    end = int(lengths.argmax())
    length = int(lengths[end])
    return max(0, end - length + length // 3 + length // 6)


def _slide(lr: Any, loss: Any, window: int = 15, threshold: float = 0.005) -> float | None:
    if len(lr) <= window:
        return None
    slope = np.gradient(loss)
    left = len(lr) - 1 - window
    found = left
    while left >= 0 and abs(slope[left + window] - slope[left]) > threshold:
        found = left
        left -= 1
    return float(lr[found])


# -- the test --------------------------------------------------------------------------------------------------------


def check(start: float, end: float, num_iter: int, trial: int) -> None:
    """Refuse what no range test can be made of.

    Raises:
        InputError: naming the value and what is allowed.
    """
    for name, value in (("start", start), ("end", end)):
        if isinstance(value, bool) or not isinstance(value, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputTypeError(f"{name} is {value!r}: it must be a learning rate, a finite number above 0.")
        if not 0 < value < math.inf:
            raise InputError(f"{name} is {value:g}: it must be a learning rate, a finite number above 0.")
    if not end >= 10 * start:
        raise InputError(f"start is {start:g} and end {end:g}: the end must be at least 10 times the start.")
    for name, value, least in (("num_iter", num_iter, LEAST), ("trial", trial, 10)):
        if isinstance(value, bool) or not isinstance(value, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputTypeError(f"{name} is {value!r}: it must be a whole number of mini-batches, {least} or more.")
        if value < least and not (name == "trial" and value == 0):
            also = ", or 0 for none" if name == "trial" else ""
            raise InputError(f"{name} is {value}: it must be {least} mini-batches or more{also}.")


def range_test(
    step: Callable[[float], float],
    rewind: Callable[[], None],
    *,
    start: float = START,
    end: float = END,
    num_iter: int = NUM_ITER,
    trial: int = TRIAL,
    ratios: Sequence[float] = (1.0,),
    tell: Callable[[str], None] = lambda text: None,
) -> RangeTest:
    """Find a learning rate, whatever trains.

    Every round number (1 or 3 of a decade) between where the sweep's loss begins to fall and where it diverged is tried
    for some steps, and further ones as long as the outermost is the best. The three best are tried at full length, and
    the lowest loss wins. All trials begin where the sweep began. docs/find-lr.md says how good that is.

    Args:
        step: trains on the next mini-batch at the learning rate given; returns the loss from before that. If the loss
            is not finite it may leave out the training.
        rewind: brings everything back to the start: weights, states, random generators, the first mini-batch.
        start, end: the range of η.
        num_iter: mini-batches of the sweep, 30 or more.
        trial: steps of a trial at full length, 10 or more; 0 for none. The longer, the surer.
        ratios: see `RangeTest`.
        tell: is told in a line how it goes.

    Raises:
        InputError: for an argument that cannot be; nothing has been trained.

    >>> theta = [1.0]
    >>> def step(lr):
    ...     before = theta[0]
    ...     theta[0] -= lr * 2 * before
    ...     return before**2
    >>> def rewind():
    ...     theta[0] = 1.0
    >>> range_test(step, rewind).suggestion
    0.3
    """
    check(start, end, num_iter, trial)
    return _Test(step, rewind, start, end, num_iter, trial, tuple(ratios), tell).run()


class _Test:
    def __init__(
        self,
        step: Callable[[float], float],
        rewind: Callable[[], None],
        start: float,
        end: float,
        num_iter: int,
        trial: int,
        ratios: tuple[float, ...],
        tell: Callable[[str], None],
    ) -> None:
        self.step, self.rewind, self.tell = step, rewind, tell
        self.start, self.end, self.num_iter, self.trial, self.ratios = start, end, num_iter, trial, ratios
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self.trials: list[Trial] = []
        self.ended = ""
        self.begun = max(5, num_iter // 10)  # mini-batches at the beginning, whose η hardly trains

    def run(self) -> RangeTest:
        self.sweep()
        self.tell(f"Sweep: {self.ended}.")
        if not self.losses:
            reason = "the loss of the first mini-batch is not finite, before any step: look at the data and the model."
            return self.result(None, False, reason)
        lowest = self.lrs[int(np.argmin(self.smoothed))]
        if not self.trial:
            return self.result(lowest / 10, False, "nothing was tried; this is a tenth of where the loss was lowest.")
        return self.result(*self.verdict(self.scan()))

    def result(self, suggestion: float | None, confident: bool, reason: str) -> RangeTest:
        return RangeTest(
            tuple(self.lrs),
            tuple(self.losses),
            tuple(self.smoothed),
            tuple(self.trials),
            self.num_iter,
            self.ended,
            suggestion,
            confident,
            reason,
            self.ratios,
        )

    def sweep(self) -> None:
        """Let η grow until the loss diverges."""
        self.rewind()
        growth = (self.end / self.start) ** (1 / (self.num_iter - 1))
        mean, best = 0.0, math.inf
        for i in range(self.num_iter):
            lr = self.start * growth**i
            loss = self.step(lr)
            if not math.isfinite(loss):
                self.ended = f"the loss was {loss} on mini-batch {i + 1}, at η = {lr:.2g}"
                return
            mean = BETA * mean + (1 - BETA) * loss
            smoothed = mean / -math.expm1((i + 1) * math.log(BETA))
            self.lrs.append(lr)
            self.losses.append(loss)
            self.smoothed.append(smoothed)
            best = min(best, smoothed)
            # Four times the best; where a loss may be negative, as far above the best as three times the fall so far.
            scale = best if best > 0 else self.smoothed[0] - best
            if smoothed - best > (DIVERGED - 1) * scale:
                self.ended = f"the loss diverged at η = {lr:.2g}, on mini-batch {i + 1}"
                return
        self.ended = f"the loss did not diverge up to η = {self.end:g}"

    def train(self, lr: float, steps: int) -> Trial:
        """A trial."""
        self.rewind()
        losses: list[float] = []
        while len(losses) < steps and math.isfinite(loss := self.step(lr)):
            losses.append(loss)
        trial = Trial(lr, tuple(losses), steps)
        self.trials.append(trial)
        outcome = f"loss {trial.loss:.4g}" if math.isfinite(trial.loss) else f"diverged on mini-batch {len(losses) + 1}"
        self.tell(f"η = {lr:g}, {steps} steps: {outcome}.")
        return trial

    def fall(self) -> float:
        """The η at which the sweep's loss has begun to fall, by a quick mean; else the first."""
        begun = self.losses[: self.begun]
        level = float(np.mean(begun))
        level -= max(float(np.std(begun)), 0.01 * abs(level))
        mean = 0.0
        for i, (lr, loss) in enumerate(zip(self.lrs, self.losses, strict=True)):
            mean = QUICK * mean + (1 - QUICK) * loss
            if i >= self.begun and mean / (1 - QUICK ** (i + 1)) < level:
                return lr
        return self.lrs[0]

    def scan(self) -> Trial:
        """The winner of the last trials; of the first the one of the smallest η, where none comes to its end."""
        least, most = math.ceil(_place(self.start) - 1e-9), math.floor(_place(self.end) + 1e-9)
        low = min(max(math.ceil(_place(self.fall()) - 1e-9), least), most)
        high = max(min(math.floor(_place(self.lrs[-1]) + 1e-9), most), low)
        short = max(5, round(SHORT * self.trial))
        first = {k: self.train(_rate(k), short) for k in range(low, high + 1)}
        while True:  # there may be a better one outside as long as the outermost is the best
            best = min(sorted(first), key=lambda k: first[k].loss)  # all diverged: the smallest
            if best == min(first) and best > least:
                first[best - 1] = self.train(_rate(best - 1), short)
            elif best == max(first) and best < most:
                first[best + 1] = self.train(_rate(best + 1), short)
            else:
                break
        last: list[Trial] = []
        for k in sorted(first, key=lambda k: first[k].loss):
            if math.isinf(first[k].loss) or sum(math.isfinite(trial.loss) for trial in last) == LAST:
                break
            last.append(self.train(_rate(k), self.trial))
        if all(math.isinf(trial.loss) for trial in last):
            return min(first.values(), key=lambda trial: trial.lr)
        return min(last, key=lambda trial: trial.loss)

    def verdict(self, best: Trial) -> tuple[float | None, bool, str]:
        """Suggestion, whether it is to be relied on, and the reason."""
        if math.isinf(best.loss):
            return (
                None,
                False,
                f"the loss diverged at every η tried, down to {best.lr:g}: lower the start of the range.",
            )
        begun, last = self.losses[: self.begun], best.end
        level = float(np.mean(begun))
        error = math.sqrt(float(np.var(begun)) / len(begun) + float(np.var(last)) / len(last))
        if not best.loss < level - SURE * error:
            reason = (
                f"the loss of the best η tried, {best.lr:g}, is {best.loss:.4g} after {best.steps} steps, and was "
                f"{level:.4g} ± {error:.2g} at the beginning: it fell by no more than its noise."
            )
            return None, False, reason
        place = round(_place(best.lr))
        for beyond, advice in ((place - 1, "start lower"), (place + 1, "end higher")):
            if not self.start * (1 - 1e-9) <= _rate(beyond) <= self.end * (1 + 1e-9):
                return best.lr, False, f"the loss is lowest at the edge of the range: let it {advice}, and test again."
        reason = (
            f"Of {len({trial.lr for trial in self.trials})} values tried from the same start, it did best over "
            f"{best.steps} steps: loss {best.loss:.4g}, where it began with {level:.4g}."
        )
        return best.lr, True, reason


def _place(lr: float) -> float:
    """Where η stands among the round numbers; whole for one of them."""
    decade, rest = divmod(math.log10(lr), 1)
    half = math.log10(3)
    return 2 * decade + (rest / half if rest < half else 1 + (rest - half) / (1 - half))


def _rate(k: int) -> float:
    """The k-th round number: 1 at 0, 3 at 1, 10 at 2."""
    return float(f"{'13'[k % 2]}e{k // 2}")


# -- what fronts share -----------------------------------------------------------------------------------------------


class Rates:
    """The learning rates of an optimizer's groups, which keep their ratios.

    Raises:
        InputError: where none is above 0.
    """

    def __init__(self, groups: Sequence[dict[str, Any]]) -> None:
        self.groups = groups
        before = [float(group["lr"]) for group in groups]
        largest = max(before, default=0.0)
        if not 0 < largest < math.inf:
            raise InputError(
                f"The learning rates of the optimizer's groups are {before}: at least one must be above 0, since a "
                "range test keeps their ratios."
            )
        self.ratios = tuple(lr / largest for lr in before)

    def set(self, lr: float) -> None:
        """Give the group with the largest learning rate this one, the others theirs."""
        for group, ratio in zip(self.groups, self.ratios, strict=True):
            if hasattr(group["lr"], "fill_"):
                group["lr"].fill_(lr * ratio)
            else:
                group["lr"] = lr * ratio


class Feed:
    """Mini-batches without end from something that can be iterated again and again.

    Args:
        loader: a DataLoader, a list of batches, anything with ``__iter__``.

    Raises:
        InputError: for what can be gone through only once.
    """

    def __init__(self, loader: Any) -> None:
        if hasattr(loader, "__next__"):
            raise InputError(
                f"The loader is a {type(loader).__name__}, which can be gone through only once: give what it was made "
                "from, or a list of mini-batches."
            )
        if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
            raise InputTypeError(
                f"The loader is a {type(loader).__name__}: give something that mini-batches come from."
            )
        self._loader = loader
        self._batches: Iterator[Any] | None = None

    def rewind(self) -> None:
        """Begin anew at the next mini-batch."""
        self._batches = None

    def next(self) -> Any:
        """The next mini-batch.

        Raises:
            InputError: where the loader has none at all.
        """
        if self._batches is not None:
            for batch in self._batches:
                return batch
        self._batches = iter(self._loader)
        for batch in self._batches:
            return batch
        raise InputError("The loader is empty: it must have at least one mini-batch.")
