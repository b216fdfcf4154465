"""ListDeadLetters."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from gen.pulsetrack.analytics.v1 import DeadLetter, ListDeadLettersRequest
from services.common.messaging.producer import OutgoingMessage
from services.patient.changes import TOPIC
from tests.analytics.factory import KEY
from tests.harness.client import Client, Rejected

CreateDeadLetter = Callable[[OutgoingMessage], str]


def build_invalid_message(**headers: str) -> OutgoingMessage:
    """Returns a unique message that is not an event."""
    return OutgoingMessage(key=KEY, value=b"\xff" + uuid4().bytes, headers=headers)


def walk(admin: Client, **request: Any) -> Iterator[DeadLetter]:
    """Follows the page tokens to the last page."""
    token = ""
    while True:
        page = admin.list_dead_letters(ListDeadLettersRequest(**request, page_token=token))
        yield from page.dead_letters
        if not (token := page.next_page_token):
            return


def test_dead_letter_is_listed_as_received(admin: Client, create_dead_letter: CreateDeadLetter) -> None:
    before, event_id = datetime.now(UTC), str(uuid4())
    dead_letter_id = create_dead_letter(build_invalid_message(ce_id=event_id))
    [listed] = admin.list_dead_letters(ListDeadLettersRequest(page_size=1)).dead_letters
    assert (listed.id, listed.topic, listed.event_id, listed.attempts) == (dead_letter_id, TOPIC, event_id, 1)
    assert listed.partition >= 0
    assert listed.offset >= 0
    assert "DecodeError" in listed.reason
    assert before <= listed.receive_time <= datetime.now(UTC)
    assert listed.replay_time is None


def test_dead_letter_without_event_id_header_has_no_event_id(
    admin: Client, create_dead_letter: CreateDeadLetter
) -> None:
    create_dead_letter(build_invalid_message())
    [listed] = admin.list_dead_letters(ListDeadLettersRequest(page_size=1)).dead_letters
    assert not listed.event_id


@pytest.mark.parametrize("size", [1, 2, 3])
def test_pages_contain_every_dead_letter_once_newest_first(
    admin: Client, create_dead_letter: CreateDeadLetter, size: int
) -> None:
    ids = [create_dead_letter(build_invalid_message()) for _ in range(5)]
    walked = [dead_letter.id for dead_letter in walk(admin, page_size=size)]
    assert walked[:5] == ids[::-1]
    assert len(set(walked)) == len(walked)


def test_modified_page_token_is_rejected(admin: Client, create_dead_letter: CreateDeadLetter) -> None:
    for _ in range(2):
        create_dead_letter(build_invalid_message())
    token = admin.list_dead_letters(ListDeadLettersRequest(page_size=1)).next_page_token
    with pytest.raises(Rejected, match="INVALID_ARGUMENT PAGE_TOKEN_INVALID"):
        admin.list_dead_letters(ListDeadLettersRequest(page_token=token[1:]))


def test_only_admins_can_list_dead_letters(analytics: Client) -> None:
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        analytics.list_dead_letters(ListDeadLettersRequest())


@pytest.mark.parametrize(("field", "value"), [("page_size", -1), ("page_token", "x" * 513)])
def test_invalid_field_is_reported(admin: Client, field: str, value: Any) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        admin.list_dead_letters(ListDeadLettersRequest(**{field: value}))
    assert list(rejected.value.violations) == [field]
