"""Field masks of updates (AIP-134, AIP-161)."""

from collections.abc import Collection, Iterable

from betterproto2 import Message

ALL = "*"

EMPTY_UPDATE = "must name a field to update, or the request must set one"
"""The violation of `update_mask` by an update without effect on any field."""


def select_updated_fields(mask: Iterable[str] | None, change: Message, updatable: Iterable[str]) -> set[str]:
    """Returns the updatable fields that an update sets.

    The mask names them; "*" stands for all. Without a mask, they are the fields that have a value in the change.
    """
    paths = set(mask or ())
    if not paths:
        return {name for name in updatable if getattr(change, name)}
    return {name for name in updatable if name in paths or ALL in paths}


def find_mask_violation(mask: Iterable[str] | None, allowed: Collection[str]) -> str | None:
    """Returns a description of the paths that a mask must not contain, or None if all are allowed."""
    rejected = sorted(path for path in set(mask or ()) if path != ALL and path not in allowed)
    return f"must not contain fields that cannot be updated: {', '.join(rejected)}" if rejected else None
