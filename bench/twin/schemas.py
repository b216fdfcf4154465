"""The requests and responses, validated and serialized by pydantic."""

import unicodedata
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator
from pydantic.alias_generators import to_camel

_VISIBLE = r"^\P{Cc}*[^\p{Z}\p{Cc}]\P{Cc}*$"
_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_EMAIL = rf"^[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*$"
_EARLIEST_TIME_ZONE = timedelta(hours=14)


class Sex(StrEnum):
    """The sex of a patient."""

    UNSPECIFIED = "SEX_UNSPECIFIED"
    FEMALE = "SEX_FEMALE"
    MALE = "SEX_MALE"
    OTHER = "SEX_OTHER"


def normalize(text: str) -> str:
    """Returns the stored form of a text."""
    return unicodedata.normalize("NFC", text).strip()


def fold_case(text: str) -> str:
    """Returns a key that is equal for texts that differ only in case."""
    return unicodedata.normalize("NFC", normalize(text).casefold())


Name = Annotated[str, Field(max_length=100, pattern=_VISIBLE), AfterValidator(normalize)]
Email = Annotated[str, Field(max_length=254, pattern=_EMAIL), AfterValidator(normalize)]
Address = Annotated[str, Field(max_length=200, pattern=_VISIBLE), AfterValidator(normalize)]
Phone = Annotated[str, Field(pattern=r"^([0-9+(][0-9 ().+/-]{2,31})?$"), AfterValidator(normalize)]
RecordNumber = Annotated[
    str, Field(max_length=64, pattern=r"^(\P{Cc}*[^\p{Z}\p{Cc}]\P{Cc}*)?$"), AfterValidator(normalize)
]


class Schema(BaseModel):
    """The base of all schemas. The JSON names are in lower camel case."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, from_attributes=True)


class NewPatient(Schema):
    """The writable fields of a patient."""

    name: Name
    email: Email
    address: Address
    date_of_birth: date
    registered_date: date | None = None
    phone: Phone = ""
    sex: Sex = Sex.UNSPECIFIED
    medical_record_number: RecordNumber = ""

    @model_validator(mode="after")
    def check_dates(self) -> Self:
        """Checks that the dates are in order and not in the future. Raises ValueError."""
        now = datetime.now(UTC)
        latest = (now + _EARLIEST_TIME_ZONE).date()
        if self.date_of_birth > latest:
            raise ValueError("dateOfBirth must not be in the future")
        self.registered_date = self.registered_date or max(now.date(), self.date_of_birth)
        if self.registered_date > latest:
            raise ValueError("registeredDate must not be in the future")
        if self.registered_date < self.date_of_birth:
            raise ValueError("registeredDate must not be before the date of birth")
        return self

    def columns(self) -> dict[str, object]:
        """Returns the columns for the fields."""
        keys = (fold_case(self.name), fold_case(self.email), fold_case(self.medical_record_number))
        return {
            "name": self.name,
            "email": self.email,
            "email_key": keys[1],
            "address": self.address,
            "date_of_birth": self.date_of_birth,
            "registered_date": self.registered_date,
            "phone": self.phone,
            "sex": self.sex.value,
            "record_number": self.medical_record_number or None,
            "search_key": "\n".join(keys),
        }


class PatientChange(Schema):
    """The fields of a patient to change."""

    name: Name | None = None
    email: Email | None = None
    address: Address | None = None
    date_of_birth: date | None = None
    registered_date: date | None = None
    phone: Phone | None = None
    sex: Sex | None = None
    medical_record_number: RecordNumber | None = None
    etag: Annotated[str, Field(max_length=64)] = ""


class Patient(Schema):
    """A patient."""

    id: UUID
    name: str
    email: str
    address: str
    date_of_birth: date
    registered_date: date
    phone: str
    sex: str
    medical_record_number: str
    create_time: datetime
    update_time: datetime
    etag: str
    restricted: bool = False
    merged_into: str = ""


class PatientPage(Schema):
    """A page of patients."""

    patients: list[Patient]
    next_page_token: str


class Credentials(Schema):
    """The credentials of a user."""

    email: Annotated[str, Field(max_length=254)]
    password: Annotated[str, Field(max_length=128)]


class TokenPair(Schema):
    """The tokens of a session."""

    access_token: str
    refresh_token: str
    token_type: str = "Bearer"  # noqa: S105 - the name of the scheme
    expires_in: int


class AccountChange(Schema):
    """The state of a billing account after the change of a patient."""

    patient_id: UUID
    name: Name
    email: Email
    sequence: int


ACCOUNT_CHANGES = TypeAdapter(list[AccountChange])
