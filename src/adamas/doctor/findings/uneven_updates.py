"""A tensor that moves much faster or slower than the others."""

import numpy as np

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import percent
from adamas.doctor.run import Look, medians


def examine(look: Look, standing: bool) -> Found | None:
    weights = look.of_kind("weight")
    update, param = look.tensors("update_norm"), look.tensors("param_norm")
    if len(update) < 4 or len(weights) < 3 or look.count < 50:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (update[-4:] / param[-4:])[:, weights]
    ratios = np.min(ratios, axis=0)  # in each of the last four samples
    fine = np.isfinite(ratios) & (ratios > 0)
    if fine.sum() < 3:
        return None
    usual = float(medians(ratios[fine]))
    i = int(np.nanargmax(np.where(fine, ratios, np.nan)))
    if ratios[i] < (0.05 if standing else 0.1) or ratios[i] < 20 * usual:
        return None
    name = look.names[weights[i]]
    return Found(
        f"each step moves {name} by {percent(float(ratios[i]))} of itself, the median of the weights by "
        f"{percent(usual)}",
        "an η that fits the others and not this one: it was initialised small, or is used much more often",
        Remedy(f"Give {name} a group of its own with a lower η, or initialise it as large as the others."),
        0.5,
        "note",
    )


KIND = Kind("D206", "uneven-updates", 70, examine, confirm=2)
