"""What the protos and a servicer must agree on before anything is served."""

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
from services.billing.service import BillingService
from services.common.context import Caller
from services.common.postgres.database import Database
from services.common.protobuf import contract
from services.common.protobuf.contract import ContractError
from services.common.rpc.tokens import TokenVerifier
from tests.harness.background import Background
from tests.harness.services import serve_servicer
from tests.harness.tokens import Signer

METHOD = "/pulsetrack.billing.v1.BillingService/GetBillingAccount"


class Missing(BillingService):
    get_billing_account = None  # type: ignore[assignment]


class Plain(BillingService):
    def get_billing_account(self, request: GetBillingAccountRequest) -> BillingAccount:  # type: ignore[override]
        return BillingAccount(id=request.id)


class TakesAnother(BillingService):
    async def get_billing_account(self, request: ListBillingAccountsRequest) -> BillingAccount:  # type: ignore[override]
        return BillingAccount(id=request.patient_id)


class TakesAnything(BillingService):
    async def get_billing_account(self, request: Any) -> BillingAccount:
        return BillingAccount(id=request.id)


class ReturnsAnother(BillingService):
    async def get_billing_account(self, request: GetBillingAccountRequest) -> CreateBillingAccountRequest:  # type: ignore[override]
        return CreateBillingAccountRequest(name=request.id)


class ReturnsNothing(BillingService):
    async def get_billing_account(self, request: GetBillingAccountRequest) -> None:  # type: ignore[override]
        return None


class SaysNothing(BillingService):
    async def get_billing_account(self, request, caller):  # type: ignore[no-untyped-def, override]  # noqa: ANN001, ANN201
        return BillingAccount(id=request.id)


class MistakesTheCaller(BillingService):
    async def get_billing_account(self, request: GetBillingAccountRequest, caller: str) -> BillingAccount:  # type: ignore[override]
        return BillingAccount(id=f"{request.id} {caller}")


class WantsMore(BillingService):
    async def get_billing_account(  # type: ignore[override]
        self, request: GetBillingAccountRequest, caller: Caller, deadline: float
    ) -> BillingAccount:
        return BillingAccount(id=f"{request.id} {caller} {deadline}")


@pytest.mark.parametrize(
    ("servicer", "why"),
    [
        (Missing, "is not implemented: Missing has no coroutine get_billing_account"),
        (Plain, "is not implemented: Plain has no coroutine get_billing_account"),
        (TakesAnother, "takes pulsetrack.billing.v1.GetBillingAccountRequest, but its implementation declares"),
        (TakesAnything, "takes pulsetrack.billing.v1.GetBillingAccountRequest, but its implementation declares"),
        (ReturnsAnother, "returns pulsetrack.billing.v1.BillingAccount, but its implementation declares"),
        (ReturnsNothing, "returns pulsetrack.billing.v1.BillingAccount, but its implementation declares"),
        (SaysNothing, "takes pulsetrack.billing.v1.GetBillingAccountRequest, but its implementation declares"),
        (MistakesTheCaller, "get_billing_account has unsupported parameters: caller"),
        (WantsMore, "get_billing_account has unsupported parameters: caller, deadline"),
    ],
)
def test_a_handler_that_does_not_fit_its_method_is_not_served(
    background: Background, signer: Signer, servicer: type[BillingService], why: str
) -> None:
    serving = serve_servicer("billing", servicer(Database("")), TokenVerifier(signer.trust))
    with pytest.raises(ContractError) as refused, background.during(serving):
        pytest.fail("it is served")
    assert METHOD in str(refused.value)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("service", "options"),
    [
        ("Undeclared", ""),
        ("Empty", "[pulsetrack.options.v1.access] {}"),
        ("Denied", "[pulsetrack.options.v1.access] {public: false}"),
        ("Twofold", "[pulsetrack.options.v1.access] {public: true roles: ROLE_ADMIN}"),
        ("Mixed", "[pulsetrack.options.v1.access] {services: true client_credentials: true}"),
    ],
)
def test_a_method_that_does_not_say_clearly_who_may_call_is_not_served(service: str, options: str) -> None:
    with pytest.raises(ContractError) as refused:
        contract.methods(a_service(service, options=options))
    assert f"{service}.Get must set exactly one field of its access option" in str(refused.value)


def test_a_method_for_a_role_that_nobody_has_is_not_served() -> None:
    nobody = "[pulsetrack.options.v1.access] {roles: ROLE_UNSPECIFIED}"
    with pytest.raises(ContractError, match=r"Nobodys\.Get permits ROLE_UNSPECIFIED"):
        contract.methods(a_service("Nobodys", options=nobody))


def test_a_method_that_streams_requests_is_not_served() -> None:
    public = "[pulsetrack.options.v1.access] {public: true}"
    with pytest.raises(ContractError, match=r"Upload\.Get streams requests"):
        contract.methods(a_service("Upload", options=public, client_streaming=True))


def a_service(name: str, *, options: str, **method: Any) -> str:
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
