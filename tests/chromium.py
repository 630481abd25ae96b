"""A real browser for tests, patient on a busy machine."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 180_000  # milliseconds
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed; on Debian: apt install chromium"
)
expect.set_options(timeout=PATIENCE)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium without a window, which asks nothing of the network by itself."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
            timeout=PATIENCE,
        )
        yield browser
        browser.close()


def new_page(browser: Browser, **options) -> Page:
    """A page of its own: `options` are the browser's, such as viewport or color_scheme."""
    page = browser.new_page(**options)
    page.set_default_timeout(PATIENCE)
    return page
