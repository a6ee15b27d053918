"""Each finding on a run that has it, and on the nearest one that is well."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adamas.doctor import Doctor
from adamas.doctor.diagnosis import SEVERITIES
from adamas.doctor.findings import KINDS
from adamas.doctor.run import Look
from tests.doctor.histories import falling, told

ROOT = Path(__file__).resolve().parents[2]


def spike(at: int, size: float) -> Any:
    return lambda t: size if t == at else 1.0


def layers(measure: str, values: list[float], size: float = 1000.0, kinds: str = "weight") -> dict[str, Any]:
    """Setup and tensors of a network in which one measure differs between layers, and all others are usual."""
    usual = {"grad_norm": 0.5, "update_norm": 0.01, "param_norm": 10.0, "zero_share": 0.0, "eps_share": 0.0}
    names = [f"layer {i}" for i in range(len(values))]
    return {
        "setup": {"names": names, "sizes": [size] * len(names), "kinds": [kinds] * len(names)},
        "tensors": {name: [value] * len(names) for name, value in usual.items()} | {measure: values},
    }


def flat(level: float) -> Any:
    return lambda t: level


WELL = {"mean": 0.0, "std": 1.0, "spread": 2.0, "self_normalised": 0.0, "batches": 10}
CLASSES = {"labels": {"batches": 50, "entropy": 2.303, "classes": 10, "overall_top": 0.1, "top_share": 0.2}}

#: code -> (a run that has it, the nearest one that is well).
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "D101": (
        {"loss": lambda t: math.nan if t == 77 else falling()(t)},
        {"loss": lambda t: 6 * falling()(t) if t == 77 else falling()(t)},
    ),
    "D102": (
        {"loss": lambda t: 0.5 * 1.2**t, "count": 40, "ratio": flat(0.2)},
        {"loss": lambda t: falling()(t) * (1 + 0.5 * math.sin(t)), "count": 40, "ratio": flat(0.02)},
    ),
    "D103": (
        {"loss": lambda t: math.inf if t == 50 else falling()(t), "facts": {"half": "4 parameters"}},
        {"facts": {"half": "4 parameters"}},
    ),
    "D104": (
        {"scale": lambda t: max(1.0, 65536.0 / 2 ** (t // 8)), "setup": {"scaler": True}},
        {"scale": lambda t: 65536.0 / 2 ** min(3, t), "setup": {"scaler": True}},
    ),
    "D105": (
        {"norm": lambda t: 300.0 if t in (90, 120, 160) else 1.0},
        {"norm": lambda t: 3.0 if t in (90, 120, 160) else 1.0},
    ),
    "D201": (
        {"loss": lambda t: 2.3 if t == 0 else 9 + 3 * math.sin(t), "ratio": flat(0.5), "lr": flat(0.3)},
        {"loss": lambda t: falling()(t) * (1 + 0.3 * math.sin(t * t)), "ratio": flat(0.01), "lr": flat(0.3)},
    ),
    "D202": (
        {"loss": lambda t: 2.3 - 0.0002 * t, "noise": 0.002, "ratio": flat(1e-5), "steps": 200},
        {"loss": falling(2.3, 1.8, 80), "ratio": flat(1e-3), "steps": 200},
    ),
    "D203": (
        {
            "loss": lambda t: 2.3 + (1.5 if 2 < t < 30 else 0) - (0.8 if t >= 60 else 0),
            "ratio": flat(0.02),
            "facts": {"architecture": {"post_norm": 6}},
        },
        {"loss": falling(2.3, 1.0), "ratio": flat(0.02), "facts": {"architecture": {"post_norm": 6}}},
    ),
    "D204": (
        {"lr": lambda t: 1e-3 * max(0.0, 1 - t / 20), "steps": 200},
        {"lr": lambda t: 1e-3 * max(0.0, 1 - t / 200), "steps": 200},
    ),
    "D205": (
        {"lr": lambda t: 1e-3 * (1 - t / 20000), "steps": 200},
        {"lr": lambda t: 1e-3 * (1 - t / 250), "steps": 200},
    ),
    "D206": (
        layers("update_norm", [0.01, 0.01, 5.0, 0.01]),
        layers("update_norm", [0.01, 0.01, 0.1, 0.01]),
    ),
    "D301": (
        layers("eps_share", [0.9, 0.9, 0.8, 0.9]) | {"settings": {"eps": 1e-3}, "loss": falling(2.3, 2.0)},
        layers("eps_share", [0.1, 0.2, 0.1, 0.9]) | {"settings": {"eps": 1e-3}, "loss": falling(2.3, 2.0)},
    ),
    "D302": (
        {"settings": {"beta2": 0.9999}, "steps": 300, "count": 100},
        {"settings": {"beta2": 0.9999}, "steps": 30000, "count": 100},
    ),
    "D303": (
        {"settings": {"rule": "adam", "weight_decay": 0.1}, "norm": flat(0.5)},
        {"settings": {"rule": "adam", "weight_decay": 0.1, "decoupled": True}, "norm": flat(0.5)},
    ),
    "D304": (
        {"settings": {"amsgrad": True}, "facts": {"amsgrad": 30.0}, "norm": spike(40, 1000.0)},
        {"settings": {"amsgrad": True}, "facts": {"amsgrad": 1.3}, "norm": spike(40, 1000.0)},
    ),
    "D305": ({"facts": {"moments_lost": [151, 1, 150]}}, {}),
    "D401": (
        {"norm": flat(5.0), "settings": {"clip_grad_norm": 0.01}},
        {"norm": flat(5.0), "settings": {"clip_grad_norm": 2.0}},
    ),
    "D402": (
        {"settings": {"clip_grad_norm": 1000.0}},
        {"settings": {"clip_grad_norm": 5.0}},
    ),
    "D501": (
        layers("grad_norm", [1e-7, 1e-6, 1e-4, 1e-2, 0.5]) | {"loss": flat(2.3)},
        layers("grad_norm", [0.05, 0.1, 0.2, 0.3, 0.5]) | {"loss": flat(2.3)},
    ),
    "D502": ({"facts": {"dead": [["relu number 1", 0.9]]}}, {"facts": {"dead": [["relu number 1", 0.3]]}}),
    "D503": (
        {"facts": {"saturated": [["sigmoid number 1", 0.9]]}},
        {"facts": {"saturated": [["sigmoid number 1", 0.2]]}},
    ),
    "D504": (layers("grad_norm", [0.5, math.nan, 0.5, 0.5]), layers("grad_norm", [0.5, 1e-9, 0.5, 0.5])),
    "D505": (
        {"facts": {"parameters": {"frozen": ["0.weight"], "missing": [], "frozen_share": 0.2, "all": 6}}},
        {"facts": {"parameters": {"frozen": [], "missing": [], "frozen_share": 0.0, "all": 6}}},
    ),
    "D506": (
        {"facts": {"parameters": {"frozen": [], "missing": ["0.weight"], "frozen_share": 0.0, "all": 6}}},
        {"facts": {"parameters": {"frozen": [], "missing": [], "frozen_share": 0.0, "all": 6}}},
    ),
    "D601": ({"facts": {"inputs": WELL | {"std": 1000.0}}}, {"facts": {"inputs": WELL | {"mean": 5.0, "std": 6.0}}}),
    "D602": (
        {"loss": falling(2.3, 0.1), "validate": lambda t: 2.4 + 0.005 * t, "facts": CLASSES},
        {"loss": falling(2.3, 0.1), "validate": lambda t: 1.2 + 0.005 * t, "facts": CLASSES},
    ),
    "D603": (
        {"facts": {"labels": CLASSES["labels"] | {"top_share": 0.95}}},
        {"facts": CLASSES},
    ),
    "D604": (
        {"facts": {"inputs": WELL, "eval_inputs": WELL | {"std": 4.0}}},
        {"facts": {"inputs": WELL, "eval_inputs": WELL | {"std": 1.3, "mean": 0.1}}},
    ),
    "D605": ({"facts": {"evaluated_in_train_mode": [20, "Dropout"]}}, {}),
    "D606": (
        {"facts": {"accumulation": {"passes": 4, "loss": "cross-entropy", "share": 0.97}}},
        {"facts": {"accumulation": {"passes": 4, "loss": "cross-entropy", "share": 0.25}}},
    ),
    "D701": (
        {"validate": lambda t: 0.9 + (t - 60) ** 2 / 20000, "loss": falling(2.3, 0.01)},
        {"validate": lambda t: 0.9 + (t - 190) ** 2 / 20000, "loss": falling(2.3, 0.01)},
    ),
    "D702": (
        {"loss": falling(2.3, 1.6, 20), "count": 400, "validate": falling(2.3, 1.62, 20)},
        {"loss": falling(2.3, 0.2, 60), "count": 400, "validate": falling(2.3, 0.25, 60)},
    ),
    "D703": ({"loss": falling(2.3, 1.9, 5), "count": 300}, {"loss": falling(2.3, 0.3, 90), "count": 300}),
}


@pytest.mark.parametrize("code", [kind.code for kind in KINDS])
def test_on_one_that_has_it_and_the_nearest_that_is_well(code: str) -> None:
    sick, well = CASES[code]
    found = told(**sick).findings
    assert code in [finding.code for finding in found], [finding.line for finding in found]
    finding = next(finding for finding in found if finding.code == code)
    assert finding.severity in SEVERITIES and 0 < finding.confidence <= 1
    assert finding.evidence and finding.cause and finding.remedy.text.endswith(".")
    told_well = told(**well).findings
    assert code not in [finding.code for finding in told_well], [finding.line for finding in told_well]


def test_a_healthy_run_has_none() -> None:
    doctor = told(falling(), 400, 400, lr=lambda t: 1e-3 * (1 - t / 400), validate=falling(2.4, 0.3), facts=CLASSES)
    assert doctor.findings == []


@pytest.mark.parametrize("noise", [0.3, 0.6])
def test_noise_is_no_ailment(noise: float) -> None:
    doctor = told(falling(2.3, 0.6), 600, 600, noise=noise, lr=lambda t: 1e-3 * (1 - t / 600))
    assert doctor.findings == []


def test_codes_and_names_are_one_each() -> None:
    assert len({kind.code for kind in KINDS}) == len({kind.name for kind in KINDS}) == len(KINDS) == len(CASES)
    codes = {kind.code for kind in KINDS}
    assert all(code in codes for kind in KINDS for code in kind.explains)


def test_what_explains_what_has_no_circle() -> None:
    from adamas.doctor.diagnosis import _above

    for kind in KINDS:
        seen = [kind]
        while above := _above(seen[-1], KINDS):
            assert above not in [one.code for one in seen], [one.code for one in seen]
            seen.append(next(one for one in KINDS if one.code == above))


def test_remedies_have_values_of_the_run() -> None:
    def cure(code: str) -> dict[str, Any]:
        return next(f for f in told(**CASES[code][0]).findings if f.code == code).remedy.settings

    assert cure("D201") == {"lr": 0.002}  # 0.3 · 3e-3 / 0.5
    assert cure("D202") == {"lr": 1.0}  # ‖Δθ‖/‖θ‖ from 1e-5 to 1e-2, so that 200 steps come somewhere
    assert cure("D204") == {"schedule_steps": 200}
    assert cure("D302") == {"beta2": 0.97}
    assert cure("D401") == {"clip_grad_norm": 50.0}
    assert cure("D606") == {"divide_by": 4}
    assert cure("D701")["stop_at"] == 60


def test_beta2_forgets_the_first_gradients_in_time() -> None:
    fell = told(settings={"beta2": 0.9999}, steps=300, count=300, norm=lambda t: 50.0 if t < 10 else 1.0)
    assert next(f for f in fell.findings if f.code == "D302").remedy.settings == {"beta2": 0.9}  # 50**(-8/300)
    fell = told(settings={"beta2": 0.9999}, steps=300, count=300, norm=lambda t: 5.0 if t < 10 else 1.0)
    assert next(f for f in fell.findings if f.code == "D302").remedy.settings == {"beta2": 0.96}


def creeping(fall: float, **given: Any) -> list[str]:
    """What is found in a run of weights that began at 0, whose steps can take a tenth of the loss away at most."""
    seen = told(
        lambda t: 0.7 * (1 - fall * t / 300),
        300,
        300,
        noise=0.001,
        weight=lambda t: 0.01 * (1 + t),
        ratio=lambda t: 1 / (1 + t),
        norm=lambda t: 0.7 * 0.1 / 300 / 0.01,  # times ‖Δθ‖ = 0.01
        facts={"labels": {"batches": 50, "entropy": 0.693, "classes": 2, "overall_top": 0.5, "top_share": 0.6}},
        **given,
    )
    return [finding.code for finding in seen.findings]


def test_weights_that_begin_at_0_creep_if_the_gradient_allows_no_more() -> None:
    assert creeping(0.06)[0] == "D202"
    assert "D202" not in creeping(0.002)  # it could have come somewhere, and did not: there is nothing to learn
    assert creeping(0.002)[0] == "D602"


def test_a_fall_is_not_judged_where_the_beginning_was_not_seen() -> None:
    """The last half of a run looks like a plateau, an η that is too low, a model that is too small."""

    def codes(first: int, every: int = 1, **given: Any) -> set[str]:
        doctor = Doctor(steps=400 * every, settings={"rule": "adamw", "lr": 1e-3})
        rng = np.random.default_rng(0)
        for t in range(first, first + 300 * every, every):
            loss = 0.5 * (1 + 0.03 * rng.standard_normal())
            doctor.observe(loss, step=t, lr=1e-3, grad_norm=1.0, update_norm=given["ratio"], param_norm=1.0)
        return {finding.code for finding in doctor.findings}

    assert {"D602", "D702", "D703"} <= codes(1, ratio=1e-3) and "D202" in codes(1, ratio=1e-6)
    assert {"D602", "D702", "D703"} <= codes(10, 10, ratio=1e-3)  # each tenth step from the beginning
    assert codes(101, ratio=1e-3) == codes(101, ratio=1e-6) == set()


def severities(doctor: Doctor) -> dict[str, str]:
    return {finding.code: finding.severity for finding in doctor.findings}


def cosine(t: int, steps: int = 300) -> float:
    return 0.5 * (1 + math.cos(math.pi * t / steps))


def test_what_a_run_comes_to_is_judged_by_its_steps_of_a_usual_size() -> None:
    """At the end of a schedule and in a warm-up all losses lie still and all steps are small."""
    decayed = {"lr": lambda t: 1e-3 * cosine(t), "ratio": lambda t: 2e-3 * cosine(t)}
    stuck = severities(told(flat(2.3), 300, 300, facts=CLASSES, **decayed))
    assert {"D602", "D702", "D703"} <= stuck.keys()
    held = {"lr": lambda t: 1e-3 if t < 180 else 5e-5, "ratio": lambda t: 1e-3 if t < 180 else 3e-4}
    assert severities(told(lambda t: 2.3 - min(1.0, t / 180), 300, 300, facts=CLASSES, **held)) == {}
    rising = {"lr": lambda t: 1e-6 * (t + 1), "ratio": lambda t: 1e-5 * (t + 1)}
    assert severities(told(flat(2.3), 400, 600, facts=CLASSES, **rising)) == {}


def test_a_run_that_goes_on_is_judged_by_what_guessing_has_not_by_where_it_was_met() -> None:
    def found(level: float, first: int) -> dict[str, str]:
        doctor = Doctor(steps=400, settings={"rule": "adamw", "lr": 1e-3})
        doctor.note("labels", CLASSES["labels"])
        rng = np.random.default_rng(0)
        for t in range(first, 400):
            loss = level * (1 + 0.03 * rng.standard_normal())
            doctor.observe(loss, step=t, lr=1e-3, grad_norm=1.0, update_norm=1e-3, param_norm=1.0)
        return severities(doctor)

    assert found(0.8, 101) == {}  # of 2.3
    assert {"D602", "D702"} <= found(2.3, 101).keys()


def test_small_steps_are_meant_where_the_model_knows_much_from_the_start() -> None:
    slow = {"noise": 0.002, "ratio": flat(1e-5), "facts": CLASSES}
    assert "D202" in severities(told(lambda t: 2.3 - 0.0002 * t, 200, 200, **slow))
    assert "D202" not in severities(told(lambda t: 1.5 - 0.0002 * t, 200, 200, **slow))
    facts = {"parameters": {"frozen": ["0.weight"], "missing": [], "frozen_share": 0.3, "all": 6}, **CLASSES}
    assert severities(told(falling(2.3, 0.2), facts=facts))["D505"] == "warning"
    assert severities(told(falling(1.0, 0.2), facts=facts))["D505"] == "note"


@pytest.mark.parametrize(("size", "tensors", "severity"), [(40.0, 2, "warning"), (400.0, 2, "note"), (40.0, 1, "note")])
def test_a_model_is_too_small_only_if_it_has_few_numbers_for_many_labels(
    size: float, tensors: int, severity: str
) -> None:
    facts = {"labels": CLASSES["labels"] | {"rows": 8}}
    setup = {"names": ["a", "b"][:tensors], "sizes": [size] * tensors, "kinds": ["weight"] * tensors}
    doctor = told(falling(2.3, 2.0, 20), 400, 400, facts=facts, setup=setup)  # of 3200 labels
    assert severities(doctor)["D702"] == severity


def test_a_finding_without_a_cause_of_its_own_is_a_note() -> None:
    assert severities(told(falling(2.3, 1.9, 5), 300))["D703"] == "note"


def test_a_layer_with_dead_units_may_learn_all_the_same() -> None:
    def found(last: float, share: float) -> str:
        return severities(told(falling(2.3, last), facts={"dead": [["relu number 1", share]], **CLASSES}))["D502"]

    assert (found(0.2, 0.7), found(2.2, 0.7), found(0.2, 0.95)) == ("note", "warning", "warning")


def test_the_same_rows_each_time_are_not_normalised_by_themselves() -> None:
    itself = WELL | {"self_normalised": 1.0, "batches": 20}
    assert "D604" in severities(told(facts={"inputs": itself | {"the_same": False}}))
    assert "D604" not in severities(told(facts={"inputs": itself | {"the_same": True}}))


def test_that_the_loss_is_not_divided_is_not_forgotten_for_one_batch() -> None:
    seen = {"passes": 16, "loss": "cross-entropy", "share": 0.95}
    doctor = told(count=60, facts={"accumulation": seen})
    for share, stands in ((0.6, True), (0.1, False)):
        told(count=100, facts={"accumulation": seen | {"share": share}}, doctor=doctor)
        assert ("D606" in severities(doctor)) is stands


def test_bursts_of_a_recurrence_weigh_more_where_nothing_is_learnt() -> None:
    def found(last: float, burst: float) -> bool:
        facts = {"architecture": {"recurrent": True}}
        return "D105" in severities(told(falling(1.0, last), 200, 200, norm=spike(150, burst), facts=facts))

    assert found(0.95, 30.0) and not found(0.95, 12.0)
    assert found(0.05, 90.0) and not found(0.05, 30.0)


def test_steps_by_tenths_are_no_schedule_that_was_too_short() -> None:
    steps = told(falling(), 90, 90, lr=lambda t: 0.1 ** (1 + t // 30))  # as ResNets are trained
    assert "D204" not in severities(steps)


def test_a_rise_of_the_validation_loss_is_measured_by_what_was_gained() -> None:
    def found(rise: float) -> bool:
        worse = {"validate": lambda t: 0.1 + rise * max(0, t - 100) / 100, "facts": CLASSES}
        return "D701" in severities(told(falling(2.3, 0.001), **worse))

    assert found(0.2) and not found(0.05)  # of 2.2; both are more than a tenth of the best


def test_a_run_that_was_thrown_to_where_guessing_is_had_an_eta_that_was_too_high() -> None:
    thrown = {"ratio": lambda t: 0.3 if t < 10 else 1e-3, "facts": CLASSES}
    doctor = told(lambda t: 3.2 if t < 5 else 2.3, 200, 200, **thrown)
    assert doctor.findings[0].code == "D201"
    assert "D201" not in severities(told(lambda t: 3.2 if t < 5 else falling()(t), 200, 200, **thrown))


def test_a_surge_is_measured_by_the_noise_of_its_own_time() -> None:
    rng = np.random.default_rng(0)
    noise = 0.5 * rng.standard_normal(800)
    noise[60:63] = 2.0  # three loud ones of a hundred

    def loss(t: int) -> float:
        return 0.9 + noise[t] if t < 500 else 0.4 + 0.02 * noise[t]

    assert "D201" not in severities(told(loss, 800, 800, noise=0.0, ratio=flat(0.025)))


def test_most_of_a_model_may_be_frozen_as_long_as_the_rest_learns() -> None:
    frozen = {"facts": {"parameters": {"frozen": ["0.weight"], "missing": [], "frozen_share": 0.95, "all": 6}}}
    learns = told(falling(2.3, 0.2), 200, 200, **frozen).findings
    assert [(finding.code, finding.severity) for finding in learns] == [("D505", "note")]
    stuck = told(flat(2.3), 200, 200, **frozen).findings[0]
    assert (stuck.code, stuck.severity) == ("D505", "warning")


def test_weights_that_stand_still_are_frozen_unless_the_schedule_holds_them() -> None:
    still = layers("update_norm", [0.0, 0.01, 0.01, 0.01])
    assert "D505" in [finding.code for finding in told(**still).findings]
    ended = told(**still, lr=lambda t: 1e-3 if t < 20 else 1e-9)
    assert "D505" not in [finding.code for finding in ended.findings]


def test_the_root_speaks_first_and_the_rest_hangs_under_it() -> None:
    facts = {"inputs": WELL | {"std": 1000.0}, "dead": [["relu number 1", 0.9]]}
    doctor = told(lambda t: 2.3 if t == 0 else 90.0, 100, ratio=flat(0.5), facts=facts)
    first = doctor.findings[0]
    assert first.code == "D601"
    assert {"D201", "D502"} <= {finding.code for finding in first.consequences}
    assert [finding.code for finding in doctor.findings[1:]] == [finding.code for finding in first.consequences]


def test_it_does_not_flicker() -> None:
    doctor = Doctor(settings={"rule": "adamw", "lr": 1e-3})
    opened: list[str] = []
    doctor._say = opened.append
    for i in range(60):  # now above what opens it, now between that and what clears it
        told(count=10, facts={"saturated": [["tanh number 1", 0.62 if i % 2 else 0.5]]}, doctor=doctor)
        doctor.check()
    said = [line for line in opened if "D503 saturated-units" in line]
    assert len(said) == 1


def test_a_consequence_is_said_without_a_remedy_of_its_own() -> None:
    said: list[str] = []
    facts = {"inputs": WELL | {"std": 1000.0}, "dead": [["relu number 1", 0.9]]}
    doctor = Doctor(settings={"rule": "adamw", "lr": 1e-3}, say=said.append)
    told(count=100, facts=facts, doctor=doctor)
    root, below = (next(line for line in said if code in line) for code in ("D601 u", "D502 d"))
    assert "Normalise by the training data" in root
    assert below.endswith(". D601 explains it.") and "leaky ReLU" not in below


def test_it_clears_when_it_is_over_and_says_so_once() -> None:
    doctor = Doctor(settings={"rule": "adamw", "lr": 1e-3})
    said: list[str] = []
    doctor._say = said.append
    told(count=60, facts={"saturated": [["tanh number 1", 0.9]]}, doctor=doctor)
    assert [finding.code for finding in doctor.findings] == ["D503"]
    told(count=60, facts={"saturated": [["tanh number 1", 0.1]]}, doctor=doctor)
    assert doctor.findings == []
    assert [finding.code for finding in doctor.cleared] == ["D503"]
    assert len(said) == 2 and said[0].startswith("step ") and said[1].endswith("cleared.")


def test_what_has_happened_stays() -> None:
    doctor = told(**CASES["D105"][0])
    told(count=2000, doctor=doctor)
    assert "D105" in [finding.code for finding in doctor.findings]


def test_a_history_without_measures_says_nothing_that_needs_them() -> None:
    doctor = Doctor()
    for t in range(300):
        doctor.observe(falling()(t) * (1 + 0.05 * float(np.sin(t * t))))
    assert doctor.findings == []


def test_a_run_with_two_losses_before_nothing_but_nan_is_examined_all_the_same() -> None:
    doctor = told(lambda t: 1.0 if t < 2 else math.nan, steps=200)
    assert doctor.findings[0].severity == "error"


@pytest.mark.parametrize(("every", "middle"), [(1, 90), (4, 88), (10, 70)])
def test_the_present_ratio_is_that_of_the_last_steps_however_rarely_they_are_measured(every: int, middle: int) -> None:
    doctor = Doctor()
    for t in range(100):
        doctor.observe(1.0, update_norm=float(t) if t % every == 0 else None, param_norm=1.0)
    assert Look(doctor.run).ratio == middle
