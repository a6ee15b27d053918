"""The walls of the house: imports point one way, and heavy libraries are imported where they are used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import adamas

ROOT = Path(adamas.__file__).parent

#: From the bottom up: a room may import from its own floor and those below.
FLOORS = [
    ["errors", "palette"],
    ["pages"],
    ["intrinsics", "hyperparameters", "checkpoint", "schedules", "scaling", "stopping", "doctor", "signatures"],
    ["dialect", "expressions"],
    ["driver"],
    ["registry"],
    ["late_switch", "tail"],
    ["rules", "lowering"],
    ["kernel"],
    ["engine", "addresses", "state"],
    ["arrays"],
    ["loading", "rows"],
    ["optimizer", "snapshot", "rangetest", "rangetest_picture", "rangetest_page"],
    ["numpy", "torch", "optax", "keras"],
    ["descent", "scipy", "sklearn"],
    ["problems", "recipes"],
    ["race", "plan", "pictures"],
    ["bench", "fix"],
    ["cli", "__main__"],
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows_point_down(path: Path) -> None:
    if path == ROOT / "__init__.py":
        return
    own = LEVEL[room(path)]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("adamas"):
            below = node.module.split(".")[1:] or [alias.name for alias in node.names]
            names = below[:1] if node.module != "adamas" else below
        elif isinstance(node, ast.Import):
            names = [a.name.split(".")[1] for a in node.names if a.name.startswith("adamas.")]
        else:
            continue
        for name in names:
            if name in LEVEL:
                assert LEVEL[name] <= own, f"{path.name}, line {node.lineno}, imports {name} from a floor above"


def test_import_is_light() -> None:
    code = (
        "import sys, adamas; print(*sorted(m for m in sys.modules if m in ('numpy', 'numba', 'torch', 'jax', 'rich')))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""
