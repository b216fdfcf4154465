"""Servers for tests: each service runs in this process, wired as in its `__main__`, without background work."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from gen.pulsetrack.auth.v1 import ExternalIssuer
from services.analytics.service import AnalyticsService
from services.auth.authorization import SignUpPolicy, create_authorization
from services.auth.external_keys import ExternalKeys
from services.auth.factor_store import FactorStore
from services.auth.mail_outbox import MailOutbox
from services.auth.mail_requests import MailRequestProcessor
from services.auth.mail_sender import MailSender
from services.auth.mail_settings import MailConfig
from services.auth.password_strength import PasswordRules
from services.auth.passwords import Passwords
from services.auth.service import AuthService
from services.auth.sessions import Lifetimes
from services.auth.tokens import SigningKeys
from services.billing.service import BillingService
from services.common.audit.events import AccessLog
from services.common.audit.interceptor import AccessInterceptors
from services.common.audit.seals import load_audit_tables
from services.common.messaging.outbox import Outbox
from services.common.patient_access import create_access_finder
from services.common.postgres.database import Database
from services.common.protobuf.contract import SERVICES
from services.common.rpc.client import open_channel
from services.common.rpc.server import start_server
from services.common.rpc.tokens import TokenVerifier
from services.common.settings import Settings
from services.patient.models import outbox_rows
from services.patient.service import PatientService
from services.patient.servicers import create_servicers

ADMIN_EMAIL = "admin@clinic.test"
ADMIN_PASSWORD = "the admin's password"
PASSPHRASE = "a passphrase for the keys"
HEARTBEAT_SECONDS = 0.5
RESUME_KEY = b"a key for resume tokens"
UNAVAILABLE = "127.0.0.1:1"
"""An address at which no service listens."""
CLIENT_ID = "patient"
CLIENT_SECRET = "the patient service's secret"
LIFETIMES = Lifetimes(access_token=900, refresh_token=3600, service_token=300)


async def find_no_access() -> Sequence[str]:
    """Returns no patients. For services that hold no rows of restricted patients."""
    return ()


def serve_servicer(
    service: str, servicer: object, verifier: TokenVerifier, **settings: Any
) -> AbstractAsyncContextManager[int]:
    """Serves a servicer on a free port and yields the port."""
    config = Settings(**({"listen": "127.0.0.1:0", "database_url": ""} | settings))
    return start_server(config, SERVICES[service], servicer, verifier=verifier)


@asynccontextmanager
async def serve_service(
    service: str,
    url: str,
    verifier: TokenVerifier,
    *,
    patient: str = UNAVAILABLE,
    billing: str = UNAVAILABLE,
    **settings: Any,
) -> AsyncIterator[int]:
    """Serves a service other than auth with a database, and yields its port.

    Billing and analytics call `patient`, which calls `billing`.
    """
    config = Settings(**({"listen": "127.0.0.1:0", "database_url": url} | settings))
    async with (
        Database(url, connections=config.database_connections) as db,
        AccessLog(db, load_audit_tables(service), people_per_second=config.people_per_second) as log,
    ):
        outbox = Outbox(outbox_rows)
        patients = PatientService(db, outbox, resume_key=RESUME_KEY, heartbeat_seconds=HEARTBEAT_SECONDS)
        find_access = create_access_finder(open_channel(patient))
        servicers: dict[str, object] = {
            "patient": create_servicers(
                db, outbox, patients, open_channel(billing), resume_key=RESUME_KEY, erasure_delay_days=30
            ),
            "billing": BillingService(db, find_access),
            "analytics": AnalyticsService(db, find_access),
        }
        servicer, audit = servicers[service], AccessInterceptors(log, path_ids_are_subjects=service == "patient")
        async with start_server(
            config, SERVICES[service], servicer, verifier=verifier, dependencies=[db], audit=audit
        ) as port:
            yield port


@asynccontextmanager
async def run_auth(
    db: Database,
    *,
    passphrase: str = PASSPHRASE,
    admin_email: str = ADMIN_EMAIL,
    admin_password: str = ADMIN_PASSWORD,
    reload_seconds: float = 10,
    breached: str = "",
    admins_need_second_factor: bool = False,
    mail: MailConfig | None = None,
    requires_verified_email: bool = False,
    external: ExternalIssuer | None = None,
) -> AsyncIterator[AuthService]:
    """Yields the servicers of auth, with its keys, its mail and the first admin."""
    outbox = MailOutbox(passphrase, is_enabled=mail is not None)
    async with (
        MailSender(db, outbox, mail),
        MailRequestProcessor(db, outbox, idle_seconds=0.1 if mail else 60),
        SigningKeys(db, passphrase, reload_seconds=reload_seconds) as keys,
        ExternalKeys(external, refresh_seconds=0.2) as external_keys,
    ):
        auth = AuthService(
            db,
            outbox,
            keys,
            Passwords(),
            rules=PasswordRules(breached),
            service_secrets={CLIENT_ID: CLIENT_SECRET},
            lifetimes=LIFETIMES,
            factors=FactorStore(passphrase, required_for_admins=admins_need_second_factor),
            requires_verified_email=requires_verified_email,
            external=external_keys,
        )
        await auth.users.ensure_admin(admin_email, admin_password)
        yield auth


@asynccontextmanager
async def serve_auth(
    url: str,
    verifier: TokenVerifier | None = None,
    *,
    sign_up: SignUpPolicy = "open",
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[int]:
    """Serves auth with a database, and yields its port. It verifies its own tokens unless a verifier is given.

    The settings are those of every service. The options are those of `run_auth`.
    """
    config = Settings(**({"listen": "127.0.0.1:0", "database_url": url} | dict(settings or {})))
    async with (
        Database(url) as db,
        run_auth(db, **options) as auth,
        AccessLog(db, load_audit_tables("auth")) as log,
        start_server(
            config,
            SERVICES["auth"],
            auth.parts,
            verifier=verifier or TokenVerifier(auth.trust.trust_bundle),
            dependencies=[db],
            audit=AccessInterceptors(log, path_ids_are_subjects=True),
            admission=create_authorization(db, sign_up=sign_up),
        ) as port,
    ):
        yield port
