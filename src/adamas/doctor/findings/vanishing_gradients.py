"""Gradients that fade from the last layer to the first."""

import numpy as np

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.run import Look, medians


def examine(look: Look, standing: bool) -> Found | None:
    weights = look.of_kind("weight")
    norms = look.tensors("grad_norm")
    if len(norms) < 2 or len(weights) < 4 or len(look.sizes) != norms.shape[1]:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = medians(norms[-3:])[weights] / np.sqrt(look.sizes[weights])
    fine = np.isfinite(scale)
    scale, weights = scale[fine], weights[fine]
    if len(scale) < 4 or scale[-1] <= 0:
        return None
    third = max(1, len(scale) // 3)
    first, last = float(medians(scale[:third])), float(medians(scale[-third:]))
    if first > (3e-3 if standing else 1e-3) * last:
        return None
    if look.progress > 0.5:
        return None
    return Found(
        f"a coordinate of the gradient is {first:.1g} in the first layers ({look.names[weights[0]]}) and {last:.1g} "
        f"in the last ({look.names[weights[-1]]}), over {len(scale)} weights",
        "every layer shrinks the gradient: saturating activations, an initialisation that is too small, or depth "
        "without residuals and norms",
        Remedy(
            "ReLU or GELU in place of saturating activations with He's initialisation, and residual connections or a "
            "norm in every block.",
            {"activation": "relu", "init": "kaiming", "norm": "layer"},
        ),
        0.9,
    )


KIND = Kind(
    "D501",
    "vanishing-gradients",
    32,
    examine,
    ("D202", "D206", "D301", "D503", "D504", "D602", "D702", "D703"),
    confirm=2,
)
