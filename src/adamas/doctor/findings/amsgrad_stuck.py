"""AMSGrad's maximum after one large gradient: it never falls, so no step is of the old size again."""

import numpy as np

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.run import Look, median


def examine(look: Look, standing: bool) -> Found | None:
    ratio = look.facts.get("amsgrad")
    if not look.settings.get("amsgrad") or not ratio or ratio < (2 if standing else 3):
        return None
    norms = np.fmax(look["raw_norm"], look["grad_norm"])
    fine = np.isfinite(norms)
    at, norms = look["step"][fine], norms[fine]
    if len(norms) < 15:
        return None
    top = int(norms.argmax())
    spike = float(norms[top]) / max(median(norms), 1e-300)
    if spike < 10:
        return None
    return Found(
        f"√(max v) is {ratio:.3g} times what the gradients are now, since ‖g‖ was {spike:.3g} times its median at step "
        f"{int(at[top])}",
        "AMSGrad divides by the largest v it has seen; after one spike all steps are too small for ever",
        Remedy(
            "amsgrad=False, and clip the norm of the gradients.",
            {"amsgrad": False, "clip_grad_norm": float(f"{2 * median(norms):.1g}")},
        ),
        0.9,
    )


KIND = Kind("D304", "amsgrad-stuck", 18, examine, ("D105", "D202", "D702", "D703", "D205", "D206"))
