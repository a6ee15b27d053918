"""Every check has somebody sick, in whom it finds the illness, and somebody healthy, in whom it does not."""

import math
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

import adamas.torch
from adamas import recipes
from adamas.schedules import cosine, warmup
from adamas.torch import decay_groups, preflight
from adamas.torch.checks.checks import CHECKS

OBSERVE = sys.modules["adamas.torch.checks.observe"]  # whose function of the same name hides it

ROWS, FEATURES, CLASSES, STEPS = 512, 10, 4, 500


def inputs(scale=1.0, shift=0.0):
    return scale * torch.randn(ROWS, FEATURES, generator=torch.Generator().manual_seed(1)) + shift


def labels(x):
    """Those a linear map of the inputs gives."""
    return ((x - x.mean(0)) @ torch.randn(FEATURES, CLASSES, generator=torch.Generator().manual_seed(3))).argmax(1)


def mlp(*last, first=()):
    layers = (*first, nn.Linear(FEATURES, 32), nn.ReLU(), nn.Linear(32, CLASSES), *last)
    return nn.Sequential(*layers)


def training(x=None, y=None, model=None, optimizer=None, schedule=None, **arguments):
    """Keyword arguments of `preflight`: a healthy training but for what is given.

    Args:
        optimizer: what makes it from the model; None for a recipe.
        schedule: what makes it from the optimizer.
    """
    x = inputs() if x is None else x
    y = labels(x) if y is None else y
    model = mlp() if model is None else model
    if optimizer is None:
        recipe = recipes.general(model, steps=STEPS, batch_size=32)
        made, schedule = recipe.optimizer, schedule(recipe.optimizer) if schedule else recipe.schedule
    else:
        made = optimizer(model)
        schedule = schedule(made) if schedule else None
    return {
        "model": model,
        "data": DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True),
        "optimizer": made,
        "schedule": schedule,
        "loss_fn": functional.cross_entropy,
        "steps": STEPS,
        "validate": lambda model: (model(x).argmax(1) == y).double().mean(),
        **arguments,
    }


def adamw(lr=1e-3, **options):
    return lambda model: torch.optim.AdamW(model.parameters(), **{"lr": lr, "betas": (0.9, 0.98), **options})


def factor(f):
    return lambda optimizer: lr_scheduler.LambdaLR(optimizer, f)


def regression(target=lambda x: x[:, :1] - x[:, 1:2], head=1, **arguments):
    x = inputs()
    model = nn.Sequential(nn.Linear(FEATURES, 32), nn.Tanh(), nn.Linear(32, head))
    return training(x, target(x), model, loss_fn=functional.mse_loss, validate=lambda m: 0.0, **arguments)


def with_first(index, value):
    x = inputs()
    x.view(-1)[index] = value
    return training(x, labels(inputs()))


def spread(ratio):
    x = inputs()
    x[:, 0] *= ratio
    return training(x / x.square().mean().sqrt(), labels(inputs()))


def binary(outputs, y=None, **arguments):
    x = inputs()
    y = (x[:, :1] > 0).float() if y is None else y
    model = nn.Sequential(nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, 1), *outputs)
    loss = functional.binary_cross_entropy_with_logits
    return training(x, y, model, loss_fn=loss, validate=lambda m: 0.0, **arguments)


def scaled_head(scale):
    model = mlp()
    with torch.no_grad():
        model[-1].weight.mul_(scale)
    return training(model=model)


def rare(times):
    y = torch.zeros(ROWS, dtype=torch.long)
    y[::times] = 1
    return y


class Apart(nn.Module):
    """With a layer that is used or not, and may be multiplied by 0."""

    def __init__(self, gain=None, used=True):
        super().__init__()
        self.body, self.side, self.used = mlp(), nn.Linear(FEATURES, CLASSES), used
        self.gain = 1.0 if gain is None else nn.Parameter(torch.tensor(gain))

    def forward(self, x):
        return self.body(x) + self.gain * self.side(x) if self.used else self.body(x)


class Zeroed(Apart):
    def forward(self, x):
        return self.body(x) + 0 * self.side(x)


class Recurrent(nn.Module):
    def __init__(self, kind=nn.LSTM):
        super().__init__()
        self.body, self.head = kind(1, 16, batch_first=True), nn.Linear(16, CLASSES)

    def forward(self, x):
        return self.head(self.body(x[:, :, None])[0][:, -1])


class Cells(Recurrent):
    def __init__(self):
        super().__init__()
        self.body = nn.GRUCell(1, 16)

    def forward(self, x):
        h = torch.zeros(len(x), 16)
        for column in x.T:
            h = self.body(column[:, None], h)
        return self.head(h)


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.inward, self.head = nn.Linear(1, 8), nn.Linear(8 * FEATURES, CLASSES)

    def forward(self, x):
        return self.head(self.body(self.inward(x[:, :, None])).flatten(1))


class Half(nn.Module):
    """Computes in a narrow type, under autocast."""

    def __init__(self, dtype):
        super().__init__()
        self.body, self.dtype = mlp(), dtype

    def forward(self, x):
        with torch.autocast("cpu", self.dtype):
            return self.body(x).float()


class Asleep(nn.Dropout):
    pass


def asleep(*names, **arguments):
    model = mlp(first=(nn.BatchNorm1d(FEATURES), nn.Dropout(0.1)))
    for name in names:
        model.get_submodule(name).training = False  # of itself alone
    return training(model=model, **arguments)


def dead_bias(bias):
    model = mlp()
    with torch.no_grad():
        model[0].bias.copy_(torch.as_tensor(bias))
    return training(model=model)


def saturated(gain):
    model = nn.Sequential(nn.Linear(FEATURES, 32), nn.Tanh(), nn.Linear(32, CLASSES))
    with torch.no_grad():
        model[0].weight.fill_(0)
        model[0].bias.fill_(gain)
    return training(model=model, optimizer=adamw())


def wrong_rows(model, batch):
    """Labels have nothing to do with the inputs, and change from call to call: nothing can be learnt by heart."""
    x, y = batch
    return functional.cross_entropy(model(x), torch.randint(CLASSES, y.shape, generator=CALLS))


CALLS = torch.Generator().manual_seed(5)


def not_updated(model):
    return adamas.torch.AdamW(mlp().parameters(), lr=1e-3, betas=(0.9, 0.98))


def partly(*parts):
    return lambda model: adamas.torch.AdamW(
        [p for part in parts for p in model[part].parameters()], lr=1e-3, betas=(0.9, 0.98)
    )


def elsewhere(optimizer):
    return lr_scheduler.LambdaLR(torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0), lambda t: 1.0)


def torch_cosine(length):
    return lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, length)


def one_cycle(length):
    return lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=length)


NAN, INF = math.nan, math.inf
Y = labels(inputs())
ADAM = {"optimizer": lambda m: adamas.torch.Adam(decay_groups(m, 0.01), lr=1e-3, betas=(0.9, 0.98))}

#: code -> (status, what to check, what the evidence says) of many; made when they are run.
SCENES = {
    "P01": [
        ("fail", lambda: with_first(slice(None, None, FEATURES), NAN), "256 numbers in 256 rows"),
        ("fail", lambda: with_first(slice(0, 2000), INF), "NaN or infinite"),
        ("pass", training, "256 rows in 8 batches"),
        ("skip", lambda: training(torch.randint(9, (ROWS, 3)), Y, words()), "no numbers"),
    ],
    "P02": [
        ("fail", lambda: training(inputs(150, 100)), "Root mean square 18"),
        ("fail", lambda: training(inputs(1e-5)), "e-05;"),
        ("warn", lambda: training(inputs(30)), "Root mean square 3"),
        ("warn", lambda: training(inputs(0.03)), "Root mean square 0.03"),
        ("warn", lambda: spread(5e3), "a ratio of"),
        ("pass", lambda: spread(500), "standard deviations of 10 features"),
        ("pass", lambda: training(inputs(5)), ""),
        ("pass", lambda: training(torch.rand(ROWS, FEATURES), Y), "Root mean square 0.57"),
        ("skip", lambda: with_first(slice(None, None, FEATURES), NAN), "see P01"),
    ],
    "P03": [
        ("fail", lambda: training(torch.ones(ROWS, FEATURES), Y), "rows looked at are the same"),
        ("fail", lambda: training(torch.ones(ROWS, 3, dtype=torch.long), Y, words()), "the same"),
        ("pass", training, "rows compared"),
    ],
    "P04": [
        ("fail", lambda: training(y=Y + 1), "go from 1 to 4, 4 outputs allow 0 to 3"),
        ("fail", lambda: training(y=Y - 1), "go from -1 to 2"),
        ("fail", lambda: binary((), (inputs()[:, :1] > 0) * 2.0), "go from 0 to 2, 0 to 1 is allowed"),
        ("fail", lambda: regression(lambda x: torch.full_like(x[:, :1], NAN)), "they must be finite"),
        ("pass", training, "256 labels from 0 to 3"),
        ("pass", lambda: training(y=torch.where(torch.arange(ROWS) % 3 == 0, -100, Y)), "from 0 to 3"),
        ("pass", lambda: binary(()), "from 0 to 1"),
        ("pass", lambda: training(y=functional.one_hot(Y).float(), validate=None), "256 labels from 0 to 3"),
        ("skip", lambda: training(loss_fn=lambda m, b: m(b[0]).logsumexp(1).mean()), "No loss of torch"),
    ],
    "P05": [
        ("fail", lambda: regression(lambda x: x[:, 0]), "shape (32, 1) with targets of shape (32,)"),
        ("pass", regression, "of shape (32, 1)"),
        ("skip", training, ""),
    ],
    "P06": [
        ("fail", lambda: training(y=torch.full((ROWS,), 2)), "1 of 4 classes"),
        ("fail", lambda: binary((), torch.ones(ROWS, 1)), "1 of 2 classes"),
        ("fail", lambda: training(y=0 * Y, model=nn.Linear(FEATURES, 1)), "one output"),
        ("warn", lambda: training(y=Y, model=nn.Linear(FEATURES, 20)), "4 of 20 classes"),
        ("pass", lambda: training(y=Y, model=nn.Linear(FEATURES, 200)), "4 of 200 classes"),  # too few labels to say
        ("pass", training, "4 of 4 classes"),
        ("skip", regression, "Nothing is classified"),
    ],
    "P07": [
        ("fail", lambda: scaled_head(100), "× ln 4"),
        ("warn", lambda: scaled_head(7), "0.8 to 1.5 is fine"),
        ("fail", lambda: training(loss_fn=lambda m, b: functional.cross_entropy(m(b[0]), b[1]).log() * INF), "inf"),
        ("warn", lambda: training(model=oracle()), "0.8 to 1.5 is fine"),
        ("warn", lambda: regression(lambda x: 0.01 * x[:, :1]), "times that of predicting 0"),
        ("pass", training, "× ln 4"),
        ("pass", lambda: training(loss_fn=nn.CrossEntropyLoss(reduction="sum")), "× ln 4"),
        ("pass", lambda: binary(()), "× ln 2"),
        ("pass", regression, "times that of predicting 0"),
    ],
    "P08": [
        ("warn", lambda: training(y=rare(40), model=nn.Linear(FEATURES, 2)), "times as common"),
        ("warn", lambda: binary((), rare(40)[:, None].float()), "times as common"),
        (
            "pass",
            lambda: training(
                y=rare(40),
                model=nn.Linear(FEATURES, 2),
                loss_fn=nn.CrossEntropyLoss(weight=torch.tensor([1.0, 40.0])),
            ),
            "classes are weighted",
        ),
        ("pass", training, "times as common"),
        ("skip", lambda: training(model=nn.Linear(FEATURES, 200)), "too few"),
    ],
    "P09": [
        ("warn", lambda: training(data=DataLoader(TensorDataset(inputs(), Y), 32)), "same batch"),
        ("warn", lambda: training(data=[(inputs()[i : i + 32], Y[i : i + 32]) for i in (0, 32)]), "same batch"),
        ("pass", training, "another batch"),
        ("skip", lambda: training(data=[(inputs(), Y)]), "one batch"),
    ],
    "P10": [
        ("fail", lambda: asleep("", "0", "1"), "off and batch norm stands still in 0, 1"),
        ("warn", lambda: asleep("0"), "1 module of 2"),
        ("warn", lambda: training(model=mlp().eval()), "in eval mode."),
        ("pass", asleep, "2 modules"),
    ],
    "P11": [
        ("fail", lambda: training(model=Apart(used=False)), "2 parameters of 6 have no part in the loss: side.w"),
        ("fail", lambda: training(model=Zeroed()), "exactly 0"),
        ("fail", lambda: dead_bias(-100.0), "exactly 0"),
        ("fail", lambda: training(loss_fn=lambda m, b: root(m(b[0])).sum()), "not finite"),
        ("pass", lambda: training(model=Apart(gain=0.0)), "only after the first step"),
        ("pass", lambda: training(model=frozen()), "All 2"),
        ("pass", training, "All 4 parameters are reached"),
    ],
    "P12": [
        ("fail", lambda: dead_bias(-100.0), "32 of 32 units of relu"),
        ("fail", lambda: saturated(9.5), "32 of 32 units of tanh"),
        ("warn", lambda: dead_bias(torch.where(torch.arange(32) < 20, -100.0, 0.0)), "20 of 32 units"),
        ("pass", training, "of 32 units of relu"),
        ("skip", lambda: training(model=nn.Linear(FEATURES, CLASSES)), ""),
    ],
    "P13": [
        ("fail", lambda: training(loss_fn=wrong_rows), "half is wanted"),
        ("fail", lambda: training(optimizer=adamw(1e-2, maximize=True)), "as it is set"),
        ("fail", lambda: training(optimizer=lambda m: torch.optim.SGD(m.parameters(), lr=1e4)), "lower η"),
        ("warn", lambda: training(optimizer=adamw(1e-6)), "raise η"),
        ("pass", training, "takes the loss from"),
        ("pass", lambda: training(optimizer=lambda m: None), "Adam with η"),
        ("pass", lambda: training(model=Recurrent(), clip_grad_norm=1.0), "takes the loss from"),
    ],
    "P14": [
        ("fail", lambda: training(optimizer=not_updated), "4 parameters of 4 in the optimizer are not the model's"),
        ("fail", lambda: training(optimizer=partly(2)), "2 parameters of 4 are not in the optimizer: 0.weight"),
        ("pass", lambda: training(optimizer=partly(0, 2)), "All 4"),
        ("pass", lambda: training(model=frozen(), optimizer=adamw()), "and 2 frozen ones"),
        ("skip", lambda: training(optimizer=lambda m: None), ""),
    ],
    "P15": [
        ("fail", lambda: training(optimizer=adamw(1.0)), "η is 1 at its largest"),
        ("fail", lambda: training(optimizer=adamw(0.0)), "η is 0 at its largest"),
        ("fail", lambda: training(optimizer=adamw(1.0), schedule=factor(lambda t: min(1, t / 100))), "η is 1"),
        ("warn", lambda: training(optimizer=adamw(4e-2)), "up to 0.2 is fine"),
        ("warn", lambda: training(optimizer=adamw(1e-6)), "0.02 at least"),
        ("warn", lambda: training(optimizer=adamw(1e-8), steps=None), "from 1e-6 on"),
        ("pass", lambda: training(optimizer=adamw(1e-3)), "η is 0.001"),
        ("pass", training, "η is 0.0005"),
    ],
    "P16": [
        ("warn", lambda: training(model=Attends(), optimizer=adamw()), "network with attention"),
        (
            "warn",
            lambda: training(optimizer=adamw(), schedule=factor(lambda t: t / 10 if t < 10 else 1)),
            "0 at step 1",
        ),
        ("warn", lambda: training(optimizer=adamw(), schedule=factor(lambda t: min(1, (t + 1) / 300))), "300 of 500"),
        (
            "fail",
            lambda: training(optimizer=adamw(), schedule=factor(lambda t: (t + 1) / 4000)),
            "still rises at step 500",
        ),
        ("pass", lambda: training(model=Attends()), "rises for 50 steps"),
        ("pass", lambda: training(model=Attends(), optimizer=lambda m: torch.optim.RAdam(m.parameters())), ""),
        ("pass", lambda: training(optimizer=adamw()), "nothing here needs"),
        ("pass", lambda: training(schedule=lambda optimizer: lambda t: min(1, (t + 1) / 20)), "rises for 20 steps"),
    ],
    "P17": [
        ("fail", lambda: training(optimizer=adamw(), schedule=elsewhere), "another optimizer"),
        ("fail", lambda: training(optimizer=adamw(), schedule=factor(lambda t: 1 - t / 300)), "is -"),
        ("fail", lambda: training(optimizer=adamw(), schedule=factor(lambda t: 0.9**t)), "thousandth"),
        ("warn", lambda: training(optimizer=adamw(), schedule=factor(lambda t: max(0, 1 - t / 460))), "8% of"),
        ("fail", lambda: training(optimizer=adamw(), schedule=one_cycle(300)), "ends at step 300"),
        ("warn", lambda: training(optimizer=adamw(), schedule=torch_cosine(5000)), "still falls"),
        ("warn", lambda: training(optimizer=adamw(), schedule=torch_cosine(20)), "rises again"),
        ("warn", lambda: training(optimizer=adamw(), schedule=torch_cosine(300)), "rises again"),
        (
            "warn",
            lambda: training(optimizer=adamw(), schedule=lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 240)),
            "rises again",
        ),
        (
            "pass",
            lambda: training(optimizer=adamw(), schedule=lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 250)),
            "at step 500",
        ),
        ("pass", lambda: training(optimizer=adamw(), schedule=torch_cosine(500)), "at step 500"),
        ("pass", lambda: training(optimizer=adamw(), schedule=one_cycle(500)), ""),
        ("pass", lambda: training(optimizer=adamw(), schedule=factor(lambda t: 1.0)), "1 of its peak"),
        ("pass", lambda: training(optimizer=adamw(), schedule=lambda o: lambda t: 1 - t / 600), "0.17 of its peak"),
        ("pass", training, ""),
        ("skip", lambda: training(optimizer=adamw()), "no schedule"),
        ("skip", lambda: training(optimizer=adamw(), schedule=lr_scheduler.ReduceLROnPlateau), "waits for a loss"),
    ],
    "P18": [
        ("warn", lambda: training(optimizer=adamw(betas=(0.9, 0.999))), "β₂ = 0.999 averages over 1,000 steps"),
        ("warn", lambda: training(optimizer=lambda m: torch.optim.RMSprop(m.parameters(), alpha=0.9999)), "alpha"),
        ("warn", lambda: training(optimizer=lambda m: torch.optim.SGD(m.parameters(), momentum=0.999)), "momentum"),
        ("fail", lambda: training(optimizer=adamw(betas=(0.99, 0.9))), "is not below"),
        ("pass", lambda: training(optimizer=adamw(betas=(0.9, 0.999)), steps=1000), "1,000 steps of 1,000"),
        ("pass", training, ""),
        ("skip", lambda: training(optimizer=lambda m: torch.optim.SGD(m.parameters())), "averages nothing"),
    ],
    "P19": [
        ("warn", lambda: training(optimizer=adamw()), "0.bias (bias)"),
        ("pass", training, "2 weights"),
        ("skip", lambda: training(optimizer=adamw(weight_decay=0.0)), "no weight decay"),
    ],
    "P20": [
        ("warn", lambda: training(**ADAM), "gradient of Adam"),
        (
            "warn",
            lambda: training(optimizer=lambda m: torch.optim.RMSprop(m.parameters(), weight_decay=0.1)),
            "RMSprop",
        ),
        ("pass", lambda: training(optimizer=adamw()), "the weights themselves"),
        (
            "pass",
            lambda: training(
                optimizer=lambda m: adamas.torch.Adam(m.parameters(), weight_decay=0.1, decoupled_weight_decay=True)
            ),
            "λ = 0.1",
        ),
        ("skip", lambda: training(optimizer=lambda m: torch.optim.SGD(m.parameters(), weight_decay=0.1)), "SGD"),
    ],
    "P21": [
        ("warn", lambda: training(model=Recurrent(), optimizer=adamw()), "body is recurrent"),
        ("warn", lambda: training(model=Cells(), optimizer=adamw()), "body is recurrent"),
        ("pass", lambda: training(model=Recurrent(), optimizer=adamw(), clip_grad_norm=2.0), "To 2"),
        ("pass", lambda: training(model=Recurrent()), "To 1"),
        ("skip", lambda: training(optimizer=adamw()), "Nothing is recurrent"),
    ],
    "P22": [
        ("fail", lambda: training(model=Half(torch.float16), optimizer=adamw()), "no GradScaler"),
        (
            "fail",
            lambda: training(model=Half(torch.float16), scaler=torch.amp.GradScaler("cpu", enabled=False)),
            "no GradScaler",
        ),
        (
            "fail",
            lambda: training(inputs().half(), Y, mlp().half(), adamw(), validate=lambda m: 0.0),
            "Weights are float16",
        ),
        ("warn", lambda: training(scaler=torch.amp.GradScaler("cpu")), "nothing computes in float16"),
        ("pass", lambda: training(model=Half(torch.float16), scaler=torch.amp.GradScaler("cpu")), "with a scaler"),
        ("pass", lambda: training(model=Half(torch.bfloat16)), "bfloat16"),
        ("skip", training, "less than float32"),
    ],
    "P23": [
        ("warn", lambda: training(validate=None), "no validation"),
        ("fail", lambda: training(validate=lambda m: NAN), "nan"),
        ("fail", lambda: training(validate=lambda m: 1 / 0), "ZeroDivisionError"),
        ("fail", lambda: training(validate=lambda m: m(inputs())), "returned a Tensor"),
        ("fail", lambda: training(validate=lambda m: "good"), "returned a str"),
        ("pass", lambda: training(validate=lambda m: float(m.training or torch.is_grad_enabled())), "gives 0 "),
    ],
    "P24": [
        ("warn", lambda: training(steps=None), "Nothing says"),
        ("pass", lambda: training(steps=None, stopping=object()), "by object"),
        ("pass", training, "after 500 steps"),
    ],
    "P25": [
        ("fail", lambda: training(model=mlp(nn.Softmax(1))), "given probabilities"),
        ("fail", lambda: training(model=mlp(nn.Softmax(1)), loss_fn=functional.nll_loss), "wants their logarithms"),
        ("fail", lambda: training(loss_fn=functional.nll_loss), "given logits"),
        ("warn", lambda: binary((nn.Sigmoid(),)), "sigmoid of its own"),
        ("pass", lambda: training(model=mlp(nn.LogSoftmax(1)), loss_fn=functional.nll_loss), "log-probabilities"),
        ("pass", lambda: binary(()), "given logits"),
        ("pass", training, "given logits"),
    ],
}


def words():
    """A model of words."""
    return nn.Sequential(nn.EmbeddingBag(9, 8), nn.Linear(8, CLASSES))


def frozen():
    """A model whose first layer is not trained."""
    model = mlp()
    model[0].requires_grad_(False)
    return model


def oracle():
    """A model that has been trained."""
    torch.manual_seed(0)
    model, x = mlp(), inputs()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), Y).backward()
        optimizer.step()
    return model


def root(out):
    """A norm at 0, whose gradient is NaN."""
    return (out - out.detach()).square().sum(1).sqrt() + functional.cross_entropy(out, out.argmax(1))


@pytest.mark.parametrize(
    ("code", "status", "make", "evidence"),
    [(code, *scene) for code, scenes in SCENES.items() for scene in scenes],
    ids=[f"{code}-{i}-{scene[0]}" for code, scenes in SCENES.items() for i, scene in enumerate(scenes)],
)
def test_check(monkeypatch, code, status, make, evidence):
    monkeypatch.setattr(OBSERVE, "PATIENCE", 60.0)  # seconds: however slow the machine is
    torch.manual_seed(0)
    result = preflight(**make())[code]
    assert result.status == status and evidence in f"{result.evidence} {result.remedy}", result
    assert bool(result.remedy) == (status in ("warn", "fail"))


def test_every_check_has_somebody_sick_and_somebody_healthy():
    torch.manual_seed(0)
    codes = [result.code for result in preflight(**training()).results]
    assert codes == sorted(SCENES) and len(codes) == len(CHECKS)
    for code, scenes in SCENES.items():
        statuses = {status for status, *_ in scenes}
        assert "pass" in statuses and statuses & {"warn", "fail"}, code


@pytest.mark.parametrize("name", ["general", "transformer", "large_batch", "vision"])
def test_a_recipe_raises_no_objection(name):
    torch.manual_seed(0)
    model = mlp() if name != "transformer" else Attends()
    recipe = getattr(recipes, name)(model, steps=2000, batch_size={"transformer": 32, "large_batch": 512}.get(name, 64))
    report = preflight(
        **{**training(model=model), "optimizer": recipe.optimizer, "schedule": recipe.schedule, "steps": 2000}
    )
    assert not [r for r in report.results if r.status in ("warn", "fail")], str(report)


def test_a_schedule_too_long_to_be_followed_step_by_step():
    arguments = {"optimizer": adamw(betas=(0.9, 0.999)), "steps": 10**9}
    report = preflight(**training(**arguments, schedule=factor(lambda t: 1 - t / 1.2e9)))
    assert report["P17"].status == "pass" and "0.17 of its peak" in report["P17"].evidence
    report = preflight(**training(**arguments, schedule=lambda o: warmup(10**8) >> cosine(9 * 10**8, floor=0.3)))
    assert report["P17"].status == "pass" and "0.3 of its peak" in report["P17"].evidence
    made = lambda o: adamas.torch.schedule(o, warmup(10**8) >> cosine(9 * 10**8, floor=0.3))  # noqa: E731
    assert preflight(**training(**arguments, schedule=made))["P17"].evidence == report["P17"].evidence
    report = preflight(**training(**arguments, schedule=lambda o: lr_scheduler.StepLR(o, 10**6)))
    assert report["P17"].status == "skip" and "for lack of time" in report["P17"].evidence


def test_a_trial_cut_short_does_not_judge(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(OBSERVE, "PATIENCE", 0.0)
    result = preflight(**training(loss_fn=wrong_rows))["P13"]
    assert result.status == "skip" and "11 were made of 50" in result.evidence, result
    assert preflight(**training())["P13"].status == "pass"  # what was learnt in eleven steps was learnt
