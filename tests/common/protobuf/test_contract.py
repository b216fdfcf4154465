"""Checks at start-up: the access options, and the signatures of a service class."""

from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodOptions
from google.protobuf.text_format import Parse

from gen.pulsetrack.billing.v1 import (
    BillingAccount,
    CreateBillingAccountRequest,
    GetBillingAccountRequest,
    ListBillingAccountsRequest,
)
from gen.pulsetrack.patient.v1 import WatchPatientsRequest, WatchPatientsResponse
from services.billing.service import BillingService
from services.common.context import Caller
from services.common.messaging.outbox import Outbox
from services.common.postgres.database import Database
from services.common.protobuf import contract
from services.common.protobuf.contract import ContractError
from services.common.rpc.tokens import TokenVerifier
from services.patient.models import outbox_rows
from services.patient.service import PatientService
from tests.harness.background import Background
from tests.harness.services import find_no_access, serve_servicer
from tests.harness.tokens import Signer

METHOD = "/pulsetrack.billing.v1.BillingService/GetBillingAccount"


class Missing(BillingService):
    get_billing_account = None  # type: ignore[assignment]


class Plain(BillingService):
    def get_billing_account(self, request: GetBillingAccountRequest) -> BillingAccount:  # type: ignore[override]
        return BillingAccount(id=request.id)


class TakesAnotherMessage(BillingService):
    async def get_billing_account(self, request: ListBillingAccountsRequest) -> BillingAccount:  # type: ignore[override]
        return BillingAccount(id=request.patient_id)


class TakesAny(BillingService):
    async def get_billing_account(self, request: Any) -> BillingAccount:
        return BillingAccount(id=request.id)


class ReturnsAnotherMessage(BillingService):
    async def get_billing_account(self, request: GetBillingAccountRequest) -> CreateBillingAccountRequest:  # type: ignore[override]
        return CreateBillingAccountRequest(name=request.id)


class ReturnsNothing(BillingService):
    async def get_billing_account(self, request: GetBillingAccountRequest) -> None:  # type: ignore[override]
        return None


class HasNoTypes(BillingService):
    async def get_billing_account(self, request, caller):  # type: ignore[no-untyped-def, override]  # noqa: ANN001, ANN201
        return BillingAccount(id=request.id)


class HasWrongCallerType(BillingService):
    async def get_billing_account(self, request: GetBillingAccountRequest, caller: str) -> BillingAccount:  # type: ignore[override]
        return BillingAccount(id=f"{request.id} {caller}")


class HasUnknownParameter(BillingService):
    async def get_billing_account(  # type: ignore[override]
        self, request: GetBillingAccountRequest, caller: Caller, deadline: float
    ) -> BillingAccount:
        return BillingAccount(id=f"{request.id} {caller} {deadline}")


@pytest.mark.parametrize(
    ("servicer", "message"),
    [
        (Missing, "is not implemented: Missing has no coroutine get_billing_account"),
        (Plain, "is not implemented: Plain has no coroutine get_billing_account"),
        (TakesAnotherMessage, "takes pulsetrack.billing.v1.GetBillingAccountRequest, but its implementation declares"),
        (TakesAny, "takes pulsetrack.billing.v1.GetBillingAccountRequest, but its implementation declares"),
        (ReturnsAnotherMessage, "returns pulsetrack.billing.v1.BillingAccount, but its implementation declares"),
        (ReturnsNothing, "returns pulsetrack.billing.v1.BillingAccount, but its implementation declares"),
        (HasNoTypes, "takes pulsetrack.billing.v1.GetBillingAccountRequest, but its implementation declares"),
        (HasWrongCallerType, "get_billing_account has unsupported parameters: caller"),
        (HasUnknownParameter, "get_billing_account has unsupported parameters: caller, deadline"),
    ],
)
def test_service_with_a_mismatched_signature_does_not_start(
    background: Background, signer: Signer, servicer: type[BillingService], message: str
) -> None:
    serving = serve_servicer("billing", servicer(Database(""), find_no_access), TokenVerifier(signer.trust))
    with pytest.raises(ContractError) as rejected, background.during(serving):
        pytest.fail("the service started")
    assert METHOD in str(rejected.value)
    assert message in str(rejected.value)


@pytest.mark.parametrize(
    ("service", "options"),
    [
        ("Undeclared", ""),
        ("Empty", "[pulsetrack.options.v1.access] {}"),
        ("Denied", "[pulsetrack.options.v1.access] {public: false}"),
        ("TwoOptions", "[pulsetrack.options.v1.access] {public: true roles: ROLE_ADMIN}"),
        ("ScopeAlone", '[pulsetrack.options.v1.access] {scope: "x.read"}'),
        ("PublicScope", '[pulsetrack.options.v1.access] {public: true scope: "x.read"}'),
        ("ServiceScope", '[pulsetrack.options.v1.access] {services: true scope: "x.read"}'),
        ("Mixed", "[pulsetrack.options.v1.access] {services: true client_credentials: true}"),
    ],
)
def test_method_without_exactly_one_access_option_is_rejected(service: str, options: str) -> None:
    with pytest.raises(ContractError) as rejected:
        contract.methods(add_service(service, options=options))
    assert f"{service}.Get must set exactly one field of its access option" in str(rejected.value)


def test_method_for_the_unspecified_role_is_rejected() -> None:
    options = "[pulsetrack.options.v1.access] {roles: ROLE_UNSPECIFIED}"
    with pytest.raises(ContractError, match=r"Unspecified\.Get permits ROLE_UNSPECIFIED"):
        contract.methods(add_service("Unspecified", options=options))


def test_method_with_streamed_requests_is_rejected() -> None:
    public = "[pulsetrack.options.v1.access] {public: true}"
    with pytest.raises(ContractError, match=r"Upload\.Get streams requests"):
        contract.methods(add_service("Upload", options=public, client_streaming=True))


def add_service(name: str, *, options: str, **method: Any) -> str:
    """Adds a service with one method, Get, to the pool of protos, and returns its full name."""
    pool = contract.pool()
    package = "pulsetrack.tests.v1"
    file = FileDescriptorProto(name=f"{package}/{name}.proto", package=package, syntax="proto3")
    file.dependency.extend(["google/protobuf/empty.proto", "pulsetrack/options/v1/access.proto"])
    empty = ".google.protobuf.Empty"
    get = file.service.add(name=name).method.add(name="Get", input_type=empty, output_type=empty, **method)
    get.options.CopyFrom(Parse(options, MethodOptions(), descriptor_pool=pool))
    pool.AddSerializedFile(file.SerializeToString())
    return f"{package}.{name}"


class NotStreaming(PatientService):
    """A service that implements a stream as a coroutine."""

    async def watch_patients(self, request: WatchPatientsRequest) -> WatchPatientsResponse:  # type: ignore[override]
        return WatchPatientsResponse()


def test_service_whose_stream_is_a_coroutine_does_not_start(background: Background, signer: Signer) -> None:
    servicer = NotStreaming(Database(""), Outbox(outbox_rows), resume_key=b"")
    starting = background.during(serve_servicer("patient", servicer, TokenVerifier(signer.trust)))
    with pytest.raises(ContractError, match="has no async generator watch_patients"), starting:
        pass
