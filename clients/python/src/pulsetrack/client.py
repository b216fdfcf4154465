"""The client."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from importlib.metadata import version
from urllib.parse import urlsplit

import grpc

from pulsetrack.analytics.v1.analytics_pb2 import Bucket, GetPatientStatisticsRequest, PatientStatistics
from pulsetrack.analytics.v1.analytics_pb2_grpc import AnalyticsServiceStub
from pulsetrack.auth.v1.auth_pb2_grpc import AuthServiceStub
from pulsetrack.billing.v1.billing_pb2_grpc import BillingServiceStub
from pulsetrack.calls import Caller
from pulsetrack.patient.v1.patient_pb2_grpc import PatientServiceStub
from pulsetrack.patients import Patients
from pulsetrack.session import ClientCredentials, Credentials, Password, Session, TokenStore


class Client(Caller):
    """Makes calls to PulseTrack.

    Methods without a function of their own are called by their stub:
    `await client.call(client.auth.GetCurrentUser, GetCurrentUserRequest())`.
    """

    def __init__(self, channel: grpc.aio.Channel, session: Session, timeout: float) -> None:
        super().__init__(session, timeout)
        self.auth = AuthServiceStub(channel)
        self.billing = BillingServiceStub(channel)
        self.analytics = AnalyticsServiceStub(channel)
        self.patients = Patients(self, PatientServiceStub(channel))

    async def statistics(
        self,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        bucket: Bucket.ValueType = Bucket.BUCKET_UNSPECIFIED,
    ) -> PatientStatistics:
        """Returns registrations, updates and deletions per day, week or month. Raises PulseTrackError."""
        request = GetPatientStatisticsRequest(bucket=bucket)
        for field, time in ((request.start, start), (request.end, end)):
            if time:
                field.FromDatetime(time)
        return await self.call(self.analytics.GetPatientStatistics, request, idempotent=True)


@asynccontextmanager
async def connect(
    url: str,
    *,
    email: str = "",
    password: str = "",
    client_id: str = "",
    client_secret: str = "",
    credentials: Credentials | None = None,
    store: TokenStore | None = None,
    timeout: float = 10,
    root_certificates: bytes | None = None,
) -> AsyncIterator[Client]:
    """Yields a client of a gateway, such as `https://pulsetrack.example`. Logs in at the first call.

    Pass the email and password of a user, or the ID and secret of a machine client. Pass `credentials` instead for a
    user with a second factor, or for a client that needs only some of its scopes. With a `store`, the session continues
    in later processes. Otherwise, it ends with the block.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"Not an HTTP URL: {url}")
    target = parts.netloc if parts.port else f"{parts.netloc}:{443 if parts.scheme == 'https' else 80}"
    options = [("grpc.primary_user_agent", f"pulsetrack-python/{version('pulsetrack')}")]
    if parts.scheme == "https":
        channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(root_certificates), options)
    else:
        channel = grpc.aio.insecure_channel(target, options)
    async with channel:
        if email:
            credentials = Password(email, password)
        elif client_id:
            credentials = ClientCredentials(client_id, client_secret)
        session = Session(AuthServiceStub(channel), credentials, store or TokenStore())
        try:
            yield Client(channel, session, timeout)
        finally:
            if store is None:
                await session.log_out()
