"""What of the site is written from the library itself: a page for each optimizer, and the list of what is public."""

import inspect
import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import adamas

if TYPE_CHECKING:
    import numpy as np

PUBLIC = (
    "adamas",
    "adamas.numpy",
    "adamas.torch",
    "adamas.optax",
    "adamas.scipy",
    "adamas.sklearn",
    "adamas.schedules",
    "adamas.rangetest",
    "adamas.race",
    "adamas.recipes",
    "adamas.checkpoint",
    "adamas.doctor",
)
"""The modules whose names are for users."""

STEPS = 300
"""Of a path that is drawn."""
MOMENTS = r"m &\leftarrow \beta_1 m + (1-\beta_1)\,g \\ v &\leftarrow \beta_2 v + (1-\beta_2)\,g^2 \\ "
FORMULAS = {
    "sgd": r"\theta &\leftarrow \theta - \eta\,g",
    "momentum": r"b &\leftarrow \beta b + (1-\mathrm{damp})\,g \\ \theta &\leftarrow \theta - \eta\,b",
    "nesterov": r"b &\leftarrow \beta b + g \\ \theta &\leftarrow \theta - \eta\,(g + \beta b)",
    "adagrad": r"s &\leftarrow s + g^2 \\ \theta &\leftarrow \theta - "
    r"\frac{\eta}{1+(t-1)\,\mathrm{decay}}\cdot\frac{g}{\sqrt{s}+\varepsilon}",
    "rmsprop": r"v &\leftarrow \alpha v + (1-\alpha)\,g^2 \\ "
    r"\theta &\leftarrow \theta - \eta\,\frac{g}{\sqrt{v}+\varepsilon}",
    "adam": MOMENTS + r"\theta &\leftarrow \theta - \eta\,\frac{m/(1-\beta_1^t)}{\sqrt{v/(1-\beta_2^t)}+\varepsilon}",
    "amsgrad": MOMENTS + r"v_{\max} &\leftarrow \max(v_{\max}, v) \\ "
    r"\theta &\leftarrow \theta - \eta\,\frac{m/(1-\beta_1^t)}{\sqrt{v_{\max}/(1-\beta_2^t)}+\varepsilon}",
    "adamw": MOMENTS
    + r"\theta &\leftarrow \theta - \eta\left(\frac{m/(1-\beta_1^t)}{\sqrt{v/(1-\beta_2^t)}+\varepsilon}"
    r" + \lambda\theta\right)",
    "sparse_adam": MOMENTS
    + r"\theta &\leftarrow \theta - \eta\,\frac{\sqrt{1-\beta_2^t}}{1-\beta_1^t}\cdot\frac{m}{\sqrt{v}+\varepsilon}",
    "nadam": r"\mu_t &= \beta_1\left(1-\frac{1}{2}\,0.96^{\,t\psi}\right) \\ "
    + MOMENTS
    + r"\theta &\leftarrow \theta - \frac{\eta}{\sqrt{\hat v}+\varepsilon}"
    r"\left(\frac{1-\mu_t}{1-\prod_{i\leq t}\mu_i}\,g"
    r" + \frac{\mu_{t+1}}{1-\prod_{i\leq t+1}\mu_i}\,m\right)",
    "radam": r"\rho_\infty &= \frac{2}{1-\beta_2}-1, \qquad \rho_t = \rho_\infty - \frac{2t\beta_2^t}{1-\beta_2^t} \\ "
    + MOMENTS
    + r"\theta &\leftarrow \theta - \eta\,\hat m \quad\text{while } \rho_t\leq 5, \text{ then} \\ "
    r"\theta &\leftarrow \theta - \eta\,r_t\,\hat m\,\frac{\sqrt{1-\beta_2^t}}{\sqrt{v}+\varepsilon}, \qquad r_t = "
    r"\sqrt{\frac{(\rho_t-4)(\rho_t-2)\,\rho_\infty}{(\rho_\infty-4)(\rho_\infty-2)\,\rho_t}}",
    "adamax": r"m &\leftarrow \beta_1 m + (1-\beta_1)\,g \\ u &\leftarrow \max(\beta_2 u, |g|) \\ "
    r"\theta &\leftarrow \theta - \frac{\eta}{1-\beta_1^t}\cdot\frac{m}{u+\varepsilon}",
    "lpadam": r"m &\leftarrow \beta_1 m + (1-\beta_1)\,g \\ v &\leftarrow \beta_2^p v + (1-\beta_2^p)\,|g|^p \\ "
    r"\theta &\leftarrow \theta - \eta\,\frac{\hat m}{\hat v^{1/p}+\varepsilon}, "
    r"\qquad \hat v = \frac{v}{1-\beta_2^{pt}}",
    "adabelief": r"m &\leftarrow \beta_1 m + (1-\beta_1)\,g \\ "
    r"s &\leftarrow \beta_2 s + (1-\beta_2)(g-m)^2 + \varepsilon \\ "
    r"\theta &\leftarrow \theta - \eta\,\frac{\hat m}{\sqrt{\hat s}+\varepsilon}",
    "adopt": r"v &\leftarrow g^2 \quad\text{at the first } g \text{; then} \\ "
    r"m &\leftarrow \beta_1 m + (1-\beta_1)\,\mathrm{clip}\!\left("
    r"\frac{g}{\max(\sqrt{v},\varepsilon)}, \pm(t-1)^{1/4}\right) \\ \theta &\leftarrow \theta - \eta\,m \\ "
    r"v &\leftarrow \beta_2 v + (1-\beta_2)\,g^2",
    "lion": r"\theta &\leftarrow \theta - \eta\,\mathrm{sign}\!\left(\beta_1 m + (1-\beta_1)\,g\right) \\ "
    r"m &\leftarrow \beta_2 m + (1-\beta_2)\,g",
}
"""The formulas of the docstrings as LaTeX."""

MEANINGS = {
    "lr": "η, the learning rate: how far a step goes. Of all of them this is the one to search; `adamas find-lr` does.",
    "betas": "β₁ and β₂: how much of the averages of the gradient and of its square is kept at a step. An average "
    "looks back over some 1/(1 − β) steps.",
    "eps": "ε, which keeps from dividing by 0; the larger it is, the more the rule acts like gradient descent where "
    "gradients are small.",
    "eps_root": "a second ε, inside the root, which makes the step differentiable at 0.",
    "momentum": "β, how much of the last direction is kept: 0 is plain gradient descent.",
    "dampening": "the part of a new gradient that is left out of the momentum.",
    "nesterov": "look ahead: step by where the momentum will have led.",
    "momentum_form": "whether η stands outside the momentum (torch) or inside (velocity); they differ when η changes.",
    "alpha": "α, how much of the average of squares is kept at a step.",
    "centered": "subtract the mean's square, and so divide by the deviation.",
    "amsgrad": "divide by the largest v so far, so that no step becomes larger again.",
    "lr_decay": "lets η fall with the steps, on top of what the rule does by itself.",
    "initial_accumulator_value": "what the sum of squares begins with: larger, and the first steps are smaller.",
    "momentum_decay": "ψ, how slowly the look-ahead grows to its full size.",
    "eps_form": "where ε stands in the maximum: as in the paper, or as torch has it.",
    "p": "the norm of the gradients that is averaged: 2 is Adam, and towards infinity it becomes Adamax.",
    "weight_decay": "λ, how strongly parameters are pulled towards 0.",
    "decoupled": "let θ lose ηλθ beside the step; otherwise λθ joins the gradient.",
    "decay_after": "decoupled decay of θ as it is after the step, not as before it.",
    "maximize": "go uphill.",
}
"""What a hyperparameter does, in a line."""


def write(docs: Path) -> None:
    """Write `optimizers/` and `api.rst` anew."""
    folder = docs / "optimizers"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    names = list(adamas.rules())
    for name in names:
        draw_path(name, folder / f"{name}.png")
        if name in FORMULAS:
            draw_formula(FORMULAS[name], folder / f"{name}-formula.svg")
        (folder / f"{name}.rst").write_text(optimizer_page(name, (docs / "rules.md").read_text()))
    listed = "".join(f"   {name}\n" for name in names)
    (folder / "index.rst").write_text(f"{_title('Optimizers')}.. toctree::\n   :maxdepth: 1\n\n{listed}")
    (docs / "api.rst").write_text(api_page())


def _title(text: str, under: str = "=") -> str:
    return f"{text}\n{under * len(text)}\n\n"


def advice(name: str, rules: str) -> list[str]:
    """The points of "How to choose" in rules.md that speak of that rule, in Markdown."""
    choosing = rules.partition("## How to choose")[2].partition("\n## ")[0]
    points = re.findall(r"^- (.*(?:\n  .*)*)", choosing, re.M)
    return [re.sub(r"\s+", " ", point) for point in points if f"`{name}`" in point]


def _rst(markdown: str) -> str:
    """Plain Markdown, with code and bold, as reStructuredText."""
    return re.sub(r"`([^`]+)`", r"``\1``", markdown)


def optimizer_page(name: str, rules: str) -> str:
    """One optimizer: formula, when to choose it, what each hyperparameter does, its path."""
    rule = adamas.rules()[name]
    parts = [_title(name)]
    doc = inspect.cleandoc(rule.doc)
    if name in FORMULAS:
        said = " ".join(FORMULAS[name].replace("&", "").split())
        parts.append(f".. image:: {name}-formula.svg\n   :alt: {said}\n   :class: formula\n\n")
    parts.append("\n".join(f"| {line}" for line in doc.replace("*", "\\*").replace("|", "\\|").splitlines()) + "\n\n")
    parts.append(_title("When to choose it", "-"))
    for point in [*map(_rst, advice(name, rules))] or ["For comparison and for study: see :doc:`/how-to-choose`."]:
        parts.append(f"- {point}\n")
    parts.append("\n" + _title("Hyperparameters", "-"))
    for key, value in rule.defaults.items():
        parts.append(f"``{key} = {value!r}``\n   {_rst(MEANINGS.get(key, 'see the formula.'))}\n\n")
    states = ", ".join(f"``{s}``" for s in rule.states()) or "nothing"
    parts.append(f"It keeps {states} for each parameter, beside a count of steps.\n\n")
    parts.append(_title("Its path", "-"))
    parts.append(
        f".. image:: {name}.png\n   :alt: The path of {name} down Rosenbrock's valley, at three learning rates\n\n"
        f"Down Rosenbrock's valley from the circle, {STEPS} steps at each η: the best of those tried by half decades, "
        "a third of it, a tenth. The star is the minimum.\n"
    )
    return "".join(parts)


def draw_formula(latex: str, path: Path) -> None:
    """The lines of the formula one below the other: drawn here, a page needs no net to show it."""
    from matplotlib.figure import Figure

    lines = [line.replace("&", "").strip() for line in latex.split(r"\\ ")]
    figure = Figure(figsize=(7, 0.62 * len(lines)))
    for k, line in enumerate(lines):
        figure.text(0.01, 1 - (k + 0.5) / len(lines), f"${line}$", fontsize=15, va="center", math_fontfamily="cm")
    figure.savefig(path, transparent=True)


def draw_path(name: str, path: Path) -> None:
    """The optimizer's path down Rosenbrock's valley, at the best η of those tried, a third of it and a tenth."""
    import numpy as np
    from matplotlib.figure import Figure

    from adamas.palette import COLOURS, FAINT, INK
    from adamas.problems.surfaces import SURFACES

    surface = SURFACES["rosenbrock"]
    (left, right), (low, high) = surface.domain
    axes = Figure(figsize=(7, 4.4), dpi=110, layout="constrained").add_subplot()
    x, y = np.meshgrid(np.linspace(left, right, 160), np.linspace(low, high, 160))
    axes.contour(x, y, np.log1p(surface.value(np.stack([x, y]))), 14, colors=FAINT, linewidths=0.5, alpha=0.6)
    tried = [float(f"{lr:.2g}") for k in range(-8, 1) for lr in [10 ** (k / 2)]]
    best = min(tried, key=lambda lr: float(surface.value(walk(name, lr)[-1])))
    for lr, colour in zip((best, best / 3, best / 10), COLOURS, strict=False):
        track = walk(name, lr)
        axes.plot(*track.T, color=colour, linewidth=1.6, label=f"η = {lr:.2g}")
        axes.plot(*track[-1], "o", color=colour, markersize=4)
    axes.plot(*surface.start, "o", color=INK, markersize=7, fillstyle="none")
    for minimum in surface.minima:
        axes.plot(*minimum, "*", color=INK, markersize=11)
    axes.set(xlim=(left, right), ylim=(low, high), xlabel="x", ylabel="y")
    axes.legend(frameon=False, loc="lower right")
    axes.figure.savefig(path)


def walk(name: str, lr: float) -> "np.ndarray":
    """Its points on Rosenbrock's surface, (steps + 1, 2); up to where it has left the picture for good."""
    import numpy as np

    from adamas.numpy import optimizer
    from adamas.problems.surfaces import SURFACES

    surface = SURFACES["rosenbrock"]
    point = np.array(surface.start, np.float64)
    opt = optimizer(name)(point, lr=lr)
    seen = [point.copy()]
    for _ in range(STEPS):
        opt.step(surface.gradient(point))
        seen.append(point.copy())
        if not np.all(np.abs(point) < 1e3):
            break
    return np.array(seen)


def public(name: str) -> dict[str, object]:
    """What a module offers: what it says it does, or what it defines without an underscore."""
    module = import_module(name)
    chosen = getattr(module, "__all__", None) or [
        k for k, v in vars(module).items() if not k.startswith("_") and getattr(v, "__module__", None) == name
    ]
    found = {k: getattr(module, k) for k in chosen}
    return {k: v for k, v in found.items() if callable(v) and not k.startswith("__")}


def api_page() -> str:
    """Everything public, with signature and docstring as they stand in the sources."""
    parts = [_title("API"), ".. contents::\n   :local:\n   :depth: 1\n\n"]
    for name in PUBLIC:
        parts.append(_title(name, "-"))
        for key, thing in sorted(public(name).items(), key=lambda item: item[0].lower()):
            parts.append(_title(f"{name}.{key}", "~"))
            parts.append(_literal(f"{key}{_signature(thing)}", "python"))
            parts.append(_literal(inspect.getdoc(thing) or "", "text"))
            if inspect.isclass(thing):
                for method, function in vars(thing).items():
                    if not method.startswith("_") and inspect.isfunction(function) and function.__doc__:
                        parts.append(_literal(f"{key}.{method}{_signature(function)}", "python"))
                        parts.append(_literal(inspect.getdoc(function) or "", "text"))
    return "".join(parts)


def _signature(thing: object) -> str:
    try:
        return str(inspect.signature(thing))  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        return "(...)"


def _literal(text: str, language: str) -> str:
    if not text.strip():
        return ""
    shown = "\n".join(f"   {line}".rstrip() for line in text.splitlines())
    return f".. code-block:: {'text' if '<' in text and language == 'python' else language}\n\n{shown}\n\n"
