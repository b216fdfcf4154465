"""What auth checks of a call beyond its token: the policy for sign-ups, and the caller's own row."""

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


def admission(db: Database, *, open_sign_up: bool) -> Admission:
    """Returns what makes the interceptors of a method of auth, from its access option."""
    return partial(_admission, db, open_sign_up=open_sign_up)


class SignUpRefusal(AsyncServerInterceptor):
    """Refuses every sign-up, before its request is read, so that the answer says nothing about existing users."""

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Raises SignUpClosed."""
        raise SignUpClosed


class Standing(AsyncServerInterceptor):
    """Checks a caller against their row in the transaction of the call: an access token may be older than the row.

    A method that reads sees the row as of its transaction. One that creates locks the row, so that a change of the
    caller's role waits for the creation or precedes it. Any other method may change users: such calls run one after
    another, because two callers who lock their own rows and then change each other's would deadlock.
    """

    def __init__(self, method: Method, db: Database) -> None:
        self._db = db
        self._roles = method.access.roles
        reads, creates = all(http.verb == "GET" for http in method.http), method.name.startswith("Create")
        self._get = GET_USER if reads else LOCK_USER
        self._alone = not (reads or creates)

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the rest within the transaction. Raises UserNotFound, UserDisabled, RoleRequired."""
        caller = current_caller.get()
        async with self._db.begin() as tx:
            if self._alone:
                await tx.run(LOCK_USERS)
            row = await tx.row(self._get, id=caller.id) if caller else None
            if row is None:
                raise UserNotFound
            if row["disabled"]:
                raise UserDisabled
            if row["role"] not in self._roles:
                raise RoleRequired
            current_transaction.set(tx)
            return await method(request_or_iterator, context)


def _admission(db: Database, method: Method, *, open_sign_up: bool) -> Iterator[AsyncServerInterceptor]:
    if method.name == "SignUp" and not open_sign_up:
        yield SignUpRefusal()
    if method.access.kind is AccessKind.USERS:
        yield Standing(method, db)
