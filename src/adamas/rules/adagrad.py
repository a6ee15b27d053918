"""Rules that divide by the root of the squared gradients: AdaGrad and RMSprop."""

from adamas.intrinsics import maximum, sqrt, where
from adamas.registry import rule


@rule
def adagrad(g, sum, *, t, lr=1e-2, lr_decay=0.0, initial_accumulator_value=0.0, eps=1e-10, eps_root=0.0):
    """AdaGrad (Duchi, Hazan, Singer 2011, Fig. 1, diagonal): s ← s + g²; θ ← θ − η_t g/(√s + ε).

    η_t = η/(1 + (t − 1)·lr_decay); s starts at ``initial_accumulator_value``.
    """
    sum = where(t > 1, sum, initial_accumulator_value) + g**2
    return lr / (1 + (t - 1) * lr_decay) * g / (sqrt(sum + eps_root) + eps), sum


@rule
def rmsprop(
    g,
    square_avg,
    grad_avg,
    momentum_buffer,
    *,
    lr=1e-2,
    alpha=0.99,
    eps=1e-8,
    eps_root=0.0,
    momentum=0.0,
    centered=False,
):
    """RMSprop (Tieleman & Hinton 2012, lecture 6e): v ← αv + (1 − α)g²; θ ← θ − ηg/(√v + ε).

    Centered (Graves 2013, eq. 38-40): √(v − ḡ²) instead of √v, with ḡ ← αḡ + (1 − α)g.
    Momentum: b ← βb + g/(√v + ε), θ ← θ − ηb.
    """
    square_avg = alpha * square_avg + (1 - alpha) * g**2
    variance = square_avg
    if centered:
        grad_avg = alpha * grad_avg + (1 - alpha) * g
        variance = maximum(square_avg - grad_avg**2, 0)
    direction = g / (sqrt(variance + eps_root) + eps)
    if momentum:
        momentum_buffer = momentum * momentum_buffer + direction
        direction = momentum_buffer
    return lr * direction, square_avg, grad_avg, momentum_buffer
