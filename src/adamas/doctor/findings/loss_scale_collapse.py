"""A dynamic loss scale that is halved again and again: gradients overflow at any scale."""

import numpy as np

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.run import Look


def examine(look: Look, standing: bool) -> Found | None:
    scale = look["scale"]
    at = look["step"][np.isfinite(scale)]
    scale = scale[np.isfinite(scale)]
    if len(scale) < 8 or float(scale.max()) == float(scale.min()):
        return None
    fell = float(scale.max()) / max(float(scale[-1]), 1e-30)
    late = look["skipped"][-50:]
    skipped = float(np.mean(late[np.isfinite(late)])) if np.isfinite(late).any() else float(np.mean(np.diff(scale) < 0))
    if not (fell >= 2**10 and (scale[-1] <= 1 or skipped > 0.15)):
        return None
    return Found(
        f"the loss scale fell from {scale.max():g} to {scale[-1]:g} by step {int(at[-1])}; "
        f"{look.run.skips} steps were left out",
        "gradients that are not finite whatever the scale: NaN in the loss, or activations beyond 65504",
        Remedy("Compute in bfloat16, or in float32 the layer whose output is not finite first.", {"dtype": "bfloat16"}),
        0.85,
        "error",
    )


KIND = Kind("D104", "loss-scale-collapse", 9, examine, ("D101", "D102", "D201", "D703"), lasting=True)
