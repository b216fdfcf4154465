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

Keep = Callable[[OutgoingMessage], str]


def garbage(**headers: str) -> OutgoingMessage:
    """Returns a message like no other, that is no event."""
    return OutgoingMessage(key=KEY, value=b"\xff" + uuid4().bytes, headers=headers)


def walk(admin: Client, **request: Any) -> Iterator[DeadLetter]:
    """Follows the page tokens to the last page."""
    token = ""
    while True:
        page = admin.list_dead_letters(ListDeadLettersRequest(**request, page_token=token))
        yield from page.dead_letters
        if not (token := page.next_page_token):
            return


def test_a_dead_letter_is_listed_as_it_came(admin: Client, dead_letter: Keep) -> None:
    before, event_id = datetime.now(UTC), str(uuid4())
    letter_id = dead_letter(garbage(ce_id=event_id))
    [listed] = admin.list_dead_letters(ListDeadLettersRequest(page_size=1)).dead_letters
    assert (listed.id, listed.topic, listed.event_id, listed.attempts) == (letter_id, TOPIC, event_id, 1)
    assert listed.partition >= 0
    assert listed.offset >= 0
    assert "DecodeError" in listed.reason
    assert before <= listed.receive_time <= datetime.now(UTC)
    assert listed.replay_time is None


def test_a_dead_letter_without_an_events_id_has_none(admin: Client, dead_letter: Keep) -> None:
    dead_letter(garbage())
    [listed] = admin.list_dead_letters(ListDeadLettersRequest(page_size=1)).dead_letters
    assert not listed.event_id


@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_pages_hold_every_dead_letter_once_the_newest_first(admin: Client, dead_letter: Keep, size: int) -> None:
    ids = [dead_letter(garbage()) for _ in range(5)]
    walked = [letter.id for letter in walk(admin, page_size=size)]
    assert walked[:5] == ids[::-1]
    assert len(set(walked)) == len(walked)


def test_a_changed_token_is_refused(admin: Client, dead_letter: Keep) -> None:
    for _ in range(2):
        dead_letter(garbage())
    token = admin.list_dead_letters(ListDeadLettersRequest(page_size=1)).next_page_token
    with pytest.raises(Rejected, match="INVALID_ARGUMENT PAGE_TOKEN_INVALID"):
        admin.list_dead_letters(ListDeadLettersRequest(page_token=token[1:]))


def test_only_admins_may_list_dead_letters(analytics: Client) -> None:
    with pytest.raises(Rejected, match="PERMISSION_DENIED ROLE_REQUIRED"):
        analytics.list_dead_letters(ListDeadLettersRequest())


@pytest.mark.parametrize(("field", "value"), [("page_size", -1), ("page_size", 1001), ("page_token", "x" * 513)])
def test_a_field_that_breaks_its_rule_is_named(admin: Client, field: str, value: Any) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as refused:
        admin.list_dead_letters(ListDeadLettersRequest(**{field: value}))
    assert list(refused.value.violations) == [field]
