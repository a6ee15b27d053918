"""What the batches of a training are like: inputs and labels, by a few numbers of each."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

#: Batches that are noted, to see whether they come again in the same order, and how many of them must.
MARKS, ALIKE = 64, 8


class Inputs:
    """What batches of inputs are like: mean, spread, and whether they come again in the same order."""

    def __init__(self) -> None:
        self.batches = 0
        self.next: float = 1  #: the number of the batch that `mark` is to see next, infinite where no more
        self.epoch = 0
        self._sums: list[tuple[float, float]] = []
        self._spread = 1.0
        self._exact = 0
        self._sizes = (math.inf, 0.0)
        self._marks: list[tuple[float, ...]] = []

    def add(self, x: Tensor | None) -> None:
        """What a batch is like."""
        self.batches += 1
        if x is None:
            return
        if not x.is_floating_point() or (self.batches > 5 and self.batches % 10):
            return
        a = x.detach().float()
        mean, std = float(a.mean()), float(a.std(correction=0))
        self._sums.append((mean, mean * mean + std * std))
        size = float(a.abs().mean())  # in whatever order the rows come
        self._sizes = min(self._sizes[0], size), max(self._sizes[1], size)
        if a.ndim == 2 and a.shape[0] >= 8 and a.shape[1] > 1:
            columns = a.std(0)
            varying = columns > 1e-6 * max(std, 1e-30)
            columns, means = columns[varying], a.mean(0)[varying]
            self._exact += int(bool((means.abs() < 1e-4).all()) and bool(((columns - 1).abs() < 0.05).all()))
            if len(columns) > 1:
                self._spread = max(self._spread, float(columns.max() / columns.min()))
        else:
            self._exact += int(abs(mean) < 1e-5 and abs(std - 1) < 1e-4)

    def mark(self, x: Tensor | None, at: int) -> None:
        """Note some of a batch's numbers, to know it again.

        The first `MARKS` batches are noted. The first is looked for in each of the others; later one batch in so many
        is looked for among them all, so often that no epoch in the same order is missed. The next ones must follow.

        Args:
            x: the batch; None where it is nothing that could be known again.
            at: its number, from 1.
        """
        if x is None:
            self.next = math.inf
            return
        known = len(self._marks)
        rows = x.detach().reshape(len(x), -1)[:16] if x.ndim else x.detach().reshape(1, 1)
        mark = tuple(rows.double().sum(1).tolist())  # single numbers of an image are the same in most
        if known < MARKS:
            self._marks.append(mark)
        self.next = at + 1
        if self.epoch < 0:
            self._follows(mark, at)
            return
        noted = self._marks[: MARKS - ALIKE if known == MARKS else min(known, 1)]
        if mark in noted:
            self._begun = at - 1 - noted.index(mark)
            self._left = min(self._begun, ALIKE) - 1
            self.epoch = -1  # to be seen by the next ones
            if self._begun < 2:  # the same batch each time: all of the data
                self.next = math.inf
        elif at > 20_000:
            self.next = math.inf
        elif len(self._marks) == MARKS:
            self.next = at + (MARKS - ALIKE) - at % (MARKS - ALIKE)

    def _follows(self, mark: tuple[float, ...], at: int) -> None:
        """Whether a batch is the next one of the order that has been noted."""
        if mark != self._marks[at - 1 - self._begun]:
            self.epoch, self.next = 0, math.inf
            return
        self._left -= 1
        if not self._left:
            self.epoch, self.next = self._begun, math.inf

    def told(self) -> dict[str, Any]:
        if not self._sums:
            return {}
        means = np.array(self._sums).mean(axis=0)
        n = len(self._sums)
        return {
            "mean": float(f"{means[0]:.4g}"),
            "std": float(f"{math.sqrt(max(0.0, means[1] - means[0] ** 2)):.4g}"),
            "spread": float(f"{self._spread:.3g}"),
            "self_normalised": self._exact / n,
            "the_same": n > 1 and self._sizes[1] - self._sizes[0] <= 1e-5 * self._sizes[1],
            "batches": n,
        }


class Labels:
    """What batches of labels are like."""

    def __init__(self) -> None:
        self.batches = self._rows = 0
        self._counts: Counter[int] = Counter()
        self._tops: list[float] = []
        self._values: list[Tensor] = []
        self._pairs: list[tuple[Tensor, Tensor]] = []

    def add(self, batch: Any, seen: Inputs) -> None:
        parts = list(tensors_in(batch))
        if len(parts) < 2:
            return
        x, y = parts[0].detach(), parts[-1].detach()
        self.batches += 1
        self._rows += y.numel()
        if y.is_floating_point():
            self._values.append(y.float().flatten()[:1024].cpu())
        else:
            labels = y.flatten().tolist()[:8192]
            counts = Counter(label for label in labels if label >= 0)
            self._counts.update(counts)
            if sum(counts.values()) >= 4:
                self._tops.append(max(counts.values()) / sum(counts.values()))
        if self.batches <= 10 and x.is_floating_point() and x.ndim == 2 and y.ndim <= 2 and y.numel() == x.shape[0]:
            self._pairs.append((x.float().cpu(), y.float().reshape(-1).cpu()))

    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = {"batches": self.batches, "rows": round(self._rows / max(1, self.batches))}
        total = sum(self._counts.values())
        if total and len(self._counts) > 1:
            shares = np.array(list(self._counts.values())) / total
            told["entropy"] = float(f"{-(shares * np.log(shares)).sum():.4g}")
            told["overall_top"] = float(f"{shares.max():.3g}")
            told["classes"] = len(self._counts)
            if self._tops:
                told["top_share"] = float(f"{np.mean(self._tops):.3g}")
        elif self._values:
            every = torch.cat(self._values)
            told["variance"] = float(f"{float(every.var(correction=0)):.4g}")
        return told

    def column(self) -> list[Any] | None:
        """An input column that is all but equal to the label, with its correlation."""
        if len(self._pairs) < 5:
            return None
        x, y = torch.cat([a for a, _ in self._pairs]), torch.cat([b for _, b in self._pairs])
        if len(y) < 64 or float(y.std()) == 0 or x.shape[1] < 2:
            return None
        a, b = x - x.mean(0), y - y.mean()
        r = (a * b[:, None]).sum(0) / (a.norm(dim=0) * b.norm()).clamp_min(1e-30)
        i = int(r.abs().argmax())
        return [i, round(float(r[i]), 3)] if abs(float(r[i])) > 0.98 else None


def tensors_in(thing: Any) -> Iterator[Tensor]:
    if isinstance(thing, Tensor):
        yield thing
    elif isinstance(thing, Mapping):
        for part in cast(Mapping[Any, Any], thing).values():
            yield from tensors_in(part)
    elif isinstance(thing, tuple | list):
        for part in cast(Sequence[Any], thing):
            yield from tensors_in(part)


def first_in(thing: Any) -> Tensor | None:
    if isinstance(thing, tuple) and thing and isinstance(thing[0], Tensor):
        return thing[0]
    return next(tensors_in(thing), None)
