"""Old access events are moved to signed archives, in batches and by one of several processes at a time."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.common.audit.archive import archive
from services.common.audit.retain import AccessEventRetention, main
from services.common.audit.seals import AuditIntegrityError
from services.common.audit.signatures import generate_private_key, parse_private_key, verify_signatures
from services.common.postgres.database import Database
from services.common.rpc.server import run
from tests.common.audit.test_archive import AuditedBilling
from tests.harness.background import Background
from tests.harness.tokens import Signer
from tools.local.process import ROOT

PEM = generate_private_key()
KEY = parse_private_key(PEM)
PUBLIC_PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

EVERYTHING = -1
"""A number of days that makes all events old."""


@pytest.fixture
def audited(
    background: Background, new_database: Callable[[str], str], signer: Signer, tmp_path: Path
) -> AuditedBilling:
    """An audit log with six sealed events."""
    audited = AuditedBilling(background, new_database("billing"), signer, tmp_path / "audit")
    audited.grow(6)
    return audited


async def retain(audited: AuditedBilling, *, days: int, batch: int = 10_000, processes: int = 1) -> None:
    """Moves the old events of an audit log in several processes' pools."""

    async def move(db: Database) -> None:
        retention = AccessEventRetention(db, "billing", audited.folder, KEY, days=days, batch=batch)
        while await retention.move_batch():
            pass

    async with AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(Database(audited.url, connections=2)) for _ in range(processes)]
        await asyncio.gather(*(move(db) for db in pools))


def run_command(audited: AuditedBilling, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs the command once, with settings."""
    argv = [sys.executable, "-m", "services.common.audit.retain", "billing", "--once"]
    environment = os.environ | build_environment(audited, **settings)
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)


def build_environment(audited: AuditedBilling, **settings: str) -> dict[str, str]:
    """Returns the environment variables of settings."""
    return {f"PULSETRACK_{name.upper()}": value for name, value in ({"database_url": audited.url} | settings).items()}


@pytest.mark.parametrize("processes", [1, 2])
def test_old_events_are_moved_to_signed_archives(
    background: Background, audited: AuditedBilling, processes: int
) -> None:
    background.run(retain(audited, days=EVERYTHING, batch=4, processes=processes))
    assert audited.count() == 0
    names = [f"billing-{number:012}.jsonl.gz" for number in (1, 5)]
    assert [path.name for path in audited.files()] == sorted([*names, *(f"{name}.sig" for name in names)])
    verify_signatures("billing", audited.folder, KEY.public_key())
    audited.grow(1)
    assert audited.verify() == (7, 0)


def test_recent_events_stay(background: Background, audited: AuditedBilling) -> None:
    background.run(retain(audited, days=1))
    assert (audited.count(), audited.files()) == (6, [])


def test_events_of_an_archive_without_signature_are_deleted_by_the_next_process(
    background: Background, audited: AuditedBilling
) -> None:
    """The process that wrote the archive ended before it signed it."""
    audited.archive()
    background.run(retain(audited, days=1))
    assert audited.count() == 0
    verify_signatures("billing", audited.folder, KEY.public_key())


def test_damaged_archive_deletes_no_events(background: Background, audited: AuditedBilling) -> None:
    path = audited.archive()
    assert path
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(AuditIntegrityError, match="cannot be read"):
        background.run(retain(audited, days=EVERYTHING))
    assert audited.count() == 6


def test_verification_reports_an_archive_with_another_signature(
    background: Background, audited: AuditedBilling
) -> None:
    background.run(retain(audited, days=EVERYTHING))
    [archive, signature] = audited.files()
    signature.write_bytes(Ed25519PrivateKey.generate().sign(archive.read_bytes()))
    with pytest.raises(AuditIntegrityError, match=f"the archive {archive.name} has no valid signature"):
        verify_signatures("billing", audited.folder, KEY.public_key())


def test_commands_move_and_verify(audited: AuditedBilling, tmp_path: Path) -> None:
    (public := tmp_path / "public.pem").write_bytes(PUBLIC_PEM)
    settings = {"archive_folder": str(audited.folder), "archive_key": PEM, "access_event_retention_days": "1"}
    result = run_command(audited, **settings)
    assert (result.returncode, audited.count()) == (0, 6)
    output = audited.command("verify", "--archives", str(audited.folder), "--public-key", str(public))
    assert "is intact: 6 events sealed, 0 not sealed yet." in output


@pytest.mark.parametrize(("folder", "missing"), [("", "PULSETRACK_ARCHIVE_FOLDER"), ("x", "PULSETRACK_ARCHIVE_KEY")])
def test_missing_setting_is_a_one_line_error(
    audited: AuditedBilling, monkeypatch: pytest.MonkeyPatch, folder: str, missing: str
) -> None:
    for variable, value in build_environment(audited, access_event_retention_days="1", archive_folder=folder).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(sys, "argv", ["retain", "billing"])
    with pytest.raises(SystemExit) as exit_info:
        run(main)
    assert str(exit_info.value.code).startswith(missing)


def test_retention_is_off_by_default(
    audited: AuditedBilling, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PULSETRACK_DATABASE_URL", audited.url)
    monkeypatch.setattr(sys, "argv", ["retain", "billing"])
    run(main)
    assert capsys.readouterr().out.endswith("is 0: access events stay in the database.\n")


def test_lock_is_held_while_a_batch_takes_longer_than_a_transaction_may_be_idle(
    background: Background, audited: AuditedBilling, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = audited.sql("SELECT current_database() AS name")[0]["name"]
    audited.sql(f"ALTER DATABASE \"{name}\" SET idle_in_transaction_session_timeout = '300ms'")

    async def archive_slowly(*arguments: Any, **options: Any) -> Path | None:
        await asyncio.sleep(0.6)
        return await archive(*arguments, **options)

    monkeypatch.setattr("services.common.audit.retain.archive", archive_slowly)
    background.run(retain(audited, days=EVERYTHING))
    assert audited.count() == 0
