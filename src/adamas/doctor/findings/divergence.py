"""The loss grows, or has grown out of all numbers."""

import math

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import lower_lr
from adamas.doctor.run import Look, median


def examine(look: Look, standing: bool) -> Found | None:
    if look.facts.get("half") and look.run.broken:
        return None
    rising = False
    if len(look.loss) >= 15 and len(look.windows) >= 3:
        level = max(look.first, look.best)
        last = median(look.loss[-5:])
        spread = look.noise if math.isfinite(look.noise) else 0.0
        rising = last > level + (0.5 if standing else 1.0) * abs(level) + 6 * spread and last > 0.7 * look.windows.max()
    grown = len(look.loss) >= 4 and median(look.loss[-2:]) > 2 * abs(look.first)
    broke = bool(look.run.broken) and (grown or look.early_ratio > 0.3)
    if not (rising or broke):
        return None
    at = look.run.broken[0][0] if broke else look.step
    told = f"then it was no number from step {at} on" if broke else "and does not come back"
    lr = look.peak
    clean = lower_lr(lr, max(look.early_ratio, look.ratio) if len(look.ratios) else math.nan)
    return Found(
        f"the loss went from {look.first:.4g} to {float(look.loss.max()):.4g} by step {at}, {told}",
        "steps that are too large" + (f": ‖Δθ‖/‖θ‖ was {look.early_ratio:.2g}" if len(look.ratios) else ""),
        Remedy(f"η from {lr:g} to {clean:g}.", {"lr": clean}) if math.isfinite(lr) else Remedy("Lower η tenfold."),
        0.75,
        "error",
    )


KIND = Kind("D102", "divergence", 42, examine, ("D703", "D206"))
