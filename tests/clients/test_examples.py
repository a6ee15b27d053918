"""The examples run as their first lines say, and the loss that they print falls."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDS = {
    "plain_torch.py": "torch",
    "huggingface_trainer.py": "transformers",
    "lightning_module.py": "lightning",
    "accelerate_loop.py": "accelerate",
    "fsdp2.py": "torch",
}


@pytest.mark.parametrize("name", NEEDS)
def test_example(name, tmp_path):
    pytest.importorskip(NEEDS[name], reason="the example is about it")
    text = (ROOT / "examples" / name).read_text()
    assert len(text.splitlines()) < 40
    _, command = text.splitlines()[0].strip('"').split(" Run: ")
    program, *arguments = command.split()
    run = {"python": [sys.executable], "torchrun": [sys.executable, "-m", "torch.distributed.run", "--standalone"]}
    done = subprocess.run(
        [*run[program], *(str(ROOT / a) if a.endswith(".py") else a for a in arguments)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    losses = [float(loss) for loss in re.findall(r"^\w+ \d+: loss (\S+)$", done.stdout, re.M)]
    assert len(losses) > 2 and losses[-1] < 0.5 * losses[0], done.stdout


def test_every_example_is_run():
    others = {"my_problem.py", "my_rule.py", "loss_scaling.py"}  # by tests/race and tests/fronts
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {*NEEDS, *others}
