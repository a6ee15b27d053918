"""Validation inputs that were not normalised as the training inputs were, or batches normalised by themselves."""

import math

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.run import Look


def examine(look: Look, standing: bool) -> Found | None:
    train, valid = look.facts.get("inputs"), look.facts.get("eval_inputs")
    if not train:
        return None
    remedy = Remedy(
        "Compute mean and standard deviation once, on the training data alone, and use these two for every batch of "
        "training and validation.",
        {"normalise": True},
    )
    column = look.facts.get("telling_column")
    if column:
        return Found(
            f"column {column[0]} of the inputs has a correlation of {column[1]:.3f} with the label",
            "a column that holds the label, or was computed from it: a leak",
            Remedy(f"Leave column {column[0]} out."),
            0.8,
        )
    exact = float(train.get("self_normalised", 0.0))
    # If it is the same rows each time, their own mean and spread are those of the training data.
    if exact >= 0.95 and train.get("batches", 0) >= 5 and not train.get("the_same"):
        return Found(
            f"every one of {train['batches']} training batches has mean 0 and standard deviation 1 to five digits",
            "each batch is normalised by its own mean and spread: samples leak into one another, and a sample by "
            "itself looks different",
            remedy,
            0.9,
        )
    if not valid:
        return None
    std = max(float(train["std"]), 1e-12)
    shift = abs(float(valid["mean"]) - float(train["mean"])) / std
    scale = abs(math.log(max(float(valid["std"]), 1e-12) / std))
    if shift < (0.3 if standing else 0.5) and scale < math.log(1.5 if standing else 2):
        return None
    return Found(
        f"validation inputs have mean {valid['mean']:.3g} and standard deviation {valid['std']:.3g}, training inputs "
        f"{train['mean']:.3g} and {train['std']:.3g}",
        "the two are normalised by different statistics, or one of them not at all",
        remedy,
        0.85,
    )


KIND = Kind("D604", "leaking-normalisation", 19, examine, ("D602", "D701"))
