"""The API process: patients and login."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from bench.twin import login, patients
from bench.twin.audit import AccessLog
from bench.twin.database import Database
from bench.twin.relay import Relay
from bench.twin.security import USERS, Passwords, Tokens
from bench.twin.settings import Settings


@asynccontextmanager
async def _run(app: FastAPI) -> AsyncIterator[None]:
    settings = Settings.read()
    db = Database(settings.database_url, is_tuned=settings.is_tuned)
    tokens = Tokens(settings.signing_key, USERS, is_cached=settings.is_tuned)
    async with AccessLog(db) as audit, Relay(db, tokens, settings) as relay:
        state = {"db": db, "tokens": tokens, "passwords": Passwords(), "audit": audit, "relay": relay}
        for name, value in state.items():
            setattr(app.state, name, value)
        yield
    await db.close()


app = FastAPI(title="Twin", lifespan=_run)
app.include_router(patients.router)
app.include_router(login.router)


@app.get("/readyz")
async def get_readiness() -> dict[str, str]:
    """Returns 200 once the process serves."""
    return {}
