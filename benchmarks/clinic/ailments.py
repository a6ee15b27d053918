"""The ailments with their healthy twins, and runs that are healthy though they may not look it; four parts of each."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.clinic.tasks import Shape
from benchmarks.clinic.training import Outcome, Run

FLOOR = 0.02
"""Losses are told apart from this share of the loss of a guess on."""


@dataclass(frozen=True)
class Ailment:
    """Something that is wrong with a run.

    Args:
        twins: the healthy run, of each part.
        planted: what makes it ill, of each part.
        codes: findings that are the right diagnosis, by what they mean.
        settable: whether a setting of the run can cure it.
        measure: what ails: the loss on "training" rows or "held back" rows at the end, or a "jump" of the loss after
            the resume.
        sick: the run is ill if this loss is at least so many times that of its twin.
    """

    name: str
    twins: tuple[Run, ...]
    planted: tuple[Mapping[str, Any], ...]
    codes: set[str]
    settable: bool = True
    measure: str = "training"
    sick: float = 1.25

    def run(self, part: int) -> Run:
        return replace(self.twins[part], **self.planted[part])

    def measured(self, outcome: Outcome) -> float:
        if self.measure == "jump":
            at = self.twins[0].resume_at
            return max(outcome.losses[at : at + 10], default=math.inf)
        return outcome.training if self.measure == "training" else outcome.held_back

    def ratio(self, outcome: Outcome, twin: Outcome) -> float:
        """Its loss over the twin's."""
        return (self.measured(outcome) + FLOOR * twin.ignorance) / (self.measured(twin) + FLOOR * twin.ignorance)


MLP = Run("digits", Shape(), lr=3e-3)
CLUSTERS = Run("clusters", Shape(width=48), lr=3e-3, batch=48)
CNN = Run("digits", Shape("cnn", 8), lr=3e-3)
SHAPES = Run("shapes", Shape("cnn", 8), lr=1e-2)
RNN = Run("sums", Shape("rnn", 32, 1, "tanh"), lr=3e-3, clip_grad_norm=1.0)
GRU = Run("waves", Shape("gru", 24, 1), lr=5e-3, clip_grad_norm=1.0)
LETTERS = Run("argparse_text", Shape("transformer", 32, 2, norm="pre"), lr=5e-3, batch=16, steps=250)
OTHER_LETTERS = Run("doctest_text", Shape("transformer", 32, 2, norm="pre"), lr=5e-3, batch=16, steps=250)
BAG = Run("topics", Shape("bag", 16), lr=1e-2)
FACTORS = Run("ratings", Shape("factors", 6), lr=2e-2, batch=64)
BIOPSIES = Run("biopsies", Shape(width=32), lr=3e-3)
DIABETES = Run("diabetes", Shape(width=32, depth=1), lr=3e-3)
FRIEDMAN = Run("friedman", Shape(width=48), lr=5e-3)

SHELLS = Run("shells", Shape(width=40, depth=3, activation="gelu"), lr=4e-3, batch=40)
BALL = Run("ball", Shape(width=56, depth=3), lr=3e-3, batch=50)
GRATINGS = Run("gratings", Shape("cnn", 10, 3), lr=5e-3, batch=24)
IMPEDANCE = Run("impedance", Shape(width=36, activation="tanh"), lr=6e-3, batch=40)
ECHOES = Run("echoes", Shape("gru", 32, 1), lr=5e-3, clip_grad_norm=0.5)
WALKS = Run("walks", Shape("lstm", 20, 1), lr=8e-3, clip_grad_norm=1.0)
TEMPORAL = Run("walks", Shape("temporal", 16, 3), lr=5e-3, batch=40)
PROSE = Run("prose", Shape("transformer", 48, 3, norm="pre"), lr=3e-3, batch=12, steps=250)
GENRES = Run("genres", Shape("bag", 24), lr=8e-3, batch=48)
VISITS = Run("visits", Shape("factors", 5), lr=3e-2, batch=80)
RARE = Run("rare", Shape(width=32), lr=2e-3, batch=40)
RESIDUAL = Run("ball", Shape("residual", 32, 4, "silu"), lr=2e-3, batch=40)
IRIS = Run("iris", Shape(depth=0), lr=2e-2, batch=16, steps=200)

SPIRALS = Run("spirals", Shape(width=48, depth=3, activation="silu"), lr=4e-3, batch=48, steps=350)
ROLL = Run("roll", Shape(width=64, depth=2, activation="gelu"), lr=6e-3, batch=40)
PHASES = Run("phases", Shape(width=40), lr=4e-3, batch=32)
SPECIES = Run("species", Shape(width=56), lr=3e-3, batch=36)
FAULTS = Run("faults", Shape("residual", 20, 2, "gelu"), lr=1e-3, batch=64)
CLICKS = Run("clicks", Shape(width=24), lr=2e-3, batch=100, steps=200)
SEEDLINGS = Run("seedlings", Shape(width=16, depth=1), lr=1e-2, batch=12, steps=150)
CELLS = Run("cells", Shape("cnn", 12), lr=4e-3)
BLOCKS = Run("cells", Shape("resnet", 10, 2), lr=4e-3, steps=200)
TIDES = Run("tides", Shape("gru", 28, 1), lr=6e-3, clip_grad_norm=1.0)
BEATS = Run("beats", Shape("lstm", 24, 1), lr=1e-2, clip_grad_norm=1.0)
RHYTHM = Run("beats", Shape("temporal", 20, 3), lr=4e-3)
GAZE = Run("tides", Shape("attention", 24, 2, norm="pre"), lr=3e-3)
CODE = Run("tarfile_text", Shape("transformer", 40, 2, norm="pre"), lr=4e-3, batch=14, steps=250)
WRITERS = Run("letters", Shape("bag", 20), lr=1e-2, batch=40)
MATCHES = Run("matches", Shape("factors", 7), lr=2e-2, batch=72)
LADDER = Run("species", Shape("residual", 28, 3, "gelu"), lr=2e-3, batch=32)

POST = Shape("transformer", 32, 6, norm="post")
EXPLODING = Shape("rnn", 32, 1, "relu", gain=1.5)

AILMENTS: tuple[Ailment, ...] = (
    Ailment(
        "η too high",
        (MLP, SHAPES, RESIDUAL, GAZE),
        ({"lr": 0.3}, {"optimizer": "SGD", "lr": 1.5}, {"lr": 0.3}, {"lr": 0.2}),
        {"D201"},
    ),
    Ailment(
        "η too low", (MLP, GRU, TEMPORAL, CELLS), ({"lr": 1e-6}, {"lr": 3e-6}, {"lr": 2e-6}, {"lr": 3e-6}), {"D202"}
    ),
    Ailment(
        "no warm-up, post-norm transformer",
        (
            replace(LETTERS, shape=POST, warmup=80, lr=7e-3, steps=300, batch=8),
            replace(OTHER_LETTERS, shape=replace(POST, depth=5), warmup=90, lr=8e-3, steps=300, batch=8),
            replace(PROSE, shape=replace(POST, width=40, depth=6), warmup=80, lr=7e-3, steps=300, batch=8),
            replace(CODE, shape=replace(POST, width=40, depth=6), warmup=90, lr=6e-3, steps=400, batch=8),
        ),
        ({"warmup": 0}, {"warmup": 0}, {"warmup": 0}, {"warmup": 0}),
        {"D203"},
        sick=1.15,
    ),
    Ailment(
        "recurrent net explodes",
        (
            replace(RNN, shape=EXPLODING, optimizer="SGD", lr=0.03, steps=400),
            replace(GRU, shape=replace(EXPLODING, gain=2.0), optimizer="SGD", lr=0.03, steps=400),
            replace(ECHOES, shape=replace(EXPLODING, width=40, gain=2.0), optimizer="SGD", lr=0.03, steps=400),
            replace(BEATS, shape=replace(EXPLODING, width=36, gain=2.0), optimizer="SGD", lr=0.03, steps=400),
        ),
        ({"clip_grad_norm": None}, {"clip_grad_norm": None}, {"clip_grad_norm": None}, {"clip_grad_norm": None}),
        {"D105"},
    ),
    Ailment(
        "clipped far too low",
        (
            replace(MLP, optimizer="SGD", lr=0.03, clip_grad_norm=5.0),
            replace(SHAPES, optimizer="SGD", lr=0.03, clip_grad_norm=5.0),
            replace(RESIDUAL, optimizer="SGD", lr=0.03, clip_grad_norm=3.0),
            replace(SPECIES, optimizer="SGD", lr=0.05, clip_grad_norm=2.0),
        ),
        ({"clip_grad_norm": 1e-3}, {"clip_grad_norm": 1e-3}, {"clip_grad_norm": 5e-4}, {"clip_grad_norm": 1e-3}),
        {"D401"},
    ),
    Ailment(
        "coupled decay of 0.1 in Adam",
        tuple(replace(run, weight_decay=0.1) for run in (MLP, FRIEDMAN, BALL, SPIRALS)),
        4 * ({"decoupled": False},),
        {"D303"},
    ),
    Ailment(
        "ε = 10⁻³ on tiny gradients",
        (
            replace(MLP, loss_factor=1e-4),
            replace(FACTORS, loss_factor=1e-4),
            replace(IMPEDANCE, loss_factor=3e-5),
            replace(SPECIES, loss_factor=5e-5),
        ),
        4 * ({"eps": 1e-3},),
        {"D301"},
    ),
    Ailment(
        "β₂ = 0.9999 in 300 steps",
        (
            replace(MLP, shape=Shape(gain=5.0), betas=(0.9, 0.95)),
            replace(FRIEDMAN, shape=Shape(width=48, gain=6.0), betas=(0.9, 0.95), lr=1e-2),
            replace(IMPEDANCE, shape=Shape(width=36, gain=6.0), betas=(0.9, 0.95), lr=1e-2),
            replace(PHASES, shape=Shape(width=40, gain=6.0), betas=(0.9, 0.95), lr=1e-2),
        ),
        4 * ({"betas": (0.9, 0.9999)},),
        {"D302"},
    ),
    Ailment(
        "schedule ends after a tenth",
        (CNN, FRIEDMAN, TEMPORAL, RHYTHM),
        4 * ({"horizon": 0.1},),
        {"D204"},
    ),
    Ailment(
        "η never decays",
        (
            replace(CLUSTERS, lr=2e-2, batch=8, steps=600),
            replace(FACTORS, lr=0.07, batch=8, steps=800),
            replace(VISITS, lr=0.05, batch=8, steps=800),
            replace(SPECIES, lr=2e-2, batch=8, steps=600),
        ),
        4 * ({"decay": "none"},),
        {"D205"},
    ),
    Ailment(
        "log 0 in one batch",
        (MLP, SHAPES, SHELLS, BLOCKS),
        ({"log_of_zero": 100}, {"log_of_zero": 140}, {"log_of_zero": 75}, {"log_of_zero": 60}),
        {"D101"},
    ),
    Ailment(
        "float16 overflows",
        (
            replace(MLP, shape=Shape(norm="layer", boost=1e5), precision="bfloat16"),
            replace(CLUSTERS, shape=Shape(width=48, norm="layer", boost=3e5), precision="bfloat16"),
            replace(SHELLS, shape=Shape(width=40, depth=3, norm="layer", boost=2e5), precision="bfloat16"),
            replace(SPECIES, shape=Shape(width=56, norm="layer", boost=1e5), precision="bfloat16"),
        ),
        4 * ({"precision": "float16"},),
        {"D103", "D104"},
    ),
    Ailment(
        "labels shuffled",
        (MLP, CLUSTERS, GENRES, RHYTHM),
        4 * ({"shuffled": True},),
        {"D602"},
        settable=False,
        measure="held back",
    ),
    Ailment(
        "batch norm leaks the class of sorted batches",
        (
            replace(MLP, shape=Shape(norm="batch")),
            replace(SHAPES, shape=Shape("cnn", 8, norm="batch")),
            replace(GRATINGS, shape=Shape("cnn", 10, 3, norm="batch")),
            BLOCKS,
        ),
        4 * ({"order": "sorted"},),
        {"D603"},
        measure="held back",
    ),
    Ailment(
        "each mini-batch normalised by itself",
        tuple(replace(run, batch=8) for run in (MLP, CLUSTERS, SHELLS, SPIRALS)),
        4 * ({"alone": True},),
        {"D604"},
        measure="held back",
        sick=1.15,
    ),
    Ailment(
        "inputs times 1000",
        (
            replace(MLP, optimizer="SGD", lr=0.03),
            replace(FRIEDMAN, optimizer="SGD", lr=0.01),
            replace(GRATINGS, optimizer="SGD", lr=0.02),
            replace(CELLS, optimizer="SGD", lr=0.03),
        ),
        4 * ({"scaled": 1e3},),
        {"D601"},
    ),
    Ailment(
        "ReLUs dead by bias",
        (MLP, CNN, BALL, CELLS),
        (
            {"shape": Shape(shift=-10.0)},
            {"shape": Shape("cnn", 8, shift=-10.0)},
            {"shape": Shape(width=56, depth=3, shift=-8.0)},
            {"shape": Shape("cnn", 12, shift=-9.0)},
        ),
        {"D502"},
    ),
    Ailment(
        "sigmoids saturated",
        (
            replace(MLP, shape=Shape(activation="sigmoid"), lr=5e-3),
            replace(CLUSTERS, shape=Shape(width=48, activation="sigmoid"), lr=5e-3),
            replace(RARE, shape=Shape(width=40, activation="sigmoid"), lr=1e-2),
            replace(SPECIES, shape=Shape(width=56, activation="tanh")),
        ),
        (
            {"shape": Shape(activation="sigmoid", shift=15.0)},
            {"shape": Shape(width=48, activation="sigmoid", shift=-15.0)},
            {"shape": Shape(width=40, activation="sigmoid", shift=12.0)},
            {"shape": Shape(width=56, activation="tanh", shift=8.0)},
        ),
        {"D503"},
    ),
    Ailment(
        "gradients vanish with depth",
        (
            replace(MLP, shape=Shape(depth=12, norm="layer")),
            replace(CLUSTERS, shape=Shape(width=48, depth=12, norm="layer")),
            replace(BALL, shape=Shape(width=56, depth=10, norm="layer")),
            replace(SPECIES, shape=Shape(width=40, depth=11, norm="layer")),
        ),
        (
            {"shape": Shape(depth=12, activation="sigmoid")},
            {"shape": Shape(width=48, depth=12, activation="sigmoid")},
            {"shape": Shape(width=56, depth=10, activation="sigmoid")},
            {"shape": Shape(width=40, depth=11, activation="sigmoid")},
        ),
        {"D501"},
    ),
    Ailment(
        "a layer frozen",
        (CNN, GRU, GENRES, RHYTHM),
        ({"frozen": "1."}, {"frozen": "cell"}, {"frozen": "words"}, {"frozen": "layers"}),
        {"D505"},
    ),
    Ailment(
        "a layer left out of the optimizer",
        (BAG, CLUSTERS, WALKS, GAZE),
        ({"left_out": "words"}, {"left_out": "0."}, {"left_out": "cell"}, {"left_out": "blocks"}),
        {"D506"},
    ),
    Ailment(
        "a layer not reached by gradients",
        (CNN, CLUSTERS, BALL, SPIRALS),
        (
            {"shape": Shape("cnn", 8, detached=True)},
            {"shape": Shape(width=48, detached=True)},
            {"shape": Shape(width=56, depth=3, detached=True)},
            {"shape": replace(SPIRALS.shape, detached=True)},
        ),
        {"D504"},
        settable=False,
    ),
    Ailment(
        "moments lost at a resume",
        (
            replace(MLP, shape=Shape(gain=5.0), resume_at=250, lr=1e-2, decay="none"),
            replace(FRIEDMAN, shape=Shape(width=96, depth=4), resume_at=250, lr=1e-2, decay="none"),
            replace(SHELLS, shape=Shape(width=96, depth=4), resume_at=250, lr=1e-2, decay="none"),
            replace(ROLL, shape=Shape(width=96, depth=4), resume_at=250, lr=1e-2, decay="none"),
        ),
        4 * ({"moments": False},),
        {"D305"},
        measure="jump",
    ),
    Ailment(
        "gradients added up, not divided",
        (
            replace(MLP, optimizer="SGD", lr=0.05, accumulate=16, batch=8, steps=200),
            replace(CLUSTERS, optimizer="SGD", lr=0.1, accumulate=16, batch=8, steps=200),
            replace(BALL, optimizer="SGD", lr=0.2, accumulate=20, batch=8, steps=200),
            replace(SPECIES, optimizer="SGD", lr=0.1, accumulate=12, batch=10, steps=200),
        ),
        4 * ({"divided": False},),
        {"D606"},
    ),
    Ailment(
        "overfit",
        (
            replace(BIOPSIES, rows=60, noise=0.2, shape=Shape(width=256), steps=600, keep_best=True),
            replace(CLUSTERS, rows=150, shape=Shape(width=256), steps=400, keep_best=True),
            replace(BALL, rows=300, shape=Shape(width=200), steps=500, keep_best=True),
            replace(SPECIES, rows=200, noise=0.1, shape=Shape(width=200), steps=500, keep_best=True),
        ),
        4 * ({"keep_best": False},),
        {"D701"},
        measure="held back",
    ),
    Ailment(
        "underfit",
        (MLP, FRIEDMAN, SHELLS, SPIRALS),
        (
            {"shape": Shape(width=2)},
            {"shape": Shape(width=1)},
            {"shape": Shape(width=2, activation="gelu")},
            {"shape": Shape(width=2, activation="silu")},
        ),
        {"D702"},
    ),
    Ailment(
        "dropout on in evaluation",
        (
            replace(MLP, shape=Shape(dropout=0.5)),
            replace(SHAPES, shape=Shape("cnn", 8, dropout=0.5)),
            replace(BALL, shape=Shape(width=96, depth=3, dropout=0.3)),
            replace(SPECIES, shape=Shape(width=96, dropout=0.4)),
        ),
        4 * ({"evaluate_as": "train"},),
        {"D605"},
        measure="held back",
    ),
    Ailment(
        "order not shuffled",
        (MLP, SHAPES, GENRES, SPECIES),
        4 * ({"order": "sorted"},),
        {"D603"},
    ),
    Ailment(
        "AMSGrad stuck after a spike",
        (
            replace(MLP, spike_at=20, betas=(0.9, 0.9), steps=400),
            replace(CLUSTERS, spike_at=30, betas=(0.9, 0.9), steps=400),
            replace(SHELLS, spike_at=25, betas=(0.9, 0.9), steps=400),
            replace(SPECIES, spike_at=35, betas=(0.9, 0.9), steps=400),
        ),
        4 * ({"amsgrad": True},),
        {"D304"},
    ),
)
"""D102, divergence, is no right diagnosis of anything here: it says what happened and not why."""

HEALTHY: Mapping[str, tuple[Run | None, Run | None, Run | None, Run]] = {
    "MLP, AdamW, cosine": (MLP, CLUSTERS, SHELLS, SPIRALS),
    "small batches": (
        replace(MLP, batch=4, lr=1e-3, steps=800),
        replace(SHAPES, batch=4, lr=2e-3, steps=800),
        replace(BALL, batch=4, lr=1e-3, steps=900),
        replace(SPECIES, batch=4, lr=1e-3, steps=800),
    ),
    "transformer, warm-up, cosine to 0": (LETTERS, OTHER_LETTERS, PROSE, CODE),
    "cosine with restarts": (
        replace(CNN, decay="restarts"),
        replace(FRIEDMAN, decay="restarts", steps=400),
        replace(TEMPORAL, decay="restarts", steps=400),
        replace(ROLL, decay="restarts", steps=400),
    ),
    "fine-tuning with small updates": (
        replace(MLP, pretrain=150, lr=3e-4),
        replace(SHAPES, pretrain=150, lr=3e-4),
        replace(RESIDUAL, pretrain=200, lr=2e-4),
        replace(BLOCKS, pretrain=200, lr=2e-4),
    ),
    "SGD with momentum": (
        replace(CNN, optimizer="SGD", lr=0.05),
        replace(CLUSTERS, optimizer="SGD", lr=0.03),
        replace(GRATINGS, optimizer="SGD", lr=0.02),
        replace(PHASES, optimizer="SGD", lr=0.02),
    ),
    "sparse embedding": (
        replace(BAG, shape=Shape("bag", 16, sparse=True)),
        replace(FACTORS, shape=Shape("factors", 6, sparse=True)),
        replace(VISITS, shape=Shape("factors", 5, sparse=True)),
        replace(WRITERS, shape=Shape("bag", 20, sparse=True)),
    ),
    "a tenth of the labels wrong": (
        replace(MLP, noise=0.1, steps=200),
        replace(SHAPES, noise=0.1),
        replace(SHELLS, noise=0.1, steps=250),
        replace(SPECIES, noise=0.15, steps=250),
    ),
    "recurrent, clipped": (replace(RNN, shape=EXPLODING), GRU, ECHOES, TIDES),
    "dropout of a half": (
        replace(MLP, shape=Shape(width=128, dropout=0.5)),
        replace(SHAPES, shape=Shape("cnn", 12, dropout=0.5)),
        replace(BALL, shape=Shape(width=160, dropout=0.5)),
        replace(SPECIES, shape=Shape(width=128, dropout=0.5)),
    ),
    "noisy regression": (
        replace(DIABETES, weight_decay=0.1, steps=150),
        replace(FRIEDMAN, steps=250),
        Run("scattered", Shape(width=24, activation="tanh"), lr=2e-3, batch=40, steps=200),
        replace(PHASES, batch=16, lr=1e-3, steps=400),
    ),
    "logistic regression": (
        replace(BIOPSIES, shape=Shape(depth=0), lr=1e-2, steps=200),
        Run("wine", Shape(depth=0), lr=1e-2, steps=200),
        IRIS,
        replace(CLICKS, shape=Shape(depth=0), lr=1e-2),
    ),
    "batch norm": (
        replace(CNN, shape=Shape("cnn", 8, norm="batch")),
        replace(CLUSTERS, shape=Shape(width=48, norm="batch")),
        replace(GRATINGS, shape=Shape("cnn", 10, 3, norm="batch")),
        replace(CELLS, shape=Shape("cnn", 12, norm="batch")),
    ),
    "accumulation": (
        replace(MLP, accumulate=4, batch=8, steps=200),
        replace(OTHER_LETTERS, accumulate=2, batch=8, steps=200),
        replace(BALL, accumulate=3, batch=16, steps=250),
        replace(CELLS, accumulate=4, batch=8, steps=200),
    ),
    "float16 with a loss scale": (
        replace(MLP, precision="float16"),
        replace(SHAPES, precision="float16"),
        replace(SHELLS, precision="float16"),
        replace(SPECIES, precision="float16"),
    ),
    "resumed whole": (
        replace(MLP, resume_at=150),
        replace(FACTORS, resume_at=150),
        replace(WALKS, resume_at=120),
        replace(CODE, resume_at=150),
    ),
    "constant η": (
        replace(MLP, decay="none", lr=1e-3),
        replace(BAG, decay="none", lr=5e-3),
        replace(BALL, decay="none", lr=1e-3),
        replace(PHASES, decay="none", lr=1e-3),
    ),
    "Lion": (
        replace(MLP, optimizer="Lion", lr=1e-3, weight_decay=0.1),
        replace(CLUSTERS, optimizer="Lion", lr=1e-3),
        replace(RESIDUAL, optimizer="Lion", lr=3e-4, weight_decay=0.1),
        replace(LADDER, optimizer="Lion", lr=3e-4, weight_decay=0.1),
    ),
    "residual net, SiLU": (None, None, RESIDUAL, LADDER),
    "LSTM": (None, None, WALKS, BEATS),
    "convolution over time": (None, None, TEMPORAL, RHYTHM),
    "NAdam": (None, None, replace(BALL, optimizer="NAdam", lr=2e-3), replace(ROLL, optimizer="NAdam", lr=3e-3)),
    "RMSprop": (
        None,
        None,
        replace(GRATINGS, optimizer="RMSprop", lr=1e-3),
        replace(CELLS, optimizer="RMSprop", lr=1e-3),
    ),
    "Adagrad": (
        None,
        None,
        replace(GENRES, optimizer="Adagrad", lr=0.1),
        replace(WRITERS, optimizer="Adagrad", lr=0.1),
    ),
    "a rare class": (None, None, RARE, FAULTS),
    "all rows in each batch": (
        None,
        None,
        replace(IRIS, batch=120, steps=150),
        replace(SEEDLINGS, batch=96, lr=2e-2, steps=100),
    ),
    "few rows": (None, None, None, SEEDLINGS),
    "a weak signal": (None, None, None, CLICKS),
    "self-attention over a sequence": (None, None, None, GAZE),
    "residual CNN, batch norm": (None, None, None, BLOCKS),
    "SGD, η by tenths": (None, None, None, replace(CELLS, optimizer="SGD", lr=0.02, decay="tenths", steps=400)),
    "long warm-up, linear decay": (None, None, None, replace(LADDER, warmup=100, decay="linear")),
    "fine-tuning on other rows, constant η": (None, None, None, replace(CODE, pretrain=150, lr=5e-4, decay="none")),
    "resumed in a schedule's last fifth": (None, None, None, replace(PHASES, resume_at=250)),
    "AdaBelief": (None, None, None, replace(SPIRALS, optimizer="AdaBelief")),
    "RAdam": (None, None, None, replace(RHYTHM, optimizer="RAdam")),
    "Adamax": (None, None, None, replace(SPECIES, optimizer="Adamax", lr=5e-3)),
}
