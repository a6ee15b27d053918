"""Parameters that cannot change: requires_grad is off, or their η is 0."""

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import listed
from adamas.doctor.run import Look, median


def examine(look: Look, standing: bool) -> Found | None:
    known = look.facts.get("parameters", {})
    names = [str(name) for name in known.get("frozen", [])]
    share = float(known.get("frozen_share", 0.0))
    told = f"requires_grad is off for {listed(names)}, {len(names)} of {known.get('all', 0)} parameters"
    update, norms = look.tensors("update_norm"), look.tensors("grad_norm")
    if not names and len(update) >= 3 and look.lr > 1e-3 * look.peak:  # else it is the schedule that holds them still
        usual = median(norms[-3:])  # what is far below it may be lost in rounding
        still = (update[-3:] == 0).all(axis=0) & (norms[-3:] > 1e-3 * usual).all(axis=0)
        if still.any() and not still.all():
            names = [name for name, is_still in zip(look.names, still, strict=True) if is_still]
            told = f"{listed(names)} have gradients and do not move"
    if not names or look.count < 5:
        return None
    # Most of a model frozen is how one fine-tunes; a layer or two among others that train is a mistake more often, and
    # so is what does not learn.
    stuck = look.count >= 100 and look.reached(0.5, 300) and look.progress < 0.1 and look.now > 0.8 * look.guess
    meant = (share > 0.8 or look.tuned) and not stuck
    return Found(
        told,
        "they were frozen, or are in a group with η = 0",
        Remedy(
            f"If that is not meant, set requires_grad_(True) for {listed(names)} and see that their η is not 0.",
            {"requires_grad": names},
        ),
        0.4 if meant else 0.85,
        "note" if meant else "warning",
    )


KIND = Kind("D505", "frozen-parameters", 14, examine, ("D202", "D501", "D602", "D702", "D703", "D504"))
