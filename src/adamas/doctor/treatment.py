"""Treating a run: what is found first is remedied, the run is run again, and what made it worse is taken back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from adamas.doctor.diagnosis import Finding

#: A remedy can bring the next ailment to light.
ROUNDS = 3


class Watched(Protocol):
    """How a run ended that a doctor has watched."""

    @property
    def findings(self) -> Sequence[Finding]: ...


R = TypeVar("R")
Out = TypeVar("Out", bound=Watched)


@dataclass(frozen=True)
class Round(Generic[R, Out]):
    """A run of a treatment.

    Attributes:
        run: what was run: a value from which it can be run again with something changed.
        outcome: how it ended.
        finding: whose remedy made it of the best run before; None for the run as it was.
        kept: whether it is the best so far.
    """

    run: R
    outcome: Out
    finding: Finding | None
    kept: bool


def ailing(findings: Sequence[Finding]) -> list[Finding]:
    """Without the notes, which are no ailments."""
    return [finding for finding in findings if finding.severity != "note"]


def treat(
    run: R,
    watch: Callable[[R], Out],
    remedied: Callable[[R, Mapping[str, Any]], R],
    better: Callable[[Out, Out], bool],
    rounds: int = ROUNDS,
) -> Iterator[Round[R, Out]]:
    """Run, remedy what is found first, and run again, until nothing is found that a setting can change.

    Findings come as they are told: roots that ail it, roots that are only noted, since whether a note is to be taken
    seriously is seen by trying it, and what they explain last. A remedy that does not help ends it: what is found next
    would be found in a run that nobody wants.

    Args:
        watch: runs it with a doctor.
        remedied: the run with a remedy's settings; the same run where they are nothing of its own.
        better: whether the first ended better than the second.
        rounds: remedies at most.

    Yields:
        Each round when it is over, the run as it was first.

    >>> from types import SimpleNamespace as Outcome
    >>> from adamas.doctor import Remedy
    >>> def watch(lr):  # too high above 0.1
    ...     found = Finding("D201", "lr-too-high", 10, "warning", "", "", Remedy("Lower.", {"lr": lr / 4}), 0.9)
    ...     return Outcome(loss=abs(lr - 0.1), findings=[found] if lr > 0.1 else [])
    >>> rounds = treat(0.5, watch, lambda lr, new: new["lr"], lambda a, b: a.loss < b.loss)
    >>> [(round.run, round.kept) for round in rounds]
    [(0.5, True), (0.125, True), (0.03125, False)]
    """
    outcome = watch(run)
    yield Round(run, outcome, None, True)
    for _ in range(rounds):
        for finding in outcome.findings:
            changed = remedied(run, finding.remedy.settings)
            if changed != run:
                break
        else:
            return
        now = watch(changed)
        helped = better(now, outcome)
        yield Round(changed, now, finding, helped)
        if not helped:
            return
        run, outcome = changed, now
