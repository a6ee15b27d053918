"""What the kernels are compiled to for a GPU: shown without one, in a process that does not interpret them."""

import re
import subprocess
import sys

import pytest

#: Compiles a rule's kernel for compute capability 9.0, and prints its PTX.
PROGRAM = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
import adamas
from adamas.kernel import launchable, select

rule, aligned = adamas.rules()[sys.argv[1]], sys.argv[2] == "aligned"
function = launchable("float32", False, ((select(rule, rule.defaults), (), aligned),))
names = "addresses__ spans__ lines__ factor__ keys__ results__ tickets__ ticket__".split()
types = dict(zip(names, "*i64 *i64 *fp64 *fp64 *i64 *fp64 *i64 *i64".split()))
hints = {(k,): [["tt.divisibility", 16]] for k in range(len(names))}
source = ASTSource(function, types, {}, hints)
options = {"num_warps": 4, "enable_fp_fusion": False}
made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
assert len(made.asm["cubin"]) > 1000
print(made.asm["ptx"])
"""


#: The same of the kernel that leads a step: the norm over float32 and float16, the host's part of two rules, or both.
LEAD = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
import adamas
from adamas.kernel import lead_launchable, select

kinds = (("float32", True), ("float16", False)) if "norm" in sys.argv else ()
hosts = [adamas.rules()[name] for name in ("nadam", "lpadam") if "host" in sys.argv]
function = lead_launchable(kinds, tuple(select(rule, rule.defaults) for rule in hosts))
types = "*i64 *i64 *fp64 *i32 *i64 *fp64 *i64 *i64 *i64 *fp64 *i64 *i64".split()
types = dict(zip(function.arg_names, types))
options = {"num_warps": 4, "enable_fp_fusion": False}
made = triton.compile(ASTSource(function, types, {}, {}), target=GPUTarget("cuda", 90, 32), options=options)
assert len(made.asm["cubin"]) > 1000
print(made.asm["ptx"])
"""


@pytest.mark.parametrize("asked", [("norm",), ("norm", "host")], ids=" ".join)
def test_the_last_program_sees_what_all_have_found(asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    ran = subprocess.run([sys.executable, "-c", LEAD, *asked], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    before, counted, after = re.split(r"(\batom\.[a-z.]*acq_rel[^\n]*\n)", ran.stdout)
    assert ".gpu." in counted and "bar.sync" in before
    assert re.search(r"\bst\.global.*b64", before), "each program's own sum is stored before it counts itself"
    assert re.search(r"\bld\.global\.cg", after), "the others' sums are read where they were written, in no near cache"
    assert "sqrt.rn.f64" in after and "div.rn.f64" in after


def test_the_host_is_as_exact_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    ran = subprocess.run([sys.executable, "-c", LEAD, "host"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert not re.search(r"\bfma\.|\.approx|\.f32 +%f\d+, %f\d+, ", ran.stdout)
    assert "div.rn.f64" in ran.stdout and "atom." not in ran.stdout
    told, done = (re.search(word, ran.stdout).start() for word in (r"bar\.sync", r"\bst\.global"))
    assert told < done, "all threads have read the ticket before one writes"


@pytest.mark.parametrize(("rule", "aligned"), [("adamw", "aligned"), ("adamw", "not"), ("lpadam", "aligned")])
def test_what_a_gpu_runs(rule: str, aligned: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    ran = subprocess.run([sys.executable, "-c", PROGRAM, rule, aligned], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    text = ran.stdout
    assert not re.search(r"\bfma\.", text), "fused multiply-adds round otherwise than the CPU does"
    assert not re.search(r"\b(?:div|sqrt|rcp)\.(?:approx|full)", text)
    assert "div.rn.f32" in text
    assert ("sqrt.rn.f32" in text) == (rule == "adamw")
    wide = re.findall(r"\b(ld|st)\.global\.v4\.b32", text)
    # Two accesses for eight numbers of each of four arrays, of which three are written.
    assert (wide.count("ld"), wide.count("st")) == ((8, 6) if aligned == "aligned" else (0, 0))
