"""Guarded tables: a statement that reads one without its condition cannot be built."""

import time
from typing import Any

import pytest
from sqlalchemy import Column, MetaData, Table, Text, bindparam, delete, exists, func, select, update
from sqlalchemy.sql import ClauseElement

from services.common.context import Caller, current_caller
from services.common.postgres.guards import VIEWER, UnguardedStatementError, guard, iterate, see_all
from services.common.postgres.statement import Statement

secrets = Table("secrets", MetaData(), Column("name", Text), Column("owner", Text), info=guard(VIEWER))
others = Table("others", secrets.metadata, Column("name", Text))

is_visible = secrets.c.owner == bindparam(VIEWER)
VISIBLE = select(secrets).where(is_visible)

UNGUARDED: dict[str, ClauseElement] = {
    "table": select(secrets),
    "column": select(secrets.c.name),
    "only in a condition": select(others).where(others.c.name == secrets.c.name),
    "join": select(others).join(secrets, others.c.name == secrets.c.name),
    "alias": select(secrets.alias("each").c.name),
    "subquery": select(select(secrets).subquery()),
    "scalar subquery": select(select(secrets.c.name).scalar_subquery()),
    "subquery of a guarded select": select(select(secrets.c.name).scalar_subquery())
    .select_from(secrets)
    .where(is_visible),
    "exists": select(others).where(exists(select(secrets))),
    "common table expression": select(select(secrets).cte()),
    "union with a guarded select": VISIBLE.union_all(select(secrets)),
    "update": update(secrets).values(name=""),
    "delete": delete(secrets),
}


@pytest.mark.parametrize("statement", UNGUARDED.values(), ids=UNGUARDED)
def test_unguarded_statement_cannot_be_built(statement: ClauseElement) -> None:
    with pytest.raises(UnguardedStatementError, match="reads secrets without the parameter viewer"):
        Statement(statement)


GUARDED: dict[str, ClauseElement] = {
    "select": VISIBLE,
    "subquery": select(VISIBLE.subquery()),
    "exists": select(others).where(exists(VISIBLE)),
    "update": update(secrets).where(is_visible).values(name=""),
    "sees all": see_all(select(secrets)),
    "deletes all": see_all(delete(secrets)),
    "another table": select(others),
}


@pytest.mark.parametrize("statement", GUARDED.values(), ids=GUARDED)
def test_guarded_statement_is_built(statement: ClauseElement) -> None:
    Statement(statement)


def test_shared_elements_are_examined_once() -> None:
    column: Any = others.c.name
    for _ in range(30):  # 2**30 paths lead to the column
        column = func.coalesce(column, column)
    assert len([*iterate(column)]) < 100


def caller(role: str) -> Caller:
    return Caller("ana", role, time.time())


@pytest.mark.parametrize(
    ("current", "viewer"),
    [
        (caller("USER"), "ana"),
        (caller("CLIENT"), "ana"),
        (caller("ADMIN"), None),
        (caller("SERVICE"), None),
        (None, ""),
    ],
    ids=["user", "client", "admin", "service", "no caller"],
)
def test_viewer_is_the_current_caller(current: Caller | None, viewer: str | None) -> None:
    token = current_caller.set(current)
    values: dict[str, Any] = {VIEWER: "someone else"}
    assert Statement(VISIBLE).arguments(values) == [viewer]
    current_caller.reset(token)
