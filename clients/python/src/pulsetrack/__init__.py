"""An asynchronous client of PulseTrack, a patient-management backend."""

from pulsetrack.analytics.v1.analytics_pb2 import Bucket as Bucket
from pulsetrack.analytics.v1.analytics_pb2 import PatientStatistics as PatientStatistics
from pulsetrack.client import Client as Client
from pulsetrack.client import connect as connect
from pulsetrack.errors import (
    AlreadyExists as AlreadyExists,
)
from pulsetrack.errors import (
    Conflict as Conflict,
)
from pulsetrack.errors import (
    DeadlineExceeded as DeadlineExceeded,
)
from pulsetrack.errors import (
    FailedPrecondition as FailedPrecondition,
)
from pulsetrack.errors import (
    FieldViolation as FieldViolation,
)
from pulsetrack.errors import (
    InvalidArgument as InvalidArgument,
)
from pulsetrack.errors import (
    NotFound as NotFound,
)
from pulsetrack.errors import (
    PermissionDenied as PermissionDenied,
)
from pulsetrack.errors import (
    PulseTrackError as PulseTrackError,
)
from pulsetrack.errors import (
    ResourceExhausted as ResourceExhausted,
)
from pulsetrack.errors import (
    SecondFactorRequired as SecondFactorRequired,
)
from pulsetrack.errors import (
    Unauthenticated as Unauthenticated,
)
from pulsetrack.errors import (
    Unavailable as Unavailable,
)
from pulsetrack.patient.v1.patient_pb2 import (
    Patient as Patient,
)
from pulsetrack.patient.v1.patient_pb2 import (
    Revision as Revision,
)
from pulsetrack.patient.v1.patient_pb2 import (
    RevisionType as RevisionType,
)
from pulsetrack.patient.v1.patient_pb2 import (
    Sex as Sex,
)
from pulsetrack.patient.v1.patient_pb2 import (
    WatchPatientsResponse as WatchPatientsResponse,
)
from pulsetrack.session import ClientCredentials as ClientCredentials
from pulsetrack.session import Password as Password
from pulsetrack.session import Tokens as Tokens
from pulsetrack.session import TokenStore as TokenStore
