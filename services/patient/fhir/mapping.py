"""The fields of a patient record as elements of a Patient resource, and back. docs/fhir.md has the mapping as a table.

A resource that a client has written is stored beside the record. An element is returned as it was written while its
value is still that of the record. Otherwise, the record replaces it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from gen.pulsetrack.patient.v1 import Patient, Sex
from services.common.protobuf.texts import create_normalizer
from services.patient.domain import PATIENT_CODEC

Resource = dict[str, Any]

GENDERS = {Sex.FEMALE: "female", Sex.MALE: "male", Sex.OTHER: "other"}
RECORD_NUMBER = "urn:pulsetrack:medical-record-number"
"""The system of the identifier that is the medical record number."""

_SEXES = {code: sex for sex, code in GENDERS.items()}
_IDENTIFIER_TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"
_CONFIDENTIALITY = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality"
_REGISTERED_DATE = "urn:pulsetrack:registered-date"
_RESTRICTED = {"system": _CONFIDENTIALITY, "code": "R", "display": "restricted"}
_NO_RANK = 1000
_normalize = create_normalizer(PATIENT_CODEC.message_class.DESCRIPTOR)


@dataclass(frozen=True)
class Element:
    """An element of a list, such as a name, that has the value of a field."""

    field: str
    name: str
    """The name of the list."""
    rank: Callable[[Resource], int | None]
    """Returns how far others are preferred to an element, or None for one that never has the value."""
    read: Callable[[Resource], str]
    write: Callable[[str], Resource]

    def candidates(self, resource: Resource) -> list[Resource]:
        """Returns the elements that can have the value, the one that has it first."""
        return [element for _, element, _ in self._rank_all(resource)]

    def value(self, resource: Resource) -> str:
        """Returns the value, empty if no element has it."""
        return next((text for _, _, text in self._rank_all(resource)), "")

    def _rank_all(self, resource: Resource) -> list[tuple[int, Resource, str]]:
        """Returns the elements that can have the value with their ranks and texts, the one that has it first."""
        ranked = [
            (rank, each, text)
            for each in resource.get(self.name, [])
            if (rank := self.rank(each)) is not None and (text := self.read(each))
        ]
        return sorted(ranked, key=itemgetter(0))

    def replace(self, resource: Resource, value: str) -> list[Resource]:
        """Returns the list with another value. An empty value removes all elements that could have one."""
        candidates, elements = self.candidates(resource), resource.get(self.name, [])
        if not value:
            removed = {id(each) for each in candidates}
            return [each for each in elements if id(each) not in removed]
        if not candidates:
            return [*elements, self.write(value)]
        first = candidates[0]
        kept = {name: first[name] for name in ("use", "rank") if name in first and first[name] != "old"}
        return [self.write(value) | kept if each is first else each for each in elements]


def _join(separator: str, *texts: Any) -> str:
    """Returns the texts, of which some are lists, without those that are missing."""
    parts: list[Any] = []
    for text in texts:
        parts += text if isinstance(text, list) else [text]
    return separator.join(filter(None, parts))


def _read_name(name: Resource) -> str:
    parts = (name.get(part) for part in ("prefix", "given", "family", "suffix"))
    return name.get("text") or _join(" ", *parts)


def _read_address(address: Resource) -> str:
    parts = (address.get(part) for part in ("line", "city", "state", "postalCode", "country"))
    return address.get("text") or _join(", ", *parts)


def _rank_by_use(*uses: str) -> Callable[[Resource], int]:
    def rank(element: Resource) -> int:
        use = element.get("use", "")
        return uses.index(use) if use in uses else len(uses)

    return rank


def _telecom(field: str) -> Element:
    def rank(contact: Resource) -> int | None:
        if contact.get("system") != field:
            return None
        return int(contact.get("rank", _NO_RANK)) + (2**32 if contact.get("use") == "old" else 0)

    return Element(
        field, "telecom", rank, lambda each: each.get("value", ""), lambda value: {"system": field, "value": value}
    )


def _rank_identifier(identifier: Resource) -> int | None:
    if identifier.get("system") == RECORD_NUMBER:
        return 0
    codings = identifier.get("type", {}).get("coding", [])
    return 1 if any(each.get("system") == _IDENTIFIER_TYPES and each.get("code") == "MR" for each in codings) else None


def _write_identifier(number: str) -> Resource:
    kind = {"coding": [{"system": _IDENTIFIER_TYPES, "code": "MR"}]}
    return {"type": kind, "system": RECORD_NUMBER, "value": number}


NUMBER = Element(
    "medical_record_number", "identifier", _rank_identifier, lambda each: each.get("value", ""), _write_identifier
)
_ELEMENTS = (
    Element(
        "registered_date",
        "extension",
        lambda each: 0 if each["url"] == _REGISTERED_DATE else None,
        lambda each: each.get("valueDate", ""),
        lambda value: {"url": _REGISTERED_DATE, "valueDate": value},
    ),
    NUMBER,
    Element("name", "name", _rank_by_use("official", "usual", ""), _read_name, lambda value: {"text": value}),
    _telecom("phone"),
    _telecom("email"),
    Element(
        "address",
        "address",
        _rank_by_use("home", "", "work", "temp", "billing"),
        _read_address,
        lambda value: {"text": value},
    ),
)
_OTHERS = {"sex": "gender", "date_of_birth": "birthDate", "restricted": "meta.security"}
"""The paths of the elements of the other fields."""


def read_patient(resource: Resource) -> Patient:
    """Returns the patient that a resource describes, with normalized text. Fields without an element are empty."""
    values: dict[str, Any] = {element.field: element.value(resource) for element in _ELEMENTS}
    patient = Patient(
        sex=_SEXES.get(resource.get("gender", ""), Sex.UNSPECIFIED),
        date_of_birth=resource.get("birthDate", ""),
        restricted=any(map(_is_restricted, resource.get("meta", {}).get("security", []))),
        **values,
    )
    if _normalize:
        _normalize(patient)
    return patient


def locate(resource: Resource, field: str) -> str:
    """Returns the path of the element that has, or would have, the value of a field."""
    if element := next((each for each in _ELEMENTS if each.field == field), None):
        first = next(iter(element.candidates(resource)), None)
        indexes = (index for index, each in enumerate(resource.get(element.name, [])) if each is first)
        return next((f"{element.name}[{index}]" for index in indexes), element.name)
    return _OTHERS[field]


def merge(stored: Resource, patient: Patient) -> Resource:
    """Returns a stored resource in which elements with other values than the patient are replaced."""
    resource, written = dict(stored), read_patient(stored)
    changed = [name for name in (*(each.field for each in _ELEMENTS), *_OTHERS) if _differs(written, patient, name)]
    for element in _ELEMENTS:
        if element.field in changed:
            resource[element.name] = element.replace(resource, getattr(patient, element.field))
    for field, value in (("sex", GENDERS.get(patient.sex)), ("date_of_birth", patient.date_of_birth)):
        if field in changed:
            resource.pop(f"_{_OTHERS[field]}", None)
            resource[_OTHERS[field]] = value
    if {*changed} - {"registered_date", "restricted"}:
        resource.pop("text", None)  # may state the previous values
    return without_empty(resource)


def merge_security(labels: Iterable[Resource], patient: Patient) -> list[Resource]:
    """Returns security labels with that of a restricted patient, if the patient is restricted."""
    if not patient.restricted:
        return [each for each in labels if not _is_restricted(each)]
    found = [*labels]
    return found if any(map(_is_restricted, found)) else [*found, _RESTRICTED]


def strip(resource: Resource) -> Resource:
    """Returns a resource without the elements that the record has exactly, or that the server sets."""
    meta = {name: value for name, value in resource.get("meta", {}).items() if name not in {"versionId", "lastUpdated"}}
    if "security" in meta:
        meta["security"] = [each for each in meta["security"] if each != _RESTRICTED]
    kept = {name: value for name, value in resource.items() if name not in {"resourceType", "id"}}
    extensions = [each for each in kept.get("extension", []) if not _is_registered_date(each)]
    return without_empty({**kept, "extension": extensions, "meta": without_empty(meta)})


def without_empty(resource: Resource) -> Resource:
    """Returns an object without elements that have no value."""
    return {name: value for name, value in resource.items() if value not in (None, "", [], {})}


def _differs(written: Patient, patient: Patient, name: str) -> bool:
    return bool(getattr(written, name) != getattr(patient, name))


def _is_registered_date(extension: Resource) -> bool:
    return extension["url"] == _REGISTERED_DATE and extension.keys() == {"url", "valueDate"}


def _is_restricted(label: Resource) -> bool:
    return label.get("system") == _CONFIDENTIALITY and label.get("code") == "R"
