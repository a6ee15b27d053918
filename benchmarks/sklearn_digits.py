"""AdamasClassifier beside scikit-learn's MLPClassifier(solver="adam"), and the network in NumPy beside torch.

``python -m benchmarks.sklearn_digits`` trains both on the digits: the same layers, batches, epochs, learning rate and
regularisation (none, and α = 1e-2, which as weight decay is α / batch), in the data's own float64 and in float32, each
seed by both in turn. Then a step of the network, forward and backward, as it is computed here and by torch.
All of it on one thread.
"""

import argparse
import statistics
import warnings
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from adamas.sklearn import AdamasClassifier


def models(hidden: tuple[int, ...], alpha: float, epochs: int, batch: int, seed: int) -> dict[str, Any]:
    same = {"hidden_layer_sizes": hidden, "batch_size": batch, "max_iter": epochs, "random_state": seed}
    same |= {"tol": 0.0, "n_iter_no_change": epochs}  # so that both go to the end
    return {
        "ours": AdamasClassifier(lr=1e-3, weight_decay=alpha / batch, **same),
        "theirs": MLPClassifier(solver="adam", learning_rate_init=1e-3, alpha=alpha, **same),
    }


def digits(console: Console, seeds: int, epochs: int) -> None:
    x, y = load_digits(return_X_y=True)
    table = Table("hidden", "α", "dtype", "accuracy ours", "theirs", "seconds ours", "theirs", "their time / ours")
    for hidden in ((), (100,), (256, 256)):
        for alpha in (0.0, 1e-2):
            for dtype in ("float64", "float32"):
                scores: dict[str, list[float]] = {"ours": [], "theirs": []}
                seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
                for seed in range(seeds):
                    a, b, ya, yb = train_test_split((x / 16).astype(dtype), y, test_size=0.3, random_state=seed)
                    pair = models(hidden, alpha, epochs, 200, seed)
                    for name in sorted(pair, reverse=bool(seed % 2)):
                        begin = perf_counter()
                        pair[name].fit(a, ya)
                        seconds[name].append(perf_counter() - begin)
                        scores[name].append(pair[name].score(b, yb))
                ratio = statistics.median(t / o for o, t in zip(seconds["ours"], seconds["theirs"], strict=True))
                accuracy = [f"{np.mean(scores[k]):.4f} ± {np.std(scores[k]):.4f}" for k in ("ours", "theirs")]
                took = [f"{statistics.median(seconds[k]):.3f}" for k in ("ours", "theirs")]
                table.add_row(str(hidden), f"{alpha:g}", dtype, *accuracy, *took, f"{ratio:.2f}")
    console.print(table)


def against_torch(console: Console, rounds: int) -> None:
    import torch

    torch.set_num_threads(1)
    table = Table("layers", "batch", "µs here", "torch", "torch's time / ours")
    rng = np.random.default_rng(0)
    for sizes, batch in (
        ((64, 10), 200),
        ((64, 100, 10), 200),
        ((64, 256, 256, 10), 200),
        ((784, 1024, 1024, 10), 256),
    ):
        x = rng.standard_normal((batch, sizes[0])).astype(np.float32)
        y = rng.integers(sizes[-1], size=batch)
        model = AdamasClassifier(sizes[1:-1], random_state=0).partial_fit(x, y, classes=np.arange(sizes[-1]))
        layers, grads = model._layers(model._flat), model._layers(model._grads)
        targets = model._targets(y, None, first=False)
        parts: list[torch.nn.Module] = []
        for a, b in model._sizes:
            parts += [torch.nn.Linear(a, b), torch.nn.ReLU()]
        net = torch.nn.Sequential(*parts[:-1])
        tx, ty = torch.from_numpy(x), torch.from_numpy(y)

        def theirs(net: Any = net, tx: Any = tx, ty: Any = ty) -> None:
            net.zero_grad()
            torch.nn.functional.cross_entropy(net(tx), ty).backward()

        def ours(model: Any = model, given: Any = (layers, grads, x, targets, None)) -> None:
            model._backward(*given)

        here, there = times((ours, theirs), rounds)
        table.add_row("-".join(map(str, sizes)), str(batch), f"{here:.0f}", f"{there:.0f}", f"{there / here:.2f}")
    console.print(table)


def times(calls: tuple[Callable[[], None], ...], rounds: int) -> list[float]:
    """Medians in µs, in turn."""
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, times in zip(calls, taken, strict=True):
            begin = perf_counter()
            call()
            times.append((perf_counter() - begin) * 1e6)
    return [statistics.median(t) for t in taken]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=300)
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    console = Console(width=120)
    with threadpool_limits(1):  # BLAS' threads, which wait in loops, would measure each other
        digits(console, args.seeds, args.epochs)
        against_torch(console, args.rounds)


if __name__ == "__main__":
    main()
