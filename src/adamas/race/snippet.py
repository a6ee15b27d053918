"""The lines that put the winner into somebody's own training loop."""

from typing import Literal

from adamas.race.entrants import Entrant, is_rule

_TORCH = """\
{imports}

optimizer = {make}(model.parameters(), lr={lr:g})
for batch in batches:
    optimizer.zero_grad()
    loss(model, batch).backward()
    optimizer.step()
"""

_MUON = """\
import torch

matrices = [p for p in model.parameters() if p.ndim == 2]
others = [p for p in model.parameters() if p.ndim != 2]
optimizers = [torch.optim.Muon(matrices, lr={lr:g}), torch.optim.AdamW(others, lr={lr:g})]
for batch in batches:
    model.zero_grad()
    loss(model, batch).backward()
    for optimizer in optimizers:
        optimizer.step()
"""

_NUMPY = """\
{imports}

optimizer = {make}(params, lr={lr:g})  # an array, a list or a dict of arrays
for batch in batches:
    optimizer.step(gradient(params, batch))  # params change in place
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
    imports = f"import adamas\nfrom adamas.{front} import optimizer as optimizer_of"
    rule = f'adamas.rules()["{entrant.name}"]'
    if entrant.file is not None:
        imports = f"from adamas.{front} import optimizer as optimizer_of"
        imports += f"\nfrom {entrant.file.stem} import {entrant.label}"
        rule = entrant.label
    loop = _TORCH if front == "torch" else _NUMPY
    return loop.format(imports=imports, make=f"optimizer_of({rule})", lr=lr)
