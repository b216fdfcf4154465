"""Imports without a server: batches, and the report of refused records."""

import asyncio
import io
import json
from collections.abc import Iterator, Sequence
from itertools import islice

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from pulsetrack import DeadlineExceeded, FieldViolation, Unavailable
from pulsetrack.imports import Import, Result, Send
from pulsetrack.patient.v1.patient_pb2 import ImportMode, ImportOutcome, ImportResult, Patient
from pulsetrack.patients import Patients
from pulsetrack.records import Record
from pulsetrack.transfers import create_send

LINES = 2_600


def records() -> Iterator[Record]:
    for line in range(1, LINES + 1):
        yield Record(line, {"name": "é"}, Patient(name="é", medical_record_number=f"{line:05}"))


class Server:
    """Refuses every hundredth record. Keeps the records, and the largest number of batches at once."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Record]] = []
        self.active = self.most = 0

    async def send(self, batch: Sequence[Record]) -> Sequence[Result]:
        self.active += 1
        self.most = max(self.most, self.active)
        await asyncio.sleep(0.001)
        self.active -= 1
        self.batches.append(batch)
        refusal = Result("refused", "EMAIL_ALREADY_EXISTS", [FieldViolation("patient.email", "must be unique")])
        return [refusal if record.line % 100 == 0 else Result("created") for record in batch]


def run(found: Iterator[Record], send: Send) -> tuple[Import, list[dict[str, object]]]:
    report = io.StringIO()
    work = Import(report, lambda _: None, concurrency=4)
    asyncio.run(work.run(found, send))
    return work, [json.loads(line) for line in report.getvalue().splitlines()]


def test_every_record_is_sent_once_with_few_batches_at_once() -> None:
    server = Server()
    run(records(), server.send)
    assert sorted(record.line for batch in server.batches for record in batch) == list(range(1, LINES + 1))
    assert max(map(len, server.batches)) == 100
    assert server.most == 4


def test_records_are_read_when_they_are_needed() -> None:
    read = 0

    def counted() -> Iterator[Record]:
        nonlocal read
        for record in records():
            read += 1
            yield record

    async def stop(batch: Sequence[Record]) -> Sequence[Result]:
        raise Unavailable(grpc.StatusCode.UNAVAILABLE, "stopped")

    with pytest.raises(Unavailable):
        run(counted(), stop)
    assert read <= 400


def test_refused_records_are_counted_and_reported() -> None:
    work, report = run(records(), Server().send)
    assert work.counts == {"created": LINES - 26, "refused": 26}
    assert report[0] == {
        "line": 100,
        "key": "00100",
        "reason": "EMAIL_ALREADY_EXISTS",
        "violations": [{"field": "patient.email", "description": "must be unique"}],
        "record": {"name": "é"},
    }


def test_record_that_is_not_a_patient_is_reported_and_not_sent() -> None:
    async def send(batch: Sequence[Record]) -> Sequence[Result]:
        raise AssertionError

    invalid = Record(7, "Ana", violation=FieldViolation("", "must be a JSON object"))
    work, report = run(iter([invalid]), send)
    assert work.counts == {"refused": 1}
    assert (report[0]["line"], report[0]["reason"], report[0]["record"]) == (7, "RECORD_UNREADABLE", "Ana")


def test_batch_for_which_the_server_needs_too_long_is_divided() -> None:
    sizes: list[int] = []

    class SlowPatients(Patients):
        async def import_batch(
            self,
            patients: Sequence[Patient],
            mode: ImportMode.ValueType,
            *,
            timeout: float | None = None,  # noqa: ASYNC109
        ) -> Sequence[ImportResult]:
            sizes.append(len(patients))
            if len(patients) > 50:
                detail = Any()
                detail.Pack(ErrorInfo(reason="CALL_TOO_SLOW"))
                raise DeadlineExceeded(grpc.StatusCode.DEADLINE_EXCEEDED, "slow", Status(details=[detail]))
            return [ImportResult(outcome=ImportOutcome.IMPORT_OUTCOME_CREATED)] * len(patients)

    patients = SlowPatients.__new__(SlowPatients)
    work, _ = run(islice(records(), 100), create_send(patients, ImportMode.IMPORT_MODE_UPSERT))
    assert work.counts == {"created": 100}
    assert sizes == [100, 50, 50]


def test_batch_of_large_resources_is_divided() -> None:
    sent: list[Sequence[bytes]] = []

    class FhirPatients(Patients):
        async def import_resources(
            self,
            lines: Sequence[bytes],
            mode: ImportMode.ValueType,
            *,
            timeout: float | None = None,  # noqa: ASYNC109
        ) -> Sequence[ImportResult]:
            sent.append(lines)
            return [ImportResult(outcome=ImportOutcome.IMPORT_OUTCOME_CREATED)] * len(lines)

    large = [Record(line, {}, resource=f"{line:065536}".encode()) for line in range(100)]
    work, _ = run(iter(large), create_send(FhirPatients.__new__(FhirPatients), ImportMode.IMPORT_MODE_UPSERT))
    assert work.counts == {"created": 100}
    assert [len(lines) for lines in sent] == [25, 25, 25, 25]
    assert [line for lines in sent for line in lines] == [record.resource for record in large]
