"""What several findings compute alike: rounded values, and an η from what a step moved."""

import math

from adamas.doctor.run import Look, median

#: ‖Δθ‖/‖θ‖ of a training that goes well is near 1e-3 (Karpathy, CS231n notes, "Ratio of weights:updates").
GOOD_RATIO = 1e-3


def rounded(value: float) -> float:
    """To one digit, so that it reads as somebody's choice.

    >>> rounded(0.0218), rounded(7.3e-4), rounded(0.96)
    (0.02, 0.0007, 1.0)
    """
    if not (math.isfinite(value) and value > 0):
        return value
    return float(f"{value:.0e}")


def wanted_ratio(steps: int | None, usual: float) -> float:
    """‖Δθ‖/‖θ‖ to aim at: the usual one; in a short run so much that its steps can go three times the length of θ.

    >>> wanted_ratio(None, 1e-3), wanted_ratio(30_000, 1e-3), wanted_ratio(600, 1e-3), wanted_ratio(50, 1e-3)
    (0.001, 0.001, 0.005, 0.01)
    """
    return min(1e-2, max(usual, 3 / steps)) if steps else usual


def lower_lr(lr: float, ratio: float, steps: int | None = None) -> float:
    """An η in place of one with which steps have moved θ by so large a part.

    Between a 3rd and a 300th: what would bring ‖Δθ‖/‖θ‖ to 3 times `GOOD_RATIO`, since early steps may be larger.
    """
    factor = wanted_ratio(steps, 3 * GOOD_RATIO) / ratio if math.isfinite(ratio) and ratio > 0 else 0.1
    return rounded(lr * min(1 / 3, max(1 / 300, factor)))


def usual_clip(look: Look) -> float:
    """What to clip to: twice the median of ‖g‖ while the run was calm."""
    norms = look["raw_norm"]
    norms = norms[norms < math.inf]
    if not len(norms):
        norms = look.norms
    middle = median(norms)
    return rounded(2 * middle) if math.isfinite(middle) and middle > 0 else 1.0


def percent(share: float) -> str:
    """
    >>> percent(0.123), percent(0.0004)
    ('12 %', '0.04 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.01 or share == 0 else f"{100 * share:.2g} %"


def listed(names: list[str], shown: int = 3) -> str:
    """
    >>> listed(["a", "b"]), listed(["a", "b", "c", "d", "e"])
    ('a, b', 'a, b, c and 2 more')
    """
    more = len(names) - shown
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:shown])} and {more} more"
