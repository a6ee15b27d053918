"""Early stopping for loops of one's own, and for the trainers of Hugging Face and Lightning."""

from typing import TYPE_CHECKING

from adamas import stopping

if TYPE_CHECKING:
    from adamas.torch.lightning import StopCallback as LightningCallback
    from adamas.torch.transformers import StopCallback as TrainerCallback


class EarlyStopping(stopping.EarlyStopping):
    __doc__ = f"""{stopping.EarlyStopping.__doc__}
    >>> import torch
    >>> from adamas.torch import AdamW
    >>> model = torch.nn.Linear(1, 1)
    >>> opt = AdamW(model.parameters(), lr=0.1, ema_decay=0.9)
    >>> stopper = EarlyStopping(patience=3, keep={{"model": model, "optimizer": opt}})
    >>> for epoch in range(100):
    ...     opt.zero_grad()
    ...     (model(torch.ones(1)) - 3).square().backward()
    ...     opt.step()
    ...     with opt.averaged():
    ...         value = (model(torch.ones(1)) - 2).abs()
    ...     if stopper.update(value):
    ...         break
    >>> stopper.restore() == epoch - 2
    True
    """

    def transformers_callback(self, metric: str = "eval_loss") -> "TrainerCallback":
        """For ``Trainer(callbacks=[…])`` of Hugging Face: a check at each evaluation, `restore` at the end.

        In the Trainer's checkpoints it leaves how far it has come, and goes on from there when the run is resumed.

        Args:
            metric: among those of the evaluation.
        """
        from adamas.torch.transformers import StopCallback

        return StopCallback(self, metric)

    def lightning_callback(self, monitor: str = "val_loss") -> "LightningCallback":
        """For ``Trainer(callbacks=[…])`` of Lightning: a check after each validation, `restore` at the end of the fit.

        It is part of Lightning's checkpoints.

        Args:
            monitor: what the module logs under this name.
        """
        from adamas.torch.lightning import StopCallback

        return StopCallback(self, monitor)
