"""Signing in to the console, its connection and its appearance."""

from collections.abc import Iterable

import jwt
import pytest
from playwright.sync_api import Browser, Route

from tests.console.browser import Console, Scheme
from tests.e2e.sessions import ADMIN_EMAIL, Session, a_patient
from tests.harness.chromium import NEEDS_CHROMIUM
from tools.instance import Instance

pytestmark = [NEEDS_CHROMIUM, pytest.mark.timeout(300)]


def test_wrong_password_is_reported(built: None, browser: Browser, system: Instance) -> None:
    console = Console(browser, system.url)
    console.page.get_by_label("Email").fill(ADMIN_EMAIL)
    console.page.get_by_label("Password").fill("not the password")
    console.page.keyboard.press("Enter")
    console.page.get_by_role("alert").filter(has_text="The email or password is wrong.").wait_for()
    assert (console.find_barriers(), console.errors) == ([], [])
    console.page.close()


def test_lost_connection_is_shown_until_the_gateway_is_back(console: Console) -> None:
    console.open("/patients", "Patients")
    search = console.page.get_by_label("Search patients")
    banner = console.page.get_by_text("The gateway is unreachable")
    console.page.context.set_offline(True)
    try:
        search.fill("ana")
        banner.wait_for()
        assert console.find_barriers() == []
    finally:
        console.page.context.set_offline(False)
    banner.wait_for(state="hidden")
    console.page.get_by_role("alert").wait_for(state="hidden")  # the list loads again by itself
    search.fill("")
    console.errors.clear()  # the browser reports the failed requests


def test_inline_code_and_other_hosts_are_blocked(console: Console) -> None:
    inline = "const s = document.createElement('script'); s.textContent = 'ran = true'; document.body.append(s)"
    assert console.page.evaluate(f"() => {{ {inline}; return typeof ran }}") == "undefined"
    assert console.page.evaluate("() => fetch('https://elsewhere.test/').catch(() => 'refused')") == "refused"
    console.page.wait_for_function("violations.includes('script-src-elem') && violations.includes('connect-src')")
    console.errors.clear()


VIEWS = {
    "/patients": "Patients",
    "/patients/new": "New patient",
    "/patients/{id}": "Ana Silva",
    "/patients/{id}/edit": "Edit patient",
    "/patients/{id}/history": "Ana Silva",
    "/patients/{id}/billing": "Ana Silva",
    "/patients/{id}/access": "Ana Silva",
    "/live": "Live changes",
    "/statistics": "Statistics",
    "/account": "Account",
    "/admin/users": "Admin",
    "/admin/invitations": "Admin",
    "/admin/dead-letters": "Admin",
    "/nothing": "This page does not exist",
    "/%": "This page does not exist",
}


MAIN_VIEWS = ("/patients", "/patients/{id}", "/patients/{id}/history", "/statistics", "/account")


def examine(console: Console, admin: Session, paths: Iterable[str]) -> None:
    patient = admin.post("/v1/patients", a_patient())
    for path in paths:
        console.open(path.format(id=patient["id"]), VIEWS[path])
        assert (path, console.find_barriers(), console.is_too_wide()) == (path, [], False)


def test_main_views_are_accessible(console: Console, admin: Session) -> None:
    console.show("wide", "light")
    examine(console, admin, MAIN_VIEWS)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("size", "scheme"), [("wide", "light"), ("wide", "dark"), ("phone", "light"), ("phone", "dark")]
)
def test_every_view_is_accessible(console: Console, admin: Session, size: str, scheme: Scheme) -> None:
    console.show(size, scheme)
    examine(console, admin, VIEWS)


def test_views_fit_a_phone(console: Console, admin: Session) -> None:
    patient = admin.post("/v1/patients", a_patient(name="W" * 100))
    console.show("phone", "dark")
    console.open("/patients", "Patients")
    for path, heading in VIEWS.items():
        console.open(path.format(id=patient["id"]), heading.replace("Ana Silva", patient["name"]))
        assert (path, console.is_too_wide()) == (path, False)


def test_user_signs_out_and_leaves_nothing_behind(built: None, browser: Browser, system: Instance) -> None:
    console = Console(browser, system.url, "phone")
    console.sign_in_admin(system)
    console.page.get_by_role("button", name="Sign out").click()
    console.page.get_by_role("heading", name="Sign in").wait_for()
    stored = console.page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
    assert (stored, console.errors) == ([0, 0, ""], [])
    console.page.close()


def test_tokens_are_refreshed_before_they_expire(built: None, browser: Browser, system: Instance) -> None:
    console = Console(browser, system.url)
    console.page.clock.install()
    console.page.reload()
    console.sign_in_admin(system)
    for view, shown in (("/account", "tbody tr"), ("/statistics", "figure")):
        console.page.clock.fast_forward("14:30")
        with console.page.expect_request("**/RefreshToken"):
            console.open(view, VIEWS[view])  # its calls wait for the refresh, which needs the token of the previous one
        console.page.locator(shown).first.wait_for()
    assert console.errors == []
    console.page.close()


def test_refresh_that_completes_after_a_sign_out_is_ignored(built: None, browser: Browser, system: Instance) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    with Session.sign_up(system) as other:
        user = other.get("/v1/auth/me")
    console = Console(browser, system.url)
    console.page.clock.install()
    console.page.reload()
    console.sign_in_admin(system)
    console.page.route("**/RefreshToken", hold)
    console.page.clock.fast_forward("14:30")
    console.open("/statistics", "Statistics")
    while not held:
        console.page.evaluate("null")  # meanwhile, Playwright calls `hold`
    response = held[0].fetch()
    console.open("/patients", "Patients")
    console.page.get_by_role("button", name="Sign out").click()
    console.sign_in(user["email"])
    with console.page.expect_response("**/RefreshToken"):
        held[0].fulfill(response=response)
    with console.page.expect_request("**/ListSessions") as request:
        console.open("/account", "Account")
    token = request.value.headers["authorization"].removeprefix("Bearer ")
    assert jwt.decode(token, options={"verify_signature": False})["sub"] == user["id"]
    console.page.close()


def test_session_that_is_ended_elsewhere_returns_to_the_sign_in(
    built: None, browser: Browser, system: Instance
) -> None:
    with Session.sign_up(system) as other:
        console = Console(browser, system.url)
        console.sign_in(other.get("/v1/auth/me")["email"])
        console.open("/live", "Live changes")
        console.page.get_by_text("Connected").wait_for()
        other.post("/v1/auth/me/sessions:revoke", {})
        console.page.get_by_text("Your session has ended.").wait_for()  # services end streams within 5 seconds
        assert console.errors == []
        console.page.close()
