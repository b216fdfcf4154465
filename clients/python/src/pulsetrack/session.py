"""The session of a user or a machine client: logs in, and keeps the access token valid."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import grpc

from pulsetrack.auth.v1.auth_pb2 import (
    LoginRequest,
    LogoutRequest,
    RefreshTokenRequest,
    TokenPair,
    VerifySecondFactorRequest,
)
from pulsetrack.auth.v1.clients_pb2 import ClientToken, IssueClientTokenRequest
from pulsetrack.errors import PulseTrackError, SecondFactorRequired, Unauthenticated

if TYPE_CHECKING:  # declared only in the type stubs
    from pulsetrack.auth.v1.auth_pb2_grpc import AuthServiceAsyncStub

_MARGIN = 30
_TIMEOUT = 10


@dataclass(frozen=True)
class Password:
    """The credentials of a user."""

    email: str
    password: str = field(repr=False)
    code: Callable[[], str] | None = None
    """Returns a code of the user's second factor. Called only if the user has one."""


@dataclass(frozen=True)
class ClientCredentials:
    """The credentials of a machine client."""

    client_id: str
    client_secret: str = field(repr=False)
    scope: str = ""
    """The scopes of the access token, separated by spaces. Empty for all scopes of the client."""


Credentials: TypeAlias = Password | ClientCredentials


@dataclass(frozen=True)
class Tokens:
    """The tokens of a session."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    """Empty for a machine client."""
    refresh_time: float
    """When to replace the access token, in Unix seconds: shortly before it expires."""

    @classmethod
    def of(cls, response: TokenPair | ClientToken) -> "Tokens":
        """Returns the tokens of a response."""
        refresh_token = response.refresh_token if isinstance(response, TokenPair) else ""
        margin = min(_MARGIN, response.expires_in / 2)
        return cls(response.access_token, refresh_token, time.time() + response.expires_in - margin)


class TokenStore:
    """Keeps the tokens of a session in memory. A subclass can keep them where several processes share them."""

    def __init__(self) -> None:
        self._tokens: Tokens | None = None

    def lock(self) -> AbstractContextManager[object]:
        """Excludes other processes while tokens are replaced, because a refresh token can be used only once."""
        return nullcontext()

    def load(self) -> Tokens | None:
        """Returns the newest tokens, or None before the first login."""
        return self._tokens

    def save(self, tokens: Tokens) -> None:
        """Replaces the tokens."""
        self._tokens = tokens


class Session:
    """Provides a valid access token: logs in at the first call, and refreshes the token before it expires."""

    def __init__(self, auth: "AuthServiceAsyncStub", credentials: Credentials | None, store: TokenStore) -> None:
        self._auth = auth
        self._credentials = credentials
        self._store = store
        self.tokens = store.load()
        self._lock = asyncio.Lock()

    async def token(self, *, rejected: str = "") -> str:
        """Returns an access token other than `rejected`. Raises PulseTrackError if the session cannot be continued."""
        async with self._lock:
            if not self._is_valid(rejected):
                with self._store.lock():
                    self.tokens = self._store.load()
                    if not self._is_valid(rejected):
                        self.tokens = Tokens.of(await self._renew())
                        self._store.save(self.tokens)
            assert self.tokens  # noqa: S101
            return self.tokens.access_token

    async def log_out(self) -> None:
        """Ends the session, if the server can be reached."""
        if self.tokens and self.tokens.refresh_token:
            try:
                await self._auth.Logout(LogoutRequest(refresh_token=self.tokens.refresh_token), timeout=_TIMEOUT)
            except grpc.aio.AioRpcError:
                return

    def _is_valid(self, rejected: str) -> bool:
        tokens = self.tokens
        return bool(tokens and tokens.access_token != rejected and time.time() < tokens.refresh_time)

    async def _renew(self) -> TokenPair | ClientToken:
        try:
            if self.tokens and self.tokens.refresh_token:
                try:
                    request = RefreshTokenRequest(refresh_token=self.tokens.refresh_token)
                    return await self._auth.RefreshToken(request, timeout=_TIMEOUT)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAUTHENTICATED or not self._credentials:
                        raise
            return await self._log_in()
        except grpc.aio.AioRpcError as error:
            raise PulseTrackError.of(error) from None

    async def _log_in(self) -> TokenPair | ClientToken:
        if not self._credentials:
            raise Unauthenticated(grpc.StatusCode.UNAUTHENTICATED, "Log in first.")
        if isinstance(self._credentials, ClientCredentials):
            grant = IssueClientTokenRequest(grant_type="client_credentials", **asdict(self._credentials))
            return await self._auth.IssueClientToken(grant, timeout=_TIMEOUT)
        request = LoginRequest(email=self._credentials.email, password=self._credentials.password)
        pair = await self._auth.Login(request, timeout=_TIMEOUT)
        if not pair.challenge:
            return pair
        if not self._credentials.code:
            raise SecondFactorRequired(grpc.StatusCode.UNAUTHENTICATED, "The user has a second factor. Pass a code.")
        verification = VerifySecondFactorRequest(challenge=pair.challenge, code=self._credentials.code())
        return await self._auth.VerifySecondFactor(verification, timeout=_TIMEOUT)
