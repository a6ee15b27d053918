"""report.html: written for every kind of result, works in a browser without a net, and nothing planted in it runs."""

import json
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from adamas.cli import main
from adamas.race import race
from adamas.race.page import race_page
from adamas.race.report import as_dict
from tests.pages.browser import chromium, opened
from tests.race.tables import KINDS, made

MALICE = "<script>document.title='owned'</script>"
MALICE_FILE = "<img src=x onerror=alert(1)> & co.csv"


@pytest.fixture(scope="module")
def raced(tmp_path_factory):
    """A small race on a table whose file and column are named by somebody with bad intentions."""
    folder = tmp_path_factory.mktemp("raced")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 2))
    rows = "\n".join(f"{a},{b},{a - b}" for a, b in x)
    (folder / MALICE_FILE).write_text(f'a,b,"{MALICE}"\n{rows}\n')
    entered = ["adamw", "adam", "sgd", "lion", "nadam", "adagrad"]
    return race(
        str(folder / MALICE_FILE), entered, target=MALICE, lrs=[0.003, 0.03], seeds=2, steps=30, jobs=1,
        output=folder / "race",
    )  # fmt: skip


def page_of(kind, number):
    measure, plan, table = made(kind, number)
    problem = SimpleNamespace(name=f"made {MALICE}", about="by hand", measure=measure, fingerprint=lambda: "0")
    summary = as_dict(problem, plan, table, {"seeds": 2, "lrs": None}, 1.0, "interrupted")
    return race_page(problem, plan, table, {**summary, "snippet": "x < y"}, 3), table


class Outline(HTMLParser):
    """Tags and texts of a page, what is in scripts apart."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.links = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href")]

    def handle_data(self, data):
        self.texts.append(data)


@pytest.mark.parametrize(("kind", "number"), [("loss", 1), *((kind, 7) for kind in KINDS)])
def test_written_for_every_kind_of_result(kind, number):
    text, table = page_of(kind, number)
    outline = Outline(text)
    assert outline.tags.count("script") == 3 and "img" not in outline.tags  # values, uPlot, ours
    assert outline.links == ["data:,"]
    assert table.headline in outline.texts and table.verdict in outline.texts
    assert outline.tags.count("figure") == 1 + number
    for row in table.rows:
        # In the table, over its panel, at four bars; and the winner on top.
        assert outline.texts.count(row.entrant.label) == 6 + (row is table.rows[0])


def test_what_the_charts_show():
    text, table = page_of("loss", 7)
    charts = json.loads(re.search(r'<script type="application/json" id="charts">(.*?)</script>', text)[1])
    curves = charts["curves"]["views"][0]
    assert [s["name"] for s in curves["series"]] == [row.entrant.label for row in table.rows]
    assert [s["colour"] for s in curves["series"]] == [0, 1, 2, 3, 4, None, None]
    first, row = curves["series"][0], table.rows[0]
    assert first["x"] == [0, 10, 20, 30] and first["y"][-1] == pytest.approx(row.metric, rel=1e-5)
    assert first["low"][-1] == pytest.approx(row.best, rel=1e-5) and first["high"][-1] > first["low"][-1]
    fourth = next(s for s in curves["series"] if s["name"] == "nadam")
    assert fourth["y"][-1] is None  # one of its two seeds diverged
    assert curves["y"]["log"] is True and curves["marks"][0]["at"] == [pytest.approx(table.target)]
    rate = charts["rate-0"]["views"][0]
    assert rate["series"][0]["y"][-1] is None and rate["marks"][0] == {
        "kind": "top", "at": [1.0], "label": "", "colour": 0,
    }  # fmt: skip
    stretch = next(m for m in rate["marks"] if m["kind"] == "stretch")
    assert stretch["at"] == pytest.approx([row.width.low, row.width.high], rel=1e-5)


def test_a_race_leaves_a_small_page(raced):
    assert raced.report == raced.folder / "report.html"
    assert raced.report.stat().st_size < 3e6 / 10  # a tenth of what is allowed
    assert not list(raced.folder.glob("*.part"))


def test_the_command_names_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["race", "bowl", "--optimizers", "sgd", "--lrs", "0.1", "--seeds", "1", "--steps", "20", "--jobs", "1"])
    assert "race/report.html" in capsys.readouterr().out and (tmp_path / "race/report.html").is_file()


@pytest.fixture(scope="module")
def browser():
    return chromium()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn(browser, tmp_path, kind):
    (tmp_path / "p.html").write_text(page_of(kind, 7)[0])
    with opened(browser, tmp_path / "p.html", color_scheme="dark") as page:
        assert page.locator("canvas").count() == 8
        limits = page.evaluate("charts.map(c => [c.plot.scales.x, c.plot.scales.y].map(s => [s.min, s.max])).flat()")
        assert all(low < high for low, high in limits)
        assert all(n > 1 for n in page.evaluate("charts.map(c => c.plot.axes[1]._splits.length)"))  # labels
        for name in ("log x", "log y", "+", "−", "Whole"):
            if page.get_by_role("button", name=name, exact=True).count():
                page.get_by_role("button", name=name, exact=True).click()


def test_what_is_planted_is_shown_and_does_not_run(browser, raced):
    with opened(browser, raced.report) as page:
        assert page.title().startswith(MALICE_FILE)
        assert page.locator("img").count() == 0 and page.locator("script").count() == 3
        assert page.locator("dd", has_text=MALICE).count() == 1


def test_the_policy_runs_nothing_and_loads_nothing_else(browser, raced):
    """Were there a hole in the escaping, this would stand behind it."""
    page = browser.new_page()
    asked, refused = [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on("requestfailed", lambda r: refused.append(r.url) if r.failure == "csp" else None)
    page.goto(raced.report.as_uri())
    for added in ("s.textContent = 'window.ran = 1'", "s.src = 'https://example.org/a.js'"):
        page.evaluate(f"() => {{ const s = document.createElement('script'); {added}; document.body.append(s); }}")
    page.evaluate("() => { document.body.append(Object.assign(new Image(), {src: 'https://example.org/a.png'})); }")
    assert page.evaluate("fetch('https://example.org/').then(() => 'fetched', () => 'refused')") == "refused"
    assert page.evaluate("window.ran") is None
    assert refused and asked == [raced.report.as_uri(), *refused]
    page.close()


def ink(page):
    """How many pixels of the first chart have the colour of the first line."""
    return page.evaluate(
        """() => {
            const c = document.querySelector("canvas");
            const { data } = c.getContext("2d").getImageData(0, 0, c.width, c.height);
            let n = 0;
            for (let i = 0; i < data.length; i += 4) {
                if (data[i] === 0 && data[i + 1] === 114 && data[i + 2] === 178 && data[i + 3] === 255) n++;
            }
            return n;
        }"""
    )


def test_reading_by_mouse(browser, raced):
    first = raced.table.rows[0]
    with opened(browser, raced.report) as page:
        chart = page.locator("figure.chart").first
        before = ink(page)
        entry = chart.locator(".legend button").first
        entry.click()
        assert entry.get_attribute("aria-pressed") == "false" and ink(page) == 0 < before
        entry.click()
        page.mouse.move(0, 0)
        assert entry.get_attribute("aria-pressed") == "true" and ink(page) == before
        # Over the end of the winner's line stands its name, the step, and the value that the table has.
        chart.scroll_into_view_if_needed()
        over = chart.locator(".u-over").bounding_box()
        at = page.evaluate("v => charts[0].plot.valToPos(v, 'y')", first.metric)
        page.mouse.move(over["x"] + over["width"] - 1, over["y"] + at)
        said = chart.locator(".tip").inner_text()
        value = page.evaluate("format", first.metric)
        assert chart.locator(".tip").is_visible() and f"{raced.plan.steps}\n{value}" in said
        assert chart.locator(".legend .value").first.inner_text() == value
        page.mouse.move(5, 5)
        assert not chart.locator(".tip").is_visible()


def test_zooming(browser, raced):
    with opened(browser, raced.report) as page:
        chart = page.locator("figure.chart").first
        chart.scroll_into_view_if_needed()
        over = chart.locator(".u-over").bounding_box()

        def window():
            return page.evaluate("[charts[0].plot.scales.x.min, charts[0].plot.scales.x.max]")

        whole = window()
        assert whole == [0, raced.plan.steps]
        page.mouse.move(over["x"] + over["width"] * 0.25, over["y"] + 80)
        page.mouse.down()
        page.mouse.move(over["x"] + over["width"] * 0.75, over["y"] + 90, steps=4)
        page.mouse.up()
        assert window() == pytest.approx([raced.plan.steps * 0.25, raced.plan.steps * 0.75], abs=0.2)
        zoomed = window()
        chart.locator(".legend button").nth(1).click()  # a line less is no other window
        assert window() == zoomed
        chart.get_by_role("button", name="Whole").click()
        assert window() == whole
        chart.get_by_role("button", name="Zoom in").click()
        assert window() == pytest.approx([raced.plan.steps * 0.25, raced.plan.steps * 0.75])
        chart.get_by_role("button", name="Zoom out").click()
        assert window() == whole
        chart.get_by_role("button", name="log x").click()
        assert window()[0] > 0


def test_reading_by_keyboard(browser, raced):
    with opened(browser, raced.report) as page:
        seen = []
        for _ in range(60):
            page.keyboard.press("Tab")
            seen.append(page.evaluate("document.activeElement.className || document.activeElement.textContent"))
            if seen[-1] == "plot":
                break
        assert "plot" in seen and "log y" in seen
        chart = page.locator("figure.chart").first
        page.keyboard.press("ArrowRight")
        said = chart.locator(".readout").inner_text()
        assert said.startswith(f"{raced.table.rows[0].entrant.label}, step 0: ")
        page.keyboard.press("ArrowRight")
        assert ", step 0:" not in chart.locator(".readout").inner_text()
        page.keyboard.press("ArrowDown")
        assert chart.locator(".readout").inner_text().startswith(f"{raced.table.rows[1].entrant.label}, step ")
        page.keyboard.press("Escape")
        assert chart.locator(".readout").inner_text() == ""


@pytest.mark.parametrize("allowed", [True, False])
def test_the_copy_button(browser, raced, allowed):
    with opened(browser, raced.report, permissions=["clipboard-read", "clipboard-write"] if allowed else []) as page:
        if not allowed:
            page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
        page.get_by_role("button", name="Copy").click()
        status = page.locator(".status", has_text="opied" if allowed else "Ctrl+C")
        status.wait_for()
        got = "navigator.clipboard.readText()" if allowed else "getSelection().toString()"
        assert page.evaluate(got).strip() == raced.lines.strip()


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_no_page_is_wider_than_its_window(browser, raced, width, height):
    with opened(browser, raced.report, viewport={"width": width, "height": height}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.set_viewport_size({"width": 340, "height": 700})
        page.wait_for_function("charts.every(c => c.plot.width === c.holder.clientWidth)")
        assert page.evaluate("document.documentElement.scrollWidth") <= 340


def test_on_paper_it_is_light(browser, raced, tmp_path):
    with opened(browser, raced.report, color_scheme="dark") as page:
        seen = "() => getComputedStyle(document.body).backgroundColor + charts[0].plot.width"
        dark = page.evaluate(seen)
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.evaluate(seen).startswith("rgb(255, 255, 255)") and page.evaluate("charts[0].plot.width") == 680
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.evaluate(seen) == dark
        pdf = page.pdf(format="A4")
        assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page\n") + pdf.count(b"/Type/Page\n") <= 6


def test_everything_has_a_name(browser, raced):
    """What a screen reader meets: buttons with names, charts with descriptions, tables with captions and heads."""
    with opened(browser, raced.report) as page:
        assert page.evaluate("document.documentElement.lang") == "en"
        assert page.evaluate("[...document.querySelectorAll('button')].every(b => b.ariaLabel || b.textContent.trim())")
        assert page.evaluate("[...document.querySelectorAll('.plot')].every(p => p.ariaLabel && p.tabIndex === 0)")
        assert page.evaluate("[...document.querySelectorAll('table')].every(t => t.caption && t.querySelector('th'))")
        assert page.evaluate("document.querySelectorAll('h1').length") == 1
