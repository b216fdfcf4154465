"""Commands on the audit log whose archives are in the bucket: they work on a copy, and new archives are uploaded."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.databases import owner_url
from tools.backup.cloud.bucket import ARCHIVES, Bucket
from tools.backup.cloud.settings import MaintenanceSettings

COMMANDS: Mapping[str, str] = {"archive": "--folder", "prune": "--folder", "verify": "--archives"}
"""The option of each command that names the folder of the archives."""


def run_audit_command(settings: MaintenanceSettings, command: str, service: str, options: Sequence[str]) -> int:
    """Runs a command as the owner of a service's tables, and returns its exit code."""
    bucket = Bucket(settings.backup_bucket)
    url = owner_url(settings.database_url, service, settings.passwords()[service])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bucket.download(ARCHIVES, folder)
        known = set(folder.iterdir())
        module = f"services.common.audit.{command}"
        arguments = [sys.executable, "-m", module, service, COMMANDS[command], str(folder), *options]
        code = subprocess.run(arguments, env=os.environ | {"PULSETRACK_DATABASE_URL": url}, check=False).returncode
        for path in sorted(set(folder.glob("*.jsonl.gz*")) - known):
            bucket.upload_file(path, ARCHIVES)
    return code
