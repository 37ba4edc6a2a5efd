"""The system's Chromium, driven by Playwright, with an eye on what a page must never do.

A browser that is missing fails the test, in CI too: what was skipped has proved nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

__all__ = ["DESKTOP", "PHONE", "axe_violations", "chromium", "watched"]

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def _program() -> str:
    found = os.environ.get("TM_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail("no Chromium is there: apt-get install chromium, or set TM_CHROMIUM to its program", pytrace=False)
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser."""
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    program = _program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=options)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched(
    browser: Browser, size: dict[str, int] = DESKTOP, scheme: str = "light", *, trusting: bool = False
) -> Iterator[Page]:
    """Open a tab; fail if it has complained, asked another origin, or opened a dialog of its own.

    ``trusting`` takes any certificate.

    Its attributes ``allowed`` is a list of texts that a complaint may have in it.
    """
    context: BrowserContext = browser.new_context(
        viewport=size, color_scheme=scheme, locale="en-GB", ignore_https_errors=trusting
    )
    page = context.new_page()
    wrong: list[str] = []
    origins: set[str] = set()
    allowed: list[str] = []
    page.allowed = allowed  # type: ignore[attr-defined]
    page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: origins.add("{0.scheme}://{0.netloc}".format(urlsplit(request.url))))
    try:
        yield page
        complaints = [line for line in wrong if not any(text in line for text in allowed)]
        assert complaints == []
        assert len(origins) <= 1, f"it asked {origins}"
    finally:
        context.close()


def axe_violations(page: Page) -> list[Any]:
    """Ask axe what is wrong with the page, for those who see or steer it in other ways.

    It comes in through the debugger, so that the page's own policy stays on.
    """
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    found = page.evaluate("() => axe.run()")
    assert len(found["passes"]) > 15
    return [(one["id"], one["help"], [node["html"] for node in one["nodes"]]) for one in found["violations"]]
