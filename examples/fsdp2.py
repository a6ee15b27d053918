"""Sharded over processes by FSDP2. Run: torchrun --nproc-per-node 2 examples/fsdp2.py"""

import time

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

from adamas.torch import AdamW

dist.init_process_group("gloo")  # on GPUs: "nccl", with a device for each process
torch.manual_seed(0)
x = torch.randn(1024, 8)
y = torch.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3]

model = nn.Sequential(nn.Linear(8, 64), nn.GELU(), nn.Linear(64, 1))
for layer in (model[0], model[2], model):
    fully_shard(layer)
opt = AdamW(model.parameters(), lr=1e-2, weight_decay=0.01)  # after sharding: its states are sharded too

steps = 100
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, steps)
torch.manual_seed(dist.get_rank() + 1)  # each process draws batches of its own
for step in range(steps):
    rows = torch.randint(len(x), (32,))
    loss = nn.functional.mse_loss(model(x[rows]), y[rows])
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # by the norm over all shards
    opt.step()
    opt.zero_grad()
    schedule.step()
    if step % 25 == 0 or step == steps - 1:
        with torch.no_grad():
            loss = nn.functional.mse_loss(model(x), y)
        if dist.get_rank() == 0:
            print(f"step {step}: loss {loss:.4f}")
dist.destroy_process_group()
time.sleep(0.2)  # gloo's thread frees the last collective; torch 2.13 aborts if Python has ended before
