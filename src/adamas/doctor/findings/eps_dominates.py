"""ε is larger than √v̂: the rule is gradient descent with a tiny η there."""

import math

import numpy as np

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import percent, rounded
from adamas.doctor.run import Look, median, medians


def examine(look: Look, standing: bool) -> Found | None:
    eps = float(look.settings.get("eps", 0.0))
    shares, zeros = look.tensors("eps_share"), look.tensors("zero_share")
    if len(shares) < 3 or not eps or look.count < 20 or not look.adaptive:
        return None
    sizes = look.sizes if len(look.sizes) == shares.shape[1] else np.ones(shares.shape[1])
    fine = np.isfinite(shares[-3:]) & np.isfinite(zeros[-3:])
    # A coordinate that has never had a gradient has v = 0, and ε above it does no harm.
    moving = np.where(fine, (1 - zeros[-3:]) * sizes, 0.0).sum(axis=1)
    ruled = np.where(fine, np.maximum(shares[-3:] - zeros[-3:], 0) * sizes, 0.0).sum(axis=1)
    if (moving <= 0).any():
        return None
    # Where ε rules in some tensors alone, it is their gradients that have vanished: another ailment.
    known = fine.all(axis=0)
    if not known.any() or np.mean(medians((shares - zeros)[-3:, known]) > 0.3) < 0.75:
        return None
    share = float(medians(ruled / moving))
    if share < (0.3 if standing else 0.5) or (eps < 1e-6 and look.progress > 0.97):
        return None
    norm = median(look.norms[-20:])
    typical = norm / math.sqrt(float(sizes.sum())) if math.isfinite(norm) else math.nan
    less = 1e-8 if not math.isfinite(typical) else min(1e-8, rounded(1e-2 * typical)) if typical > 0 else 1e-12
    if less >= eps:
        less = rounded(eps * 1e-4)
    return Found(
        f"ε = {eps:g} outweighs √v̂ in {percent(share)} of the coordinates that have a gradient; "
        f"a gradient's coordinate is {typical:.1g} in the root mean square",
        "an ε that was chosen for larger gradients: where it rules, a step is η·m/ε, not η·m/√v",
        Remedy(f"ε from {eps:g} to {less:g}.", {"eps": less}),
        0.9,
    )


KIND = Kind("D301", "eps-dominates", 24, examine, ("D202", "D702", "D703", "D206", "D205", "D602", "D501"))
