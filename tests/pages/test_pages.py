"""The pages of range tests, schedules, runs and treatments, and what all pages are made of."""

import json
import math
import re
from hashlib import sha256
from pathlib import Path

import pytest

import adamas.pages
from adamas.cli import main
from adamas.doctor.page import doctor_page
from adamas.pages import Axis, Chart, Html, View, element, markup, page
from adamas.rangetest import range_test
from adamas.rangetest_page import range_page
from adamas.schedules import parse
from adamas.schedules.page import schedule_page
from tests.doctor.histories import falling, told
from tests.pages.browser import chromium, opened

SHAPES = [
    "3e-4 * (warmup(500) >> cosine(9500, floor=.1))",
    "one_cycle(1000)",
    "inverse_sqrt()",
    "constant(1)",
    "0 * cosine(9)",
]


@pytest.fixture(scope="module")
def browser():
    return chromium()


def charts(text):
    return json.loads(re.search(r'<script type="application/json" id="charts">(.*?)</script>', text)[1])


def found_with(loss, **options):
    """A range test of ½x² by steps of x ← x − ηx, its loss changed by `loss`."""
    x = 1.0

    def rewind():
        nonlocal x
        x = 1.0

    def step(lr):
        nonlocal x
        before = loss(0.5 * x * x)
        x -= lr * x
        return before

    return range_test(step, rewind, **options)


KINDS = {
    "usual": lambda: found_with(lambda v: v + 0.01),
    "below 0": lambda: found_with(lambda v: v - 3),
    "sweep alone": lambda: found_with(lambda v: v + 0.01, trial=0),
    "not finite": lambda: found_with(lambda v: math.nan),
}


def test_what_stands_in_uplot_s_folder_is_what_its_readme_says():
    folder = Path(adamas.pages.__file__).parent / "uplot"
    table = dict(re.findall(r"^\| `(.*?)` .*`([0-9a-f]{64})` \|$", (folder / "README.md").read_text(), re.M))
    assert set(table) == {p.name for p in folder.iterdir()} - {"README.md"}
    assert {name: sha256((folder / name).read_bytes()).hexdigest() for name in table} == table


def test_strings_are_escaped_and_markup_is_not():
    assert element("p", "<i>", Html("<b>x</b>"), title='"<') == '<p title="&quot;&lt;">&lt;i&gt;<b>x</b></p>'
    assert markup("</script>", None) == "&lt;/script&gt;"


def test_what_a_chart_is_called_ends_no_script():
    axis = Axis("</script><script>1</script>", 0.0, 1.0)
    text = page("x", markup(), {"a": Chart("<!--<script>", axis, "step", [View("", axis, [])])})
    assert text.count("</script>") == 3 and text.count("<script") == 3 and "<!--" not in text
    assert charts(text)["a"]["x"]["label"] == axis.label


@pytest.mark.parametrize("kind", KINDS)
def test_every_range_test_has_a_page(browser, tmp_path, kind):
    test = KINDS[kind]()
    text = range_page("<b>x</b> on y", "z", test, "a < b")
    (tmp_path / "p.html").write_text(text)
    with opened(browser, tmp_path / "p.html", viewport={"width": 390, "height": 800}) as seen:
        assert seen.locator("b").count() == 0 and test.sentence in seen.locator("body").inner_text()
        assert seen.locator("canvas").count() == (kind != "not finite")
        assert seen.get_by_role("button", name="Copy").count() == test.confident
        assert seen.evaluate("document.documentElement.scrollWidth") <= 390
    if kind == "usual":
        assert test.confident
        view = charts(text)["sweep"]["views"][0]
        assert view["series"][1]["y"] == pytest.approx(test.smoothed, rel=1e-5)
        assert view["marks"][-1]["at"] == [pytest.approx(test.suggestion)]
        diverged = sorted({t.lr for t in test.trials if math.isinf(t.loss)})
        assert set(diverged) <= set(view["marks"][0]["at"])


@pytest.mark.parametrize("shape", SHAPES)
def test_every_schedule_has_a_page(browser, tmp_path, shape):
    schedule = parse(shape)
    text = schedule_page(schedule, schedule.view)
    (tmp_path / "p.html").write_text(text)
    with opened(browser, tmp_path / "p.html") as seen:
        assert seen.locator("h1").inner_text() == repr(schedule)
        log = seen.get_by_role("button", name="log y")
        if log.count():
            log.click()
        assert seen.evaluate("Number.isFinite(charts[0].plot.scales.y.min)")
        code = seen.locator("code").first.inner_text()
    names = {}
    exec(code, names)
    assert names["schedule"] == schedule
    told = charts(text)["schedule"]["views"][0]["series"]
    assert told[0]["y"][-1] == pytest.approx(schedule(schedule.view), rel=1e-5)
    assert len(told) == 1 + (schedule.momentum is not None)


@pytest.mark.parametrize("viewport", [{"width": 390, "height": 800}, {"width": 1200, "height": 800}])
@pytest.mark.parametrize("clip", [None, 0.01])
def test_a_run_s_timeline_draws_every_curve(browser, tmp_path, clip, viewport):
    settings = {} if clip is None else {"clip_grad_norm": clip}
    doctor = told(
        lambda t: 2.3 if t == 0 else 9 + 3 * math.sin(t), validate=falling(), ratio=lambda t: 0.5, settings=settings
    )
    (tmp_path / "p.html").write_text(doctor_page("<b>run</b>", doctor.run, doctor.findings, doctor.cleared))
    with opened(browser, tmp_path / "p.html", viewport=viewport) as seen:
        assert seen.locator("canvas").count() == 4 and seen.locator("b").count() == 0
        assert "D201 lr-too-high" in seen.locator("h1").inner_text()
        assert seen.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


def test_the_page_of_a_treatment_draws_every_run(browser, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    from adamas.fix import fix

    fix("digits", "adam", lr=0.3, steps=60).write(tmp_path / "p.html")
    with opened(browser, tmp_path / "p.html", viewport={"width": 390, "height": 800}) as seen:
        assert seen.locator("canvas").count() == 2 and seen.get_by_role("button", name="Copy").count() == 1
        assert seen.locator("h1").inner_text() == "Cured"
        assert seen.evaluate("document.documentElement.scrollWidth") <= 390


def run(capsys, *args):
    with pytest.raises(SystemExit) as exit:
        main(args)
    return exit.value.code, capsys.readouterr().out


def test_the_commands_write_them(tmp_path, capsys):
    status, out = run(capsys, "schedule", "warmup(5) >> cosine(50)", "-o", str(tmp_path / "s.html"))
    assert status == 0 and "s.html" in out and charts((tmp_path / "s.html").read_text())
    status, out = run(capsys, "find-lr", "valley", "--optimizer", "sgd", "-o", str(tmp_path / "f.html"))
    assert status == 0 and f"Page: {tmp_path / 'f.html'}" in out
    text = (tmp_path / "f.html").read_text()
    assert "sgd on valley" in text and charts(text)["sweep"]["x"]["log"] is True
