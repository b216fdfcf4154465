"""Machine clients: programs that call the API with credentials of their own (RFC 6749, section 4.4)."""

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from asyncpg import Record
from uuid_utils.compat import uuid7

from gen.pulsetrack.auth.v1 import (
    Client,
    ClientState,
    ClientToken,
    CreateClientRequest,
    CreateClientResponse,
    GetClientRequest,
    IssueClientTokenRequest,
    ListClientsRequest,
    ListClientsResponse,
    RevokeClientRequest,
    RotateClientSecretRequest,
    RotateClientSecretResponse,
    SecurityEventType,
)
from services.auth.checks import EXPIRED, INVALID_OVERLAP, MAX_OVERLAP
from services.auth.client_credentials import read_client_credentials
from services.auth.client_store import (
    GET_CLIENT,
    INSERT_CLIENT,
    LIST_CLIENTS,
    LOCK_CLIENT,
    REVOKE_CLIENT,
    add_secret,
    end_secrets,
    expire_current_secret,
    find_secret,
    list_secrets,
    record_use,
)
from services.auth.errors import (
    ClientInactive,
    ClientNotFound,
    GrantTypeUnsupported,
    InvalidCredentials,
    ScopeInvalid,
)
from services.auth.security_events import failing_as, record_security_event
from services.auth.tokens import SigningKeys
from services.common.audit.events import record_actor, record_read
from services.common.context import Caller
from services.common.errors import FieldsInvalid
from services.common.postgres.database import Database, Transaction
from services.common.rpc.token_rules import CLIENT_ROLE, USERS_AUDIENCE
from services.common.text import find_violation

DEFAULT_OVERLAP = timedelta(hours=24)

_GRANT_TYPE = "client_credentials"
_NO_CLIENT = UUID(int=0)


class Clients:
    """Manages machine clients and issues tokens to them."""

    def __init__(self, db: Database, keys: SigningKeys, *, token_seconds: int) -> None:
        self._db = db
        self._keys = keys
        self._token_seconds = token_seconds

    async def create_client(
        self, request: CreateClientRequest, caller: Caller, tx: Transaction
    ) -> CreateClientResponse:
        """Creates a client and its first secret. Raises FieldsInvalid."""
        if violations := _find_violations(request):
            raise FieldsInvalid(violations)
        [row] = await tx.rows(
            INSERT_CLIENT,
            id=uuid7(),
            display_name=request.display_name,
            scope=_join_scopes(request.scope),
            creator_id=caller.id,
            expire_time=request.expire_time,
        )
        record_security_event(tx, SecurityEventType.CLIENT_CREATED, row["id"])
        client = _to_client(row, is_expired=False)
        return CreateClientResponse(client=client, client_secret=await add_secret(tx, row["id"]))

    async def get_client(self, request: GetClientRequest, tx: Transaction) -> Client:
        """Returns a client. Raises ClientNotFound."""
        row = await tx.row(GET_CLIENT, id=request.id)
        if row is None:
            raise ClientNotFound
        record_read([row["id"]])
        return _to_client(row, is_expired=row["is_expired"])

    async def list_clients(self, request: ListClientsRequest, tx: Transaction) -> ListClientsResponse:
        """Returns a page of clients, newest first. Raises PageTokenInvalid."""
        rows, next_page_token = await LIST_CLIENTS.read_page(tx, request)
        record_read(row["id"] for row in rows)
        clients = [_to_client(row, is_expired=row["is_expired"]) for row in rows]
        return ListClientsResponse(clients=clients, next_page_token=next_page_token)

    async def rotate_client_secret(
        self, request: RotateClientSecretRequest, tx: Transaction
    ) -> RotateClientSecretResponse:
        """Replaces the current secret of a client. Raises FieldsInvalid, ClientNotFound, ClientInactive."""
        now = datetime.now(UTC)
        expire_time = max(request.previous_secret_expire_time or now + DEFAULT_OVERLAP, now)
        if expire_time > now + MAX_OVERLAP:
            raise FieldsInvalid({"previous_secret_expire_time": INVALID_OVERLAP})
        row = await _lock_client(tx, request.id)
        if row["revoke_time"] or row["is_expired"]:
            raise ClientInactive
        await expire_current_secret(tx, row["id"], expire_time)
        record_security_event(tx, SecurityEventType.CLIENT_SECRET_ROTATED, row["id"])
        return RotateClientSecretResponse(
            client_secret=await add_secret(tx, row["id"]), previous_secret_expire_time=expire_time
        )

    async def revoke_client(self, request: RevokeClientRequest, tx: Transaction) -> Client:
        """Revokes a client and its tokens. Raises ClientNotFound."""
        row = await _lock_client(tx, request.id)
        revoked = await tx.row(REVOKE_CLIENT, client_id=row["id"])
        await end_secrets(tx, row["id"])
        record_security_event(tx, SecurityEventType.CLIENT_REVOKED, row["id"])
        return _to_client(revoked or row, is_expired=row["is_expired"])

    @failing_as(SecurityEventType.CLIENT_TOKEN_REFUSED)
    async def issue_client_token(self, request: IssueClientTokenRequest) -> ClientToken:
        """Issues a token to a client. Raises GrantTypeUnsupported, InvalidCredentials, ScopeInvalid, FieldsInvalid."""
        if request.grant_type != _GRANT_TYPE:
            raise GrantTypeUnsupported
        credentials = read_client_credentials(request)
        secrets = await list_secrets(self._db, _parse_id(credentials.id))
        record_read({row["id"] for row in secrets})  # an unknown id is not recorded: it may be a secret
        client = find_secret(secrets, credentials.secret)
        if client is None:
            raise InvalidCredentials
        record_actor(client["id"])
        scope = _join_scopes(request.scope) or client["scope"]
        if not set(scope.split()) <= set(client["scope"].split()):
            raise ScopeInvalid
        if (seconds := self._find_lifetime(client)) < 1:
            raise InvalidCredentials
        await record_use(self._db, client)
        token = self._keys.sign(
            subject=str(client["id"]),
            role=CLIENT_ROLE,
            audience=USERS_AUDIENCE,
            seconds=seconds,
            client_id=str(client["id"]),
            scope=scope,
            sid=str(client["secret_id"]),
        )
        return ClientToken(access_token=token, token_type="Bearer", expires_in=seconds, scope=scope)  # noqa: S106 - a scheme

    def _find_lifetime(self, client: Record) -> int:
        """Returns the lifetime of a token in seconds. A token expires no later than the client and the secret."""
        if client["expire_time"] is None:
            return self._token_seconds
        return min(self._token_seconds, int(client["expire_time"].timestamp() - time.time()))


def _find_violations(request: CreateClientRequest) -> dict[str, str]:
    is_expired = request.expire_time is not None and request.expire_time <= datetime.now(UTC)
    found = {"display_name": find_violation(request.display_name), "expire_time": EXPIRED if is_expired else None}
    return {field: violation for field, violation in found.items() if violation}


async def _lock_client(tx: Transaction, client_id: str) -> Record:
    row = await tx.row(LOCK_CLIENT, id=client_id)
    if row is None:
        raise ClientNotFound
    return row


def _parse_id(client_id: str) -> UUID:
    """Returns the id of a client, or one that no client has if it is not a UUID, to respond in the same way."""
    try:
        return UUID(client_id)
    except ValueError:
        return _NO_CLIENT


def _join_scopes(scope: str) -> str:
    """Returns a list of scopes in order, without repetitions."""
    return " ".join(sorted(set(scope.split())))


def _to_client(row: Record, *, is_expired: bool) -> Client:
    unrevoked = ClientState.EXPIRED if is_expired else ClientState.ACTIVE
    return Client(
        id=str(row["id"]),
        display_name=row["display_name"],
        scope=row["scope"],
        creator_id=str(row["creator_id"]),
        create_time=row["create_time"],
        expire_time=row["expire_time"],
        last_use_time=row["last_use_time"],
        state=ClientState.REVOKED if row["revoke_time"] else unrevoked,
    )
