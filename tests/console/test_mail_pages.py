"""The pages of the console that links in mail lead to."""

from uuid import uuid4

import pytest
from playwright.sync_api import Browser

from tests.console.browser import Console
from tests.e2e.sessions import PASSWORD, Session
from tests.harness.chromium import NEEDS_CHROMIUM
from tools.instance import Instance

pytestmark = [NEEDS_CHROMIUM, pytest.mark.timeout(300), pytest.mark.usefixtures("built")]

NEW_PASSWORD = "battery staple 7"


def open_link(browser: Browser, system: Instance, page: str, token: str, size: str = "wide") -> Console:
    """Opens the link of a mail."""
    console = Console(browser, system.url, size)
    console.page.goto(f"{system.url}/console/{page}#token={token}")
    console.page.get_by_role("button", name="Go to sign-in").wait_for()
    assert "token" not in console.page.url
    return console


def test_user_sets_a_new_password_and_signs_in(browser: Browser, system: Instance, admin: Session) -> None:
    with Session.sign_up(system) as user:
        me = user.rest.get("/v1/auth/me").json()
    reset = admin.post(f"/v1/users/{me['id']}:createPasswordReset", {})
    console = open_link(browser, system, "reset-password", reset["token"])
    password = console.page.get_by_label("New password")
    password.fill("short")
    console.page.get_by_role("button", name="Set password").click()
    console.page.locator("#field-new_password-error").wait_for()
    password.fill(NEW_PASSWORD)
    console.page.get_by_role("button", name="Set password").click()
    console.page.get_by_text("Your password was changed.").wait_for()
    console.page.get_by_role("button", name="Go to sign-in").click()
    console.sign_in(me["email"], NEW_PASSWORD)
    assert console.errors == []
    console.page.close()


def test_user_accepts_an_invitation_and_signs_in(browser: Browser, system: Instance, admin: Session) -> None:
    name = uuid4().hex
    invitation = admin.post("/v1/invitations", {"email": f"{name}@clinic.test", "role": "ROLE_USER"})
    console = open_link(browser, system, "accept-invitation", invitation["token"])
    console.page.get_by_label("User name").fill(name)
    console.page.get_by_label("Password").fill(PASSWORD)
    console.page.get_by_role("button", name="Create account").click()
    console.page.get_by_text("Your account was created.").wait_for()
    console.page.get_by_role("button", name="Go to sign-in").click()
    console.sign_in(f"{name}@clinic.test")
    console.page.close()


@pytest.mark.parametrize(
    ("page", "size"), [("reset-password", "phone"), ("verify-email", "wide"), ("accept-invitation", "phone")]
)
def test_invalid_token_is_reported(browser: Browser, system: Instance, page: str, size: str) -> None:
    console = open_link(browser, system, page, "x" * 43, size)
    for field in console.page.locator("input").all():
        field.fill(f"battery{uuid4().hex[:8]}")
    console.page.locator("button[type=submit]").click()
    console.page.get_by_role("alert").wait_for()
    assert (console.find_barriers(), console.is_too_wide(), console.errors) == ([], False, [])
    console.page.close()


def test_forgotten_password_has_the_same_answer_for_every_address(browser: Browser, system: Instance) -> None:
    console = Console(browser, system.url)
    console.page.get_by_role("button", name="Forgot your password?").click()
    console.page.get_by_label("Email").fill(f"{uuid4().hex}@clinic.test")
    console.page.get_by_role("button", name="Send link").click()
    console.page.get_by_text("If an account has this address").wait_for()
    assert (console.find_barriers(), console.errors) == ([], [])
    console.page.close()


def test_incomplete_link_is_reported_beside_the_fields(browser: Browser, system: Instance) -> None:
    console = open_link(browser, system, "reset-password", token="")
    console.page.get_by_role("button", name="Set password").click()
    console.page.get_by_role("alert").filter(has_text="The link is incomplete.").wait_for()
    console.page.locator("#field-new_password-error").wait_for()
    console.page.close()


def test_user_requests_the_verification_of_the_address(browser: Browser, system: Instance) -> None:
    with Session.sign_up(system) as user:
        email = user.get("/v1/auth/me")["email"]
    console = Console(browser, system.url, "phone")
    console.sign_in(email)
    console.open("/account", "Account")
    console.page.get_by_role("button", name="Send verification mail").click()
    console.page.get_by_text("A mail with a link is on its way").wait_for()
    assert (console.find_barriers(), console.is_too_wide(), console.errors) == ([], False, [])
    console.page.close()
