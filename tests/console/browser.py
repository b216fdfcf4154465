"""The console in a browser."""

from typing import Literal

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page

from tests.e2e.sessions import ADMIN_EMAIL, PASSWORD, Administered
from tests.harness.axe import find_barriers

Scheme = Literal["light", "dark"]
SIZES = {"wide": (1280, 900), "phone": (390, 844)}
_VIOLATIONS = """
window.violations = [];
addEventListener('securitypolicyviolation', event => violations.push(event.violatedDirective));
"""


class Console:
    """The console in a page of its own."""

    def __init__(self, browser: Browser, url: str, size: str = "wide") -> None:
        width, height = SIZES[size]
        self.page: Page = browser.new_page(viewport={"width": width, "height": height}, reduced_motion="reduce")
        self.page.set_default_timeout(60_000)  # milliseconds; browsers are slow on a loaded machine
        self.errors: list[str] = []
        self.page.add_init_script(_VIOLATIONS)
        self.page.on("console", self._record_message)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self._record_request(request.url, url))
        self.page.goto(f"{url}/console/")

    def sign_in(self, email: str, password: str = PASSWORD) -> None:
        """Signs in and waits for the list of patients."""
        self.page.get_by_label("Email").fill(email)
        self.page.get_by_label("Password").fill(password)
        self.page.keyboard.press("Enter")
        self.page.get_by_role("heading", name="Patients", level=1).wait_for()

    def sign_in_admin(self, system: Administered) -> None:
        """Signs in as the first admin."""
        self.sign_in(ADMIN_EMAIL, system.admin_password)

    def open(self, path: str, heading: str) -> None:
        """Opens a view, and waits for its heading."""
        self.page.evaluate("path => { location.hash = path }", path)
        self.page.get_by_role("heading", name=heading, level=1).wait_for()

    def save(self, button: str) -> None:
        """Presses a button, and waits for the record of a patient."""
        self.page.get_by_role("button", name=button, exact=True).click()
        self.page.get_by_role("link", name="History").wait_for()

    def show(self, size: str, scheme: Scheme) -> None:
        """Changes the size of the window and the color scheme."""
        width, height = SIZES[size]
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.emulate_media(color_scheme=scheme)

    def rows(self) -> list[Locator]:
        """Returns the rows of the table."""
        return self.page.locator("tbody tr").all()

    def find_barriers(self) -> list[str]:
        """Returns the serious accessibility problems of the current view that axe finds."""
        barriers = find_barriers(self.page, standards=("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"))
        return [barrier for impact, barrier in barriers if impact in {"serious", "critical"}]

    def is_too_wide(self) -> bool:
        """Returns whether the view scrolls sideways."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    def _record_message(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(message.text)

    def _record_request(self, requested: str, url: str) -> None:
        if not requested.startswith((f"{url}/", "data:")):
            self.errors.append(f"{requested} is not the gateway's")
