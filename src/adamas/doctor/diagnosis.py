"""Which findings stand, since when, and which of them explains which."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from adamas.doctor.run import Look, Run

#: From the worst on. A note is worth knowing and no ailment.
SEVERITIES = ("error", "warning", "note")

PAGE = "docs/doctor.md"

#: Checks in a row without its condition after which a finding is cleared.
CALM = 3


@dataclass(frozen=True)
class Remedy:
    """What to change.

    Attributes:
        text: in a sentence, with values computed from the run.
        settings: the same for a program, where a setting can cure.
    """

    text: str
    settings: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Found:
    """What an examination found.

    Attributes:
        evidence: in numbers.
        cause: the most probable one.
        remedy: what to do.
        confidence: from 0 to 1, that cause and remedy are right.
        severity: one of `SEVERITIES`.
    """

    evidence: str
    cause: str
    remedy: Remedy
    confidence: float
    severity: str = "warning"


@dataclass(frozen=True)
class Kind:
    """A kind of ailment: a file in `adamas.doctor.findings`.

    Attributes:
        code: stable.
        name: stable too.
        rank: where several stand that do not explain each other, the lowest speaks first.
        examine: looks for it. Its second argument says whether it stands already: then a laxer condition keeps it.
        explains: codes of what follows from it.
        confirm: checks in a row that must find it before it stands.
        lasting: whether it stays once it stands, being about something that has happened.
    """

    code: str
    name: str
    rank: int
    examine: Callable[[Look, bool], Found | None]
    explains: tuple[str, ...] = ()
    confirm: int = 1
    lasting: bool = False


@dataclass(frozen=True)
class Finding:
    """What ails a run.

    Attributes:
        code, name: of its kind, see docs/doctor.md.
        step: at which it was opened.
        severity: "error", "warning", or "note", which is worth knowing and no ailment.
        evidence, cause: in words with numbers.
        remedy: `Remedy`.
        confidence: from 0 to 1.
        cleared: the step at which it was cleared, or None while it stands.
        consequences: findings that it explains.
    """

    code: str
    name: str
    step: int
    severity: str
    evidence: str
    cause: str
    remedy: Remedy
    confidence: float
    cleared: int | None = None
    consequences: "tuple[Finding, ...]" = ()

    @property
    def url(self) -> str:
        """Of its section in the documentation, from the root of the project."""
        return f"{PAGE}#{self.code.lower()}-{self.name}"

    @property
    def line(self) -> str:
        """In one line."""
        return f"step {self.step}  {self.code} {self.name}: {self.evidence}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plain = {name: getattr(self, name) for name in ("code", "name", "step", "severity", "evidence", "cause")}
        return {
            **plain,
            "remedy": {"text": self.remedy.text, "settings": self.remedy.settings},
            "confidence": self.confidence,
            "cleared": self.cleared,
            "consequences": [finding.code for finding in self.consequences],
            "url": self.url,
        }


@dataclass
class _State:
    kind: Kind
    seen: int = 0  # checks in a row
    missed: int = 0
    standing: Finding | None = None


class Diagnosis:
    """Examines a run again and again, and remembers what it has found.

    A finding is opened when its condition has held for as many checks as its kind asks for, and cleared when a laxer
    condition has failed for `CALM` checks.
    """

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._states = [_State(kind) for kind in sorted(kinds, key=lambda kind: kind.rank)]
        self.cleared: list[Finding] = []

    def check(self, run: Run) -> list[Finding]:
        """Look at the run now.

        Returns:
            The findings that were opened or cleared by this, as they are.
        """
        look = Look(run)
        changed: list[Finding] = []
        for state in self._states:
            found = state.kind.examine(look, state.standing is not None)
            if found is not None:
                state.seen, state.missed = state.seen + 1, 0
                if state.standing is not None:
                    state.standing = _finding(state.kind, state.standing.step, found)
                elif state.seen >= state.kind.confirm:
                    state.standing = _finding(state.kind, look.step, found)
                    changed.append(state.standing)
                continue
            state.seen, state.missed = 0, state.missed + 1
            if state.standing is not None and state.missed >= CALM and not state.kind.lasting:
                cleared = replace(state.standing, cleared=look.step)
                self.cleared.append(cleared)
                changed.append(cleared)
                state.standing = None
        return changed

    @property
    def findings(self) -> list[Finding]:
        """Those that stand: root causes first, each with what it explains; then those that are explained."""
        standing = [(state.kind, state.standing) for state in self._states if state.standing is not None]
        standing.sort(key=lambda pair: (pair[1].severity == "note", pair[0].rank))
        above = {kind.code: _above(kind, [other for other, _ in standing]) for kind, _ in standing}
        hung: dict[str, list[Finding]] = {}
        roots: list[Finding] = []
        for kind, finding in standing:
            root = kind.code
            while above[root]:
                root = above[root]
            if root == kind.code:
                roots.append(finding)
            else:
                hung.setdefault(root, []).append(finding)
        roots = [replace(root, consequences=tuple(hung.get(root.code, []))) for root in roots]
        return [*roots, *(below for root in roots for below in root.consequences)]


def _above(kind: Kind, standing: Iterable[Kind]) -> str:
    """The code of what explains it best, of those that stand; where two explain each other, the lower rank does."""
    for other in standing:
        if kind.code in other.explains and (other.code not in kind.explains or other.rank < kind.rank):
            return other.code
    return ""


def _finding(kind: Kind, step: int, found: Found) -> Finding:
    return Finding(
        kind.code,
        kind.name,
        step,
        found.severity,
        found.evidence,
        found.cause,
        found.remedy,
        round(found.confidence, 2),
    )
