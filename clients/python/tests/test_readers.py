"""Records that are read from files."""

import io
import json
from pathlib import Path

import pytest
from pulsetrack.patient.v1.patient_pb2 import Patient, Sex
from pulsetrack.records import FileError, Record, check_encoding, open_text, read_ndjson
from pulsetrack.tables import Columns, read_csv, read_mapping, write_csv


def read_table(
    content: str | bytes, tmp_path: Path, encoding: str = "utf-8", mapping: Columns | None = None
) -> list[Record]:
    file = tmp_path / "patients.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    check_encoding(file, encoding)
    with open_text(file, encoding) as text:
        return list(read_csv(text, mapping or {}))


def patient_of(record: Record) -> Patient:
    assert record.patient, record.violation
    return record.patient


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_separator_line_breaks_and_byte_order_mark_are_detected(
    separator: str, line_break: str, mark: str, tmp_path: Path
) -> None:
    rows = (("name", "email"), ("Ana Silva", "ana@clinic.test"))
    content = mark + "".join(separator.join(row) + line_break for row in rows)
    [record] = read_table(content, tmp_path)
    assert (record.line, record.patient) == (2, Patient(name="Ana Silva", email="ana@clinic.test"))


def test_quoted_cells_contain_separators_quotes_and_line_breaks(tmp_path: Path) -> None:
    content = 'name,address\r\n"Silva, ""Ana""","1 High Street\r\nPorto"\r\nRui,2 High Street\r\n'
    ana, rui = read_table(content, tmp_path)
    assert ana.patient == Patient(name='Silva, "Ana"', address="1 High Street\r\nPorto")
    assert (ana.line, rui.line) == (2, 4)


def test_leading_zeros_are_kept_and_empty_cells_are_absent(tmp_path: Path) -> None:
    [record] = read_table("medical_record_number;phone;name\n007;;Ana\n", tmp_path)
    assert record.patient == Patient(medical_record_number="007", name="Ana")
    assert record.key == "007"


@pytest.mark.parametrize("header", ["Date of Birth", "dateOfBirth", "date_of_birth", "DATE-OF-BIRTH", "DOB"])
def test_headers_are_recognized_in_common_forms(header: str, tmp_path: Path) -> None:
    [record] = read_table(f"name,{header}\nAna,1980-02-29\n", tmp_path)
    assert patient_of(record).date_of_birth == "1980-02-29"


@pytest.mark.parametrize(("cell", "sex"), [("female", Sex.SEX_FEMALE), ("SEX_MALE", Sex.SEX_MALE)])
def test_sex_is_read_by_name(cell: str, sex: Sex.ValueType, tmp_path: Path) -> None:
    [record] = read_table(f"name,sex\nAna,{cell}\n", tmp_path)
    assert patient_of(record).sex == sex


@pytest.mark.parametrize(
    ("row", "field"), [("Ana,robot,", "sex"), ("Ana,,perhaps", "restricted"), ("Ana", ""), ("Ana,,,", "")]
)
def test_invalid_row_is_a_violation_and_the_next_row_is_read(row: str, field: str, tmp_path: Path) -> None:
    invalid, rui = read_table(f"name,sex,restricted\n{row}\nRui,,true\n", tmp_path)
    assert invalid.violation
    assert (invalid.line, invalid.violation.field) == (2, field)
    assert patient_of(rui).restricted


def test_blank_rows_are_skipped(tmp_path: Path) -> None:
    assert [each.line for each in read_table("name,email\n\n,\nAna,\n", tmp_path)] == [4]


def test_unknown_columns_are_rejected_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="'Hair', 'Notes'"):
        read_table("name,Hair,Notes\n", tmp_path)


def test_mapping_names_fields_and_columns_that_are_not_read(tmp_path: Path) -> None:
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text("Nachname: name\nNotiz:\n", encoding="utf-8")
    [record] = read_table("Nachname,Notiz\nAna,x\n", tmp_path, mapping=read_mapping(mapping))
    assert record.patient == Patient(name="Ana")


@pytest.mark.parametrize("content", ["Nachname: hair", "- name", "a: b: c", "1: name", "Nachname: [name]"])
def test_invalid_mapping_is_rejected(content: str, tmp_path: Path) -> None:
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(content, encoding="utf-8")
    with pytest.raises(FileError, match=r"mapping\.yaml"):
        read_mapping(mapping)


def test_mapping_of_a_column_that_the_file_lacks_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="Vorname"):
        read_table("name\n", tmp_path, mapping={"Vorname": "name"})


def test_two_columns_of_one_field_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="mapped to: name"):
        read_table("name,Name\n", tmp_path)


@pytest.mark.parametrize("content", ['name\n"Ana\n', 'name\n"Ana"x\n', "name\n" + "x" * (1 << 20)])
def test_file_that_is_not_csv_is_rejected_with_the_line(content: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"(?i)line 2"):
        read_table(content, tmp_path)


def test_windows_1252_is_rejected_with_the_line_and_the_option(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"Line 3: the byte 0xe9 is not utf-8.*--encoding windows-1252"):
        read_table("name\nAna\nJosé\n".encode("windows-1252"), tmp_path)


def test_undecodable_byte_after_the_first_chunk_is_found(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="Line 100002"):
        read_table(b"name\n" + b"Ana Maria Silva\n" * 100_000 + b"Jos\xe9\n", tmp_path)


def test_windows_1252_is_read_with_the_option(tmp_path: Path) -> None:
    [record] = read_table("name\nJosé €\n".encode("windows-1252"), tmp_path, "windows-1252")
    assert patient_of(record).name == "José €"


def test_json_lines_are_read_with_their_numbers() -> None:
    lines = (
        '{"name": "Ana", "sex": "SEX_FEMALE", "email": "ana@clinic.test"}',
        "",
        '{"medical_record_number": "007"}\r',
    )
    expected = Patient(name="Ana", sex=Sex.SEX_FEMALE, email="ana@clinic.test")
    ana, other = read_ndjson(io.StringIO("\n".join(lines), newline=""))
    assert (ana.line, ana.key, ana.patient) == (1, "ana@clinic.test", expected)
    assert (other.line, other.key) == (3, "007")


@pytest.mark.parametrize(
    "line",
    [
        "Ana",
        "[]",
        "[" * 100_000,
        '{"hair": "red"}',
        '{"name": 1}',
        '{"name": "a", "name": "b"}',
        '{"name": "\\ud800"}',
        '{"deleteTime": "2026-01-01T00:00:00Z"}',
    ],
)
def test_line_that_is_not_a_patient_is_a_violation(line: str) -> None:
    invalid, rui = read_ndjson(io.StringIO(f'{line}\n{{"name": "Rui"}}\n'))
    assert (invalid.patient, invalid.content) == (None, line)
    assert invalid.violation
    assert rui.patient == Patient(name="Rui")


def test_fields_that_the_server_sets_are_not_imported() -> None:
    line = json.dumps({"id": "x", "etag": "1", "createTime": "2026-01-01T00:00:00Z", "name": "Ana"})
    [record] = read_ndjson(io.StringIO(line))
    assert record.patient == Patient(name="Ana")


def test_line_that_is_too_long_is_rejected_before_it_is_read() -> None:
    text = io.StringIO("x" * (1 << 21))
    with pytest.raises(FileError, match="Line 1 "):
        list(read_ndjson(text))
    assert text.tell() == 1 << 20


PATIENTS = [
    Patient(id="1", name='Ana "Nana" Silva; Sousa', address="1 High Street\nPorto", medical_record_number="007"),
    Patient(id="2", name="محمد", phone="+351 21 000 000", sex=Sex.SEX_OTHER, restricted=True),
    Patient(id="3", name="=HYPERLINK(1)", email="josé@münchen.example", date_of_birth="0980-02-29"),
]


def test_table_that_was_written_is_read_unchanged() -> None:
    text = io.StringIO(newline="")
    write = write_csv(text)
    for patient in PATIENTS:
        write(patient)
    text.seek(0)
    records = list(read_csv(text, {}))
    for patient, record in zip(PATIENTS, records, strict=True):
        patient_of(record).id = patient.id
        assert record.patient == patient


def test_guard_protects_from_formulas() -> None:
    text = io.StringIO(newline="")
    write_csv(text, guard=True)(PATIENTS[2])
    assert "'=HYPERLINK(1)" in text.getvalue()


def test_fhir_resources_are_kept_as_they_are_in_the_file() -> None:
    line = '{"resourceType": "Patient", "id": "7", "extension": [{"url": "urn:x", "valueDecimal": 1.50}]}'
    ana, broken, other = read_ndjson(io.StringIO(f"{line}\n\n{{\n[]"), fhir=True)
    assert (ana.line, ana.key, ana.resource, ana.patient) == (1, "7", line.encode(), None)
    assert (broken.line, broken.resource) == (3, b"")
    assert broken.violation
    assert (other.key, other.resource, other.violation) == ("", b"[]", None)
