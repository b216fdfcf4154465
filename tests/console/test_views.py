"""The views of the console other than those of patients."""

import re
import time
from base64 import b32decode
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from playwright.sync_api import Browser, Locator, expect
from zxingcpp import read_barcodes

from tests.console.browser import Console
from tests.e2e.sessions import PASSWORD, Session, a_patient
from tests.harness.chromium import NEEDS_CHROMIUM
from tests.harness.waiting import eventually
from tools.instance import Instance

pytestmark = [NEEDS_CHROMIUM, pytest.mark.timeout(300)]


@pytest.fixture
def patient(admin: Session) -> dict[str, str]:
    """A new patient with a unique name."""
    created: dict[str, str] = admin.post("/v1/patients", a_patient(name=f"Ana {uuid4().hex}"))
    return created


def test_billing_account_of_a_patient_is_shown(console: Console, admin: Session, patient: dict[str, str]) -> None:
    eventually(lambda: admin.get("/v1/billing/accounts", patientId=patient["id"])["billingAccounts"])
    console.open(f"/patients/{patient['id']}/billing", patient["name"])
    console.page.get_by_text("Active", exact=True).wait_for()


def test_access_to_a_patient_is_listed(console: Console, patient: dict[str, str]) -> None:
    console.open(f"/patients/{patient['id']}/access", patient["name"])
    row = console.page.get_by_role("row").filter(has_text="CreatePatient")
    row.wait_for()
    assert "You" in row.inner_text()
    assert "OK" in row.inner_text()


def test_changes_appear_as_they_happen(console: Console, admin: Session) -> None:
    console.open("/live", "Live changes")
    console.page.get_by_text("Connected").wait_for()
    created = admin.post("/v1/patients", a_patient(name=f"Live {uuid4().hex}"))
    admin.rest.patch(f"/v1/patients/{created['id']}", json={"phone": "123"}).raise_for_status()
    console.page.get_by_role("listitem").filter(has_text=created["name"]).filter(has_text="Changed").wait_for()
    console.open("/patients", "Patients")
    missed = admin.post("/v1/patients", a_patient(name=f"Missed {uuid4().hex}"))
    console.open("/live", "Live changes")
    console.page.get_by_role("listitem").filter(has_text=missed["name"]).wait_for()


def test_statistics_are_plotted_per_day_week_and_month(console: Console, patient: dict[str, str]) -> None:
    console.open("/statistics", "Statistics")
    for bucket, bars in (("Day", 30), ("Week", 26), ("Month", 24)):
        console.page.get_by_text(bucket, exact=True).click()
        figure = console.page.get_by_role("figure").filter(
            has=console.page.get_by_role("heading", name="Registrations")
        )
        numbers = figure.locator("tbody tr")
        expect(numbers).to_have_count(bars, timeout=60_000)
        assert figure.locator("canvas").is_visible()


def test_user_ends_another_session(built: None, browser: Browser, system: Instance) -> None:
    with Session.sign_up(system) as other:
        email = other.get("/v1/auth/me")["email"]
        console = Console(browser, system.url, "phone")
        console.sign_in(email)
        console.open("/account", "Account")
        row = console.page.get_by_role("row").filter(has_text="python-httpx")
        row.get_by_role("button", name="End").click()
        row.wait_for(state="detached")
        assert (console.errors, console.is_too_wide()) == ([], False)
        refreshed = other.rest.post("/v1/auth/refresh", json={"refreshToken": other.refresh_token})
        assert refreshed.status_code == 401
        console.page.close()


def read_qr_code(image: Locator) -> str:
    """Returns the text of a QR code, whose path has a square for each dark module."""
    left, top, width, height = map(int, (image.get_attribute("viewBox") or "").split())
    squares = re.findall(r"M(\d+) (\d+)h1v1h-1z", image.locator("path").get_attribute("d") or "")
    pixels = bytearray(b"\xff" * width * height)
    for x, y in squares:
        pixels[(int(y) - top) * width + int(x) - left] = 0
    [code] = read_barcodes(memoryview(pixels).cast("B", (height, width)), is_pure=True)
    return code.text


def test_second_factor_is_set_up_and_asked_for(built: None, browser: Browser, system: Instance) -> None:
    with Session.sign_up(system) as session:
        email = session.get("/v1/auth/me")["email"]
    console = Console(browser, system.url)
    console.sign_in(email)
    console.open("/account", "Account")
    factor = console.page.get_by_role("region", name="Second factor")
    factor.get_by_label("Current password").fill(PASSWORD)
    factor.get_by_role("button", name="Set up").click()
    secret = factor.locator("code").inner_text()
    assert read_qr_code(factor.get_by_role("img")) == factor.get_by_role("link").get_attribute("href")
    code = TOTP(b32decode(secret), 6, SHA1(), 30).generate(time.time()).decode()
    factor.get_by_label("Authentication code").fill(code)
    factor.get_by_role("button", name="Confirm").click()
    recovery = factor.locator(".codes code").first.inner_text()
    console.page.get_by_role("button", name="Sign out").click()
    console.page.get_by_label("Email").fill(email)
    console.page.get_by_label("Password").fill(PASSWORD)
    console.page.keyboard.press("Enter")
    console.page.get_by_label("Authentication code").fill(recovery)
    console.page.keyboard.press("Enter")
    console.page.get_by_role("heading", name="Account").wait_for()
    assert console.errors == []
    console.page.close()


def test_admin_invites_a_user(console: Console) -> None:
    console.open("/admin/invitations", "Admin")
    email = f"{uuid4().hex}@clinic.test"
    console.page.get_by_label("Email of the new user").fill(email)
    console.page.get_by_role("button", name="Invite").click()
    row = console.page.get_by_role("row").filter(has_text=email)
    row.get_by_text("Pending").wait_for()
    row.get_by_role("button", name="Revoke").click()
    row.get_by_text("Revoked").wait_for()


def test_admin_disables_and_enables_a_user(console: Console, user: Session) -> None:
    name = user.get("/v1/auth/me")["username"]
    console.open("/admin/users", "Admin")
    row = console.page.get_by_role("row").filter(has_text=name)
    row.get_by_role("button", name="Disable").click()
    row.get_by_text("Disabled").wait_for()
    row.get_by_role("button", name="Enable").click()
    row.get_by_text("Disabled").wait_for(state="detached")
