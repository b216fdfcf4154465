"""Well-formed page and resume tokens with hostile values are rejected without an internal error.

The digest of a page token detects mistakes only: any client can compute it.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from gen.pulsetrack.auth.v1 import GetCurrentUserRequest, LoginRequest
from gen.pulsetrack.patient.v1 import ExportPatientsRequest, WatchPatientsRequest
from services.common.postgres import cursor
from services.common.protobuf.contract import Method, all_methods
from services.common.rpc.tokens import TokenVerifier
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, attempt, connect
from tests.harness.services import ADMIN_EMAIL, ADMIN_PASSWORD, RESUME_KEY, serve_auth, serve_service
from tests.harness.tokens import Signer
from tests.patient.factory import create_request

LISTS = [method for method in all_methods() if "page_token" in method.input.DESCRIPTOR.fields_by_name]
HOSTILE: list[Any] = [
    None,
    True,
    -1,
    2**31,
    2**63 - 1,
    2**63,
    2**64 - 1,
    -(2**63),
    float("nan"),
    float("inf"),
    "",
    "a\0b",
    "\N{PILE OF POO}" * 5,
    b"\0",
    [],
    {},
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00",
    "0001-01-01",
    "9999-12-31",
    str(uuid4()),
    datetime.now(UTC),
]
ID, NOW = str(uuid4()), datetime.now(UTC)
PLACES = [place for value in HOSTILE for place in ((value,), (value, ID), (NOW, value), (value, value))]
ORDERS = ("", "name", "date_of_birth desc")
EXPECTED_REASONS = {"PAGE_TOKEN_INVALID", "PATIENT_NOT_FOUND"}


@pytest.fixture(scope="module")
def clients(background: Background, new_database: Callable[[str], str], signer: Signer) -> Iterator[dict[str, Client]]:
    """A client of each service with the role ADMIN."""
    with ExitStack() as stack:
        port = stack.enter_context(background.during(serve_auth(new_database("auth"))))
        auth = stack.enter_context(connect(port, "auth"))
        admin = auth.login(LoginRequest(email=ADMIN_EMAIL, password=ADMIN_PASSWORD))
        clients = {"auth": auth.with_token(admin.access_token)}
        for service in ("patient", "billing", "analytics"):
            serving = serve_service(service, new_database(service), TokenVerifier(signer.trust))
            port = stack.enter_context(background.during(serving))
            clients[service] = stack.enter_context(connect(port, service, signer.long_lived_token("ADMIN")))
        yield clients


def listing(method: Method, clients: dict[str, Client]) -> Iterator[Any]:
    """Yields requests of a list method, for an existing patient and in several orders."""
    fields: dict[str, Any] = {}
    if "id" in method.input.DESCRIPTOR.fields_by_name:
        fields["id"] = clients["patient"].create_patient(create_request()).id
    if method.name == "ListUserSessions":
        fields["user_id"] = clients["auth"].get_current_user(GetCurrentUserRequest()).id
    orders = ORDERS if "order_by" in method.input.DESCRIPTOR.fields_by_name else ORDERS[:1]
    yield from (method.input(**fields, **({"order_by": order} if order else {})) for order in orders)


@pytest.mark.parametrize("method", LISTS, ids=lambda method: method.name)
def test_hostile_page_token_is_rejected(clients: dict[str, Client], method: Method) -> None:
    client = clients[method.path.split(".")[1]]
    reasons = set()
    for request in listing(method, clients):
        query = request.DESCRIPTOR.full_name.encode() + request.SerializeToString()
        for place in PLACES:
            page = type(request)()
            page.CopyFrom(request)
            page.page_token = cursor.encode(place, query)
            rejected = attempt(partial(client.call, method.path, page.SerializeToString()))
            if isinstance(rejected, Rejected):
                reasons.add(rejected.reason)
    assert "PAGE_TOKEN_INVALID" in reasons
    assert reasons <= EXPECTED_REASONS


def test_hostile_resume_token_is_rejected(clients: dict[str, Client]) -> None:
    reasons = set()
    for place in PLACES:
        request = WatchPatientsRequest(resume_token=cursor.encode(place, b"the changes of patients" + RESUME_KEY))
        with pytest.raises(Rejected) as rejected, clients["patient"].watch_patients(request) as responses:
            next(responses)
        reasons.add(rejected.value.reason)
    assert reasons == {"RESUME_TOKEN_INVALID"}


def test_hostile_resume_token_of_an_export_is_rejected(clients: dict[str, Client]) -> None:
    reasons = set()
    for place in [*PLACES, *(place for value in HOSTILE for place in (((value, 1), ID), ((1, 1), value)))]:
        request = ExportPatientsRequest(resume_token=cursor.encode(place, b"an export of patients" + RESUME_KEY))
        with pytest.raises(Rejected) as rejected, clients["patient"].export_patients(request) as responses:
            next(responses)
        reasons.add(rejected.value.reason)
    assert reasons == {"RESUME_TOKEN_INVALID"}
