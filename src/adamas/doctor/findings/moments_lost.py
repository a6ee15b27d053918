"""The optimizer counts fewer steps than the run: its state was not loaded, or has been thrown away."""

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.run import Look


def examine(look: Look, standing: bool) -> Found | None:
    lost = look.facts.get("moments_lost")
    if not lost:
        return None
    step, count, expected = lost
    return Found(
        f"at step {step} the optimizer had counted {count} steps where {expected} were made",
        "the optimizer's state was not saved or not loaded, or the optimizer was made anew: the moments begin at 0 "
        "and the bias correction again at t = 1, so the next steps are as large as the first of a run",
        Remedy(
            "Save optimizer.state_dict() with the weights and load it before going on; if it is gone, let η rise "
            "from 0 over a few hundred steps.",
            {"load_optimizer": True},
        ),
        0.95,
    )


KIND = Kind("D305", "moments-lost", 12, examine, ("D102", "D105", "D201", "D203", "D703"), lasting=True)
