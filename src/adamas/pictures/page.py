"""The page: one file that needs no network, and computes paths by the rules themselves, written as JavaScript."""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from itertools import product
from typing import Any

from adamas.dialect import names
from adamas.errors import InputError
from adamas.kernel import TINY, Kernel, select
from adamas.lowering import javascript
from adamas.pictures.ground import LEVELS, Ground
from adamas.pictures.scene import COLOURS, ON_DARK, Entry, Scene
from adamas.registry import AFTER, BEFORE

#: hyperparameter -> how it is called, and how its slider goes from low to high: "log", "decay" (evenly in the logarithm
#: of 1 − β), "even". What is not listed stands under "more".
SLIDERS: Mapping[str, tuple[str, str, float, float]] = {
    "lr": ("η", "log", 1e-5, 10.0),
    "betas[0]": ("β₁", "decay", 0.0, 0.9999),
    "betas[1]": ("β₂", "decay", 0.0, 0.9999),
    "momentum": ("momentum", "decay", 0.0, 0.999),
    "alpha": ("α", "decay", 0.0, 0.9999),
    "eps": ("ε", "log", 1e-16, 10.0),
    "weight_decay": ("λ", "log", 1e-6, 10.0),
    "p": ("p", "even", 1.0, 20.0),
}

#: What the names of a kernel are in the literature.
SYMBOLS = {
    **{"seen__": "g", "exp_avg": "m", "exp_avg_sq": "v", "m_hat": "m̂", "v_hat": "v̂", "root__": "√v̂"},
    **{"max_exp_avg_sq": "max v", "square_avg": "v", "sum": "s", "momentum_buffer": "b", "exp_inf": "u"},
    **{"exp_avg_var": "s", "s_hat": "ŝ", "exp_p": "u", "u_hat": "û", "grad_avg": "ḡ", "param": "θ"},
}


@dataclass
class _Kernels:
    """The kernels of a page, each once."""

    texts: list[str] = field(default_factory=list[str])
    told: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    known: dict[Kernel, int] = field(default_factory=dict[Kernel, int])

    def number(self, entry: Entry, hyper: Mapping[str, Any]) -> int:
        """Of the kernel for these hyperparameters."""
        kernel = select(entry.rule, hyper)
        if kernel not in self.known:
            program = kernel.program
            functions = javascript.host(program) + javascript.kernel(program, "float64", measured=True)
            self.known[kernel] = len(self.texts)
            self.texts.append(f"(() => {{\n{functions}return {{host, kernel}};\n}})()")
            self.told.append(
                {
                    "hyper": program.hyper,
                    "states": program.states,
                    "scalars": list(entry.rule.source.scalars.values()),
                    "step": program.step,
                    "coefficients": _coefficients(program.host, program.coefficients),
                }
            )
        return self.known[kernel]


def page(scene: Scene) -> str:
    """The text of an HTML file."""
    kernels = _Kernels()
    entries = [_entry(e, kernels, scene.hypers[0][k]) for k, e in enumerate(scene.entries)]
    told = {
        "entries": entries,
        "surfaces": [
            {
                "name": s.name,
                "formula": repr(s.function),
                "moves": s.function.moves,
                "domain": s.domain,
                "minima": s.minima,
                "lowest": s.lowest if s.minima else None,
                "starts": scene.starts_on(s),
                "noise": scene.noise_on(s),
                "ground": vars(Ground.of(s)),
            }
            for s in scene.surfaces
        ],
        "panels": [
            {"surface": scene.surfaces.index(p.surface), "title": p.title, "hypers": [dict(h) for h in hypers]}
            for p, hypers in zip(scene.panels, scene.hypers, strict=True)
        ],
        "kernels": kernels.told,
        "symbols": SYMBOLS,
        "colours": COLOURS,
        "onDark": ON_DARK,
        "steps": scene.steps,
        "seed": scene.seed,
        "levels": LEVELS,
        "tiny": TINY["float64"],
    }
    surfaces = [s.function.javascript(f"surface_{k}") for k, s in enumerate(scene.surfaces)]
    data = json.dumps(told, ensure_ascii=False, allow_nan=False).replace("</", "<\\/")  # which would end the script
    script = "\n".join(
        [
            f"const SCENE = {data};",
            javascript.WORDS,
            *surfaces,
            f"const SURFACES = [{', '.join(f'surface_{k}' for k in range(len(surfaces)))}];",
            f"const KERNELS = [{', '.join(kernels.texts)}];",
        ]
    )
    title = escape(f"{', '.join(e.label for e in scene.entries)} on {', '.join(s.name for s in scene.surfaces)}")
    template = files("adamas.pictures").joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("{{title}}", title).replace("/* {{scene}} */", script)


def _entry(entry: Entry, kernels: _Kernels, hyper: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer with its sliders, and the kernel for each of the static choices that they can reach."""
    sliders = [s for s in _sliders(entry) if s["name"] not in _compared(entry)]
    tests = set[str]().union(*(names(test) for test in _tests(entry)))
    switches = [s["name"] for s in sliders if s["name"] in tests]
    variants: dict[str, Any] = {}
    for on in product((False, True), repeat=len(switches)):
        chosen = {**hyper, **{name: 0.5 if yes else 0.0 for name, yes in zip(switches, on, strict=True)}}
        key = "".join("1" if yes else "0" for yes in on)
        try:
            entry.rule.check(chosen)
            variants[key] = kernels.number(entry, chosen)
        except InputError as refused:
            variants[key] = str(refused)
    return {"label": entry.label, "sliders": sliders, "switches": switches, "variants": variants}


def _sliders(entry: Entry) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name, default in entry.rule.defaults.items():
        values = default if isinstance(default, tuple) else (default,)
        for k, value in enumerate(values):
            if isinstance(value, bool | str):
                continue
            place = f"{name}[{k}]" if isinstance(default, tuple) else name
            symbol, scale, low, high = SLIDERS.get(place, (place, "even", 0.0, 2.0 * abs(value) or 1.0))
            told = {"name": name, "index": k if isinstance(default, tuple) else None, "symbol": symbol}
            told |= {"scale": scale, "low": low, "high": high, "more": place not in SLIDERS}
            told["zero"] = place in ("eps", "weight_decay")
            found.append(told)
    order = list(SLIDERS)
    return sorted(found, key=lambda s: order.index(p) if (p := _place(s)) in order else len(order))


def _place(slider: Mapping[str, Any]) -> str:
    return slider["name"] if slider["index"] is None else f"{slider['name']}[{slider['index']}]"


def _tests(entry: Entry) -> tuple[ast.expr, ...]:
    return (*BEFORE.tests, *entry.rule.source.tests, *AFTER.tests)


def _compared(entry: Entry) -> set[str]:
    """Hyperparameters of conditions that ask for more than whether they are 0: those get no slider."""
    return {
        name
        for test in _tests(entry)
        for node in ast.walk(test)
        if isinstance(node, ast.Compare | ast.BinOp | ast.Call | ast.Subscript)
        for name in names(node)
    }


def _coefficients(host: list[str], coefficients: list[str]) -> list[str]:
    """What the host has computed for each coefficient, as a person writes it; "" where it is a hyperparameter."""
    texts = dict(line.split(" = ", 1) for line in host)
    return [re.sub(r"one_minus_power\((\w+), (\w+)\)", r"(1 - \1**\2)", texts.get(name, "")) for name in coefficients]
