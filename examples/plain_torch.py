"""A network in plain PyTorch: warm-up and cosine, clipping, no decay on biases. Run: python examples/plain_torch.py"""

import math

import torch
from torch import nn

from adamas.torch import AdamW

torch.manual_seed(0)
x = torch.randn(1024, 8)
y = torch.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3]

model = nn.Sequential(nn.Linear(8, 64), nn.GELU(), nn.Linear(64, 1))
matrices = [p for p in model.parameters() if p.ndim > 1]
others = [p for p in model.parameters() if p.ndim <= 1]
opt = AdamW([{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}], lr=1e-2)

steps, warmup = 300, 20
schedule = torch.optim.lr_scheduler.LambdaLR(
    opt, lambda t: min((t + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * t / steps))
)
for step in range(steps):
    rows = torch.randint(len(x), (64,))
    loss = nn.functional.mse_loss(model(x[rows]), y[rows])
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    opt.step()
    opt.zero_grad()
    schedule.step()
    if step % 50 == 0 or step == steps - 1:
        with torch.no_grad():
            print(f"step {step}: loss {nn.functional.mse_loss(model(x), y):.4f}")
