"""GIF, film and strip: every frame is there, shows what it says, and costs little."""

import json
import os
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adamas.cli import main
from adamas.errors import InputError
from adamas.pictures import Scene, demo, entry, surface

pytest.importorskip("matplotlib", reason="pictures are drawn by matplotlib")
from PIL import Image

from adamas.pictures import frames
from adamas.pictures.ground import Ground

SMALL = Scene((surface("rosenbrock"),), (entry("adam@0.1"), entry("sgd@0.9")), steps=12)


def shown(path: Path) -> list[np.ndarray]:
    with Image.open(path) as image:
        found = []
        for k in range(image.n_frames):
            image.seek(k)
            found.append(np.asarray(image.convert("RGB"), np.int16))
        return found


def test_the_demo_is_small_and_whole(tmp_path):
    path = tmp_path / "demo.gif"
    seen: list[Any] = []
    frames.gif(demo(), path, seen.append)
    assert seen == list(range(101))
    assert path.stat().st_size < 1.5e6
    with Image.open(path) as image:
        assert image.n_frames == 101 and image.info["loop"] == 0 and image.info["duration"] == frames.PAUSE
        assert b"sgd diverges" in image.info["comment"] or b"rmsprop" in image.info["comment"]
        image.seek(100)
        assert image.info["duration"] == frames.HOLD


def test_frames_differ_only_where_something_moves(tmp_path):
    path = tmp_path / "small.gif"
    frames.gif(SMALL, path)
    images = shown(path)
    assert len(images) == 13
    for before, after in pairwise(images):
        changed = np.abs(before - after).max(axis=2) > 40
        assert 0 < changed.mean() < 0.08
    height = images[0].shape[0]
    assert np.abs(images[0] - images[-1])[: height // 12, : images[0].shape[1] // 2].max() < 40  # the legend stays


def test_lines_end_where_the_walks_are():
    from matplotlib.figure import Figure

    scene = Scene((surface("bowl"),), (entry("adam@0.2"), entry("sgd@9")), starts=((1.0, 2.0), (-3.0, 1.0)), steps=400)
    ways = [way for rows in scene.walks[0] for way in rows]
    ground, heights = (kind(Figure().add_subplot(), scene, 0) for kind in (frames._Ground, frames._Heights))
    for t in (0, 7, 400):
        ground.move(t)
        heights.move(t)
        for k, way in enumerate(ways):
            last = min(t, len(way.points) - 1)
            line, head = ground.moving[2 * k : 2 * k + 2]
            here = np.clip(way.points[last], -404, 404)
            assert np.array_equal(np.ravel(head.get_data()), here) and len(line.get_xdata()) == last + 1
            (x,), (y,) = heights.moving[2 * k + 1].get_data()
            assert (x, y) == (last, max(way.heights[last], heights.low))
    assert [way.diverged for way in ways] == [False, False, True, True]


def test_a_moving_surface_moves_in_the_picture():
    from matplotlib.figure import Figure

    scene = Scene((surface("drifting-bowl"),), (entry("adam@0.01"),), steps=100)
    part = frames._Ground(Figure().add_subplot(), scene, 0)
    middles = []
    for t in (0, 50, 100):
        part.stand(t)
        inner = part.drawn[1].get_paths()[0].vertices
        middles.append(inner.mean(axis=0))
    np.testing.assert_allclose(middles, [[0, 0], [1, 1], [0, 2]], atol=0.1)
    assert len(part.axes.collections) == 2  # the earlier ones are gone


def test_a_strip(tmp_path):
    path = tmp_path / "strip.png"
    frames.strip(demo(), path)
    with Image.open(path) as image:
        assert image.size[0] == 1560 and "η = 0.5: sgd" in image.info["Description"]


def test_a_film_without_ffmpeg_is_refused_before_anything_is_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["animate", "bowl", "-o", str(tmp_path / "film.mp4")])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err == (
        "adamas: An MP4 needs the program ffmpeg, which is not on the PATH: install it, or ask for a .gif or .html, "
        "which need no program.\n"
    )
    assert list(tmp_path.iterdir()) == []


def program(folder: Path, text: str) -> None:
    made = folder / "ffmpeg"
    made.write_text(f"#!{os.sys.executable}\nimport sys\n{text}")
    made.chmod(made.stat().st_mode | stat.S_IXUSR)


def test_a_film_hands_ffmpeg_every_pixel(tmp_path, monkeypatch):
    program(tmp_path, "open(sys.argv[-1], 'wb').write(repr(sys.argv).encode() + b'|' + sys.stdin.buffer.read())")
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "film.mp4"
    frames.mp4(SMALL, path)
    told, _, pixels = path.read_bytes().partition(b"|")
    size = told.decode().split("'-s', '")[1].split("'")[0]
    width, height = map(int, size.split("x"))
    assert width % 2 == height % 2 == 0 and "yuv420p" in told.decode() and "'-r', '12.5'" in told.decode()
    assert len(pixels) == 3 * width * height * (13 + frames.HOLD // frames.PAUSE)
    first = np.frombuffer(pixels[: 3 * width * height], np.uint8).reshape(height, width, 3)
    np.testing.assert_array_equal(first, next(frames._frames(SMALL, lambda t: None))[:height, :width])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sys.stderr.write('Unknown encoder.\\n'); sys.exit(1)", r"made no film \(Unknown encoder\): ask for a .gif"),
        ("sys.stdin.buffer.read()", r"made no film \(status 0\)"),
    ],
)
def test_what_ffmpeg_says_is_said(tmp_path, monkeypatch, text, sentence):
    program(tmp_path, text)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=sentence):
        frames.mp4(SMALL, tmp_path / "film.mp4")
    assert not (tmp_path / "film.mp4").exists()


def test_the_demo_by_the_command(tmp_path, capsys):
    gif, page = tmp_path / "demo.gif", tmp_path / "demo.html"
    with pytest.raises(SystemExit) as ended:
        main(["animate", "--demo", "-o", str(gif), "-o", str(page), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0 and [Path(f["file"]) for f in told["files"]] == [gif, page]
    assert {row["lr"] for row in told["paths"]} == {0.01, 0.1, 0.5} and len(told["paths"]) == 12
    assert all(f["bytes"] == Path(f["file"]).stat().st_size > 10_000 for f in told["files"])


def test_ground_shows_flat_and_steep():
    for name in ("rosenbrock", "plateau", "bowl"):
        ground = Ground.of(surface(name))
        shares = np.linspace(0, 1, 11)
        np.testing.assert_allclose(ground.share(ground.height(shares)), shares, atol=1e-12)
        assert 0.2 <= ground.bend <= 1
    assert Ground.of(surface("rosenbrock")).bend < 0.5 < Ground.of(surface("plateau")).bend == 1


@pytest.mark.parametrize("what", ["x + 0*y", "1/x**2", "log(x)", "1e150*x**2", "0*x*y + x - x"])
def test_odd_functions_are_drawn_all_the_same(tmp_path, what):
    made = Scene((surface(what),), (entry("adam@0.1"),), starts=((2.0, 1.0),), steps=5)
    frames.strip(made, tmp_path / "odd.png")
    assert (tmp_path / "odd.png").stat().st_size > 10_000
