"""Parameters of the model that the optimizer does not have."""

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import listed
from adamas.doctor.run import Look


def examine(look: Look, standing: bool) -> Found | None:
    names = [str(name) for name in look.facts.get("parameters", {}).get("missing", [])]
    if not names:
        return None
    return Found(
        f"{listed(names)} of the model require a gradient and are in no group of the optimizer",
        "the optimizer was made before the layer was added or replaced, or from a part of the model",
        Remedy("Make the optimizer from model.parameters() after the model is complete.", {"add_parameters": names}),
        0.95,
    )


KIND = Kind("D506", "missing-parameters", 13, examine, ("D202", "D501", "D602", "D702", "D703", "D504"))
