"""Every kind of bad input to `adamas bench`: one plain sentence on stderr, exit status 2, nothing written."""

import json
from pathlib import Path

import pytest

from adamas.bench.peers import PEERS, Peer
from adamas.cli import main


def header(text, length=None):
    raw = text if isinstance(text, bytes) else text.encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw


def entry(shape, dtype="F32"):
    return json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]}})


FILES = {
    "short.safetensors": b"abc",
    "cut.safetensors": header(entry([4]), 10_000),
    "long.safetensors": header(entry([4]), 1 << 62),
    "text.safetensors": header("no json"),
    "bytes.safetensors": header(b"\xff\xfe"),
    "list.safetensors": header("[1]"),
    "deep.safetensors": header("[" * 100_000),
    "shape.safetensors": header(entry([-4])),
    "shapeless.safetensors": header('{"a": 3}'),
    "ints.safetensors": header(entry([4], "I64")),
    "none.safetensors": header(entry([0])),
    "huge.safetensors": header(entry([10**9, 10**9])),
    "net.py": b"import torch\ndef number():\n    return 3\ndef empty():\n    return torch.nn.ReLU()\n"
    b"def broken():\n    return torch.nn.Linear(-1, [])\n"
    b"def half():\n    return torch.nn.Linear(2, 2).to(torch.float8_e5m2)\n",
}

NOT_JSON = "is no safetensors file: what it has in the header's place is no JSON object."


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        Path(name).write_bytes(content)
    monkeypatch.setitem(PEERS, "deepspeed", Peer("no_such_module", "deepspeed", PEERS["deepspeed"].run, ""))


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (
            "resnet",
            "Unknown workload 'resnet': did you mean 'resnet18'? Known: 8-tensors, 500x64, 1000x16, resnet18, gpt2, "
            "weights.safetensors, module.py:factory.",
        ),
        ("no.safetensors", "There is no file no.safetensors: check the spelling, or give the path from {cwd}."),
        (
            "short.safetensors",
            "short.safetensors is no safetensors file, or not all of one: it announces a header of 6,513,249 bytes "
            "and has 3 in all.",
        ),
        (
            "cut.safetensors",
            "cut.safetensors is no safetensors file, or not all of one: it announces a header of 10,000 bytes and has "
            "69 in all.",
        ),
        (
            "long.safetensors",
            "long.safetensors is no safetensors file, or not all of one: it announces a header of "
            "4,611,686,018,427,387,904 bytes and has 69 in all.",
        ),
        ("text.safetensors", f"text.safetensors {NOT_JSON}"),
        ("bytes.safetensors", f"bytes.safetensors {NOT_JSON}"),
        ("list.safetensors", f"list.safetensors {NOT_JSON}"),
        ("deep.safetensors", f"deep.safetensors {NOT_JSON}"),
        ("shape.safetensors", "shape.safetensors is no safetensors file: it says of 'a' neither dtype nor shape."),
        (
            "shapeless.safetensors",
            "shapeless.safetensors is no safetensors file: it says of 'a' neither dtype nor shape.",
        ),
        ("ints.safetensors", "ints.safetensors has no tensor of dtype F32, F64, BF16, F16: there is nothing to step."),
        ("none.safetensors", "none.safetensors has no tensor of dtype F32, F64, BF16, F16: there is nothing to step."),
        ("net.py", "net.py is a file: say which of its functions makes the module, as net.py:model."),
        (
            "net.py:nmber",
            "Unknown function in net.py 'nmber': did you mean 'number'? Known: number, empty, broken, half.",
        ),
        ("net.py:number", "net.py: number() returned int, not a torch.nn.Module."),
        (
            "net.py:empty",
            "net.py: empty() has no parameter that requires a gradient: there is nothing to step.",
        ),
        (
            "net.py:half",
            "net.py: half() has parameters of dtype float8_e5m2; known are float32, float64, bfloat16, float16.",
        ),
        ("no.py:make", "There is no file no.py: check the spelling, or give the path from {cwd}."),
        ("8-tensors --threads 0", "--threads '0': give whole numbers from 1 on, as in --threads 1,2."),
        ("8-tensors --threads 2,x", "--threads '2,x': give whole numbers from 1 on, as in --threads 1,2."),
        ("8-tensors --seconds 0", "--seconds 0 is no time to measure in: give a positive number."),
        ("8-tensors --seconds nan", "--seconds nan is no time to measure in: give a positive number."),
        (
            "8-tensors --peers torch-fusd",
            f"Unknown peer 'torch-fusd': did you mean 'torch-fused'? Known: {', '.join(PEERS)}.",
        ),
        (
            "8-tensors --peers torch,deepspeed",
            "The peer deepspeed is not installed: pip install deepspeed, or leave it out.",
        ),
        ("8-tensors -o no/b.png", "There is no folder no for the picture: make it, or name another with -o."),
        (
            "8-tensors --dtype int8",
            "Invalid value for '--dtype': 'int8' is not one of 'float32', 'float64', 'bfloat16', 'float16'; "
            "see adamas bench --help.",
        ),
    ],
)
def test_bench_says_what_is_wrong(capsys, tmp_path, args, sentence):
    assert fails(capsys, *args.split()) == sentence.replace("{cwd}", str(tmp_path))


def test_too_large_for_the_memory(capsys):
    said = fails(capsys, "huge.safetensors", "--no-tail", "--peers", "torch")
    # two optimizers with θ, g and two states, and one's copies of θ and states: 12 arrays of 4e18 bytes
    begin = "huge.safetensors needs about 48,000,000,000.0 GB of memory for 2 optimizers that each have "
    assert said.startswith(begin + f"{10**18:,} parameters, and ")
    assert said.endswith(" GB are free: name fewer --peers, or a smaller workload.")


def test_a_module_that_raises(capsys):
    said = fails(capsys, "net.py:broken")
    assert said.startswith("net.py raised ") and said.endswith("; mend it and start again.") and "(broken()): " in said


def fails(capsys, *args):
    """What `adamas bench args` says on stderr; it must exit with 2 and keep quiet on stdout."""
    before = set(Path().iterdir())
    with pytest.raises(SystemExit) as exit:
        main(["bench", *args])
    out, err = capsys.readouterr()
    assert exit.value.code == 2, err
    assert out == "" and "Traceback" not in err and err.count("\n") == 1
    assert {p for p in Path().iterdir() if p.name != "__pycache__"} == before
    return err.removeprefix("adamas: ").rstrip("\n")
