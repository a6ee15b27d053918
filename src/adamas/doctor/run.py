"""What is known of a run: a bounded history of its steps, its settings, and facts that were found out on the way."""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: What a step can say of itself; NaN where it does not. ``raw_norm`` is ‖g‖ before any clipping.
COLUMNS = (
    *("step", "loss", "lr", "grad_norm", "update_norm", "param_norm"),
    *("raw_norm", "clip", "skipped", "scale", "seconds"),
)

#: Likewise of a validation.
CHECKS = ("step", "val_loss", "val_accuracy", "train_loss")

#: What a sample says of each tensor.
TENSORS = ("grad_norm", "update_norm", "param_norm", "zero_share", "eps_share")

#: Steps that are kept. When there are more, every second one of the older half goes.
KEPT = 4096

#: Steps that wait to be taken in together, at most: to take in one takes as long as to take in 20. And seconds.
HELD, SECONDS = 64, 1.0

#: Samples that are kept, the last ones.
SAMPLES = 12

_COLUMN = {name: i for i, name in enumerate(COLUMNS)}


class Table:
    """Rows of numbers, of which no more than a bound are kept, the younger ones more densely.

    >>> table = Table(2, 4)
    >>> for step in range(6):
    ...     table.add(np.array([[step, step**2]]))
    >>> table.rows[:, 0].tolist()
    [0.0, 3.0, 4.0, 5.0]
    """

    def __init__(self, columns: int, kept: int = KEPT) -> None:
        self._held = np.full((columns, kept + 1), math.nan).T  # so that a column lies in one piece
        self._kept, self._size = kept, 0

    @property
    def rows(self) -> Floats:
        """All that are kept, oldest first."""
        return self._held[: self._size]

    def add(self, rows: Floats) -> None:
        """Rows more."""
        while len(rows):
            part = rows[: self._kept + 1 - self._size]
            rows = rows[len(part) :]
            self._held[self._size : self._size + len(part)] = part
            self._size += len(part)
            if self._size > self._kept:
                half = self._kept // 2
                left = np.concatenate([self._held[0:half:2], self._held[half : self._size]])
                self._size = len(left)
                self._held[: self._size] = left


@dataclass(slots=True)
class Run:
    """All that is known of a run.

    Attributes:
        setup: what does not change: ``steps`` planned, ``rule``, ``names``, ``sizes`` and ``kinds`` of the tensors, …
        settings: hyperparameters as they are now.
        facts: name -> value, as last found.
        samples: (step, measure -> a number for each tensor).
        count: observed steps, whether kept or not.
        step: of the last observation.
        broken: (step, what) of the first losses and gradients that were not finite, of the steps that were taken in.
        skips: steps that were left out, likewise.
        reads: makes the numbers of a step, as `COLUMNS` has them, of what was added; None: it was them.
        taken: is given the numbers of steps, before they go into the history. If it raises, they wait on.
        waiting: steps that wait to be taken in.
        due: when they have waited long enough, on the clock of `time.monotonic`.
    """

    setup: dict[str, Any] = field(default_factory=dict[str, Any])
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    samples: deque[tuple[int, dict[str, Floats]]] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    validations: Table = field(default_factory=lambda: Table(len(CHECKS), 1024))
    count: int = 0
    step: int = 0
    broken: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    skips: int = 0
    reads: Callable[..., Sequence[float]] | None = None
    taken: Callable[[Floats], None] | None = None
    waiting: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    due: float = -math.inf
    _history: Table = field(default_factory=lambda: Table(len(COLUMNS)))

    @property
    def history(self) -> Table:
        """The steps, as `COLUMNS` has them."""
        self.take_in()
        return self._history

    def take_in(self) -> None:
        """Have no step wait any longer."""
        if not self.waiting:
            return
        rows = np.array(self.waiting if self.reads is None else [self.reads(*told) for told in self.waiting])
        if self.taken is not None:
            self.taken(rows)
        self.waiting, self.due = [], time.monotonic() + SECONDS
        self._history.add(rows)
        self.skips += int((rows[:, 8] == 1).sum())
        lost = ~np.isfinite(rows[:, 1])
        broken = lost | (rows[:, 3] == math.inf) | (rows[:, 6] == math.inf)
        for k in np.flatnonzero(broken)[: 64 - len(self.broken)]:
            self.broken.append((int(rows[k, 0]), "loss" if lost[k] else "gradient"))

    def add(self, *told: Any) -> None:
        """A step, by its number, its loss, and what else `reads` makes its numbers of.

        It waits, to be taken in together with others: whoever asks for the history has it taken in.
        """
        self.waiting.append(told)
        self.count += 1
        self.step = int(told[0])
        if len(self.waiting) >= HELD or math.inf in told or not math.isfinite(told[1]):
            self.take_in()

    def validated(self, row: Sequence[float]) -> None:
        """A validation, as `CHECKS` has it."""
        self.validations.add(np.array([row]))
        self.step = max(self.step, int(row[0]))

    def sample(self, step: int, measures: Mapping[str, Sequence[float] | Floats]) -> None:
        """What a step said of each tensor."""
        self.samples.append((step, {name: np.asarray(values, np.float64) for name, values in measures.items()}))


def median(values: Floats) -> float:
    """That of the finite ones; NaN where there are none."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return math.nan
    middle = len(finite) // 2
    finite.partition(middle)
    return finite.item(middle)


def medians(table: Floats) -> Floats:
    """The median of each column; NaN where one of its numbers is. np.median, which can do more, takes tenfold as long.

    >>> medians(np.array([[1.0, 5.0], [3.0, math.nan], [2.0, 6.0], [9.0, 7.0]])).tolist()
    [2.5, nan]
    """
    ordered = np.sort(table, axis=0)  # which puts NaN last
    middle = (ordered[(len(table) - 1) // 2] + ordered[len(table) // 2]) / 2
    return np.where(np.isnan(ordered[-1]), math.nan, middle)


def spread(values: Floats) -> float:
    """How far values lie from their neighbours: a standard deviation, by the median of the differences."""
    return 1.4826 / math.sqrt(2) * median(np.abs(np.diff(values))) if len(values) > 4 else math.nan


def highest(values: Floats) -> float:
    """The largest median of three in a row: the largest one that is no single outlier.

    >>> highest(np.array([1.0, 9.0, 2.0, 3.0, 4.0]))
    3.0
    """
    a, b, c = values[:-2], values[1:-1], values[2:]
    return float(np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c)).max())


class Look:
    """A run as findings see it at one moment; what several of them ask for is computed once."""

    def __init__(self, run: Run, rows: Floats | None = None) -> None:
        """
        Args:
            rows: of the history that are looked at; None for all.
        """
        self.run = run
        self.setup, self.settings, self.facts = run.setup, run.settings, run.facts
        self.count, self.step = run.count, run.step
        self._rows = run.history.rows if rows is None else rows
        steps = run.setup.get("steps")
        self.steps: int | None = int(steps) if steps else None
        self._tensors: dict[str, Floats] = {}

    def __getitem__(self, column: str) -> Floats:
        """A column of the history."""
        return self._rows[:, _COLUMN[column]]

    @cached_property
    def telling(self) -> "Look":
        """The same run by the steps that tell how well it learns: those whose η is at least a tenth of its peak.

        At the beginning of a warm-up and at the end of a schedule the loss lies still and steps are small because that
        is meant. Every finding that judges how far the loss has come looks at the run so.
        """
        low = self["lr"] < 0.1 * self.peak
        if not low.any():
            return self
        look = Look(self.run, self._rows[~low])
        look.count = round(self.count * float(np.mean(~low)))
        return look

    def reached(self, share: float, otherwise: int) -> bool:
        """Whether the run has come through this share of its planned steps; unplanned, through so many."""
        return self.step >= share * self.steps if self.steps else self.count >= otherwise

    @cached_property
    def _finite(self) -> NDArray[np.bool_]:
        return np.isfinite(self["loss"])

    @cached_property
    def loss(self) -> Floats:
        """The finite losses."""
        return self["loss"][self._finite]

    @cached_property
    def loss_at(self) -> Floats:
        """The steps they are of."""
        return self["step"][self._finite]

    @cached_property
    def first(self) -> float:
        """The loss at the beginning: the median of the first three, or the first where it has surged since."""
        if not len(self.loss):
            return math.nan
        begun, early = float(self.loss[0]), median(self.loss[:3])
        return begun if early > begun + 0.5 * abs(begun) else early

    @cached_property
    def joined(self) -> bool:
        """Whether the run was under way when it was first seen: then `first` is not its beginning."""
        at = self["step"][:2]
        return len(at) > 1 and float(at[0]) > float(at[1] - at[0])  # not every step need be observed

    @cached_property
    def now(self) -> float:
        """The loss of late: the median of the last tenth, of 10 at least."""
        return median(self.loss[-max(10, len(self.loss) // 10) :])

    @cached_property
    def windows(self) -> Floats:
        """Medians of the loss over up to 20 equal parts of the history, of 5 steps at least."""
        parts = min(20, len(self.loss) // 5)
        if parts < 1:
            return np.array([])
        length, longer = divmod(len(self.loss), parts)  # so many have one more
        cut = longer * (length + 1)
        return np.concatenate(
            [
                np.partition(self.loss[:cut].reshape(longer, length + 1), (length + 1) // 2)[:, (length + 1) // 2],
                np.partition(self.loss[cut:].reshape(-1, length), length // 2)[:, length // 2],
            ]
        )

    @cached_property
    def best(self) -> float:
        """The lowest of `windows`."""
        return float(self.windows.min()) if len(self.windows) else math.nan

    @cached_property
    def noise(self) -> float:
        """How far a loss lies from its neighbours, of late, as `spread` has it."""
        return spread(self.loss[-200:])

    @cached_property
    def progress(self) -> float:
        """What part of the first loss is gone by now; at most 1 for losses that are never negative."""
        return (self.first - self.now) / abs(self.first) if self.first else 0.0

    def drop(self, share: float) -> float:
        """How far the loss has fallen over the last share of the run, in parts of the level there.

        0 where it lies within what the noise of the medians explains.
        """
        part = self.loss[-max(15, int(share * len(self.loss))) :]
        third = len(part) // 3
        if third < 1:
            return 0.0
        before, after = median(part[:third]), median(part[-third:])
        spread = 1.4826 * median(np.abs(part - median(part)))
        if abs(before - after) <= 2.5 * spread / math.sqrt(third):
            return 0.0
        return (before - after) / max(abs(before), 1e-30)

    @cached_property
    def _ratios(self) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return self["update_norm"] / self["param_norm"]

    @cached_property
    def ratios(self) -> Floats:
        """‖Δθ‖/‖θ‖ of the steps that were measured."""
        return self._ratios[np.isfinite(self._ratios)]

    @cached_property
    def early_ratio(self) -> float:
        """The median of the first ten."""
        return median(self.ratios[:10])

    @cached_property
    def ratio(self) -> float:
        """The median of those of the last twenty steps; of five, if not so many of the twenty were measured."""
        return median(self.ratios[-max(5, int(np.isfinite(self._ratios[-20:]).sum())) :])

    @cached_property
    def norms(self) -> Floats:
        """‖g‖ as it came to the step, of those that were measured."""
        norms = self["grad_norm"]
        return norms[np.isfinite(norms)]

    @cached_property
    def rates(self) -> Floats:
        """η."""
        return self["lr"][np.isfinite(self["lr"])]

    @cached_property
    def lr(self) -> float:
        """η now."""
        return float(self.rates[-1]) if len(self.rates) else math.nan

    @cached_property
    def peak(self) -> float:
        """The largest η so far."""
        return float(self.rates.max()) if len(self.rates) else math.nan

    @cached_property
    def warming(self) -> bool:
        """Whether η is still on its way up: what it comes to has not been tried yet."""
        return len(self.rates) > 5 and float(self.rates[-1]) == self.peak > 1.001 * float(self.rates[-6])

    @cached_property
    def warmed(self) -> bool:
        """Whether η began low."""
        return len(self.rates) > 1 and float(self.rates[0]) < 0.6 * self.peak

    @cached_property
    def validations(self) -> tuple[Floats, Floats]:
        """Steps and losses of the validations that were finite."""
        rows = self.run.validations.rows
        rows = rows[np.isfinite(rows[:, 1])]
        return rows[:, 0], rows[:, 1]

    def train_at(self, step: float) -> float:
        """The loss on training data at about a step: in eval mode where it was measured, else of the batches."""
        rows = self.run.validations.rows
        rows = rows[np.isfinite(rows[:, 3])]
        if len(rows):
            return float(rows[np.abs(rows[:, 0] - step).argmin(), 3])
        near = np.abs(self.loss_at - step).argsort()[: max(10, len(self.loss) // 20)]
        return median(self.loss[near])

    @cached_property
    def entropy(self) -> float:
        """The loss of one who only knows how frequent the labels are; NaN where nothing says what they are."""
        labels = self.facts.get("labels", {})
        known = labels.get("entropy") or labels.get("variance")
        if known is None and self.setup.get("classes"):
            known = math.log(self.setup["classes"])
        return float(known) if known and known > 0 else math.nan

    @cached_property
    def guess(self) -> float:
        """The loss that a run has which has learnt nothing: of one who guesses, or where that is not known, the first.

        NaN where nothing says it, since the beginning was not seen either.
        """
        if math.isfinite(self.entropy):
            return self.entropy
        return math.nan if self.joined else abs(self.first)

    @cached_property
    def tuned(self) -> bool:
        """Whether the model knew much when the run began: a fine-tuning, with which small steps are meant."""
        return not self.joined and self.first < 0.8 * self.entropy

    def tensors(self, measure: str) -> Floats:
        """[samples, tensors] of one measure; without rows where there are none."""
        if measure not in self._tensors:
            held = [values[measure] for _, values in self.run.samples if measure in values]
            self._tensors[measure] = np.array(held) if held else np.empty((0, len(self.names)))
        return self._tensors[measure]

    @cached_property
    def names(self) -> list[str]:
        return self.setup.get("names", [])

    @cached_property
    def sizes(self) -> Floats:
        return np.array(self.setup.get("sizes", []), np.float64)

    def of_kind(self, *kinds: str) -> NDArray[np.intp]:
        """Which tensors are of these kinds."""
        given = self.setup.get("kinds", ["weight"] * len(self.names))
        return np.array([i for i, kind in enumerate(given) if kind in kinds], np.intp)

    @cached_property
    def adaptive(self) -> bool:
        """Whether the rule divides by a root of squared gradients."""
        return self.settings.get("rule", "") in ADAPTIVE


#: Rules that scale a step by the gradients' own size.
ADAPTIVE = frozenset(
    ("adam", "adamw", "adamax", "lpadam", "adabelief", "nadam", "radam", "adagrad", "rmsprop", "adopt", "sparseadam")
)
