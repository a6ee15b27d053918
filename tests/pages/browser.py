"""A headless Chromium, one in a process, and pages in it that tell everything they complain of or ask for."""

import atexit
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def chromium() -> Any:
    """Playwright's browser, begun when it is first asked for. Where there is none, the test is skipped."""
    pytest.importorskip("playwright", reason="needs playwright, which drives the browser")
    if CHROMIUM is None:
        pytest.skip("needs a chromium in PATH, to look at pages as a reader does")
    return _begun()


@cache
def _begun() -> Any:
    from playwright.sync_api import sync_playwright

    driver = sync_playwright().start()
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    atexit.register(driver.stop)
    atexit.register(browser.close)
    return browser


@cache
def _blank() -> Any:
    return chromium().new_page()


def evaluate(script: str, argument: Any = None) -> Any:
    """What a script returns that needs no page."""
    return _blank().evaluate(script, argument)


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
