"""Mail to users about changes of their accounts."""

from collections.abc import Callable

import pytest

from gen.google.protobuf import FieldMask
from gen.pulsetrack.auth.v1 import (
    ChangePasswordRequest,
    CreatePasswordResetRequest,
    RemoveUserSecondFactorRequest,
    ResetPasswordRequest,
    UpdateUserRequest,
    User,
)
from services.auth.mail_settings import MailConfig
from tests.auth.factory import PASSWORD
from tests.auth.second_factors import Person
from tests.harness.client import Client, attempt
from tests.harness.mail import Mailbox

NEW = "another staple of horses"


@pytest.fixture(scope="module")
def mail_config(mailbox: Mailbox) -> MailConfig:
    return mailbox.config()


def change_password(person: Person, admin: Client) -> None:
    person.client.change_password(ChangePasswordRequest(current_password=PASSWORD, new_password=NEW))


def create_reset(person: Person, admin: Client) -> str:
    token: str = admin.create_password_reset(CreatePasswordResetRequest(user_id=person.id)).token
    return token


def reset_password(person: Person, admin: Client) -> None:
    admin.reset_password(ResetPasswordRequest(token=create_reset(person, admin), new_password=NEW))


def add_factor(person: Person, admin: Client) -> None:
    person.enroll()
    person.confirm()


def use_recovery_code(person: Person, admin: Client) -> None:
    add_factor(person, admin)
    person.verify(person.login().challenge, person.recovery_codes[0])


def remove_factor(person: Person, admin: Client) -> None:
    add_factor(person, admin)
    person.remove()


def remove_factor_of_user(person: Person, admin: Client) -> None:
    add_factor(person, admin)
    admin.remove_user_second_factor(RemoveUserSecondFactorRequest(user_id=person.id))


@pytest.mark.parametrize(
    ("change", "subjects"),
    [
        (change_password, ["Your password was changed"]),
        (create_reset, ["An administrator created a password reset"]),
        (reset_password, ["An administrator created a password reset", "Your password was changed"]),
        (add_factor, ["A second factor was added"]),
        (use_recovery_code, ["A second factor was added", "A recovery code was used"]),
        (remove_factor, ["A second factor was added", "Your second factor was removed"]),
        (remove_factor_of_user, ["A second factor was added", "An administrator removed your second factor"]),
    ],
)
def test_user_is_informed_of_a_change(
    newcomer: Person, admin: Client, mailbox: Mailbox, change: Callable[..., None], subjects: list[str]
) -> None:
    change(newcomer, admin)
    _, *received = mailbox.wait_for(newcomer.new.email, len(subjects) + 1)  # the first mail verifies the address
    assert [message["Subject"] for message in received] == subjects
    assert NEW not in str(received)


def test_rejected_change_sends_no_mail(newcomer: Person, admin: Client, mailbox: Mailbox) -> None:
    request = ChangePasswordRequest(current_password="something else", new_password=NEW)
    assert attempt(lambda: newcomer.client.change_password(request)).reason == "INVALID_CREDENTIALS"
    create_reset(newcomer, admin)
    _, message = mailbox.wait_for(newcomer.new.email, 2)
    assert message["Subject"] == "An administrator created a password reset"


def test_disabled_user_gets_no_mail(person: Person, admin: Client, mailbox: Mailbox) -> None:
    admin.update_user(UpdateUserRequest(User(id=person.id, disabled=True), FieldMask(["disabled"])))
    admin.remove_user_second_factor(RemoveUserSecondFactorRequest(user_id=person.id))
    assert len(mailbox.wait_for(person.new.email, 2)) == 2  # of the sign-up and the confirmation
