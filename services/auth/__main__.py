"""Runs the auth service."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gen.pulsetrack.auth.v1 import TrustBundle
from services.auth.authorization import admission
from services.auth.models import AUDIT
from services.auth.password_strength import PasswordRules
from services.auth.passwords import Passwords
from services.auth.service import AuthService, Lifetimes
from services.auth.tokens import KeyPassphrase, SigningKeys
from services.common.audit.events import AccessLog
from services.common.audit.interceptor import AccessInterceptors
from services.common.audit.seals import Sealer
from services.common.observability.export import export_telemetry
from services.common.observability.logging import configure_logging
from services.common.postgres.database import Database
from services.common.protobuf.contract import SERVICES
from services.common.rpc.server import run, serve
from services.common.rpc.tokens import MAX_TOKEN_SECONDS, TokenVerifier
from services.common.settings import Settings, SettingsError

_LONGEST = MAX_TOKEN_SECONDS


class AuthSettings(Settings, frozen=True, kw_only=True):
    """What auth is told."""

    admin_email: Annotated[str, Meta(description="The first admin's email.")]
    admin_password: Annotated[str, Meta(min_length=8, description="The first admin's password.")]
    key_passphrase: KeyPassphrase
    service_secrets: Annotated[str, Meta(description="The secret of each service by its client id: a JSON object.")]
    sign_up: Annotated[
        Literal["open", "closed"], Meta(description="`open` lets any visitor sign up; `closed` leaves it to admins.")
    ] = "closed"
    breached_passwords: Annotated[
        str,
        Meta(
            description="A file of SHA-1 hashes of passwords to refuse, one on a line, in ascending order: the form of "
            "haveibeenpwned.com. None if it is empty."
        ),
    ] = ""
    access_token_seconds: Annotated[int, Meta(ge=1, le=_LONGEST, description="How long an access token is good.")] = 900
    refresh_token_seconds: Annotated[int, Meta(ge=1, description="How long a refresh token is good.")] = 1_209_600
    service_token_seconds: Annotated[int, Meta(ge=60, le=_LONGEST, description="How long a service token is good.")] = (
        300
    )

    def secrets(self) -> dict[str, str]:
        """Returns the secret of each service by its client id. Raises SettingsError."""
        try:
            return msgspec.json.decode(self.service_secrets, type=dict[str, str])
        except msgspec.MsgspecError as error:
            raise SettingsError(f"PULSETRACK_SERVICE_SECRETS is not a JSON object of texts: {error}") from None


async def main() -> None:
    """Serves until it is told to stop."""
    settings = AuthSettings.read()
    configure_logging("auth", settings.log_level)
    lifetimes = Lifetimes(
        access_token=settings.access_token_seconds,
        refresh_token=settings.refresh_token_seconds,
        service_token=settings.service_token_seconds,
    )
    async with (
        Database(settings.database_url, connections=settings.database_connections) as db,
        export_telemetry(settings, "auth", [db]),
        SigningKeys(db, settings.key_passphrase) as keys,
        AccessLog(db, AUDIT, people_per_second=settings.people_per_second) as log,
        Sealer(db, AUDIT),
    ):
        auth = AuthService(
            db,
            keys,
            Passwords(),
            rules=PasswordRules(settings.breached_passwords),
            service_secrets=settings.secrets(),
            lifetimes=lifetimes,
        )
        await auth.ensure_admin(settings.admin_email, settings.admin_password)

        async def own_trust() -> TrustBundle:
            return keys.trust_bundle()

        rules, audit = (
            admission(db, open_sign_up=settings.sign_up == "open"),
            AccessInterceptors(log, path_ids_are_subjects=True),
        )
        verifier = TokenVerifier(own_trust)
        await serve(
            settings, SERVICES["auth"], auth, verifier=verifier, dependencies=[db], audit=audit, admission=rules
        )


if __name__ == "__main__":
    run(main)
