"""Password hashing with argon2id."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, auto

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from services.common.text import prepare_password


class Match(Enum):
    """How a password matches a stored hash."""

    NONE = auto()
    CURRENT = auto()
    OUTDATED = auto()
    """The password is right, but the hash has to be replaced."""


class Passwords:
    """Hashes and verifies passwords in a small thread pool: each hash takes 19 MiB of memory for about 20 ms.

    The parameters follow the OWASP Password Storage Cheat Sheet for argon2id. The prepared form is hashed.
    """

    def __init__(self, *, threads: int = 2) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._placeholder_hash = self._hasher.hash("")

    async def hash(self, password: str) -> str:
        """Returns the hash to store, including its salt and parameters."""
        prepared = prepare_password(password)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._hasher.hash, prepared)

    async def verify(self, stored_hash: str | None, password: str) -> Match:
        """Returns whether the password matches the hash. Takes the same time and returns NONE if there is no hash."""
        match = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._match, stored_hash or self._placeholder_hash, password
        )
        return match if stored_hash else Match.NONE

    def _match(self, stored_hash: str, password: str) -> Match:
        prepared = prepare_password(password)
        if self._is_hash_of(prepared, stored_hash):
            return Match.OUTDATED if self._hasher.check_needs_rehash(stored_hash) else Match.CURRENT
        # Earlier versions hashed passwords as typed.
        return Match.OUTDATED if password != prepared and self._is_hash_of(password, stored_hash) else Match.NONE

    def _is_hash_of(self, password: str, stored_hash: str) -> bool:
        try:
            return self._hasher.verify(stored_hash, password)
        except VerifyMismatchError:
            return False
