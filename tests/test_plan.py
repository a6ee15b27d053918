"""`adamas plan`: its bytes are those by hand, those that the engine has, and those that torch gives each device."""

import json
import sys

import numpy as np
import pytest

import adamas
import adamas.numpy
from adamas.cli import main
from adamas.plan.devices import budget, dealt
from adamas.plan.step import Step, described
from adamas.plan.weights import Weights, weights
from adamas.tail import Tail

torch = pytest.importorskip("torch", reason="modules, and the torch front")

import adamas.torch  # noqa: E402

ADAM = adamas.rules()["adam"]
ALL = Tail(clip_grad_norm=1.0, ema_decay=0.999)
AVERAGED = Tail(ema_decay=0.9)
MANY = described((1 << 20,))

#: Every rule, and the options under which it keeps more or fewer states.
RULES = [
    *((name, {}) for name in adamas.rules()),
    ("sgd", {"momentum": 0.9}),
    ("adamw", {"amsgrad": True}),
    ("rmsprop", {"centered": True, "momentum": 0.9}),
]
#: Some of them, for every dtype, states in fewer bits and the average: these bring kernels of their own to compile.
FEW = [("adamw", {"amsgrad": True}), ("lion", {})]
SHAPES = [(), (0, 3), (7,), (5, 3), (4100,)]
DTYPES = {"float16": 1, "bfloat16": 1, "float32": 1, "float64": 1, "complex64": 2, "complex128": 2}


def form(shape, dtype):
    real = {"complex64": "float32", "complex128": "float64"}.get(dtype, dtype)
    return described(shape, real, DTYPES[dtype])


def module(*shapes, frozen=()):
    made = torch.nn.Module()
    for i, shape in enumerate((*shapes, *frozen)):
        made.register_parameter(f"p{i}", torch.nn.Parameter(torch.zeros(shape), requires_grad=i < len(shapes)))
    return made


# -- by hand ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "state_dtype", "tail", "expected"),
    [
        ("float32", "float32", Tail(), 28),  # read g θ m v, write θ m v
        ("float32", "float32", ALL, 40),  # and g once more, the average twice
        ("float32", "float32", Tail(zero_grad=True), 32),
        ("float32", "float32", Tail(nonfinite="skip"), 32),  # which looks at all gradients first
        ("float32", "bfloat16", Tail(), 20),
        ("float32", "bfloat16", ALL, 32),  # the average stays float32
        ("float32", "int8", Tail(), 16 + 4 * 2 / 256),
        ("bfloat16", "int8", Tail(), 10 + 4 * 2 / 256),
        ("bfloat16", "float32", Tail(), 22),
        ("float64", "float32", Tail(), 56),
    ],
)
def test_bytes_moved_by_a_parameter(dtype, state_dtype, tail, expected):
    step = Step.of(ADAM, tail=tail, state_dtype=state_dtype)
    assert step.moved(form(MANY.shape, dtype)) == expected * MANY.size


def test_gradients_may_have_a_dtype_of_their_own():
    assert Step.of(ADAM, tail=ALL, grad_dtype="bfloat16").moved(MANY) == 36 * MANY.size


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [(4095, 4 * 4095), (4096, 4096 + 2 * 16), (4097, 4097 + 2 * 17)],
    ids=["too small", "whole blocks", "a block begun"],
)
def test_blocks_of_int8(numbers, expected):
    assert Step.of(ADAM, state_dtype="int8").kept(described((numbers,))) == 2 * expected + 8


def test_strategies_by_hand():
    """Two devices; shapes [5, 3] and [4] trained, [6] frozen; Adam with an average, float32."""
    held = Weights((described((5, 3)), described((4,))), (described((6,)),))
    step = Step.of(ADAM, tail=AVERAGED)
    found = {name: budget(held, step, name, 2) for name in ("ddp", "zero1", "fsdp2")}
    ddp, zero1, fsdp2 = found.values()
    assert (ddp.weights, ddp.gradients, ddp.states, ddp.average, ddp.moved) == (100, 76, 152 + 16, 76, 36 * 19)
    # [5, 3] on one device, [4] on the other
    assert (zero1.weights, zero1.gradients, zero1.states, zero1.average, zero1.moved) == (100, 76, 128, 60, 36 * 15)
    # 3 of 5 rows, 2 of 4, 3 of 6
    assert (fsdp2.weights, fsdp2.gradients, fsdp2.states, fsdp2.average, fsdp2.moved) == (56, 44, 104, 44, 36 * 11)
    assert [b.total for b in found.values()] == [420, 364, 248]
    assert fsdp2.floor(36e9) == pytest.approx(11e-9)


def test_a_number_is_split_evenly():
    held = weights("1000")
    zero1 = budget(held, Step.of(ADAM), "zero1", 3)
    assert (zero1.weights, zero1.states, zero1.moved) == (4000, 8 * 334 + 8, 28 * 334)


# -- the engine ------------------------------------------------------------------------------------------------------


def nbytes(state):
    """Bytes of the states, and of the average."""
    held = {name: array.to_local() if hasattr(array, "to_local") else array for name, array in state.items()}
    average = held.pop("ema", np.empty(0))
    return sum(array.nbytes for array in held.values()), average.nbytes


def planned(step, shapes, dtype):
    return [(step.kept(form(shape, dtype)), step.average(form(shape, dtype))) for shape in shapes]


KEPT = [
    *(("float32", name, options, Tail()) for name, options in RULES),
    *((kept, name, options, AVERAGED) for kept in ("float32", "bfloat16", "int8") for name, options in FEW),
]


def dtypes(tail):
    return DTYPES.keys() if tail == AVERAGED else {"float32", "complex64"}


@pytest.mark.parametrize(("state_dtype", "name", "options", "tail"), KEPT)
def test_torch_front_keeps_what_is_planned(state_dtype, name, options, tail):
    step = Step.of(adamas.rules()[name], options, tail, state_dtype)
    for dtype in dtypes(tail):
        params = [torch.zeros(shape, dtype=getattr(torch, dtype)) for shape in SHAPES]
        opt = adamas.torch.optimizer(name)(params, ema_decay=tail.ema_decay, **options, state_dtype=state_dtype)
        for p in params:
            p.grad = torch.ones_like(p)
        opt.step()
        assert [nbytes(opt.state[p]) for p in params] == planned(step, SHAPES, dtype)


@pytest.mark.parametrize(("state_dtype", "name", "options", "tail"), [row for row in KEPT if row[0] != "bfloat16"])
def test_numpy_front_keeps_what_is_planned(state_dtype, name, options, tail):
    step = Step.of(adamas.rules()[name], options, tail, state_dtype)
    for dtype in dtypes(tail) - {"bfloat16"}:
        params = {str(shape): np.zeros(shape, dtype) for shape in SHAPES}
        opt = adamas.numpy.optimizer(name)(params, ema_decay=tail.ema_decay, **options, state_dtype=state_dtype)
        opt.step({key: np.ones_like(p) for key, p in params.items()})
        assert [nbytes(opt.state[key]) for key in params] == planned(step, SHAPES, dtype)


@pytest.mark.parametrize(
    ("name", "options", "tail"),
    [
        *((name, options, Tail()) for name, options in RULES),
        *((name, options, AVERAGED) for name, options in FEW),
        ("adam", {}, Tail(zero_grad=True)),
    ],
)
def test_what_moves_is_what_the_kernel_is_given_and_what_has_changed(name, options, tail):
    """Under growing gradients a step changes whatever it writes."""
    param = np.ones(100, np.float32)
    opt = adamas.numpy.optimizer(name)(param, lr=0.1, ema_decay=tail.ema_decay, zero_grad=tail.zero_grad, **options)
    for t in range(1, 8):
        grad = np.full_like(param, t)
        arrays = [grad, param, *(a for a in opt.state.get(0, {}).values() if a.shape)]
        before = [a.copy() for a in arrays]
        opt.step(grad)
    given = opt._stepper._plan.parts[0].table.addresses.shape[0]
    changed = sum(not np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))
    step = Step.of(adamas.rules()[name], options, tail)
    assert step.moved(described(param.shape)) == (given + changed) * param.nbytes


# -- torch's devices -------------------------------------------------------------------------------------------------

SEVERAL = [(33, 7), (33,), (5, 33), (5,), (2, 64), (1, 200), (16, 16)]


@pytest.fixture(params=[2, 3, 4, 16])
def devices(request):
    """So many processes, as the first of them sees them; nothing is sent."""
    if not torch.distributed.is_available():
        pytest.skip("this torch is built without torch.distributed")
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.distributed.init_process_group("fake", rank=0, world_size=request.param, store=FakeStore())
    yield request.param
    torch.distributed.destroy_process_group()


def test_chunks_are_torchs():
    for rows in range(1, 40):
        for devices in range(1, 20):
            chunks = [c.numel() for c in torch.empty((rows, 3), device="meta").chunk(devices)]
            held = Weights((described((rows, 3)),)).sharded(devices)
            assert held.elements == max(chunks)


def test_fsdp2_is_what_its_first_device_keeps(devices):
    from torch.distributed.fsdp import fully_shard

    made, held = module(*SEVERAL, frozen=[(9, 4)]), Weights(tuple(map(described, SEVERAL)), (described((9, 4)),))
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (devices,))
    fully_shard(made, mesh=mesh)
    trained = [p for p in made.parameters() if p.requires_grad]
    opt = adamas.torch.AdamW(trained, ema_decay=0.9)
    for p in trained:
        p.grad = torch.ones_like(p)
    opt.step()
    kept = [nbytes(opt.state[p]) for p in trained]
    found = budget(held, Step.of(adamas.rules()["adamw"], tail=AVERAGED), "fsdp2", devices)
    assert found.weights == sum(p.to_local().nbytes for p in made.parameters())
    assert found.gradients == sum(p.grad.to_local().nbytes for p in trained)
    assert (found.states, found.average) == tuple(map(sum, zip(*kept, strict=True)))


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:DeprecationWarning")  # torch's own import
def test_zero1_is_dealt_as_torch_deals(devices):
    from torch.distributed.optim import ZeroRedundancyOptimizer

    opt = ZeroRedundancyOptimizer(module(*SEVERAL).parameters(), optimizer_class=adamas.torch.AdamW, lr=1e-3)
    theirs = [[tuple(p.shape) for group in rank for p in group["params"]] for rank in opt._partition_parameters()]
    ours = [[form.shape for form in share] for share in dealt(list(map(described, SEVERAL)), devices)]
    assert ours == theirs[: len(SEVERAL)]
    assert not any(theirs[len(SEVERAL) :])


# -- what is given ---------------------------------------------------------------------------------------------------

FACTORIES = """
import torch
from torch import nn

def lora():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    return model.to(torch.bfloat16)

def vast(): return nn.Linear(1 << 20, 1 << 20)
tied = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
tied[1].weight = tied[0].weight
def frozen(): return nn.Linear(2, 2).requires_grad_(False)
def bare(): return nn.ReLU()
def lazy(): return nn.LazyLinear(3)
def ints(): return nn.ParameterList([nn.Parameter(torch.zeros(3, dtype=torch.int8), requires_grad=False)])
def words(): return "words"
def fails(): return nn.Linear(2, 2).weight.numpy()
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "models.py").write_text(FACTORIES)


def run(capsys, *args):
    with pytest.raises(SystemExit) as exit:
        main(["plan", *args])
    out, err = capsys.readouterr()
    return exit.value.code, out, err


@pytest.mark.parametrize(
    ("text", "count"),
    [("124M", 124e6), ("1.3e9", 1.3e9), ("7b", 7e9), ("124439.808k", 124439808), ("1_000,000", 1e6), ("0.5T", 5e11)],
)
def test_numbers(text, count):
    assert weights(text).elements == count


def test_modules():
    held = weights("models.py:lora")
    assert [p.shape for p in held.trained] == [(2, 3), (2,)]
    assert [p.shape for p in held.frozen] == [(3, 4), (3,)]
    assert {p.dtype for p in (*held.trained, *held.frozen)} == {"bfloat16"}
    assert {p.dtype for p in held.cast("float32").trained} == {"float32"}
    assert weights("models.py:vast").elements == 2**40 + 2**20  # on the meta device
    assert weights("models.py:tied").elements == 16


def test_a_file_of_weights(tmp_path):
    from safetensors.torch import save_file

    tensors = {
        "w": torch.zeros(5, 3, dtype=torch.bfloat16),
        "z": torch.zeros(2, dtype=torch.complex64),
        "steps": torch.zeros(4, dtype=torch.int64),
    }
    save_file(tensors, tmp_path / "weights.safetensors", metadata={"format": "pt"})
    assert set(weights("weights.safetensors").trained) == {form((5, 3), "bfloat16"), form((2,), "complex64")}
    save_file({"w": torch.zeros(3).to(torch.float8_e5m2)}, tmp_path / "eight.safetensors")
    with pytest.raises(adamas.errors.InputError, match="w is F8_E5M2, which cannot be trained"):
        weights("eight.safetensors")


def test_json_has_every_byte(capsys):
    args = ("1000", "--devices", "8", "--ema", "--clip", "--bandwidth", "2.0TB/s", "--option", "amsgrad=True", "--json")
    code, out, _ = run(capsys, *args)
    found = json.loads(out)
    assert code == 0
    assert found["parameters"] == 1000 and not found["exact"] and found["bytes_per_second"] == 2e12
    assert [(r["strategy"], r["state_dtype"]) for r in found["rows"]] == [
        (s, d) for s in ("ddp", "zero1", "fsdp2") for d in ("float32", "bfloat16", "int8")
    ]
    assert found["rows"][7] == {
        "strategy": "fsdp2",
        "state_dtype": "bfloat16",
        "weights": 500,
        "gradients": 500,
        "states": 3 * 250 + 8,
        "average": 500,
        "total": 2258,
        "moved": 125 * (4 + 4 + 8 + 12 + 8),
        "floor_ms": pytest.approx(125 * 36 / 2e9),
    }


def test_the_table_fits_and_says_what_it_supposes(capsys):
    code, out, _ = run(capsys, "124M", "--devices", "8", "--ema", "--bandwidth", "3.35TB/s")
    assert code == 0 and "…" not in out
    assert max(map(len, out.splitlines())) <= 100
    assert "124,000,000 parameters; adamw, 8 devices" in out
    assert "fsdp2     float32    59.13 MiB  59.13 MiB  118.3 MiB  59.13 MiB  295.6 MiB  532.2 MiB  166.6 µs" in out
    assert "split evenly" in out and "Not counted: activations" in out


def test_a_module_in_dtypes_of_ones_own(capsys):
    """Two of its four tensors are trained: 8 of 23 parameters."""
    assert "23 parameters in 4 tensors, 2 of them frozen; adamw\n" in run(capsys, "models.py:lora")[1]
    args = ("--dtype", "float32", "--grad-dtype", "float16", "--state-dtype", "float32", "--json")
    found = json.loads(run(capsys, "models.py:lora", *args)[1])
    assert (found["exact"], found["rows"][0]["weights"], found["rows"][0]["gradients"]) == (True, 92, 16)


def test_rows_that_would_be_the_same_are_one(capsys):
    assert len(json.loads(run(capsys, "10", "--rule", "sgd", "--json")[1])["rows"]) == 1
    assert len(json.loads(run(capsys, "10", "--strategy", "fsdp2", "--json")[1])["rows"]) == 3


SENTENCES = [
    (("0",), "'0' is no number of parameters: give a whole one from 1 to 1e15"),
    (("--", "-3"), "'-3' is no number"),
    (("1.5",), "'1.5' is no number"),
    (("nan",), "'nan' is no number"),
    (("1e99",), "'1e99' is no number"),
    (("12q",), "'12q' is no number"),
    (("none.safetensors",), "There is no file none.safetensors"),
    (("text.safetensors",), "text.safetensors is no safetensors file"),
    (("empty.safetensors",), "empty.safetensors is no safetensors file"),
    (("list.safetensors",), "list.safetensors is no safetensors file"),
    (("negative.safetensors",), "negative.safetensors is no safetensors file"),
    (("deep.safetensors",), "deep.safetensors is no safetensors file"),
    (("integers.safetensors",), "integers.safetensors has no parameter that requires a gradient"),
    (("checkpoint.safetensors",), "checkpoint.safetensors is a checkpoint, with states beside the weights"),
    (("models.py",), "models.py is a file: say what in it makes the module"),
    (("none.py:lora",), "There is no file none.py"),
    (("models.py:lara",), "Unknown module in models.py 'lara': did you mean 'lora'?"),
    (("models.py:frozen",), "models.py:frozen has no parameter that requires a gradient"),
    (("models.py:bare",), "models.py:bare has no parameter that requires a gradient"),
    (("models.py:lazy",), "weight in models.py has no shape yet"),
    (("models.py:ints",), "0 in models.py has dtype torch.int8: it must be"),
    (("models.py:words",), "words in models.py makes a str: it must make a torch.nn.Module"),
    (("models.py:fails",), "(fails() on the meta device)"),
    (("9", "--rule", "adamv"), "Unknown optimizer 'adamv': did you mean 'adam'?"),
    (("9", "--rule", "torch.optim.Adam"), "torch.optim.Adam is a torch class"),
    (("9", "--option", "amsgrd=True"), "did you mean 'amsgrad'?"),
    (("9", "--devices", "0"), "'--devices': 0 is not in the range"),
    (("9", "--strategy", "zero3"), "'zero3' is not one of 'ddp', 'zero1', 'fsdp2', 'all'"),
    (("9", "--bandwidth", "3Gb/s"), "--bandwidth '3Gb/s' is no rate of bytes: give one as 60GB/s"),
    (("9", "--bandwidth", "0TB/s"), "--bandwidth '0TB/s' is no rate"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")

    def write(name, header):
        (folder / f"{name}.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)

    (folder / "text.safetensors").write_text("this is no such file, and its first bytes are an immense length")
    (folder / "empty.safetensors").write_bytes(b"")
    write("list", b"[1]")
    write("negative", b'{"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}}')
    write("deep", b"[" * 100_000)
    write("integers", b'{"w": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}')
    write("checkpoint", b'{"__metadata__": {"adamas": "checkpoint 1"}}')
    return folder


@pytest.mark.parametrize(("args", "sentence"), SENTENCES, ids=[" ".join(args) for args, _ in SENTENCES])
def test_bad_input_is_one_sentence(capsys, files, tmp_path, args, sentence):
    for path in files.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    code, out, err = run(capsys, *args)
    assert (code, out) == (2, "")
    assert err.startswith("adamas: ") and err.count("\n") == 1 and sentence in err
