"""Patients in the console."""

import re
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.console.browser import Console
from tests.e2e.sessions import Session, a_patient
from tests.harness.chromium import NEEDS_CHROMIUM

pytestmark = [NEEDS_CHROMIUM, pytest.mark.timeout(300)]

ARABIC = "محمد الفاتح"


@pytest.fixture
def patient(admin: Session) -> dict[str, str]:
    """A new patient with a unique name."""
    created: dict[str, str] = admin.post("/v1/patients", a_patient(name=f"Zoë {uuid4().hex}"))
    return created


def rename(admin: Session, patient: dict[str, str], **fields: str) -> None:
    admin.rest.patch(f"/v1/patients/{patient['id']}", json=fields).raise_for_status()


def test_patients_are_found_while_the_user_types(console: Console, patient: dict[str, str]) -> None:
    console.open("/patients", "Patients")
    search = console.page.get_by_label("Search patients")
    search.press_sequentially(f"zoe {patient['name'][-12:]}")
    console.page.get_by_role("status").filter(has_text="1 patient").wait_for()
    console.page.get_by_role("link", name=patient["name"]).click()
    console.page.get_by_role("heading", name=patient["name"]).wait_for()
    console.open("/patients", "Patients")
    assert search.input_value().startswith("zoe ")
    search.fill("")


def test_patient_is_opened_with_the_keyboard_alone(console: Console, patient: dict[str, str]) -> None:
    console.open("/patients", "Patients")
    keyboard = console.page.keyboard
    keyboard.press("/")
    keyboard.press("Control+A")
    keyboard.type(patient["name"])
    console.page.get_by_role("status").filter(has_text="1 patient").wait_for()
    while console.page.evaluate("document.activeElement.textContent") != patient["name"]:
        keyboard.press("Tab")
    keyboard.press("Enter")
    console.page.get_by_role("heading", name=patient["name"]).wait_for()
    console.open("/patients", "Patients")
    console.page.get_by_label("Search patients").fill("")


def test_more_patients_are_appended_below_the_shown_ones(console: Console, admin: Session) -> None:
    word = uuid4().hex
    console.open("/patients", "Patients")
    search = console.page.get_by_label("Search patients")
    search.fill(word)
    console.page.get_by_role("status").filter(has_text="0 patients").wait_for()  # no list of all patients is left
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: admin.post("/v1/patients", a_patient(name=f"{word} {n}")), range(51)))
    search.fill(f"{word} ")
    console.page.get_by_role("status").filter(has_text="50 patients shown, more available").wait_for()
    shown = console.page.locator("tbody a").all_inner_texts()
    console.page.get_by_role("button", name="Load more").click()
    console.page.get_by_role("status").filter(has_text="51 patients").wait_for()
    assert console.page.locator("tbody a").all_inner_texts()[:50] == shown
    search.fill("")


def test_invalid_fields_are_explained_at_the_fields(console: Console) -> None:
    console.open("/patients/new", "New patient")
    email = console.page.get_by_label("Email")
    email.fill("not an address")
    console.page.get_by_label("Date of birth").fill("2980-01-01")
    console.page.get_by_role("button", name="Create patient").click()
    console.page.get_by_text("Correct 4 fields").wait_for()
    assert email.get_attribute("aria-invalid") == "true"
    described = email.get_attribute("aria-describedby")
    assert "email address" in console.page.locator(f"#{described}").inner_text()
    assert console.page.evaluate("document.activeElement.name") == "name"
    console.page.get_by_label("Name").fill(ARABIC)
    email.fill(f"{uuid4()}@clinic.test")
    console.page.get_by_label("Address").fill("1 High Street")
    console.page.get_by_label("Date of birth").fill("1980-02-29")
    console.save("Create patient")
    heading = console.page.get_by_role("heading", name=ARABIC).locator("bdi")
    assert heading.evaluate("element => getComputedStyle(element).direction") == "rtl"


def test_used_email_is_reported_at_its_field(console: Console, patient: dict[str, str]) -> None:
    console.open("/patients/new", "New patient")
    for label, value in {
        "Name": "Ana",
        "Email": patient["email"].upper(),
        "Address": "1 High Street",
        "Date of birth": "1980-02-29",
    }.items():
        console.page.get_by_label(label).fill(value)
    console.page.get_by_role("button", name="Create patient").click()
    console.page.locator("#field-email-error").get_by_text("Another patient has this email address").wait_for()
    console.page.get_by_role("link", name="Cancel").click()
    console.open("/patients/new", "New patient")
    console.page.get_by_text("Unsaved changes were restored.").wait_for()
    console.page.get_by_role("button", name="Discard them").click()
    assert console.page.get_by_label("Name").input_value() == ""


def test_year_of_birth_is_shown_with_a_range_of_ages(console: Console, patient: dict[str, str]) -> None:
    console.open(f"/patients/{patient['id']}/edit", "Edit patient")
    console.page.get_by_label("Date of birth").fill("1985")
    console.save("Save changes")
    console.page.get_by_text(re.compile(r"^1985 · (\d+\W)?\d+ years$")).wait_for()


def test_conflicting_changes_are_compared(console: Console, admin: Session, patient: dict[str, str]) -> None:
    console.open(f"/patients/{patient['id']}/edit", "Edit patient")
    console.page.get_by_label("Phone").fill("+351 21 000 000")
    console.page.get_by_label("Address").fill("My address")
    rename(admin, patient, address="Their address", name="Their name")
    console.page.get_by_role("button", name="Save changes").click()
    console.page.get_by_role("heading", name="Someone else changed this patient").wait_for()
    assert not console.find_barriers()
    rows = {row.locator("th").inner_text(): row.locator("td").all_inner_texts() for row in console.rows()}
    assert rows == {
        "Name": [patient["name"], "Their name", patient["name"]],
        "Address": ["1 High Street", "Their address", "My address"],
        "Phone": ["empty", "empty", "+351 21 000 000"],
    }
    console.page.get_by_role("radio", name="Address: Current").check()
    console.save("Save this version")
    saved = admin.get(f"/v1/patients/{patient['id']}")
    assert (saved["name"], saved["address"], saved["phone"]) == ("Their name", "Their address", "+351 21 000 000")


def test_history_shows_what_each_change_did(console: Console, admin: Session, patient: dict[str, str]) -> None:
    rename(admin, patient, address="2 Low Road", phone="123")
    console.open(f"/patients/{patient['id']}/history", patient["name"])
    change = console.page.get_by_role("listitem").filter(has_text="Revision 2")
    change.wait_for()
    differences = change.locator("dd")
    assert [(d.locator("del").inner_text(), d.locator("ins").inner_text()) for d in differences.all()] == [
        ("before\n1 High Street", "after\n2 Low Road"),
        ("before\nempty", "after\n123"),
    ]


def test_deleted_patient_can_be_restored(console: Console, patient: dict[str, str]) -> None:
    console.open(f"/patients/{patient['id']}", patient["name"])
    console.page.get_by_role("button", name="Delete").click()
    console.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    console.page.get_by_text("This patient was deleted on").wait_for()
    console.open("/patients", "Patients")
    console.open(f"/patients/{patient['id']}", patient["name"])
    console.page.get_by_role("button", name="Restore").click()
    console.page.get_by_role("link", name="Edit").wait_for()


def test_duplicate_is_merged_and_restored(console: Console, admin: Session, patient: dict[str, str]) -> None:
    duplicate = admin.post("/v1/patients", a_patient(name=patient["name"].upper()))
    console.open(f"/patients/{patient['id']}/duplicates", patient["name"])
    row = console.page.get_by_role("row").filter(has_text=duplicate["email"])
    row.get_by_role("button", name="Merge").click()
    assert not console.find_barriers()
    console.page.get_by_role("dialog").get_by_role("button", name="Merge").click()
    console.page.get_by_role("heading", name="No likely duplicates").wait_for()
    assert admin.get(f"/v1/patients/{duplicate['id']}")["id"] == patient["id"]
    console.open(f"/patients/{duplicate['id']}", duplicate["name"])
    console.page.get_by_role("link", name="Open the other record").wait_for()
    console.page.get_by_role("button", name="Restore").click()
    console.page.get_by_role("link", name="Edit").wait_for()
    assert admin.get(f"/v1/patients/{duplicate['id']}")["id"] == duplicate["id"]
