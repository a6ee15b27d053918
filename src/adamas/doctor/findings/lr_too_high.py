"""η too high: the loss surges, swings, or stays up while steps move θ by a large part of itself."""

import math

import numpy as np

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import lower_lr
from adamas.doctor.run import Look, highest, spread


def swings(look: Look) -> float:
    """The correlation of a loss with the next one, what they have in common with their neighbourhood taken out.

    Mini-batches drawn at random make it about −0.3 by the taking out alone; a step that overshoots brings it near −1.
    """
    late = look.loss[-120:]
    if len(late) < 30:
        return 0.0
    rest = late[2:-2] - (late[:-4] + late[1:-3] + late[2:-2] + late[3:-1] + late[4:]) / 5
    spread = float(np.mean(rest**2))
    return float(np.mean(rest[1:] * rest[:-1])) / spread if spread > 0 else 0.0


def examine(look: Look, standing: bool) -> Found | None:
    loss = look.loss
    if len(loss) < 8 or not math.isfinite(look.peak):
        return None
    early = look.early_ratio if len(look.ratios) else math.nan
    ratio = look.ratio if len(look.ratios) else math.nan
    noise = look.noise if math.isfinite(look.noise) else 0.0
    loudest = max(noise, spread(loss[: len(loss) // 2]))  # η is high in the first half, and so is its noise
    level = abs(look.first)
    top = highest(loss)
    surge = (top - look.first) / level if level else 0.0
    known = math.isfinite(early)
    large = max(early, ratio) if known else math.nan
    reasons: list[str] = []
    ease = 0.6 if standing else 1.0
    stuck = len(loss) >= 30 and look.now > 0.9 * look.first and look.now > look.first - 3 * noise
    if surge > (0.5 if large > 0.1 else 1.0) * ease and top > look.first + 6 * loudest and (not known or large > 0.02):
        at = int(look.loss_at[loss.argmax()])
        reasons.append(f"the loss rose {top / look.first:.3g}-fold, to {top:.3g}, by step {at}")
    if known and stuck and early > 0.1 * ease and surge > 0.05:
        reasons.append(f"the loss is {look.now:.3g} after {look.count} steps, and was {look.first:.3g} at the first")
    thrown = known and early > 0.1 * ease and top > 1.2 * look.entropy
    if thrown and look.count >= 60 and look.now > 0.95 * look.entropy:
        reasons.append(f"the loss is {look.now:.3g} after {look.count} steps, and guessing has {look.entropy:.3g}")
    if known and look.count >= 50 and ratio > 0.1 * ease and (look.drop(0.5) <= 0.05):
        reasons.append(f"steps still move θ by {ratio:.2g} of itself after {look.count} of them")
    back = swings(look)
    if back < -0.75 / (1 if not standing else 1.2) and noise > 0.05 * abs(look.now) and look.drop(0.5) <= 0.3:
        reasons.append(f"the loss swings from step to step by {noise:.3g} (correlation {back:.2f})")
    if len(look.windows) >= 6 and known and look.now > 1.5 * look.best + 4 * noise and ratio > 0.03 * ease:
        reasons.append(f"the loss is {look.now:.3g} after it had been {look.best:.3g}")
    if not reasons:
        return None
    lr = look.peak
    clean = lower_lr(lr, large, look.steps)
    moved = f" while ‖Δθ‖/‖θ‖ was {large:.2g}" if known else ""
    return Found(
        f"{reasons[0]}{moved}",
        f"η = {lr:g} is too high",
        Remedy(f"η from {lr:g} to {clean:g}.", {"lr": clean}),
        min(0.95, 0.7 + 0.1 * len(reasons)),
        "error" if surge > 3 and stuck else "warning",
    )


KIND = Kind(
    "D201",
    "lr-too-high",
    40,
    examine,
    ("D102", "D105", "D203", "D205", "D206", "D502", "D503", "D504", "D602", "D702", "D703"),
    lasting=True,
)
