"""The page of a range test: what is suggested, the sweep and the trials, and how to use it."""

import math

from adamas.pages import Axis, Chart, Html, Mark, Series, View, copied, element, markup, page, place, table
from adamas.rangetest import RangeTest

_SWEEP, _TRIALS, _OURS = 0, 1, 2


def range_page(what: str, about: str, test: RangeTest, lines: str | None) -> str:
    """The page.

    Args:
        what: what was trained, in a few words.
        about: the same in a line.
        lines: Python that uses the suggestion, or None.
    """
    title = f"η = {test.suggestion:g}" if test.suggestion is not None and test.confident else "No confident suggestion"
    drawn = bool(test.losses)
    body = markup(
        element("p", f"Range test of {what}", class_="over"),
        element("h1", title),
        element("p", test.sentence, class_="lead"),
        element("p", about, class_="note"),
        None if not drawn else _shown(test),
        element("h2", "Trials at a constant η") if test.trials else None,
        _trials(test) if test.trials else None,
        element("h2", "Read off the sweep alone"),
        table(
            "By fastai's four rules; nobody has tried these",
            test.suggestions,
            [["–" if lr is None else f"{lr:.2g}" for lr in test.suggestions.values()]],
        ),
        None if lines is None or not test.confident else element("h2", "In your own training"),
        None if lines is None or not test.confident else copied(lines, "Python that trains at this η"),
    )
    return page(f"{what}: {title}", body, {"sweep": _chart(test)} if drawn else {})


def _shown(test: RangeTest) -> Html:
    caption = (
        f"The sweep raises η at every mini-batch: {test.ended}. Each trial begins anew and keeps its η. ×: "
        "diverged, or off the scale. Drag to zoom, twice to see the whole."
    )
    return markup(element("h2", "Loss against η"), place("sweep", caption))


def _chart(test: RangeTest) -> Chart:
    finite = [t.loss for t in test.trials if math.isfinite(t.loss)]
    seen, begun = [*test.smoothed, *finite], test.smoothed[0]
    low = min(seen)
    if low > 0:
        high = max(begun * 1.6, low * 2)
        y = Axis("training loss", low / (high / low) ** 0.1, high, log=high / low > 3)
    else:
        room = 0.22 * (begun - low) or 1.0
        y = Axis("training loss", low - room, begun + 2 * room)
    lines = [
        Series("sweep, each mini-batch", test.lrs, test.losses, colour=_SWEEP, faint=True),
        Series("sweep, smoothed", test.lrs, test.smoothed, colour=_SWEEP),
    ]
    lengths = sorted({trial.steps for trial in test.trials})
    for steps in lengths:
        trials = sorted((t for t in test.trials if t.steps == steps), key=lambda t: t.lr)
        lines.append(
            Series(
                f"constant η, {steps} steps", [t.lr for t in trials], [t.loss for t in trials],
                colour=_TRIALS, points=True, faint=steps != lengths[-1],
            )
        )  # fmt: skip
    every = [*test.lrs, *(t.lr for t in test.trials)]
    marks = [Mark("top", sorted({t.lr for t in test.trials if not t.loss <= y.high}), colour=_TRIALS)]
    if test.suggestion is not None:
        marks.append(Mark("x", (test.suggestion,), f"η {test.suggestion:g}", colour=_OURS))
    x = Axis("learning rate η", min(every), max(every), log=True)
    return Chart("Training loss against the learning rate: sweep and trials", x, "η", [View("", y, lines, marks)])


def _trials(test: RangeTest) -> Html:
    lengths = sorted({trial.steps for trial in test.trials})
    losses = {(trial.lr, trial.steps): trial.loss for trial in test.trials}

    def said(loss: float | None) -> str:
        return "" if loss is None else f"{loss:.4g}" if math.isfinite(loss) else "diverged"

    rows = [
        [f"{lr:g}" + (" ←" if lr == test.suggestion else ""), *(said(losses.get((lr, steps))) for steps in lengths)]
        for lr in sorted({trial.lr for trial in test.trials})
    ]
    return table("Mean loss over the last third", ["η", *(f"after {steps} steps" for steps in lengths)], rows)
