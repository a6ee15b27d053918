"""Which trials a race runs: a coarse-to-fine search for each optimizer's η, then fresh seeds.

1. *Scout*: seed 0, a quarter of the length, η in whole decades from 1e-4 to 1, further where the best is at
an end.
2. *Map*: seed 0, full length, half decades around the scouted best, outwards until both ends are clearly
worse.
3. *Refine*: quarter decades on both sides of the best, from two seeds, for the better half of the optimizers.
4. *Finals*: each optimizer at its best η from three seeds not used before; the better half from all the
others too.

Seeds of the finals take no part in the choice of η, so the table's numbers are not the luck they were picked
by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import ceil

from adamas.problems.base import Measure
from adamas.race.around import PLAIN, Around
from adamas.race.entrants import Entrant
from adamas.race.runner import Runner
from adamas.race.trials import Trial
from adamas.race.width import near_level

DECADE = 4
"""η is searched on a grid of quarter decades, numbered so that number k is 10^(k/4)."""
LOWEST, HIGHEST = -7 * DECADE, 3 * DECADE
SCOUTED = range(-4 * DECADE, 1, DECADE)
SEARCH_SEEDS = (0, 1_000_000)
"""Never those of the finals, which are 1, 2, 3, …"""
FIRST_FINALS = 3
CONTENDERS = 4
"""At least so many optimizers stay in when the field is halved."""


def eta(k: int) -> float:
    """The learning rate number k, to three digits, which is how it is printed.

    >>> [eta(k) for k in range(-12, -7)]
    [0.001, 0.00178, 0.00316, 0.00562, 0.01]
    """
    return float(f"{10 ** (k / DECADE):.3g}")


def trials_expected(entrants: int, seeds: int, lrs: int | None) -> float:
    """About how many full-length trials a race takes; for sharing out a given time."""
    finals = min(seeds, FIRST_FINALS) + max(0, seeds - FIRST_FINALS) / 2
    search = lrs if lrs is not None else 1.5 + 6 + 2.5
    return entrants * (search + finals)


@dataclass(frozen=True)
class Plan:
    """What a race compares.

    Args:
        steps: length of a full trial.
        seeds: how many fresh seeds the finalists get (numbered from 1).
        lrs: learning rates to try instead of searching, or None.
        around: what is done around the steps of every trial.
    """

    entrants: Sequence[Entrant]
    measure: Measure
    steps: int
    seeds: int
    lrs: Sequence[float] | None = None
    around: Around = PLAIN

    @property
    def span(self) -> str:
        """When a full trial's result is from, in words."""
        return f"{'after' if self.around.stop_early is None else 'within'} {self.steps} steps"

    def trial(self, entrant: Entrant, lr: float, seed: int = SEARCH_SEEDS[0], part: int = 1) -> Trial:
        """The trial of that optimizer, η and seed at 1/`part` of the full length."""
        return Trial(entrant.identity, lr, seed, max(1, self.steps // part))


def search(plan: Plan, runner: Runner) -> None:
    """Run the race's trials in order. Raises Stopped as `Runner.run` does."""
    _Search(plan, runner).run()


class _Search:
    def __init__(self, plan: Plan, runner: Runner) -> None:
        self._plan, self._runner = plan, runner
        self._tried: dict[Entrant, dict[float, float | None]] = {e: {} for e in plan.entrants}
        self._seen: dict[Entrant, dict[float, list[float | None]]] = {e: {} for e in plan.entrants}

    def run(self) -> None:
        plan = self._plan
        if plan.lrs is not None:
            self._try("Each η", {e: list(plan.lrs) for e in plan.entrants})
        else:
            self._refine(self._map(self._scout()))
        best = {e: choose(self._seen[e], plan.measure) for e in plan.entrants}
        last = self._finals(best, list(plan.entrants), range(1, min(plan.seeds, FIRST_FINALS) + 1))
        self._finals(best, _better_half(last, plan.measure), range(FIRST_FINALS + 1, plan.seeds + 1))

    def _try(self, phase: str, etas: dict[Entrant, list[float]], part: int = 1) -> None:
        """Run seed 0 at those η, into `_tried`.

        Every optimizer's first η comes before anyone's second: so no two workers compile the same kernel.
        """
        turns = zip_longest(*([(e, lr) for lr in lrs] for e, lrs in etas.items()))
        pairs = [pair for turn in turns for pair in turn if pair is not None]
        trials = {(e, lr): self._plan.trial(e, lr, part=part) for e, lr in pairs}
        self._runner.run(phase, trials.values())
        for (e, lr), trial in trials.items():
            self._tried[e][lr] = self._runner[trial].metric
            if part == 1:
                self._seen[e][lr] = [self._tried[e][lr]]

    def _scout(self) -> dict[Entrant, int]:
        """The best whole decade of each, at a quarter of the length."""
        ks = {e: set(SCOUTED) for e in self._plan.entrants}
        new = {e: sorted(k) for e, k in ks.items()}
        best: dict[Entrant, int] = {}
        while any(new.values()):
            self._try("Scouting η, short runs", {e: [eta(k) for k in new[e]] for e in new}, part=4)
            for e, known in ks.items():
                best[e] = min(known, key=lambda k: (self._plan.measure.key(self._tried[e][eta(k)]), k))
                new[e] = []
                if best[e] == min(known) and best[e] > LOWEST:
                    new[e].append(best[e] - DECADE)
                if best[e] == max(known) and best[e] < HIGHEST:
                    new[e].append(best[e] + DECADE)
                known.update(new[e])
        return best

    def _map(self, scouted: dict[Entrant, int]) -> dict[Entrant, int]:
        """The best half decade of each at full length, and around it as far as it stays good."""
        self._tried = {e: {} for e in self._plan.entrants}
        half = DECADE // 2
        ks: dict[Entrant, set[int]] = {e: set() for e in scouted}
        new = {e: _within(k - half, k, k + half) for e, k in scouted.items()}
        best: dict[Entrant, int] = {}
        while any(new.values()):
            self._try("Mapping η, full runs", {e: [eta(k) for k in new[e]] for e in new})
            for e, known in ks.items():
                known.update(new[e])
                best[e] = min(known, key=lambda k: (self._plan.measure.key(self._tried[e][eta(k)]), k))
                ends = ((min(known), -half), (max(known), half))
                inside = [(k, way) for k, way in ends if LOWEST <= k + way <= HIGHEST]
                new[e] = [k + way for k, way in inside if self._near(e, k, best[e])]
        return best

    def _near(self, entrant: Entrant, k: int, best: int) -> bool:
        """Whether η number k is as good as the best, or nearly."""
        if k == best:
            return self._tried[entrant][eta(k)] is not None
        here, there = self._tried[entrant][eta(k)], self._tried[entrant][eta(best)]
        start = self._runner[self._plan.trial(entrant, eta(best))].curve[0].metric
        if here is None or there is None or start is None or not self._plan.measure.better(there, start):
            return False
        return not self._plan.measure.better(near_level(there, start), here)

    def _refine(self, mapped: dict[Entrant, int]) -> None:
        results = {e: self._tried[e][eta(k)] for e, k in mapped.items()}
        contenders = _better_half(results, self._plan.measure)
        closer = {e: _within(mapped[e] - 1, mapped[e], mapped[e] + 1) for e in contenders}
        trials = [self._plan.trial(e, eta(k), s) for s in SEARCH_SEEDS for e, ks in closer.items() for k in ks]
        self._runner.run("Refining η of the better half", trials)
        for e, ks in closer.items():
            for k in ks:
                again = [self._runner[self._plan.trial(e, eta(k), seed)].metric for seed in SEARCH_SEEDS]
                self._seen[e][eta(k)] = again

    def _finals(self, best: dict[Entrant, float], entrants: list[Entrant], seeds: range) -> dict[Entrant, float | None]:
        """Run those optimizers from those seeds; returns each one's median."""
        trials = {e: [self._plan.trial(e, best[e], seed) for seed in seeds] for e in entrants}
        self._runner.run("Finals, fresh seeds", [t for mine in trials.values() for t in mine])
        return {e: middle([self._runner[t].metric for t in mine], self._plan.measure) for e, mine in trials.items()}


def _within(*ks: int) -> list[int]:
    return [k for k in ks if LOWEST <= k <= HIGHEST]


def _better_half(results: dict[Entrant, float | None], measure: Measure) -> list[Entrant]:
    keep = max(CONTENDERS, ceil(len(results) / 2))
    return sorted(results, key=lambda e: measure.key(results[e]))[:keep]


def choose(seen: Mapping[float, Sequence[float | None]], measure: Measure) -> float:
    """The best η: by the median over search seeds, among those η that were run from the most of them.

    >>> choose({1e-3: [0.3], 1e-2: [0.2, 0.4], 1e-1: [0.1, 0.9]}, Measure("loss"))
    0.01
    """
    most = max(len(values) for values in seen.values())
    among = [lr for lr, values in seen.items() if len(values) == most]
    return min(among, key=lambda lr: (measure.key(middle(seen[lr], measure)), lr))


def middle(values: Sequence[float | None], measure: Measure) -> float | None:
    """The median, runs that diverged counting as worse than all others; None if it falls on such a run.

    >>> middle([0.3, None, 0.1], Measure("loss"))
    0.3
    """
    ranked = sorted(values, key=measure.key)
    if not ranked:
        return None
    a, b = ranked[(len(ranked) - 1) // 2], ranked[len(ranked) // 2]
    return None if a is None or b is None else (a + b) / 2
