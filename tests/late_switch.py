"""Whether the loss jumps at a late switch: what benchmarks/late_switch.py measures in full, and the tests in part."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits

import adamas.torch
from adamas import LateSwitch
from adamas.late_switch import Switched

TRAIN, BATCH = 1400, 64
EPOCH = TRAIN // BATCH  # steps

#: Steps whose mean loss is compared, before and after.
WINDOW = 20

#: Steps before and after the switch of which the noise is taken.
NEAR = 150

WAYS = {
    "at=400": LateSwitch(at=400),
    "plateau=3": LateSwitch(plateau=3, min_delta=0.05),
    "swats=0.001": LateSwitch(swats=1e-3),
}


@dataclass
class Trained:
    """A run.

    Attributes:
        losses: of each step's mini-batch, before the step.
        switched: what came of the switch.
        gammas: γ of each adaptive step.
        accuracy: at the end, on what was held out.
    """

    losses: np.ndarray
    switched: Switched | None
    gammas: np.ndarray
    accuracy: float

    def jump(self) -> tuple[float, float]:
        """How much more the mean loss of `WINDOW` steps is after the switch than before it; and the noise of that.

        The noise is the root mean square of the same differences at all places near the switch whose windows lie to
        one side of it.
        """
        assert self.switched is not None
        sums = np.concatenate([[0.0], np.cumsum(self.losses)])
        at = np.arange(WINDOW, len(self.losses) - WINDOW + 1)  # steps before the place
        differences = (sums[at + WINDOW] - 2 * sums[at] + sums[at - WINDOW]) / WINDOW
        away = abs(at - self.switched.step)
        elsewhere = differences[(away >= WINDOW) & (away <= NEAR)]
        return float(differences[at == self.switched.step][0]), math.sqrt(float((elsewhere**2).mean()))

    def papers(self, beta: float) -> float:
        """The η that the paper's average, of γ and not of 1/γ, would have chosen where this one switched."""
        weights = beta ** np.arange(len(self.gammas) - 1, -1, -1)
        return float(weights @ self.gammas / weights.sum())


@cache
def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(labels)


def train(seed: int, switch: LateSwitch | None, steps: int, lr: float = 3e-3, beta2: float = 0.99) -> Trained:
    """A small convolutional network on scikit-learn's digits, by AdamW under a cosine schedule."""
    torch.manual_seed(seed)
    batches = torch.Generator().manual_seed(seed)
    images, labels = _digits()
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 3, padding=1, stride=2),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(512, 10),
    )
    opt = adamas.torch.AdamW(model.parameters(), lr=lr, betas=(0.9, beta2), late_switch=switch, telemetry=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(opt, steps)
    losses: list[float] = []
    gammas: list[float] = []
    for step in range(1, steps + 1):
        picked = torch.randint(TRAIN, (BATCH,), generator=batches)
        loss = torch.nn.functional.cross_entropy(model(images[picked]), labels[picked])
        opt.zero_grad()
        loss.backward()
        adaptive = opt.switched is None
        opt.step()
        schedule.step()
        losses.append(loss.item())
        if adaptive:
            said = opt.last.telemetry
            gammas.append(float((said.step_norm**2).sum() / said.step_along_grad.sum()))
        if switch is not None and switch.plateau is not None and step % EPOCH == 0:
            opt.report_loss(np.mean(losses[-EPOCH:]))
    with torch.no_grad():
        right = model(images[TRAIN:]).argmax(1) == labels[TRAIN:]
    return Trained(np.array(losses), opt.switched, np.array(gammas), float(right.float().mean()))
