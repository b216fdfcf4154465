"""ListPatientRevisions, and the revision that each change of a patient records."""

import secrets
from uuid import uuid4

import pytest

from gen.pulsetrack.patient.v1 import (
    CreatePatientRequest,
    DeletePatientRequest,
    GetPatientRequest,
    ListPatientRevisionsRequest,
    Revision,
    RevisionType,
    UndeletePatientRequest,
)
from services.common.postgres.migrate import migrate
from services.common.rpc.tokens import TokenVerifier
from tests.harness.background import Background
from tests.harness.client import Client, Rejected, connect
from tests.harness.services import serve_service
from tests.harness.sql import Sql
from tests.harness.tokens import ADMIN_ID, USER_ID, Signer
from tests.patient.factory import OLD_PATIENTS, a_patient, create_request, update_request
from tools.local.postgres import Postgres


def revisions(patients: Client, patient_id: str, **request: object) -> list[Revision]:
    """Returns the first page of a patient's revisions."""
    listed: list[Revision] = patients.list_patient_revisions(
        ListPatientRevisionsRequest(id=patient_id, **request)  # type: ignore[arg-type]
    ).revisions
    return listed


def test_each_change_adds_a_revision_listed_newest_first(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    updated = patients.update_patient(update_request(created, name="Ana Costa"))
    deleted = admin.delete_patient(DeletePatientRequest(id=created.id))
    undeleted = admin.undelete_patient(UndeletePatientRequest(id=created.id))
    assert revisions(patients, created.id) == [
        Revision(
            revision=number, patient=patient, actor_id=actor, occur_time=patient.update_time, type=RevisionType(number)
        )
        for number, patient, actor in (
            (4, undeleted, ADMIN_ID),
            (3, deleted, ADMIN_ID),
            (2, updated, USER_ID),
            (1, created, USER_ID),
        )
    ]


def test_revision_type_is_the_kind_of_change(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    admin.delete_patient(DeletePatientRequest(id=created.id))
    admin.undelete_patient(UndeletePatientRequest(id=created.id))
    patients.update_patient(update_request(created, phone="112"))
    types = [revision.type for revision in revisions(patients, created.id)]
    assert types == [RevisionType.UPDATED, RevisionType.UNDELETED, RevisionType.DELETED, RevisionType.CREATED]


def test_revisions_of_a_deleted_patient_are_listed(patients: Client, admin: Client) -> None:
    created = patients.create_patient(create_request())
    deleted = admin.delete_patient(DeletePatientRequest(id=created.id))
    assert [revision.patient for revision in revisions(patients, created.id)] == [deleted, created]


def test_calls_without_effect_add_no_revision(patients: Client, admin: Client) -> None:
    request = CreatePatientRequest(patient=a_patient(), request_id="no-revision")
    created = patients.create_patient(request)
    patients.create_patient(request)
    patients.update_patient(update_request(created, name=created.name))
    admin.undelete_patient(UndeletePatientRequest(id=created.id))
    with pytest.raises(Rejected):
        patients.update_patient(update_request(created, date_of_birth="2999-01-01"))
    assert len(revisions(patients, created.id)) == 1


def test_change_and_revision_commit_in_one_transaction(patients: Client, sql: Sql) -> None:
    created = patients.create_patient(create_request())
    patients.update_patient(update_request(created, phone="112"))
    written = sql("SELECT xmin::text FROM patients WHERE id = $1", created.id)
    written += sql("SELECT xmin::text FROM revisions WHERE patient_id = $1 AND revision = 2", created.id)
    assert len(written) == 2
    assert len(set(written)) == 1


def test_pages_contain_each_revision_once(patients: Client) -> None:
    created = patients.create_patient(create_request())
    for number in range(5):
        patients.update_patient(update_request(created, phone=f"112-{number}"))
    seen, token = [], ""
    while True:
        request = ListPatientRevisionsRequest(id=created.id, page_size=2, page_token=token)
        page = patients.list_patient_revisions(request)
        seen += [revision.revision for revision in page.revisions]
        if not (token := page.next_page_token):
            break
    assert seen == [6, 5, 4, 3, 2, 1]


def test_page_token_of_another_patient_is_rejected(patients: Client) -> None:
    created, other = (patients.create_patient(create_request()) for _ in range(2))
    patients.update_patient(update_request(created, phone="112"))
    token = patients.list_patient_revisions(ListPatientRevisionsRequest(id=created.id, page_size=1)).next_page_token
    with pytest.raises(Rejected, match="INVALID_ARGUMENT PAGE_TOKEN_INVALID"):
        revisions(patients, other.id, page_token=token)


def test_unknown_patient_is_not_found(patients: Client) -> None:
    with pytest.raises(Rejected, match="NOT_FOUND PATIENT_NOT_FOUND"):
        revisions(patients, str(uuid4()))


def test_invalid_request_is_rejected(patients: Client) -> None:
    with pytest.raises(Rejected, match="INVALID_ARGUMENT FIELDS_INVALID") as rejected:
        revisions(patients, "42", page_size=-1, page_token="x" * 513)
    assert list(rejected.value.violations) == ["id", "page_size", "page_token"]


def test_migration_adds_a_revision_for_each_existing_patient(
    background: Background, postgres: Postgres, signer: Signer
) -> None:
    name = f"old_{secrets.token_hex(4)}"
    Sql(background, postgres.url())(f"CREATE DATABASE {name}")
    migrate("patient", postgres.url(name), to="0002")
    sql, old = Sql(background, postgres.url(name)), [str(uuid4()) for _ in range(2500)]  # more than a batch or two
    sql(OLD_PATIENTS, old)
    migrate("patient", postgres.url(name))
    verifier = TokenVerifier(signer.trust)
    with (
        background.during(serve_service("patient", postgres.url(name), verifier)) as port,
        connect(port, "patient", signer.token("USER")) as patients,
    ):
        found = [revisions(patients, patient_id) for patient_id in old[:3]]
        [[first], [second], [third]] = found
        assert second.patient == patients.get_patient(GetPatientRequest(id=old[1]))
        assert second.patient.medical_record_number == "MRN-2"
        assert third.patient
        assert third.patient.delete_time
    assert [each.type for each in (first, second, third)] == [
        RevisionType.CREATED,
        RevisionType.UPDATED,
        RevisionType.DELETED,
    ]
    assert (second.revision, second.actor_id, second.occur_time) == (2, "", second.patient.update_time)
    assert sql("SELECT count(*) FROM revisions")[0]["count"] == 2500
