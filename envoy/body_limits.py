"""Size limits of request and response bodies."""

from envoy.extension import Config, extension
from envoy.names import PUBLIC_BODY
from services.common.protobuf.contract import MAX_MESSAGE_BYTES

_FRAME_HEADER = 5
MAX_BODY = MAX_MESSAGE_BYTES + _FRAME_HEADER
"""Maximum request body in bytes: the largest message and its gRPC frame header."""
MAX_PUBLIC_BODY = 16 * 1024
"""Maximum request body in bytes of a method that requires no token. Such a body carries at most credentials."""
MAX_RESPONSE = 16 * 1024 * 1024
"""Maximum JSON response body in bytes. JSON is several times larger than the protobuf message."""


def public_body_filter() -> Config:
    """Returns the filter that rejects a body over MAX_PUBLIC_BODY. Routes that require a token disable it."""
    return extension(PUBLIC_BODY, "filters.http.body_size_limit.v3.BodySizeLimit", max_request_bytes=MAX_PUBLIC_BODY)
