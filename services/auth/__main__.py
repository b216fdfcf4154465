"""Runs the auth service."""

import logging
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gen.pulsetrack.auth.v1 import ExternalIssuer
from services.auth.authorization import SignUpPolicy, create_authorization
from services.auth.external_keys import ExternalKeys
from services.auth.external_settings import (
    OidcAdminValues,
    OidcAudience,
    OidcIssuer,
    OidcRoleClaim,
    OidcUserValues,
    parse_external_issuer,
)
from services.auth.factor_store import FactorStore
from services.auth.mail_outbox import MailOutbox
from services.auth.mail_requests import MailRequestProcessor
from services.auth.mail_sender import MailSender
from services.auth.mail_settings import MailConfig, MailFrom, PublicUrl, SmtpUrl, parse_mail_config
from services.auth.models import AUDIT
from services.auth.old_rows import OLD_ROWS
from services.auth.password_strength import PasswordRules
from services.auth.passwords import Passwords
from services.auth.service import AuthService
from services.auth.sessions import Lifetimes
from services.auth.tokens import KeyPassphrase, SigningKeys
from services.common.audit.events import AccessLog
from services.common.audit.interceptor import AccessInterceptors
from services.common.audit.seals import Sealer
from services.common.observability.export import export_telemetry
from services.common.observability.logging import configure_logging
from services.common.postgres.database import Database, open_database
from services.common.postgres.retention import Retention
from services.common.protobuf.contract import SERVICES
from services.common.rpc.server import run, serve
from services.common.rpc.token_rules import MAX_TOKEN_SECONDS
from services.common.rpc.tokens import TokenVerifier
from services.common.settings import Settings, SettingsError

_log = logging.getLogger(__name__)


class AuthSettings(Settings, frozen=True, kw_only=True):
    """The settings of the auth service."""

    admin_email: Annotated[str, Meta(description="Email address of the first admin.")]
    admin_password: Annotated[str, Meta(min_length=8, description="Password of the first admin.")]
    key_passphrase: KeyPassphrase
    service_secrets: Annotated[str, Meta(description="JSON object with the secret of each service by client ID.")]
    sign_up: Annotated[
        SignUpPolicy,
        Meta(
            description="`open`: anyone can sign up. `invite`: users sign up with an invitation of an admin. `closed`: "
            "only admins create users."
        ),
    ] = "invite"
    admin_second_factor: Annotated[
        Literal["optional", "required"],
        Meta(
            description="`required`: an admin without a second factor has the permissions of a user, and can only set "
            "one up. `optional`: no user needs a second factor."
        ),
    ] = "optional"
    oidc_issuer: OidcIssuer = ""
    oidc_audience: OidcAudience = ""
    oidc_role_claim: OidcRoleClaim = "roles"
    oidc_admin_values: OidcAdminValues = ""
    oidc_user_values: OidcUserValues = ""
    smtp_url: SmtpUrl = ""
    mail_from: MailFrom = ""
    public_url: PublicUrl = ""
    verified_email: Annotated[
        Literal["optional", "required"],
        Meta(
            description="`required`: a user can log in only after the email address is verified, which requires mail. "
            "The first admin is exempt."
        ),
    ] = "optional"
    breached_passwords: Annotated[
        str,
        Meta(
            description="File with SHA-1 hashes of passwords to reject, one per line in ascending order (the format of "
            "haveibeenpwned.com). If empty, no list is used."
        ),
    ] = ""
    access_token_seconds: Annotated[
        int, Meta(ge=1, le=MAX_TOKEN_SECONDS, description="Lifetime of an access token.")
    ] = 900
    refresh_token_seconds: Annotated[int, Meta(ge=1, description="Lifetime of a refresh token.")] = 1_209_600
    service_token_seconds: Annotated[
        int, Meta(ge=60, le=MAX_TOKEN_SECONDS, description="Lifetime of a service token.")
    ] = 300

    def parse_mail_config(self) -> MailConfig | None:
        """Returns how mail is sent, or None if no mail is sent. Raises SettingsError."""
        config = parse_mail_config(self.smtp_url, self.mail_from, self.public_url)
        if config is None and self.verified_email == "required":
            raise SettingsError("PULSETRACK_VERIFIED_EMAIL=required needs PULSETRACK_SMTP_URL")
        return config

    def parse_external_issuer(self) -> ExternalIssuer | None:
        """Returns the external issuer, or None if there is none. Raises SettingsError."""
        return parse_external_issuer(
            self.oidc_issuer, self.oidc_audience, self.oidc_role_claim, self.oidc_admin_values, self.oidc_user_values
        )

    def parse_service_secrets(self) -> dict[str, str]:
        """Returns the service secrets by client id. Raises SettingsError."""
        try:
            return msgspec.json.decode(self.service_secrets, type=dict[str, str])
        except ValueError as error:
            raise SettingsError(
                f"PULSETRACK_SERVICE_SECRETS is not a JSON object with string values: {error}"
            ) from None


async def main() -> None:
    """Serves until the process receives a signal to stop."""
    settings = AuthSettings.read()
    configure_logging("auth", settings.log_level)
    mail = settings.parse_mail_config()
    if mail is None:
        _log.warning("PULSETRACK_SMTP_URL is not set: no mail is sent")
    outbox = MailOutbox(settings.key_passphrase, is_enabled=mail is not None)
    async with (
        open_database(settings) as db,
        Sealer(db, AUDIT) as sealer,
        MailSender(db, outbox, mail) as sender,
        MailRequestProcessor(db, outbox),
        Retention(db, *OLD_ROWS),
        export_telemetry(settings, "auth", [db, sealer, sender]),
        SigningKeys(db, settings.key_passphrase) as keys,
        ExternalKeys(settings.parse_external_issuer()) as external,
        AccessLog(db, AUDIT, people_per_second=settings.people_per_second) as log,
    ):
        auth = _create_service(settings, db, outbox, keys, external)
        await auth.users.ensure_admin(settings.admin_email, settings.admin_password)

        await serve(
            settings,
            SERVICES["auth"],
            auth.parts,
            verifier=TokenVerifier(auth.trust.trust_bundle),
            dependencies=[db],
            audit=AccessInterceptors(log, path_ids_are_subjects=True),
            admission=create_authorization(db, sign_up=settings.sign_up),
        )


def _create_service(
    settings: AuthSettings, db: Database, outbox: MailOutbox, keys: SigningKeys, external: ExternalKeys
) -> AuthService:
    return AuthService(
        db,
        outbox,
        keys,
        Passwords(),
        rules=PasswordRules(settings.breached_passwords),
        service_secrets=settings.parse_service_secrets(),
        lifetimes=Lifetimes(
            access_token=settings.access_token_seconds,
            refresh_token=settings.refresh_token_seconds,
            service_token=settings.service_token_seconds,
        ),
        factors=FactorStore(settings.key_passphrase, required_for_admins=settings.admin_second_factor == "required"),
        requires_verified_email=settings.verified_email == "required",
        external=external,
    )


if __name__ == "__main__":
    run(main)
