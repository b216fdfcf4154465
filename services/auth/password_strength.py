"""Password rules: rejects passwords that are easy to guess or known from data breaches."""

import asyncio
import hashlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from services.common.settings import SettingsError

_MIN_SCORE = 3
"""The minimum zxcvbn score (0 to 4). A score of 3 means at least 10^8 guesses."""
_PIECE_LENGTH = 16
"""The number of characters passed to zxcvbn. Its worst-case time grows steeply: 50 ms for 16, 500 ms for 32."""
_MIN_WORD_LENGTH = 3
_COMMON_WORDS = ("pulsetrack", "clinic", "patient", "hospital", "doctor", "nurse", "admin")
_HASH = re.compile(rb"[0-9A-Fa-f]{40}")

GUESSABLE = (
    "is too easy to guess: use several unrelated words, or at least nine random characters, "
    "and avoid your name, your email address and the product's name"
)
BREACHED = "is known from a data breach: choose another password"


class PasswordRules:
    """Checks new passwords in a single worker thread, because zxcvbn stores the user's words in a global variable."""

    def __init__(self, breached: str = "") -> None:
        """Takes the path of a list of breached passwords, or "". Raises SettingsError for an invalid list."""
        self._breached = BreachedPasswords(Path(breached)) if breached else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="zxcvbn")

    async def find_violation(self, password: str, *names: str) -> str | None:
        """Returns why a user with these names must not use the password, or None if it is acceptable."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._find_violation, password, names)

    def _find_violation(self, password: str, names: Iterable[str]) -> str | None:
        if is_guessable(password, names):
            return GUESSABLE
        return BREACHED if self._breached and password in self._breached else None


def is_guessable(password: str, names: Iterable[str]) -> bool:
    """Returns whether an attacker who knows the user's names can guess a password.

    The user's own words are removed first. A long password is as strong as the stronger of its two ends.
    """
    from zxcvbn import zxcvbn  # noqa: PLC0415 - its word lists take 13 MiB, and most processes check no new password

    words = list_user_words(names)
    rest = password
    for word in words:
        rest = re.sub(re.escape(word), "", rest, flags=re.IGNORECASE)
    pieces = {rest[:_PIECE_LENGTH], rest[-_PIECE_LENGTH:]} - {""}
    return all(zxcvbn(piece, user_inputs=words)["score"] < _MIN_SCORE for piece in pieces)


def list_user_words(names: Iterable[str]) -> list[str]:
    """Returns the words that an attacker tries first for a user with these names, longest first."""
    words = {*_COMMON_WORDS}
    for name in names:
        words |= {name.lower(), *re.split(r"[\W_]+", name.lower())}
    return sorted((word for word in words if len(word) >= _MIN_WORD_LENGTH), key=lambda word: (-len(word), word))


class BreachedPasswords:
    """A file of hexadecimal SHA-1 hashes in ascending order, one per line. Text after the hash is ignored.

    haveibeenpwned.com publishes its list in this format. The file can be 40 GB in size and is searched on disk.
    """

    def __init__(self, path: Path) -> None:
        """Raises SettingsError if the file cannot be read or does not begin with a hash."""
        self._path = path
        try:
            with path.open("rb") as file:
                first = file.readline(100)
        except OSError as error:
            raise SettingsError(f"PULSETRACK_BREACHED_PASSWORDS cannot be read: {error}") from None
        if not _HASH.match(first):
            raise SettingsError(f"PULSETRACK_BREACHED_PASSWORDS: {path} does not begin with a hexadecimal SHA-1 hash")

    def __contains__(self, password: str) -> bool:
        """Returns whether the file contains the hash of a password. Uses binary search."""
        wanted = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper().encode()
        with self._path.open("rb") as file:
            low, high = 0, file.seek(0, 2)
            while low < high:  # the hash can only be on a line that starts in this range
                middle = (low + high) // 2
                file.seek(middle)
                if middle:
                    file.seek(middle - 1)
                    file.readline()
                begin = file.tell()
                found = file.readline()[:40].upper()
                if found == wanted:
                    return True
                if begin >= high or not found or found > wanted:
                    high = middle
                else:
                    low = file.tell()
        return False
