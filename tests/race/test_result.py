"""Medians, target, wins and verdict, from trials made by hand."""

import pytest

from adamas.problems.base import Measure
from adamas.race.entrants import Entrant
from adamas.race.result import chance_of, default_target, tabulate
from adamas.race.search import Plan, middle
from adamas.race.trials import Outcome, Point, Trial

LOSS, ACCURACY = Measure("loss"), Measure("accuracy", higher_is_better=True)
A, B = Entrant("a", "a"), Entrant("b", "b")


def outcome(entrant, seed, *curve, lr=0.1, steps=30):
    """A trial looked at every 10 steps, a tenth of a second each; None: diverged there."""
    points = tuple(Point(10 * i, 0.1 * i, v, None) for i, v in enumerate(curve))
    lost = next((p.step for p in points if p.metric is None), None)
    return Outcome(Trial(entrant.identity, lr, seed, steps), curve[-1], None, points, 5.0 + seed, 8.0, lost, None)


def table(outcomes, measure=LOSS, seeds=3, target=None):
    plan = Plan([A, B], measure, 30, seeds)
    return tabulate(plan, {o.trial: o for o in outcomes}, target)


def finals(a, b):
    search = [outcome(A, 0, 2.0, 1.0, 0.5, 0.2), outcome(B, 0, 2.0, 1.0, 0.5, 0.2)]
    return search + [outcome(e, s, *c) for e, curves in ((A, a), (B, b)) for s, c in enumerate(curves, 1)]


def test_row_of_the_winner():
    t = table(
        finals(
            [(2, 1.0, 0.3, 0.3), (2, 0.2, 0.2, 0.2), (2, 1.0, 0.5, 0.1)],
            [(2, 1, 1, 0.25), (2, 1, 1, 0.5), (2, 1, 1, 0.6)],
        ),
        target=0.5,
    )
    first = t.rows[0]
    assert first.entrant == A and (first.metric, first.best, first.worst) == (0.2, 0.1, 0.3)
    assert first.steps_to_target == 20 and first.seconds_to_target == pytest.approx(0.2)
    assert first.wins == (2, 3) and t.rows[1].wins is None
    assert first.step_us == 7.0
    # B's median reaches 0.5 in the second seed at the end: of three, two do.
    assert t.rows[1].steps_to_target == 30
    assert "on 2 of 3 seeds" in t.verdict and "100 %" in t.verdict and "luck" in t.verdict


def test_search_seed_takes_no_part_in_the_finals():
    t = table(finals([(2, 0.4)] * 3, [(2, 0.5)] * 3))
    assert t.rows[0].metric == 0.4 and len(t.rows[0].finals) == 3


def test_a_diverged_run_loses_and_shows():
    t = table(finals([(2, 0.4), (2, None), (2, 0.4)], [(2, 0.5)] * 3))
    assert t.rows[0].entrant == A and t.rows[0].worst is None and t.rows[0].wins == (2, 3)
    t = table(finals([(2, 0.4), (2, None), (2, None)], [(2, 0.5)] * 3))
    assert t.rows[0].entrant == B and t.rows[1].metric is None


def test_higher_is_better_turns_everything_round():
    t = table(finals([(0.1, 0.7, 0.8, 0.8)] * 3, [(0.1, 0.9, 0.9, 0.9)] * 3), measure=ACCURACY, target=0.75)
    assert t.rows[0].entrant == B and t.rows[0].wins == (3, 3)
    assert t.rows[0].steps_to_target == 10 and t.rows[1].steps_to_target == 20


def test_draws_count_for_neither():
    t = table(finals([(2, 0.4), (2, 0.4), (2, 0.3)], [(2, 0.4), (2, 0.4), (2, 0.4)]))
    assert t.rows[0].wins == (1, 1)


def test_more_seeds_rank_before_fewer():
    rows = finals([(2, 0.4)] * 3, [(2, 0.3)] * 2)
    assert table(rows).rows[0].entrant == A
    assert "hint" in table(rows).verdict


def test_interrupted_before_the_finals_shows_the_search():
    t = table([outcome(A, 0, 2.0, 0.4), outcome(A, 0, 2.0, 0.3, lr=0.2), outcome(A, 0, 2, 0.1, steps=7)])
    assert len(t.rows) == 1 and t.rows[0].lr == 0.2 and t.rows[0].metric == 0.3
    assert t.map[A] == {0.1: 0.4, 0.2: 0.3}


def test_nobody():
    assert "Nobody won" in table([]).verdict


@pytest.mark.parametrize(
    ("values", "measure", "target"),
    [
        ([0.0811, 0.0823, 0.0837, 0.5], LOSS, 0.084),
        ([0.977, 0.971, 0.964, 0.5], ACCURACY, 0.96),
        ([1.0], LOSS, 1.0),
        ([0.0], LOSS, 0.0),
        ([-2.34, -2.31], LOSS, -2.3),
        ([], LOSS, None),
    ],
)
def test_default_target_is_reached_by_three_quarters(values, measure, target):
    assert default_target(values, measure) == target


def test_sign_test():
    assert [chance_of(w, 5) for w in range(6)] == [0.0625, 0.375, 1.0, 1.0, 0.375, 0.0625]
    assert chance_of(8, 8) == 2 / 256


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3, 1, 2], 2),
        ([1, 2], 1.5),
        ([1, None, 2], 2),
        ([None, 1, None], None),
        ([1, None], None),
        ([], None),
    ],
)
def test_middle(values, expected):
    assert middle(values, LOSS) == expected
