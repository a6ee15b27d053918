"""Instability in the first steps at full η, of a network that needs a warm-up."""

import math

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import rounded
from adamas.doctor.run import Look, highest, spread


def examine(look: Look, standing: bool) -> Found | None:
    if look.count < 20 or look.warmed or not look.adaptive or not len(look.ratios):
        return None
    known = look.facts.get("architecture", {})
    post_norm = int(known.get("post_norm", 0))
    loss = look.loss
    part = loss[: max(30, len(loss) // 5)]
    if len(part) < 20:
        return None
    noise = spread(part)
    top = highest(part)
    surged = top > look.first + max(0.1 * abs(look.first), 4 * noise)
    entropy = look.entropy if math.isfinite(look.entropy) else look.first
    stuck = post_norm >= 2 and look.count >= 60 and look.now > 0.93 * min(entropy, look.first)
    recovered = look.now < 0.9 * look.first
    if post_norm < 2 and not (surged and recovered and 0.03 < look.early_ratio < 0.1):
        return None
    if post_norm >= 2 and not ((surged or stuck) and look.early_ratio > 2e-3):
        return None
    # 2/(1 − β₂) steps are the rule of Ma and Yarats (2021) for a linear warm-up; a quarter of a short run.
    length = max(10, min(round(2 / (1 - beta2(look))), round((look.steps or 16000) / 4)))
    told = (
        f"the loss rose from {look.first:.3g} to {top:.3g} in the first {len(part)} steps"
        if surged
        else f"the loss is still {look.now:.3g} after {look.count} steps, where guessing has {entropy:.3g}"
    )
    settings: dict[str, object] = {"warmup": length}
    advice = f"Let η rise linearly over the first {length} steps"
    if look.early_ratio > 0.02:
        settings["lr"] = rounded(look.peak / 3)
        advice += f", to {settings['lr']:g}"
    return Found(
        f"{told}; η was {look.peak:g} from the first step on, with which ‖Δθ‖/‖θ‖ was {look.early_ratio:.2g}",
        "Adam's first steps are of full size in every coordinate, since v knows one gradient only"
        + (
            f"; {post_norm} blocks have their norm after the sum (post-norm), whose gradients are large at first"
            if post_norm
            else ""
        ),
        Remedy(f"{advice}.", settings),
        0.85 if post_norm >= 2 else 0.6,
    )


def beta2(look: Look) -> float:
    """β₂, or Adam's default."""
    return min(0.9999, float(look.settings.get("beta2", 0.999)))


KIND = Kind(
    "D203",
    "no-warmup",
    36,
    examine,
    ("D102", "D105", "D201", "D206", "D702", "D703", "D602", "D501", "D502"),
    lasting=True,
)
