"""SWATS as Keskar & Socher (2017, Algorithm 1) has it: NumPy float64, one plain loop, in the form of torch's SGD.

Nothing here is shared with the library. It departs from the paper where the library says that it does: 1/γ is averaged,
the momentum goes on, and what is averaged is in units of the η that a schedule gives.
"""

import numpy as np


def run(theta, gradient, steps, last, lr, betas=(0.9, 0.999), eps=1e-8, momentum=0.9, decay=0.0):
    """AdamW to the step ``last``, then SGD with momentum.

    Args:
        theta: 1-D, copied.
        gradient: θ and t → the gradient.
        last: the last step of AdamW; None: all are.
        lr: t → η of AdamW, a number or an array like theta.
        decay: λ, decoupled.

    Returns:
        θ after each step; γ of each step of AdamW; the η with which SGD began, in the form θ − η(1 − μ)b.
    """
    theta = np.array(theta, np.float64)
    m, v, b = np.zeros_like(theta), np.zeros_like(theta), np.zeros_like(theta)
    path, gammas, inverses = [], [], []
    ratio = None
    for t in range(1, steps + 1):
        g, eta = np.asarray(gradient(theta, t), np.float64), lr(t)
        decayed = eta * decay * theta
        if last is None or t <= last:
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g * g
            p = -eta * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
            gammas.append((p @ p) / -(p @ g))
            inverses.append(-(p @ (eta * g)) / (p @ p))
            theta = theta + p - decayed
            if t == last:
                weights = betas[1] ** np.arange(t - 1, -1, -1)  # the average, written out
                ratio = weights.sum() / (weights @ inverses)
                b = m / (1 - momentum)  # what torch's buffer of undampened gradients would be
        else:
            b = momentum * b + g
            theta = theta - (1 - momentum) * (ratio * eta) * b - decayed
        path.append(theta)
    return path, gammas, None if ratio is None else ratio * lr(last)
