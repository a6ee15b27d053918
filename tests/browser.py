"""A Chromium without a window, for what is JavaScript: started once in a process, the first time it is asked for."""

import atexit
import os
import shutil
from functools import cache
from typing import Any

import pytest


@cache
def _started() -> tuple[Any, str]:
    """The browser, and why there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        return None, f"there is no {error.name}"
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        return None, "there is no chromium on the PATH"
    driver = sync_playwright().start()
    browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
    atexit.register(driver.stop)
    atexit.register(browser.close)
    return browser, ""


def browser() -> Any:
    """Playwright's browser; a test that has none is skipped, with the reason."""
    started, reason = _started()
    if started is None:
        pytest.skip(f"JavaScript is not run: {reason}")
    return started


@cache
def blank() -> Any:
    """An empty page, for scripts that need none."""
    return browser().new_page()
