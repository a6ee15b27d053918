"""Gradients that are now and then many times their usual size."""

import math

import numpy as np
from numpy.typing import NDArray

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import usual_clip
from adamas.doctor.run import Floats, Look, median


def before(norms: Floats, at: NDArray[np.intp]) -> Floats:
    """The median of up to 50 norms before each of some places."""
    padded = np.concatenate([np.full(50, math.inf), norms])
    windows = np.sort(np.lib.stride_tricks.sliding_window_view(padded, 50)[at], axis=1)
    there, rows = np.minimum(at, 50), np.arange(len(at))
    return (windows[rows, (there - 1) // 2] + windows[rows, there // 2]) / 2


def examine(look: Look, standing: bool) -> Found | None:
    if look.settings.get("clip_grad_norm"):
        return None
    norms = np.fmax(look["raw_norm"], look["grad_norm"])
    finite = np.isfinite(norms)
    at, norms = look["step"][finite], norms[finite]
    if len(norms) < 15:
        return None
    recurrent = bool(look.facts.get("architecture", {}).get("recurrent"))
    if look.early_ratio > 0.1 and not recurrent:
        return None  # θ was thrown about: that is η
    usual = median(norms)
    # Against the 50 before it, since gradients of a run that converges fall by themselves, and a burst takes several
    # steps to build up; and above those of the beginning, since a hard batch late in such a run does no harm.
    candidates = 5 + np.flatnonzero(norms[5:] > max(3 * median(norms[:9]), 10 * float(norms.min())))
    constantly = recurrent and usual > 100
    if not (len(candidates) or constantly):
        return None
    with np.errstate(divide="ignore"):
        jumps = norms[candidates] / before(norms, candidates)
    bursts = jumps > 10
    highest = float(np.max(jumps, where=bursts, initial=0.0))
    limit = 50 if recurrent else 100
    if recurrent and look.reached(0.3, 100) and look.progress < 0.3:  # as if it had been thrown back each time
        limit = 20
    burst = highest > limit
    if not (burst or constantly):
        return None
    clip = usual_clip(look) if burst else 1.0
    hurt = len(look.windows) >= 3 and look.now > 1.2 * look.best + 2 * (look.noise if math.isfinite(look.noise) else 0)
    where = int(at[int(norms.argmax())])
    return Found(
        f"‖g‖ was {norms.max():.3g} at step {where} where {usual:.3g} is usual; "
        f"{int(bursts.sum())} of {len(norms)} steps above ten times those before them",
        "gradients that grow from layer to layer"
        + (" through the steps of the recurrence" if recurrent else "")
        + ", and no clipping",
        Remedy(f"Clip the norm of the gradients to {clip:g}.", {"clip_grad_norm": clip}),
        0.9 if recurrent else 0.7,
        "error" if hurt else "warning",
    )


KIND = Kind("D105", "exploding-gradients", 30, examine, ("D102", "D201", "D206", "D703"), lasting=True)
