"""An asynchronous client of PulseTrack, a patient-management backend."""

from pulsetrack.analytics.v1.analytics_pb2 import Bucket, PatientStatistics
from pulsetrack.client import Client, connect
from pulsetrack.errors import (
    AlreadyExists,
    Conflict,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    PulseTrackError,
    ResourceExhausted,
    SecondFactorRequired,
    Unauthenticated,
    Unavailable,
)
from pulsetrack.patient.v1.patient_pb2 import Patient, Revision, RevisionType, Sex, WatchPatientsResponse
from pulsetrack.session import ClientCredentials, Password, Tokens, TokenStore

__all__ = [
    "AlreadyExists",
    "Bucket",
    "Client",
    "ClientCredentials",
    "Conflict",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FieldViolation",
    "InvalidArgument",
    "NotFound",
    "Password",
    "Patient",
    "PatientStatistics",
    "PermissionDenied",
    "PulseTrackError",
    "ResourceExhausted",
    "Revision",
    "RevisionType",
    "SecondFactorRequired",
    "Sex",
    "TokenStore",
    "Tokens",
    "Unauthenticated",
    "Unavailable",
    "WatchPatientsResponse",
    "connect",
]
