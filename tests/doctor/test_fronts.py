"""Loops of NumPy and of JAX, watched: what is trained far too fast is named, what goes well is left alone."""

from typing import Any

import numpy as np
import pytest

import adamas.numpy
from adamas.doctor import Doctor

STEPS = 120


def data() -> tuple[Any, Any]:
    """Three classes of points, of which a line parts most."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((512, 10)).astype(np.float32)
    return x, (x @ rng.standard_normal((10, 3)) + rng.standard_normal((512, 3))).argmax(1)


def batches() -> Any:
    rng = np.random.default_rng(1)
    for step in range(STEPS):
        yield 0.5 + 0.5 * np.cos(np.pi * step / STEPS), rng.permutation(448)[:32]


def loss_and_slopes(theta: Any, x: Any, y: Any) -> tuple[float, list[Any]]:
    """Of a net with one hidden layer: cross-entropy, and its gradient by hand."""
    w1, b1, w2, b2 = theta
    hidden = np.tanh(x @ w1 + b1)
    scores = hidden @ w2 + b2
    scores = scores - scores.max(1, keepdims=True)
    logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    out = (np.exp(logs) - np.eye(3)[y]) / len(x)
    back = (out @ w2.T) * (1 - hidden**2)
    slopes = [x.T @ back, back.sum(0), hidden.T @ out, out.sum(0)]
    return float(-logs[np.arange(len(x)), y].mean()), [g.astype(np.float32) for g in slopes]


def start() -> list[Any]:
    rng = np.random.default_rng(2)
    return [
        (scale * rng.standard_normal(shape)).astype(np.float32)
        for scale, shape in ((0.3, (10, 32)), (0.0, 32), (0.2, (32, 3)), (0.0, 3))
    ]


def codes(doctor: Doctor) -> list[str]:
    return [finding.code for finding in doctor.findings if finding.severity != "note"]


def numpy_run(rate: float, kind: str = "AdamW", **options: Any) -> Doctor:
    (x, y), theta = data(), start()
    opt = getattr(adamas.numpy, kind)(theta, lr=rate, **options)
    with Doctor(opt, steps=STEPS) as doctor:
        for factor, rows in batches():
            opt.param_groups[0]["lr"] = rate * factor
            loss, slopes = loss_and_slopes(theta, x[rows], y[rows])
            opt.step(slopes)
            doctor.observe(loss)
            if doctor.run.step % 20 == 0:
                doctor.observe(val_loss=loss_and_slopes(theta, x[448:], y[448:])[0])
    return doctor


@pytest.mark.parametrize(("kind", "rate"), [("AdamW", 1e-2), ("SGD", 0.3), ("Lion", 1e-3)])
def test_a_numpy_loop_that_goes_well(kind: str, rate: float) -> None:
    doctor = numpy_run(rate, kind)
    assert codes(doctor) == []
    assert doctor.run.history.rows[-1, 1] < 0.8 * doctor.run.history.rows[0, 1]
    assert np.isfinite(doctor.run.history.rows[:, 1:6]).all()
    assert doctor.run.setup["sizes"] == [320, 32, 96, 3] and len(doctor.run.samples) > 5


@pytest.mark.parametrize(("kind", "rate"), [("AdamW", 2.0), ("SGD", 300.0), ("Lion", 1.0)])
def test_a_numpy_loop_with_far_too_high_an_eta(kind: str, rate: float) -> None:
    found = numpy_run(rate, kind).findings[0]
    assert found.code == "D201" and found.remedy.settings["lr"] < rate / 10


def test_what_only_telemetry_tells_of_a_numpy_loop() -> None:
    assert "D401" in codes(numpy_run(0.3, "SGD", clip_grad_norm=1e-4))[:2]
    assert "D301" in codes(numpy_run(1e-2, eps=10.0))[:2]


def jax_run(rate: float) -> Doctor:
    jax = pytest.importorskip("jax")
    optax = pytest.importorskip("optax")
    import jax.numpy as jnp

    import adamas.optax

    def loss_of(theta: Any, x: Any, y: Any) -> Any:
        w1, b1, w2, b2 = theta
        logits = jnp.tanh(x @ w1 + b1) @ w2 + b2
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    schedule = optax.cosine_decay_schedule(rate, STEPS)
    opt = adamas.optax.adamw(schedule)

    @jax.jit
    def step(theta: Any, state: Any, x: Any, y: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(theta, x, y)
        updates, state = opt.update(grads, state, theta)
        theta = optax.apply_updates(theta, updates)
        norms = {name: optax.tree.norm(of) for name, of in (("grad", grads), ("update", updates), ("param", theta))}
        return theta, state, loss, {f"{name}_norm": norm for name, norm in norms.items()}

    x, y = data()
    theta = [jnp.asarray(a) for a in start()]
    state = opt.init(theta)
    settings = {"rule": "adamw", "lr": rate, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
    with Doctor(steps=STEPS, settings=settings, classes=3) as doctor:
        for t, (_, rows) in enumerate(batches()):
            theta, state, loss, norms = step(theta, state, x[rows], y[rows])
            doctor.observe(loss, lr=schedule(t), **norms)
            if doctor.run.step % 20 == 0:
                doctor.observe(val_loss=loss_of(theta, x[448:], y[448:]))
    return doctor


def test_a_jax_loop_that_goes_well() -> None:
    doctor = jax_run(1e-2)
    assert codes(doctor) == []
    assert doctor.run.history.rows[-1, 1] < 0.8 * doctor.run.history.rows[0, 1]
    assert np.isfinite(doctor.run.history.rows[:, 1:6]).all()


def test_a_jax_loop_with_far_too_high_an_eta() -> None:
    found = jax_run(2.0).findings[0]
    assert found.code == "D201" and found.remedy.settings["lr"] < 0.2
