"""docs/integrations.md says what is so: the versions are those that are pinned, and the tests are there."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def rows():
    lines = (ROOT / "docs" / "integrations.md").read_text().splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")][1:]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_row(row):
    client, version, ran, tests = row
    if ran == "not run":
        assert (version, tests) == ("–", "–")
        return
    assert version.strip("`") in (ROOT / "constraints.txt").read_text().splitlines()
    named = re.findall(r"`(\w+\.py)::(\w+)`", tests)
    assert named and not re.sub(r"`\w+\.py::\w+`", "", tests).strip()
    for file, test in named:
        assert re.search(rf"^def {test}\(", (HERE / file).read_text(), re.M), f"{client}: {file} has no {test}"


def test_every_client_has_a_row():
    named = " ".join(tests for *_, tests in rows())
    files = {path.name for path in HERE.glob("test_*.py")} - {"test_table.py", "test_examples.py"}
    assert files == set(re.findall(r"`(\w+\.py)::", named))
