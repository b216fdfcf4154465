"""Authentication and authorization of calls: the caller's identity, and the access option of the method."""

from collections.abc import Callable, Iterable
from typing import Any

from grpc_interceptor.server import AsyncServerInterceptor

from services.common.context import Caller, current_caller
from services.common.errors import RoleRequired, ScopeRequired, TokenInvalid, TokenMissing
from services.common.protobuf.contract import AccessKind, Method
from services.common.rpc.interceptors import Context, Next
from services.common.rpc.metadata import read_metadata
from services.common.rpc.token_rules import CLIENT_ROLE, SERVICE_ROLE
from services.common.rpc.tokens import TokenVerifier

Admission = Callable[[Method], Iterable[AsyncServerInterceptor]]
"""Creates a method's interceptors for a service's own authorization rules, which look beyond the token."""


class Identity(AsyncServerInterceptor):
    """Identifies the caller by the bearer token (RFC 6750), unless the method is public.

    The gateway has already verified the token. The service verifies it again, because a call may reach the service port
    without passing the gateway.
    """

    def __init__(self, method: Method, verifier: TokenVerifier) -> None:
        self._verifier = verifier
        self._is_public = method.access.kind is AccessKind.PUBLIC
        self._is_optional = method.access.kind in {AccessKind.CLIENT_CREDENTIALS, AccessKind.INTERNAL}

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Sets the caller and calls the next interceptor. Raises TokenMissing, TokenInvalid, UserDisabled."""
        current_caller.set(None if self._is_public else await self._identify_caller())
        return await method(request_or_iterator, context)

    async def _identify_caller(self) -> Caller | None:
        headers = read_metadata("authorization")
        if len(headers) > 1:
            raise TokenInvalid  # another component may read a different one of them
        scheme, _, token = "".join(headers).partition(" ")
        if scheme.lower() == "bearer" and token:
            return await self._verifier.verify(token.strip())
        if self._is_optional:
            return None
        raise TokenMissing


class Access(AsyncServerInterceptor):
    """Enforces the method's access option."""

    def __init__(self, method: Method) -> None:
        self._access = method.access

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the next interceptor. Raises RoleRequired, ScopeRequired."""
        if not self._is_permitted(current_caller.get()):
            raise RoleRequired
        return await method(request_or_iterator, context)

    def _is_permitted(self, caller: Caller | None) -> bool:
        match self._access.kind:
            case AccessKind.PUBLIC:
                return True
            case AccessKind.USERS:
                return caller is not None and (caller.role in self._access.roles or self._is_permitted_client(caller))
            case AccessKind.SERVICES:
                return caller is not None and caller.role == SERVICE_ROLE
            case AccessKind.CLIENT_CREDENTIALS | AccessKind.INTERNAL:
                return caller is None or caller.role == SERVICE_ROLE

    def _is_permitted_client(self, caller: Caller) -> bool:
        """Returns whether the caller is a machine client that may call the method. Raises ScopeRequired."""
        scope = self._access.scope
        if caller.role != CLIENT_ROLE or not scope:
            return False
        if scope not in caller.scopes:
            raise ScopeRequired(scope=scope)
        return True
