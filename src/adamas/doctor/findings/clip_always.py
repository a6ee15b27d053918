"""Every step is clipped, and by a large factor: the limit is the learning rate."""

import numpy as np

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import percent, rounded
from adamas.doctor.run import Look, median


def examine(look: Look, standing: bool) -> Found | None:
    raw, coming = look["raw_norm"], look["grad_norm"]
    fine = np.isfinite(raw) & np.isfinite(coming) & (raw > 0)
    if fine.sum() < 8 or look.count < 30:
        return None
    coefficients = (coming[fine] / raw[fine])[-100:]
    active = float(np.mean(coefficients < 0.999))
    middle = median(coefficients)
    if active < 0.9 or middle > (0.2 if standing else 0.1):
        return None
    limit = look.settings.get("clip_grad_norm") or median(coming[fine][-100:])
    usual = median(raw[fine][-100:])
    better = rounded(10 * usual)  # such a run has stood still, and gradients grow when it begins to learn
    return Found(
        f"{percent(active)} of the last {len(coefficients)} measured steps were clipped, to {limit:.3g} where ‖g‖ is "
        f"{usual:.3g}: what is left is {percent(middle)}",
        "a limit far below the usual norm: it cuts every gradient, not the rare large one"
        + ("" if look.adaptive else f", so η is in effect {middle * look.lr:.2g}"),
        Remedy(f"Clip to {better:g}, ten times the norm that is usual now.", {"clip_grad_norm": better}),
        0.85,
        # With steps of a usual size it is normalised gradient descent, which many train recurrent nets by.
        "note" if median(look.ratios) > 3e-4 else "warning",
    )


KIND = Kind("D401", "clip-always", 28, examine, ("D202", "D702", "D703", "D301", "D205", "D602"))
