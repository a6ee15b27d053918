"""Long work shows that it goes on: a bar on a terminal, plain lines elsewhere; always on stderr."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

EVERY = 10.0
"""Seconds between plain lines."""

Advance = Callable[[Any], None]


class Progress:
    """Shows phases of work on the console of stderr."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._begun = time.monotonic()

    def say(self, text: str) -> None:
        """One plain line."""
        self._console.print(text, markup=False)

    @contextmanager
    def phase(self, text: str, total: int, noun: str = "trials") -> Generator[Advance]:
        """Within it, call what is yielded once for each of `total` pieces of work done."""
        if self._console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            with Bar(*columns, console=self._console, transient=True) as bar:
                task = bar.add_task(text, total=total)
                yield lambda _: bar.advance(task)
            return
        self.line(f"{text}: {total} {noun}")
        last, done = time.monotonic(), 0

        def advance(_: Any) -> None:
            nonlocal last, done
            done += 1
            if time.monotonic() - last > EVERY and done < total:
                last = time.monotonic()
                self.line(f"{text}: {done} of {total}")

        yield advance

    def line(self, text: str) -> None:
        self.say(f"[{time.monotonic() - self._begun:5.1f} s] {text}")
