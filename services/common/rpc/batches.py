"""Batch methods: one call with several requests, each of which succeeds or fails separately."""

from collections.abc import Sequence
from typing import TypeVar

import betterproto2

from gen.google.rpc import Status
from services.common.context import current_request_id
from services.common.errors import FieldsInvalid
from services.common.protobuf import codec
from services.common.rpc.validation import validate_message

R = TypeVar("R", bound=betterproto2.Message)


def select_valid(requests: Sequence[R]) -> tuple[list[R], dict[int, Status]]:
    """Returns the valid requests of a batch, and the status of each invalid request by its index."""
    valid, failed = [], {}
    for index, request in enumerate(requests):
        try:
            validate_message(codec.codec_of(type(request)).encode(request))
            valid.append(request)
        except FieldsInvalid as failure:
            failed[index] = codec.codec_of(Status).decode(failure.status(current_request_id.get()))
    return valid, failed
