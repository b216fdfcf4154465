"""Authorization beyond the access token: the sign-up policy, and the current state of the caller's account."""

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any, Literal

from grpc_interceptor.server import AsyncServerInterceptor

from gen.pulsetrack.options.v1 import Role
from services.auth.errors import SignUpClosed, UserExternal, UserNotFound
from services.auth.models import GET_USER, LOCK_OWN_USER, LOCK_USER, LOCK_USERS
from services.common.context import current_caller
from services.common.errors import RoleRequired, UserDisabled
from services.common.postgres.database import Database, Transaction, current_transaction
from services.common.postgres.statement import Statement
from services.common.protobuf.contract import AccessKind, Method
from services.common.rpc.authorization import Admission
from services.common.rpc.interceptors import Context, Next

SignUpPolicy = Literal["open", "invite", "closed"]

_CLOSED: Mapping[SignUpPolicy, Collection[str]] = {
    "open": (),
    "invite": ("SignUp",),
    "closed": ("SignUp", "CreateInvitation", "AcceptInvitation"),
}
"""The methods that each sign-up policy closes."""
_HASHES_PASSWORDS = ("ChangePassword", "EnrollSecondFactor", "RemoveSecondFactor")
"""Methods that run outside of a transaction, because they hash passwords, which takes long."""


def create_authorization(db: Database, *, sign_up: SignUpPolicy) -> Admission:
    """Returns a function that creates the authorization interceptors of a method from its access option."""
    return partial(_create_interceptors, db, sign_up=sign_up)


class ClosedSignUp(AsyncServerInterceptor):
    """Rejects every call before the request is parsed, so the response reveals nothing about existing users."""

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Raises SignUpClosed."""
        raise SignUpClosed


class AccountCheck(AsyncServerInterceptor):
    """Checks the caller's row within the transaction of the call, because an access token may be older than the row.

    A method that only reads does not lock the row. A method that every user may call changes only the caller, whose row
    it locks. A method that creates locks the caller's row, which serializes it with changes to the caller's role. Any
    other method may change users and takes a lock on all users: two callers that lock their own rows and then update
    each other's would deadlock. A method that hashes passwords checks the row only, and begins its own transaction.
    """

    def __init__(self, method: Method, db: Database) -> None:
        self._db = db
        self._roles = method.access.roles
        self._is_within_transaction = method.name not in _HASHES_PASSWORDS
        is_read, is_create = all(http.verb == "GET" for http in method.http), method.name.startswith("Create")
        is_own = Role.USER.name in method.access.roles
        self._get_user = GET_USER if is_read else LOCK_OWN_USER if is_own else LOCK_USER
        self._is_exclusive = not (is_read or is_create or is_own)

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Runs the method, within the transaction.

        Raises UserNotFound, UserDisabled, UserExternal, RoleRequired.
        """
        if not self._is_within_transaction:
            await self._check(self._db, GET_USER)
            return await method(request_or_iterator, context)
        async with self._db.begin() as tx:
            if self._is_exclusive:
                await tx.run(LOCK_USERS)
            await self._check(tx, self._get_user)
            current_transaction.set(tx)
            return await method(request_or_iterator, context)

    async def _check(self, db: Database | Transaction, get_user: Statement) -> None:
        caller = current_caller.get()
        if caller and caller.is_external:
            raise UserExternal
        row = await db.row(get_user, id=caller.id) if caller else None
        if row is None:
            raise UserNotFound
        if row["disabled"]:
            raise UserDisabled
        if row["role"] not in self._roles:
            raise RoleRequired


def _create_interceptors(db: Database, method: Method, *, sign_up: SignUpPolicy) -> Iterator[AsyncServerInterceptor]:
    if method.name in _CLOSED[sign_up]:
        yield ClosedSignUp()
    if method.access.kind is AccessKind.USERS:
        yield AccountCheck(method, db)
