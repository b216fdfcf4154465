"""Chromium, which Playwright controls."""

import shutil

import pytest
from playwright.sync_api import Browser, Playwright

_CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

NEEDS_CHROMIUM = pytest.mark.skipif(_CHROMIUM is None, reason="Chromium is not installed")


def launch(playwright: Playwright, *arguments: str) -> Browser:
    """Starts Chromium."""
    # Its sandbox does not work for root, and the tests open only pages of this repository.
    return playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox", *arguments])
