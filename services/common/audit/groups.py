"""Groups: people who appear together in long lists are stored once, and events refer to them by a digest.

A list's ids are sorted and cut where an id itself says so, so that lists that have most people in common have most
groups in common, too: polling a list that changes little writes little. A group's id is a UUID of version 8 made from
the hash of its people's ids, by which the seals of the events cover the groups.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

LONGEST_UNGROUPED = 32
"""How many people an event names one by one at most."""

_CUT_MASK = 63  # one id in 64 ends a group
_VERSION = 8


def groups_of(subject_ids: Iterable[UUID]) -> Mapping[UUID, bytes]:
    """Returns the groups that people fall into, each by its id, with the ids of its people joined."""
    groups: dict[UUID, bytes] = {}
    group: list[bytes] = []
    for subject_id in sorted({each.bytes for each in subject_ids}):  # bytes compare faster than UUIDs
        group.append(subject_id)
        if subject_id[-1] & _CUT_MASK == 0:
            joined, group = b"".join(group), []
            groups[group_id(joined)] = joined
    if group:
        joined = b"".join(group)
        groups[group_id(joined)] = joined
    return groups


def join(subject_ids: Iterable[UUID]) -> bytes:
    """Returns the ids of a group's people joined."""
    return b"".join(each.bytes for each in subject_ids)


def split(joined: bytes) -> Sequence[UUID]:
    """Returns the ids of a group's people."""
    return [UUID(bytes=joined[start : start + 16]) for start in range(0, len(joined), 16)]


def group_id(joined: bytes) -> UUID:
    """Returns the id of the group of these people, in this order."""
    digest = bytearray(hashlib.sha256(joined).digest()[:16])
    digest[6] = _VERSION << 4 | digest[6] & 0x0F
    digest[8] = 0x80 | digest[8] & 0x3F
    return UUID(bytes=bytes(digest))


def is_group(subject_id: UUID) -> bool:
    """Returns whether an id is a group's. People's ids have other versions."""
    return subject_id.version == _VERSION
