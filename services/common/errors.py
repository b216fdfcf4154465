"""Errors as data: what went wrong, in the words of google.rpc (AIP-193)."""

from typing import ClassVar

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode as Code

DOMAIN = "pulsetrack"


class Failure(Exception):  # noqa: N818 - a refusal is an answer, not an error of the program
    """Something that a caller is told. Handlers raise it, one interceptor answers with it."""

    code: ClassVar[Code]
    reason: ClassVar[str]
    message: ClassVar[str]
    retry_after: int | None = None
    """After how many seconds the same call may succeed, if that is known."""

    def __init__(self, **metadata: str) -> None:
        super().__init__(self.message)
        self.metadata = metadata

    def details(self) -> list[Message]:
        """Returns what the status carries beside its message."""
        info = ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata)
        return [info] if self.retry_after is None else [info, retry_info(self.retry_after)]

    def status(self, request_id: str) -> Status:
        """Returns the google.rpc.Status that the caller gets."""
        status = Status(code=self.code.value[0], message=self.message)
        for detail in (*self.details(), RequestInfo(request_id=request_id)):
            status.details.append(_packed(detail))
        return status


class FieldsInvalid(Failure):
    """Occurs when fields of the request break their rules: the keys are their paths, the values say what is wrong."""

    code = Code.INVALID_ARGUMENT
    reason = "FIELDS_INVALID"
    message = "The request has invalid fields."

    def __init__(self, violations: dict[str, str]) -> None:
        super().__init__()
        self.violations = violations

    def details(self) -> list[Message]:
        """Adds a google.rpc.BadRequest with a violation for each field."""
        violations = [BadRequest.FieldViolation(field=f, description=d) for f, d in self.violations.items()]
        return [*super().details(), BadRequest(field_violations=violations)]


class MessageMalformed(FieldsInvalid):
    """Occurs when the bytes of a request are not the message that the method takes."""

    message = "The request is not a valid protobuf message."

    def __init__(self) -> None:
        super().__init__({})


class ValueRejected(FieldsInvalid):
    """Raised when the database cannot store or compare a value: one out of range, or text with NUL in it."""

    message = "The request has a value that is out of range."

    def __init__(self) -> None:
        super().__init__({})


class PageTokenInvalid(Failure):
    """Occurs when a page token was changed, or is sent with another query than the one it came from."""

    code = Code.INVALID_ARGUMENT
    reason = "PAGE_TOKEN_INVALID"
    message = "The page token is not valid for this query."


class RequestIdReused(Failure):
    """Occurs when a caller sends a request id again, with other content."""

    code = Code.INVALID_ARGUMENT
    reason = "REQUEST_ID_REUSED"
    message = "This request id came with another request before."


class TokenMissing(Failure):
    """Occurs when a call that needs a token has none."""

    code = Code.UNAUTHENTICATED
    reason = "TOKEN_MISSING"
    message = "This call needs an access token."


class TokenInvalid(Failure):
    """Occurs when a token is expired, forged, or meant for something else."""

    code = Code.UNAUTHENTICATED
    reason = "TOKEN_INVALID"
    message = "The access token is not valid."


class UserDisabled(Failure):
    """Raised when an admin has disabled the user whose credentials or token are presented."""

    code = Code.PERMISSION_DENIED
    reason = "USER_DISABLED"
    message = "This user is disabled."


class RoleRequired(Failure):
    """Occurs when the caller is known but may not do this."""

    code = Code.PERMISSION_DENIED
    reason = "ROLE_REQUIRED"
    message = "The caller's role does not permit this call."


class RateLimited(Failure):
    """Occurs when a client calls more often than it may, or everybody together more than a service can do."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "RATE_LIMITED"
    message = "There are too many calls. Try again later."
    retry_after = 1


class ReaderTooSlow(Failure):
    """Occurs when the reader of a stream does not take an answer in time."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "READER_TOO_SLOW"
    message = "The stream was not read fast enough. Go on from the last answer that you have."


class DependencyUnavailable(Failure):
    """Occurs when the database or another service does not answer. The call may be tried again."""

    code = Code.UNAVAILABLE
    reason = "DEPENDENCY_UNAVAILABLE"
    message = "A part of the system is not available. Try again."
    retry_after: int | None = 1


class TransactionConflict(DependencyUnavailable):
    """Raised when the database rolled a transaction back because of a concurrent one: nothing was changed."""

    code = Code.ABORTED
    reason = "TRANSACTION_CONFLICT"
    message = "The call conflicted with another one at the same time, and changed nothing. Try again."


class CallTooSlow(Failure):
    """Occurs when a call is not done by its deadline: the caller's own, or the gateway's."""

    code = Code.DEADLINE_EXCEEDED
    reason = "CALL_TOO_SLOW"
    message = "The call took too long. It may have been carried out."


class DatabaseTooSlow(DependencyUnavailable):
    """Raised when the database ended a statement or a transaction that took too long. Background work is retried."""

    code = CallTooSlow.code
    reason = CallTooSlow.reason
    message = CallTooSlow.message
    retry_after = None


class Internal(Failure):
    """Occurs when the program is wrong: the log has the rest, found by the request id."""

    code = Code.INTERNAL
    reason = "INTERNAL"
    message = "Something went wrong."


def retry_info(seconds: int) -> RetryInfo:
    """Returns the detail that says after how many seconds to try again."""
    return RetryInfo(retry_delay=Duration(seconds=seconds))


def _packed(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed
