"""Errors of PulseTrack as exceptions: a class per status code, with the stable reason and the invalid fields."""

from dataclasses import dataclass
from typing import ClassVar

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status


@dataclass(frozen=True)
class FieldViolation:
    """An invalid field of a request."""

    field: str
    """The path of the field, such as `patient.email`."""
    description: str


class PulseTrackError(Exception):
    """Raised when a call fails. Subclasses stand for status codes; `reason` distinguishes errors with the same code."""

    _classes: ClassVar[dict[grpc.StatusCode, "type[PulseTrackError]"]] = {}

    def __init_subclass__(cls, *, code: grpc.StatusCode | None = None) -> None:
        if code:
            cls._classes[code] = cls

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> "PulseTrackError":
        """Returns the exception for an error of grpcio."""
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
        status = Status.FromString(details) if isinstance(details, bytes) else None
        return cls._classes.get(error.code(), cls)(error.code(), error.details() or "", status)

    def __init__(self, code: grpc.StatusCode, message: str, details: Status | None = None) -> None:
        super().__init__(message)
        info, fields, retry = ErrorInfo(), BadRequest(), RetryInfo()
        for detail in details.details if details else ():
            _ = detail.Unpack(info) or detail.Unpack(fields) or detail.Unpack(retry)
        self.code = code
        self.message = message
        self.reason: str = info.reason
        """The stable reason, such as `EMAIL_ALREADY_EXISTS`. Empty if the error is not from PulseTrack."""
        self.metadata: dict[str, str] = dict(info.metadata)
        self.violations = tuple(FieldViolation(each.field, each.description) for each in fields.field_violations)
        self.retry_delay: float | None = retry.retry_delay.ToTimedelta().total_seconds() or None
        """The time after which the server asks clients to repeat the call, in seconds."""

    def __str__(self) -> str:
        fields = "".join(f"\n  {each.field}: {each.description}" for each in self.violations)
        return f"{self.reason or self.code.name}: {self.message}{fields}"


class Unauthenticated(PulseTrackError, code=grpc.StatusCode.UNAUTHENTICATED):
    """Raised when the credentials or tokens are invalid."""


class SecondFactorRequired(Unauthenticated):
    """Raised when the user has a second factor and no code was given."""


class PermissionDenied(PulseTrackError, code=grpc.StatusCode.PERMISSION_DENIED):
    """Raised when the user may not make the call."""


class InvalidArgument(PulseTrackError, code=grpc.StatusCode.INVALID_ARGUMENT):
    """Raised when the request is invalid. `violations` lists the invalid fields."""


class NotFound(PulseTrackError, code=grpc.StatusCode.NOT_FOUND):
    """Raised when a resource does not exist or is deleted."""


class AlreadyExists(PulseTrackError, code=grpc.StatusCode.ALREADY_EXISTS):
    """Raised when another resource has a value that must be unique."""


class Conflict(PulseTrackError, code=grpc.StatusCode.ABORTED):
    """Raised when the resource has changed since its etag was read."""


class FailedPrecondition(PulseTrackError, code=grpc.StatusCode.FAILED_PRECONDITION):
    """Raised when the state of a resource does not permit the call."""


class ResourceExhausted(PulseTrackError, code=grpc.StatusCode.RESOURCE_EXHAUSTED):
    """Raised when too many calls were made."""


class Unavailable(PulseTrackError, code=grpc.StatusCode.UNAVAILABLE):
    """Raised when the system cannot be reached or cannot serve the call now."""


class DeadlineExceeded(PulseTrackError, code=grpc.StatusCode.DEADLINE_EXCEEDED):
    """Raised when the call did not end within its timeout."""
