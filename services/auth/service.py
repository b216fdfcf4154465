"""The auth service: its parts, and the RPCs that serve other services."""

import hmac
from collections.abc import Mapping
from dataclasses import replace

from gen.google.api import HttpBody
from gen.pulsetrack.auth.v1 import (
    GetExternalJwksRequest,
    GetJwksRequest,
    GetTrustBundleRequest,
    IssueServiceTokenRequest,
    ServiceToken,
    TrustBundle,
)
from services.auth.clients import Clients
from services.auth.email_verifications import EmailVerifications
from services.auth.errors import InvalidCredentials
from services.auth.external_keys import ExternalKeys
from services.auth.factor_store import FactorStore
from services.auth.invitations import Invitations
from services.auth.mail_outbox import MailOutbox
from services.auth.mail_requests import MailRequests
from services.auth.notifications import Notifications
from services.auth.password_changes import PasswordChanges
from services.auth.password_strength import PasswordRules
from services.auth.passwords import Passwords
from services.auth.second_factors import SecondFactors
from services.auth.security_events import SecurityEvents
from services.auth.sessions import Lifetimes, Sessions
from services.auth.tokens import SigningKeys
from services.auth.users import Users
from services.common.postgres.database import Database
from services.common.rpc.token_rules import SERVICE_ROLE, SERVICES_AUDIENCE


class ServiceTrust:
    """Issues tokens to services, and publishes what they need to verify tokens."""

    def __init__(
        self,
        keys: SigningKeys,
        external: ExternalKeys,
        service_secrets: Mapping[str, str],
        *,
        token_seconds: int,
    ) -> None:
        self._keys = keys
        self._external = external
        self._secrets = service_secrets
        self._token_seconds = token_seconds

    async def issue_service_token(self, request: IssueServiceTokenRequest) -> ServiceToken:
        """Issues a service token in exchange for a client id and its secret.

        Raises InvalidCredentials.
        """
        secret = self._secrets.get(request.client_id, "")
        if not secret or not hmac.compare_digest(secret.encode(), request.client_secret.encode()):
            raise InvalidCredentials
        seconds = self._token_seconds
        token = self._keys.sign(
            subject=request.client_id, role=SERVICE_ROLE, audience=SERVICES_AUDIENCE, seconds=seconds
        )
        return ServiceToken(access_token=token, token_type="Bearer", expires_in=seconds)  # noqa: S106 - a scheme, not a secret

    async def get_jwks(self, request: GetJwksRequest) -> HttpBody:
        """Returns the public signing keys. Raises DependencyUnavailable."""
        return HttpBody(content_type="application/json", data=self._keys.jwks())

    async def get_external_jwks(self, request: GetExternalJwksRequest) -> HttpBody:
        """Returns the public keys of the external issuer."""
        return HttpBody(content_type="application/json", data=self._external.jwks)

    async def get_trust_bundle(self, request: GetTrustBundleRequest) -> TrustBundle:
        """Returns the public keys and the revocations. Raises DependencyUnavailable."""
        return await self.trust_bundle()

    async def trust_bundle(self) -> TrustBundle:
        """Returns what verifiers of tokens need to know. Raises DependencyUnavailable."""
        return replace(self._keys.trust_bundle(), external_issuer=self._external.issuer)


class AuthService:
    """Manages users and sessions, and issues the tokens that the other services verify."""

    def __init__(
        self,
        db: Database,
        mails: MailOutbox,
        keys: SigningKeys,
        passwords: Passwords,
        *,
        rules: PasswordRules,
        service_secrets: Mapping[str, str],
        lifetimes: Lifetimes,
        factors: FactorStore,
        external: ExternalKeys,
        requires_verified_email: bool = False,
    ) -> None:
        self.users = Users(db, mails, passwords, rules)
        self.trust = ServiceTrust(keys, external, service_secrets, token_seconds=lifetimes.service_token)
        self.parts = (
            self.users,
            Sessions(
                db,
                mails,
                keys,
                passwords,
                lifetimes=lifetimes,
                factors=factors,
                requires_verified_email=requires_verified_email,
            ),
            SecondFactors(db, mails, passwords, factors),
            Invitations(db, mails, passwords, self.users.checks),
            PasswordChanges(db, mails, passwords, rules),
            EmailVerifications(db, mails),
            MailRequests(db, mails),
            Notifications(db, mails),
            SecurityEvents(),
            Clients(db, keys, token_seconds=lifetimes.access_token),
            self.trust,
        )
        """The objects that implement the RPCs."""
