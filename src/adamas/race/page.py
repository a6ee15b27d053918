"""report.html: what a race has found, for a browser and for paper."""

from collections.abc import Callable, Sequence
from typing import Any

from adamas.pages import Axis, Chart, Html, Mark, Series, View, copied, element, markup, page, place, table
from adamas.palette import COLOURS
from adamas.problems.base import Problem
from adamas.race.report import cells, footnotes, number
from adamas.race.result import Row, Table
from adamas.race.scale import Scale, band, result_scale
from adamas.race.search import Plan


def race_page(problem: Problem, plan: Plan, found: Table, summary: dict[str, Any], trials: int) -> str:
    """The page of a race that somebody has won; `summary` is what `as_dict` gave, with the snippet."""
    y = result_scale(problem.measure, found)
    charts = {"curves": _curves(problem, plan, found, y)}
    charts |= {f"rate-{i}": _against_eta(problem, found, i, y) for i in range(len(found.rows))}
    heads, lines = cells(problem, found)
    stopped = summary["stopped"]
    several = max(len(row.finals) for row in found.rows) > 1
    body = markup(
        element("p", f"Race on {problem.name}", class_="over"),
        element("h1", found.headline),
        element("p", found.verdict, class_="lead"),
        element("p", problem.about, class_="note"),
        None
        if stopped is None
        else element("p", f"This race is not complete ({stopped}): what was finished is shown.", class_="warn"),
        _facts(problem, found, summary),
        element("h2", "Results"),
        table("Best first", heads, lines),
        element("ul", *(element("li", note) for note in footnotes(problem, plan, found)), class_="notes"),
        element("h2", "On the way"),
        place(
            "curves",
            f"Each optimizer at its best η; {'median, and range, over seeds' if several else 'one seed'}. "
            + ("The first five have colours, the others are grey. " if len(found.rows) > len(COLOURS) else "")
            + "Drag to zoom, twice to see the whole; click a name to hide it.",
        ),
        element("h2", f"{y.name} {plan.span} against η"),
        element(
            "p",
            "One seed. Shaded: the η that come near its own best, in decades; the wider, the less tuning. Dot: the η "
            "it was raced with. ×: diverged, or off the scale.",
            class_="note",
        ),
        element("div", *(_panel(row, i) for i, row in enumerate(found.rows)), class_="panels"),
        element("h2", "What it cost"),
        _costs(found),
        element("h2", "In your own training"),
        copied(summary["snippet"], f"Python that trains with {found.rows[0].entrant.label}"),
        element("h2", "Settings"),
        _settings(summary, trials),
    )
    return page(f"{problem.name}: {found.headline}", body, charts)


def _colour(i: int) -> int | None:
    return i if i < len(COLOURS) else None


def _facts(problem: Problem, found: Table, summary: dict[str, Any]) -> Html:
    first = found.rows[0]
    facts = {
        "winner": first.entrant.label,
        "its best η": number(first.lr),
        problem.measure.name: number(first.metric),
        f"near its best over{' at least' if first.width and str(first.width).startswith('≥') else ''}": (
            f"{first.width.decades:.1f} decades of η" if first.width else None
        ),
        "time of the race": _seconds(summary["seconds"]),
    }
    told = [element("div", element("dt", k), element("dd", v)) for k, v in facts.items() if v is not None]
    return element("dl", *told, class_="facts")


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _curves(problem: Problem, plan: Plan, found: Table, y: Scale) -> Chart:
    def lines(what: Any) -> list[Series]:
        made: list[Series] = []
        for i, row in enumerate(found.rows):
            steps, middle, low, high = (list(column) for column in band(row, what))
            wide = len(row.finals) > 1
            made.append(
                Series(row.entrant.label, steps, middle, low if wide else None, high if wide else None, _colour(i))
            )
        return made

    target = found.target
    marks = [] if target is None or y.off(target) else [Mark("y", (target,), f"target {number(target)}")]
    views = [View(problem.measure.name, _axis(y), lines("metric"), marks)]
    losses = [[p.loss for p in o.curve if p.loss is not None] for r in found.rows for o in r.finals]
    if any(losses):
        scale = Scale(
            "training loss", False, [v for seen in losses for v in seen], [seen[0] for seen in losses if seen]
        )
        views.append(View("training loss", _axis(scale), lines("loss")))
    last = max(1, *(int(o.curve[-1].step) for r in found.rows for o in r.finals))
    return Chart(
        f"{problem.measure.name} against optimizer steps, a line an optimizer",
        Axis("optimizer steps", 0, last, log=False),
        "step",
        views,
    )


def _axis(y: Scale) -> Axis:
    return Axis(y.name, y.low, y.high, log=y.log if y.low > 0 else None)


def _against_eta(problem: Problem, found: Table, i: int, y: Scale) -> Chart:
    row = found.rows[i]
    results = found.map[row.entrant]
    every = [lr for one in found.map.values() for lr in one]
    colour = _colour(i)
    lost = [lr for lr, v in results.items() if y.off(v)]
    marks = [Mark("bottom" if y.higher else "top", lost, colour=colour)]
    if row.width is not None:
        marks.append(Mark("stretch", (row.width.low, row.width.high), colour=colour))
    at_best = results[row.lr]
    if at_best is not None and not y.off(at_best):
        marks.append(Mark("dot", (row.lr, at_best), colour=colour))
    line = Series(row.entrant.label, list(results), list(results.values()), colour=colour, points=True)
    return Chart(
        f"{problem.measure.name} against η: {row.entrant.label}",
        Axis("η", min(every) / 2, max(every) * 2, log=True),
        "η",
        [View("", _axis(y), [line], marks)],
        small=True,
    )


def _panel(row: Row, i: int) -> Html:
    width = f"η {number(row.lr)}" + (f" · {row.width} decades" if row.width else "")
    return element("div", element("h3", row.entrant.label), element("div", width, class_="note"), place(f"rate-{i}"))


def _costs(found: Table) -> Html:
    target = "" if found.target is None else f" {number(found.target)}"
    bars: list[tuple[str, Callable[[Row], float | None]]] = [
        (f"Steps to the target{target}", lambda row: row.steps_to_target),
        (f"Seconds to the target{target}", lambda row: row.seconds_to_target),
        ("Optimizer's step, µs", lambda row: row.step_us),
        ("State kept, bytes a parameter", lambda row: row.state_bytes),
    ]
    return element("div", *(_bars(title, found.rows, of) for title, of in bars), class_="bars")


def _bars(title: str, rows: Sequence[Row], of: Callable[[Row], float | None]) -> Html:
    """A bar for each optimizer, as a table, so that it can be read aloud."""
    most = max((of(row) or 0.0 for row in rows), default=0.0) or 1.0
    lines: list[Html] = []
    for i, row in enumerate(rows):
        value = of(row)
        ink = f"var(--c{i})" if _colour(i) is not None else "var(--grey)"
        bar = element("span", class_="fill", style=f"width:{100 * (value or 0) / most:.1f}%;background:{ink}")
        lines.append(
            element(
                "tr",
                element("th", row.entrant.label, scope="row", title=row.entrant.name),
                element("td", None if value is None else bar, class_="track"),
                element("td", "never" if value is None else number(value), class_="number"),
            )
        )
    return element("table", element("caption", title), element("tbody", *lines))


def _settings(summary: dict[str, Any], trials: int) -> Html:
    told: dict[str, Any] = {k: v for k, v in summary["settings"].items() if v is not None}
    told["trials in all"] = trials
    told["measured on"] = ", ".join(f"{k} {v}" for k, v in summary["machine"].items())
    told["versions"] = ", ".join(f"{k} {v}" for k, v in summary["versions"].items())
    told["fingerprint of the problem"] = summary["problem"]["fingerprint"]
    pairs = [
        (k.replace("_", " "), ", ".join(map(str, v)) if isinstance(v, list | tuple) else v) for k, v in told.items()
    ]
    return element("dl", *(element(tag, x) for k, v in pairs for tag, x in (("dt", k), ("dd", v))), class_="settings")
