"""Errors that analytics returns."""

from grpc import StatusCode as Code

from services.common.errors import Failure


class DeadLetterNotFound(Failure):
    """Raised when the dead letter does not exist."""

    code = Code.NOT_FOUND
    reason = "DEAD_LETTER_NOT_FOUND"
    message = "The dead letter does not exist."


class DeadLetterUnreplayable(Failure):
    """Raised when a dead letter still cannot be stored as an event."""

    code = Code.FAILED_PRECONDITION
    reason = "DEAD_LETTER_UNREPLAYABLE"
    message = "The dead letter still cannot be stored as an event. Its reason field contains the cause."
