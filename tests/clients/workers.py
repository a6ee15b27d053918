"""What the processes of test_distributed.py do: ``python -m tests.clients.workers WORLD FOLDER SCENARIO...``.

All of it is float64, so that a run on several processes and a run on one differ by rounding alone, far below what
a wrong step would differ by. No dimension of the model can be divided by 2 or by 3, and some shards are empty.
"""

import copy
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.fsdp import fully_shard
from torch.nn.utils import clip_grad_norm_

import adamas.torch

STEPS, SAVED = 6, 3
CLIP = 0.3
#: Every class, with options under which it has all its states.
OPTIONS: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9, "nesterov": True},
    "Adagrad": {"initial_accumulator_value": 0.1, "lr_decay": 0.1},
    "RMSprop": {"momentum": 0.5, "centered": True},
    "Adam": {"amsgrad": True},
    "AdamW": {},
    "Adamax": {},
    "LpAdam": {"p": 3.0},
    "AdaBelief": {},
    "NAdam": {},
    "RAdam": {},
    "ADOPT": {},
    "Lion": {},
}

Params = dict[str, torch.Tensor]


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1)).double()


def decay_groups(model: nn.Module, decay: float = 0.1) -> list[dict[str, Any]]:
    """The usual two: no decay on biases."""
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    weights = [p for name, p in model.named_parameters() if not name.endswith("bias")]
    return [{"params": weights, "weight_decay": decay}, {"params": biases, "weight_decay": 0.0}]


def train(
    model: nn.Module,
    opt: torch.optim.Optimizer,
    first: int = 0,
    last: int = STEPS,
    share: tuple[int, int] = (0, 1),
    each_step: Callable[[], object] = lambda: None,
    clips: bool = True,
) -> list[torch.Tensor]:
    """Steps from ``first`` to ``last`` on this process's share of the rows; returns the norms before clipping."""
    rank, world = share
    norms = []
    for step in range(first, last):
        rows = torch.randn(12, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(step))[rank::world]
        opt.zero_grad()
        (model(rows[:, :5]) - rows[:, 5:]).square().mean().backward()
        if clips:
            norms.append(full(clip_grad_norm_(model.parameters(), CLIP)))
        opt.step()
        each_step()
    return norms


def full(tensor: Any) -> torch.Tensor:
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().clone()


def weights(model: nn.Module) -> Params:
    return {name.removeprefix("module."): full(p) for name, p in model.named_parameters()}


def states(model: nn.Module, opt: torch.optim.Optimizer) -> dict[str, Params]:
    return {
        name: {key: full(value) for key, value in opt.state[p].items() if isinstance(value, torch.Tensor)}
        for name, p in model.named_parameters()
    }


def one_process(name: str = "AdamW", **options: Any) -> tuple[Params, list[torch.Tensor], dict[str, Params]]:
    """What the others must come to: parameters, norms and states; by torch's own class, where it has one."""
    model = make_model()
    opt = getattr(torch.optim, name, getattr(adamas.torch, name))(decay_groups(model), **{"lr": 0.05, **options})
    norms = train(model, opt)
    return weights(model), norms, states(model, opt)


def load_checkpoint(model: nn.Module, opt: torch.optim.Optimizer, folder: Path, **how: Any) -> None:
    model_state, opt_state = get_state_dict(model, opt)
    dcp.load({"model": model_state, "opt": opt_state}, checkpoint_id=folder / "checkpoint", **how)
    set_state_dict(model, opt, model_state_dict=model_state, optim_state_dict=opt_state)


# -- scenarios: each returns what its test looks at ------------------------------------------------------------


def sharded(mesh: Any = None) -> nn.Sequential:
    model = make_model()
    for layer in (model[0], model[2], model):
        fully_shard(layer, mesh=mesh)
    return model


def ddp(share: tuple[int, int], folder: Path) -> Any:
    # gradients are views into buckets, which do not start where a tensor of their own would
    model = nn.parallel.DistributedDataParallel(make_model(), gradient_as_bucket_view=True)
    opt = adamas.torch.AdamW(decay_groups(model), lr=0.05)
    norms = train(model, opt, share=share)
    return {"weights": weights(model), "norms": norms}


def local_sgd(share: tuple[int, int], folder: Path) -> Any:
    """Each process for itself, then the average: after the last step all have the same."""
    from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
    from torch.distributed.optim import PostLocalSGDOptimizer

    model = make_model()
    opt = adamas.torch.AdamW(decay_groups(model), lr=0.05)
    averaged = PostLocalSGDOptimizer(opt, PeriodicModelAverager(period=STEPS, warmup_steps=STEPS - 1))
    alone: list[Params] = []
    averaged.optim.register_step_post_hook(lambda *_: alone.append(weights(model)))
    train(model, averaged, share=share)
    return {"alone": alone[-1], "weights": weights(model)}


def zero(share: tuple[int, int], folder: Path, bucket_view: bool = False) -> Any:
    from torch.distributed.optim import ZeroRedundancyOptimizer

    def optimizer(model: nn.Module, lr: float) -> ZeroRedundancyOptimizer:
        return ZeroRedundancyOptimizer(
            decay_groups(model), optimizer_class=adamas.torch.AdamW, parameters_as_bucket_view=bucket_view, lr=lr
        )

    model = nn.parallel.DistributedDataParallel(make_model())
    opt = optimizer(model, lr=0.05)
    schedule = torch.optim.lr_scheduler.ExponentialLR(opt, 0.8)
    train(model, opt, last=SAVED, share=share, each_step=schedule.step)
    opt.consolidate_state_dict(to=0)
    # a copy: what is consolidated, and what is loaded from it, are the optimizer's own tensors
    saved = [copy.deepcopy(opt.state_dict()) if share[0] == 0 else None]
    dist.broadcast_object_list(saved)
    again = nn.parallel.DistributedDataParallel(make_model())
    again.load_state_dict(model.state_dict())
    other = optimizer(again, lr=0.01)
    other_schedule = torch.optim.lr_scheduler.ExponentialLR(other, 0.8)
    other.load_state_dict(saved[0])
    train(model, opt, first=SAVED, share=share, each_step=schedule.step)
    train(again, other, first=SAVED, share=share, each_step=other_schedule.step)
    held = sum(p.numel() for group in opt.optim.param_groups for p in group["params"])
    return {"weights": weights(model), "resumed": weights(again), "held": held}


def zero_bucket_view(share: tuple[int, int], folder: Path) -> Any:
    return zero(share, folder, bucket_view=True)


def fsdp(share: tuple[int, int], folder: Path) -> Any:
    from torch.distributed.tensor import DTensor

    model = sharded()
    opt = adamas.torch.AdamW(decay_groups(model), lr=0.05)
    get_optimizer_state_dict(model, opt)  # makes the states by a step on trial, which must leave nothing behind
    norms = train(model, opt, last=SAVED, share=share)
    model_state, opt_state = get_state_dict(model, opt)
    dcp.save({"model": model_state, "opt": opt_state}, checkpoint_id=folder / "checkpoint")
    norms += train(model, opt, first=SAVED, share=share)
    alike = [
        isinstance(value, DTensor) and value.placements == p.placements and value.to_local().shape == p.to_local().shape
        for p in model.parameters()
        for key, value in opt.state[p].items()
        if key != "step"
    ]
    whole = get_optimizer_state_dict(model, opt, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    return {
        "weights": weights(model),
        "norms": norms,
        "states": states(model, opt),
        "alike": alike,
        "whole": whole.get("state", {}),  # which only the first process is given
        "local": [p.to_local().numel() for p in model.parameters()],
    }


def own_tail(share: tuple[int, int], folder: Path, model: nn.Module | None = None) -> Any:
    """The step itself clips, averages and measures."""
    model = sharded() if model is None else model
    opt = adamas.torch.AdamW(decay_groups(model), lr=0.05, clip_grad_norm=CLIP, ema_decay=0.5, telemetry=True)
    norms: list[float] = []
    measured: list[Any] = []

    def note() -> None:
        norms.append(opt.last.grad_norm)
        telemetry = opt.last.telemetry
        names = ("grad_norm", "grad_max", "zero_share", "update_norm", "param_norm")
        measured.append(torch.tensor([getattr(telemetry, name).tolist() for name in names], dtype=torch.float64))

    train(model, opt, share=share, each_step=note, clips=False)
    with opt.averaged():
        averages = weights(model)
    return {"weights": weights(model), "norms": norms, "averages": averages, "measured": torch.stack(measured)}


def fsdp_every_class(share: tuple[int, int], folder: Path) -> Any:
    results = {}
    for name, options in OPTIONS.items():
        model = sharded()
        opt = getattr(adamas.torch, name)(decay_groups(model), lr=0.05, **options)
        train(model, opt, share=share)
        results[name] = weights(model)
    return results


def fsdp_parameters_swapped(share: tuple[int, int], folder: Path) -> Any:
    """As Accelerate does it: the optimizer is built over the plain model, and its groups get the shards later."""
    model = make_model()
    opt = adamas.torch.AdamW(decay_groups(model), lr=0.05)
    shards = sharded()
    opt.step()  # there are no gradients yet; whoever remembers parameters has seen the plain ones
    new = dict(zip(model.parameters(), shards.parameters(), strict=True))
    for group in opt.param_groups:
        group["params"] = [new[p] for p in group["params"]]
    train(shards, opt, share=share)
    return weights(shards)


def hsdp(share: tuple[int, int], folder: Path) -> Any:
    """Replicated over one dimension of the mesh, sharded over the other."""
    from torch.distributed.device_mesh import init_device_mesh

    results = {}
    for replicas in (1, share[1]):
        mesh = init_device_mesh("cpu", (replicas, share[1] // replicas), mesh_dim_names=("replicate", "shard"))
        model = sharded(mesh)
        opt = adamas.torch.AdamW(decay_groups(model), lr=0.05)
        norms = train(model, opt, share=share)
        results[str(replicas)] = {
            "weights": weights(model),
            "norms": norms,
            "placements": str(next(model.parameters()).placements),
        }
    return results


def partly_sharded(share: tuple[int, int], folder: Path) -> Any:
    """One layer of shards, one of plain tensors with gradients averaged by hand: each tensor among its own kind."""
    model = make_model()
    fully_shard(model[0])
    opt = adamas.torch.AdamW(decay_groups(model), lr=0.05)
    for step in range(STEPS):
        rows = torch.randn(12, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        rows = rows[share[0] :: share[1]]
        opt.zero_grad()
        (model(rows[:, :5]) - rows[:, 5:]).square().mean().backward()
        for p in model[2].parameters():
            dist.all_reduce(p.grad)
            p.grad /= share[1]
        opt.step()
    return weights(model)


def resumed(share: tuple[int, int], folder: Path) -> Any:
    model = sharded()
    opt = adamas.torch.AdamW(decay_groups(model), lr=0.01)
    load_checkpoint(model, opt, folder)
    return {"norms": train(model, opt, first=SAVED, share=share), "weights": weights(model)}


def warmup_from_nought(share: tuple[int, int], folder: Path) -> Any:
    """A first step of η = 0, as a linear warm-up has it, where some processes hold nothing but empty shards."""
    torch.manual_seed(0)
    model = fully_shard(nn.Linear(5, 1).double())
    opt = adamas.torch.AdamW(model.parameters(), lr=0.0)
    train(model, opt, last=1, share=share)
    return {"steps": [float(opt.state[p]["step"]) for p in model.parameters()]}


# -- starting them ---------------------------------------------------------------------------------------------


def launch(world: int, folder: Path, *scenarios: str) -> None:
    """Run the scenarios on so many processes; what each returns is in ``folder/SCENARIO-RANK.pt``.

    Raises:
        RuntimeError: with what the processes printed, if one fails or all take too long.
    """
    folder.joinpath("store").unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "tests.clients.workers", str(world), str(folder), *scenarios],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stdout)


def work(rank: int, world: int, folder: Path, scenarios: list[str]) -> None:
    # A process that waits for one which has failed gives up after a while.
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", store, timeout=timedelta(seconds=40), rank=rank, world_size=world)
    for name in scenarios:
        torch.save(globals()[name]((rank, world), folder), folder / f"{name}-{rank}.pt")
        dist.barrier()
    dist.destroy_process_group()


def main(world: int, folder: Path, scenarios: list[str], seconds: float = 120) -> bool:
    """Whether all went well. The processes are forked, so that torch is imported once for all of them."""
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=work, args=(rank, world, folder, scenarios)) for rank in range(world)]
    until = time.monotonic() + seconds
    for process in processes:
        process.start()
    for process in processes:
        process.join(max(0, until - time.monotonic()))
    for rank, process in enumerate(processes):
        if process.is_alive():
            print(f"process {rank} was not done after {seconds} s")
        process.kill()
        process.join()
    return not any(process.exitcode for process in processes)


if __name__ == "__main__":
    sys.exit(not main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
