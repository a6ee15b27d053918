"""From finished trials to the table: medians, target, wins, how sure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, comb, floor, log10
from statistics import median

from adamas.problems.base import Measure
from adamas.race.entrants import Entrant
from adamas.race.search import SEARCH_SEEDS, Plan, choose, middle
from adamas.race.trials import Outcome, Trial
from adamas.race.width import Width, width

ENOUGH = 0.75
"""The target, unless given, is what this part of the finalists reaches."""


@dataclass(frozen=True)
class Row:
    """One optimizer's line of the table.

    Args:
        lr: its best η.
        finals: its final trials, one a seed, in the order of seeds; if the race was stopped before they were
            run, the one trial of the search at that η.
        all_seeds: it was run from every seed of the finals.
        metric: median of the measure over `finals`; None if half of them diverged.
        worst, best: the range over them; `worst` is None if one diverged.
        second: median of the second measure, or None.
        steps_to_target, seconds_to_target: medians over `finals`; None if half of them never reach it.
        width: over what range of η it is near its best (seed 0, full length).
        wins: (won, compared) against the optimizer in the next line, seed by seed; draws count for neither.
        step_us: median microseconds of the optimizer's step alone.
        state_bytes: bytes of state per parameter.
    """

    entrant: Entrant
    lr: float
    finals: tuple[Outcome, ...]
    all_seeds: bool
    metric: float | None
    worst: float | None
    best: float | None
    second: float | None
    steps_to_target: float | None
    seconds_to_target: float | None
    width: Width | None
    wins: tuple[int, int] | None
    step_us: float
    state_bytes: float
    note: str | None


@dataclass(frozen=True)
class Table:
    """The result of a race.

    Args:
        rows: best first; those that were run from all seeds before those that were not.
        target: the value for "to the target", or None where nothing was learnt.
        given: the target was the user's.
    """

    rows: tuple[Row, ...]
    target: float | None
    given: bool
    map: Mapping[Entrant, Mapping[float, float | None]]

    @property
    def headline(self) -> str:
        """Who came first, in a few words."""
        first = self.rows[0]
        beaten = f", {first.wins[0]} of {first.wins[1]} seeds over {self.rows[1].entrant.label}" if first.wins else ""
        return f"{first.entrant.label} first{beaten}"

    @property
    def verdict(self) -> str:
        """Who won and how sure that is, in words."""
        return verdict(self.rows)


def tabulate(plan: Plan, outcomes: Mapping[Trial, Outcome], target: float | None) -> Table:
    """The table of what has been run so far; optimizers without a full-length run are left out."""
    measure = plan.measure
    found = [_gather(plan, e, outcomes) for e in plan.entrants]
    ready = [f for f in found if f is not None]
    most = max((len(f.finals) for f in ready if f.is_final), default=0)
    given = target is not None
    if target is None:
        last = [f.metric for f in ready if f.is_final and len(f.finals) == most] or [f.metric for f in ready]
        target = default_target([v for v in last if v is not None], measure)

    def rank(f: _Found) -> tuple[bool, float, float, float]:
        in_all = f.is_final and len(f.finals) == most
        soonest = _to_target(f.finals, target, measure)[0]
        worst_first = measure.key(_worst(f.finals, measure))
        return (
            not in_all,
            measure.key(f.metric),
            soonest if soonest is not None else float("inf"),
            worst_first,
        )

    ready.sort(key=rank)
    rows: list[Row] = []
    for i, f in enumerate(ready):
        steps, seconds = _to_target(f.finals, target, measure)
        values = [o.metric for o in f.finals]
        seconds_measure = [o.second for o in f.finals if o.second is not None]
        rows.append(
            Row(
                entrant=f.entrant,
                lr=f.lr,
                finals=tuple(f.finals),
                all_seeds=f.is_final and len(f.finals) == most,
                metric=f.metric,
                worst=_worst(f.finals, measure),
                best=min(values, key=measure.key),
                second=median(seconds_measure) if seconds_measure else None,
                steps_to_target=steps,
                seconds_to_target=seconds,
                width=width(f.map, measure, f.finals[0].curve[0].metric),
                wins=_wins(f.finals, ready[i + 1].finals, measure) if i + 1 < len(ready) else None,
                step_us=median(o.step_us for o in f.finals),
                state_bytes=f.finals[0].state_bytes,
                note=_notes(plan, f.finals),
            )
        )
    return Table(tuple(rows), target, given, {f.entrant: f.map for f in ready})


def _notes(plan: Plan, finals: Sequence[Outcome]) -> str | None:
    """What a reader must know of the finals, once each; with early stopping, how long they went on."""
    notes = [o.note for o in finals if o.note is not None]
    if plan.around.stop_early is not None:
        ended = median(o.curve[-1].step for o in finals)
        if ended < plan.steps:
            notes.append(f"stopped after {ended:g} steps" + (", the median over its seeds" if len(finals) > 1 else ""))
    return "; ".join(dict.fromkeys(notes)) or None


@dataclass(frozen=True)
class _Found:
    """What there is of one optimizer."""

    entrant: Entrant
    lr: float
    finals: list[Outcome]
    is_final: bool
    metric: float | None
    map: dict[float, float | None]


def _gather(plan: Plan, entrant: Entrant, outcomes: Mapping[Trial, Outcome]) -> _Found | None:
    mine = [o for t, o in outcomes.items() if t.optimizer == entrant.identity and t.steps == plan.steps]
    if plan.lrs is not None:
        mine = [o for o in mine if o.trial.lr in plan.lrs]
    mapped = {o.trial.lr: o.metric for o in mine if o.trial.seed == SEARCH_SEEDS[0]}
    if not mapped:
        return None
    seen = {
        lr: [o.metric for s in SEARCH_SEEDS for o in mine if o.trial.lr == lr and o.trial.seed == s] for lr in mapped
    }
    best = choose(seen, plan.measure)
    seeds = range(1, plan.seeds + 1)
    finals = sorted((o for o in mine if o.trial.seed in seeds and o.trial.lr == best), key=lambda o: o.trial.seed)
    shown = finals or [o for o in mine if o.trial.seed == SEARCH_SEEDS[0] and o.trial.lr == best]
    metric = middle([o.metric for o in shown], plan.measure)
    return _Found(entrant, best, shown, bool(finals), metric, dict(sorted(mapped.items())))


def _worst(finals: Sequence[Outcome], measure: Measure) -> float | None:
    return max((o.metric for o in finals), key=measure.key)


def default_target(medians: Sequence[float], measure: Measure) -> float | None:
    """The value that three quarters of those results reach, to two digits on the easier side.

    >>> default_target([0.0811, 0.0823, 0.0837, 0.5], Measure("loss"))
    0.084
    """
    if not medians:
        return None
    ranked = sorted(medians, key=measure.key)
    value = ranked[ceil(ENOUGH * len(ranked)) - 1]
    if value == 0:
        return value
    unit = 10.0 ** (floor(log10(abs(value))) - 1)
    rounded = (floor if measure.higher_is_better else ceil)(value / unit - 0.0) * unit
    return float(f"{rounded:.6g}")


def _to_target(finals: Sequence[Outcome], target: float | None, measure: Measure) -> tuple[float | None, float | None]:
    """Median steps and seconds until a look first finds the target reached; None, None if half never do."""
    if target is None:
        return None, None
    steps: list[float] = []
    seconds: list[float] = []
    for o in finals:
        hit = next((p for p in o.curve if p.metric is not None and not measure.better(target, p.metric)), None)
        steps.append(hit.step if hit else float("inf"))
        seconds.append(hit.seconds if hit else float("inf"))
    if median(steps) == float("inf"):
        return None, None
    return median(steps), median(seconds)


def _wins(mine: Sequence[Outcome], theirs: Sequence[Outcome], measure: Measure) -> tuple[int, int] | None:
    other = {o.trial.seed: o.metric for o in theirs}
    pairs = [(o.metric, other[o.trial.seed]) for o in mine if o.trial.seed in other]
    decided = [measure.better(a, b) for a, b in pairs if measure.better(a, b) or measure.better(b, a)]
    return (sum(decided), len(decided)) if decided else None


def chance_of(won: int, compared: int) -> float:
    """How often two equal optimizers would split at least as unevenly: the two-sided sign test's p.

    >>> chance_of(5, 5), chance_of(3, 5)
    (0.0625, 1.0)
    """
    more = max(won, compared - won)
    tail = sum(comb(compared, k) for k in range(more, compared + 1))
    return min(1.0, 2 * tail / 2**compared)


def verdict(rows: Sequence[Row]) -> str:
    """One or two sentences on the first line of the table.

    The sign test takes the two leaders as given, though they were picked from the field by the same runs:
    with many optimizers in the race the truth is a little less sure than it says.
    """
    if not rows or rows[0].metric is None:
        return "Nobody won: every optimizer diverged or none finished a full run."
    first = rows[0].entrant.label
    if len(rows) == 1:
        return f"{first} ran alone."
    second, wins = rows[1].entrant.label, rows[0].wins
    if not rows[0].all_seeds or not rows[1].all_seeds:
        return f"{first} leads {second}, but they were not compared from several seeds yet: take it as a hint."
    if wins is None:
        return f"{first} and {second} came out equal from every seed; {first} is listed first for its speed."
    won, compared = wins
    p = chance_of(won, compared)
    if p <= 0.01:
        sure = "as good as sure"
    elif p <= 0.05:
        sure = "fairly sure"
    elif p <= 0.15:
        sure = "likely, not sure; more --seeds would tell"
    elif won == compared:
        sure = "as sure as so few seeds can be; more --seeds would tell"
    else:
        sure = "it may well be luck; take the two as equal, or give more --seeds"
    seeds = "seed" if compared == 1 else "seeds"
    verb = "wins" if p <= 0.15 or won == compared else "comes first"
    percent = f"{100 * p:.0f} %" if p >= 0.01 else f"{100 * p:.1g} %"
    return (
        f"{first} {verb}: it beat the runner-up {second} on {won} of {compared} {seeds}. "
        f"Two equal optimizers would split at least that unevenly in {percent} of races: {sure}."
    )
