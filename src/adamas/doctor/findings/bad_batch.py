"""One batch whose loss is not finite in an otherwise calm run: log(0), 0/0, a broken sample."""

import math

import numpy as np

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.run import Look, median


def examine(look: Look, standing: bool) -> Found | None:
    if not look.run.broken or look.facts.get("half"):
        return None
    step, what = look.run.broken[0]
    before = look.loss[look.loss_at < step]
    late = median(before[-5:])
    if len(before) >= 5 and late > 2 * max(median(before[-40:-5]), look.best if step > 40 else late / 2):
        return None  # it had been rising
    if len(before) >= 5 and late > 3 * abs(look.first):
        return None
    norms = look["raw_norm"][(look["step"] < step) & (look["raw_norm"] < math.inf)]
    if len(norms) >= 5 and norms[-3:].max() > 30 * median(norms):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = look["update_norm"] / look["param_norm"]
    ratios = ratios[(look["step"] < step) & (ratios < math.inf)]
    if len(ratios) and median(ratios[-3:]) > 0.3:
        return None
    others = len({at for at, _ in look.run.broken}) - 1
    calm = f"the five losses before it were near {late:.4g}" if len(before) else "there was no step before it"
    after = look.loss[look.loss_at > step]
    poisoned = not len(after)
    return Found(
        f"the {what} of step {step} is not finite, while {calm}"
        + (
            "; every one since is not finite either"
            if poisoned and others
            else f"; {others} more such steps" * (others > 0)
        ),
        "an operation that has no finite value for something in that batch: the log of 0, a division by 0, a broken "
        "sample, exp of something large; the run itself was calm",
        Remedy(
            "Leave such steps out with nonfinite='skip' (one NaN gradient poisons the moments for ever), and look into "
            f"the batch of step {step}: clamp what goes into log and into divisions to 1e-7 at least.",
            {"nonfinite": "skip"},
        ),
        0.85,
        "error",
    )


KIND = Kind("D101", "bad-batch", 10, examine, ("D102", "D105", "D201", "D703"), lasting=True)
