"""Machine clients, and their calls."""

import base64
from datetime import UTC, datetime
from typing import Any

import jwt

from gen.pulsetrack.auth.v1 import (
    Client as MachineClient,
)
from gen.pulsetrack.auth.v1 import (
    ClientToken,
    CreateClientRequest,
    CreateClientResponse,
    GetCurrentUserRequest,
    IssueClientTokenRequest,
    RotateClientSecretRequest,
    RotateClientSecretResponse,
)
from tests.harness.client import Client, Rejected, attempt

SCOPE = "patients.read statistics.read"
PAST = datetime(2000, 1, 1, tzinfo=UTC)


def create_client(admin: Client) -> CreateClientResponse:
    response: CreateClientResponse = admin.create_client(CreateClientRequest(display_name="Export", scope=SCOPE))
    return response


def client_of(created: CreateClientResponse) -> MachineClient:
    assert created.client is not None
    return created.client


def issue(auth: Client, created: CreateClientResponse, **fields: str) -> Any:
    """Requests a token. The given fields replace the defaults."""
    defaults = {
        "grant_type": "client_credentials",
        "client_id": client_of(created).id,
        "client_secret": created.client_secret,
    }
    return auth.issue_client_token(IssueClientTokenRequest(**(defaults | fields)))


def issue_with_basic(auth: Client, credentials: str, **fields: str) -> Any:
    """Requests a token with an authorization header."""
    header = f"Basic {base64.b64encode(credentials.encode()).decode()}"
    request = IssueClientTokenRequest(grant_type="client_credentials", **fields)
    return auth.issue_client_token(request, metadata=(("authorization", header),))


def rotate(admin: Client, created: CreateClientResponse, **fields: Any) -> RotateClientSecretResponse:
    request = RotateClientSecretRequest(id=client_of(created).id, **fields)
    response: RotateClientSecretResponse = admin.rotate_client_secret(request)
    return response


def find_reason(response: Any) -> str:
    """Returns the reason of an error, or an empty string for a token."""
    return response.reason if isinstance(response, Rejected) else ""


def find_token_error(auth: Client, token: ClientToken) -> str:
    """Returns the reason with which auth rejects a token: no client may call this method."""
    call = attempt(lambda: auth.with_token(token.access_token).get_current_user(GetCurrentUserRequest()))
    return find_reason(call)


def read_claims(token: ClientToken) -> dict[str, Any]:
    return jwt.decode(token.access_token, options={"verify_signature": False})
