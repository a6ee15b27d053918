"""Whether moments in fewer bits train as well: the final validation loss of float32, bfloat16 and int8 states.

    python -m benchmarks.convergence [--seeds 5] [--tasks mlp cnn embedding language] [--jobs 2]

Every run is AdamW with warm-up and cosine decay; a seed sets weights, batches and split, the same for all three. A
narrow state holds its own if its mean loss lies within the spread of float32 over the seeds (standard deviation).
The language is Python's: the source of its standard library.
"""

import argparse
import math
import statistics
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from joblib import Parallel, delayed
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

import adamas.torch
from adamas.bench.report import caption
from adamas.tail import SMALL, STATE_DTYPES


class Task(NamedTuple):
    """What is trained.

    Attributes:
        model: made anew from torch's seed.
        batch: the loss of a batch drawn from torch's random numbers.
        validation: the loss on what is never trained on.
        steps: of the run.
        lr: at the top.
    """

    model: nn.Module
    batch: Callable[[nn.Module], Tensor]
    validation: Callable[[nn.Module], Tensor]
    steps: int
    lr: float


def digits(model: nn.Module, steps: int) -> Task:
    data = load_digits()
    x, y = torch.tensor(data.data / 16, dtype=torch.float32), torch.tensor(data.target)
    order = torch.randperm(len(x))
    train, held = order[:1300], order[1300:]

    def batch(model: nn.Module) -> Tensor:
        rows = train[torch.randint(len(train), (64,))]
        return cross_entropy(model(x[rows]), y[rows], label_smoothing=0.1)

    return Task(model, batch, lambda model: cross_entropy(model(x[held]), y[held], label_smoothing=0.1), steps, 2e-3)


def mlp() -> Task:
    return digits(nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)), 800)


def cnn() -> Task:
    layers = [nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
    layers += [nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return digits(nn.Sequential(*layers, nn.Linear(64 * 16, 10)), 500)


class Ratings(nn.Module):
    """A user's taste and an item's flavour, and how well they agree."""

    def __init__(self, users: int, items: int, width: int) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(users, width), nn.Embedding(items, width)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.3)

    def forward(self, pairs: Tensor) -> Tensor:
        return (self.users(pairs[:, 0]) * self.items(pairs[:, 1])).sum(1)


def embedding() -> Task:
    users, items = torch.randn(600, 6), torch.randn(400, 6)
    pairs = torch.stack([torch.randint(600, (60_000,)), torch.randint(400, (60_000,))], 1)
    ratings = (users[pairs[:, 0]] * items[pairs[:, 1]]).sum(1) / math.sqrt(6) + 0.1 * torch.randn(len(pairs))
    train = 50_000

    def batch(model: nn.Module) -> Tensor:
        rows = torch.randint(train, (512,))
        return mse_loss(model(pairs[rows]), ratings[rows])

    return Task(Ratings(600, 400, 16), batch, lambda model: mse_loss(model(pairs[train:]), ratings[train:]), 2000, 1e-2)


class Language(nn.Module):
    """A transformer over bytes: two layers, 64 wide, four heads."""

    def __init__(self, letters: int, width: int, context: int) -> None:
        super().__init__()
        self.letters, self.places = nn.Embedding(letters, width), nn.Embedding(context, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, nn.LayerNorm(width), enable_nested_tensor=False)
        self.out = nn.Linear(width, letters)
        for table in (self.letters, self.places):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, text: Tensor) -> Tensor:
        length = text.shape[1]
        ahead = nn.Transformer.generate_square_subsequent_mask(length)
        return self.out(self.layers(self.letters(text) + self.places.weight[:length], mask=ahead, is_causal=True))


def language() -> Task:
    library = Path(sysconfig.get_path("stdlib"))
    text = b"".join(path.read_bytes() for path in sorted(library.glob("[a-m]*.py")))[:600_000]
    codes = torch.tensor(list(text)).clamp(max=127)
    context, held = 64, codes[-30_000:].unfold(0, 65, 64)

    def loss(model: nn.Module, lines: Tensor) -> Tensor:
        return cross_entropy(model(lines[:, :-1]).flatten(0, 1), lines[:, 1:].flatten())

    def batch(model: nn.Module) -> Tensor:
        starts = torch.randint(len(codes) - 30_000 - context - 1, (16,))
        return loss(model, codes[starts[:, None] + torch.arange(context + 1)])

    return Task(Language(128, 64, context), batch, lambda model: loss(model, held), 1000, 3e-3)


TASKS: dict[str, Callable[[], Task]] = {"mlp": mlp, "cnn": cnn, "embedding": embedding, "language": language}


def run(name: str, state_dtype: str, seed: int) -> tuple[str, str, int, float, float]:
    """Train once: task, state_dtype, seed, final validation loss, share of the moments that are narrow."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    task = TASKS[name]()
    opt = adamas.torch.AdamW(task.model.parameters(), lr=task.lr, state_dtype=state_dtype)

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / (0.05 * task.steps))
        return warm * 0.5 * (1 + math.cos(math.pi * step / task.steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(opt, factor)
    for _ in range(task.steps):
        opt.zero_grad()
        task.batch(task.model).backward()
        opt.step()
        schedule.step()
    task.model.eval()
    sizes = [p.numel() for p in task.model.parameters()]
    with torch.no_grad():
        share = sum(n for n in sizes if n >= SMALL) / sum(sizes)
        return name, state_dtype, seed, float(task.validation(task.model)), share


def results(tasks: list[str], seeds: int, jobs: int) -> Iterator[tuple[str, str, int, float, float]]:
    work = [delayed(run)(name, kind, seed) for name in tasks for seed in range(seeds) for kind in STATE_DTYPES]
    yield from track(Parallel(jobs, return_as="generator")(work), "training", total=len(work))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    losses: dict[tuple[str, str], list[float]] = {}
    shares: dict[str, float] = {}
    for name, kind, _, loss, share in results(options.tasks, options.seeds, options.jobs):
        losses.setdefault((name, kind), []).append(loss)
        shares[name] = share
    table = Table(
        "task",
        "in 8 bits",
        "float32",
        "spread",
        *(f"{kind} {what}" for kind in STATE_DTYPES[1:] for what in ("", "- float32")),
        "within",
        title=f"Final validation loss, mean of {options.seeds} seeds",
        caption=caption(["torch", "adamas"]),
    )
    for name in options.tasks:
        base = losses[name, "float32"]
        mean, spread = statistics.mean(base), statistics.stdev(base)
        off = [statistics.mean(losses[name, kind]) - mean for kind in STATE_DTYPES[1:]]
        cells = [cell for d in off for cell in (f"{mean + d:.4f}", f"{d:+.4f}")]
        within = "yes" if all(d <= spread for d in off) else "no"
        table.add_row(name, f"{shares[name]:.0%}", f"{mean:.4f}", f"{spread:.4f}", *cells, within)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
