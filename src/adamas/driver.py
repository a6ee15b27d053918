"""What every step does around its rule, written once, in the same language as the rules (`adamas.dialect`).

A kernel is `before`, the rule, and `after`, lowered as one text: each byte is moved once.
"""

from adamas.intrinsics import where


def before(g, param, *, maximize=False, weight_decay=0.0, decoupled=False):
    """The gradient as the rule sees it: turned round to maximize, with coupled (L2) decay λθ added."""
    if maximize:
        g = -g
    if weight_decay and not decoupled:
        g = g + weight_decay * param
    return g


def after(param, step, *, lr=0.0, weight_decay=0.0, decoupled=False, decay_after=False):
    """θ ← θ − (Δ + ηλθ), rounded once: a float32 factor 1 − ηλ would lose the decay where ηλ is small.

    With ``decay_after`` the decay acts on the θ that the step has led to, instead of the θ before it.
    """
    if weight_decay and decoupled:
        if decay_after:
            moved = param - step
            return moved - lr * weight_decay * moved
        return param - (step + lr * weight_decay * param)
    return param - step


def keep(g, state, *, tiny=0.0):
    """A state as it is kept: a denormal is set to 0 once its gradient is 0.

    After some 830 steps without gradient a first moment has decayed into denormals, which many processors
    handle a hundred times slower. Under a gradient that is not 0 nothing is touched.
    """
    return where(g == 0, where(abs(state) < tiny, 0.0, state), state)
