"""The tables, as ORM classes."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, Identity, Index, LargeBinary, Text, Uuid, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The base of the ORM classes."""

    type_annotation_map = {str: Text, bytes: LargeBinary, datetime: DateTime(timezone=True), int: BigInteger}  # noqa: RUF012 - read by SQLAlchemy


class Patient(Base):
    """A patient."""

    __tablename__ = "patients"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    email: Mapped[str]
    email_key: Mapped[str] = mapped_column(unique=True)
    address: Mapped[str]
    date_of_birth: Mapped[date]
    registered_date: Mapped[date]
    phone: Mapped[str]
    sex: Mapped[str]
    record_number: Mapped[str | None] = mapped_column("medical_record_number", unique=True)
    search_key: Mapped[str]
    create_time: Mapped[datetime]
    update_time: Mapped[datetime]
    delete_time: Mapped[datetime | None]
    sequence: Mapped[int]

    @property
    def medical_record_number(self) -> str:
        """The record number, which is empty if there is none."""
        return self.record_number or ""

    @property
    def etag(self) -> str:
        """The version of the record."""
        return str(self.sequence)


Index("patients_newest", Patient.create_time, Patient.id)
Index("patients_search", Patient.search_key, postgresql_using="gin", postgresql_ops={"search_key": "gin_trgm_ops"})


class Revision(Base):
    """The state of a patient after a change, as JSON."""

    __tablename__ = "revisions"

    patient_id: Mapped[UUID] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    actor_id: Mapped[str]
    occur_time: Mapped[datetime]
    type: Mapped[str]
    patient: Mapped[bytes]


class OutboxRow(Base):
    """An event that is delivered after the commit."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    event_id: Mapped[UUID]
    key: Mapped[str]
    type: Mapped[str]
    payload: Mapped[bytes]
    account: Mapped[bytes | None]
    """The change of the billing account as JSON, if there is one."""
    create_time: Mapped[datetime]
    delivered_time: Mapped[datetime | None]


Index("outbox_waiting", OutboxRow.id, postgresql_where=OutboxRow.delivered_time.is_(None))


class AccessEvent(Base):
    """A call that read or changed patients."""

    __tablename__ = "access_events"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    patient_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    actor_id: Mapped[str]
    method: Mapped[str]
    outcome: Mapped[str]
    occur_time: Mapped[datetime]
    request_id: Mapped[str]
    remote_address: Mapped[str]


Index("access_events_of_patient", AccessEvent.patient_ids, postgresql_using="gin")
Index("access_events_of_actor", AccessEvent.actor_id, AccessEvent.occur_time)


class StoredResponse(Base):
    """The response to an idempotent request."""

    __tablename__ = "responses"

    actor_id: Mapped[str] = mapped_column(primary_key=True)
    request_id: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[bytes]
    response: Mapped[bytes]
    create_time: Mapped[datetime] = mapped_column(server_default=func.now())


class User(Base):
    """A user."""

    __tablename__ = "users"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    email_key: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    role: Mapped[str]


class RefreshToken(Base):
    """A refresh token."""

    __tablename__ = "refresh_tokens"

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    expire_time: Mapped[datetime]


class BillingAccount(Base):
    """A billing account."""

    __tablename__ = "billing_accounts"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    patient_id: Mapped[UUID] = mapped_column(unique=True)
    name: Mapped[str]
    email: Mapped[str]
    sequence: Mapped[int]
    create_time: Mapped[datetime] = mapped_column(server_default=func.now())


class AnalyticsEvent(Base):
    """A patient event that analytics received."""

    __tablename__ = "analytics_events"

    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    patient_id: Mapped[UUID]
    type: Mapped[str]
    occur_time: Mapped[datetime]
    receive_time: Mapped[datetime] = mapped_column(server_default=func.now())
    payload: Mapped[bytes]


Index("analytics_newest", AnalyticsEvent.occur_time, AnalyticsEvent.event_id)
Index("analytics_of_patient", AnalyticsEvent.patient_id, AnalyticsEvent.occur_time)
