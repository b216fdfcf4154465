"""Passwords, kept as argon2id hashes."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError


class Passwords:
    """Hashes and verifies passwords, away from the event loop and not many at a time: each takes 19 MiB for some 20 ms.

    Parameters are those of the OWASP Password Storage Cheat Sheet for argon2id.
    """

    def __init__(self, *, threads: int = 2) -> None:
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._nobodys = self._hasher.hash("")

    async def hash(self, password: str) -> str:
        """Returns the hash to store, with its salt and parameters."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._hasher.hash, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Returns whether the password is right. Without a stored hash it is wrong, after the same time."""
        matches = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._matches, stored or self._nobodys, password
        )
        return matches and stored is not None

    def outdated(self, stored: str) -> bool:
        """Tells whether a stored hash was made with other parameters than those of today."""
        return self._hasher.check_needs_rehash(stored)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except VerifyMismatchError:
            return False
