"""Adam and its closest kin."""

from adamas.dialect import Scalar
from adamas.intrinsics import maximum, sqrt, where
from adamas.registry import rule


@rule
def adam(
    g,
    exp_avg,
    exp_avg_sq,
    max_exp_avg_sq,
    *,
    t,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    eps_root=0.0,
    amsgrad=False,
):
    """Adam (Kingma & Ba 2015, Algorithm 1).

    m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  m̂ = m/(1 − β₁ᵗ);  v̂ = v/(1 − β₂ᵗ);  θ ← θ − η m̂/(√v̂ + ε).

    ``amsgrad`` (Reddi, Kale, Kumar 2018, Algorithm 2): the largest v seen replaces v, taken before the
    correction, as torch does. ``eps_root`` is a second ε, inside the root.
    """
    beta1, beta2 = betas
    exp_avg = beta1 * exp_avg + (1 - beta1) * g
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g**2
    v = exp_avg_sq
    if amsgrad:
        v = max_exp_avg_sq = maximum(max_exp_avg_sq, exp_avg_sq)
    m_hat = exp_avg / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return lr * m_hat / (sqrt(v_hat + eps_root) + eps), exp_avg, exp_avg_sq, max_exp_avg_sq


amsgrad = adam.variant("amsgrad", amsgrad=True)

adamw = adam.variant(
    "adamw",
    """AdamW (Loshchilov & Hutter 2019, Algorithm 2): Adam on the loss gradient alone, θ also loses ηλθ.""",
    weight_decay=1e-2,
    decoupled=True,
)


@rule
def sparse_adam(g, exp_avg, exp_avg_sq, *, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
    """Adam in the form that torch has for sparse gradients (Kingma & Ba 2015, the end of §2).

    θ ← θ − η √(1 − β₂ᵗ)/(1 − β₁ᵗ) · m/(√v + ε). Here ε is added to √v as it is, not to √v̂, and so counts for
    1/√(1 − β₂ᵗ) times more than Adam's: 32 times at the first step.
    """
    beta1, beta2 = betas
    exp_avg = beta1 * exp_avg + (1 - beta1) * g
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g**2
    rate = lr * sqrt(1 - beta2**t) / (1 - beta1**t)
    return rate * exp_avg / (sqrt(exp_avg_sq) + eps), exp_avg, exp_avg_sq


@rule
def nadam(
    g,
    exp_avg,
    exp_avg_sq,
    *,
    t,
    mu_product: Scalar = 1.0,
    lr=2e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    eps_root=0.0,
    momentum_decay=4e-3,
):
    """NAdam (Dozat 2016): Adam with Nesterov's look-ahead in its first moment, in the form of torch.

    μ_t = β₁(1 − ½·0.96^(tψ)), ψ being ``momentum_decay``;
    θ ← θ − η [(1 − μ_t)/(1 − Πμ)·g + μ_{t+1}/(1 − μ_{t+1}Πμ)·m] / (√v̂ + ε).
    """
    beta1, beta2 = betas
    mu = beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))
    mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * momentum_decay))
    mu_product = mu_product * mu
    exp_avg = beta1 * exp_avg + (1 - beta1) * g
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g**2
    v_hat = exp_avg_sq / (1 - beta2**t)
    m_hat = (1 - mu) / (1 - mu_product) * g + mu_next / (1 - mu_product * mu_next) * exp_avg
    return lr * m_hat / (sqrt(v_hat + eps_root) + eps), exp_avg, exp_avg_sq, mu_product


@rule
def radam(g, exp_avg, exp_avg_sq, *, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, eps_root=0.0):
    """RAdam (Liu et al. 2020, Algorithm 2), with ε where torch has it.

    ρ_∞ = 2/(1 − β₂) − 1;  ρ_t = ρ_∞ − 2tβ₂ᵗ/(1 − β₂ᵗ). While ρ_t ≤ 5 the variance of v̂ is intractable and
    θ ← θ − η m̂; after that θ ← θ − η r_t m̂ √(1 − β₂ᵗ)/(√v + ε), with
    r_t = √((ρ_t − 4)(ρ_t − 2)ρ_∞ / ((ρ_∞ − 4)(ρ_∞ − 2)ρ_t)).
    """
    beta1, beta2 = betas
    rho_inf = 2 / (1 - beta2) - 1
    rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
    tractable = rho > 5
    r = where(
        tractable,
        sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho) * (1 - beta2**t)),
        1,
    )
    exp_avg = beta1 * exp_avg + (1 - beta1) * g
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g**2
    m_hat = exp_avg / (1 - beta1**t)
    root = sqrt(exp_avg_sq + (1 - beta2**t) * eps_root)
    adapted = where(tractable, r * m_hat / (root + eps), m_hat)
    return lr * adapted, exp_avg, exp_avg_sq
