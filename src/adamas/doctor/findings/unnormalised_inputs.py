"""Inputs far from zero mean and unit variance."""

import math

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.run import Look


def examine(look: Look, standing: bool) -> Found | None:
    seen = look.facts.get("inputs")
    if not seen or look.facts.get("architecture", {}).get("normalises"):
        return None
    mean, std, spread = float(seen["mean"]), float(seen["std"]), float(seen.get("spread", 1.0))
    size = math.hypot(mean, std)
    limit = 15 if standing else 20
    if size < limit and not 0 < size < 1e-3 and spread < 1e3:
        return None
    told = f"inputs have mean {mean:.4g} and standard deviation {std:.4g}"
    if spread >= 1e3:
        told += f"; their columns differ {spread:.1g}-fold in scale"
    return Found(
        told,
        "inputs that were not normalised: the first layer's outputs and gradients are as many times too large, and "
        "no η suits it and the others",
        Remedy(
            f"Normalise by the training data: (x {'+' if mean < 0 else '−'} {abs(mean):.4g}) / {std:.4g}"
            + (", column by column" if spread > 10 else "")
            + ".",
            {"normalise": True},
        ),
        0.9,
    )


KIND = Kind(
    "D601",
    "unnormalised-inputs",
    16,
    examine,
    ("D102", "D105", "D201", "D202", "D203", "D206", "D401", "D502", "D503", "D501", "D702", "D703", "D602"),
)
