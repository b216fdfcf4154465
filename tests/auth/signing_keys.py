"""The keys that sign and verify tokens, as clients see them."""

from uuid import uuid4

import jwt

from gen.pulsetrack.auth.v1 import IssueServiceTokenRequest
from gen.pulsetrack.billing.v1 import GetBillingAccountRequest
from services.common.protobuf import codec
from services.common.protobuf.contract import SERVICES
from tests.harness.client import Client, Rejected, attempt
from tests.harness.services import CLIENT_ID, CLIENT_SECRET

CALLS = {
    "auth": (f"/{SERVICES['auth']}/GetCurrentUser", b""),
    "billing": (
        f"/{SERVICES['billing']}/GetBillingAccount",
        codec.codec_of(GetBillingAccountRequest).dumps(GetBillingAccountRequest(id=str(uuid4()))),
    ),
}


def get_key_id(token: str) -> str:
    """Returns the id of the key that signed a token."""
    return str(jwt.get_unverified_header(token)["kid"])


def find_signing_key(auth: Client) -> str:
    """Returns the id of the key that signs new tokens. Asks for a service token, which needs no password hash."""
    request = IssueServiceTokenRequest(client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    return get_key_id(auth.issue_service_token(request).access_token)


def accepts(service: Client, token: str) -> bool:
    """Returns whether auth or billing accepts a token."""
    path, request = CALLS[service._service]
    response = attempt(lambda: service.with_token(token).call(path, request))
    return not isinstance(response, Rejected) or response.reason == "BILLING_ACCOUNT_NOT_FOUND"
