"""Validation with dropout on, or with batch norm that takes the validation batch's own statistics."""

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.run import Look


def examine(look: Look, standing: bool) -> Found | None:
    modes = look.facts.get("evaluated_in_train_mode")
    if not modes:
        return None
    return Found(
        f"validation at step {modes[0]} ran the model in training mode, with {modes[1]} at work",
        "model.eval() is missing before validation: dropout stays on, and batch norm uses and updates its statistics "
        "with the validation data, which leaks into the model",
        Remedy("model.eval() before validation and model.train() after it.", {"eval_mode": True}),
        0.95,
    )


KIND = Kind("D605", "evaluated-in-train-mode", 15, examine, ("D701", "D702", "D602"), lasting=True)
