"""A few of the runs of benchmarks/clinic, which has them all."""

from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from benchmarks.clinic.__main__ import fallen
from benchmarks.clinic.ailments import AILMENTS, EXPLODING, HEALTHY, RNN
from benchmarks.clinic.training import Outcome, train
from benchmarks.clinic.treatment import CURED, remedied, treat


@pytest.mark.parametrize("name", ["η too low", "ReLUs dead by bias", "a layer left out of the optimizer"])
def test_a_planted_ailment_is_found_and_cured(name: str) -> None:
    ailment = next(ailment for ailment in AILMENTS if ailment.name == name)
    case = treat(ailment, 0, 0, train(ailment.twins[0], 0))
    assert case.sick >= ailment.sick
    assert case.right(ailment.codes), case.findings
    assert case.cured <= CURED, (case.remedies, case.cured)


@pytest.mark.parametrize("name", ["MLP, AdamW, cosine", "cosine with restarts"])
def test_a_healthy_run_is_left_alone(name: str) -> None:
    run = HEALTHY[name][0]
    assert run is not None and not train(run, 0, watched=True).warnings


def test_a_run_has_fallen_ill_by_its_seed_if_it_ends_far_above_the_others() -> None:
    ends = [0.10, 0.11, 0.09, 0.19, 0.30]
    assert fallen([Outcome(end, end, 1.0, [], [], None, []) for end in ends]) == [False, False, False, False, True]
    ends = [0.001, 0.001, 0.002, 0.003, 0.01]  # all of them nothing, beside the loss of a guess
    assert not any(fallen([Outcome(end, end, 1.0, [], [], None, []) for end in ends]))


def test_a_network_keeps_the_activation_that_it_must_have() -> None:
    run = replace(RNN, shape=EXPLODING)
    assert remedied(run, {"activation": "leaky_relu"}) == run
