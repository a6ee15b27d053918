"""A range test leaves everything as it was, bit for bit, however it ends; and a run that goes on does not notice it."""

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

import adamas.numpy
import adamas.torch
from adamas.errors import InputError
from adamas.state import State
from adamas.torch import find_lr
from tests.faults.scenes import Interruption

SHORT = {"num_iter": 30, "trial": 10}


class Net(nn.Module):
    """All that a training step may change in a model, and what it must leave alone."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.frozen = nn.BatchNorm1d(8).eval()
        self.head = nn.Linear(8, 1)
        self.register_buffer("seen", torch.zeros(3), persistent=False)
        self.register_buffer("spread", torch.tensor([math.nan, 1.0])[:, None].expand(2, 4))
        self.calls = 0
        self.history: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen = self.seen + 1  # another tensor, not another content
        y = self.head(self.frozen(self.body(x)) if self.frozen.training is False else self.body(x))
        self.history.append(y.shape[0])
        return y


def groups(net: Net) -> list[dict[str, Any]]:
    return [{"params": list(net.body.parameters()), "lr": 1e-3}, {"params": list(net.head.parameters()), "lr": 1e-2}]


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adamas AdamW": lambda g: adamas.torch.AdamW(g, ema_decay=0.9, telemetry=2, clip_grad_norm=1.0),
    "adamas SGD": lambda g: adamas.torch.SGD(g, momentum=0.9),
    "torch AdamW": lambda g: torch.optim.AdamW(g, amsgrad=True),
    "torch SGD": lambda g: torch.optim.SGD(g, momentum=0.9, nesterov=True),
    "torch RMSprop, lr a tensor": lambda g: torch.optim.RMSprop(
        [{**group, "lr": torch.tensor(group["lr"])} for group in g], centered=True
    ),
}


class Scene:
    """A training under way, always the same; two of them are twins."""

    def __init__(self, optimizer: str, scaled: bool) -> None:
        random.seed(1)
        np.random.seed(2)  # noqa: NPY002
        torch.manual_seed(3)
        self.net = Net()
        self.optimizer = OPTIMIZERS[optimizer](groups(self.net))
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, [0.01, 0.1], total_steps=100)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=4, enabled=scaled)
        self.average = AveragedModel(self.net.head)
        x = torch.randn(40, 6)
        data = TensorDataset(x, x.sum(1, keepdim=True) + 3)
        sampler = RandomSampler(data, generator=torch.Generator().manual_seed(4))
        self.loader = DataLoader(data, 8, sampler=sampler, generator=torch.Generator().manual_seed(5))
        self.noise = np.random.default_rng(6)
        self.losses: list[float] = []
        self.count = 0
        for _ in range(2):
            self.epoch()
        self.optimizer.zero_grad()
        self.loss(self.net, next(iter(self.loader))).backward()  # gradients that wait for a step

    def loss(self, net: nn.Module, batch: Any) -> Tensor:
        x, y = batch
        x = x + 1e-3 * torch.from_numpy(self.noise.standard_normal(x.shape)).float()
        x = x * (1 + 1e-3 * random.random() + 1e-3 * np.random.random())  # noqa: NPY002
        return (net(x) - y).square().mean()

    def step(self, batch: Any) -> float:
        """A step of one's own, with all that belongs to it."""
        self.optimizer.zero_grad()
        loss = self.loss(self.net, batch)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update_parameters(self.net.head)
        return loss.item()

    def epoch(self) -> None:
        for batch in self.loader:
            self.losses.append(self.step(batch))
            self.schedule.step()

    def find(self, **options: Any) -> Any:
        return find_lr(
            self.net,
            self.optimizer,
            self.loader,
            self.loss,
            scaler=self.scaler,
            keep=[self.noise],
            **{**SHORT, **options},
        )

    def bits(self) -> dict[str, Any]:
        """Everything, without a look that the optimizer would notice; what is to be the same object as its id."""
        held: dict[str, Any] = {"losses": tuple(self.losses)}
        for name, module in self.net.named_modules():
            held[f"mode of {name}"] = module.training
            for key, tensor in (*module._parameters.items(), *module._buffers.items()):
                held[f"{name}.{key}"] = raw(tensor)
                if tensor is not None:
                    held[f"{name}.{key} wants"] = tensor.requires_grad
                    held[f"gradient of {name}.{key}"] = raw(tensor.grad)
        held["calls"], held["history"] = self.net.calls, tuple(self.net.history)
        held |= {f"average {k}": raw(v) for k, v in self.average.state_dict().items()}
        for i, p in enumerate(p for group in self.optimizer.param_groups for p in group["params"]):
            state = self.optimizer.state.get(p, {})
            for key, value in (state.peek() if isinstance(state, State) else state).items():
                held[f"state {i} {key}"] = raw(value)
        for i, group in enumerate(self.optimizer.param_groups):
            for key, value in group.items():
                if key != "params":
                    held[f"group {i} {key}"] = raw(value), type(value).__name__
        held["last"] = str(getattr(self.optimizer, "last", None))
        held |= {
            f"schedule {k}": raw(v) for k, v in self.schedule.state_dict().items() if k != "_get_lr_called_within_step"
        }
        held |= {f"scaler {k}": raw(v) for k, v in self.scaler.state_dict().items()}
        held["scaler's stages"] = str(dict(getattr(self.scaler, "_per_optimizer_states", {})))
        held["python"], held["torch"] = random.getstate(), raw(torch.get_rng_state())
        held["numpy"] = str(np.random.get_state())  # noqa: NPY002
        held["sampler"] = raw(self.loader.sampler.generator.get_state())
        held["loader"] = raw(self.loader.generator.get_state())
        held["noise"] = str(self.noise.bit_generator.state)
        held["gradients enabled"] = torch.is_grad_enabled()
        return held

    def objects(self) -> dict[str, int]:
        """Which objects are there: what holds them must not find others in their place."""
        tensors = [*self.net.parameters(), *self.net.buffers(), *(p.grad for p in self.net.parameters())]
        found = {f"tensor {i}": id(t) for i, t in enumerate(tensors)}
        for i, group in enumerate(self.optimizer.param_groups):
            found |= {f"group {i}": id(group), f"params {i}": id(group["params"]), f"lr {i}": id(group["lr"])}
        return found | {"state": id(self.optimizer.state), "groups": id(self.optimizer.param_groups)}


def raw(value: Any) -> Any:
    if isinstance(value, Tensor):
        flat = value.detach().contiguous().reshape(-1)
        return str(value.dtype), tuple(value.shape), flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return repr(value) if isinstance(value, float | list | dict | tuple) else value


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return [name for name in one | other if one.get(name) != other.get(name)]


COMPARED = [0]


def untouched(scene: Scene, test: Callable[[], Any]) -> None:
    """Run the test, and see that it leaves everything in its place and as it was."""
    bits, objects = scene.bits(), scene.objects()
    try:
        test()
    finally:
        found = differing(bits, scene.bits()) + differing(objects, scene.objects())
        COMPARED[0] += len(bits) + len(objects)
        assert not found, found


@pytest.fixture(scope="module", autouse=True)
def _report() -> Iterator[None]:
    COMPARED[0] = 0
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny tensors: threads would wait for one another
    yield
    torch.set_num_threads(threads)
    print(f"\n{COMPARED[0]} objects compared bit for bit, none differs")


@pytest.fixture(params=[(name, scaled) for name in OPTIMIZERS for scaled in (False, True)], ids=str)
def scene(request: pytest.FixtureRequest) -> Scene:
    return Scene(*request.param)


def test_a_run_does_not_notice_the_test(scene: Scene, request: pytest.FixtureRequest) -> None:
    twin = Scene(*request.node.callspec.params["scene"])
    result = scene.find()
    assert len(result.losses) > 10 and result.trials
    assert differing(scene.bits(), twin.bits()) == []
    for each in (scene, twin):  # the global generators are common to both
        random.seed(7)
        np.random.seed(8)  # noqa: NPY002
        torch.manual_seed(9)
        each.epoch()
        each.epoch()
    assert differing(scene.bits(), twin.bits()) == []


def test_all_stays_where_it_was(scene: Scene) -> None:
    untouched(scene, scene.find)


def test_nothing_that_was_not_there_is_left() -> None:
    """Before the first step: no states, no gradients, a scaler that has not begun."""
    net = Net().eval()
    optimizer = adamas.torch.Adam(net.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    batches = [(torch.randn(8, 6), torch.ones(8, 1))]
    find_lr(net, optimizer, batches, nn.MSELoss(), scaler=scaler, **SHORT)
    assert not optimizer.state and all(p.grad is None for p in net.parameters())
    assert scaler._scale is None and not scaler._per_optimizer_states
    assert not any(m.training for m in net.modules())
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3]


def test_hidden_states_stay_hidden() -> None:
    scene = Scene("adamas AdamW", False)
    shown = [state.shown for state in scene.optimizer.state.values()]
    scene.find()
    assert [state.shown for state in scene.optimizer.state.values()] == shown and not any(shown)


@pytest.mark.parametrize("where", ["loss", "step", "loader", "tell"])
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("at", [1, 2, 17, 41, 66])
def test_whatever_raises(where: str, kind: type[BaseException], at: int) -> None:
    scene = Scene(("adamas AdamW", "torch SGD")[at % 2], scaled=at > 20)
    left = at if where != "tell" else 1 + at % 4

    def count(*args: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise kind("now")

    class Loader:
        def __iter__(self) -> Iterator[Any]:
            for batch in scene.loader:
                count()
                yield batch

    loss, loader, options = scene.loss, scene.loader, {}
    if where == "loss":
        loss = lambda net, batch: (scene.loss(net, batch), count())[0]  # noqa: E731
    elif where == "loader":
        loader = Loader()
        loader.inner = scene.loader  # type: ignore[attr-defined]
    elif where == "tell":
        options = {"tell": count}
    else:
        hook = scene.optimizer.register_step_post_hook(count)

    def test() -> None:
        with pytest.raises(kind, match="now"):
            find_lr(
                scene.net, scene.optimizer, loader, loss, scaler=scene.scaler, keep=[scene.noise], **SHORT, **options
            )

    if where == "step":
        untouched(scene, test)
        hook.remove()
    else:
        untouched(scene, test)


def test_ctrl_c_anywhere() -> None:
    """At a random place of those where Python heeds it; and at each in the last part, in which all is put back."""

    def once(at: int) -> int:
        scene = Scene("torch AdamW", True)
        interruption = Interruption(at, "find_lr")

        def test() -> None:
            try:
                interruption.during(lambda: scene.find(trial=0))
            except KeyboardInterrupt:
                assert interruption.left <= 0

        untouched(scene, test)
        return at - interruption.left

    places = once(10**9)
    assert places > 2000
    rng = random.Random(0)
    for at in [*rng.sample(range(1, places), 20), *rng.sample(range(places - 1000, places), 20)]:
        once(at)


def test_a_step_of_ones_own_with_a_schedule_and_an_average() -> None:
    scene = Scene("torch AdamW", True)

    def step(batch: Any) -> float:
        loss = scene.step(batch)
        scene.schedule.step()
        return loss

    def test() -> None:
        keep = [scene.noise, scene.schedule, scene.average, scene.scaler]
        result = find_lr(scene.net, scene.optimizer, scene.loader, step=step, keep=keep, **SHORT)
        assert len(result.losses) >= 10

    untouched(scene, test)


def test_things_with_a_state_dict_are_asked_for_it() -> None:
    class Counter:
        __slots__ = ("n",)

        def __init__(self) -> None:
            self.n = 3

        def state_dict(self) -> dict[str, int]:
            return {"n": self.n}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.n = state["n"]

    scene, counter = Scene("torch SGD", False), Counter()

    def loss(net: nn.Module, batch: Any) -> Tensor:
        counter.n += 1
        return scene.loss(net, batch)

    find_lr(scene.net, scene.optimizer, scene.loader, loss, keep=[counter, scene.noise], **SHORT)
    assert counter.n == 3


def test_parameters_that_go_elsewhere_come_back() -> None:
    """A step that points them to other memory, as casting and sharding do."""
    scene = Scene("adamas SGD", False)
    addresses = [p.data_ptr() for p in scene.net.parameters()]

    def step(batch: Any) -> float:
        loss = scene.step(batch)
        for p in scene.net.parameters():
            p.data = p.data.clone()
        return loss

    keep = [scene.noise, scene.average]
    untouched(scene, lambda: find_lr(scene.net, scene.optimizer, scene.loader, step=step, keep=keep, **SHORT))
    assert [p.data_ptr() for p in scene.net.parameters()] == addresses


def test_what_cannot_be_put_back_is_refused_before_anything_is_changed() -> None:
    class Stubborn:
        def state_dict(self) -> dict[str, int]:
            return {}

        def load_state_dict(self, state: Any) -> None:
            raise RuntimeError("no way back.")

    scene = Scene("torch SGD", False)

    def test() -> None:
        with pytest.raises(InputError, match=r"could be put back afterwards \(RuntimeError: no way back\)"):
            find_lr(scene.net, scene.optimizer, scene.loader, scene.loss, keep=[Stubborn()], **SHORT)

    untouched(scene, test)


def test_a_loader_that_counts_goes_on_where_it_was() -> None:
    class Corpus:
        """As in many small trainers: the position is an attribute and runs on from pass to pass."""

        def __init__(self) -> None:
            self.position, self.rng = 5, random.Random(3)

        def __iter__(self) -> Iterator[Any]:
            for _ in range(4):
                self.position += 1
                yield torch.full((4, 6), self.rng.random()), torch.ones(4, 1)

    corpus, net = Corpus(), Net()
    before = corpus.rng.getstate()
    find_lr(net, torch.optim.SGD(net.parameters(), lr=0.1), corpus, nn.functional.mse_loss, **SHORT)
    assert corpus.position == 5 and corpus.rng.getstate() == before


# -- how it trains ---------------------------------------------------------------------------------------------------


def test_groups_keep_their_ratio_and_the_largest_has_eta() -> None:
    scene = Scene("torch SGD", False)
    scene.optimizer.param_groups[0]["lr"], scene.optimizer.param_groups[1]["lr"] = 0.003, 0.012
    seen: list[tuple[float, ...]] = []
    hook = scene.optimizer.register_step_post_hook(
        lambda opt, *_: seen.append(tuple(group["lr"] for group in opt.param_groups))
    )
    result = find_lr(scene.net, scene.optimizer, scene.loader, scene.loss, keep=[scene.noise], **SHORT)
    hook.remove()
    assert result.ratios == (0.25, 1.0) and result.lrs[0] == 1e-7
    tried = [*result.lrs, *(t.lr for t in result.trials for _ in t.losses)]
    assert len(seen) == len(tried)
    assert all(a == lr * 0.25 and b == lr for (a, b), lr in zip(seen, tried, strict=True))
    assert result.suggestion is None or result.group_lrs == (result.suggestion / 4, result.suggestion)
    assert [group["lr"] for group in scene.optimizer.param_groups] == [0.003, 0.012]


def test_every_training_sees_the_same() -> None:
    """The same mini-batches in the same order, the same dropout, the same start."""
    scene = Scene("adamas AdamW", False)
    seen: list[tuple[bytes, bytes, float]] = []

    def loss(net: nn.Module, batch: Any) -> Tensor:
        value = scene.loss(net, batch)
        seen.append((raw(batch[0])[2], raw(torch.get_rng_state())[2], value.item()))
        return value

    result = find_lr(scene.net, scene.optimizer, scene.loader, loss, keep=[scene.noise], **SHORT)
    begin = len(result.losses)
    for trial in result.trials:
        mine = seen[begin : begin + len(trial.losses)]
        assert [m[:2] for m in mine] == [s[:2] for s in seen[: len(mine)]]
        assert mine[0][2] == seen[0][2] == trial.losses[0]
        begin += len(trial.losses)
    assert begin == len(seen) == result.steps


def test_it_trains_in_train_mode_and_leaves_frozen_layers_alone() -> None:
    modes: set[tuple[bool, bool]] = set()
    scene = Scene("torch SGD", False)

    def loss(net: Any, batch: Any) -> Tensor:
        modes.add((net.training, net.frozen.training))
        return scene.loss(net, batch)

    find_lr(scene.net, scene.optimizer, scene.loader, loss, keep=[scene.noise], **SHORT)
    assert modes == {(True, False)}
    scene.net.eval()
    find_lr(scene.net, scene.optimizer, scene.loader, loss, keep=[scene.noise], **SHORT)
    assert modes == {(True, False), (True, True)} and not scene.net.training and not scene.net.frozen.training


@pytest.mark.parametrize("scaled", [False, True])
def test_accumulated_mini_batches_are_one_large_one(scaled: bool) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(64, 3), torch.randn(64, 1)
    net = nn.Linear(3, 1)

    def run(size: int, **options: Any) -> Any:
        batches = list(zip(x.split(size), y.split(size), strict=True))
        opt = torch.optim.SGD(net.parameters(), lr=0.1)
        return find_lr(net, opt, batches, nn.functional.mse_loss, **SHORT, **options)

    scaler = torch.amp.GradScaler("cpu", init_scale=8.0) if scaled else None
    large, small = run(16), run(4, accumulate=4, scaler=scaler)
    assert len(large.losses) == len(small.losses)
    assert np.allclose(large.losses, small.losses, rtol=1e-4) and large.suggestion == small.suggestion


def test_the_model_gets_batches_where_it_is() -> None:
    net = nn.Linear(3, 1, device="meta")
    with pytest.raises(RuntimeError):  # .item() of a loss on the meta device; and no complaint of two devices before
        find_lr(
            net,
            torch.optim.SGD(net.parameters(), lr=0.1),
            [(torch.ones(2, 3), torch.ones(2, 1))],
            nn.MSELoss(),
            **SHORT,
        )


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"start": 0.0}, "start is 0: it must be a learning rate, a finite number above 0."),
        ({"start": -1e-3}, "start is -0.001: it must be a learning rate, a finite number above 0."),
        ({"end": math.inf}, "end is inf: it must be a learning rate, a finite number above 0."),
        ({"end": math.nan}, "end is nan: it must be a learning rate, a finite number above 0."),
        ({"end": "10"}, "end is '10': it must be a learning rate, a finite number above 0."),
        ({"start": 0.1, "end": 0.1}, "start is 0.1 and end 0.1: the end must be at least 10 times the start."),
        ({"start": 1.0, "end": 0.1}, "start is 1 and end 0.1: the end must be at least 10 times the start."),
        ({"num_iter": 29}, "num_iter is 29: it must be 30 mini-batches or more."),
        ({"num_iter": 50.0}, "num_iter is 50.0: it must be a whole number of mini-batches, 30 or more."),
        ({"trial": 9}, "trial is 9: it must be 10 mini-batches or more, or 0 for none."),
        ({"trial": -1}, "trial is -1: it must be 10 mini-batches or more, or 0 for none."),
        ({"accumulate": 0}, "accumulate is 0: it must be a whole number of mini-batches, 1 or more."),
        ({"loader": []}, "The loader is empty: it must have at least one mini-batch."),
        (
            {"loader": iter([1])},
            "The loader is a list_iterator, which can be gone through only once: give what it was made from, or a "
            "list of mini-batches.",
        ),
        ({"loader": 3}, "The loader is a int: give something that mini-batches come from."),
        ({"loss_fn": None}, "Give either loss_fn or step: the one is the loss, the other a whole training step."),
        (
            {"loss_fn": lambda net, batch: net(batch[0])},
            "The loss is a tensor of shape (8, 1): it must be a tensor of one real number.",
        ),
        ({"loss_fn": lambda net, batch: 1.0}, "The loss is a float: it must be a tensor of one real number."),
        (
            {"loss_fn": lambda net, batch: batch[0].mean()},
            "The loss depends on no parameter that requires a gradient: nothing can be trained on it.",
        ),
        (
            {"loss_fn": lambda net, batch: torch.ones((), requires_grad=True) * 2},
            "The loss depends on no parameter of the optimizer: give the optimizer the parameters of this model.",
        ),
        (
            {"loss_fn": nn.MSELoss(), "loader": [torch.ones(2, 6)]},
            "A mini-batch is a Tensor, and a loss of torch.nn takes pairs of inputs and targets: give loss_fn as a "
            "function of model and batch.",
        ),
        (
            {"loss_fn": None, "step": lambda batch: None},
            "step returned a NoneType: it must return the loss, one number.",
        ),
        (
            {"loss_fn": None, "step": lambda batch: 1.0, "accumulate": 2},
            "accumulate and scaler go with loss_fn: a `step` does that itself; name its scaler in keep.",
        ),
    ],
)
def test_refusals(change: dict[str, Any], sentence: str) -> None:
    scene = Scene("torch AdamW", False)
    given = {"loader": scene.loader, "loss_fn": scene.loss, "keep": [scene.noise], **change}

    def test() -> None:
        with pytest.raises(InputError) as refused:
            find_lr(scene.net, scene.optimizer, **given)
        assert str(refused.value) == sentence

    untouched(scene, test)


def test_learning_rates_of_zero_have_no_ratio() -> None:
    scene = Scene("torch SGD", False)
    for group in scene.optimizer.param_groups:
        group["lr"] = 0.0

    def test() -> None:
        with pytest.raises(InputError, match=r"groups are \[0.0, 0.0\]: at least one must"):
            scene.find()

    untouched(scene, test)


# -- NumPy -----------------------------------------------------------------------------------------------------------


class Lines:
    """A regression in NumPy, under way."""

    def __init__(self) -> None:
        np.random.seed(1)  # noqa: NPY002
        self.rng = np.random.default_rng(0)
        self.x = self.rng.standard_normal((60, 4))
        self.theta = {"w": np.zeros(4), "b": np.zeros(1, np.float32)}
        self.optimizer = adamas.numpy.AdamW([{"params": [self.theta["w"]]}, {"params": [self.theta["b"]], "lr": 1e-4}])
        for rows in self:
            self.optimizer.step(self(rows)[1])

    def __iter__(self) -> Iterator[Any]:
        yield from self.rng.permutation(60).reshape(6, 10)

    def __call__(self, rows: Any) -> tuple[float, Any]:
        error = self.x[rows] @ (self.theta["w"] - 1) + self.theta["b"] - 2 + 0.01 * np.random.random()  # noqa: NPY002
        return (error**2).mean(), [2 * self.x[rows].T @ error / 10, np.array([2 * error.mean()], np.float32)]

    def bits(self) -> dict[str, Any]:
        states = {
            f"{key} {name}": array.tobytes()
            for key, state in self.optimizer.state.items()
            for name, array in state.peek().items()
        }
        groups = [{k: v for k, v in group.items() if k != "params"} for group in self.optimizer.param_groups]
        held = {k: v.tobytes() for k, v in self.theta.items()} | states
        held |= {"last": str(self.optimizer.last), "groups": str(groups), "numpy": str(np.random.get_state())}  # noqa: NPY002
        return held | {"rng": str(self.rng.bit_generator.state), "ids": [id(v) for v in self.theta.values()]}

    def find(self, **options: Any) -> Any:
        return adamas.numpy.find_lr(self.optimizer, self, options.pop("call", self), **{"num_iter": 40, **options})


@pytest.mark.parametrize("at", [None, 1, 30, 55])
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_numpy_is_put_back(at: int | None, kind: type[BaseException]) -> None:
    lines, left = Lines(), at or 0
    before = lines.bits()

    def call(rows: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise kind("now")
        return lines(rows)

    if at is None:
        result = lines.find()
        assert result.confident and 0.03 <= result.suggestion <= 1 and result.ratios == (1.0, 0.1)
    else:
        with pytest.raises(kind, match="now"):
            lines.find(call=call)
    assert differing(before, lines.bits()) == []
    twin = Lines()
    np.random.seed(0)  # noqa: NPY002
    lines.optimizer.step(lines(range(10))[1])
    np.random.seed(0)  # noqa: NPY002
    twin.optimizer.step(twin(range(10))[1])
    assert {k: v.tobytes() for k, v in lines.theta.items()} == {k: v.tobytes() for k, v in twin.theta.items()}


@pytest.mark.parametrize("returned", [3.0, (1.0,), ("low", []), None])
def test_numpy_says_what_value_and_grad_must_return(returned: Any) -> None:
    lines = Lines()
    before = lines.bits()
    with pytest.raises(InputError, match=r"value_and_grad returned .*: it must return the loss, one number, and the"):
        lines.find(call=lambda rows: returned)
    assert differing(before, lines.bits()) == []


def test_numpy_empty_loader() -> None:
    lines = Lines()
    with pytest.raises(InputError, match="The loader is empty"):
        adamas.numpy.find_lr(lines.optimizer, [], lines)
