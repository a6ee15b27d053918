"""What every step does around its rule, written once, in the same language as the rules (`adamas.dialect`).

A kernel is `before`, the rule, `after`, `keep` for each state, `average` and `clear`, lowered as one text: each byte
is moved once. `descend` stands in the rule's place after a late switch.
"""

from adamas.intrinsics import maximum, minimum, where


def before(
    g,
    param,
    *,
    grad_scaled=False,
    grad_factor=1.0,
    clip_grad_value=0.0,
    maximize=False,
    weight_decay=0.0,
    decoupled=False,
):
    """The gradient as the rule sees it.

    Unscaled and shortened to the norm it may have, both by one factor; clipped; turned round to maximize; with coupled
    (L2) decay λθ added.
    """
    if grad_scaled:
        g = grad_factor * g
    if clip_grad_value:
        g = minimum(maximum(g, -clip_grad_value), clip_grad_value)
    if maximize:
        g = -g
    if weight_decay and not decoupled:
        g = g + weight_decay * param
    return g


def descend(g, exp_avg, *, lr=0.0, sgd_gain=0.0, sgd_momentum=0.0):
    """Gradient descent with momentum in the rule's place: m ← μm + (1 − μ)g; Δ = gain·ηm.

    m is the average that the rule has kept. It is torch's SGD with a dampening of μ, and that without one at an η that
    is 1 − μ times as large.
    """
    exp_avg = sgd_momentum * exp_avg + (1 - sgd_momentum) * g
    return sgd_gain * lr * exp_avg, exp_avg


def after(param, step, *, lr=0.0, weight_decay=0.0, decoupled=False, decay_after=False, as_change=False):
    """θ ← θ − (Δ + ηλθ), rounded once: a float32 factor 1 − ηλ would lose the decay where ηλ is small.

    With ``decay_after`` the decay acts on the θ that the step has led to, instead of the θ before it. ``as_change`` is
    for a framework that adds what comes out to θ by itself: −(Δ + ηλθ), since θ' − θ has θ's rounding in it.
    """
    if weight_decay and decoupled:
        if decay_after:
            moved = param - step
            return -(step + lr * weight_decay * moved) if as_change else moved - lr * weight_decay * moved
        return -(step + lr * weight_decay * param) if as_change else param - (step + lr * weight_decay * param)
    return -step if as_change else param - step


def keep(g, state, *, tiny=0.0, flushes=False):
    """A state as it is kept: a denormal is set to 0 once its gradient is 0.

    After some 830 steps without gradient a first moment has decayed into denormals, which many processors
    handle a hundred times slower. Under a gradient that is not 0 nothing is touched. ``flushes`` is for what takes
    denormals for 0 by itself, as XLA does on the CPU, or is not slow with them, as GPUs are not.
    """
    if flushes:
        return state
    return where(g == 0, where(abs(state) < tiny, 0.0, state), state)


def average(param, ema, *, t, ema_decay=0.0):
    """The average of the weights, ē ← ē + (1 − d)(θ − ē) with d = min(decay, (1 + t)/(10 + t)): it warms up.

    Without the second term in d it would take 1/(1 − decay) steps to forget the weights that training began with.
    """
    if ema_decay:
        ema = ema + (1 - minimum(ema_decay, (1 + t) / (10 + t))) * (param - ema)
    return ema


def clear(g, *, zero_grad=False):
    """The gradient as the step leaves it."""
    return 0.0 if zero_grad else g
