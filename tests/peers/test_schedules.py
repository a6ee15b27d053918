"""Our schedules against those of other libraries, point by point over 10 000 steps."""

import pytest

from tests.peers.schedules import Row, installed, rows


@pytest.mark.parametrize("row", [*rows()], ids=lambda row: f"{row.peer}, {row.theirs}"[:80])
@pytest.mark.filterwarnings("ignore")  # of other libraries, about themselves
def test_agrees(row: Row) -> None:
    if not installed(row.peer):
        pytest.skip(f"{row.peer} is not installed")
    assert row.difference() <= row.bound
