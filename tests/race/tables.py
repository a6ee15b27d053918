"""Tables made by hand, of every kind that a race can end with."""

import math

from adamas.problems.base import Measure
from adamas.race.entrants import enter
from adamas.race.result import Table, tabulate
from adamas.race.search import Plan
from adamas.race.trials import Outcome, Point, Trial

KINDS = {
    "loss": (Measure("loss"), lambda i, x: 2.0 * math.exp(-x / (8 + i)) + 0.01),
    "tiny": (Measure("height"), lambda i, x: 10.0 ** (1 - x * 12 / 30 / (i + 1))),
    "accuracy": (
        Measure("accuracy", higher_is_better=True),
        lambda i, x: 0.95 - 0.85 * math.exp(-x / (8 + i)),
    ),
    "negative": (Measure("loss"), lambda i, x: -x - i),
    "flat": (Measure("loss"), lambda i, x: 1.0),
    "zero": (Measure("loss"), lambda i, x: 0.0),
}


def made(kind: str, number: int) -> tuple[Measure, Plan, Table]:
    """What a race of so many would have found: some η diverge, and the fourth does from one seed."""
    measure, curve = KINDS[kind]
    names = ["sgd", "adam", "adamw", "nadam", "radam", "lion", "adopt"][:number]
    entrants = [enter(n) for n in names]
    outcomes = {}
    for i, e in enumerate(entrants):
        for lr, seed in ((0.01, 0), (0.1, 0), (1.0, 0), (0.1, 1), (0.1, 2)):
            lost = lr == 1.0 or (i == 3 and seed == 2)
            values = [curve(i, x) + 0.001 * seed for x in range(0, 31, 10)]
            values[-1] = None if lost else values[-1] + (measure.higher_is_better - 0.5) * -0.01 * (lr == 0.01)
            points = tuple(Point(10 * k, 0.1 * k, v, None) for k, v in enumerate(values))
            trial = Trial(e.identity, lr, seed, 30)
            outcomes[trial] = Outcome(trial, values[-1], None, points, 5.0, 8.0, 30 if lost else None, None)
    plan = Plan(entrants, measure, 30, 2)
    table = tabulate(plan, outcomes, None)
    assert len(table.rows) == number
    return measure, plan, table
