"""η is as high at the end of the run as at its peak."""

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import percent
from adamas.doctor.run import Look


def examine(look: Look, standing: bool) -> Found | None:
    if look.count < 50 or not look.peak > 0:
        return None
    ahead = look.facts.get("rates_ahead")
    final = min((factor for step, factor in ahead if step >= 0.9 * (look.steps or 0)), default=None) if ahead else None
    moves = bool(ahead and final is not None and final < 0.999) or (
        len(look.rates) > 1 and float(look.rates[-1]) < 0.9999 * look.peak
    )
    if look.steps is None or not (look.reached(0.8, 0) or (ahead and look.reached(0.1, 0))):
        return None
    share = final if final is not None else look.lr / look.peak
    if share < (0.5 if standing else 0.7):
        return None
    # What the noise is made of are steps that are large for the little that each batch tells.
    noisy = look.drop(0.4) <= 0.02 or look.noise > 0.1 * abs(look.now)
    restless = look.reached(0.8, 0) and noisy and len(look.ratios) > 0 and look.ratio > 8e-3 and look.progress < 0.95
    if not (moves or restless):
        return None
    return Found(
        f"η is {percent(share)} of its peak at the end of {look.steps} steps"
        + (
            f"; the loss is near {look.now:.3g}, give or take {look.noise:.2g}, while steps move θ by {look.ratio:.1g} "
            "of itself"
            if restless
            else ""
        ),
        "the schedule is longer than the run"
        if moves
        else "η is constant: at the end, steps only carry the noise about",
        Remedy(
            f"Let η fall to 0 over the {look.steps} steps, as a cosine or linearly.",
            {"schedule": "cosine", "schedule_steps": look.steps},
        ),
        0.8 if moves else 0.5,
        "warning" if moves else "note",
    )


KIND = Kind("D205", "schedule-never-decays", 41, examine, ("D502", "D701", "D702", "D703"))
