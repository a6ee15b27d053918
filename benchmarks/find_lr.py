"""How good is the learning rate that `find_lr` suggests, and what fastai's rules read off the same sweep?

    python -m benchmarks.find_lr [--seeds 2] [--jobs 2] [--tasks digits_mlp,logistic]

Each pair of task and optimizer is trained for 300 steps at each of 13 constant η, half a decade apart, from 10⁻⁵ to 10,
and at each suggestion, from the same start on the same mini-batches. A suggestion is good if its loss is at most 10 %
above the best of the 13. The loss is the training loss, its mean over the last 100 mini-batches, which is what a range
test can see; next to it the loss on rows held back, which it cannot.

The rule was fixed on eight tasks (`FIXED_ON`) and then run on four others (`UNSEEN`). What a test may change is
compared bit for bit before and after, and counted.
"""

import argparse
import inspect
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from rich.console import Console
from rich.table import Table as Grid
from torch import Tensor, nn
from torch.nn import functional

import adamas.torch
from adamas.bench.report import caption
from adamas.problems import datasets, networks
from adamas.problems.base import need
from adamas.problems.table import Table, split
from adamas.rangetest import TRIAL

BATCH = 64


class Loader:
    """Batches of rows in an order of its own, shuffled anew at each pass."""

    def __init__(self, rows: int, batch: int, seed: int) -> None:
        self.rows, self.batch = rows, batch
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(self.rows, generator=self.generator)
        yield from order.split(self.batch)[: max(1, self.rows // self.batch)]


@dataclass(frozen=True)
class Task:
    """Something to train.

    Args:
        build: makes the model; torch's seed is set before.
        loss: of a model on the rows named, held back or not.
        rows: to train on; and to judge by.
    """

    build: Callable[[], nn.Module]
    loss: Callable[[nn.Module, Tensor, bool], Tensor]
    rows: int
    held_back: int
    batch: int = BATCH


def _tensors(table: Table) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    def tensor(a: Any) -> Tensor:
        return torch.from_numpy(a.astype(np.int64 if np.issubdtype(a.dtype, np.integer) else np.float32))

    return tensor(table.x), tensor(table.y), tensor(table.vx), tensor(table.vy)


def _supervised(table: Table, build: Callable[[Table], nn.Module]) -> Task:
    x, y, vx, vy = _tensors(table)

    def loss(model: nn.Module, rows: Tensor, held_back: bool) -> Tensor:
        out, target = (model(vx[rows]), vy[rows]) if held_back else (model(x[rows]), y[rows])
        return functional.cross_entropy(out, target) if table.classes else functional.mse_loss(out[:, 0], target)

    return Task(lambda: build(table), loss, len(x), len(vx))


def _sklearn(loader: str, classes: bool, scaled: bool = True) -> Table:
    data = getattr(need("sklearn.datasets", "data"), loader)()
    x, y = np.asarray(data.data, np.float64), np.asarray(data.target)
    if classes:
        table = split(x, y.astype(np.int64), len(data.target_names))
    else:
        table = split(x, y.astype(np.float64), 0)
    if scaled:
        return table
    mean, deviation = x.mean(0), x.std(0)
    return Table(table.x * deviation + mean, table.y, table.vx * deviation + mean, table.vy, table.classes)


def digits_mlp() -> Task:
    """The digits, 64-128-10 with dropout."""
    return _supervised(_sklearn("load_digits", True), networks.digits_mlp)


def digits_cnn() -> Task:
    """The digits, two convolutions."""
    return _supervised(_sklearn("load_digits", True), networks.digits_cnn)


def diabetes() -> Task:
    """442 patients, a regression, 10-64-1."""
    return _supervised(_sklearn("load_diabetes", False), networks.small_mlp)


def logistic() -> Task:
    """569 biopsies, logistic regression."""
    return _supervised(_sklearn("load_breast_cancer", True), lambda t: nn.Linear(t.x.shape[1], t.classes))


def unscaled() -> Task:
    """The biopsies as they were measured, features from 0.001 to 4000; 30-64-2."""
    return _supervised(_sklearn("load_breast_cancer", True, scaled=False), networks.small_mlp)


def embedding() -> Task:
    """Bags of 12 words out of 2000, four topics."""
    return _supervised(datasets.sparse_embedding().table, networks.word_bag)


def autoencoder() -> Task:
    """The digits through a bottleneck of 8, with tanh."""
    data = need("sklearn.datasets", "data").load_digits().data / 16
    x = torch.from_numpy(data.astype(np.float32))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    vx, x = x[order[:360]], x[order[360:]]

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 8), nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 64)
        )

    def loss(model: nn.Module, rows: Tensor, held_back: bool) -> Tensor:
        batch = (vx if held_back else x)[rows]
        return functional.mse_loss(model(batch), batch)

    return Task(build, loss, len(x), len(vx))


class _Recurrent(nn.Module):
    """Reads the rows of an image one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRU(8, 48, batch_first=True), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x.unflatten(1, (8, 8)))[0][:, -1])


def recurrent() -> Task:
    """The digits, row by row through a gated recurrent unit."""
    return _supervised(_sklearn("load_digits", True), lambda t: _Recurrent())


def deep() -> Task:
    """The digits through six layers with layer norm."""

    def build(table: Table) -> nn.Module:
        layers: list[nn.Module] = []
        for _ in range(6):
            layers += [nn.Linear(64, 64), nn.LayerNorm(64), nn.GELU()]
        return nn.Sequential(*layers, nn.Linear(64, 10))

    return _supervised(_sklearn("load_digits", True), build)


class _Factors(nn.Module):
    """A rating is the product of two vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.items = nn.Embedding(300, 8), nn.Embedding(200, 8)
        for table in (self.users, self.items):
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, pairs: Tensor) -> Tensor:
        return (self.users(pairs[:, 0]) * self.items(pairs[:, 1])).sum(1, keepdim=True)


def factors() -> Task:
    """20,000 noisy ratings of 200 things by 300 people, of rank 4."""
    rng = np.random.default_rng(11)
    pairs = np.stack([rng.integers(300, size=20_000), rng.integers(200, size=20_000)], 1)
    users, items = rng.standard_normal((300, 4)) / 2, rng.standard_normal((200, 4))
    ratings = (users[pairs[:, 0]] * items[pairs[:, 1]]).sum(1) + 0.3 * rng.standard_normal(20_000)
    table = Table(pairs[:16_000], ratings[:16_000], pairs[16_000:], ratings[16_000:], 0)
    return _supervised(table, lambda t: _Factors())


def sines() -> Task:
    """A noisy curve of two waves, 1-64-64-1 with tanh."""
    rng = np.random.default_rng(12)
    x = rng.uniform(-3, 3, (2400, 1))
    y = np.sin(2 * x[:, 0]) + 0.5 * np.sin(5 * x[:, 0]) + 0.1 * rng.standard_normal(2400)
    table = Table(x[:2000], y[:2000], x[2000:], y[2000:], 0)
    return _supervised(
        table,
        lambda t: nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)),
    )


CONTEXT = 32


class _Transformer(nn.Module):
    """Two blocks of width 48 over characters, each predicted from those before it."""

    def __init__(self, letters: int) -> None:
        super().__init__()
        self.letter, self.place = nn.Embedding(letters, 48), nn.Embedding(CONTEXT, 48)
        layer = nn.TransformerEncoderLayer(48, 4, 192, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(48, letters)

    def forward(self, x: Tensor) -> Tensor:
        mask = torch.full((CONTEXT, CONTEXT), -math.inf).triu(1)
        return self.head(self.blocks(self.letter(x) + self.place.weight, mask=mask))


def transformer() -> Task:
    """Characters of Python's own argparse.py and inspect.py."""
    text = "".join(Path(m.__file__ or "").read_text() for m in (argparse, inspect))
    letters = {c: i for i, c in enumerate(sorted(set(text)))}
    codes = torch.tensor([letters[c] for c in text])
    windows = codes[: len(codes) // (CONTEXT + 1) * (CONTEXT + 1)].view(-1, CONTEXT + 1)
    windows = windows[torch.randperm(len(windows), generator=torch.Generator().manual_seed(0))]
    held, train = windows[:256], windows[256:]

    def loss(model: nn.Module, rows: Tensor, held_back: bool) -> Tensor:
        w = (held if held_back else train)[rows]
        return functional.cross_entropy(model(w[:, :-1]).flatten(0, 1), w[:, 1:].flatten())

    return Task(lambda: _Transformer(len(letters)), loss, len(train), len(held), 16)


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: adamas.torch.SGD(p, lr=1e-3),
    "momentum": lambda p: adamas.torch.SGD(p, lr=1e-3, momentum=0.9),
    "adagrad": lambda p: adamas.torch.Adagrad(p, lr=1e-3),
    "rmsprop": lambda p: adamas.torch.RMSprop(p, lr=1e-3),
    "adam": lambda p: adamas.torch.Adam(p, lr=1e-3),
    "adamw": lambda p: adamas.torch.AdamW(p, lr=1e-3),
    "nadam": lambda p: adamas.torch.NAdam(p, lr=1e-3),
    "lion": lambda p: adamas.torch.Lion(p, lr=1e-3),
}

#: The rule was fixed on these, and then tried on those it had not seen: other tasks altogether.
FIXED_ON = {
    digits_mlp: "adamw sgd momentum lion",
    digits_cnn: "adamw sgd momentum rmsprop",
    diabetes: "adam sgd rmsprop adagrad",
    logistic: "adam sgd nadam lion",
    embedding: "adamw momentum nadam adagrad",
    autoencoder: "adam sgd rmsprop lion",
    transformer: "adamw adam momentum lion",
    unscaled: "adam adamw momentum rmsprop",
}
UNSEEN = {
    recurrent: "adamw adam rmsprop momentum",
    deep: "adamw sgd lion nadam",
    factors: "adam adagrad momentum lion",
    sines: "adamw adam sgd rmsprop",
}

STEPS, LAST = 300, 100
"""Length of a training, and of its end over which the loss is averaged."""
GRID = tuple(10 ** (k / 2) for k in range(-10, 3))
GOOD = 1.1
"""Times the best of the grid."""
BRIEF = 150
"""Steps of shorter trials, beside the default, which is as long as the training itself."""
METHODS = ("adamas", "brief", "valley", "steepest", "minimum", "slide", "grid")
"""The second is `find_lr` with shorter trials, the last the best η of the whole grid under another seed."""


@dataclass(frozen=True)
class Case:
    """A pair of task and optimizer under one seed.

    Args:
        best: of the grid, training loss and held-back loss.
        losses: method -> training loss and held-back loss of its suggestion, over the grid's best.
        lrs: method -> its suggestion; None where there is none to rely on.
        lr: the best η of the grid by training loss.
        grid: η -> training loss and held-back loss, over the grid's best.
        spent: mini-batches that the tests took, the default one and the shorter one.
        compared, differing: objects compared bit for bit before and after the test.
    """

    task: str
    optimizer: str
    best: tuple[float, float]
    losses: dict[str, tuple[float, float]]
    lrs: dict[str, float | None]
    lr: float
    grid: dict[float, tuple[float, float]]
    spent: tuple[int, int]
    compared: int
    differing: int


def begin(task: Task, optimizer: str, seed: int) -> tuple[nn.Module, torch.optim.Optimizer, Loader]:
    torch.manual_seed(seed)
    model = task.build()
    return model, OPTIMIZERS[optimizer](model.parameters()), Loader(task.rows, task.batch, seed)


def train(task: Task, optimizer: str, seed: int, lr: float) -> tuple[float, float]:
    """Training loss over the last steps, and loss on what is held back, after 300 steps at this η."""
    model, opt, loader = begin(task, optimizer, seed)
    for group in opt.param_groups:
        group["lr"] = lr
    losses: list[float] = []
    batches = chain.from_iterable(iter(loader) for _ in range(STEPS))
    for rows in batches:
        loss = task.loss(model, rows, False)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            return math.inf, math.inf
        opt.zero_grad()
        loss.backward()
        opt.step()
        if len(losses) == STEPS:
            break
    model.eval()
    with torch.no_grad():
        held_back = task.loss(model, torch.arange(task.held_back), True).item()
    training = mean(losses[-LAST:])
    return (training if math.isfinite(training) else math.inf), (held_back if math.isfinite(held_back) else math.inf)


def everything(model: nn.Module, opt: torch.optim.Optimizer, loader: Loader) -> dict[str, Any]:
    """The bits of all that a test may change, each under a name."""
    held: dict[str, Any] = {f"θ {k}": v.detach().numpy().tobytes() for k, v in model.state_dict().items()}
    held |= {f"gradient {k}": p.grad for k, p in model.named_parameters()}
    held |= {f"mode {k}": m.training for k, m in model.named_modules()}
    for i, state in enumerate(opt.state.values()):
        held |= {f"state {i} {k}": v.numpy().tobytes() for k, v in state.items()}
    for i, group in enumerate(opt.param_groups):
        held |= {f"group {i} {k}": v for k, v in group.items() if k != "params"}
    held["python"], held["torch"] = random.getstate(), torch.get_rng_state().numpy().tobytes()
    held["numpy"] = str(np.random.get_state())  # noqa: NPY002 (the global generator is one of them)
    held["loader"] = loader.generator.get_state().numpy().tobytes()
    return held


def case(make: Callable[[], Task], optimizer: str, seed: int) -> Case:
    torch.set_num_threads(1)
    task, name = make(), make.__name__
    model, opt, loader = begin(task, optimizer, seed)
    before = everything(model, opt, loader)
    found, brief = (
        adamas.torch.find_lr(model, opt, loader, lambda m, rows: task.loss(m, rows, False), trial=trial)
        for trial in (TRIAL, BRIEF)
    )
    after = everything(model, opt, loader)
    differing = sum(before.get(k) != after.get(k) for k in before | after)
    grid = {lr: train(task, optimizer, seed, lr) for lr in GRID}
    best = min(t for t, _ in grid.values()), min(h for _, h in grid.values())
    lrs = {
        "adamas": found.suggestion if found.confident else None,
        "brief": brief.suggestion if brief.confident else None,
        **found.suggestions,
    }
    losses: dict[str, tuple[float, float]] = {}
    for method, lr in lrs.items():
        reached = (math.inf, math.inf) if lr is None else train(task, optimizer, seed, lr)
        losses[method] = reached[0] / best[0], reached[1] / best[1]
    lr = min(grid, key=lambda lr: grid[lr][0])
    over = {lr: (t / best[0], h / best[1]) for lr, (t, h) in grid.items()}
    return Case(
        name, optimizer, best, losses, lrs, lr, over, (found.steps, brief.steps), len(before | after), differing
    )


def with_grid(cases: list[Case]) -> None:
    """Add what the whole grid would say, looked at under another seed: no method can know more than that."""
    for key in dict.fromkeys((c.task, c.optimizer) for c in cases):
        own = [c for c in cases if (c.task, c.optimizer) == key]
        for c, other in zip(own, own[1:] + own[:1], strict=True):
            c.losses["grid"] = c.grid[other.lr]


def share(cases: list[Case], method: str, kind: int) -> str:
    good = [c.losses[method][kind] <= GOOD for c in cases]
    return f"{100 * mean(good):.0f} %"


def detail(cases: list[Case], seeds: int) -> Grid:
    grid = Grid(
        title=f"Training loss over the best of the grid, median of {seeds} seeds", caption=caption(["torch", "adamas"])
    )
    for head in ("task", "optimizer", "best η", "η found", "spent", *METHODS):
        grid.add_column(head, justify="left" if head in ("task", "optimizer") else "right", no_wrap=True)
    for key in dict.fromkeys((c.task, c.optimizer) for c in cases):
        own = [c for c in cases if (c.task, c.optimizer) == key]
        found = [c.lrs["adamas"] for c in own]
        grid.add_row(
            *key,
            f"{median(c.lr for c in own):.2g}",
            " ".join("–" if lr is None else f"{lr:g}" for lr in found),
            " ".join(f"{mean(each):.0f}" for each in zip(*(c.spent for c in own), strict=True)),
            *(f"{median(c.losses[m][0] for c in own):.2f}" for m in METHODS),
        )
    return grid


def summary(cases: list[Case]) -> Grid:
    grid = Grid(title=f"Within {100 * (GOOD - 1):.0f} % of the best of 13 η, share of cases")
    for head in ("loss", "cases", *METHODS):
        grid.add_column(head, justify="left" if head == "loss" else "right", no_wrap=True)
    halves = {"fixed on these": FIXED_ON, "unseen": UNSEEN}
    for kind, label in enumerate(("training", "held back")):
        for half, tasks in halves.items():
            own = [c for c in cases if c.task in {task.__name__ for task in tasks}]
            if own:
                grid.add_row(f"{label}, {half}", str(len(own)), *(share(own, m, kind) for m in METHODS))
    return grid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="two or more")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--tasks", help="by default all")
    options = parser.parse_args()
    wanted = options.tasks.split(",") if options.tasks else [task.__name__ for task in FIXED_ON | UNSEEN]
    begun = time.monotonic()
    cases: list[Case] = Parallel(options.jobs, verbose=5)(
        delayed(case)(task, optimizer, 100 + seed)
        for task, optimizers in (FIXED_ON | UNSEEN).items()
        if task.__name__ in wanted
        for optimizer in optimizers.split()
        for seed in range(options.seeds)
    )
    with_grid(cases)
    console = Console(width=150)
    console.print(detail(cases, options.seeds))
    console.print(summary(cases))
    unsure = sum(c.lrs["adamas"] is None for c in cases)
    console.print(f"No confident suggestion by default: {unsure} of {len(cases)}; they count as misses.")
    console.print(
        f"Compared bit for bit before and after: {sum(c.compared for c in cases):,} objects, "
        f"of which {sum(c.differing for c in cases)} differ."
    )
    console.print(f"{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
