"""Pages: one HTML file each, that needs nothing else and asks nobody for anything."""

import json
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import adamas
from adamas.pages.chart import Axis, Chart, Mark, Series, View
from adamas.pages.html import Html, copied, element, markup, table
from adamas.palette import COLOURS, GREY, ON_DARK

__all__ = [
    "Axis", "Chart", "Html", "Mark", "Series", "View",
    "copied", "element", "markup", "page", "place", "table", "write",
]  # fmt: skip


def place(name: str, caption: Any = None) -> Html:
    """Where the chart of that name is to be."""
    below = None if caption is None else element("figcaption", caption)
    return element("figure", element("div", class_="plot"), below, class_="chart", data_chart=name)


def page(title: str, body: Html, charts: Mapping[str, Chart]) -> str:
    """A whole page: its style, `body`, what the charts show, and what draws them.

    Its policy lets the browser load nothing and run no script but the page's own, known by their checksums.
    """
    licence = _file("uplot/LICENSE")
    # uPlot draws at the screen's resolution, which on paper is coarse; within the block it finds a finer one.
    uplot = f"/*\n{licence}*/\n{{ const devicePixelRatio = Math.max(3, window.devicePixelRatio);\n"
    uplot += f"{_file('uplot/uPlot.iife.min.js')}\n}}"
    scripts = [uplot, _file("page.js")]
    sums = " ".join(f"'sha256-{b64encode(sha256(s.encode()).digest()).decode()}'" for s in scripts)
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src {sums}"
    shown = json.dumps({k: c.plain() for k, c in charts.items()}, allow_nan=False, separators=(",", ":"))
    style = f"{_file('uplot/uPlot.min.css')}\n{_colours()}\n{_file('page.css')}"
    head = markup(
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Html(style)),
    )
    foot = element("footer", f"adamas {adamas.__version__}. Charts by uPlot, © Leon Sorokin, MIT licence.")
    no_script = element("noscript", element("p", "The charts need JavaScript; the tables do not.", class_="note"))
    data = element("script", Html(shown.replace("<", "\\u003c")), type="application/json", id="charts")
    run = [element("script", Html(s)) for s in scripts]
    whole = element("html", element("head", head), element("body", no_script, body, foot, data, *run), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n"


def write(path: Path, text: str) -> None:
    """Replaces the file in one go."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _file(name: str) -> str:
    return (files("adamas.pages") / name).read_text(encoding="utf-8")


def _colours() -> str:
    """The palette as CSS variables."""

    def told(colours: tuple[str, ...]) -> str:
        return "".join(f"--c{i}:{c};" for i, c in enumerate(colours))

    dark = f":root:not(.paper){{{told(ON_DARK)}}}"
    return f":root{{{told(COLOURS)}--grey:{GREY}}}\n@media screen and (prefers-color-scheme:dark){{{dark}}}"
