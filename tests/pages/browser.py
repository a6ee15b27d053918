"""A headless Chromium that tells everything a page complains of or asks for."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def needs_chromium() -> None:
    """Skip with the reason where there is no browser to look with."""
    pytest.importorskip("playwright", reason="needs playwright, which drives the browser")
    if CHROMIUM is None:
        pytest.skip("needs a chromium in PATH, to look at pages as a reader does")


@contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, file: Path, **options: Any) -> Iterator[Any]:
    """The file as a page; fails at the end if it complained, or asked for anything but itself."""
    context = browser.new_context(**options)
    page = context.new_page()
    heard: list[str] = []
    page.on("console", lambda m: heard.append(f"{m.type}: {m.text}"))
    page.on("pageerror", lambda e: heard.append(f"error: {e}"))
    page.on("dialog", lambda d: (heard.append(f"dialog: {d.message}"), d.dismiss()))
    page.on("request", lambda r: heard.append(f"request: {r.url}") if r.url != file.as_uri() else None)
    page.goto(file.as_uri())
    yield page
    context.close()
    assert heard == []
