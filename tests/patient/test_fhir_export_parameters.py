"""The parameters of bulk exports of FHIR."""

from datetime import UTC, datetime

import pytest

from services.common.errors import FieldsInvalid
from services.patient.fhir.exports import parse_since


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("", None),
        ("_type=Patient,Patient&_outputFormat=ndjson", None),
        ("_outputFormat=application/fhir+ndjson", None),
        ("_outputFormat=application%2Fndjson", None),
        ("_since=2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("_since=2026-01-31T12:00:00.5+01:00", datetime(2026, 1, 31, 11, microsecond=500_000, tzinfo=UTC)),
        ("_since=2026-01-31T12:00:00%2B01:00", datetime(2026, 1, 31, 11, tzinfo=UTC)),
    ],
)
def test_parameters_are_accepted(parameters: str, expected: datetime | None) -> None:
    assert parse_since(parameters, lenient=False) == expected


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("_type=Observation", "_type must be Patient"),
        ("_outputFormat=text/csv", "_outputFormat must be one of"),
        ("_since=2020-01-01", "_since must be an instant"),
        ("_since=2020-02-30T00:00:00Z", "_since must be an instant"),
        ("_since=0001-01-01T00:00:00%2B14:00", "_since must be an instant"),
        ("_since", "the query is not valid"),
    ],
)
@pytest.mark.parametrize("lenient", [False, True])
def test_invalid_values_are_rejected(parameters: str, message: str, *, lenient: bool) -> None:
    with pytest.raises(FieldsInvalid) as failure:
        parse_since(parameters, lenient=lenient)
    assert message in failure.value.violations["parameters"]


@pytest.mark.parametrize("parameters", ["_elements=id", "_type=Patient,Observation", "_typeFilter=x&_type=Patient"])
def test_unsupported_parameters_and_types_are_ignored_only_if_lenient(parameters: str) -> None:
    assert parse_since(parameters, lenient=True) is None
    with pytest.raises(FieldsInvalid):
        parse_since(parameters, lenient=False)
