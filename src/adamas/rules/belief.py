"""AdaBelief: the second moment of the gradient's surprise."""

from adamas.intrinsics import sqrt
from adamas.registry import rule


@rule
def adabelief(g, exp_avg, exp_avg_var, *, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-16, eps_root=0.0):
    """AdaBelief (Zhuang et al. 2020, Algorithm 2): Adam whose second moment is that of g − m.

    s ← β₂s + (1 − β₂)(g − m)² + ε;  θ ← θ − η m̂/(√ŝ + ε).
    """
    beta1, beta2 = betas
    exp_avg = beta1 * exp_avg + (1 - beta1) * g
    exp_avg_var = beta2 * exp_avg_var + (1 - beta2) * (g - exp_avg) ** 2 + eps
    m_hat = exp_avg / (1 - beta1**t)
    s_hat = exp_avg_var / (1 - beta2**t)
    return lr * m_hat / (sqrt(s_hat + eps_root) + eps), exp_avg, exp_avg_var
