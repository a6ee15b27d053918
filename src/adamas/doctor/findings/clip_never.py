"""A clipping that has never been active."""

import numpy as np

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import rounded
from adamas.doctor.run import Look, median


def examine(look: Look, standing: bool) -> Found | None:
    limit = look.settings.get("clip_grad_norm")
    raw = look["raw_norm"]
    raw = raw[np.isfinite(raw)]
    if not limit or len(raw) < 100 or float(raw.max()) > 0.1 * limit:
        return None
    better = rounded(2 * median(raw))
    return Found(
        f"‖g‖ has been {raw.max():.3g} at most in {look.count} steps, and would be clipped at {limit:g}",
        "a limit so high that it guards against nothing",
        Remedy(f"Clip to {better:g}, or leave it out.", {"clip_grad_norm": better}),
        0.7,
        "note",
    )


KIND = Kind("D402", "clip-never", 90, examine)
