"""ListUsers."""

from collections.abc import Iterator

import pytest

from gen.pulsetrack.auth.v1 import ListUsersRequest, ListUsersResponse, User
from tests.auth.factory import build_create_user, create_session
from tests.harness.client import Client, Rejected
from tests.harness.services import ADMIN_EMAIL
from tests.harness.sql import Sql


def create_users(admin: Client, count: int) -> list[User]:
    """Creates users sequentially."""
    return [admin.create_user(build_create_user()) for _ in range(count)]


def walk(admin: Client, size: int) -> Iterator[User]:
    """Follows the page tokens to the last page."""
    page = ListUsersResponse()
    while True:
        page = admin.list_users(ListUsersRequest(page_size=size, page_token=page.next_page_token))
        yield from page.users
        if not page.next_page_token:
            return


def test_users_are_listed_newest_first(admin: Client) -> None:
    new = create_users(admin, 3)
    assert admin.list_users(ListUsersRequest(page_size=3)).users == new[::-1]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_pages_contain_every_user_once(admin: Client, size: int) -> None:
    new = create_users(admin, 5)
    walked = list(walk(admin, size))
    assert walked[:5] == new[::-1]
    assert walked[-1].email == ADMIN_EMAIL
    assert len({user.id for user in walked}) == len(walked)


def test_default_page_size_is_50(admin: Client, sql: Sql) -> None:
    sql(
        "INSERT INTO users (id, email, email_key, username, username_key, password_hash, role) "
        "SELECT gen_random_uuid(), n, n, n, n, '', 'USER' FROM (SELECT 'many-' || generate_series(1, 60)) AS many (n)"
    )
    page = admin.list_users(ListUsersRequest())
    assert len(page.users) == 50
    assert page.next_page_token
    assert len(admin.list_users(ListUsersRequest(page_size=1000)).users) > 60


def test_disabled_user_is_listed(admin: Client, sql: Sql) -> None:
    [user] = create_users(admin, 1)
    sql("UPDATE users SET disabled = true WHERE id = $1", user.id)
    [listed] = admin.list_users(ListUsersRequest(page_size=1)).users
    assert (listed.id, listed.disabled) == (user.id, True)


def test_modified_page_token_is_rejected(admin: Client) -> None:
    create_users(admin, 2)
    token = admin.list_users(ListUsersRequest(page_size=1)).next_page_token
    for changed in (token[::-1], "token"):
        with pytest.raises(Rejected, match="INVALID_ARGUMENT PAGE_TOKEN_INVALID"):
            admin.list_users(ListUsersRequest(page_token=changed))


@pytest.mark.parametrize(("field", "value"), [("page_size", -1), ("page_token", "x" * 513)])
def test_invalid_field_is_reported(admin: Client, field: str, value: object) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        admin.list_users(ListUsersRequest(**{field: value}))  # type: ignore[arg-type]
    assert list(rejected.value.violations) == [field]


def test_only_admins_can_list_users(auth: Client) -> None:
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        auth.with_token(create_session(auth).access_token).list_users(ListUsersRequest())
