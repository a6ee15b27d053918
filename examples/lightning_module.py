"""A LightningModule with an optimizer and a schedule. Run: python examples/lightning_module.py"""

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from adamas.torch import AdamW


class Regression(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(8, 64), nn.GELU(), nn.Linear(64, 1))

    def training_step(self, batch, index):
        x, y = batch
        loss = nn.functional.mse_loss(self.network(x), y)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_end(self):
        print(f"epoch {self.current_epoch}: loss {self.trainer.callback_metrics['loss']:.4f}")

    def configure_optimizers(self):
        opt = AdamW(self.parameters(), lr=1e-2, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, self.trainer.estimated_stepping_batches)
        return {"optimizer": opt, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


L.seed_everything(0)
x = torch.randn(1024, 8)
y = torch.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3]
trainer = L.Trainer(max_epochs=20, gradient_clip_val=1.0, accelerator="cpu", logger=False, enable_checkpointing=False)
trainer.fit(Regression(), DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True))
