"""Fixtures: the built console, a browser, and a signed-in console for the tests of a module."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from console.build import build
from tests.console.browser import Console
from tests.harness.chromium import launch
from tools.instance import Instance


@pytest.fixture(scope="session")
def built() -> None:
    """Builds the console, unless it is current."""
    build()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def signed_in(built: None, browser: Browser, system: Instance) -> Iterator[Console]:
    """The console of the first admin in a wide window."""
    console = Console(browser, system.url)
    console.sign_in_admin(system)
    yield console
    console.page.close()


@pytest.fixture
def console(signed_in: Console) -> Iterator[Console]:
    """The same console. It must not report errors or requests to other hosts."""
    signed_in.errors.clear()
    yield signed_in
    assert signed_in.errors == []
