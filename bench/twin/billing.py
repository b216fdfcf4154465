"""The billing process: one account for each patient."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from sqlalchemy.dialects.postgresql import insert
from uuid_utils.compat import uuid7

from bench.twin.database import Database
from bench.twin.models import BillingAccount
from bench.twin.schemas import AccountChange
from bench.twin.security import SERVICES, Caller, Roles, Tokens
from bench.twin.settings import Settings


@asynccontextmanager
async def _run(app: FastAPI) -> AsyncIterator[None]:
    settings = Settings.read()
    app.state.db = Database(settings.database_url)
    app.state.tokens = Tokens(settings.signing_key, SERVICES)
    yield
    await app.state.db.close()


app = FastAPI(title="Twin billing", lifespan=_run)

_new = insert(BillingAccount)
_UPSERT = _new.on_conflict_do_update(
    index_elements=[BillingAccount.patient_id],
    set_={name: _new.excluded[name] for name in ("name", "email", "sequence")},
    where=BillingAccount.sequence < _new.excluded.sequence,
)


@app.post("/v1/billing-accounts:batch")
async def change_accounts(
    request: Request, changes: list[AccountChange], _: Annotated[Caller, Depends(Roles("SERVICE"))]
) -> dict[str, int]:
    """Opens or updates the account of each patient."""
    rows = [{"id": uuid7(), **change.model_dump()} for change in changes]
    async with request.app.state.db.engine.begin() as connection:
        await connection.execute(_UPSERT, rows)
    return {"count": len(rows)}


@app.get("/readyz")
async def get_readiness() -> dict[str, str]:
    """Returns 200 once the process serves."""
    return {}
