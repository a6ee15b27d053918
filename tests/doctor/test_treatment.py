"""The loop that treats: what it tries, in which order, and when it ends."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adamas.doctor import Finding, Remedy
from adamas.doctor.treatment import treat


@dataclass
class Ended:
    loss: float
    findings: list[Finding]


def finding(code: str, severity: str = "warning", **settings: Any) -> Finding:
    return Finding(code, code.lower(), 10, severity, "seen", "cause", Remedy("Do.", settings), 0.9)


class Patient:
    """Runs are dicts of settings; `losses` says how one ends by its lr, `found` what is found in it."""

    def __init__(self, losses: Mapping[float, float], found: Mapping[float, list[Finding]]) -> None:
        self.losses, self.found, self.watched = losses, found, list[dict[str, Any]]()

    def watch(self, run: dict[str, Any]) -> Ended:
        self.watched.append(run)
        return Ended(self.losses[run["lr"]], self.found.get(run["lr"], []))

    @staticmethod
    def remedied(run: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
        return {**run, **{name: value for name, value in settings.items() if name == "lr"}}

    def rounds(self, **given: Any) -> list[Any]:
        return list(treat({"lr": 1.0}, self.watch, self.remedied, lambda a, b: a.loss < b.loss, **given))


def test_it_ends_when_nothing_is_found() -> None:
    patient = Patient({1.0: 5.0, 0.5: 1.0}, {1.0: [finding("D201", lr=0.5)]})
    rounds = patient.rounds()
    assert [(round.run["lr"], round.kept) for round in rounds] == [(1.0, True), (0.5, True)]
    assert rounds[0].finding is None and rounds[1].finding.code == "D201"


def test_a_remedy_that_does_not_help_is_the_last_one() -> None:
    patient = Patient({1.0: 5.0, 0.5: 5.0, 0.1: 1.0}, {1.0: [finding("D201", lr=0.5)], 0.5: [finding("D201", lr=0.1)]})
    assert [(round.run["lr"], round.kept) for round in patient.rounds()] == [(1.0, True), (0.5, False)]


def test_it_ends_after_so_many_remedies() -> None:
    lrs = [1.0, 0.5, 0.25, 0.125, 0.0625]
    patient = Patient({lr: lr for lr in lrs}, {lr: [finding("D201", lr=lr / 2)] for lr in lrs})
    assert [round.run["lr"] for round in patient.rounds()] == lrs[:4]
    assert [round.run["lr"] for round in patient.rounds(rounds=1)] == lrs[:2]
    assert [round.run["lr"] for round in patient.rounds(rounds=0)] == lrs[:1]


def test_the_first_that_a_setting_can_change_is_treated_be_it_a_note() -> None:
    found = [finding("D504"), finding("D602", labels=True), finding("D201", lr=0.5), finding("D205", "note", lr=0.2)]
    patient = Patient({1.0: 5.0, 0.5: 2.0, 0.2: 1.0}, {1.0: found, 0.5: found[3:]})
    rounds = patient.rounds()
    assert [round.run["lr"] for round in rounds] == [1.0, 0.5, 0.2]
    assert [round.finding.code for round in rounds[1:]] == ["D201", "D205"]


def test_what_nothing_can_change_is_run_once() -> None:
    patient = Patient({1.0: 5.0}, {1.0: [finding("D504"), finding("D602", labels=True), finding("D201", lr=1.0)]})
    assert len(patient.rounds()) == 1
