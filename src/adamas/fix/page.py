"""The page of a treatment: the losses of every run in one chart, and what was changed."""

from typing import TYPE_CHECKING

from adamas.doctor.page import HIGH, axis, thinned
from adamas.doctor.run import Look
from adamas.fix.report import cells, heads, remaining
from adamas.pages import Axis, Chart, Html, Series, View, copied, element, markup, page, place, table

if TYPE_CHECKING:
    from adamas.fix import Fix


def fix_page(fix: "Fix") -> str:
    """The page."""
    if fix.cured:
        title = "Cured" if fix.best.run else "Nothing ails it"
    else:
        title = "Better, and not cured" if fix.best.run else "Not cured"
    charts = _charts(fix)
    lines = fix.lines
    body = markup(
        element("p", f"Doctor: {fix.way.label} on {fix.problem.name}", class_="over"),
        element("h1", title),
        element("p", fix.verdict, class_="lead"),
        element("p", fix.problem.about, class_="note"),
        element("ul", *(element("li", told) for told in remaining(fix))) if remaining(fix) else None,
        table("Same start, same mini-batches", heads(fix), cells(fix), words=True),
        element("h2", "Curves"),
        *(place(key, caption) for key, (_, caption) in charts.items()),
        *(() if lines is None else _code(lines)),
    )
    return page(f"{fix.problem.name}: {title}", body, {key: chart for key, (chart, _) in charts.items()})


def _code(lines: str) -> tuple[Html, Html]:
    return element("h2", "In your own training"), copied(lines, "Python with the changed settings")


def _charts(fix: "Fix") -> dict[str, tuple[Chart, str]]:
    names = ["as it is", *(f"run {i}" for i in range(1, len(fix.rounds)))]
    losses: list[Series] = []
    checks: list[Series] = []
    for i, (name, round) in enumerate(zip(names, fix.rounds, strict=True)):
        look = Look(round.outcome.run)
        losses.append(Series(name, *thinned(look["step"], look["loss"]), colour=i))
        at, values = look.validations
        checks.append(Series(name, at.tolist(), values.tolist(), colour=i, points=True))
    last = max(1, *(round.outcome.run.step for round in fix.rounds))
    charts: dict[str, tuple[Chart, str]] = {}
    for key, label, series in (("loss", "training loss", losses), ("check", fix.problem.measure.name, checks)):
        shown = [one for one in series if one.y]
        heights = [float(v) for one in shown for v in one.y if v is not None]
        if heights:
            top = HIGH * max(one.y[0] or 0.0 for one in shown)
            view = View(label, axis(label, heights, top), shown)
            caption = f"{label[0].upper()}{label[1:]}, run by run." + (" Of mini-batches." if key == "loss" else "")
            charts[key] = Chart(f"{label} over the steps, a line a run", Axis("step", 0, last), "step", [view]), caption
    return charts
