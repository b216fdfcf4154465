"""Archives of the audit: they prove themselves, and what follows is proved when their events are deleted."""

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
from services.common.audit.archive import NOTHING, archive, verify_archives
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


class Audited:
    """A billing database with an audit, and the commands on it."""

    def __init__(self, background: Background, url: str, signer: Signer, folder: Path) -> None:
        self.url, self.folder, self.sql = url, folder, Sql(background, url)
        self._background, self._signer = background, signer

    def grow(self, count: int) -> None:
        """Makes calls, and seals their events."""
        serving = serve_service("billing", self.url, TokenVerifier(self._signer.trust))
        with self._background.during(serving) as port, connect(port, "billing", self._signer.token("USER")) as billing:
            for _ in range(count):
                attempt(lambda: billing.get_billing_account(GetBillingAccountRequest(id=str(uuid4()))))
        self._background.run(self._seal())

    def list_accounts(self) -> None:
        """Lists accounts, and seals the event."""
        serving = serve_service("billing", self.url, TokenVerifier(self._signer.trust))
        with self._background.during(serving) as port, connect(port, "billing", self._signer.token("USER")) as billing:
            billing.list_billing_accounts(ListBillingAccountsRequest(page_size=9))
        self._background.run(self._seal())

    async def _seal(self) -> None:
        async with Database(self.url) as db:
            while await Sealer(db, AUDIT).seal():
                pass

    def archive(self, before: datetime = TOMORROW) -> Path | None:
        """Archives what is older, and returns the file."""
        return self._background.run(self._archive(before))

    async def _archive(self, before: datetime) -> Path | None:
        async with Database(self.url) as db:
            return await archive(db, AUDIT, "billing", self.folder, before)

    def prune(self, role: str = "") -> int:
        """Deletes what is archived, and returns how many events that were."""
        return self._background.run(self._prune(role))

    async def _prune(self, role: str) -> int:
        async with Database(self.url + role) as db:
            return await prune(db, AUDIT, verify_archives("billing", self.folder) or NOTHING)

    def verify(self) -> tuple[int, int]:
        """Proves the rest, and returns how many events are sealed and how many are not."""
        return self._background.run(self._verify())

    async def _verify(self) -> tuple[int, int]:
        async with Database(self.url) as db:
            chain, unsealed = await verify(db, AUDIT, archived=verify_archives("billing", self.folder))
            return chain.number, unsealed

    def command(self, module: str, *options: str) -> str:
        """Runs a command of the audit, and returns what it said."""
        argv = [sys.executable, "-m", f"services.common.audit.{module}", "billing", *options]
        environment = os.environ | {"PULSETRACK_DATABASE_URL": self.url}
        ended = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert (ended.returncode, ended.stderr) == (0, "")
        return ended.stdout

    def count(self) -> int:
        """Returns how many events the table holds."""
        return int(self.sql("SELECT count(*) FROM access_events")[0]["count"])

    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())


@pytest.fixture
def audited(background: Background, new_database: Callable[[str], str], signer: Signer, tmp_path: Path) -> Audited:
    """An audit of six events."""
    audited = Audited(background, new_database("billing"), signer, tmp_path / "audit")
    audited.grow(6)
    return audited


def test_what_is_archived_can_be_deleted_and_the_rest_is_proved(audited: Audited) -> None:
    audited.archive()
    assert audited.prune() == 6
    audited.grow(3)
    assert [row["number"] for row in audited.sql("SELECT number FROM access_seals ORDER BY number")] == [6, 7, 8, 9]
    assert audited.count() == 3
    assert audited.verify() == (9, 0)


def test_the_commands_say_what_they_did(audited: Audited) -> None:
    folder = str(audited.folder)
    [head] = audited.sql("SELECT encode(hash, 'hex') AS hash FROM access_seals WHERE number = 6")
    said = audited.command("archive", "--folder", folder, "--before", TOMORROW.date().isoformat())
    assert said == f"The audit of billing is archived up to seal 6, {head['hash']}, in {audited.files()[0]}.\n"
    said = audited.command("prune", "--folder", folder)
    assert said == "6 archived events are deleted from the audit of billing.\n"
    said = audited.command("verify", "--archives", folder)
    assert "is whole: 6 events are sealed (6 of them archived), 0 not yet." in said


def test_archives_follow_each_other(audited: Audited) -> None:
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


def test_an_archive_is_its_owners_alone_and_holds_what_the_seals_cover(audited: Audited) -> None:
    audited.archive()
    [path] = audited.files()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert len(lines) == 1 + 6 + 1
    assert all("/GetBillingAccount" in line for line in lines[1:-1])


def test_the_query_of_a_list_is_sealed_and_archived(audited: Audited) -> None:
    audited.list_accounts()
    audited.archive()
    assert '/ListBillingAccounts {\\"page_size\\":9}"' in gzip.decompress(audited.files()[0].read_bytes()).decode()
    audited.sql("UPDATE access_events SET method = replace(method, '9', '8') WHERE method LIKE '%/List%'")
    with pytest.raises(AuditIntegrityError, match=r"seal 7, .* was changed"):
        audited.verify()


def test_what_is_not_old_enough_or_archived_already_is_not_archived(audited: Audited) -> None:
    assert audited.archive(datetime(2026, 1, 1, tzinfo=UTC)) is None
    assert audited.files() == []
    assert audited.archive() == audited.files()[0]
    assert audited.archive() is None
    assert len(audited.files()) == 1


def test_events_that_are_deleted_without_an_archive_are_missed(audited: Audited, tmp_path: Path) -> None:
    audited.archive()
    audited.prune()
    audited.folder = tmp_path / "another folder"
    with pytest.raises(AuditIntegrityError, match="seal 1 is missing"):
        audited.verify()


@pytest.mark.parametrize(("old", "new"), [(b"GetBilling", b"GotBilling"), (b"[3,", b"[4,"), (b"]\n", b"]")])
def test_a_changed_archive_is_noticed(audited: Audited, old: bytes, new: bytes) -> None:
    audited.archive()
    [path] = audited.files()
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(old, new, 1)))
    with pytest.raises(AuditIntegrityError, match=f"the archive {path.name} "):
        audited.verify()


def test_an_archive_that_is_cut_short_is_noticed(audited: Audited) -> None:
    audited.archive()
    [path] = audited.files()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(AuditIntegrityError, match="cannot be read"):
        audited.prune()
    assert audited.count() == 6


def test_a_broken_chain_is_not_archived(audited: Audited) -> None:
    of_four = "(SELECT event_id FROM access_seals WHERE number = 4)"
    audited.sql(f"UPDATE access_events SET actor_id = 'another' WHERE id = {of_four}")
    with pytest.raises(AuditIntegrityError, match="seal 4"):
        audited.archive()
    assert audited.files() == []


def test_the_archive_of_another_chain_deletes_nothing(audited: Audited) -> None:
    audited.archive()
    audited.sql("UPDATE access_seals SET hash = sha256('x') WHERE number = 6")
    with pytest.raises(AuditIntegrityError, match="seal 6 is not the one that the archives end with"):
        audited.prune()
    assert audited.count() == 6


def test_a_service_may_not_delete_what_is_archived(audited: Audited) -> None:
    audited.archive()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        audited.prune(role=f"?role={role_of('billing')}")
    assert audited.count() == 6
