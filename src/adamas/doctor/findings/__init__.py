"""The findings, a file each. A new one is a file here with its `KIND`, and a section in docs/doctor.md."""

from importlib import import_module
from pkgutil import iter_modules

from adamas.doctor.diagnosis import Kind

#: All of them, by rank.
KINDS: list[Kind] = sorted(
    (import_module(f"{__name__}.{module.name}").KIND for module in iter_modules(__path__) if module.name != "remedies"),
    key=lambda kind: (kind.rank, kind.code),
)
