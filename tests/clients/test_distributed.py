"""Several processes over gloo come to the parameters of one, and checkpoints move between numbers of processes.

What the processes do is in workers.py.
"""

import os

import pytest

torch = pytest.importorskip("torch", reason="the torch front")
if not torch.distributed.is_available():
    pytest.skip("this torch is built without torch.distributed", allow_module_level=True)

from filelock import FileLock  # noqa: E402 -- torch needs it too

import adamas.torch  # noqa: E402
from tests.clients import workers  # noqa: E402
from tests.clients.workers import CLIP, OPTIONS, SAVED, STEPS, decay_groups, launch, make_model, one_process  # noqa: E402

TWO = (
    "ddp",
    "local_sgd",
    "zero",
    "zero_bucket_view",
    "fsdp",
    "own_tail",
    "fsdp_every_class",
    "fsdp_parameters_swapped",
    "hsdp",
    "partly_sharded",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One for all workers of pytest-xdist, so that what one has launched serves the others."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "distributed"
    folder.mkdir(exist_ok=True)
    return folder


def launched(world, folder, *scenarios):
    with FileLock(folder / "lock", timeout=300):
        if not (folder / f"{scenarios[-1]}-{world - 1}.pt").exists():
            launch(world, folder, *scenarios)
    return {name: [torch.load(folder / f"{name}-{rank}.pt") for rank in range(world)] for name in scenarios}


@pytest.fixture(scope="module")
def two(folder):
    return launched(2, folder, *TWO)


@pytest.fixture(scope="module")
def three(two, folder):
    return launched(3, folder, "resumed", "warmup_from_nought")


@pytest.fixture(scope="module")
def alone():
    """The run of torch's AdamW on one process: parameters, norms and states."""
    return one_process()


def same(a, b, rtol=1e-10):
    torch.testing.assert_close(a, b, rtol=rtol, atol=rtol / 100, check_dtype=False)  # torch's counts are float32


def test_ddp(two, alone):
    for result in two["ddp"]:
        same(result["weights"], alone[0])
        same(result["norms"], alone[1])


def test_post_local_sgd(two):
    first, second = two["local_sgd"]
    assert not torch.equal(first["alone"]["0.weight"], second["alone"]["0.weight"])
    mean = {name: (first["alone"][name] + second["alone"][name]) / 2 for name in first["alone"]}
    same(first["weights"], mean)
    same(second["weights"], mean)


@pytest.mark.parametrize("name", ["zero", "zero_bucket_view"])
def test_zero_redundancy_optimizer(two, name):
    """Under a schedule, and gone on with from the consolidated state."""
    model = make_model()
    opt = torch.optim.AdamW(decay_groups(model), lr=0.05)
    schedule = torch.optim.lr_scheduler.ExponentialLR(opt, 0.8)
    workers.train(model, opt, each_step=schedule.step)
    for result in two[name]:
        same(result["weights"], workers.weights(model))
        same(result["resumed"], workers.weights(model))
    held = [result["held"] for result in two[name]]
    assert 0 < min(held) and sum(held) == sum(p.numel() for p in model.parameters())


# torch's own import of its optimizers in TorchScript
@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated:DeprecationWarning")
def test_zero_cannot_overlap_with_ddp(tmp_path):
    """It knows torch's own classes alone, and says so."""
    from torch.distributed.optim import ZeroRedundancyOptimizer

    torch.distributed.init_process_group("gloo", f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        with pytest.raises(ValueError, match="no supported functional optimizer"):
            ZeroRedundancyOptimizer(make_model().parameters(), adamas.torch.AdamW, overlap_with_ddp=True, lr=0.1)
    finally:
        torch.distributed.destroy_process_group()


def test_fsdp2(two, alone):
    for result in two["fsdp"]:
        same(result["weights"], alone[0])
        same(result["states"], alone[2])
        assert result["alike"] and all(result["alike"])
    local = torch.tensor([result["local"] for result in two["fsdp"]])
    assert 0 in local, "some shard is empty"
    assert local.sum(0).tolist() == [p.numel() for p in make_model().parameters()]


def test_fsdp2_norms_count_every_shard_once(two, alone):
    assert min(alone[1]) > CLIP, "each step is clipped"
    for result in two["fsdp"]:
        same(result["norms"], alone[1])


def test_fsdp2_with_our_own_clipping_average_and_telemetry(two, alone, tmp_path):
    ours = workers.own_tail((0, 1), tmp_path, workers.make_model())
    for result in two["own_tail"]:
        same(result["weights"], alone[0])  # torch's clipping and step, on one process
        same(result["averages"], ours["averages"])
        same(torch.tensor(result["norms"], dtype=torch.float64), torch.stack(alone[1]))
        same(result["measured"], ours["measured"])


def test_fsdp2_state_dict_can_be_gathered_whole(two, alone):
    gathered, elsewhere = (result["whole"] for result in two["fsdp"])
    assert not elsewhere
    assert {name: set(state) for name, state in gathered.items()} == {n: set(s) for n, s in alone[2].items()}
    same(gathered, alone[2])


@pytest.mark.parametrize("name", OPTIONS)
def test_fsdp2_with_every_class(two, name):
    expected, *_ = one_process(name, **OPTIONS[name])
    for result in two["fsdp_every_class"]:
        same(result[name], expected, 1e-7 if name == "NAdam" else 1e-10)  # torch's Πμ is float32


def test_fsdp2_with_parameters_swapped_after_construction(two, alone):
    for result in two["fsdp_parameters_swapped"]:
        same(result, alone[0])


@pytest.mark.parametrize("replicas", ["1", "2"])
def test_fsdp2_replicated_and_sharded_on_a_2d_mesh(two, alone, replicas):
    for result in two["hsdp"]:
        assert "Replicate" in result[replicas]["placements"] and "Shard" in result[replicas]["placements"]
        same(result[replicas]["weights"], alone[0])
        same(result[replicas]["norms"], alone[1])


def test_shards_and_plain_tensors_in_one_optimizer(two):
    model = make_model()
    opt = torch.optim.AdamW(decay_groups(model), lr=0.05)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "clip_grad_norm_", lambda params, limit: torch.zeros(()))
        workers.train(model, opt)
    for result in two["partly_sharded"]:
        same(result, workers.weights(model))


def test_saved_on_two_loaded_on_three(three, alone):
    for result in three["resumed"]:
        same(result["weights"], alone[0])
        same(result["norms"], alone[1][SAVED:])


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")  # which is what is wanted here
def test_saved_on_two_loaded_on_one(two, alone, folder):
    model = make_model()
    opt = adamas.torch.AdamW(decay_groups(model), lr=0.01)
    workers.load_checkpoint(model, opt, folder, no_dist=True)
    norms = workers.train(model, opt, first=SAVED)
    same(workers.weights(model), alone[0])
    same(norms, alone[1][SAVED:])
    assert all(float(opt.state[p]["step"]) == STEPS for p in model.parameters())


def test_all_processes_count_the_same_steps(three):
    """So that it does not matter whose count a checkpoint takes."""
    assert [result["steps"] for result in three["warmup_from_nought"]] == [[1.0, 1.0]] * 3
