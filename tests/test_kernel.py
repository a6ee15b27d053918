"""Kernels on disk: compiled once, atomically, and done without where there is no disk to be had."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import llvmlite.binding
import pytest

import adamas
from adamas import intrinsics, kernel
from adamas.errors import InputError
from adamas.lowering import numba

SCRIPT = """
import numpy as np, time
import adamas.numpy
theta = np.ones(5, np.float32)
opt = adamas.numpy.AdamW(theta, lr=0.5)
start = time.perf_counter()
opt.step(np.ones(5, np.float32))
print(time.perf_counter() - start, theta.tolist())
"""


def run(folder: Path, **more: str) -> tuple[float, str]:
    env = {**os.environ, "ADAMAS_CACHE": str(folder), **more}
    out = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=env, timeout=120)
    assert out.returncode == 0, out.stderr
    seconds, _, theta = out.stdout.partition(" ")
    return float(seconds), theta


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float, str]:
    """A folder in which the script has found nothing; how long its step took, and what came out."""
    folder = tmp_path_factory.mktemp("compiled")
    return folder, *run(folder)


def test_a_second_process_compiles_nothing(compiled: tuple[Path, float, str], tmp_path: Path) -> None:
    folder, first, expected = compiled
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    made = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.nbc")}
    assert made
    second, theta = run(tmp_path)
    assert theta == expected
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.nbc")} == made
    assert second < first


@pytest.mark.parametrize("damage", ["truncated code", "garbage index", "changed text", "a file in its place"])
def test_a_damaged_cache_is_made_anew(compiled: tuple[Path, float, str], tmp_path: Path, damage: str) -> None:
    whole, _, expected = compiled
    folder = Path(shutil.copytree(whole, tmp_path / "kernels"))
    if damage == "truncated code":
        for path in folder.rglob("*.nbc"):
            path.write_bytes(path.read_bytes()[:100])
    elif damage == "garbage index":
        for path in folder.rglob("*.nbi"):
            path.write_bytes(b"garbage")
    elif damage == "changed text":
        for path in folder.glob("*.py"):
            path.write_text("raise SystemExit('this is not the kernel')\n")
    else:
        shutil.rmtree(folder)
        folder.write_text("")
    assert run(folder)[1] == expected


def test_text_can_be_read() -> None:
    rule = adamas.rules()["adamw"]
    made = kernel.select(rule, rule.defaults)
    for backend in kernel.BACKENDS:
        assert "m_hat = exp_avg * c4" in made.text(backend, "float64")
    with pytest.raises(InputError, match="Unknown backend 'numbax': did you mean 'numba'"):
        made.text("numbax")


def test_static_choices_make_kernels_and_values_do_not() -> None:
    rule = adamas.rules()["adam"]
    plain = kernel.select(rule, rule.hyper({}))
    assert kernel.select(rule, rule.hyper({"lr": 0.5, "betas": (0.1, 0.2)})) is plain
    assert kernel.select(rule, rule.hyper({"amsgrad": True})) is not plain
    assert kernel.select(rule, rule.hyper({"weight_decay": 0.1})) is not plain


def test_bias_corrections_keep_their_digits() -> None:
    from mpmath import mp, mpf

    rule = adamas.rules()["adam"]
    made = kernel.select(rule, rule.defaults)
    mp.dps = 50
    for beta2, t in ((0.999, 1), (1 - 1e-9, 3), (1 - 1e-12, 100), (0.5, 40), (0.0, 1)):
        given = {**rule.defaults, "betas": (0.9, beta2), "tiny": 0.0}
        coefficients, _ = made.host(float(t), *(given[name] for name in made.program.hyper))
        correction = 1 / coefficients[made.program.coefficients.index("c5")]
        exact = 1 - mpf(beta2) ** t
        assert abs(mpf(correction) / exact - 1) < 1e-15


@pytest.mark.parametrize("name", sorted(adamas.rules()))
def test_spelling_the_hosts_words_out_changes_no_bit(name: str) -> None:
    rule = adamas.rules()[name]
    made = kernel.select(rule, {**rule.defaults, "ema_decay": 0.99})
    names: dict[str, Any] = dict(vars(intrinsics))
    exec(made.program.host_text(), names)
    given = {**rule.defaults, "ema_decay": 0.99, "tiny": 2.0**-126, "grad_factor": 0.5}
    for t in (1.0, 2.0, 7.0, 1e6):
        arguments = [t, *rule.source.scalars.values(), *(given[name] for name in made.program.hyper)]
        assert made.host(*arguments) == names["host"](*arguments)


def test_a_loop_takes_the_widest_vectors_that_there_are() -> None:
    if "+avx512f" not in llvmlite.binding.get_host_cpu_features().flatten().split(","):
        pytest.skip("this processor has no vectors of 512 bits")
    rule = adamas.rules()["adamw"]
    program = kernel.select(rule, rule.defaults).program
    names = {"CACHE": False}
    exec(numba.render(program, "float32"), names)
    assert "zmm" in names["kernel"]._library.get_asm_str()
