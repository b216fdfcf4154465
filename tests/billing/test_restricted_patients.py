"""Accounts of restricted patients, as billing shows them to callers in and outside of the care team."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest

from gen.pulsetrack.billing.v1 import (
    BatchFollowPatientsRequest,
    BillingAccount,
    CloseBillingAccountRequest,
    GetBillingAccountRequest,
    ListBillingAccountsRequest,
)
from gen.pulsetrack.patient.v1 import Patient
from services.common.rpc.tokens import TokenVerifier
from tests.billing.factory import create_request, follow_request
from tests.conftest import role_of
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, connect
from tests.harness.services import serve_service
from tests.harness.tokens import Signer
from tests.patient.care import User, add_member, create_restricted


class System:
    """A patient service, a billing service that asks it, and their clients."""

    def __init__(self, patients: Client, billing: Client, signer: Signer) -> None:
        self.signer = signer
        self.patients = patients
        self.admin = patients.with_token(signer.long_lived_token("ADMIN"))
        self.billing = billing
        self.service = billing.with_token(signer.long_lived_token("SERVICE"))

    def create_user(self) -> tuple[User, Client]:
        """Returns a new user as a client of the patient service and of billing."""
        user = User(self.patients, self.signer)
        return user, self.billing.with_token(self.signer.long_lived_token("USER", sub=user.id))

    def open_account(self, patient: Patient) -> BillingAccount:
        """Returns the account of a patient, as billing learns of it."""
        request = create_request(patient_id=patient.id, name=patient.name, email=patient.email)
        account: BillingAccount = self.service.follow_patient(follow_request(request, 1, restricted=patient.restricted))
        return account


@pytest.fixture(scope="module")
def system(background: Background, new_database: Callable[[str], str], signer: Signer) -> Iterator[System]:
    def serve(service: str, stack: ExitStack, **settings: Any) -> tuple[Client, str]:
        url = f"{new_database(service)}?role={role_of(service)}"
        serving = serve_service(service, url, TokenVerifier(signer.trust), **settings)
        port = stack.enter_context(background.during(serving))
        return stack.enter_context(connect(port, service, signer.long_lived_token("USER"))), f"127.0.0.1:{port}"

    with ExitStack() as stack:
        patients, address = serve("patient", stack)
        billing, _ = serve("billing", stack, patient=address)
        yield System(patients, billing, signer)


def list_ids(billing: Client, **request: Any) -> list[str]:
    """Returns the ids of the accounts on all pages."""
    ids, token = [], ""
    while True:
        page = billing.list_billing_accounts(ListBillingAccountsRequest(page_token=token, **request))
        ids += [account.id for account in page.billing_accounts]
        if not (token := page.next_page_token):
            return ids


def test_account_is_visible_to_the_care_team_only(system: System) -> None:
    (member, members_billing), (_, outsiders_billing) = system.create_user(), system.create_user()
    account = system.open_account(create_restricted(member.client))
    request = GetBillingAccountRequest(id=account.id)
    assert members_billing.get_billing_account(request) == account
    with pytest.raises(Rejected, match="NOT_FOUND BILLING_ACCOUNT_NOT_FOUND"):
        outsiders_billing.get_billing_account(request)
    assert list_ids(members_billing, patient_id=account.patient_id) == [account.id]
    assert list_ids(outsiders_billing, patient_id=account.patient_id) == []


def test_added_member_and_caller_that_broke_glass_see_the_account(system: System) -> None:
    patient = create_restricted(system.patients)
    account = system.open_account(patient)
    (added, added_billing), (caller, callers_billing) = system.create_user(), system.create_user()
    add_member(system.admin, patient, added)
    caller.break_glass(patient)
    for billing in (added_billing, callers_billing):
        assert billing.get_billing_account(GetBillingAccountRequest(id=account.id)) == account


def test_admin_sees_and_closes_the_account(system: System) -> None:
    account = system.open_account(create_restricted(system.patients))
    admin = system.billing.with_token(system.signer.long_lived_token("ADMIN"))
    assert list_ids(admin, patient_id=account.patient_id) == [account.id]
    assert admin.close_billing_account(CloseBillingAccountRequest(id=account.id)).id == account.id


def test_pages_of_others_have_no_gap(system: System) -> None:
    _, outsiders_billing = system.create_user()
    created = [
        system.service.create_billing_account(create_request())
        if is_open
        else system.open_account(create_restricted(system.patients))
        for is_open in (True, False, True, False, True)
    ]
    found = outsiders_billing.list_billing_accounts(ListBillingAccountsRequest(page_size=3))
    assert [account.id for account in found.billing_accounts] == [account.id for account in created[::-2]]
    assert set(list_ids(outsiders_billing, page_size=1)) & {account.id for account in created[1::2]} == set()


def test_page_before_a_restricted_account_has_no_token(system: System) -> None:
    _, outsiders_billing = system.create_user()
    patient = create_restricted(system.patients)
    system.open_account(patient)
    page = outsiders_billing.list_billing_accounts(ListBillingAccountsRequest(page_size=1, patient_id=patient.id))
    assert (page.billing_accounts, page.next_page_token) == ([], "")


def test_restriction_follows_events(system: System) -> None:
    _, outsiders_billing = system.create_user()
    opened = create_request()
    account = system.service.follow_patient(follow_request(opened, 1))
    request = GetBillingAccountRequest(id=account.id)
    batch = [follow_request(opened, 3, restricted=True), follow_request(opened, 2)]
    system.service.batch_follow_patients(BatchFollowPatientsRequest(requests=batch))
    with pytest.raises(Rejected, match="NOT_FOUND BILLING_ACCOUNT_NOT_FOUND"):
        outsiders_billing.get_billing_account(request)
    system.service.follow_patient(follow_request(opened, 4))
    assert outsiders_billing.get_billing_account(request) == account


def test_reads_of_restricted_accounts_fail_while_the_patient_service_is_unavailable(
    billing: Client, admin: Client, service: Client
) -> None:
    restricted = service.follow_patient(follow_request(create_request(), 1, restricted=True))
    other = service.create_billing_account(create_request())
    request = GetBillingAccountRequest(id=restricted.id)
    assert admin.get_billing_account(request) == restricted
    assert billing.get_billing_account(GetBillingAccountRequest(id=other.id)) == other
    assert list_ids(billing, patient_id=other.patient_id) == [other.id]
    for call in (
        lambda: billing.get_billing_account(request),
        lambda: list_ids(billing, patient_id=restricted.patient_id),
    ):
        with pytest.raises(Rejected, match="UNAVAILABLE DEPENDENCY_UNAVAILABLE"):
            call()


def test_unknown_account_does_not_depend_on_the_patient_service(billing: Client) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND BILLING_ACCOUNT_NOT_FOUND"):
        billing.get_billing_account(GetBillingAccountRequest(id=str(uuid4())))
