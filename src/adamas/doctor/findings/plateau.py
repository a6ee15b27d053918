"""The loss has stopped falling early, far from 0, for no reason that another finding names."""

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import percent, rounded
from adamas.doctor.run import Look


def examine(look: Look, standing: bool) -> Found | None:
    if look.warming:
        return None
    look = look.telling
    if look.count < 100 or not look.reached(0.3, 200) or not look.first > 0 or look.joined:
        return None
    if look.drop(0.6) > (0.02 if standing else 0.0) or look.progress > (0.4 if standing else 0.3):
        return None
    lr = rounded(look.peak / 3)
    return Found(
        f"the loss is {look.now:.3g}, as it was over the last {percent(0.6)} of {look.count} steps; "
        f"{percent(max(0.0, look.progress))} of the "
        "first loss is gone",
        "a plateau, a poor minimum, or an η between too low and too high",
        Remedy(f"Let adamas find-lr look for η; η from {look.peak:g} to {lr:g} where the loss is noisy.", {"lr": lr}),
        0.4,
        "note",
    )


KIND = Kind("D703", "plateau", 80, examine, ("D205",), confirm=2)
