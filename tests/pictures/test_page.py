"""The page as a person uses it, in a browser: what it shows is what NumPy computes, and it asks nobody for anything."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adamas
from adamas.cli import main
from adamas.pictures import Scene, demo, entry, surface
from adamas.pictures.page import page
from adamas.pictures.walk import draws, walk
from adamas.problems.surfaces import SURFACES
from tests.pages.browser import chromium
from tests.pages.browser import opened as opened_file

VIEWPORTS = {"desktop": (1280, 900), "phone": (390, 844)}


class Shown:
    """A page in a browser."""

    def __init__(self, page: Any, scene: Scene) -> None:
        self.page, self.scene = page, scene
        self.settle()

    def settle(self) -> None:
        """Wait until what has changed is drawn."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def until(self, condition: str) -> None:
        """Wait for it, frame by frame."""
        look = f"const look = () => {condition} ? done() : requestAnimationFrame(look); look();"
        self.page.evaluate(f"() => new Promise(done => {{ {look} }})")

    def js(self, text: str) -> Any:
        return self.page.evaluate(text)

    def path(self, panel: int = 0, number: int = 0, start: int = 0) -> np.ndarray:
        return np.array(json.loads(self.js(f"JSON.stringify(walks[{panel}][{number}][{start}].points)")), np.float64)

    def heights(self, panel: int = 0, number: int = 0) -> np.ndarray:
        return np.array(json.loads(self.js(f"JSON.stringify(walks[{panel}][{number}][0].heights)")), np.float64)

    def slide(self, name: str, at: int) -> None:
        """Move a slider as a hand does: by keys from its place at the left end."""
        slider = self.page.locator(f"#slider-{name}")
        slider.evaluate("(e, at) => { e.value = at; e.dispatchEvent(new Event('input', {bubbles: true})); }", at)
        self.settle()

    def pixels(self, kind: str = "ground", panel: int = 0) -> str:
        return self.js(f"document.querySelectorAll('canvas.{kind}')[{panel}].toDataURL()")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Any]:
    """Opens scenes as pages; at the end they have not complained, and not asked for anything but themselves."""
    with ExitStack() as stack:

        def open_(scene: Scene, size: str = "desktop", scheme: str = "light") -> Shown:
            width, height = VIEWPORTS[size]
            view = {"viewport": {"width": width, "height": height}, "color_scheme": scheme, "reduced_motion": "reduce"}
            file = tmp_path / "page.html"
            file.write_text(page(scene), encoding="utf-8")
            return Shown(stack.enter_context(opened_file(chromium(), file, **view)), scene)

        yield open_


def expected(scene: Scene, number: int, options: dict[str, Any], panel: int = 0, **more: Any) -> np.ndarray:
    e, s = scene.entries[number], scene.panels[panel].surface
    hyper = e.rule.hyper({**scene.hypers[panel][number], **options})
    given = {"start": scene.starts_on(s)[0], "noise": scene.noise_on(s), "seed": scene.seed, **more}
    return walk(e.rule, hyper, s, given["start"], scene.steps, given["noise"], given["seed"]).points


def near(a: np.ndarray, b: np.ndarray, rtol: float = 1e-9) -> None:
    assert a.shape == b.shape
    assert np.max(np.abs(a - b) / (1 + np.abs(b))) < rtol


CONTINUOUS = tuple(entry(f"{name}@0.05") for name in adamas.rules() if name != "lion")
ALL = Scene((surface("valley"),), (*CONTINUOUS, entry("lion@0.05")), steps=60)


def test_every_rule_takes_the_path_of_numpy(opened):
    it = opened(ALL)
    for number, rows in enumerate(ALL.walks[0]):
        near(it.path(number=number), rows[0].points)
        np.testing.assert_allclose(it.heights(number=number), rows[0].heights, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", SURFACES)
def test_every_surface_with_its_noise_and_drift(opened, name):
    scene = Scene((SURFACES[name],), (entry("adam@0.05"),), steps=40, seed=4294967295)
    near(opened(scene).path(), scene.walks[0][0][0].points)


def test_noise_is_gaussian_and_the_same_in_the_page(opened):
    drawn = draws(7, 20000)
    assert abs(drawn.mean()) < 0.02 and abs(drawn.std() - 1) < 0.01 and abs(np.corrcoef(drawn.T)[0, 1]) < 0.02
    assert abs((drawn**4).mean() - 3) < 0.15
    assert not np.array_equal(draws(8, 100), drawn[:100])
    it = opened(Scene((surface("bowl"),), (entry("sgd@0.1"),)))
    told = json.loads(it.js("JSON.stringify(Array.from({length: 300}, (_, t) => draw(7, t)))"))
    np.testing.assert_allclose(told, drawn[:300], rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    ("optimizer", "slider", "name"),
    [
        ("adam", "lr", "lr"),
        ("adam", "betas0", "betas"),
        ("adam", "betas1", "betas"),
        ("adam", "eps", "eps"),
        ("adam", "weight_decay", "weight_decay"),
        ("adamw", "weight_decay", "weight_decay"),
        ("sgd", "momentum", "momentum"),
        ("rmsprop", "alpha", "alpha"),
        ("lpadam", "p", "p"),
    ],
)
def test_a_slider_changes_the_path_to_what_numpy_computes(opened, optimizer, slider, name):
    scene = Scene((surface("rosenbrock"),), (entry("sgd@0.001"), entry(f"{optimizer}@0.02")), steps=50)
    it = opened(scene)
    before, other = it.path(number=1), it.path(number=0)
    for at in (700, 350, 0) if slider in ("momentum", "weight_decay") else (700, 350):
        it.slide(slider, at)
        value = it.js(f"state.hypers[0][1].{name}")
        value = tuple(value) if isinstance(value, list) else value
        near(it.path(number=1), expected(scene, 1, {name: value}), 1e-7)
        if at:
            assert value != scene.hypers[0][1][name]
            assert not np.array_equal(it.path(number=1), before)
    np.testing.assert_array_equal(it.path(number=0), other)
    assert value == (0 if slider in ("momentum", "weight_decay") else value)


def test_beta2_is_also_typed_and_shared(opened):
    scene = Scene((surface("beale"),), tuple(map(entry, ("adam@0.1", "sgd@0.01", "nadam@0.1"))), steps=40)
    it = opened(scene)
    it.page.get_by_label("move them for all").check()
    exact = it.page.get_by_label("β₂, as a number")
    exact.fill("0.85")
    exact.press("Enter")
    it.settle()
    for number in (0, 2):
        near(it.path(number=number), expected(scene, number, {"betas": (0.9, 0.85)}))
    exact.fill("7")  # is held to what a β can be
    exact.press("Enter")
    assert float(exact.input_value()) == it.js("state.hypers[0][2].betas[1]") < 1
    it.page.get_by_role("button", name="Reset").click()
    it.settle()
    near(it.path(), scene.walks[0][0][0].points)


def test_what_the_rule_refuses_the_page_says(opened):
    it = opened(Scene((surface("bowl"),), (entry("nesterov@0.01"),), steps=20))
    it.slide("momentum", 0)
    assert "Nesterov momentum requires a momentum" in it.page.locator("#refused").inner_text()
    it.slide("momentum", 500)
    assert not it.page.locator("#refused").is_visible()


def test_a_hyperparameter_that_is_compared_has_no_slider(opened):
    @adamas.rule
    def stepped(g, *, lr=0.1, bend=1.0, gain=0.5, flat=0.0):
        if bend > 2:
            g = g * g
        if flat:
            g = gain * g
        return lr * g

    scene = Scene((surface("bowl"),), (entry("stepped"),), rates=(0.1,), steps=20)
    it = opened(scene)
    assert it.page.locator("#slider-bend").count() == 0
    it.page.locator("summary").click()
    it.slide("flat", 500)
    it.slide("gain", 100)
    near(it.path(), expected(scene, 0, {"flat": 0.5, "gain": 0.1}))


def test_noise_and_start_are_moved(opened):
    scene = Scene((surface("booth"),), (entry("adam@0.1"),), steps=40)
    it = opened(scene)
    it.slide("noise", 600)
    noise = it.js("state.noise[0]")
    assert noise > 0.1
    near(it.path(), expected(scene, 0, {}, noise=noise))
    box = it.page.locator("canvas.ground").bounding_box()
    it.page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.3)
    it.page.mouse.down()
    it.page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.25, steps=4)
    it.page.mouse.up()
    it.settle()
    start = tuple(it.js("state.starts[0][0]"))
    assert start == pytest.approx((5, 5), abs=0.2)
    near(it.path(), expected(scene, 0, {}, noise=noise, start=start))
    it.page.locator("canvas.ground").press("ArrowLeft")
    it.settle()
    assert it.js("state.starts[0][0][0]") == pytest.approx(start[0] - 0.2)
    assert it.js("state.t") == 0  # the arrow moved the start, not the step


def test_the_player(opened):
    it = opened(replace(demo(), steps=40))
    assert it.js("[state.t, state.playing]") == [0, False]  # motion is not wanted
    first = it.pixels()
    it.page.get_by_role("button", name="Play").click()
    it.until("state.t > 3")
    it.page.get_by_role("button", name="Pause").click()
    assert it.js("state.playing") is False
    it.settle()
    assert it.pixels() != first
    it.page.locator("#scrub").evaluate("e => { e.value = 25; e.dispatchEvent(new Event('input')); }")
    it.settle()
    assert it.js("state.t") == 25 and it.page.locator("#now").inner_text() == "step 25 of 40"
    it.page.locator("#speed").select_option("80")
    it.page.get_by_role("button", name="Play").click()
    it.until("state.t === 40 && !state.playing")
    it.page.keyboard.press("Home")
    assert it.js("state.t") == 0


def test_the_keyboard(opened):
    it = opened(Scene((surface("bowl"),), (entry("adam@0.1"),), steps=30))
    keys = it.page.keyboard
    keys.press("ArrowRight")
    keys.press("ArrowRight")
    keys.press("ArrowLeft")
    assert it.js("state.t") == 1
    keys.press("End")
    assert it.js("state.t") == 30
    keys.press("Home")
    keys.press(" ")
    assert it.js("state.playing") is True
    keys.press(" ")
    assert it.js("state.playing") is False
    keys.press("+")
    assert it.page.locator("#speed").input_value() == "40"
    keys.press("-")
    keys.press("v")
    assert it.js("state.three") is True
    names = it.js("[...document.querySelectorAll('button, input, select, canvas.ground')].map(e => e.tabIndex)")
    assert min(names) >= 0


def test_the_state_shows_what_bias_correction_does(opened):
    it = opened(Scene((surface("bowl"),), (entry("adam@0.1"),), steps=30))
    it.page.get_by_role("button", name="One step on").click()
    it.settle()
    rows = dict(
        it.js("[...document.querySelectorAll('#state tr')].map(r => [r.cells[0].innerText, r.cells[1].innerText])")
    )
    told = {name.strip(): float(x) for name, x in rows.items() if name.strip()}
    assert told["g"] == 3 and told["m"] == pytest.approx(0.3) and told["m̂"] == pytest.approx(3)
    assert told["v"] == pytest.approx(0.009) and told["v̂"] == pytest.approx(9) and told["√v̂"] == pytest.approx(3)
    assert told["step Δ"] == pytest.approx(0.1) and told["θ after"] == pytest.approx(2.9)
    assert told["1 / (1 - β₁ᵗ)"] == pytest.approx(10) and told["1 / (1 - β₂ᵗ)"] == pytest.approx(1000)
    assert "State of adam, step 1" in it.page.locator("#state-title").inner_text()
    with_arrows = it.pixels()
    it.page.get_by_role("button", name="Arrows").click()
    it.settle()
    assert it.pixels() != with_arrows


def test_it_can_be_heard(opened):
    it = opened(demo())
    it.page.keyboard.press("End")
    it.settle()
    labels = it.js("[...document.querySelectorAll('canvas[role=img]')].map(c => c.getAttribute('aria-label'))")
    assert len(labels) == 6 and all("adam" in text for text in labels)
    assert "η = 0.1 at step 100: sgd at (" in labels[2]
    controls = "[...document.querySelectorAll('input, select, button')]"
    assert it.js(f"{controls}.filter(e => !e.labels?.length && !e.innerText && !e.ariaLabel).length") == 0


def test_several_eta_at_once(opened):
    scene = demo()
    it = opened(scene)
    for panel, rows in enumerate(scene.walks):
        for number, (way,) in enumerate(rows):
            near(it.path(panel, number), way.points, 1e-8)
    it.page.locator("#panel-choice button").nth(2).click()
    it.slide("lr", 300)
    lr = it.js("state.hypers[2][3].lr")
    near(it.path(2, 3), expected(scene, 3, {"lr": lr}, panel=2))
    near(it.path(1, 3), scene.walks[1][3][0].points)


@pytest.mark.parametrize("size", VIEWPORTS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_follows_light_and_dark(opened, size, scheme):
    it = opened(demo(), size, scheme)
    width = VIEWPORTS[size][0]
    assert it.js("document.documentElement.scrollWidth") == width
    paper = it.js("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(18, 21, 27)")
    before = it.pixels()
    it.page.locator("#theme").click()
    it.settle()
    assert it.js("getComputedStyle(document.body).backgroundColor") != paper and it.pixels() != before
    it.page.locator("#view").click()
    it.settle()
    flat = it.pixels()
    it.page.locator("canvas.ground").first.press("ArrowRight")
    it.settle()
    assert it.pixels() != flat


def test_a_formula_with_markup_in_its_place_stays_text(opened):
    made = surface("where(x < 1, x**2, y) + 0*y + y**2")
    it = opened(Scene((replace(made, name="</script><b onload=x>&"),), (entry("adam@0.1"),), steps=5))
    assert it.page.locator("h3").inner_text() == "</script><b onload=x>&"


def test_a_notebook_shows_the_page():
    html = Scene((surface("bowl"),), (entry("adam@0.1"),), steps=5)._repr_html_()
    assert html.startswith('<iframe srcdoc="&lt;!doctype html&gt;') and html.count('"') == 4


def run(capsys, *args: Any) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["animate", *map(str, args)])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def test_the_command(capsys, tmp_path):
    file, code = tmp_path / "a.html", tmp_path / "mine.py"
    code.write_text(
        "import numpy as np\nimport adamas\ndef f(x, y):\n    return np.sin(x) + y**2\n"
        "@adamas.rule\ndef mine(g, *, lr=0.1):\n    return lr * g\n"
    )
    status, out, err = run(
        capsys, f"{code}:f", "x**2 + 3*y**2", "--optimizers", f"adam@0.2,{code}:mine", "--lrs", "0.1,0.3",
        "--steps", "30", "--start", "1,2", "--start", "-1,-2", "--noise", "0.1", "--seed", "3",
        "--window", "-3,3,-2,2", "--option", "betas=(0.8, 0.9)", "-o", file, "--json",
    )  # fmt: skip
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert len(told["paths"]) == 16 and told["files"][0]["bytes"] == file.stat().st_size
    assert {(row["optimizer"], row["lr"]) for row in told["paths"]} == {("adam", 0.2), ("mine", 0.1), ("mine", 0.3)}
    status, out, _ = run(capsys, "bowl", "--steps", "20", "-o", file)
    assert status == 0 and "a.html: " in out and "momentum" in out


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["bowll"], "Unknown surface 'bowll': did you mean 'bowl'?"),
        (["x**2 +"], "The function 'x**2 +' cannot be read"),
        (["log(x)", "--start", "0,0"], "log(x) is not finite where the paths start, at 0, 0"),
        (["missing.py:f"], "There is no file missing.py"),
        (["bowl", "--optimizers", "adamm"], "Unknown optimizer 'adamm': did you mean 'adam'?"),
        (["bowl", "--optimizers", "adam@big"], "'big' is not a number; give η as in adam@0.1."),
        (["bowl", "--optimizers", "adam@-1"], "Invalid learning rate: -1.0"),
        (["bowl", "--optimizers", "adam,,sgd"], "has an empty name"),
        (["bowl", "--lrs", "0.1,x"], "--lrs '0.1,x': give numbers with commas between them."),
        (["bowl", "--lrs", "-0.1"], "Invalid learning rate: -0.1"),
        (["bowl", "--start", "1"], "--start '1': give 2 numbers"),
        (["bowl", "--window", "1,1,0,1"], "has no area"),
        (["bowl", "--steps", "0"], "Invalid steps value: 0"),
        (["bowl", "--noise", "-1"], "Invalid noise value: -1.0"),
        (["bowl", "--seed", "-1"], "Invalid seed value: -1"),
        (["bowl", "--option", "gamma=1"], "--option gamma: none of sgd, momentum, rmsprop, adam has it"),
        (["bowl", "-o", "a.bmp"], "-o a.bmp is no kind of picture"),
        (["bowl", "-o", "nowhere/a.html"], "there is no folder nowhere"),
        (["bowl", "--demo"], "--demo says all by itself: leave out bowl"),
        (["--demo", "--steps", "3"], "leave out --steps"),
        (["bowl", "--optimizers", ",".join(["adam"] * 61)], "These are 61 paths"),
    ],
)
def test_bad_input_is_one_sentence(capsys, tmp_path, monkeypatch, args, sentence):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *args)
    assert (status, out) == (2, "") and sentence in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
