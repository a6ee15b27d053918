"""Sigmoids and tanhs at the flat ends of their range."""

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import percent
from adamas.doctor.run import Look


def examine(look: Look, standing: bool) -> Found | None:
    probed = look.facts.get("saturated")
    worst = max(probed, key=lambda pair: pair[1], default=None) if probed else None
    if worst is None or worst[1] < (0.4 if standing else 0.6):
        return None
    return Found(
        f"{percent(float(worst[1]))} of the outputs of {worst[0]} lie within 1 % of the ends of its range",
        "saturated activations: what goes in is too large, by the weights, the biases or unnormalised inputs, and "
        "the slope there is near 0",
        Remedy(
            "Normalise the inputs, initialise by Glorot with biases of 0, and put a norm before the activation or use "
            "ReLU.",
            {"init": "kaiming", "activation": "relu", "norm": "layer"},
        ),
        0.85,
    )


KIND = Kind(
    "D503",
    "saturated-units",
    23,
    examine,
    ("D202", "D301", "D505", "D501", "D504", "D602", "D702", "D703", "D206"),
    confirm=2,
)
