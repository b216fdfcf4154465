"""Searches of FHIR R4 (https://hl7.org/fhir/R4/search.html) as requests of ListPatients."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from urllib.parse import urlencode
from uuid import UUID

from gen.pulsetrack.patient.v1 import ListPatientsRequest, Patient
from services.common.errors import FieldsInvalid
from services.common.folding import fold_words
from services.common.periods import Period, parse_period
from services.common.protobuf.contract import FHIR_CONTENT
from services.patient.fhir.mapping import GENDERS, NUMBER, Resource
from services.patient.fhir.parameters import has_no_value, invalid, is_not_supported, parse_parameters

NEXT_PAGE = "_page"
"""The parameter of a link to the next page, which clients must not compose."""

SORTS = {"birthdate": "date_of_birth", "name": "name", "_lastUpdated": "update_time"}
"""The field of a patient by the value of `_sort`."""

_WORDS = ("name", "family", "given")
_TELECOMS = {"email": "email", "phone": "phone"}
_COUNT = re.compile("0*([1-9][0-9]{0,2}|1000)")
_DATE = re.compile(r"([a-z]{2})?([12][0-9]{3}(?:-[0-9]{2}(?:-[0-9]{2})?)?)")
_LISTS = {"_id", "_sort"}
_LIST = re.compile(r"(?:[^\\,]|\\.)*,")
_SYSTEM = re.compile(r"((?:[^\\|]|\\.)*)\|")
_ESCAPE = re.compile(r"\\([,$|\\])")
_SOURCES = {"query": "the text to find", "order_by": "_sort", "page_token": NEXT_PAGE}
"""The parameters that set a field of the request."""
_SEXES = {code: sex for sex, code in GENDERS.items()}
_DAY = timedelta(days=1)


@dataclass
class FhirSearch:
    """A search: the request that lists the matches, and the conditions that the list does not know."""

    request: ListPatientsRequest
    ids: list[UUID] | None = None
    """The valid ids of `_id`, or None."""
    born_from: date | None = None
    """The first day on which patients may be born, or None. For a partial date, its last day counts."""
    conditions: list[Callable[[Patient, Resource], bool]] = field(default_factory=list)

    def matches(self, patient: Patient, resource: Resource) -> bool:
        """Returns whether a patient of the list meets all conditions. Takes it as a resource, too."""
        return all(condition(patient, resource) for condition in self.conditions)


def parse_search(query: str) -> FhirSearch:
    """Returns the search of a query. Raises FieldsInvalid for an unsupported parameter or value."""
    search = FhirSearch(ListPatientsRequest())
    for name, escaped in parse_parameters(query):
        value = _unescape(name, escaped)
        if not value.strip():
            raise has_no_value(name)
        if name in _WORDS:
            _add_words(search, name, value)
        elif name in _TELECOMS or name == "telecom":
            _add_telecom(search, name, *_split_token(escaped))
        elif name == "identifier":
            _add_identifier(search, *_split_token(escaped))
        elif parse := _PARSERS.get(name):
            parse(search, value)
        else:
            raise is_not_supported(name)
    only_size = ListPatientsRequest(page_size=search.request.page_size)
    if search.ids is not None and (search.conditions or search.request != only_size):
        raise invalid("_id cannot be combined with other parameters")
    return search


def parse_page(query: str) -> tuple[int, str]:
    """Returns the size and the token of the page of a history. Raises FieldsInvalid as `parse_search` does."""
    search = FhirSearch(ListPatientsRequest())
    for name, value in parse_parameters(query):
        if name not in {"_count", "_format", NEXT_PAGE}:
            raise is_not_supported(name)
        _PARSERS[name](search, value)
    return search.request.page_size, search.request.page_token


def next_query(query: str, page_token: str) -> str:
    """Returns the query of the next page."""
    parameters = [(name, value) for name, value in parse_parameters(query) if name != NEXT_PAGE]
    return urlencode([*parameters, (NEXT_PAGE, page_token)])


def _unescape(name: str, value: str) -> str:
    """Returns a value without its escapes (https://hl7.org/fhir/R4/search.html#escaping).

    Raises FieldsInvalid for a list of values, of which one would have to match.
    """
    if name not in _LISTS and _LIST.match(value):
        raise invalid(f"{name[:50]} must have a single value: write \\, for a comma in a value")
    return _ESCAPE.sub(r"\1", value)


def _split_token(value: str) -> tuple[str, str]:
    """Returns the system of a value, which is empty if it has none, and the rest, without their escapes."""
    found = _SYSTEM.match(value)
    system, rest = (found[1], value[found.end() :]) if found else ("", value)
    return _ESCAPE.sub(r"\1", system), _ESCAPE.sub(r"\1", rest)


def _add_words(search: FhirSearch, name: str, value: str) -> None:
    """Requires all words in the name, each at the beginning of a word."""
    if not (words := fold_words(value)):
        raise has_no_value(name)
    search.request.query = f"{search.request.query} {value}".strip()

    def has_words(patient: Patient, _: Resource) -> bool:
        found = fold_words(patient.name)
        return all(any(each.startswith(word) for each in found) for word in words)

    search.conditions.append(has_words)


def _add_telecom(search: FhirSearch, name: str, system: str, number: str) -> None:
    """Requires an email address or a phone number, which may have a system: `email|a@clinic.test`."""
    kinds = [each for each in _TELECOMS if (name in {each, "telecom"}) and (system in {"", each})]
    if not (words := fold_words(number)):
        raise has_no_value(name)
    search.request.query = f"{search.request.query} {number}".strip()
    search.conditions.append(lambda patient, _: any(fold_words(getattr(patient, kind)) == words for kind in kinds))


def _add_identifier(search: FhirSearch, system: str, number: str) -> None:
    if not number.strip():
        raise has_no_value("identifier")
    search.request.query = f"{search.request.query} {number}".strip()

    def has_number(patient: Patient, resource: Resource) -> bool:
        systems = {each.get("system") for each in NUMBER.candidates(resource)[:1]}
        return patient.medical_record_number.lower() == number.lower() and (not system or system in systems)

    search.conditions.append(has_number)


def _add_gender(search: FhirSearch, value: str) -> None:
    if (sex := _SEXES.get(value)) is None:
        raise invalid(f"gender must be one of {', '.join(_SEXES)}")
    search.request.sex = sex


_MATCHES: dict[str, Callable[[Period, Period], bool]] = {
    "eq": lambda born, given: given.contains(born),
    "ge": lambda born, given: born.last > given.last or given.contains(born),
    "gt": lambda born, given: born.last > given.last,
    "le": lambda born, given: born.first < given.first or given.contains(born),
    "lt": lambda born, given: born.first < given.first,
    "sa": lambda born, given: born.first > given.last,
    "eb": lambda born, given: born.last < given.first,
}
"""Whether a period of birth matches a given one, by the prefix (https://hl7.org/fhir/R4/search.html#prefix)."""


def _add_birthdate(search: FhirSearch, value: str) -> None:
    prefix, given = _parse_date(value)
    if prefix in {"ge", "gt"}:
        day = given.first if prefix == "ge" else given.last + _DAY
        search.born_from = max(search.born_from or day, day)
    if prefix in {"eq", "sa"}:
        _raise_lower_bound(search.request, given.first - _DAY if prefix == "eq" else given.last)
    if prefix in {"eq", "le"}:
        _reduce_upper_bound(search.request, given.last + _DAY)
    if prefix in {"lt", "eb"}:
        _reduce_upper_bound(search.request, given.first)
    search.conditions.append(lambda patient, _: _MATCHES[prefix](parse_period(patient.date_of_birth), given))


def _raise_lower_bound(request: ListPatientsRequest, day: date) -> None:
    request.born_after = max(request.born_after, day.isoformat())


def _reduce_upper_bound(request: ListPatientsRequest, day: date) -> None:
    request.born_before = min(filter(None, (request.born_before, day.isoformat())))


def _parse_date(value: str) -> tuple[str, Period]:
    """Returns the prefix, and the days of the year, month or day."""
    if (match := _DATE.fullmatch(value)) and (prefix := match[1] or "eq") in _MATCHES:
        with suppress(ValueError):
            return prefix, parse_period(match[2])
    prefixes = ", ".join(_MATCHES)
    raise invalid(f"birthdate must be a date such as 1980-02-29, with one of the prefixes {prefixes} or none")


def _add_ids(search: FhirSearch, value: str) -> None:
    ids = [patient_id for each in value.split(",") if (patient_id := _parse_id(each))]
    search.ids = [each for each in dict.fromkeys(ids) if search.ids is None or each in search.ids]


def _parse_id(text: str) -> UUID | None:
    """Returns an id, or None for text that is the id of no patient."""
    with suppress(ValueError):
        return UUID(text)
    return None


def _add_count(search: FhirSearch, value: str) -> None:
    if (count := _COUNT.fullmatch(value)) is None:
        raise invalid("_count must be from 1 to 1000")
    search.request.page_size = int(count[1])


def _add_sort(search: FhirSearch, value: str) -> None:
    search.request.order_by = ",".join(map(_parse_sort, value.split(",")))


def _parse_sort(name: str) -> str:
    column = SORTS.get(name.removeprefix("-"))
    if column is None:
        raise invalid(f"_sort must be a list of {', '.join(SORTS)}, each optionally after a minus sign")
    return f"{column} desc" if name.startswith("-") else column


def _add_format(_: FhirSearch, value: str) -> None:
    if value not in {"json", "application/json", FHIR_CONTENT}:
        raise invalid("_format must be json")


def _add_page_token(search: FhirSearch, value: str) -> None:
    search.request.page_token = value


_PARSERS: dict[str, Callable[[FhirSearch, str], None]] = {
    "_id": _add_ids,
    "gender": _add_gender,
    "birthdate": _add_birthdate,
    "_count": _add_count,
    "_sort": _add_sort,
    "_format": _add_format,
    NEXT_PAGE: _add_page_token,
}

PARAMETERS: Iterable[tuple[str, str]] = (
    ("_id", "token"),
    ("identifier", "token"),
    *((name, "string") for name in _WORDS),
    *((name, "token") for name in (*_TELECOMS, "telecom", "gender")),
    ("birthdate", "date"),
)
"""The search parameters and their types."""


@contextmanager
def search_violations() -> Iterator[None]:
    """Names the parameters in the FieldsInvalid of the request that a search builds."""
    try:
        yield
    except FieldsInvalid as failure:
        found = ", and ".join(f"{_SOURCES.get(name, name)} {text}" for name, text in failure.violations.items())
        raise invalid(found) from None
