"""Units that are 0 for every sample and pass no gradient on."""

import numpy as np

from adamas.doctor.diagnosis import Found, Kind, Remedy
from adamas.doctor.findings.remedies import percent
from adamas.doctor.run import Look


def examine(look: Look, standing: bool) -> Found | None:
    wanted = 0.4 if standing else 0.6
    probed = look.facts.get("dead")  # [place, share] of activations, the worst first
    where = share = None
    if probed is not None:
        worst = max(probed, key=lambda pair: pair[1], default=None)
        if worst is not None and worst[1] >= wanted:
            where, share = str(worst[0]), float(worst[1])
    else:  # nobody looks at activations: a dead unit's bias has no gradient
        biases = look.of_kind("bias")
        zeros = look.tensors("zero_share")
        if len(zeros) >= 3 and len(biases) > 1:
            steadily = np.min(zeros[-3:], axis=0)[biases[:-1]]
            if np.isfinite(steadily).any() and float(np.nanmax(steadily)) >= max(0.6, wanted):
                i = int(np.nanargmax(steadily))
                where, share = look.names[biases[i]], float(steadily[i])
    if where is None or share is None:
        return None
    return Found(
        f"{percent(share)} of the units behind {where} were 0 for every sample that was looked at",
        "dead ReLUs: a bias or a step that was too large has pushed them below 0 for all inputs, and no gradient "
        "brings them back",
        Remedy(
            "Begin with biases of 0 and He's initialisation; or a leaky ReLU or GELU, which pass something on below 0"
            + (f"; and η below {look.peak:g}" if look.early_ratio > 0.03 else "")
            + ".",
            {"init": "zero_bias", "activation": "leaky_relu"},
        ),
        0.85,
        # Some of a layer's units are to spare: a run that learns well has those that it needs.
        "note" if share < 0.9 and look.now < 0.5 * look.guess else "warning",
    )


# After η, warm-up and decay in rank: they kill units, too, and then are the cause.
KIND = Kind("D502", "dead-units", 43, examine, ("D202", "D501", "D504", "D602", "D702", "D703", "D206"), confirm=2)
