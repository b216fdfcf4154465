"""Rows of users."""

from asyncpg import Record

from services.auth.errors import UserNotFound
from services.auth.models import GET_USER
from services.common.postgres.database import Database, Transaction


async def get_user(db: Database | Transaction, user_id: str) -> Record:
    """Returns the row of a user. Raises UserNotFound."""
    row = await db.row(GET_USER, id=user_id)
    if row is None:
        raise UserNotFound
    return row
