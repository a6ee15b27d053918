"""Gradient descent, plain and with momentum."""

from adamas.intrinsics import where
from adamas.registry import rule


@rule
def sgd(
    g,
    momentum_buffer,
    *,
    t,
    lr=1e-3,
    momentum=0.0,
    dampening=0.0,
    nesterov=False,
    momentum_form="torch",
):
    """Gradient descent, with momentum β if asked for.

    Plain: θ ← θ − ηg; with mini-batches it is the same rule.
    Momentum (Polyak 1964; the form of torch): b ← βb + (1 − damp)g, θ ← θ − ηb; the first b is g itself.
    Velocity form (Sutskever et al. 2013): u ← βu + ηg, θ ← θ − u. The two agree only while η is constant.
    Nesterov: one more application of the momentum to the step, g + βb (or βu + ηg).
    """
    if momentum_form not in ("torch", "velocity"):
        raise ValueError(f"Invalid momentum_form value: {momentum_form!r}: it must be 'torch' or 'velocity'.")
    if nesterov and (dampening or not momentum):
        raise ValueError("Nesterov momentum requires a momentum and zero dampening.")
    if momentum_form == "velocity" and dampening:
        raise ValueError("The velocity form has no dampening: leave it at 0, or use momentum_form='torch'.")
    if not momentum:
        return lr * g, momentum_buffer
    g = where(t > 1, 1 - dampening, 1) * g
    if momentum_form == "velocity":
        g = lr * g
    momentum_buffer = momentum * momentum_buffer + g
    direction = g + momentum * momentum_buffer if nesterov else momentum_buffer
    return direction if momentum_form == "velocity" else lr * direction, momentum_buffer


momentum = sgd.variant("momentum", momentum=0.9)
nesterov = sgd.variant("nesterov", momentum=0.9, nesterov=True)
