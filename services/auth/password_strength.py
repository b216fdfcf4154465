"""Which passwords are refused: those that are easy to guess, and those known from breaches."""

import asyncio
import hashlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from zxcvbn import zxcvbn

from services.common.errors import FieldsInvalid
from services.common.settings import SettingsError

_LEAST_SCORE = 3
"""Of zxcvbn's scores 0 to 4: at least 10^8 guesses."""
_PIECE = 16
"""How many characters zxcvbn sees at once: its time grows steeply with them (16: 50 ms at worst, 32: 500 ms)."""
_LEAST_WORD = 3
_COMMON_WORDS = ("pulsetrack", "clinic", "patient", "hospital", "doctor", "nurse", "admin")
_HASH = re.compile(rb"[0-9A-Fa-f]{40}")

GUESSABLE = (
    "is too easy to guess: use several unrelated words, or nine or more random characters, "
    "without your name, your email or the product's name"
)
BREACHED = "is known from a data breach: choose another"


class PasswordRules:
    """Checks new passwords, one at a time and off the event loop: zxcvbn keeps the words of the user in a global."""

    def __init__(self, breached: str = "") -> None:
        """Takes the path of the list of breached passwords. Raises SettingsError if it is not such a list."""
        self._breached = BreachedPasswords(Path(breached)) if breached else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="zxcvbn")

    async def violation(self, password: str, *names: str) -> str | None:
        """Returns what is wrong with a password of a user who has these names, None if nothing is."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._violation, password, names)

    async def check(self, password: str, *names: str) -> None:
        """Raises FieldsInvalid if a user with these names may not have the password."""
        if wrong := await self.violation(password, *names):
            raise FieldsInvalid({"password": wrong})

    def _violation(self, password: str, names: Iterable[str]) -> str | None:
        if is_guessable(password, names):
            return GUESSABLE
        return BREACHED if self._breached and password in self._breached else None


def is_guessable(password: str, names: Iterable[str]) -> bool:
    """Returns whether a password can be guessed by someone who knows the user's names.

    The user's own words count for nothing. A long password is judged by its stronger end.
    """
    words = own_words(names)
    rest = password
    for word in words:
        rest = re.sub(re.escape(word), "", rest, flags=re.IGNORECASE)
    pieces = {rest[:_PIECE], rest[-_PIECE:]} - {""}
    return all(zxcvbn(piece, user_inputs=words)["score"] < _LEAST_SCORE for piece in pieces)


def own_words(names: Iterable[str]) -> list[str]:
    """Returns the words that an attacker tries first for a user with these names, the longest first."""
    words = {*_COMMON_WORDS}
    for name in names:
        words |= {name.lower(), *re.split(r"[\W_]+", name.lower())}
    return sorted((word for word in words if len(word) >= _LEAST_WORD), key=lambda word: (-len(word), word))


class BreachedPasswords:
    """A file of SHA-1 hashes in hexadecimal, one on a line and in ascending order, anything behind a hash ignored.

    This is the form in which haveibeenpwned.com publishes its list. It is searched on disk, as it may have 40 GB.
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
            raise SettingsError(
                f"PULSETRACK_BREACHED_PASSWORDS: {path} does not begin with a SHA-1 hash in hexadecimal"
            )

    def __contains__(self, password: str) -> bool:
        """Searches for the hash of a password by bisection."""
        wanted = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper().encode()
        with self._path.open("rb") as file:
            low, high = 0, file.seek(0, 2)
            while low < high:  # the first line that begins at low or later, and before high, may be it
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
