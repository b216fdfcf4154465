"""The errors of the patient service."""

from grpc import StatusCode as Code

from services.common.errors import Failure, FieldsInvalid


class PatientNotFound(Failure):
    """Raised when a patient does not exist or is deleted."""

    code = Code.NOT_FOUND
    reason = "PATIENT_NOT_FOUND"
    message = "The patient does not exist or is deleted."


class AlreadyMerged(Failure):
    """Raised when a patient is merged into another one. The metadata names both: `id` and `survivor_id`."""

    code = Code.FAILED_PRECONDITION
    reason = "PATIENT_MERGED"
    message = "The patient is merged into another one, the survivor. Use the survivor's id."


class SamePatient(Failure):
    """Raised when a patient is to be merged into itself."""

    code = Code.INVALID_ARGUMENT
    reason = "SAME_PATIENT"
    message = "A patient cannot be merged into itself."


class RestrictionsDiffer(Failure):
    """Raised when only one of two patients to merge is restricted."""

    code = Code.FAILED_PRECONDITION
    reason = "RESTRICTIONS_DIFFER"
    message = "Only one of the patients is restricted. Restrict both or neither before merging them."


class ResumeTokenInvalid(Failure):
    """Raised when a resume token was altered, or refers to a change that a restored database does not contain."""

    code = Code.INVALID_ARGUMENT
    reason = "RESUME_TOKEN_INVALID"
    message = "The resume token is no longer valid. Start again without one: list or export all patients."


class SnapshotPruned(Failure):
    """Raised when revisions that belong to the snapshot of an export were deleted during it."""

    code = Code.FAILED_PRECONDITION
    reason = "SNAPSHOT_PRUNED"
    message = "Old revisions were deleted during the export. Start it again without a resume token."


class FhirExportNotFound(Failure):
    """Raised when a bulk export does not exist, has expired or was deleted."""

    code = Code.NOT_FOUND
    reason = "FHIR_EXPORT_NOT_FOUND"
    message = "The export does not exist, has expired or was deleted. Start another one."


class EmailAlreadyExists(Failure):
    """Raised when another patient, deleted or not, has the email address."""

    code = Code.ALREADY_EXISTS
    reason = "EMAIL_ALREADY_EXISTS"
    message = "Another patient has this email address."


class RecordNumberAlreadyExists(Failure):
    """Raised when another patient, deleted or not, has the medical record number."""

    code = Code.ALREADY_EXISTS
    reason = "RECORD_NUMBER_ALREADY_EXISTS"
    message = "Another patient has this medical record number."


class EtagMismatch(Failure):
    """Raised when a patient has changed since the caller read it."""

    code = Code.ABORTED
    reason = "ETAG_MISMATCH"
    message = "The patient has changed since this etag was returned. Read it again and retry."


class CareTeamMemberNotFound(Failure):
    """Raised when a user is not a member of a patient's care team."""

    code = Code.NOT_FOUND
    reason = "CARE_TEAM_MEMBER_NOT_FOUND"
    message = "The user is not a member of the patient's care team."


class BreakGlassNotNeeded(Failure):
    """Raised when a caller has access to a patient without breaking glass."""

    code = Code.FAILED_PRECONDITION
    reason = "BREAK_GLASS_NOT_NEEDED"
    message = "You have access to the patient without breaking glass."


class ResourceMalformed(FieldsInvalid):
    """Raised when the body of a request is not a Patient resource of FHIR R4 in JSON."""

    reason = "RESOURCE_MALFORMED"
    message = "The resource is not valid."


class ResourceUnprocessable(FieldsInvalid):
    """Raised when a valid resource has no form as a patient record, or breaks a rule of patient records."""

    reason = "RESOURCE_UNPROCESSABLE"
    message = "The resource cannot be stored as a patient."
