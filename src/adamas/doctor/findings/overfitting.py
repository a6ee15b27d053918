"""The validation loss rises while the training loss falls."""

import numpy as np

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import rounded
from adamas.doctor.run import Look, median


def examine(look: Look, standing: bool) -> Found | None:
    at, values = look.validations
    if len(values) < 5:
        return None
    b = int(values.argmin())
    best, late = float(values[b]), median(values[-3:])
    if b >= len(values) - 3:
        return None
    noise = 1.4826 * median(np.abs(np.diff(values))) if len(values) > 6 else 0.0
    rise = (late - best) / max(abs(best), 1e-30)
    gained = look.guess - best if look.guess > best else abs(look.first)
    if late - best < 0.05 * gained:
        return None  # almost all that was learnt of it is there still
    if rise < (0.05 if standing else 0.1) or late - best < 2 * min(noise, 0.5 * abs(late - best)):
        return None
    then, now = look.train_at(float(at[b])), look.train_at(float(at[-1]))
    if not now < (1.0 if standing else 0.95) * then:
        return None
    step = int(at[b])
    decay = float(look.settings.get("weight_decay", 0.0))
    more = rounded(max(0.01, 10 * decay)) if decay < 0.1 else decay
    return Found(
        f"the validation loss rose from {best:.3g} at step {step} to {late:.3g}, while the training loss fell from "
        f"{then:.3g} to {now:.3g}",
        "overfitting: what is learnt since then is about the training samples alone",
        Remedy(
            f"Stop at step {step} (EarlyStopping keeps the best); or more data, augmentation, dropout, or a decoupled "
            f"weight decay of {more:g}.",
            {"stop_at": step, "weight_decay": more, "decoupled": True},
        ),
        0.9,
    )


KIND = Kind("D701", "overfitting", 50, examine, ("D703", "D205"), confirm=1)
