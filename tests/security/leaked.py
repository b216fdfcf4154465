"""Tokens of a leaked signing key, and what the gateway and the services answer to them."""

from functools import partial

from gen.pulsetrack.patient.v1 import ListPatientsRequest
from services.auth.models import LIST_SIGNING_KEYS
from services.auth.tokens import decrypt_key
from services.common.postgres.database import Database
from tests.e2e.sessions import Session
from tests.harness.background import Background
from tests.harness.client import attempt, connect
from tests.harness.tokens import Signer
from tools.instance import Instance


def leaked_signer(background: Background, system: Instance) -> Signer:
    """Returns a signer with the key of the running auth."""
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
    """Returns why a list of patients is refused: by REST, by native gRPC, and at the patient service's own port."""
    request = ListPatientsRequest(page_size=1)
    with (
        Session.open(system, token) as session,
        connect(system.state().ports["patient"], "patient", token) as direct,
    ):
        at_rest = session.rest.get("/v1/patients", params={"pageSize": 1})
        refused = [attempt(partial(client.list_patients, request)) for client in (session.client("patient"), direct)]
    reason = at_rest.json()["details"][0]["reason"] if at_rest.is_error else ""
    return [reason, *(getattr(refusal, "reason", "") for refusal in refused)]
