"""Gradients added up over several batches, without a division by their number."""

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.run import Look


def examine(look: Look, standing: bool) -> Found | None:
    seen = look.facts.get("accumulation")
    if not seen:
        return None
    passes, loss, share = int(seen["passes"]), str(seen["loss"]), float(seen["share"])
    # Once seen, what counts is whether it is nearer to the whole than to its part: it varies with the batches.
    if passes < 2 or share < (min(0.8, passes**-0.5) if standing else 0.8):
        return None
    lr = look.peak
    return Found(
        f"{passes} backward passes make a step, and each has the full gradient of a mean {loss} ({share:.2f} of it), "
        f"not 1/{passes}",
        f"the loss is not divided by {passes}: gradients are {passes} times too large, which for gradient descent is "
        f"an η of {lr * passes:g}, and clips {passes} times as often",
        Remedy(f"(loss / {passes}).backward().", {"divide_by": passes}),
        0.9,
    )


KIND = Kind("D606", "accumulation-undivided", 21, examine, ("D102", "D105", "D201", "D401"), confirm=2)
