"""Normalization of the text in requests."""

from typing import Any

from grpc_interceptor.server import AsyncServerInterceptor

from services.common.protobuf.texts import Normalizer
from services.common.rpc.interceptors import Context, Next


class Normalization(AsyncServerInterceptor):
    """Brings the text fields of the request into their normal form, in place.

    All that follows sees one form of a text: the validation, the handler, the digest of a request id or page token, and
    the audit log.
    """

    def __init__(self, normalize: Normalizer) -> None:
        self._normalize = normalize

    async def intercept(self, method: Next, request_or_iterator: Any, context: Context, method_name: str) -> Any:
        """Calls the next interceptor."""
        self._normalize(request_or_iterator)
        return await method(request_or_iterator, context)
