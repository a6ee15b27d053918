"""Weight decay that goes through the moments of an adaptive rule."""

import numpy as np

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import percent
from adamas.doctor.run import Look, median


def examine(look: Look, standing: bool) -> Found | None:
    decay = float(look.settings.get("weight_decay", 0.0))
    if not decay or look.settings.get("decoupled") or not look.adaptive or look.count < 10:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        share = decay * look["param_norm"] / look["grad_norm"]
    share = median(share[np.isfinite(share)][-50:])
    if not share > (0.1 if standing else 0.2) or decay < 1e-3:
        return None
    return Found(
        f"λ‖θ‖ = {percent(share)} of ‖g‖ at λ = {decay:g}, and it is added to the gradient",
        "coupled decay in an adaptive rule: λθ joins the moments and is divided by √v, so every weight decays by "
        "about η a step however small λ is, those with small gradients most (Loshchilov, Hutter 2019)",
        Remedy(
            f"AdamW, whose decay stands beside the moments, with weight_decay={min(decay, 0.01):g}.",
            {"decoupled": True, "weight_decay": min(decay, 0.01)},
        ),
        0.9,
    )


KIND = Kind("D303", "coupled-decay", 20, examine, ("D202", "D702", "D703", "D502", "D504", "D205", "D501", "D602"))
