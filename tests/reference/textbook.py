"""Each optimizer as its paper or torch's documentation has it: NumPy float64, one plain loop over the steps.

Nothing here is shared with the library: these functions are what it is measured against.

Every function takes ``theta`` (1-D, copied), ``grads`` (an iterable of 1-D arrays, or None where the
parameter got no gradient: nothing happens and its count t stands still) and ``lr`` (a number, or a callable
of t = 1, 2, …), and returns the final theta and its states under torch's names. It begins afresh, or goes on from
``states`` as one of them returned them.

Decay, coupled (``decoupled=False``): λθ joins the gradient, after ``maximize`` has negated it.
Decoupled, ``decay_after=False``: θ − Δ − ηλθ, with θ from before the step; it equals torch's θ(1−ηλ) − Δ.
Decoupled, ``decay_after=True``: θ' − ηλθ' with θ' = θ − Δ.
"""

import math
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext

import numpy as np


def _start(theta):
    return np.array(theta, dtype=np.float64)


def _held(states, theta, *names):
    """The count and the states to go on from: zeros at the start."""
    held = states or {}
    return int(held.get("step", 0)), *(np.array(held.get(name, np.zeros_like(theta)), np.float64) for name in names)


def _rate(lr, t):
    return float(lr(t)) if callable(lr) else float(lr)


def _gradient(grad, theta, weight_decay, decoupled, maximize):
    """The gradient that the moments see."""
    g = np.array(grad, dtype=np.float64)
    if maximize:
        g = -g
    if weight_decay != 0 and not decoupled:
        g = g + weight_decay * theta
    return g


def _moved(theta, delta, eta, weight_decay, decoupled, decay_after):
    """θ after the step Δ and the decoupled decay, if there is one."""
    if weight_decay == 0 or not decoupled:
        return theta - delta
    if decay_after:
        moved = theta - delta
        return moved - eta * weight_decay * moved
    return theta - delta - eta * weight_decay * theta


def sgd(
    theta,
    grads,
    *,
    states=None,
    lr=1e-3,
    momentum=0.0,
    dampening=0.0,
    nesterov=False,
    momentum_form="torch",
    weight_decay=0.0,
    decoupled=False,
    decay_after=False,
    maximize=False,
):
    """b ← βb+(1−damp)g, θ ← θ−ηb, or in velocity form u ← βu+ηg, θ ← θ−u.

    torch.optim.SGD; Sutskever et al. 2013, eq. 1–4 (velocity form and Nesterov).
    """
    if momentum_form not in ("torch", "velocity"):
        raise ValueError(momentum_form)
    if momentum_form == "velocity" and dampening != 0:
        raise ValueError("the velocity form has no dampening")
    theta = _start(theta)
    t, held = _held(states, theta, "momentum_buffer")
    buffer = held if "momentum_buffer" in (states or {}) else None
    for grad in grads:
        if grad is None:
            continue
        t += 1
        eta = _rate(lr, t)
        g = _gradient(grad, theta, weight_decay, decoupled, maximize)
        if momentum == 0:
            delta = eta * g
        elif momentum_form == "torch":
            if buffer is None:
                buffer = g.copy()  # the first gradient enters undampened
            else:
                buffer = momentum * buffer + (1 - dampening) * g
            if nesterov:
                delta = eta * (g + momentum * buffer)
            else:
                delta = eta * buffer
        else:
            if buffer is None:
                buffer = np.zeros_like(theta)
            buffer = momentum * buffer + eta * g
            if nesterov:
                delta = momentum * buffer + eta * g
            else:
                delta = buffer
        theta = _moved(theta, delta, eta, weight_decay, decoupled, decay_after)
    states = {"step": t}
    if buffer is not None:
        states["momentum_buffer"] = buffer
    return theta, states


def adagrad(
    theta,
    grads,
    *,
    states=None,
    lr=1e-2,
    lr_decay=0.0,
    initial_accumulator_value=0.0,
    eps=1e-10,
    eps_root=0.0,
    weight_decay=0.0,
    decoupled=False,
    decay_after=False,
    maximize=False,
):
    """s ← s+g², θ ← θ − η/(1+(t−1)·lr_decay) · g/(√(s+ε_root)+ε).

    Duchi et al. 2011, diagonal form; torch.optim.Adagrad.
    """
    theta = _start(theta)
    t, s = _held(states, theta, "sum")
    if not t:
        s = np.full_like(theta, initial_accumulator_value)
    for grad in grads:
        if grad is None:
            continue
        t += 1
        eta = _rate(lr, t)
        g = _gradient(grad, theta, weight_decay, decoupled, maximize)
        s = s + g**2
        delta = eta / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s + eps_root) + eps)
        # Decoupled decay is scaled by η itself; lr_decay belongs to the adaptive step.
        theta = _moved(theta, delta, eta, weight_decay, decoupled, decay_after)
    return theta, {"step": t, "sum": s}


def rmsprop(
    theta,
    grads,
    *,
    states=None,
    lr=1e-2,
    alpha=0.99,
    eps=1e-8,
    eps_root=0.0,
    momentum=0.0,
    centered=False,
    weight_decay=0.0,
    decoupled=False,
    decay_after=False,
    maximize=False,
):
    """v ← αv+(1−α)g², θ ← θ − ηg/(√(v+ε_root)+ε); centered: v less the squared mean of g.

    Hinton 2012, lecture 6e; Graves 2013, eq. 38–41 (centered); torch.optim.RMSprop.
    """
    theta = _start(theta)
    t, v, mean, buffer = _held(states, theta, "square_avg", "grad_avg", "momentum_buffer")
    for grad in grads:
        if grad is None:
            continue
        t += 1
        eta = _rate(lr, t)
        g = _gradient(grad, theta, weight_decay, decoupled, maximize)
        v = alpha * v + (1 - alpha) * g**2
        if centered:
            mean = alpha * mean + (1 - alpha) * g
            # v − mean² is never negative, but its float64 value can be, after thousands of equal gradients:
            # NumPy warns of the root then, which the tests take for an error. There is no answer here then.
            denominator = np.sqrt(v - mean**2 + eps_root) + eps
        else:
            denominator = np.sqrt(v + eps_root) + eps
        if momentum > 0:
            buffer = momentum * buffer + g / denominator
            delta = eta * buffer
        else:
            delta = eta * g / denominator
        theta = _moved(theta, delta, eta, weight_decay, decoupled, decay_after)
    states = {"step": t, "square_avg": v}
    if centered:
        states["grad_avg"] = mean
    if momentum > 0:
        states["momentum_buffer"] = buffer
    return theta, states


def adam(
    theta,
    grads,
    *,
    states=None,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    eps_root=0.0,
    amsgrad=False,
    weight_decay=0.0,
    decoupled=False,
    decay_after=False,
    maximize=False,
):
    """m ← β₁m+(1−β₁)g, v ← β₂v+(1−β₂)g², θ ← θ − η m̂/(√(v̂+ε_root)+ε).

    Kingma & Ba 2015, Alg. 1; Reddi et al. 2018, Alg. 2 (amsgrad), bias-corrected as in torch.optim.Adam.
    """
    theta = _start(theta)
    beta1, beta2 = betas
    t, m, v, v_max = _held(states, theta, "exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    for grad in grads:
        if grad is None:
            continue
        t += 1
        eta = _rate(lr, t)
        g = _gradient(grad, theta, weight_decay, decoupled, maximize)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        if amsgrad:
            v_max = np.maximum(v_max, v)  # of the uncorrected v, as torch has it
            v_hat = v_max / (1 - beta2**t)
        else:
            v_hat = v / (1 - beta2**t)
        delta = eta * m_hat / (np.sqrt(v_hat + eps_root) + eps)
        theta = _moved(theta, delta, eta, weight_decay, decoupled, decay_after)
    states = {"step": t, "exp_avg": m, "exp_avg_sq": v}
    if amsgrad:
        states["max_exp_avg_sq"] = v_max
    return theta, states


def sparse_adam(
    theta,
    grads,
    *,
    states=None,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    decoupled=False,
    decay_after=False,
    maximize=False,
):
    """α_t = η√(1−β₂ᵗ)/(1−β₁ᵗ), θ ← θ − α_t m/(√v+ε): the order of operations at the end of §2 of Kingma & Ba 2015.

    torch.optim.SparseAdam, where every coordinate has a gradient.
    """
    theta = _start(theta)
    beta1, beta2 = betas
    t, m, v = _held(states, theta, "exp_avg", "exp_avg_sq")
    for grad in grads:
        if grad is None:
            continue
        t += 1
        eta = _rate(lr, t)
        g = _gradient(grad, theta, weight_decay, decoupled, maximize)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        alpha = eta * math.sqrt(1 - beta2**t) / (1 - beta1**t)
        theta = _moved(theta, alpha * m / (np.sqrt(v) + eps), eta, weight_decay, decoupled, decay_after)
    return theta, {"step": t, "exp_avg": m, "exp_avg_sq": v}


def adamw(
    theta,
    grads,
    *,
    states=None,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    eps_root=0.0,
    amsgrad=False,
    weight_decay=1e-2,
    decoupled=True,
    decay_after=False,
    maximize=False,
):
    """θ ← θ − η m̂/(√(v̂+ε_root)+ε) − ηλθ, m and v as in Adam.

    Loshchilov & Hutter 2019, Alg. 2, with the decay scaled by the whole η as in torch.optim.AdamW.
    """
    return adam(
        theta,
        grads,
        states=states,
        lr=lr,
        betas=betas,
        eps=eps,
        eps_root=eps_root,
        amsgrad=amsgrad,
        weight_decay=weight_decay,
        decoupled=decoupled,
        decay_after=decay_after,
        maximize=maximize,
    )


def adamax(
    theta,
    grads,
    *,
    states=None,
    lr=2e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    eps_form="torch",
    weight_decay=0.0,
    decoupled=False,
    decay_after=False,
    maximize=False,
):
    """m ← β₁m+(1−β₁)g, u ← max(β₂u, |g|), θ ← θ − η/(1−β₁ᵗ) · m/u.

    Kingma & Ba 2015, Alg. 2, which has no ε (eps_form: where it goes); torch.optim.Adamax.
    """
    if eps_form not in ("torch", "paper"):
        raise ValueError(eps_form)
    theta = _start(theta)
    beta1, beta2 = betas
    t, m, u = _held(states, theta, "exp_avg", "exp_inf")
    for grad in grads:
        if grad is None:
            continue
        t += 1
        eta = _rate(lr, t)
        g = _gradient(grad, theta, weight_decay, decoupled, maximize)
        m = beta1 * m + (1 - beta1) * g
        if eps_form == "torch":  # ε inside the maximum, and so inside the state
            u = np.maximum(beta2 * u, np.abs(g) + eps)
            delta = eta / (1 - beta1**t) * m / u
        else:  # ε beside u, as in the rest of the family
            u = np.maximum(beta2 * u, np.abs(g))
            delta = eta / (1 - beta1**t) * m / (u + eps)
        theta = _moved(theta, delta, eta, weight_decay, decoupled, decay_after)
    return theta, {"step": t, "exp_avg": m, "exp_inf": u}


def lpadam(
    theta,
    grads,
    *,
    states=None,
    lr=1e-3,
    betas=(0.9, 0.999),
    p=2.0,
    eps=1e-8,
    weight_decay=0.0,
    decoupled=False,
    decay_after=False,
    maximize=False,
):
    """v ← β₂ᵖv+(1−β₂ᵖ)|g|ᵖ, θ ← θ − η m̂/((v/(1−β₂ᵖᵗ))^(1/p)+ε).

    Kingma & Ba 2015, section 7.1, eq. 6–7.
    """
    # v is kept as the formula has it, in decimal numbers of 40 digits with a boundless exponent: 1e-9 to the
    # power 1000 is no hardship there, and nothing needs rearranging. The state exp_p is v^(1/p).
    theta = _start(theta)
    beta1, beta2 = betas
    t, m, u = _held(states, theta, "exp_avg", "exp_p")
    with localcontext(Context(prec=40, Emax=MAX_EMAX, Emin=MIN_EMIN)):
        power = Decimal(p)
        beta2_p = Decimal(beta2) ** power
        v = [Decimal(float(u_i)) ** power for u_i in u]
        for grad in grads:
            if grad is None:
                continue
            t += 1
            eta = _rate(lr, t)
            g = _gradient(grad, theta, weight_decay, decoupled, maximize)
            m = beta1 * m + (1 - beta1) * g
            g_p = [abs(Decimal(float(g_i))) ** power for g_i in g]
            v = [beta2_p * v_i + (1 - beta2_p) * g_p_i for v_i, g_p_i in zip(v, g_p, strict=True)]
            correction = 1 - beta2_p**t
            root = np.array([float((v_i / correction) ** (1 / power)) for v_i in v])
            m_hat = m / (1 - beta1**t)
            delta = eta * m_hat / (root + eps)
            theta = _moved(theta, delta, eta, weight_decay, decoupled, decay_after)
        u = np.array([float(v_i ** (1 / power)) for v_i in v])
    return theta, {"step": t, "exp_avg": m, "exp_p": u}


def adabelief(
    theta,
    grads,
    *,
    states=None,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-16,
    eps_root=0.0,
    weight_decay=0.0,
    decoupled=False,
    decay_after=False,
    maximize=False,
):
    """s ← β₂s+(1−β₂)(g−m)²+ε with the new m, θ ← θ − η m̂/(√(ŝ+ε_root)+ε).

    Zhuang et al. 2020, Alg. 2.
    """
    theta = _start(theta)
    beta1, beta2 = betas
    t, m, s = _held(states, theta, "exp_avg", "exp_avg_var")
    for grad in grads:
        if grad is None:
            continue
        t += 1
        eta = _rate(lr, t)
        g = _gradient(grad, theta, weight_decay, decoupled, maximize)
        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * (g - m) ** 2 + eps  # ε stays in the state
        m_hat = m / (1 - beta1**t)
        s_hat = s / (1 - beta2**t)
        delta = eta * m_hat / (np.sqrt(s_hat + eps_root) + eps)
        theta = _moved(theta, delta, eta, weight_decay, decoupled, decay_after)
    return theta, {"step": t, "exp_avg": m, "exp_avg_var": s}


def nadam(
    theta,
    grads,
    *,
    states=None,
    lr=2e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    eps_root=0.0,
    momentum_decay=4e-3,
    weight_decay=0.0,
    decoupled=False,
    decay_after=False,
    maximize=False,
):
    """m̂ = μₜ₊₁m/(1−∏ᵗ⁺¹μ)+(1−μₜ)g/(1−∏ᵗμ), μₜ = β₁(1−½·0.96^(tψ)), θ ← θ − η m̂/(√(v̂+ε_root)+ε).

    Dozat 2016, Alg. 2; torch.optim.NAdam.
    """
    theta = _start(theta)
    beta1, beta2 = betas
    t, m, v = _held(states, theta, "exp_avg", "exp_avg_sq")
    product = float((states or {}).get("mu_product", 1.0))
    for grad in grads:
        if grad is None:
            continue
        t += 1
        eta = _rate(lr, t)
        g = _gradient(grad, theta, weight_decay, decoupled, maximize)
        mu = beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))
        mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * momentum_decay))
        product = product * mu
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = mu_next * m / (1 - product * mu_next) + (1 - mu) * g / (1 - product)
        v_hat = v / (1 - beta2**t)
        delta = eta * m_hat / (np.sqrt(v_hat + eps_root) + eps)
        theta = _moved(theta, delta, eta, weight_decay, decoupled, decay_after)
    return theta, {"step": t, "exp_avg": m, "exp_avg_sq": v, "mu_product": product}


def radam(
    theta,
    grads,
    *,
    states=None,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    eps_root=0.0,
    weight_decay=0.0,
    decoupled=False,
    decay_after=False,
    maximize=False,
):
    """θ ← θ − η m̂·r·√(1−β₂ᵗ)/(√v+ε) where ρₜ > 5, else θ ← θ − η m̂.

    Liu et al. 2020, Alg. 2; torch.optim.RAdam.
    """
    theta = _start(theta)
    beta1, beta2 = betas
    t, m, v = _held(states, theta, "exp_avg", "exp_avg_sq")
    rho_inf = 2 / (1 - beta2) - 1
    for grad in grads:
        if grad is None:
            continue
        t += 1
        eta = _rate(lr, t)
        g = _gradient(grad, theta, weight_decay, decoupled, maximize)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        correction2 = 1 - beta2**t
        rho = rho_inf - 2 * t * beta2**t / correction2
        if rho > 5:  # torch's threshold; the paper has 4
            r = math.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
            # ε stands beside the uncorrected √v, as in torch; ε_root beside v̂, as in the rest of the family,
            # hence multiplied by the correction here.
            adaptive = math.sqrt(correction2) / (np.sqrt(v + correction2 * eps_root) + eps)
            delta = eta * m_hat * r * adaptive
        else:
            delta = eta * m_hat
        theta = _moved(theta, delta, eta, weight_decay, decoupled, decay_after)
    return theta, {"step": t, "exp_avg": m, "exp_avg_sq": v}


def adopt(
    theta,
    grads,
    *,
    states=None,
    lr=1e-3,
    betas=(0.9, 0.9999),
    eps=1e-6,
    weight_decay=0.0,
    decoupled=False,
    decay_after=False,
    maximize=False,
):
    """m ← β₁m+(1−β₁)·clip(g/max(√v, ε), ±(t−1)^¼), θ ← θ − ηm, then v ← β₂v+(1−β₂)g².

    Taniguchi et al. 2024, Alg. 2 (clipped), t counting the calls from 1.
    """
    theta = _start(theta)
    beta1, beta2 = betas
    t, m, v = _held(states, theta, "exp_avg", "exp_avg_sq")
    for grad in grads:
        if grad is None:
            continue
        t += 1
        eta = _rate(lr, t)
        g = _gradient(grad, theta, weight_decay, decoupled, maximize)
        if t == 1:  # the first gradient only fills v: θ does not move, nor decay
            v = g**2
            continue
        bound = (t - 1) ** 0.25
        normed = np.clip(g / np.maximum(np.sqrt(v), eps), -bound, bound)
        m = beta1 * m + (1 - beta1) * normed
        theta = _moved(theta, eta * m, eta, weight_decay, decoupled, decay_after)
        v = beta2 * v + (1 - beta2) * g**2
    return theta, {"step": t, "exp_avg": m, "exp_avg_sq": v}


def lion(
    theta,
    grads,
    *,
    states=None,
    lr=1e-4,
    betas=(0.9, 0.99),
    weight_decay=0.0,
    decoupled=True,
    decay_after=False,
    maximize=False,
):
    """θ ← θ − η·sign(β₁m+(1−β₁)g), then m ← β₂m+(1−β₂)g.

    Chen et al. 2023, Alg. 2.
    """
    theta = _start(theta)
    beta1, beta2 = betas
    t, m = _held(states, theta, "exp_avg")
    for grad in grads:
        if grad is None:
            continue
        t += 1
        eta = _rate(lr, t)
        g = _gradient(grad, theta, weight_decay, decoupled, maximize)
        delta = eta * np.sign(beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g
        theta = _moved(theta, delta, eta, weight_decay, decoupled, decay_after)
    return theta, {"step": t, "exp_avg": m}
