"""Gradient sequences that reach the corners of an optimizer's arithmetic; one seed, one sequence."""

import numpy as np

SMALLEST = 1e-9
LARGEST = 1e3


def sequence(seed, n, steps, holes=False):
    """``steps`` gradients of ``n`` coordinates, float32-exact float64; with ``holes`` some of them are None.

    Magnitudes run from 1e-9 to 1e3. Each coordinate has its own scale, which drifts and now and then jumps by
    decades; coordinate 0 sweeps the whole range up and down. Some coordinates are exactly zero for long
    stretches (coordinate 1 from the start, for a third of the time; the last of four or more always), and one
    gradient in 17 or so is exactly zero throughout. One in ten or so is None, the first and fourth always.
    """
    rng = np.random.default_rng(seed)
    low, high = np.log10(SMALLEST), np.log10(LARGEST)
    middle = (low + high) / 2
    span = high - low

    base = rng.uniform(low, high, n)
    swing = rng.uniform(0.0, 3.0, n)
    period = rng.uniform(20.0, 400.0, n)
    phase = rng.uniform(0.0, 2 * np.pi, n)
    positive = rng.uniform(0.1, 0.9, n)  # how often the sign is +: the first moment has a trend to find
    quiet_from = rng.uniform(0.1, 0.7, n) * steps
    quiet_to = quiet_from + rng.uniform(0.1, 0.3, n) * steps
    is_quiet = rng.random(n) < 0.3
    if n > 1:
        is_quiet[0] = False
        is_quiet[1], quiet_from[1], quiet_to[1] = True, 0.0, steps / 3
    if n > 3:
        is_quiet[n - 1], quiet_from[n - 1], quiet_to[n - 1] = True, 0.0, steps

    out = []
    for k in range(steps):
        jump = rng.random(n) < 0.01
        base = np.where(jump, rng.uniform(low, high, n), base)
        exponent = base + swing * np.sin(2 * np.pi * k / period + phase) + 0.3 * rng.standard_normal(n)
        sweep = middle - span / 2 * np.cos(2 * np.pi * k / max(2, min(steps - 1, 200)))
        exponent[:1] = sweep
        magnitude = 10.0 ** np.clip(exponent, low, high)
        g = np.where(rng.random(n) < positive, magnitude, -magnitude)
        g[rng.random(n) < 0.03] = 0.0
        g[is_quiet & (quiet_from <= k) & (k < quiet_to)] = 0.0
        nothing, missing = rng.random(2)
        if nothing < 1 / 17:
            g[:] = 0.0
        if holes and (missing < 0.1 or k in (0, 3)):
            out.append(None)
        else:
            out.append(g.astype(np.float32).astype(np.float64))
    return out
