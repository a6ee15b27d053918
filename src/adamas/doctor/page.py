"""The page of a run: what ails it, and its curves with the moments marked; one file that asks nobody for anything."""

import math
from collections.abc import Sequence

import numpy as np

from adamas.doctor.diagnosis import Finding
from adamas.doctor.report import roots, summary, verdict
from adamas.doctor.run import Floats, Look, Run, median
from adamas.pages import Axis, Chart, Html, Mark, Series, View, element, markup, page, place, table

#: Times its first value that a loss is shown up to: where it grows out of all numbers, the rest would be a flat line.
HIGH = 100.0

#: Points of a curve; more are put together by their medians.
POINTS = 600


def doctor_page(name: str, run: Run, findings: Sequence[Finding], cleared: Sequence[Finding]) -> str:
    """The page.

    Args:
        name: of the run.
    """
    look = Look(run)
    first = roots(findings)
    charts = _charts(look, findings, cleared)
    title = "Nothing ails this run" if not first else f"{first[0].code} {first[0].name}"
    body = markup(
        element("p", f"Doctor: {name}", class_="over"),
        element("h1", title),
        element("p", verdict(findings), class_="lead") if first else None,
        element("p", summary(run), class_="note"),
        *(_finding(finding) for finding in first),
        element("h2", "Curves") if charts else None,
        *(place(key, caption) for key, (_, caption) in charts.items()),
        element("h2", "Moments") if findings or cleared else None,
        _moments(findings, cleared) if findings or cleared else None,
    )
    return page(f"{name}: {title}", body, {key: chart for key, (chart, _) in charts.items()})


def _finding(finding: Finding) -> Html:
    sure = f"since step {finding.step}, {finding.confidence:.0%} sure"
    return markup(
        element("h2", f"{finding.code} {finding.name}"),
        element("p", f"{finding.severity}, {sure}", class_="note"),
        element("p", element("strong", "Seen. "), finding.evidence, "."),
        element("p", element("strong", "Cause. "), finding.cause, "."),
        element("p", element("strong", "Do. "), finding.remedy.text),
        *_consequences(finding.consequences),
    )


def _consequences(below: Sequence[Finding]) -> list[Html]:
    if not below:
        return []
    told = [element("li", f"{finding.code} {finding.name}: {finding.evidence}.") for finding in below]
    return [element("p", element("strong", "Hence.")), element("ul", *told)]


def _moments(findings: Sequence[Finding], cleared: Sequence[Finding]) -> Html:
    every = sorted([*findings, *cleared], key=lambda finding: finding.step)
    rows = [[f"{f.code} {f.name}", f.severity, f.step, "–" if f.cleared is None else f.cleared] for f in every]
    return table(
        "The steps at which each was opened and cleared", ["", "severity", "opened", "cleared"], rows, words=True
    )


def thinned(x: Floats, y: Floats) -> tuple[list[float], list[float]]:
    """A curve's points where it is finite, no more than `POINTS`."""
    fine = np.isfinite(y)
    x, y = x[fine], y[fine]
    if len(x) <= POINTS:
        return x.tolist(), y.tolist()
    parts = np.array_split(np.arange(len(x)), POINTS)
    return [float(x[part[0]]) for part in parts], [median(y[part]) for part in parts]


def _charts(look: Look, findings: Sequence[Finding], cleared: Sequence[Finding]) -> dict[str, tuple[Chart, str | None]]:
    marks: dict[int, list[str]] = {}
    for finding in (*roots(findings), *cleared):
        marks.setdefault(finding.step, []).append(finding.code)
    moments = [Mark("x", [step], " ".join(codes)) for step, codes in sorted(marks.items())]
    steps = look["step"]
    if not len(steps):
        return {}
    x = Axis("step", float(steps[0]), max(float(steps[-1]), float(steps[0]) + 1))
    at, values = look.validations
    losses = [Series("training loss", *thinned(steps, look["loss"]), colour=0, faint=len(at) > 0)]
    if len(at):
        losses.append(Series("validation loss", at.tolist(), values.tolist(), colour=1, points=True))
    charts: dict[str, tuple[Chart, str | None]] = {}
    for key, label, series, told in (
        (
            "loss",
            "loss",
            losses,
            "Upright lines are the moments at which the roots were found, by their codes." if moments else None,
        ),
        ("moved", "‖Δθ‖ / ‖θ‖", [_ratio(look)], "What part of itself a step moves the weights by; 1e-3 is usual."),
        ("norm", "‖g‖", _norms(look), "The norm of all gradients together."),
        ("lr", "η", [Series("η", *thinned(steps, look["lr"]), colour=0)], "The learning rate."),
    ):
        shown = [one for one in series if one.y]
        heights = [float(v) for one in shown for v in one.y if v is not None]
        if heights:
            view = View(
                label, axis(label, heights, top=HIGH * look.first if key == "loss" else math.inf), shown, moments
            )
            charts[key] = Chart(f"{label} over the steps, with the moments of the findings", x, "step", [view]), told
    return charts


def _ratio(look: Look) -> Series:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = look["update_norm"] / look["param_norm"]
    return Series("‖Δθ‖ / ‖θ‖", *thinned(look["step"], ratios), colour=0)


def _norms(look: Look) -> list[Series]:
    if not look.settings.get("clip_grad_norm"):
        return [Series("‖g‖", *thinned(look["step"], look["grad_norm"]), colour=0)]
    raw = Series("‖g‖", *thinned(look["step"], look["raw_norm"]), colour=1)
    coming = Series("‖g‖ after clipping", *thinned(look["step"], look["grad_norm"]), colour=0)
    return [raw, coming]


def axis(label: str, heights: list[float], top: float = math.inf) -> Axis:
    """One with some room, logarithmic where the heights differ much; what is above `top` is not on it."""
    low, high = min(heights), max(heights)
    if 0 < low < top < high:
        high = top
    if low > 0 and high > low:
        room = (high / low) ** 0.05
        return Axis(label, low / room, high * room, log=high / low > 30)
    room = 0.05 * (high - low) or max(abs(high), 1.0) * 0.1
    return Axis(label, low - room, high + room if math.isfinite(high + room) else high)
