"""The lines that put the winner into somebody's own training loop."""

from typing import Literal

from adamas.race.entrants import Entrant, is_rule

_TORCH = """\
{imports}

opt = {make}(model.parameters(), lr={lr:g})
for batch in batches:
    opt.zero_grad()
    loss(model, batch).backward()
    opt.step()
"""

_MUON = """\
import torch

matrices = [p for p in model.parameters() if p.ndim == 2]
others = [p for p in model.parameters() if p.ndim != 2]
opts = [torch.optim.Muon(matrices, lr={lr:g}), torch.optim.AdamW(others, lr={lr:g})]
for batch in batches:
    model.zero_grad()
    loss(model, batch).backward()
    for opt in opts:
        opt.step()
"""

_NUMPY = """\
{imports}

opt = {make}(params, lr={lr:g})  # an array, a list or a dict of arrays
for batch in batches:
    opt.step(gradient(params, batch))  # params change in place
"""


def snippet(entrant: Entrant, lr: float, front: Literal["numpy", "torch"]) -> str:
    """Python for a loop in torch or NumPy, as the problem was; a torch optimizer always gets a torch loop."""
    thing = entrant.load()
    if not is_rule(thing):
        if entrant.name == "torch.optim.Muon":
            return _MUON.format(lr=lr)
        if entrant.file is not None:
            imports, make = f"from {entrant.file.stem} import {entrant.label}", entrant.label
        else:
            imports, make = f"import {entrant.name.rpartition('.')[0]}", entrant.name
        return _TORCH.format(imports=imports, make=make, lr=lr)
    imports, rule = f"from adamas.{front} import optimizer", repr(entrant.name).replace("'", '"')
    if entrant.file is not None:
        imports, rule = f"{imports}\nfrom {entrant.file.stem} import {entrant.label}", entrant.label
    loop = _TORCH if front == "torch" else _NUMPY
    return loop.format(imports=imports, make=f"optimizer({rule})", lr=lr)
