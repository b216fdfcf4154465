"""Tokens of a leaked signing key, and the errors that they cause."""

from functools import partial

from gen.pulsetrack.patient.v1 import ListPatientsRequest
from services.auth.tokens import decrypt_key
from services.auth.trust_store import LIST_SIGNING_KEYS
from services.common.postgres.database import Database
from tests.e2e.sessions import Session
from tests.harness.background import Background
from tests.harness.client import attempt, connect
from tests.harness.tokens import Signer
from tools.instance import Instance


def leaked_signer(background: Background, system: Instance) -> Signer:
    """Returns a signer that uses the key of a running auth service."""
    url, passphrase = (
        (system.folder / "secrets" / name).read_text(encoding="utf-8")
        for name in ("auth-database-url", "key-passphrase")
    )

    async def signer() -> Signer:
        async with Database(url) as db:
            [row] = await db.rows(LIST_SIGNING_KEYS)
        key = decrypt_key(row, passphrase)
        signer = Signer(key.id)
        signer.key = key.private
        return signer

    return background.run(signer())


def reasons(system: Instance, token: str) -> list[str]:
    """Returns the reasons with which ListPatients fails over REST, over gRPC and at the port of the patient service."""
    request = ListPatientsRequest(page_size=1)
    with (
        Session.open(system, token) as session,
        connect(system.state().ports["patient"], "patient", token) as direct,
    ):
        rest = session.rest.get("/v1/patients", params={"pageSize": 1})
        rejected = [attempt(partial(client.list_patients, request)) for client in (session.client("patient"), direct)]
    reason = rest.json()["details"][0]["reason"] if rest.is_error else ""
    return [reason, *(getattr(rejection, "reason", "") for rejection in rejected)]
