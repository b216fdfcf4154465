"""The login route."""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, HTTPException, Request, Response
from sqlalchemy import delete, select

from bench.twin import schemas
from bench.twin.audit import build_event
from bench.twin.models import RefreshToken, User
from bench.twin.security import TOKEN_SECONDS, USERS, Caller

router = APIRouter(prefix="/v1/auth")

_SESSION = timedelta(days=30)


@router.post("/login", response_model=schemas.TokenPair)
async def login(request: Request, credentials: schemas.Credentials) -> Response:
    """Starts a session."""
    state, now = request.app.state, datetime.now(UTC)
    by_email = select(User).where(User.email_key == schemas.fold_case(credentials.email))
    async with state.db.read() as session:
        user = await session.scalar(by_email)
    if not await state.passwords.verify(user and user.password_hash, credentials.password) or user is None:
        raise HTTPException(401, "INVALID_CREDENTIALS")
    refresh_token = secrets.token_urlsafe(32)
    digest = hashlib.sha256(refresh_token.encode()).digest()
    async with state.db.changes.begin() as session:
        expired = delete(RefreshToken).where(RefreshToken.user_id == user.id, RefreshToken.expire_time < now)
        await session.execute(expired)
        session.add(RefreshToken(digest=digest, user_id=user.id, expire_time=now + _SESSION))
    state.audit.record(build_event(request, Caller(str(user.id), user.role, 0), "Login", [user.id]))
    tokens = schemas.TokenPair(
        access_token=state.tokens.sign(subject=str(user.id), role=user.role, audience=USERS),
        refresh_token=refresh_token,
        expires_in=TOKEN_SECONDS,
    )
    return Response(tokens.model_dump_json(by_alias=True), media_type="application/json")
