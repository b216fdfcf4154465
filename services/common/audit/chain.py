"""The chain of seals, proved from its tables."""

from collections.abc import AsyncIterator
from importlib import import_module
from uuid import UUID

from asyncpg import Record

from services.common.audit.groups import group_id, is_group, join
from services.common.audit.seals import BEFORE_THE_FIRST, seal, sealed_content
from services.common.audit.tables import AuditTables
from services.common.postgres.database import Database
from services.common.postgres.journal import Place, place_of

_PAGE = 1000


class BrokenError(Exception):
    """Occurs when the chain or an event in it is not what it was. The text names the first that is wrong."""


class Chain:
    """The chain as far as it has been proved."""

    def __init__(self, tables: AuditTables, *looked_for: bytes) -> None:
        """Takes the hashes of seals that must be in it, if any are known."""
        self._tables = tables
        self.number = 0
        self.head = BEFORE_THE_FIRST
        self.place = Place(0, 0)
        self._missing = {each for each in looked_for if each}
        self._groups: set[UUID] = set()

    def begin(self, row: Record) -> None:
        """Begins at a seal whose event is archived with all before it."""
        self._follow(row["number"], row["hash"], Place(row["seal_transaction"], row["seal_position"]))

    def add(self, row: Record) -> bytes:
        """Proves one more seal, and returns what it covers. Raises BrokenError."""
        number, where = self.number + 1, f"seal {row['number']}, event {row['event_id']}"
        if row["number"] != number:
            raise BrokenError(f"seal {number} is missing: the one that follows is {where}")
        if row["id"] is None:
            raise BrokenError(f"{where}: the event is missing")
        if Place(row["seal_transaction"], row["seal_position"]) != place_of(row) or place_of(row) <= self.place:
            raise BrokenError(f"{where}: the event is out of place")
        content = sealed_content(number, self._tables.sealed_values(row))
        if seal(self.head, content) != row["hash"]:
            raise BrokenError(f"{where}: the event or the seal was changed")
        self._follow(number, row["hash"], place_of(row))
        self._groups.update(filter(is_group, self._tables.subject_ids(row)))
        return content

    async def prove_groups(self, db: Database) -> None:
        """Proves the groups that the events refer to. Raises BrokenError."""
        after = UUID(int=0)
        while rows := await db.rows(self._tables.list_groups, after=after, limit=_PAGE):
            for row in rows:
                after = row["id"]
                if group_id(join(row["subject_ids"])) != after:
                    raise BrokenError(f"group {after}: the people in it were changed")
                self._groups.discard(after)
        if self._groups:
            raise BrokenError(f"group {min(self._groups)} is missing, to which events refer")

    def end(self, added: UUID | None) -> None:
        """Proves that this is all. Raises BrokenError."""
        if added:
            raise BrokenError(f"event {added} was added among those that are sealed, and has no seal")
        if self._missing:
            hashes = " and ".join(sorted(each.hex() for each in self._missing))
            raise BrokenError(f"the chain ends with seal {self.number}, without the one that is {hashes}")

    def _follow(self, number: int, head: bytes, place: Place) -> None:
        self.number, self.head, self.place = number, head, place
        self._missing.discard(head)


async def seals_of(db: Database, tables: AuditTables) -> AsyncIterator[Record]:
    """Yields the seals, each with its event if that is there."""
    number = 0
    while rows := await db.rows(tables.list_seals, number=number, limit=_PAGE):
        for row in rows:
            yield row
        number = rows[-1]["number"]


def tables_of(service: str) -> AuditTables:
    """Returns the audit's tables of a service, by its short name."""
    tables: AuditTables = import_module(f"services.{service}.models").AUDIT
    return tables
