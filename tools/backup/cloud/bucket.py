"""The S3 bucket: one prefix for each backup, and one for the archives of the audit log."""

import fnmatch
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from tools.backup.folder import MANIFEST

BACKUPS = "backups/"
ARCHIVES = "audit/"

ERRORS = (BotoCoreError, ClientError, boto3.exceptions.Boto3Error)
"""The errors that the methods raise if the bucket cannot be used."""


class Bucket:
    """A bucket, at AWS_ENDPOINT_URL if that is set."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._client: Any = boto3.client("s3")

    def upload(self, folder: Path, prefix: str) -> None:
        """Uploads the files of a folder, the manifest last. A backup is complete if it has a manifest."""
        for path in sorted(folder.iterdir(), key=lambda path: (path.name == MANIFEST, path.name)):
            self.upload_file(path, prefix)

    def upload_file(self, path: Path, prefix: str) -> None:
        """Uploads a file."""
        self._client.upload_file(str(path), self._name, f"{prefix}{path.name}")

    def download(self, prefix: str, folder: Path, *, names: str = "*") -> None:
        """Downloads the files with a prefix, whose names match a pattern, into a folder, which is created."""
        folder.mkdir(exist_ok=True)
        for key in fnmatch.filter(self._list(prefix), f"{prefix}{names}"):
            self._client.download_file(self._name, key, str(folder / key.removeprefix(prefix)))

    def list_backups(self) -> list[str]:
        """Returns the names of the complete backups, the oldest first."""
        suffix = f"/{MANIFEST}"
        keys = self._list(BACKUPS)
        return sorted(key.removeprefix(BACKUPS).removesuffix(suffix) for key in keys if key.endswith(suffix))

    def _list(self, prefix: str) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]
