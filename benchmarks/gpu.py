"""One step of AdamW on an NVIDIA GPU against torch's fused one, interleaved in one process.

    python -m benchmarks.gpu [--workloads resnet18 gpt2 1.3B 1000x16] [--rounds 50]

With clipping and an average of the weights torch takes three more calls: `clip_grad_norm_` and a lerp for the average.
The share is of what copying a large tensor moves in a second. Launches are counted by torch's profiler. Peak memory is
what a step takes beside parameters, gradients and states.
"""

import argparse
import statistics
import sys
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

import adamas.torch
from adamas.bench.report import caption
from adamas.bench.workloads import NAMED, Shapes

#: 24 blocks of width 2048, as in GPT-3 XL (Brown et al. 2020).
XL: Shapes = [(50257, 2048), (2048, 2048), *[(2048, 6144), (2048, 2048), (2048, 8192), (8192, 2048)] * 24]
WORKLOADS = {"resnet18": NAMED["resnet18"], "gpt2": NAMED["gpt2"], "1.3B": lambda: XL, "1000x16": NAMED["1000x16"]}

#: Bytes a parameter that a step must move: float32, and with the norm and an average.
PLAIN, TAIL = 28, 40
CLIP, DECAY = 1.0, 0.999


def steps(params: list[torch.nn.Parameter]) -> dict[str, Callable[[], object]]:
    """What is timed; every one has states of its own, and steps the same parameters."""
    fused = torch.optim.AdamW(params, fused=True)
    averages = [p.detach().clone() for p in params]

    def torchs_tail() -> None:
        torch.nn.utils.clip_grad_norm_(params, CLIP, foreach=True)
        fused.step()
        torch._foreach_lerp_(averages, [p.detach() for p in params], 1 - DECAY)

    groups = [{"params": params[::2]}, {"params": params[1::2], "weight_decay": 0.0}]
    return {
        "adamas": adamas.torch.AdamW(params).step,
        "torch fused": fused.step,
        "adamas, clip + EMA": adamas.torch.AdamW(params, clip_grad_norm=CLIP, ema_decay=DECAY).step,
        "adamas, clip + EMA, two groups": adamas.torch.AdamW(groups, clip_grad_norm=CLIP, ema_decay=DECAY).step,
        "torch, clip + EMA": torchs_tail,
    }


def timed(step: Callable[[], object]) -> float:
    """Milliseconds on the GPU."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    step()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


def launches(step: Callable[[], object]) -> int:
    """Kernels that a step launches; copies and fills are not counted."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step()
        torch.cuda.synchronize()
    on_device = [e.name for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    return sum(not name.startswith(("Memcpy", "Memset")) for name in on_device)


def peak(step: Callable[[], object]) -> float:
    """MiB that a step takes and gives back."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def bandwidth() -> float:
    """Bytes a second, read and written, of a large copy."""
    source = torch.zeros(1 << 28, device="cuda")
    target = torch.empty_like(source)
    times = [timed(lambda: target.copy_(source)) for _ in range(20)]
    return 2 * source.numel() * 4 / statistics.median(times) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=list(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    if not torch.cuda.is_available() or torch.version.cuda is None:
        print("torch sees no NVIDIA GPU here, so there is nothing to measure: run this on a machine with one.")
        sys.exit(2)
    copied = bandwidth()
    table = Table(
        *("workload", "step", "ms", "of the copy's bandwidth", "launches a step", "peak, MiB"),
        title=f"One step of AdamW, float32, {torch.cuda.get_device_name()}, median of {options.rounds} rounds; "
        f"a copy moves {copied / 1e9:,.0f} GB/s",
        caption=caption(["torch", "triton", "adamas"]),
    )
    for name in options.workloads:
        params = [torch.nn.Parameter(torch.randn(shape, device="cuda")) for shape in WORKLOADS[name]()]
        for p in params:
            p.grad = torch.randn_like(p)
        size, ways = sum(p.numel() for p in params), steps(params)
        for step in ways.values():
            timed(step), timed(step)  # which make states, and compile
        times = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, step in ways.items():
                times[way].append(timed(step))
        for way, step in ways.items():
            ms = statistics.median(times[way])
            share = size * (TAIL if "EMA" in way else PLAIN) / ms * 1e3 / copied
            table.add_row(name, way, f"{ms:.3f}", f"{share:.0%}", f"{launches(step)}", f"{peak(step):,.1f}")
        del params, ways, step
        torch.cuda.empty_cache()
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
