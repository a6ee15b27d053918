"""Adam's second moment in another norm: Adamax (p → ∞) and general p."""

from adamas.intrinsics import maximum, where
from adamas.registry import rule


@rule
def adamax(g, exp_avg, exp_inf, *, t, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, eps_form="paper"):
    """Adamax (Kingma & Ba 2015, Algorithm 2): u ← max(β₂u, |g|); θ ← θ − η/(1 − β₁ᵗ) · m/(u + ε).

    With ``eps_form="torch"`` ε stands inside the maximum: u ← max(β₂u, |g| + ε); θ ← θ − η/(1 − β₁ᵗ) · m/u.
    """
    if eps_form not in ("paper", "torch"):
        raise ValueError(f"Invalid eps_form value: {eps_form!r}: it must be 'paper' or 'torch'.")
    beta1, beta2 = betas
    exp_avg = beta1 * exp_avg + (1 - beta1) * g
    if eps_form == "torch":
        exp_inf = maximum(beta2 * exp_inf, abs(g) + eps)
        u = exp_inf
    else:
        exp_inf = maximum(beta2 * exp_inf, abs(g))
        u = exp_inf + eps
    return lr / (1 - beta1**t) * exp_avg / u, exp_avg, exp_inf


@rule
def lpadam(g, exp_avg, exp_p, *, t, lr=1e-3, betas=(0.9, 0.999), p=2.0, eps=1e-8):
    """Adam with the p-norm in place of the 2-norm (Kingma & Ba 2015, §7.1).

    v ← β₂ᵖv + (1 − β₂ᵖ)|g|ᵖ, corrected by 1 − β₂^(pt); θ ← θ − η m̂/(v̂^(1/p) + ε). p = 2 is Adam with β₂² for
    β₂; p → ∞ is Adamax. The state is u = v^(1/p), and the larger of β₂u and |g| is taken out of the sum, so
    that a large p neither overflows nor underflows.
    """
    beta1, beta2 = betas
    exp_avg = beta1 * exp_avg + (1 - beta1) * g
    largest = maximum(beta2 * exp_p, abs(g))
    scale = where(largest > 0, largest, 1)
    total = (beta2 * exp_p / scale) ** p + (1 - beta2**p) * (abs(g) / scale) ** p
    exp_p = largest * total ** (1 / p)
    m_hat = exp_avg / (1 - beta1**t)
    u_hat = exp_p / (1 - beta2 ** (p * t)) ** (1 / p)
    return lr * m_hat / (u_hat + eps), exp_avg, exp_p
