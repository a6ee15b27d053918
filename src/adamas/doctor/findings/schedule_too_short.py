"""η has come to its end long before the run does."""

import numpy as np

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.run import Look

#: Of the peak: η is at its end there. Steps by a tenth, twice, come to a hundredth, and go on learning with it.
END = 0.005


def examine(look: Look, standing: bool) -> Found | None:
    rates = look["lr"]
    if look.count < 10 or not look.peak > 0:
        return None
    ahead = look.facts.get("rates_ahead")  # [(step, factor of the peak)], from the schedule itself
    end, told = None, ""
    if ahead and look.steps:
        low = [step for step, factor in ahead if factor > END]
        last = max(low, default=0)
        if last < 0.7 * look.steps:
            end = int(last)
            told = f"the schedule brings η below a 200th of its peak at step {end} of {look.steps}"
    if end is None:
        high = np.flatnonzero(rates > END * look.peak)  # the last of them: a restart brings η back
        if high[-1] + 1 >= len(rates):
            return None
        end = int(look["step"][high[-1] + 1])
        since = look.step - end
        if not (since >= 10 and (end < 0.7 * look.steps if look.steps else since > 0.5 * end)):
            return None
        told = f"η has been at {rates[-1]:.3g} since step {end}" + (f" of {look.steps}" if look.steps else "")
    steps = look.steps or look.step
    return Found(
        f"{told}, after a peak of {look.peak:g}",
        "the schedule was made for another length than the run's (epochs for steps, or steps of one process)",
        Remedy(f"Make the schedule for {steps} steps.", {"schedule_steps": steps}),
        0.95,
    )


KIND = Kind("D204", "schedule-too-short", 22, examine, ("D202", "D702", "D703", "D205", "D206"))
