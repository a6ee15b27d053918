"""η too low: the loss creeps down in a straight line, and the weights hardly move."""

import math

import numpy as np

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import GOOD_RATIO, percent, rounded, wanted_ratio
from adamas.doctor.run import Look, median


def examine(look: Look, standing: bool) -> Found | None:
    if look.count < 40 or not look.reached(0.25, 200) or not len(look.ratios):
        return None
    if look.joined or look.tuned or look.warming:
        return None
    if look.progress > (0.5 if standing else 0.35):
        return None
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratios = look["update_norm"] / look["param_norm"]
        falls = np.fmax(look["raw_norm"], look["grad_norm"]) * look["update_norm"]
    at_peak = look["lr"] >= 0.5 * look.peak  # at the end of a schedule small steps are meant
    ratio = median(ratios[np.isfinite(ratios) & at_peak][-20:])
    ahead = look.steps or look.count
    length = max(ahead, look.count)
    reach = median(look.ratios) * length  # ‖θ‖'s own lengths that all steps together can go
    creeps = ratio < 2e-4 and reach < (0.3 if standing else 0.2)
    # Weights that begin at 0 have no length of their own to measure steps by. But no step can lower the loss by more
    # than ‖g‖·‖Δθ‖, to first order.
    share = median(falls[np.isfinite(falls) & at_peak][-50:]) * length / abs(look.first) if look.first else math.inf
    # Where what the steps so far could do stands out of the noise and nothing is done, there is nothing to learn.
    done = share * look.count / length * abs(look.first)
    aimless = done > 3 * look.noise and look.first - look.now < 0.1 * done
    lengths = look["param_norm"][np.isfinite(look["param_norm"])]
    from_0 = float(lengths[-1]) > 3 * float(lengths[0])
    bound = from_0 and share < (0.5 if standing else 0.35) and not aimless
    if not (creeps or bound):
        return None
    if creeps:
        factor = wanted_ratio(look.steps, GOOD_RATIO) / max(ratio, 1e-12)
        told = f"a step moves θ by {ratio:.1g} of itself, {percent(reach)} in a whole run of {ahead} steps if all went "
        told += "one way"
    else:
        factor = 10 / max(share, 1e-12)  # as much as would take the loss away in a tenth of the run
        told = f"‖g‖·‖Δθ‖ lets {ahead} steps take {percent(share)} of the loss away at most"
    raised = rounded(look.peak * min(10_000.0, max(3.0, factor)))
    return Found(
        f"{told}; the loss has fallen by {percent(max(look.progress, 0.0))} in {look.count} steps",
        f"η = {look.peak:g} is too low",
        Remedy(f"η from {look.peak:g} to {raised:g}, or let adamas find-lr look for it.", {"lr": raised}),
        0.85 if ratio < 3e-5 or bound else 0.7,
    )


KIND = Kind("D202", "lr-too-low", 44, examine, ("D702", "D703", "D205", "D206", "D602"), confirm=2)
