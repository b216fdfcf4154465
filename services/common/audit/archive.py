"""Archives sealed access events: `python -m services.common.audit.archive SERVICE --folder DIR --before 2026-01-01`.

Writes the sealed events that occurred before a day to a file in a folder, and verifies them at the same time. A file
contains compressed JSON lines: a header, each event exactly as its seal covers it, and the hash of the last seal. The
hashes can be recomputed from the lines, so an archive can be verified without the database.
`services.common.audit.prune` deletes archived events from the database.
"""

import argparse
import gzip
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol
from uuid import UUID

import msgspec
from asyncpg import Record

from services.common.audit.seals import (
    INITIAL_HASH,
    AuditIntegrityError,
    Chain,
    compute_seal,
    load_audit_tables,
    read_seals,
)
from services.common.audit.tables import AuditTables, compute_group_id, is_group_id, join_ids
from services.common.postgres.database import Database, open_database
from services.common.protobuf.contract import SERVICES
from services.common.rpc.server import run
from services.common.settings import PooledDatabaseSettings


class Archive(NamedTuple):
    """The end of an archive: the number and the hash of its last seal."""

    number: int
    head: bytes


class Group(msgspec.Struct):
    """A line with the subjects of a group, which later events refer to."""

    group: UUID
    subject_ids: list[UUID]


class Header(msgspec.Struct):
    """The first line of an archive: the service, and the seal that the archive continues after."""

    service: str
    number: int
    head: str


NOTHING = Archive(0, INITIAL_HASH)
"""The end of an empty series of archives."""

_UNLIMITED = 2**63


class CommandParser(argparse.ArgumentParser):
    """Parses the arguments of an audit command. Exits with a one-line error if they are invalid."""

    def __init__(self, command: str, description: str | None) -> None:
        super().__init__(prog=f"python -m services.common.audit.{command}", description=description)
        self.add_argument("service", choices=SERVICES, help="the service that the audit log belongs to")

    def error(self, message: str) -> NoReturn:
        """Exits with status 2 and the message."""
        self.exit(2, f"{self.prog}: {message}.\n")


def list_archives(service: str, folder: Path) -> list[Path]:
    """Returns the archives of a service in their order."""
    return sorted(folder.glob(f"{service}-*.jsonl.gz"))


def verify_archives(service: str, folder: Path, known: Sequence[Archive] = ()) -> Sequence[Archive]:
    """Verifies that the archives of a service are unchanged and consecutive, and returns the end of each.

    Does not read the first archives again, whose ends are known. Raises AuditIntegrityError.
    """
    ends = list(known)
    for path in list_archives(service, folder)[len(ends) :]:
        ends.append(_verify_archive(path, service, ends[-1] if ends else NOTHING))
    return ends


def _verify_archive(path: Path, service: str, before: Archive) -> Archive:
    """Returns the end of an archive that continues another. Raises AuditIntegrityError."""
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
                    groups.add(_verify_group(content))
                    continue
                number += 1
                if not content.startswith(f"[{number},".encode()):
                    raise AuditIntegrityError(f"the archive {path.name} was changed at seal {number}")
                missing |= {each for each in _parse_subject_ids(content) if is_group_id(each)} - groups
                head = compute_seal(head, content)
            last = msgspec.json.decode(line, type=str)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise AuditIntegrityError(f"the archive {path.name} cannot be read: {error}") from None
    if last != head.hex() or missing:
        raise AuditIntegrityError(f"the archive {path.name} was changed: its last hash does not match its events")
    return Archive(number, head)


async def archive(
    db: Database,
    tables: AuditTables,
    service: str,
    folder: Path,
    older_than: datetime,
    *,
    ends: Sequence[Archive] = (),
    limit: int = _UNLIMITED,
) -> Path | None:
    """Archives the sealed events up to the first that did not occur before a time, or up to a number of events.

    Takes the ends of the existing archives, which `verify_archives` returned. Returns the path of the archive, or None
    if there is nothing to archive. Raises AuditIntegrityError.
    """
    before = ends[-1] if ends else NOTHING
    chain, groups = Chain(tables), _Groups(db, tables)
    with _create_file(folder / f"{service}-{before.number + 1:012}.jsonl.gz") as write:
        write(msgspec.json.encode(Header(service, before.number, before.head.hex())))
        async for row in read_seals(db, tables):
            if chain.may_begin(row, ends):
                chain.begin(row)
                continue
            is_recent = row["occur_time"] is not None and row["occur_time"] >= older_than
            if is_recent or chain.number == before.number + limit:
                break
            content = chain.add(row)
            if chain.number > before.number:
                for group in await groups.encode_new(row):
                    write(group)
                write(content)
            elif chain.number == before.number and chain.head != before.head:
                raise AuditIntegrityError(f"seal {chain.number} does not match the last seal of the archives")
        if chain.number <= before.number:
            return None
        return write(msgspec.json.encode(chain.head.hex()), last=True)


def _parse_subject_ids(content: bytes) -> list[UUID]:
    """Returns the ids of the subjects and groups in the sealed content of an event."""
    _, _, ids, *_ = msgspec.json.decode(content, type=list)
    return [UUID(each) for each in ids]


def _verify_group(line: bytes) -> UUID:
    """Returns the id of a group if it matches the group's subjects. Raises AuditIntegrityError."""
    group = msgspec.json.decode(line, type=Group)
    if compute_group_id(join_ids(group.subject_ids)) != group.group:
        raise AuditIntegrityError(f"the subjects of group {group.group} were changed")
    return group.group


class _Groups:
    """The groups that the events of an archive refer to. Each is written once, before the first such event."""

    def __init__(self, db: Database, tables: AuditTables) -> None:
        self._db = db
        self._tables = tables
        self._written: set[UUID] = set()

    async def encode_new(self, event: Record) -> list[bytes]:
        """Returns the lines of the groups that no earlier event refers to."""
        ids = {each for each in self._tables.subject_ids(event) if is_group_id(each)} - self._written
        self._written |= ids
        rows = await self._db.rows(self._tables.get_groups, ids=list(ids)) if ids else []
        return [msgspec.json.encode(Group(row["id"], row["subject_ids"])) for row in rows]


class _Write(Protocol):
    def __call__(self, line: bytes, *, last: bool = False) -> Path:
        """Writes a line and returns the path of the file, which exists only after the last line."""


@contextmanager
def _create_file(path: Path) -> Iterator[_Write]:
    """Creates a compressed file atomically and durably, readable only by its owner."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    with new.open("wb") as raw, gzip.open(raw, "wb") as file:

        def write(line: bytes, *, last: bool = False) -> Path:
            file.write(line + b"\n")
            if last:
                file.close()
                raw.flush()
                os.fsync(raw.fileno())
                new.replace(path)
                sync_folder(path.parent)
            return path

        try:
            yield write
        finally:
            new.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Waits until the names of the files in a folder are on the disk. Their events are deleted afterwards."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parse_day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2026-01-31") from None


async def main() -> None:
    """Runs the command. Exits with status 1 if the audit log or an archive was changed."""
    parser = CommandParser("archive", __doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the folder of the archives")
    parser.add_argument("--before", type=_parse_day, required=True, help="the first day that is not archived, in UTC")
    options = parser.parse_args()
    name, older_than = options.service, datetime.combine(options.before, time(), UTC)
    async with open_database(PooledDatabaseSettings.read()) as db:
        try:
            ends = verify_archives(name, options.folder)
            path = await archive(db, load_audit_tables(name), name, options.folder, older_than, ends=ends)
            ends = verify_archives(name, options.folder, ends)
        except (AuditIntegrityError, OSError) as error:
            sys.exit(f"The audit log of {name} cannot be archived: {error}.")
    if path is None:
        sys.stdout.write(f"The audit log of {name} has no new events before {options.before} to archive.\n")
    else:
        number, head = ends[-1]
        sys.stdout.write(f"Archived the audit log of {name} up to seal {number}, {head.hex()}, in {path}.\n")


if __name__ == "__main__":
    run(main)
