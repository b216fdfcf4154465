"""The certificates of the gateway and the services, in the secrets of a deployment."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from deploy.certificates import Certificates, renew
from deploy.topology import TlsSecrets
from infrastructure.stack import to_logical_id

AUTHORITIES = "authorities"


def certificate_output(name: str) -> str:
    """Returns the output of the data stack with the ARN of a component's secret, or of that of the authorities."""
    return f"{to_logical_id(name)}CertificateArn"


class CertificateSecrets:
    """The secrets of a deployment with certificates."""

    def __init__(self, client: Any, outputs: Mapping[str, str]) -> None:
        """Takes a client of Secrets Manager and the outputs of the data stack."""
        self._client = client
        self._outputs = outputs

    def renew(self, *, rotate: bool) -> str:
        """Renews the certificates if they are missing or expire within a year. Returns their version."""
        stored = self._read()
        renewed = renew(stored, datetime.now(UTC), rotate=rotate)
        if renewed != stored:
            for name, issued in renewed.issued.items():
                fields = TlsSecrets(issued.certificate, issued.key, renewed.trusted())
                self._write(name, json.dumps(fields._asdict()))
            self._write(AUTHORITIES, renewed.dump())  # last: if this fails, the next deployment issues all again
        return renewed.version()

    def _read(self) -> Certificates | None:
        """Returns the stored certificates. None if the secret has its initial value."""
        value = self._client.get_secret_value(SecretId=self._outputs[certificate_output(AUTHORITIES)])["SecretString"]
        return Certificates.parse(value) if AUTHORITIES in json.loads(value) else None

    def _write(self, name: str, value: str) -> None:
        self._client.put_secret_value(SecretId=self._outputs[certificate_output(name)], SecretString=value)
