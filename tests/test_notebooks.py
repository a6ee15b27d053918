"""What a notebook shows of an object that is the last of a cell, and plots onto somebody's own axes."""

import sys
from html.parser import HTMLParser

import pytest

import adamas
from adamas.errors import InputError
from adamas.plan.devices import budget
from adamas.plan.step import Step
from adamas.plan.weights import weights
from adamas.race import race
from adamas.race.rate import find_lr
from adamas.schedules import cosine, warmup

MALICE = "<b onclick=alert(1)>.py"
OWN = (
    "def start(rng): return rng.normal(size=2)\ndef loss(p): return float(p @ p)\ndef gradient(p, rng): return 2 * p\n"
)


class Seen(HTMLParser):
    """What a browser would make of it; tags that are opened must be closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("br", "img", "hr", "path", "use", "image", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def count(self, tag):
        return sum(t == tag for t, _ in self.tags)


@pytest.fixture(scope="module")
def raced(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    (folder / MALICE).write_text(OWN)
    return race(str(folder / MALICE), ["sgd", "adam"], lrs=[0.1], seeds=2, steps=30, jobs=1, output=folder / "race")


def test_a_race(raced):
    seen = Seen(raced._repr_html_())
    assert raced.table.verdict in seen.text and raced.lines in seen.text and MALICE in seen.text
    assert seen.count("tr") == 3 and seen.count("b") == 1  # the verdict, not the file's name
    picture = next(attributes for tag, attributes in seen.tags if tag == "img")
    assert picture["src"].startswith("data:image/png;base64,") and raced.table.headline in picture["alt"]
    assert repr(raced).startswith(f"<Race on {raced.problem.name}: {raced.table.verdict}") and len(repr(raced)) < 600


def test_a_race_on_somebodys_axes(raced):
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    assert raced.plot(axes) is axes and raced.plot(ax=axes) is axes
    last = {round(line.get_ydata()[-1], 12) for line in axes.lines if len(line.get_xdata()) > 2}
    assert {round(row.metric, 12) for row in raced.table.rows} <= last
    assert raced.plot() is not axes


def test_a_race_that_nobody_has_won_has_no_curves(tmp_path):
    (tmp_path / "cliff.py").write_text(OWN.replace("float(p @ p)", "float('nan')"))
    lost = race(str(tmp_path / "cliff.py"), ["sgd"], lrs=[0.1], seeds=1, steps=5, jobs=1, output=tmp_path / "o")
    with pytest.raises(InputError, match="no curves to draw"):
        lost.plot()
    assert "Nobody won" in Seen(lost._repr_html_()).text


def test_a_range_test():
    found = find_lr("valley", "sgd")
    seen = Seen(found._repr_html_())
    assert "sgd on valley" in seen.text and found.test.sentence in seen.text and found.lines in seen.text
    assert seen.count("img") == 1 and repr(found).startswith("<sgd on valley: <RangeTest: Suggested")


def test_a_plan():
    plan = budget(weights("1000000000"), Step.of(adamas.rules()["adamw"]), "zero1", 4)
    seen = Seen(plan._repr_html_())
    assert seen.count("td") == 7 and "zero1" in seen.text and "3.725 GiB" in seen.text  # weights, in float32


def test_all_of_it_without_matplotlib(raced, monkeypatch):
    found = find_lr("valley", "sgd", trial=0)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "adamas.race.picture")
    monkeypatch.delitem(sys.modules, "adamas.rangetest_picture")
    with pytest.raises(InputError, match="matplotlib"):
        raced.plot()
    schedule = warmup(5) >> cosine(50)
    for thing in (found, schedule):
        seen = Seen(thing._repr_html_())
        assert seen.text and not seen.count("img") and not seen.count("svg")
