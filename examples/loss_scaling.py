"""Loss scaling for float16 gradients, emulated on the CPU, in torch and NumPy. Run: python examples/loss_scaling.py"""

import numpy as np
import torch

import adamas.numpy
import adamas.torch
from adamas.scaling import LossScaler

STEPS, LR, GROWTH = 60, 0.5, {"growth_interval": 5}  # grown so soon, the scale is seen to move
rng = np.random.default_rng(0)
x = rng.standard_normal((256, 8)).astype(np.float32)
y = 3 * x @ rng.standard_normal((8, 1)).astype(np.float32)


def by_torch():
    features, targets, theta = torch.from_numpy(x), torch.from_numpy(y), torch.nn.Parameter(torch.zeros(8, 1))
    theta.register_hook(lambda grad: grad.half().float())  # overflows beyond 65504
    opt, scaler = adamas.torch.AdamW([theta], lr=LR, fused=True), adamas.torch.GradScaler("cpu", **GROWTH)
    schedule = torch.optim.lr_scheduler.LambdaLR(opt, lambda step: 1 - step / STEPS)
    for _ in range(STEPS):
        opt.zero_grad()
        loss, scale, lr = (features @ theta - targets).square().mean(), scaler.get_scale(), opt.param_groups[0]["lr"]
        scaler.scale(loss).backward()
        scaler.step(opt)
        scaler.update()
        if not scaler.last_skipped:
            schedule.step()
        yield loss.item(), scale, lr, scaler.last_skipped


def by_numpy():
    theta, made = np.zeros((8, 1), np.float32), 0
    opt, scaler = adamas.numpy.AdamW(theta, lr=LR), LossScaler(**GROWTH)
    for _ in range(STEPS):
        errors, scale, lr = x @ theta - y, scaler.scale, LR * (1 - made / STEPS)
        opt.param_groups[0]["lr"] = lr
        with np.errstate(over="ignore"):
            grad = (x.T @ (errors * (scale * 2 / len(x)))).astype(np.float16)
        scaler.step(opt, grad)
        scaler.update()
        made += not scaler.last_skipped
        yield float((errors**2).mean()), scale, lr, scaler.last_skipped


for front, run in (("torch", by_torch), ("numpy", by_numpy)):
    for step, (loss, scale, lr, skipped) in enumerate(run()):
        note = "  skipped" if skipped else ""
        print(f"{front} step {step:2}: loss {loss:10.6f}  scale {scale:7.0f}  lr {lr:.6f}{note}")
