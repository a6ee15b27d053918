"""Later rules: ADOPT and Lion."""

from adamas.intrinsics import maximum, minimum, sign, sqrt, where
from adamas.registry import rule


@rule
def adopt(g, exp_avg, exp_avg_sq, *, t, lr=1e-3, betas=(0.9, 0.9999), eps=1e-6, eps_root=0.0):
    """ADOPT (Taniguchi et al. 2024, Algorithm 2): Adam whose v is one step older than its m.

    The first gradient only starts v ← g²; after that, with k = t − 1,
    m ← β₁m + (1 − β₁)·clip(g/max(√v, ε), ±k^¼);  θ ← θ − ηm;  v ← β₂v + (1 − β₂)g².
    """
    beta1, beta2 = betas
    started = t > 1
    lr = where(started, lr, 0)
    bound = (t - 1) ** 0.25
    normed = g / maximum(sqrt(exp_avg_sq + eps_root), eps)
    clipped = minimum(maximum(normed, -bound), bound)
    exp_avg = where(started, beta1 * exp_avg + (1 - beta1) * clipped, exp_avg)
    exp_avg_sq = where(started, beta2 * exp_avg_sq + (1 - beta2) * g**2, g**2)
    return lr * exp_avg, exp_avg, exp_avg_sq


@rule(decoupled=True)
def lion(g, exp_avg, *, lr=1e-4, betas=(0.9, 0.99)):
    """Lion (Chen et al. 2023, Algorithm 2): θ ← θ − η sign(β₁m + (1 − β₁)g);  m ← β₂m + (1 − β₂)g.

    Its decay is decoupled, unless told otherwise.
    """
    beta1, beta2 = betas
    step = lr * sign(beta1 * exp_avg + (1 - beta1) * g)
    exp_avg = beta2 * exp_avg + (1 - beta2) * g
    return step, exp_avg
