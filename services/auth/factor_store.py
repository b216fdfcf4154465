"""Second factors in the database. Callers hold the lock of the user's row, which serializes them."""

import time
from uuid import UUID

from asyncpg import Record
from sqlalchemy import Boolean, bindparam, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from services.auth.models import recovery_codes, second_factors, users
from services.auth.one_time_codes import (
    create_recovery_codes,
    create_secret,
    find_step,
    is_one_time_password,
    normalize_code,
)
from services.auth.opaque_tokens import hash_token
from services.auth.secret_cipher import SecretCipher
from services.common.postgres.database import Transaction
from services.common.postgres.statement import Statement

_factor, _code = second_factors.c, recovery_codes.c
_is_of_user = _factor.user_id == bindparam("of_user")
_codes_of_user = _code.user_id == bindparam("of_user")

_new = upsert(second_factors).values(user_id=bindparam("user_id"), encrypted_secret=bindparam("encrypted_secret"))
_PUT_SECRET = Statement(
    _new.on_conflict_do_update(
        index_elements=[_factor.user_id],
        set_={"encrypted_secret": _new.excluded.encrypted_secret, "last_step": _new.excluded.last_step},
    )
)
_GET_SECRET = Statement(select(_factor.encrypted_secret).where(_is_of_user))
_USE_STEP = Statement(
    update(second_factors)
    .where(_is_of_user, _factor.last_step < bindparam("step"))
    .values(last_step=bindparam("step"))
    .returning(_factor.user_id)
)
_DELETE_SECRET = Statement(delete(second_factors).where(_is_of_user).returning(_factor.user_id))
_INSERT_RECOVERY_CODE = Statement(
    insert(recovery_codes).values(user_id=bindparam("user_id"), digest=bindparam("digest"))
)
_USE_RECOVERY_CODE = Statement(
    delete(recovery_codes).where(_codes_of_user, _code.digest == bindparam("digest")).returning(_code.user_id)
)
_DELETE_RECOVERY_CODES = Statement(delete(recovery_codes).where(_codes_of_user))
_MARK_USER = Statement(
    update(users)
    .where(users.c.id == bindparam("of_user"))
    .values(second_factor=bindparam("is_confirmed", type_=Boolean))
)


class FactorStore:
    """Sets up second factors and uses their codes. Secrets are encrypted, and recovery codes stored as digests."""

    def __init__(self, passphrase: str, *, required_for_admins: bool = False) -> None:
        self._cipher = SecretCipher(passphrase, purpose="second factors")
        self._is_required_for_admins = required_for_admins

    def is_required(self, user: Record) -> bool:
        """Returns whether a user needs a second factor."""
        return self._is_required_for_admins and user["role"] == "ADMIN"

    def find_role(self, user: Record) -> str:
        """Returns the role for the tokens of a user: USER for an admin without the required second factor."""
        return "USER" if self.is_required(user) and not user["second_factor"] else str(user["role"])

    async def enroll(self, tx: Transaction, user_id: UUID) -> bytes:
        """Returns a new secret, which replaces an unconfirmed one of the user."""
        secret = create_secret()
        await tx.run(_PUT_SECRET, user_id=user_id, encrypted_secret=self._cipher.encrypt(secret, user_id))
        return secret

    async def confirm(self, tx: Transaction, user_id: UUID) -> list[str]:
        """Marks the second factor of a user as confirmed and returns its recovery codes."""
        codes = create_recovery_codes()
        await tx.run(_MARK_USER, of_user=user_id, is_confirmed=True)
        await tx.run_many(_INSERT_RECOVERY_CODE, [{"user_id": user_id, "digest": _hash_code(code)} for code in codes])
        return codes

    async def use_code(self, tx: Transaction, user_id: UUID, code: str) -> bool:
        """Uses a one-time password or a recovery code of a user. Returns False if it is wrong or already used."""
        code = normalize_code(code)
        if not is_one_time_password(code):
            return await tx.row(_USE_RECOVERY_CODE, of_user=user_id, digest=_hash_code(code)) is not None
        row = await tx.row(_GET_SECRET, of_user=user_id)
        step = row and find_step(self._cipher.decrypt(row["encrypted_secret"], user_id), code, time.time())
        return bool(step) and await tx.row(_USE_STEP, of_user=user_id, step=step) is not None


async def has_secret(tx: Transaction, user_id: UUID) -> bool:
    """Returns whether a user has a second factor, confirmed or not."""
    return await tx.row(_GET_SECRET, of_user=user_id) is not None


async def remove_factor(tx: Transaction, user_id: UUID) -> bool:
    """Removes the second factor of a user, confirmed or not. Returns False if there is none."""
    await tx.run(_MARK_USER, of_user=user_id, is_confirmed=False)
    await tx.run(_DELETE_RECOVERY_CODES, of_user=user_id)
    return await tx.row(_DELETE_SECRET, of_user=user_id) is not None


def _hash_code(code: str) -> bytes:
    return hash_token(normalize_code(code))
