"""Pictures that need no browser: a GIF by Pillow, an MP4 where ffmpeg is, a strip of moments as PNG."""

import io
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from adamas.errors import InputError
from adamas.palette import FAINT, INK, PALE
from adamas.pictures.ground import LEVELS, Ground, on_grid
from adamas.pictures.scene import COLOURS, Panel, Scene
from adamas.pictures.walk import Walk

MARKS = ("o", "s", "^", "D", "P")
DASHES = ("-", "--", ":", "-.")
LOW, HIGH = "#fafcff", "#98aac2"
"""Grounds, as in page.html; so are the marks."""
FRAMES = 100
"""Of an animation, after the first; long paths are shown every few steps."""
PAUSE, HOLD = 80, 2500
"""Milliseconds of a frame, and of the last."""
MOMENTS = 4
"""In a strip."""

Advance = Callable[[Any], None]


def moments(scene: Scene) -> list[int]:
    """The steps of the frames."""
    return [int(t) for t in np.unique(np.linspace(0, scene.steps, min(scene.steps, FRAMES) + 1).round())]


def gif(scene: Scene, path: Path, advance: Advance = lambda done: None) -> None:
    """An animation that repeats."""
    images = [Image.fromarray(frame) for frame in _frames(scene, advance)]
    # One palette for all, of the frame in which every colour is: so what does not move is not stored again.
    last = images[-1].quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    flat = [image.quantize(palette=last, dither=Image.Dither.NONE) for image in images]
    told = io.BytesIO()
    flat[0].save(
        told,
        format="GIF",
        save_all=True,
        append_images=flat[1:],
        duration=[PAUSE] * (len(flat) - 1) + [HOLD],
        loop=0,
        comment=scene.described.encode("ascii", "replace"),
    )
    path.write_bytes(told.getvalue())


def ffmpeg() -> str:
    """Where it is.

    Raises:
        InputError: where it is not.
    """
    found = shutil.which("ffmpeg")
    if found is None:
        raise InputError(
            "An MP4 needs the program ffmpeg, which is not on the PATH: install it, or ask for a .gif or .html, which "
            "need no program."
        )
    return found


def mp4(scene: Scene, path: Path, advance: Advance = lambda done: None) -> None:
    """The same as a film, by ffmpeg."""
    program = ffmpeg()
    frames = _frames(scene, advance)
    first = next(frames)
    height, width = first.shape[0] // 2 * 2, first.shape[1] // 2 * 2  # which the codec wants even
    with tempfile.TemporaryDirectory() as folder:
        aside, said = Path(folder) / "film.mp4", Path(folder) / "said"
        command = [program, "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
        command += ["-r", str(1000 / PAUSE), "-i", "-", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(aside)]
        with (
            suppress(BrokenPipeError),  # it has ended, and says why
            said.open("wb") as heard,
            subprocess.Popen(command, stdin=subprocess.PIPE, stderr=heard) as running,
        ):
            assert running.stdin is not None
            try:
                image = b""
                for frame in chain([first], frames):
                    image = frame[:height, :width].tobytes()
                    running.stdin.write(image)
                for _ in range(HOLD // PAUSE):
                    running.stdin.write(image)
                running.stdin.close()
            except BrokenPipeError:
                raise
            except BaseException:
                running.kill()
                raise
        if running.returncode or not aside.is_file():
            why = said.read_text(errors="replace").split("\n")[0].rstrip(".") or f"status {running.returncode}"
            raise InputError(f"{program} made no film ({why}): ask for a .gif instead.")
        shutil.move(aside, path)


def strip(scene: Scene, path: Path) -> None:
    """The paths at a few moments, and the heights beside them."""
    panels = scene.panels
    figure = Figure(figsize=(13, 0.75 + 2.6 * len(panels)), dpi=120, layout="constrained")
    axes = figure.subplots(len(panels), MOMENTS + 1, squeeze=False, width_ratios=[*[1] * MOMENTS, 1.25])
    for k, panel in enumerate(panels):
        for column, t in enumerate(np.linspace(0, scene.steps, MOMENTS + 1).round().astype(int)[1:]):
            part = _Ground(axes[k, column], scene, k)
            part.stand(t)
            axes[k, column].set_title(f"{panel.title + ', ' if column == 0 else ''}step {t}", fontsize=9.5, loc="left")
            part.move(t)
        _Heights(axes[k, MOMENTS], scene, k).move(scene.steps)
    _legend(figure, scene)
    told = io.BytesIO()
    figure.savefig(told, format="png", metadata={"Description": scene.described})
    path.write_bytes(told.getvalue())


def _frames(scene: Scene, advance: Advance) -> Iterator[Any]:
    """Images, [height, width, 3]. What stands still is drawn once."""
    panels = scene.panels
    height = 0.7 + (4.2 if len(panels) == 1 else 2.5 * len(panels))
    figure = Figure(figsize=(8.4, height), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 2, squeeze=False, width_ratios=(1.35, 1))
    parts: list[_Part] = []
    for k, panel in enumerate(panels):
        axes[k, 0].set_title(panel.title, fontsize=10.5, loc="left", color=INK, weight="bold")
        parts += [_Ground(axes[k, 0], scene, k), _Heights(axes[k, 1], scene, k)]
    _legend(figure, scene)
    clock = figure.text(0.99, 0.995, "", ha="right", va="top", fontsize=10, color=INK, animated=True)
    moves = any(panel.surface.function.moves for panel in panels)
    still = None
    for t in moments(scene):
        if still is None or moves:
            for part in parts:
                part.stand(t)
            canvas.draw()
            if still is None:
                figure.set_layout_engine("none")  # so that nothing is shifted from frame to frame
            still = canvas.copy_from_bbox(figure.bbox)
        canvas.restore_region(still)
        clock.set_text(f"step {t} of {scene.steps}")
        figure.draw_artist(clock)
        for part in parts:
            part.move(t)
            for artist in part.moving:
                part.axes.draw_artist(artist)
        advance(t)
        yield np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _legend(figure: Figure, scene: Scene) -> None:
    from matplotlib.lines import Line2D

    keys = [Line2D([], [], **_look(k), markersize=7, label=label) for k, label in enumerate(_labels(scene))]
    figure.legend(
        handles=keys, loc="outside upper left", ncols=min(len(keys), 5), frameon=False, fontsize=10, handlelength=2.4
    )


def _labels(scene: Scene) -> list[str]:
    """Names, with η where each has one of its own."""
    if len(scene.surfaces) > 1 and not scene.rates:
        return [e.label for e in scene.entries]
    own = [e.label if scene.rates and "lr" not in e.options else None for e in scene.entries]
    return [
        name or f"{e.label}, η = {hyper['lr']:g}"
        for name, e, hyper in zip(own, scene.entries, scene.hypers[0], strict=True)
    ]


def _look(k: int) -> dict[str, Any]:
    return {
        "color": COLOURS[k % len(COLOURS)],
        "marker": MARKS[k % len(MARKS)],
        "linestyle": DASHES[k // len(COLOURS) % len(DASHES)],
        "linewidth": 1.9,
        "markeredgecolor": "white",
        "markeredgewidth": 0.8,
    }


class _Part:
    """A pair of axes in which lines grow."""

    def __init__(self, axes: Axes, scene: Scene, number: int) -> None:
        self.axes = axes
        self.panel: Panel = scene.panels[number]
        self.walks: list[tuple[int, Walk]] = [(k, w) for k, ways in enumerate(scene.walks[number]) for w in ways]
        self.moving: list[Any] = []
        for k, _ in self.walks:
            look = _look(k)
            (line,) = axes.plot([], [], **{**look, "marker": ""}, animated=True, zorder=3)
            (head,) = axes.plot([], [], **look, markersize=7.5, animated=True, zorder=4)
            self.moving += [line, head]
        axes.tick_params(labelsize=8, colors=FAINT, length=2.5)
        axes.spines[:].set_color("#c4cad2")

    def stand(self, t: int) -> None:
        """Draw what stands still, as it is at a step."""

    def points(self, walk: Walk) -> tuple[Any, Any]:
        """x and y of a line at each step."""
        raise NotImplementedError

    def move(self, t: int) -> None:
        """Bring the lines up to a step."""
        for (_, walk), line, head in zip(self.walks, self.moving[::2], self.moving[1::2], strict=True):
            x, y = self.points(walk)
            line.set_data(x[: t + 1], y[: t + 1])
            last = min(t, len(x) - 1)
            head.set_data(x[last : last + 1], y[last : last + 1])


class _Ground(_Part):
    def __init__(self, axes: Axes, scene: Scene, number: int) -> None:
        super().__init__(axes, scene, number)
        surface = self.panel.surface
        self.ground = Ground.of(surface)
        self.drawn: list[Any] = []
        (a, b), (c, d) = surface.domain
        axes.set_xlim(a, b)
        axes.set_ylim(c, d)
        for x, y in scene.starts_on(surface):
            axes.plot([x], [y], "o", markersize=11, markerfacecolor="none", markeredgecolor=INK, markeredgewidth=1.4)
        if surface.minima and not surface.function.moves:
            axes.plot(*zip(*surface.minima, strict=True), "+", color=INK, markersize=9, markeredgewidth=1.4)

    def stand(self, t: int) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        for artist in self.drawn:
            artist.remove()
        x, y, heights = on_grid(self.panel.surface, 121, t)
        shares = np.nan_to_num(self.ground.share(heights), nan=1.0, posinf=2.0)
        levels = np.arange(LEVELS + 1) / LEVELS
        colours = LinearSegmentedColormap.from_list("ground", [LOW, HIGH])
        self.drawn = [
            self.axes.contourf(x, y, np.minimum(shares, 1), levels, cmap=colours, zorder=0),
            self.axes.contour(x, y, shares, levels[1:], colors="#28405a", linewidths=0.5, alpha=0.35, zorder=1),
        ]

    def points(self, walk: Walk) -> tuple[Any, Any]:
        (a, b), (c, d) = self.panel.surface.domain
        # far outside there is nothing to be seen, and what is drawn must stay a number of pixels
        x = np.clip(walk.points[:, 0], a - 50 * (b - a), b + 50 * (b - a))
        return x, np.clip(walk.points[:, 1], c - 50 * (d - c), d + 50 * (d - c))


class _Heights(_Part):
    def __init__(self, axes: Axes, scene: Scene, number: int) -> None:
        super().__init__(axes, scene, number)
        known = bool(self.panel.surface.minima)
        self.base = self.panel.surface.lowest if known else 0.0
        curves = [w.heights - self.base for _, w in self.walks]
        every = np.concatenate(curves)
        top = min(every.max(), 30 * max(max(abs(c[0]) for c in curves), 1e-9))
        positive = every[every > 0]
        self.low = float(every.min())
        if known and positive.size and top / positive.min() > 50:
            self.low = float(max(positive.min(), 1e-12, top * 1e-14))
            axes.set_yscale("log")
            axes.minorticks_off()
            axes.set_ylim(self.low, top * 1.6)
        else:
            span = max(top - self.low, 1e-300)
            axes.set_ylim(self.low - 0.03 * span, top + 0.03 * span)
        for k, curve in enumerate(curves):
            look = _look(self.walks[k][0])
            axes.plot(np.maximum(curve, self.low), color=look["color"], linestyle=look["linestyle"], alpha=0.22)
        axes.set_xlim(0, scene.steps)
        axes.set_ylabel("height above the minimum" if known else "height", fontsize=8.5, color=FAINT)
        if number == len(scene.panels) - 1:
            axes.set_xlabel("step", fontsize=8.5, color=FAINT)
        axes.grid(True, color=PALE, linewidth=0.8)
        axes.set_axisbelow(True)

    def points(self, walk: Walk) -> tuple[Any, Any]:
        return np.arange(len(walk.heights)), np.maximum(walk.heights - self.base, self.low)
