"""Unit tests of the cache of recent changes."""

from uuid import uuid4

from services.common.postgres.journal import START, JournalPosition
from services.common.protobuf.encoded import Encoded
from services.patient.watch import Change, RecentChanges

MAX_CACHED = 1000


def build_changes(first: int, last: int) -> list[Change]:
    """Returns a change for each transaction from the first to the last."""
    positions = [JournalPosition(number, 1) for number in range(first, last + 1)]
    return [Change(position, uuid4(), Encoded(str(position).encode())) for position in positions]


def test_nothing_is_known_before_the_section_begins() -> None:
    assert RecentChanges().after(START) is None


def test_changes_after_a_position_are_returned() -> None:
    recent, changes = RecentChanges(), build_changes(1, 5)
    recent.begin(START)
    recent.add(changes)
    assert recent.after(START) == changes
    assert recent.after(changes[2].position) == changes[3:]
    assert recent.after(changes[-1].position) == []


def test_position_before_the_section_is_unknown() -> None:
    recent = RecentChanges()
    recent.begin(JournalPosition(7, 1))
    assert recent.after(JournalPosition(6, 9)) is None
    assert recent.after(JournalPosition(7, 1)) == []


def test_oldest_changes_are_dropped_without_a_gap() -> None:
    recent, changes = RecentChanges(), build_changes(1, MAX_CACHED + 1)
    recent.begin(START)
    recent.add(changes)
    assert recent.after(START) is None
    oldest = next(change for change in changes if recent.after(change.position) is not None)
    cached = recent.after(oldest.position)
    assert cached == changes[changes.index(oldest) + 1 :]
    assert cached
    assert len(cached) == MAX_CACHED // 2


def test_new_changes_set_the_event_and_replace_it() -> None:
    recent = RecentChanges()
    recent.begin(START)
    advanced = recent.advanced
    recent.add([])
    assert not advanced.is_set()
    recent.add(build_changes(1, 1))
    assert advanced.is_set()
    assert not recent.advanced.is_set()
