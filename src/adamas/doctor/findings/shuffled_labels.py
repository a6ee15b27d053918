"""Labels that have nothing to do with the inputs."""

import math

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.run import Look, median


def examine(look: Look, standing: bool) -> Found | None:
    if look.warming:
        return None
    look = look.telling
    at, values = look.validations
    guess = look.guess
    if not guess > 0:
        return None
    if len(values) >= 4:
        late, train = float(values[-1]), look.train_at(float(at[-1]))
        if float(values.min()) > (0.9 if standing else 0.95) * guess and train < 0.95 * guess and late > guess:
            return Found(
                f"the loss on training data fell to {train:.3g}, and the validation loss has never been below "
                f"{values.min():.3g}, where guessing has {guess:.3g}",
                "the network learns the samples by heart: labels that do not belong to their inputs, or validation "
                "data of another kind",
                Remedy(
                    "Look at twenty samples with their labels as the model gets them, after all shuffling and joining.",
                    {"labels": True},
                ),
                0.85,
            )
    if not look.reached(0.4, 200) or look.count < 100 or not len(look.ratios):
        return None
    half = look.loss[len(look.loss) // 2 :]
    level = median(half)
    still = abs(level - guess) < (0.07 if standing else 0.04) * guess and look.drop(0.5) < (0.04 if standing else 0.02)
    ratio = median(look.ratios[len(look.ratios) // 2 :])
    if still and ratio > 3e-4 and (not len(values) or median(values[len(values) // 2 :]) > 0.93 * guess):
        return Found(
            f"the loss is {level:.3g} after {look.count} steps, where guessing has {guess:.3g}, although steps move "
            f"θ by {ratio:.1g} of itself",
            "nothing in the inputs tells the labels: they were shuffled apart, or the wrong column was taken",
            Remedy(
                "Look at twenty samples with their labels as the model gets them, after all shuffling and joining.",
                {"labels": True},
            ),
            0.7 if math.isfinite(look.entropy) else 0.55,
        )
    return None


KIND = Kind("D602", "shuffled-labels", 48, examine, ("D701", "D702", "D703", "D205"), confirm=2)
