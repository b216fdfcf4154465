"""The credentials that a machine client sends with a request for a token (RFC 6749, section 2.3.1)."""

import base64
from typing import NamedTuple
from urllib.parse import unquote_plus

from gen.pulsetrack.auth.v1 import IssueClientTokenRequest
from services.auth.errors import InvalidCredentials
from services.common.errors import FieldsInvalid
from services.common.rpc.metadata import read_metadata

SENT_TWICE = "must not be set beside the authorization header"


class ClientCredentials(NamedTuple):
    """The id and secret of a client, as sent."""

    id: str
    secret: str


def read_client_credentials(request: IssueClientTokenRequest) -> ClientCredentials:
    """Returns the credentials in the authorization header, or else those in the request.

    Raises InvalidCredentials, and FieldsInvalid if both contain a secret or their ids differ.
    """
    headers = [header.partition(" ") for header in read_metadata("authorization")]
    basic = [credentials for scheme, _, credentials in headers if scheme.lower() == "basic"]
    if not basic:
        return ClientCredentials(request.client_id, request.client_secret)
    if len(headers) > 1:
        raise InvalidCredentials
    sent = _parse_basic(basic[0])
    if request.client_secret:
        raise FieldsInvalid({"client_secret": SENT_TWICE})
    if request.client_id not in {"", sent.id}:
        raise FieldsInvalid({"client_id": SENT_TWICE})
    return sent


def _parse_basic(credentials: str) -> ClientCredentials:
    """Returns the id and the secret, which are form-encoded before they are joined. Raises InvalidCredentials."""
    try:
        text = base64.b64decode(credentials.strip(), validate=True).decode()
    except ValueError:
        raise InvalidCredentials from None
    client_id, _, secret = text.partition(":")
    return ClientCredentials(unquote_plus(client_id), unquote_plus(secret))
