"""η too low: the loss creeps down in a straight line, and the weights hardly move."""

import numpy as np

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import GOOD_RATIO, percent, rounded
from adamas.doctor.run import Look, median


def examine(look: Look, standing: bool) -> Found | None:
    if look.count < 40 or not look.reached(0.25, 200) or not len(look.ratios):
        return None
    if look.lr < 0.99 * look.peak and look.rates[0] < look.lr:  # still warming up
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = look["update_norm"] / look["param_norm"]
    # Those near the peak alone: at the end of a schedule small steps are meant.
    ratio = median(ratios[np.isfinite(ratios) & (look["lr"] >= 0.5 * look.peak)][-20:])
    ahead = look.steps or look.count
    reach = median(look.ratios) * max(ahead, look.count)  # ‖θ‖'s own lengths that all steps together can go
    if not (ratio < 2e-4 and reach < (0.3 if standing else 0.2)):
        return None
    if look.progress > (0.5 if standing else 0.35):
        return None
    # All steps together must be able to go three times the length of θ, or a short run ends on the way.
    wanted = min(1e-2, max(GOOD_RATIO, 3 / look.steps)) if look.steps else GOOD_RATIO
    raised = rounded(look.peak * min(10_000.0, max(3.0, wanted / max(ratio, 1e-12))))
    return Found(
        f"a step moves θ by {ratio:.1g} of itself, {percent(reach)} in a whole run of {ahead} steps if all went one "
        f"way; the loss has fallen by {percent(max(look.progress, 0.0))} in {look.count} steps",
        f"η = {look.peak:g} is too low",
        Remedy(f"η from {look.peak:g} to {raised:g}, or let adamas find-lr look for it.", {"lr": raised}),
        0.85 if ratio < 3e-5 else 0.7,
    )


KIND = Kind("D202", "lr-too-low", 44, examine, ("D702", "D703", "D205", "D206", "D602"), confirm=2)
