"""The API reference at /docs/ in a real browser, and its security policy."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, sync_playwright

from tests.e2e.sessions import PASSWORD, Session, a_patient
from tests.harness.axe import find_barriers
from tests.harness.chromium import NEEDS_CHROMIUM, launch
from tests.harness.system import ORIGIN
from tools.instance import Instance

pytestmark = [NEEDS_CHROMIUM, pytest.mark.timeout(300)]

UNKNOWN, CONFIGURED = "unknown.test", ORIGIN.removeprefix("http://")
SIZES = {"wide": (1280, 900), "phone": (390, 844)}

each_size = pytest.mark.parametrize("size", ["wide", pytest.param("phone", marks=pytest.mark.soak)])


@pytest.fixture(scope="module")
def other_site() -> Iterator[int]:
    """An empty page on another port."""

    class Blank(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Logs nothing."""

    with HTTPServer(("127.0.0.1", 0), Blank) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def browser(other_site: int) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        rules = ",".join(f"MAP {host} 127.0.0.1:{other_site}" for host in (UNKNOWN, CONFIGURED))
        browser = launch(playwright, f"--host-resolver-rules={rules}")
        yield browser
        browser.close()


class Reference:
    """The API reference, opened in a browser."""

    def __init__(self, browser: Browser, url: str, size: str = "wide") -> None:
        width, height = SIZES[size]
        self.page: Page = browser.new_page(viewport={"width": width, "height": height})
        self.page.set_default_timeout(60_000)  # milliseconds; browsers are slow on a loaded machine
        self.errors: list[str] = []
        self.page.on("console", self._record_message)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self._record_request(request.url, url))
        self.page.goto(f"{url}/docs/")
        self.page.wait_for_selector(".opblock-summary-control")

    def open(self, name: str) -> Locator:
        """Opens an operation and returns its element."""
        operation = self.page.locator(f"[id$=-{name}]")
        operation.locator(".opblock-summary-control").click()
        operation.locator(".responses-wrapper").wait_for()
        return operation

    def call(self, name: str, body: str | None = None, **parameters: str) -> Locator:
        """Sends a request, and returns the element that shows the response."""
        operation = self.open(name)
        if body is not None:
            operation.locator("textarea.body-param__text").fill(body)
        for parameter, value in parameters.items():
            operation.locator(f'tr[data-param-name="{parameter}"] input').fill(value)
        operation.get_by_role("button", name="Execute").click()
        response = operation.locator(".live-responses-table .response")
        response.wait_for()
        return response

    def authorize(self, token: str) -> None:
        """Enters an access token in the dialog "Authorize"."""
        self.page.locator(".auth-wrapper .authorize").first.click()
        dialog = self.page.locator(".dialog-ux")
        dialog.locator("#auth-bearer-value").fill(token)
        dialog.get_by_role("button", name="Authorize").first.click()
        dialog.get_by_role("button", name="Close").first.click()

    def _record_message(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and "status of 40" not in message.text:
            self.errors.append(message.text)

    def _record_request(self, requested: str, url: str) -> None:
        if not requested.startswith((f"{url}/", "data:")):
            self.errors.append(f"{requested} is not the gateway's")


def field(response: Locator, name: str) -> str:
    """Returns a field of a displayed JSON response."""
    return str(json.loads(response.locator("code").first.inner_text())[name])


@each_size
def test_user_signs_up_logs_in_and_creates_a_patient_in_the_reference(
    system: Instance, browser: Browser, size: str
) -> None:
    name = uuid4().hex
    login = {"email": f"{name}@clinic.test", "password": PASSWORD}
    reference = Reference(browser, system.url, size)
    signed_up = reference.call("SignUp", json.dumps(login | {"username": name}))
    assert field(signed_up, "role") == "ROLE_USER"
    reference.authorize(field(reference.call("Login", json.dumps(login)), "accessToken"))
    patient = a_patient(name="Ana Silva")
    created = reference.call("CreatePatient", json.dumps(patient))
    assert field(created, "email") == patient["email"]
    read = reference.call("GetPatient", id=field(created, "id"))
    assert field(read, "name") == "Ana Silva"
    assert reference.errors == []
    assert reference.page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    reference.page.close()


def test_reference_page_runs_no_foreign_script_and_calls_no_other_origin(system: Instance, browser: Browser) -> None:
    reference = Reference(browser, system.url)
    inline = "const s = document.createElement('script'); s.textContent = 'ran = true'; document.body.append(s)"
    assert reference.page.evaluate(f"() => {{ {inline}; return typeof ran }}") == "undefined"
    assert reference.page.evaluate("() => fetch('https://elsewhere.test/').catch(() => 'refused')") == "refused"
    rejected = [text for text in reference.errors if "Content Security Policy" in text]
    assert [text for text in rejected if "script-src" in text]
    assert [text for text in rejected if "elsewhere.test" in text]
    reference.page.close()


def test_operations_are_listed_without_javascript(system: Instance, browser: Browser) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(f"{system.url}/docs/")
    assert page.locator(".opblock").count() > 60
    assert page.get_by_text("Creates a patient", exact=True).is_visible()
    page.close()


@each_size
def test_page_has_no_accessibility_problems(system: Instance, browser: Browser, size: str) -> None:
    reference = Reference(browser, system.url, size)
    assert find_barriers(reference.page) == []
    operation = reference.open("CreatePatient")
    assert find_barriers(reference.page) == []
    box = operation.bounding_box()
    assert box
    assert box["height"] < 4000  # the examples of all errors would need 7500
    reference.page.locator(".auth-wrapper .authorize").first.click()
    assert find_barriers(reference.page) == []
    reference.page.close()


def test_address_of_an_operation_opens_it(system: Instance, browser: Browser) -> None:
    reference = Reference(browser, system.url)
    reference.open("GetPatient")
    assert reference.page.url.endswith("#/Patient/GetPatient")
    reference.page.reload()
    reference.page.locator("[id$=-GetPatient] .responses-wrapper").wait_for()
    reference.page.close()


def test_token_survives_a_reload_only_if_the_user_chooses(user: Session, system: Instance, browser: Browser) -> None:
    reference = Reference(browser, system.url)
    remember = reference.page.get_by_label("Keep the access token in this tab when the page reloads")
    read = "window.reference.authSelectors.authorized().getIn(['bearer', 'value']) ?? ''"

    def reload() -> str:
        reference.page.reload()
        reference.page.wait_for_selector(".opblock-summary-control")
        return str(reference.page.evaluate(read))

    reference.authorize(user.token)
    assert reload() == ""
    remember.check()
    reference.authorize(user.token)
    assert reload() == user.token
    assert remember.is_checked()
    remember.uncheck()
    assert reference.page.evaluate(read) == user.token
    assert reload() == ""
    assert reference.errors == []
    reference.page.close()


CALLING = """async ([url, token]) => {
    try {
        const response = await fetch(url, {headers: {authorization: `Bearer ${token}`}});
        return `${response.status} ${await response.text()}`;
    } catch (error) {
        return String(error);
    }
}"""


@pytest.mark.parametrize(
    ("host", "read"),
    [
        (CONFIGURED, '200 {"billingAccounts":[],"nextPageToken":""}'),
        (UNKNOWN, "TypeError: Failed to fetch"),
        ("127.0.0.1:{port}", "TypeError: Failed to fetch"),
        ("localhost:{port}", "TypeError: Failed to fetch"),
    ],
)
def test_page_of_another_origin_can_call_only_if_configured(
    user: Session, browser: Browser, other_site: int, host: str, read: str
) -> None:
    page = browser.new_page()
    page.goto(f"http://{host.format(port=other_site)}/")
    url = f"{user.rest.base_url}/v1/billing/accounts?patientId={uuid4()}"
    assert page.evaluate(CALLING, [url, user.token]) == read
    page.close()
