"""One row per rule and set of options: what every conformance test walks.

A row names a registered rule, the options it is run with, and the oracle in `tests.reference.textbook` that says
what must come out. ``torch`` names the class of torch.optim that knows the same rule, where there is one.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """A rule under some options."""

    rule: str
    options: dict[str, Any] = field(default_factory=dict)
    oracle: str = ""
    fixed: dict[str, Any] = field(default_factory=dict)  # what the oracle must be told beside the options
    torch: str = ""
    continuous: bool = True  # whether a rounding error stays one: not so for a sign

    @property
    def name(self) -> str:
        options = ",".join(f"{k}={v}" for k, v in self.options.items())
        return f"{self.rule}({options})"

    @property
    def told(self) -> dict[str, Any]:
        """Options for the oracle."""
        return {**self.fixed, **self.options}


DECAY = {"weight_decay": 0.01}
DECOUPLED = {"weight_decay": 0.01, "decoupled": True}
AFTER = {"weight_decay": 0.01, "decoupled": True, "decay_after": True}
UP = {"maximize": True, "weight_decay": 0.02}

CASES = [
    Case("sgd", torch="SGD"),
    Case("sgd", DECAY, torch="SGD"),
    Case("sgd", {"momentum": 0.9, "dampening": 0.3, **UP}, torch="SGD"),
    Case("sgd", {"momentum": 0.9, "momentum_form": "velocity", **DECOUPLED}),
    Case("sgd", {"momentum": 0.8, "momentum_form": "velocity", "nesterov": True}),
    Case("sgd", {"momentum": 0.5, **AFTER}),
    Case("momentum", oracle="sgd", fixed={"momentum": 0.9}),
    Case("nesterov", oracle="sgd", fixed={"momentum": 0.9, "nesterov": True}),
    Case("adagrad", torch="Adagrad"),
    Case("adagrad", {"lr_decay": 0.01, "initial_accumulator_value": 0.1, **UP}, torch="Adagrad"),
    Case("adagrad", {"eps": 1e-4, "eps_root": 1e-5, **DECOUPLED}),
    Case("rmsprop", torch="RMSprop"),
    Case("rmsprop", {"centered": True, "momentum": 0.9, "alpha": 0.95, **DECAY}, torch="RMSprop"),
    Case("rmsprop", {"momentum": 0.7, "eps": 1e-5, "eps_root": 1e-6, "maximize": True}),
    Case("rmsprop", {"centered": True, **AFTER}),
    Case("adam", torch="Adam"),
    Case("adam", DECAY, torch="Adam"),
    Case("adam", {"amsgrad": True, **UP}, torch="Adam"),
    Case("adam", {"betas": (0.8, 0.99), "eps": 1e-5, "eps_root": 1e-7, "lr": 0.02}),
    Case("adam", {"betas": (0.0, 0.9), **AFTER}),
    Case("amsgrad", oracle="adam", fixed={"amsgrad": True}),
    Case("adamw", torch="AdamW"),
    Case("adamw", {"amsgrad": True, "lr": 0.01, "weight_decay": 0.1}, torch="AdamW"),
    Case("adamw", {"decay_after": True, "maximize": True}),
    Case("sparse_adam", torch="SparseAdam"),
    Case("sparse_adam", {"eps": 1e-3, "betas": (0.8, 0.95), **DECAY}),
    Case("sparse_adam", {"lr": 0.01, **AFTER}),
    Case("nadam", torch="NAdam"),
    Case("nadam", {"momentum_decay": 0.05, "betas": (0.95, 0.99), "eps_root": 1e-8, **DECAY}),
    Case("nadam", {"lr": 0.01, **DECOUPLED}),
    Case("radam", torch="RAdam"),
    Case("radam", {"betas": (0.8, 0.95), "eps_root": 1e-8, **UP}),
    Case("radam", {"betas": (0.9, 0.6), **AFTER}),
    Case("adamax", fixed={"eps_form": "paper"}),
    Case("adamax", {"eps_form": "torch", **DECAY}, torch="Adamax"),
    Case("adamax", {"eps_form": "paper", "betas": (0.7, 0.95), "eps": 1e-3, **DECOUPLED}),
    Case("lpadam", {"p": 1.0}),
    Case("lpadam", {"p": 2.0, **AFTER}),
    Case("lpadam", {"p": 3.5, **UP}),
    Case("lpadam", {"p": 1000.0}),
    Case("adabelief"),
    Case("adabelief", {"eps": 1e-8, "eps_root": 1e-10, **DECOUPLED}),
    Case("adabelief", {"betas": (0.7, 0.99), **UP}),
    Case("adopt"),
    Case("adopt", {"eps": 1e-3, **DECAY}),
    Case("adopt", {"betas": (0.8, 0.99), **AFTER}),
    Case("lion", continuous=False),
    Case("lion", {"betas": (0.95, 0.98), "weight_decay": 0.1, "maximize": True}, continuous=False),
    Case("lion", {"weight_decay": 0.1, "decoupled": False}, continuous=False),
]
