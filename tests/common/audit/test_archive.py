"""Tests archiving and pruning of the audit log, and verification of what remains."""

import gzip
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from gen.pulsetrack.billing.v1 import GetBillingAccountRequest, ListBillingAccountsRequest
from services.billing.models import AUDIT
from services.common.audit.archive import archive, verify_archives
from services.common.audit.prune import prune
from services.common.audit.seals import AuditIntegrityError, Sealer
from services.common.audit.verify import verify
from services.common.postgres.database import Database
from services.common.rpc.tokens import TokenVerifier
from tests.conftest import role_of
from tests.harness.background import Background
from tests.harness.client import attempt, connect
from tests.harness.services import serve_service
from tests.harness.sql import Sql
from tests.harness.tokens import Signer
from tools.local.process import ROOT

TOMORROW = datetime.now(UTC) + timedelta(days=2)


class AuditedBilling:
    """A billing database with an audit log, and the commands that operate on it."""

    def __init__(self, background: Background, url: str, signer: Signer, folder: Path) -> None:
        self.url, self.folder, self.sql = url, folder, Sql(background, url)
        self._background, self._signer = background, signer

    def grow(self, count: int) -> None:
        """Makes calls and seals their events."""
        serving = serve_service("billing", self.url, TokenVerifier(self._signer.trust))
        with self._background.during(serving) as port, connect(port, "billing", self._signer.token("USER")) as billing:
            for _ in range(count):
                attempt(lambda: billing.get_billing_account(GetBillingAccountRequest(id=str(uuid4()))))
        self._background.run(self._seal())

    def list_accounts(self) -> None:
        """Lists accounts and seals the event."""
        serving = serve_service("billing", self.url, TokenVerifier(self._signer.trust))
        with self._background.during(serving) as port, connect(port, "billing", self._signer.token("USER")) as billing:
            billing.list_billing_accounts(ListBillingAccountsRequest(page_size=9))
        self._background.run(self._seal())

    async def _seal(self) -> None:
        async with Database(self.url) as db:
            while await Sealer(db, AUDIT).seal():
                pass

    def archive(self, before: datetime = TOMORROW) -> Path | None:
        """Archives events before a time and returns the file."""
        return self._background.run(self._archive(before))

    async def _archive(self, before: datetime) -> Path | None:
        async with Database(self.url) as db:
            ends = verify_archives("billing", self.folder)
            return await archive(db, AUDIT, "billing", self.folder, before, ends=ends)

    def prune(self, role: str = "") -> int:
        """Deletes archived events and returns their number."""
        return self._background.run(self._prune(role))

    async def _prune(self, role: str) -> int:
        async with Database(self.url + role) as db:
            return await prune(db, AUDIT, verify_archives("billing", self.folder)[-1])

    def verify(self) -> tuple[int, int]:
        """Verifies the chain and returns the numbers of sealed and unsealed events."""
        return self._background.run(self._verify())

    async def _verify(self) -> tuple[int, int]:
        async with Database(self.url) as db:
            chain, unsealed = await verify(db, AUDIT, archived=verify_archives("billing", self.folder))
            return chain.number, unsealed

    def command(self, module: str, *options: str) -> str:
        """Runs an audit command and returns its output."""
        argv = [sys.executable, "-m", f"services.common.audit.{module}", "billing", *options]
        environment = os.environ | {"PULSETRACK_DATABASE_URL": self.url}
        result = subprocess.run(
            argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    def count(self) -> int:
        """Returns the number of events in the table."""
        return int(self.sql("SELECT count(*) FROM access_events")[0]["count"])

    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())


@pytest.fixture
def audited(
    background: Background, new_database: Callable[[str], str], signer: Signer, tmp_path: Path
) -> AuditedBilling:
    """An audit log with six sealed events."""
    audited = AuditedBilling(background, new_database("billing"), signer, tmp_path / "audit")
    audited.grow(6)
    return audited


def test_archived_events_can_be_pruned_and_the_rest_verifies(audited: AuditedBilling) -> None:
    audited.archive()
    assert audited.prune() == 6
    audited.grow(3)
    assert [row["number"] for row in audited.sql("SELECT number FROM access_seals ORDER BY number")] == [6, 7, 8, 9]
    assert audited.count() == 3
    assert audited.verify() == (9, 0)


def test_commands_report_their_result(audited: AuditedBilling) -> None:
    folder = str(audited.folder)
    [head] = audited.sql("SELECT encode(hash, 'hex') AS hash FROM access_seals WHERE number = 6")
    output = audited.command("archive", "--folder", folder, "--before", TOMORROW.date().isoformat())
    assert output == f"Archived the audit log of billing up to seal 6, {head['hash']}, in {audited.files()[0]}.\n"
    output = audited.command("prune", "--folder", folder)
    assert output == "Deleted 6 archived events from the audit log of billing.\n"
    output = audited.command("verify", "--archives", folder)
    assert "is intact: 6 events sealed (6 archived), 0 not sealed yet." in output


def test_archives_must_be_consecutive(audited: AuditedBilling) -> None:
    audited.archive()
    audited.prune()
    audited.grow(2)
    audited.archive()
    audited.prune()
    assert [path.name for path in audited.files()] == [f"billing-{n:012}.jsonl.gz" for n in (1, 7)]
    assert audited.verify() == (8, 0)
    audited.files()[0].unlink()
    with pytest.raises(AuditIntegrityError, match="does not follow seal 0 of billing"):
        audited.verify()


def test_archives_that_are_not_pruned_yet_are_verified_with_the_chain(audited: AuditedBilling) -> None:
    audited.archive()
    audited.prune()
    audited.grow(2)
    audited.archive()
    assert audited.verify() == (8, 0)
    audited.grow(1)
    audited.archive()
    assert [path.name for path in audited.files()] == [f"billing-{n:012}.jsonl.gz" for n in (1, 7, 9)]
    assert audited.verify() == (9, 0)


def test_archive_is_private_and_contains_the_sealed_content(audited: AuditedBilling) -> None:
    audited.archive()
    [path] = audited.files()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert len(lines) == 1 + 6 + 1
    assert all("/GetBillingAccount" in line for line in lines[1:-1])


def test_query_of_a_list_is_sealed_and_archived(audited: AuditedBilling) -> None:
    audited.list_accounts()
    audited.archive()
    assert '/ListBillingAccounts {\\"page_size\\":9}"' in gzip.decompress(audited.files()[0].read_bytes()).decode()
    audited.sql("UPDATE access_events SET method = replace(method, '9', '8') WHERE method LIKE '%/List%'")
    with pytest.raises(AuditIntegrityError, match=r"seal 7, .* was changed"):
        audited.verify()


def test_recent_and_already_archived_events_are_not_archived(audited: AuditedBilling) -> None:
    assert audited.archive(datetime(2026, 1, 1, tzinfo=UTC)) is None
    assert audited.files() == []
    assert audited.archive() == audited.files()[0]
    assert audited.archive() is None
    assert len(audited.files()) == 1


def test_pruned_events_without_an_archive_are_reported_missing(audited: AuditedBilling, tmp_path: Path) -> None:
    audited.archive()
    audited.prune()
    audited.folder = tmp_path / "another folder"
    with pytest.raises(AuditIntegrityError, match="seal 1 is missing"):
        audited.verify()


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"GetBilling", b"GotBilling"), (b"GetBilling", b"\xffetBilling"), (b"[3,", b"[4,"), (b"]\n", b"]")],
)
def test_changed_archive_is_detected(audited: AuditedBilling, old: bytes, new: bytes) -> None:
    audited.archive()
    [path] = audited.files()
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(old, new, 1)))
    with pytest.raises(AuditIntegrityError, match=f"the archive {path.name} "):
        audited.verify()


def test_truncated_archive_is_detected(audited: AuditedBilling) -> None:
    audited.archive()
    [path] = audited.files()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(AuditIntegrityError, match="cannot be read"):
        audited.prune()
    assert audited.count() == 6


def test_changed_chain_is_not_archived(audited: AuditedBilling) -> None:
    sealed_fourth = "(SELECT event_id FROM access_seals WHERE number = 4)"
    audited.sql(f"UPDATE access_events SET actor_id = 'another' WHERE id = {sealed_fourth}")
    with pytest.raises(AuditIntegrityError, match="seal 4"):
        audited.archive()
    assert audited.files() == []


def test_archive_of_another_chain_prunes_nothing(audited: AuditedBilling) -> None:
    audited.archive()
    audited.sql("UPDATE access_seals SET hash = sha256('x') WHERE number = 6")
    with pytest.raises(AuditIntegrityError, match="seal 6 does not match the last seal of the archives"):
        audited.prune()
    assert audited.count() == 6


def test_service_role_cannot_prune(audited: AuditedBilling) -> None:
    audited.archive()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        audited.prune(role=f"?role={role_of('billing')}")
    assert audited.count() == 6


def test_archive_is_complete_on_disk_before_it_gets_its_name(
    audited: AuditedBilling, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    sync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    path = audited.archive()
    assert path is not None
    assert path.stat().st_size == synced[0]
