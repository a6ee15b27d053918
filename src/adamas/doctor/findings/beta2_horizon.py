"""β₂ looks back much further than the run is long."""

import math

import numpy as np

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.run import Look, median


def examine(look: Look, standing: bool) -> Found | None:
    beta2 = look.settings.get("beta2")
    if not (beta2 and 0 < beta2 < 1) or look.count < 20 or not look.adaptive:
        return None
    horizon = 1 / (1 - beta2)
    steps = look.steps
    if steps is None:
        return None
    fallen, faded = math.nan, 1.0
    if len(look.norms) >= 20:
        first, late = median(look.norms[:5]), median(look.norms[-20:])
        if late < first:  # β₂ with which the first gradients have faded to the present ones in a quarter of the run
            faded = (late / first) ** (8 / steps)
        fallen = math.sqrt(float(np.mean(look.norms**2))) / late if late > 0 else math.nan
    long = horizon > 2 * steps and beta2 > 0.9991
    if not long:
        return None
    better = max(0.9, min(1 - 10 / steps, faded)) if steps < 10000 else 0.999
    better = float(f"{better:.2g}") if better < 0.99 else float(f"{better:.3g}")
    told = f"; √v is about {fallen:.2g} times what the last gradients call for" if fallen > 1.5 else ""
    return Found(
        f"β₂ = {beta2:g} averages over {horizon:.0f} steps, and the run has {steps}{told}",
        "v is the plain mean of all squared gradients since the start: the large ones of the first steps hold η/√v "
        "down to the end",
        Remedy(f"β₂ from {beta2:g} to {better:g}.", {"beta2": better}),
        0.9 if fallen > 1.5 else 0.8,
    )


KIND = Kind("D302", "beta2-horizon", 26, examine, ("D202", "D702", "D703"))
