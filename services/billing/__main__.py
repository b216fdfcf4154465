"""Runs the billing service."""

from services.billing.models import AUDIT
from services.billing.service import BillingService
from services.common.audit.events import AccessLog
from services.common.audit.interceptor import AccessInterceptors
from services.common.audit.seals import Sealer
from services.common.observability.export import export_telemetry
from services.common.observability.logging import configure_logging
from services.common.patient_access import create_access_finder
from services.common.postgres.database import open_database
from services.common.protobuf.contract import SERVICES
from services.common.rpc.client import create_trust_fetcher, open_channel
from services.common.rpc.server import run, serve
from services.common.rpc.tls import Tls
from services.common.rpc.tokens import TokenVerifier
from services.common.settings import PatientAddresses, SettingsWithAuth


class BillingSettings(SettingsWithAuth, frozen=True, kw_only=True):
    """The settings of the billing service."""

    patient: PatientAddresses


async def main() -> None:
    """Serves until the process receives a signal to stop."""
    settings = BillingSettings.read()
    configure_logging("billing", settings.log_level)
    tls = Tls.read(settings)
    verifier = TokenVerifier(create_trust_fetcher(open_channel(settings.auth, service="auth", tls=tls)))
    patient = open_channel(settings.patient, service="patient", tls=tls)
    async with (
        open_database(settings) as db,
        Sealer(db, AUDIT) as sealer,
        export_telemetry(settings, "billing", [db, sealer]),
        AccessLog(db, AUDIT, people_per_second=settings.people_per_second) as log,
    ):
        audit = AccessInterceptors(log, path_ids_are_subjects=False)
        service = BillingService(db, create_access_finder(patient))
        await serve(settings, SERVICES["billing"], service, verifier=verifier, dependencies=[db], audit=audit)


if __name__ == "__main__":
    run(main)
