"""When a finding opens and clears, and which of several speaks first, by kinds that find what they are told to."""

import numpy as np
import pytest

from adamas.doctor.diagnosis import Diagnosis, Found, Kind, Remedy
from adamas.doctor.findings.remedies import lower_lr
from adamas.doctor.run import COLUMNS, Look, Run
from tests.doctor.histories import falling, told


def kind(code: str, rank: int, *explains: str, script: str = "+", severity: str = "warning", **how: object) -> Kind:
    """One that finds at each ``+`` of a script, at each ``~`` only if it stands already, and never at ``-``."""
    checks = iter(script + script[-1] * 100)

    def examine(look: Look, standing: bool) -> Found | None:
        now = next(checks)
        if now == "+" or (now == "~" and standing):
            return Found("seen", "cause", Remedy("Do."), 0.9, severity)
        return None

    return Kind(code, code.lower(), rank, examine, explains, **how)  # pyright: ignore[reportArgumentType]


def stands(script: str, **how: object) -> str:
    """After each check, whether it stands."""
    diagnosis = Diagnosis([kind("D1", 1, script=script, **how)])
    stood = ""
    for _ in script:
        diagnosis.check(Run())
        stood += "+" if diagnosis.findings else "-"
    return stood


def order(*kinds: Kind) -> list[tuple[str, list[str]]]:
    """The findings, each with those that hang under it."""
    diagnosis = Diagnosis(kinds)
    diagnosis.check(Run())
    return [(finding.code, [below.code for below in finding.consequences]) for finding in diagnosis.findings]


def test_it_opens_when_it_was_found_as_often_in_a_row_as_its_kind_asks() -> None:
    assert stands("-+--") == "-+++"  # cleared at the third miss
    assert stands("+-+-++", confirm=2) == "-----+"
    assert stands("++-+++", confirm=3) == "-----+"


def test_it_clears_after_three_misses_in_a_row() -> None:
    assert stands("+--+--+---+") == "+++++++++-+"


def test_a_laxer_condition_keeps_it_and_does_not_open_it() -> None:
    assert stands("~~+~~~---~~") == "--++++++---"


def test_what_has_happened_stays_and_what_has_not_is_cleared_once() -> None:
    assert stands("+------", lasting=True) == "+++++++"
    diagnosis = Diagnosis([kind("D1", 1, script="+------")])
    changes = [[(f.code, f.cleared is not None) for f in diagnosis.check(Run())] for _ in range(7)]
    assert changes == [[("D1", False)], [], [], [("D1", True)], [], [], []]
    assert [finding.code for finding in diagnosis.cleared] == ["D1"]


def test_the_root_comes_first_whatever_the_ranks() -> None:
    assert order(kind("D1", 1), kind("D2", 2, "D1")) == [("D2", ["D1"]), ("D1", [])]


def test_consequences_of_consequences_hang_under_the_root() -> None:
    assert order(kind("D3", 3), kind("D2", 2, "D3"), kind("D1", 1, "D2")) == [
        ("D1", ["D2", "D3"]), ("D2", []), ("D3", []),
    ]  # fmt: skip


def test_of_two_that_explain_each_other_the_lower_rank_rules() -> None:
    assert order(kind("D1", 9, "D2"), kind("D2", 1, "D1"))[0] == ("D2", ["D1"])


def test_notes_come_after_ailments() -> None:
    assert [code for code, _ in order(kind("D1", 1, severity="note"), kind("D2", 2))] == ["D2", "D1"]


def test_saturation_between_the_two_limits_keeps_what_stands() -> None:
    facts = [{"saturated": [["tanh number 1", share]]} for share in (0.9, 0.5, 0.3)]
    doctor = told(count=60, facts=facts[0])
    assert [finding.code for finding in doctor.findings] == ["D503"]
    told(count=60, facts=facts[1], doctor=doctor)
    assert [finding.code for finding in doctor.findings] == ["D503"]
    told(count=60, facts=facts[2], doctor=doctor)
    assert doctor.findings == []
    assert told(count=60, facts=facts[1]).findings == []


def test_a_single_outlier_is_no_surge() -> None:
    doctor = told(lambda t: 30.0 if t == 50 else falling()(t), count=100, ratio=lambda t: 0.05)
    assert "D201" not in [finding.code for finding in doctor.findings]


def test_small_steps_of_a_run_that_has_hardly_begun_are_no_ailment() -> None:
    sick = {"loss": lambda t: 2.3 - 0.0002 * t, "noise": 0.002, "ratio": lambda t: 1e-6, "steps": 400}
    assert [f.code for f in told(**sick, count=60).findings] == []  # pyright: ignore[reportArgumentType]
    assert "D202" in [f.code for f in told(**sick, count=200).findings]  # pyright: ignore[reportArgumentType]


def test_noise_is_seldom_a_fall() -> None:
    rng, falls = np.random.default_rng(0), 0
    for _ in range(60):
        run = Run()
        for t, loss in enumerate(2.0 + 0.1 * rng.standard_normal(150)):
            run.add(t + 1.0, loss, *[np.nan] * (len(COLUMNS) - 2))
        falls += Look(run).drop(0.6) != 0
    assert falls <= 15  # the limit lies at 1.4 of its deviations


def test_an_eta_is_lowered_between_a_third_and_a_three_hundredth() -> None:
    assert lower_lr(0.3, 1e9) == pytest.approx(0.001) and lower_lr(0.3, 1e-9) == pytest.approx(0.1)
    assert lower_lr(0.3, 0.09) == pytest.approx(0.01)  # to ‖Δθ‖/‖θ‖ = 3e-3
    assert lower_lr(0.3, 0.3, 300) == pytest.approx(0.01)  # in a short run to 1e-2, so that it comes somewhere
    assert lower_lr(0.3, float("nan")) == pytest.approx(0.03)


def test_gradients_that_explode_are_clipped_to_twice_the_usual() -> None:
    bursts = told(norm=lambda t: 900.0 if t in (90, 120, 160) else 4.0)
    finding = next(finding for finding in bursts.findings if finding.code == "D105")
    assert finding.remedy.settings == {"clip_grad_norm": 8.0}
