"""What the doctor of torch sees by itself, in small trainings."""

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import adamas.torch  # noqa: E402
from adamas.doctor.observer import next_check  # noqa: E402
from adamas.doctor.run import SAMPLES  # noqa: E402
from adamas.errors import InputError  # noqa: E402
from adamas.torch import Doctor  # noqa: E402
from adamas.torch.batches import ALIKE, MARKS, Inputs  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def mlp(*inside: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), *inside, nn.Linear(32, 3))


def train(
    make: Callable[[Any], Any],
    model: nn.Module | None = None,
    steps: int = 80,
    *,
    inputs: Callable[[Any], Any] = lambda x: x,
    labels: Callable[[Any], Any] = lambda y: y,
    evaluate: Callable[[nn.Module], Any] = nn.Module.eval,
    shuffle: bool = True,
    passes: int = 1,
    divide: bool = True,
    before_step: Callable[[int, Any], Any] = lambda t, opt: None,
    after_loss: Callable[[int, Any], Any] = lambda t, loss: loss,
    **given: Any,
) -> Doctor:
    torch.manual_seed(0)
    x = torch.randn(512, 10)
    y = (x @ torch.randn(10, 3)).argmax(1)
    x, y = inputs(x), labels(y)
    torch.manual_seed(1)
    model = mlp() if model is None else model
    opt = make(model)
    doctor = Doctor(model, opt, steps=steps, **given)
    at, order = 512, torch.arange(512)
    for t in range(steps):
        opt.zero_grad()
        for _ in range(passes):
            if at + 32 > 448:
                at = 0
                order = torch.randperm(448) if shuffle else torch.arange(448)
            rows = order[at : at + 32]
            at += 32
            loss = after_loss(t, functional.cross_entropy(model(x[rows]), y[rows]))
            (loss / passes if divide else loss).backward()
        before_step(t, opt)
        opt.step()
        doctor.observe(loss, batch=(x[rows], y[rows]))
        if t % 20 == 19:
            evaluate(model)
            with torch.no_grad():
                value = functional.cross_entropy(model(x[448:]), y[448:])
            model.train()
            doctor.observe(val_loss=value)
    doctor.close()
    return doctor


def codes(doctor: Doctor) -> list[str]:
    return [finding.code for finding in doctor.findings if finding.severity != "note"]


def adam(model: nn.Module) -> Any:
    return torch.optim.Adam(model.parameters(), lr=2e-3)


def adamas_adam(model: nn.Module) -> Any:
    return adamas.torch.AdamW(model.parameters(), lr=2e-3)


@pytest.mark.parametrize("make", [adam, adamas_adam, lambda m: torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9)])
def test_a_healthy_training_is_not_warned_about(make: Any) -> None:
    assert codes(train(make)) == []


@pytest.mark.parametrize("make", [adam, adamas_adam])
def test_a_training_in_parts_that_divides_is_healthy(make: Any) -> None:
    assert codes(train(make, passes=4)) == []


def test_its_own_numbers_agree_with_those_of_the_steps_telemetry() -> None:
    ours, theirs = train(adamas_adam, steps=12), train(lambda m: torch.optim.AdamW(m.parameters(), lr=2e-3), steps=12)
    a, b = ours.run.history.rows[:10, 3:6], theirs.run.history.rows[:10, 3:6]
    assert torch.allclose(torch.tensor(a), torch.tensor(b), rtol=2e-3)


@pytest.mark.parametrize("make", [adam, adamas_adam])
def test_dropout_that_is_left_on(make: Any) -> None:
    assert codes(train(make, mlp(nn.Dropout(0.5)), evaluate=lambda m: m))[0] == "D605"
    assert "D605" not in codes(train(make, mlp(nn.Dropout(0.5))))


def test_batch_norm_without_dropout_in_training_mode_is_told_as_well() -> None:
    found = train(adam, mlp(nn.BatchNorm1d(32)), evaluate=lambda m: m).findings[0]
    assert found.code == "D605" and "BatchNorm1d" in found.evidence


@pytest.mark.parametrize("make", [adam, adamas_adam])
def test_inputs_a_thousand_times_too_large(make: Any) -> None:
    assert codes(train(make, inputs=lambda x: x * 1000))[0] == "D601"


@pytest.mark.parametrize("make", [adam, adamas_adam])
def test_a_loss_that_is_not_divided(make: Any) -> None:
    finding = train(make, passes=4, divide=False).findings[0]
    assert (finding.code, finding.remedy.settings) == ("D606", {"divide_by": 4})


def test_a_frozen_layer_and_a_missing_one() -> None:
    model = mlp()
    model[0].weight.requires_grad_(False)
    assert codes(train(adam, model))[0] == "D505"
    left_out = train(lambda m: torch.optim.Adam(m[2].parameters(), lr=2e-3)).findings[0]
    assert left_out.remedy.settings == {"add_parameters": ["0.weight", "0.bias"]}


@pytest.mark.parametrize("make", [adam, adamas_adam])
def test_moments_that_are_lost(make: Any) -> None:
    doctor = train(make, before_step=lambda t, opt: opt.state.clear() if t == 50 else None)
    assert codes(doctor)[0] == "D305"


def test_a_resume_without_the_optimizers_state() -> None:
    model = mlp()
    opt = adam(model)
    doctor = Doctor(model, opt)
    for step in range(401, 430):
        opt.zero_grad()
        loss = model(torch.randn(16, 10)).square().mean()
        loss.backward()
        opt.step()
        doctor.observe(loss, step=step)
    assert codes(doctor)[0] == "D305"


def test_the_order_of_batches() -> None:
    assert codes(train(adam, shuffle=False))[0] == "D603"
    assert codes(train(adam, shuffle=False, labels=lambda y: y.sort().values))[0] == "D603"


@pytest.mark.parametrize("length", [2, 7, 8, 9, 40, 63, 64, 65, 70, 113, 200])
def test_an_epoch_in_the_same_order_is_seen_whatever_its_length(length: int) -> None:
    def shown(batches: Any) -> Inputs:
        seen = Inputs()
        for at, batch in enumerate(batches, 1):
            if at >= seen.next:
                seen.mark(batch, at)
        return seen

    data = torch.randn(length, 4, 3)
    times = range(2 * length + MARKS + ALIKE)
    seen = shown(data[t % length] for t in times)
    assert (seen.epoch, seen.next) == (length, math.inf)
    seen = shown(data[t % length] if t < length or t % length < 3 else torch.randn(4, 3) for t in times)
    assert seen.epoch <= 0 or length < 4


def test_it_is_known_whether_all_batches_are_the_same_rows() -> None:
    x = torch.randn(64, 3)
    whole, parts = Inputs(), Inputs()
    for _ in range(5):
        order = torch.randperm(64)
        whole.add(((x - x.mean(0)) / x.std(0))[order])
        half = x[order[:32]]
        parts.add((half - half.mean(0)) / half.std(0))
    for seen, same in ((whole, True), (parts, False)):
        told = seen.told()
        assert (told["self_normalised"], told["the_same"]) == (1.0, same)


def test_a_recurrence_is_measured_at_each_step() -> None:
    class Sum(nn.RNN):
        def forward(self, x: Any) -> Any:
            return super().forward(x)[0].sum()

    model = Sum(2, 3)
    opt = adamas.torch.SGD(model.parameters(), lr=0.01)
    doctor = Doctor(model, opt)
    for _ in range(220):
        opt.zero_grad()
        model(torch.ones(2, 1, 2)).backward()
        opt.step()
        doctor.observe(1.0)
    assert np.isfinite(doctor.run.history.rows[:, 3:6]).all()


def test_dead_and_saturated_units() -> None:
    model = mlp()
    nn.init.constant_(model[0].bias, -20.0)
    assert "D502" in codes(train(adam, model))[:2]
    model = nn.Sequential(nn.Linear(10, 32), nn.Sigmoid(), nn.Linear(32, 3))
    nn.init.normal_(model[0].weight, std=10.0)
    assert "D503" in codes(train(adam, model))[:2]


@pytest.mark.parametrize(("rows", "looks"), [(8, 8), (32, 2), (64, 1)])
def test_units_are_dead_if_they_are_silent_for_many_samples(rows: int, looks: int) -> None:
    """Unit 0 speaks for one sample, of all that are looked at the first; 3 others always do; 4 never."""
    model = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.copy_(torch.tensor([-1.0] * 5 + [1.0] * 3))
        model[0].weight[0] = 1.0
    doctor = Doctor(model, torch.optim.SGD(model.parameters(), lr=0.0), probe_every=1)
    x = torch.zeros(rows, 1)
    x[0] = 2.0
    shares: list[Any] = []
    for t in range(looks + 1):
        model(x if t == 0 else torch.zeros(rows, 1)).mean().backward()
        doctor.observe(1.0)
        shares.append(doctor.run.facts["dead"])
    assert shares[: looks - 1] == [[]] * (looks - 1)  # too few samples
    assert shares[looks - 1 :] == [[["relu number 1", 0.5]], [["relu number 1", 0.625]]]


def test_a_layer_of_two_units_is_not_judged_by_its_dead() -> None:
    model = nn.Sequential(nn.Linear(10, 2), nn.ReLU(), nn.Linear(2, 3))
    nn.init.constant_(model[0].bias, -20.0)
    assert "D502" not in codes(train(adam, model))


@pytest.mark.parametrize("make", [adam, adamas_adam])
def test_one_batch_without_a_finite_loss(make: Any) -> None:
    doctor = train(make, after_loss=lambda t, loss: loss * math.nan if t == 33 else loss)
    finding = doctor.findings[0]
    assert finding.code == "D101" and "step 34" in finding.evidence


@pytest.mark.parametrize("make", [torch.optim.AdamW, adamas.torch.AdamW])
def test_eps_over_tiny_gradients(make: Any) -> None:
    doctor = train(lambda m: make(m.parameters(), lr=2e-3, eps=1e-3), after_loss=lambda t, loss: loss * 1e-4)
    assert "D301" in codes(doctor)[:2]


@pytest.mark.parametrize("make", [torch.optim.Adam, adamas.torch.Adam])
def test_amsgrad_after_a_spike(make: Any) -> None:
    def spike(t: int, opt: Any) -> None:
        if t == 20:
            for p in opt.param_groups[0]["params"]:
                p.grad.mul_(1e4)

    assert codes(train(lambda m: make(m.parameters(), lr=2e-3, amsgrad=True), before_step=spike))[0] == "D304"


def test_clipping_far_too_low_by_the_loop_itself_and_by_the_step() -> None:
    def clip(t: int, opt: Any) -> None:
        torch.nn.utils.clip_grad_norm_(opt.param_groups[0]["params"], 1e-3)

    for kind in (torch.optim.SGD, adamas.torch.SGD):  # what it was before is seen without being told
        assert "D401" in codes(train(lambda m, kind=kind: kind(m.parameters(), lr=0.05), before_step=clip))[:2]
    ours = train(lambda m: adamas.torch.SGD(m.parameters(), lr=0.05, clip_grad_norm=1e-3))
    assert "D401" in codes(ours)[:2]


def test_the_norm_before_the_loop_clips_is_that_of_all_gradients_together() -> None:
    model = mlp()
    opt = torch.optim.SGD(model.parameters(), lr=0.05)
    doctor = Doctor(model, opt)
    true: list[float] = []
    for step in range(42):
        opt.zero_grad()
        for _ in range(3):
            model(torch.randn(16, 10)).square().mean().backward()
        true.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)))
        opt.step()
        doctor.observe(1.0)
        model[0].requires_grad_(step < 20)  # the gradient that was the last to arrive no longer does
    raw = doctor.run.history.rows[:, 6]
    assert np.flatnonzero(np.isfinite(raw)).tolist() == [1, 2, 3, 4, 10, 20, 40]  # at 30 it waited for one in vain
    assert np.allclose(raw[np.isfinite(raw)], np.array(true)[np.isfinite(raw)], rtol=1e-5)


def test_the_norm_before_clipping_is_looked_at_where_the_step_measures_and_ever_more_rarely() -> None:
    model = nn.Linear(4, 5)
    opt = adamas.torch.SGD(model.parameters(), lr=0.1)
    doctor = Doctor(model, opt)
    for _ in range(1200):
        opt.zero_grad()
        model(torch.ones(1, 4)).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        opt.step()
        doctor.observe(1.0)
        assert not model._forward_hooks
    rows = doctor.run.history.rows
    at = np.flatnonzero(np.isfinite(rows[:, 6]))
    assert at[:14].tolist() == [0, 1, 2, 3, 4, *range(10, 100, 10)]  # at 0 nothing is known yet
    assert (np.diff(at)[13:] <= at[13:-1] // 8 + 8).all() and len(at) < 45
    assert np.allclose(rows[at, 3], 1e-3, rtol=1e-3) and (rows[at[1:], 6] > 1).all()


def test_a_model_is_listened_to_until_validations_are_known_and_then_left_alone() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 1))
    opt = adamas.torch.SGD(model.parameters(), lr=1e-3)
    doctor = Doctor(model, opt)

    def steps(number: int) -> list[int]:
        """Of so many those before which there was a hook."""
        heard: list[int] = []
        for _ in range(number):
            if model._forward_pre_hooks:
                heard.append(doctor.run.step + 1)
            opt.zero_grad()
            model(torch.randn(4, 3)).square().mean().backward()
            opt.step()
            doctor.observe(1.0)
        return heard

    def validate() -> None:
        with torch.no_grad():
            model(torch.randn(4, 3))
        doctor.observe(val_loss=1.0)

    assert steps(1000) == [*range(1, 1001)]
    steps(64)  # of which some may have been told before to wait
    seldom = steps(500)
    assert 5 < len(seldom) < 30
    validate()  # which nobody has heard
    assert "evaluated_in_train_mode" not in doctor.run.facts
    assert len(steps(100)) == 100
    validate()
    assert doctor.run.facts["evaluated_in_train_mode"] == [doctor.run.step, "Dropout"]
    assert len(steps(300)) < 80
    doctor.close()
    assert not model._forward_pre_hooks and steps(3) == []


@pytest.mark.parametrize("passes", [1, 2])
def test_an_order_is_known_again_though_few_passes_are_listened_to(monkeypatch: Any, passes: int) -> None:
    monkeypatch.setattr("adamas.torch.passes.WAITED", 0)
    data = torch.randn(500, 4, 3)
    model = nn.Linear(3, 1)
    opt = adamas.torch.SGD(model.parameters(), lr=1e-3)
    doctor = Doctor(model, opt)
    heard = 0
    for batches in data.repeat(4 * passes, 1, 1, 1).reshape(-1, passes, 4, 3):
        opt.zero_grad()
        for x in batches:
            model(x).square().mean().backward()
        heard += len(model._forward_pre_hooks)
        opt.step()
        doctor.observe(1.0)
    doctor.close()
    assert doctor.run.facts["order"] == {"epoch": 500}
    assert heard < 350


def test_a_model_whose_passes_are_not_counted_is_listened_to() -> None:
    model, passes = nn.Linear(3, 1), 0
    opt = adamas.torch.SGD(model.parameters(), lr=1e-3)
    with Doctor(model, opt) as doctor:
        for step in range(1100):
            for _ in range(1 + (step % 7 == 0)):
                model(torch.randn(4, 3)).square().mean().backward()
                passes += 1
            opt.step()
            doctor.observe(1.0)
        assert doctor._passes.until(1100) == passes


def test_steps_that_only_wait_are_examined_when_it_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    examined: list[int] = []
    check = Doctor.check

    def noting(doctor: Doctor) -> Any:
        examined.append(doctor.run.step)
        return check(doctor)

    monkeypatch.setattr(Doctor, "check", noting)
    model = nn.Linear(3, 1)
    opt = adamas.torch.SGD(model.parameters(), lr=1e-3)
    doctor = Doctor(model, opt)
    for step in range(1, 701):
        model(torch.randn(4, 3)).square().mean().backward()
        opt.step()
        doctor.observe(math.nan if step == 690 else 1.0)
        if step in (420, 421):
            assert doctor._calm and doctor.findings is not None and doctor.findings is not None
    due = [10]
    while due[-1] < 700:
        due.append(due[-1] + max(10, due[-1] // 8))
    known = [step for step in due if step < 420]
    assert examined[: len(known) + 2] == [*known, 420, 421]  # each of them once, though asked twice
    late = examined[len(known) + 2 :]
    assert late == [421 + 52, 473 + 59, 532 + 66, 598 + 74, 690]


def test_what_a_step_tells_is_the_same_whenever_it_is_taken_in() -> None:
    rows: list[Any] = []
    for at_once in (False, True):
        torch.manual_seed(0)
        model = mlp()
        opt = adamas.torch.Adam(model.parameters(), clip_grad_norm=0.5, nonfinite="skip")
        doctor = Doctor(model, opt, to=(lambda numbers, step: None) if at_once else None)
        for step in range(400):
            opt.zero_grad()
            model(torch.randn(4, 10)).square().mean().backward()
            if step == 250:
                next(model.parameters()).grad[0] = math.inf
            opt.step()
            doctor.observe(1.0)
        rows.append(doctor.run.history.rows[:, :10])
        assert doctor.run.skips == 1 and doctor.run.broken == [(251, "gradient")]
    assert np.array_equal(*rows, equal_nan=True)
    assert np.isfinite(rows[0][:, 3]).sum() == 399 and np.isfinite(rows[0][:, 4]).sum() == 225


def test_what_comes_below_the_limit_of_the_loop_was_not_clipped() -> None:
    model = mlp()
    opt = adamas_adam(model)
    doctor = Doctor(model, opt, clip_grad_norm=1e3)
    for _ in range(12):
        opt.zero_grad()
        model(torch.ones(1, 10)).sum().backward()
        opt.step()
        doctor.observe(1.0)
    rows = doctor.run.history.rows
    assert np.isfinite(rows[:, 6]).all() and np.allclose(rows[:, 6], rows[:, 3], rtol=1e-6)


@pytest.mark.parametrize(("width", "closely", "seldom"), [(4, 200, 8), (1024, 20, 8)])
def test_a_model_is_measured_more_rarely_before_long(width: int, closely: int, seldom: int) -> None:
    model = nn.Linear(width, width + 1)
    opt = adamas.torch.SGD(model.parameters(), lr=0.1)
    doctor = Doctor(model, opt)
    for _ in range(closely + 20):
        opt.zero_grad()
        model(torch.ones(1, width)).sum().backward()
        opt.step()
        doctor.observe(1.0)
    ratios = doctor.run.history.rows[:, 4]
    assert np.flatnonzero(np.isfinite(ratios)).tolist() == [*range(closely), *range(closely, closely + 20, seldom)]
    for given, telemetry in (({"every": 3}, 3), ({}, True)):
        opt = adamas.torch.SGD(model.parameters(), lr=0.1, telemetry=False if given else True)
        doctor = Doctor(model, opt, **given)
        for _ in range(closely + 5):
            opt.step()
            doctor.observe(1.0)
        assert opt._stepper.tail.telemetry == telemetry
        assert len(doctor.run.samples) == min(SAMPLES, examinations(closely + 5))


def examinations(steps: int) -> int:
    at, made = 10, 0
    while at <= steps:
        at, made = next_check(at), made + 1
    return made


def test_a_schedule_is_asked_ahead() -> None:
    from adamas.schedules import cosine

    torch.manual_seed(0)
    doctor = train(adam, steps=40, schedule=cosine(4))
    assert "D204" in codes(doctor)


def test_nothing_is_left_behind_and_nothing_is_changed() -> None:
    def weights(watched: bool) -> Any:
        torch.manual_seed(3)
        model = mlp(nn.Dropout(0.3))
        opt = adam(model)
        doctor = Doctor(model, opt, probe_every=2) if watched else None
        for _ in range(12):
            opt.zero_grad()
            loss = model(torch.randn(16, 10)).square().mean()
            loss.backward()
            opt.step()
            if doctor is not None:
                doctor.observe(loss)
        if doctor is not None:
            doctor.close()
            assert not (model._forward_hooks or model._forward_pre_hooks)
            assert not (opt._optimizer_step_pre_hooks or opt._optimizer_step_post_hooks)
            assert not any(p._post_accumulate_grad_hooks for p in model.parameters())
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert weights(True).equal(weights(False))


def test_an_exception_in_a_forward_pass_ends_the_probe() -> None:
    model = mlp()
    doctor = Doctor(model, adam(model), probe_every=1)
    with pytest.raises(RuntimeError):
        model(torch.randn(2, 3))
    assert doctor._activations._probe is None
    model(torch.randn(2, 10))
    doctor.close()


def test_a_usual_step_costs_few_calls() -> None:
    model = mlp()
    opt = adamas_adam(model)
    doctor = Doctor(model, opt, log=None)
    x = torch.randn(16, 10)
    counted = 0

    def count(frame: Any, event: str, arg: Any) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    per_step: list[int] = []
    for _ in range(220):
        opt.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        opt.step()
        counted = 0
        sys.setprofile(count)
        doctor.observe(loss)
        sys.setprofile(None)
        per_step.append(counted)
    assert sorted(per_step)[110] < 30  # the usual step
    assert sum(per_step[20:]) / 200 < 130  # with the examinations
    doctor.close()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda m: Doctor(3, adam(m)), "The model is a int"),
        (lambda m: Doctor(m, 3), "A int is no torch optimizer"),
        (lambda m: Doctor(m, adam(m), probe_every=-1), "Invalid probe_every value: -1"),
        (lambda m: Doctor(m, adam(m), clip_grad_norm="much"), "Invalid clip_grad_norm: str"),
    ],
)
def test_bad_input_is_refused(call: Any, sentence: str) -> None:
    model = mlp()
    with pytest.raises(InputError, match=sentence):
        call(model)
    assert not model._forward_hooks
