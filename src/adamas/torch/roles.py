"""Which parameters of a module weight decay should leave alone."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from adamas.errors import InputError, InputTypeError

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)  # pyright: ignore[reportPrivateUsage]
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
#: Whose parameters are weights, whatever their shape, but for the biases.
_WEIGHTED = (
    *(nn.Linear, nn.Bilinear, nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase),
    nn.modules.conv._ConvNd,  # pyright: ignore[reportPrivateUsage]
)

#: What a parameter can be. Only a weight should decay.
KINDS = ("weight", "bias", "norm", "embedding", "vector")


@dataclass(frozen=True, eq=False)
class Role:
    """What a parameter is to the module that has it.

    Attributes:
        names: every name it goes by; more than one where it is tied.
        param: the parameter.
        kind: one of `KINDS`; "vector" is what an unknown module has of one dimension, other than dimensions of 1.
    """

    names: tuple[str, ...]
    param: nn.Parameter
    kind: str

    @property
    def decays(self) -> bool:
        return self.kind == "weight"


def roles(model: nn.Module, frozen: bool = False) -> list[Role]:
    """The parameters of a module that require a gradient, in its order, each once; with ``frozen``, the others too.

    A tied parameter that has a role which should not decay has that one.

    Raises:
        InputError: where a lazy module has no shape yet.

    >>> model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 3), nn.LayerNorm(3))
    >>> [(role.names[0], role.kind) for role in roles(model)]
    [('0.weight', 'embedding'), ('1.weight', 'weight'), ('1.bias', 'bias'), ('2.weight', 'norm'), ('2.bias', 'norm')]
    """
    if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputTypeError(f"The model is a {type(model).__name__}: it must be a torch.nn.Module.")
    found: dict[int, tuple[list[str], nn.Parameter, list[str]]] = {}
    for prefix, module in model.named_modules():
        for name, param in module.named_parameters(recurse=False, remove_duplicate=False):
            full = f"{prefix}.{name}" if prefix else name
            if isinstance(param, nn.parameter.UninitializedParameter):
                raise InputError(f"Parameter {full} has no shape yet: run one batch through the model first.")
            if frozen or param.requires_grad:
                names, _, kinds = found.setdefault(id(param), ([], param, []))
                names.append(full)
                kinds.append(_kind(module, name, param))
    return [Role(tuple(names), p, max(kinds, key=KINDS.index)) for names, p, kinds in found.values()]


def _kind(module: nn.Module, name: str, param: torch.Tensor) -> str:
    if isinstance(module, NORMS):
        return "norm"
    if isinstance(module, _EMBEDDINGS):
        return "embedding"
    if "bias" in name.split("_"):
        return "bias"
    if isinstance(module, _WEIGHTED):
        return "weight"
    return "vector" if sum(size > 1 for size in param.shape) <= 1 else "weight"


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimizer: weights with decay; biases, norms, embeddings and other vectors without.

    Biases, scales and shifts are few, and to draw them to 0 takes freedom away without holding the function down (Jia
    et al. 2018; He et al. 2019, §3.1). A row of an embedding would decay at each step that leaves it out.

    Args:
        model: what is to be trained. Frozen parameters are left out, tied ones come once.
        weight_decay: λ of the first group.

    Raises:
        InputError: where nothing requires a gradient.

    >>> [len(group["params"]) for group in decay_groups(nn.Linear(3, 1), 0.01)]
    [1, 1]
    """
    known = roles(model)
    if not known:
        raise InputError(
            f"{type(model).__name__} has no parameter that requires a gradient: there is nothing to train."
        )
    decayed = [role.param for role in known if role.decays]
    others = [role.param for role in known if not role.decays]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
