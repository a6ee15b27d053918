"""Parameters of the optimizer that never get a gradient."""

import numpy as np

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import listed
from adamas.doctor.run import Look


def examine(look: Look, standing: bool) -> Found | None:
    norms = look.tensors("grad_norm")
    if len(norms) < 3 or look.count < 10 or not np.isfinite(norms).any():
        return None
    never = [not bool(column.any()) for column in ((norms > 0) | np.isinf(norms)).T]
    frozen = set(look.facts.get("parameters", {}).get("frozen", []))
    names = [name for name, out in zip(look.names, never, strict=True) if out and name not in frozen]
    if not names or len(names) == len(look.names):
        return None
    return Found(
        f"{listed(names)} had no gradient, or one of exactly 0, in {len(norms)} samples",
        "the loss does not depend on them: a part of the model that is not used, a detach() or no_grad() on the way, "
        "or dead units before them",
        Remedy(
            "Look for detach(), .data, argmax or no_grad() between them and the loss; or leave them out of the "
            "optimizer."
        ),
        0.85,
    )


KIND = Kind("D504", "unreached-parameters", 46, examine, ("D702", "D703"), confirm=2)
