"""The training loss itself stays high, although η is sane."""

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import percent
from adamas.doctor.run import Look, median


def examine(look: Look, standing: bool) -> Found | None:
    if look.warming:
        return None
    look = look.telling
    if look.count < 100 or not look.reached(0.5, 300) or not look.guess > 0:
        return None
    left = look.now / look.guess
    flat = look.drop(0.4) < 0.03
    # Even the smallest model learns how frequent labels are: a loss above that is of another kind, or ill otherwise.
    if not flat or not (0.35 if standing else 0.4) < left < 1.2 or not len(look.ratios):
        return None
    at, values = look.validations
    gap = float("nan")
    if len(values):
        gap = (float(values[-1]) - look.train_at(float(at[-1]))) / max(look.now, 1e-30)
        if gap > 0.25:
            return None
    sane = 1e-4 < median(look.ratios[len(look.ratios) // 2 :]) < 0.1
    if not sane:
        return None
    return Found(
        f"the training loss lies still at {look.now:.3g}, {percent(left)} of what guessing has, "
        + (
            f"and validation is no worse ({percent(max(gap, 0.0))} above)"
            if gap == gap
            else "and steps are of a usual size"
        ),
        "the model is too small or too much regularised for the data, or the inputs do not tell more",
        Remedy(
            "A wider or deeper model; less dropout, augmentation and weight decay. If a larger one does no better, "
            "what is left is noise.",
            {"wider": True},
        ),
        0.65,
        "warning" if left > 0.8 and small(look) else "note",
    )


def small(look: Look) -> bool:
    """Whether a network has seen twenty labels or more for each of its numbers.

    The curve alone does not tell a model that is too small from noise in the data. And a linear model says nothing of
    what a network could learn there.
    """
    rows = look.facts.get("labels", {}).get("rows", 0)
    return len(look.of_kind("weight")) > 1 and 20 * look.sizes.sum() <= rows * look.run.count


KIND = Kind("D702", "underfitting", 54, examine, ("D703", "D205"), confirm=2)
