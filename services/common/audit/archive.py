"""Archives of the audit: `python -m services.common.audit.archive SERVICE --folder DIR --before 2026-01-01`.

Writes the sealed events that are older than a day to a file in a folder, and proves them meanwhile. A file is JSON
lines, compressed: a header, each event exactly as its seal covers it, and the hash of the last seal. The hashes are
computed from the lines again, so that a file proves itself. Archived events may then be deleted:
`services.common.audit.prune`.
"""

import argparse
import gzip
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import NamedTuple, Protocol
from uuid import UUID

import msgspec
from asyncpg import Record

from services.common.audit.seals import INITIAL_HASH, AuditIntegrityError, Chain, load_audit_tables, read_seals, seal
from services.common.audit.tables import AuditTables, compute_group_id, is_group_id, join
from services.common.postgres.database import Database
from services.common.protobuf.contract import SERVICES
from services.common.rpc.server import run
from services.common.settings import DatabaseSettings


class Archive(NamedTuple):
    """The end of what is archived: the number and the hash of the last seal."""

    number: int
    head: bytes


class Group(msgspec.Struct):
    """A line with the people of a group, to which the events that follow refer."""

    group: UUID
    subject_ids: list[UUID]


class Header(msgspec.Struct):
    """The first line of an archive: which service's audit it continues, and behind which seal."""

    service: str
    number: int
    head: str


NOTHING = Archive(0, INITIAL_HASH)


def verify_archives(service: str, folder: Path) -> Archive | None:
    """Proves the archives of a service in a folder and that they follow each other, and returns the end of the last.

    Returns None if there are none. Raises AuditIntegrityError.
    """
    end = NOTHING
    for path in sorted(folder.glob(f"{service}-*.jsonl.gz")):
        end = _proved(path, service, end)
    return end if end.number else None


def _proved(path: Path, service: str, before: Archive) -> Archive:
    """Returns the end of an archive that follows another. Raises AuditIntegrityError."""
    number, head = before
    groups, missing = set[UUID](), set[UUID]()
    try:
        with gzip.open(path) as file:
            if msgspec.json.decode(next(file, b""), type=Header) != Header(service, number, head.hex()):
                raise AuditIntegrityError(f"the archive {path.name} does not follow seal {number} of {service}")
            line = next(file, b"")
            for following in file:
                content, line = line.removesuffix(b"\n"), following
                if content.startswith(b"{"):
                    groups.add(_proved_group(content))
                    continue
                number += 1
                if not content.startswith(f"[{number},".encode()):
                    raise AuditIntegrityError(f"the archive {path.name} was changed at seal {number}")
                missing |= {each for each in _subject_ids(content) if is_group_id(each)} - groups
                head = seal(head, content)
            told = msgspec.json.decode(line, type=str)
    except (OSError, EOFError, msgspec.MsgspecError, zlib.error) as error:
        raise AuditIntegrityError(f"the archive {path.name} cannot be read: {error}") from None
    if told != head.hex() or missing:
        raise AuditIntegrityError(
            f"the archive {path.name} was changed: it does not end with the hash that its events make"
        )
    return Archive(number, head)


async def archive(db: Database, tables: AuditTables, service: str, folder: Path, older_than: datetime) -> Path | None:
    """Archives the sealed events before the first that is not older than a time. Returns None if there are none.

    Raises AuditIntegrityError.
    """
    before = verify_archives(service, folder) or NOTHING
    chain, groups = Chain(tables), _Groups(db, tables)
    with _writing(folder / f"{service}-{before.number + 1:012}.jsonl.gz") as write:
        write(msgspec.json.encode(Header(service, before.number, before.head.hex())))
        async for row in read_seals(db, tables):
            if not chain.number and (row["number"], row["hash"]) == before:
                chain.begin(row)
                continue
            if row["occur_time"] is not None and row["occur_time"] >= older_than:
                break
            content = chain.add(row)
            if chain.number > before.number:
                for group in await groups.new(row):
                    write(group)
                write(content)
            elif chain.number == before.number and chain.head != before.head:
                raise AuditIntegrityError(f"seal {chain.number} is not the one that the archives end with")
        if chain.number <= before.number:
            return None
        return write(msgspec.json.encode(chain.head.hex()), last=True)


def _subject_ids(content: bytes) -> list[UUID]:
    """Returns the people and groups that an event names, from what its seal covers."""
    _, _, ids, *_ = msgspec.json.decode(content, type=list)
    return [UUID(each) for each in ids]


def _proved_group(line: bytes) -> UUID:
    """Returns the id of a group whose people are those of its id. Raises AuditIntegrityError."""
    group = msgspec.json.decode(line, type=Group)
    if compute_group_id(join(group.subject_ids)) != group.group:
        raise AuditIntegrityError(f"the people in group {group.group} were changed")
    return group.group


class _Groups:
    """The groups that the events of an archive refer to, each before the first of these."""

    def __init__(self, db: Database, tables: AuditTables) -> None:
        self._db = db
        self._tables = tables
        self._written: set[UUID] = set()

    async def new(self, event: Record) -> list[bytes]:
        """Returns the lines of the groups that no event before has referred to."""
        ids = {each for each in self._tables.subject_ids(event) if is_group_id(each)} - self._written
        self._written |= ids
        rows = await self._db.rows(self._tables.get_groups, ids=list(ids)) if ids else []
        return [msgspec.json.encode(Group(row["id"], row["subject_ids"])) for row in rows]


class _Write(Protocol):
    def __call__(self, line: bytes, *, last: bool = False) -> Path:
        """Writes a line. After the last one the file is there, by its path."""


@contextmanager
def _writing(path: Path) -> Iterator[_Write]:
    """Writes a file, readable by its owner alone, that is there whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    with gzip.open(new, "wb") as file:

        def write(line: bytes, *, last: bool = False) -> Path:
            file.write(line + b"\n")
            if last:
                file.close()
                new.replace(path)
            return path

        try:
            yield write
        finally:
            new.unlink(missing_ok=True)


async def main() -> None:
    """Archives once. Exits with status 1 if the audit or an archive is broken."""
    parser = argparse.ArgumentParser(prog="python -m services.common.audit.archive", description=__doc__)
    parser.add_argument("service", choices=SERVICES, help="whose audit to archive")
    parser.add_argument("--folder", type=Path, required=True, help="where the archives are")
    parser.add_argument(
        "--before", type=date.fromisoformat, required=True, help="the first day that is not archived, in UTC"
    )
    options = parser.parse_args()
    name, older_than = options.service, datetime.combine(options.before, time(), UTC)
    async with Database(DatabaseSettings.read().database_url) as db:
        try:
            path = await archive(db, load_audit_tables(name), name, options.folder, older_than)
            end = verify_archives(name, options.folder)
        except (AuditIntegrityError, OSError) as error:
            sys.exit(f"The audit of {name} cannot be archived: {error}.")
    if path is None or end is None:
        sys.stdout.write(f"There is nothing new to archive of the audit of {name} before {options.before}.\n")
    else:
        sys.stdout.write(f"The audit of {name} is archived up to seal {end.number}, {end.head.hex()}, in {path}.\n")


if __name__ == "__main__":
    run(main)
