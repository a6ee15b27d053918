"""A training loop with Accelerate: accumulation, clipping, a schedule. Run: python examples/accelerate_loop.py"""

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from adamas.torch import AdamW

set_seed(0)
x = torch.randn(1024, 8)
y = torch.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3]
epochs = 20

accelerator = Accelerator(gradient_accumulation_steps=2)
model = nn.Sequential(nn.Linear(8, 64), nn.GELU(), nn.Linear(64, 1))
opt = AdamW(model.parameters(), lr=1e-2, weight_decay=0.01)
loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, epochs * len(loader) // 2)
model, opt, loader, schedule = accelerator.prepare(model, opt, loader, schedule)

for epoch in range(epochs):
    total = 0.0
    for rows, targets in loader:
        with accelerator.accumulate(model):
            loss = nn.functional.mse_loss(model(rows), targets)
            accelerator.backward(loss)
            total += loss.item()
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            opt.step()
            schedule.step()
            opt.zero_grad()
    accelerator.print(f"epoch {epoch}: loss {total / len(loader):.4f}")
