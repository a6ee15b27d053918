"""The docs site, without building it: what it takes from the library, links between pages, the gallery's scripts."""

import importlib.util
import os
import re
import runpy
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

import adamas

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
GALLERY = sorted((ROOT / "examples" / "gallery").glob("plot_*.py"))


@pytest.fixture(scope="module")
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_pages", DOCS / "site_pages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", list(adamas.rules()))
def test_a_page_for_each_optimizer(site: ModuleType, name: str) -> None:
    page = site.optimizer_page(name, (DOCS / "rules.md").read_text())
    assert page.startswith(f"{name}\n{'=' * len(name)}\n")
    for key in adamas.rules()[name].defaults:
        assert f"``{key} = " in page
    assert ":doc:``" not in page  # a link, not code
    assert "see the formula." not in page  # every hyperparameter has its sentence
    for state in adamas.rules()[name].states():
        assert f"``{state}``" in page


def test_formulas_can_be_drawn(site: ModuleType, tmp_path: Path) -> None:
    assert set(site.FORMULAS) <= set(adamas.rules())
    for name, latex in site.FORMULAS.items():
        site.draw_formula(latex, tmp_path / f"{name}.svg")
        assert (tmp_path / f"{name}.svg").read_text().count('<g id="text_') == latex.count(r"\\ ") + 1


def test_advice_is_the_one_in_rules_md(site: ModuleType) -> None:
    rules = (DOCS / "rules.md").read_text()
    assert any(point.startswith("**Memory is short:**") for point in site.advice("lion", rules))
    assert all("`adam`" in point for point in site.advice("adam", rules))


def test_a_path_goes_down(site: ModuleType) -> None:
    track = site.walk("adam", 0.1)
    heights = (1 - track[:, 0]) ** 2 + 100 * (track[:, 1] - track[:, 0] ** 2) ** 2
    assert track.shape == (site.STEPS + 1, 2) and heights[-1] < 0.1 * heights[0]


def test_what_is_public_is_listed(site: ModuleType) -> None:
    api = site.api_page()
    for name in ("adamas.rule", "adamas.torch.AdamW", "adamas.numpy.AdamW", "adamas.schedules.cosine",
                 "adamas.race.race", "adamas.recipes.general", "adamas.checkpoint.save"):  # fmt: skip
        assert f"\n{name}\n~~~" in api
    assert "…)" not in re.sub(r"^   .*\n", "", api, flags=re.M)


def test_every_page_is_reached_and_every_link_leads_somewhere() -> None:
    index = (DOCS / "index.rst").read_text()
    listed = set(re.findall(r"^   ([\w/-]+)$", index, re.M))
    written = {p.stem for p in (*DOCS.glob("*.md"), *DOCS.glob("*.rst"))} | {"api", "optimizers/index", "gallery/index"}
    assert "\n   *\n" in index and listed <= written  # the star takes up whatever is not named
    for page in DOCS.glob("*.md"):
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        for link in re.findall(r"\]\((?!https?:)([^)#\s]+)", text):
            assert (page.parent / link).exists(), f"{page.name} links to {link}, which is not there"
            assert "/" not in link or not link.endswith(".md"), (
                f"{page.name} links to {link}, which is no page of the site"
            )
        levels = [len(marks) for marks in re.findall(r"^(#+) ", text, re.M)]
        assert all(b <= a + 1 for a, b in pairwise(levels)), f"{page.name} leaves out a level of headings"


def test_the_configuration_loads() -> None:
    pytest.importorskip("sphinx", reason="the site's builder is not installed")
    told = runpy.run_path(str(DOCS / "conf.py"))
    assert told["version"] == adamas.__version__ and "myst_parser" in told["extensions"]


@pytest.mark.parametrize("script", GALLERY, ids=lambda p: p.stem)
def test_the_gallery_runs(script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib
    from matplotlib import pyplot

    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    try:
        runpy.run_path(str(script))
        assert pyplot.get_fignums()
        pyplot.gcf().savefig("drawn.png")
    finally:
        pyplot.close("all")
    assert os.listdir(tmp_path) == ["drawn.png"]
