"""Authorization beyond the access token: the sign-up policy, and the current state of the caller's account."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from grpc_interceptor.server import AsyncServerInterceptor

from services.auth.errors import SignUpClosed, UserNotFound
from services.auth.models import GET_USER, LOCK_USER, LOCK_USERS
from services.common.context import current_caller
from services.common.errors import RoleRequired, UserDisabled
from services.common.postgres.database import Database, current_transaction
from services.common.protobuf.contract import AccessKind, Method
from services.common.rpc.authorization import Admission
from services.common.rpc.interceptors import Context, Next


def create_authorization(db: Database, *, open_sign_up: bool) -> Admission:
    """Returns a function that creates the authorization interceptors of a method from its access option."""
    return partial(_create_interceptors, db, open_sign_up=open_sign_up)


class ClosedSignUp(AsyncServerInterceptor):
    """Rejects every sign-up before the request is parsed, so the response reveals nothing about existing users."""

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Raises SignUpClosed."""
        raise SignUpClosed


class AccountCheck(AsyncServerInterceptor):
    """Checks the caller's row within the transaction of the call, because an access token may be older than the row.

    A method that only reads does not lock the row. A method that creates locks the caller's row, which serializes it
    with changes to the caller's role. Any other method may change users and takes a lock on all users: two callers that
    lock their own rows and then update each other's would deadlock.
    """

    def __init__(self, method: Method, db: Database) -> None:
        self._db = db
        self._roles = method.access.roles
        is_read, is_create = all(http.verb == "GET" for http in method.http), method.name.startswith("Create")
        self._get_user = GET_USER if is_read else LOCK_USER
        self._is_exclusive = not (is_read or is_create)

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Runs the method within the transaction. Raises UserNotFound, UserDisabled, RoleRequired."""
        caller = current_caller.get()
        async with self._db.begin() as tx:
            if self._is_exclusive:
                await tx.run(LOCK_USERS)
            row = await tx.row(self._get_user, id=caller.id) if caller else None
            if row is None:
                raise UserNotFound
            if row["disabled"]:
                raise UserDisabled
            if row["role"] not in self._roles:
                raise RoleRequired
            current_transaction.set(tx)
            return await method(request_or_iterator, context)


def _create_interceptors(db: Database, method: Method, *, open_sign_up: bool) -> Iterator[AsyncServerInterceptor]:
    if method.name == "SignUp" and not open_sign_up:
        yield ClosedSignUp()
    if method.access.kind is AccessKind.USERS:
        yield AccountCheck(method, db)
