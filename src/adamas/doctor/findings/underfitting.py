"""The training loss itself stays high, although η is sane."""

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import percent
from adamas.doctor.run import Look


def examine(look: Look, standing: bool) -> Found | None:
    if look.count < 100 or not look.reached(0.5, 300) or not look.first > 0:
        return None
    if not look.entropy > 0 and look.joined:
        return None
    guess = look.entropy if look.entropy > 0 else look.first
    left = look.now / min(guess, look.first)
    flat = look.drop(0.4) < 0.03
    if not flat or left < (0.35 if standing else 0.4) or not len(look.ratios):
        return None
    at, values = look.validations
    gap = float("nan")
    if len(values):
        gap = (float(values[-1]) - look.train_at(float(at[-1]))) / max(look.now, 1e-30)
        if gap > 0.25:
            return None
    sane = 1e-4 < look.ratio < 0.1
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
        # Below, noise in the data is as likely a reason: characters of a text keep two thirds of their entropy.
        "warning" if left > 0.8 else "note",
    )


KIND = Kind("D702", "underfitting", 54, examine, ("D703", "D205"), confirm=2)
