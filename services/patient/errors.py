"""What the patient service refuses."""

from grpc import StatusCode as Code

from services.common.errors import Failure


class PatientNotFound(Failure):
    """Occurs when there is no such patient, or it is deleted."""

    code = Code.NOT_FOUND
    reason = "PATIENT_NOT_FOUND"
    message = "There is no such patient."


class ResumeTokenInvalid(Failure):
    """Occurs when a resume token was changed, or the changes up to it are not in the database, as one restored."""

    code = Code.INVALID_ARGUMENT
    reason = "RESUME_TOKEN_INVALID"
    message = "The resume token is not valid. Read the patients anew and watch without one."


class EmailAlreadyExists(Failure):
    """Occurs when another patient, deleted or not, has the email."""

    code = Code.ALREADY_EXISTS
    reason = "EMAIL_ALREADY_EXISTS"
    message = "A patient with this email exists already."


class RecordNumberAlreadyExists(Failure):
    """Occurs when another patient, deleted or not, has the medical record number."""

    code = Code.ALREADY_EXISTS
    reason = "RECORD_NUMBER_ALREADY_EXISTS"
    message = "A patient with this medical record number exists already."


class EtagMismatch(Failure):
    """Occurs when a record has changed since the caller read it."""

    code = Code.ABORTED
    reason = "ETAG_MISMATCH"
    message = "The patient has changed since it had this etag."
