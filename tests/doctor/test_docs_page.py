"""The page of the documentation has a section for each finding, under the address that the finding names."""

import re
from pathlib import Path

from adamas.doctor.findings import KINDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "doctor.md"


def test_each_finding_has_its_section() -> None:
    sections = re.findall(r"^### (\S+) (\S+)$", PAGE.read_text(), re.M)
    assert sections == sorted((kind.code, kind.name) for kind in KINDS)
