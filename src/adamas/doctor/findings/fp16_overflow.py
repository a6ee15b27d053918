"""float16 numbers beyond 65 504: an infinite loss or gradient with nothing that would scale it."""

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.run import Look


def examine(look: Look, standing: bool) -> Found | None:
    half = look.facts.get("half")
    if not half or look.setup.get("scaler") or not look.run.broken:
        return None
    step, what = look.run.broken[0]
    return Found(
        f"the {what} of step {step} is not finite, and {half} are float16, which ends at 65504; no scaler was given",
        "an overflow of float16",
        Remedy(
            "Compute in bfloat16, which has float32's range; or keep float32 weights, autocast to float16, and step "
            "through a GradScaler, which leaves such steps out.",
            {"dtype": "bfloat16", "scaler": True},
        ),
        0.9,
        "error",
    )


KIND = Kind("D103", "fp16-overflow", 8, examine, ("D101", "D102", "D105", "D201", "D703"), lasting=True)
