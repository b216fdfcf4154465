"""The certificates of a deployment in Secrets Manager, and in the templates."""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deploy.topology import CERTIFICATE_NAMES, TLS_SETTINGS, TOPOLOGY

if TYPE_CHECKING:
    from tests.infrastructure.templates import Templates


@dataclass
class SecretsManager:
    """The two methods of Secrets Manager's client that a deployment uses, with secrets in memory."""

    secrets: dict[str, str]
    writes: list[str] = field(default_factory=list)

    def get_secret_value(self, *, SecretId: str) -> dict[str, str]:  # noqa: N803 - a name of boto3
        return {"SecretString": self.secrets[SecretId]}

    def put_secret_value(self, *, SecretId: str, SecretString: str) -> None:  # noqa: N803 - names of boto3
        self.secrets[SecretId] = SecretString
        self.writes.append(SecretId)


def build_outputs() -> dict[str, str]:
    """Returns the outputs of the data stack with the ARNs of the secrets."""
    from infrastructure.certificates import AUTHORITIES, certificate_output

    return {certificate_output(name): f"arn:{name}" for name in (AUTHORITIES, *CERTIFICATE_NAMES)}


def renew(manager: Any, *, rotate: bool = False) -> str:
    from infrastructure.certificates import CertificateSecrets

    return CertificateSecrets(manager, build_outputs()).renew(rotate=rotate)


def create_manager() -> SecretsManager:
    """Returns secrets as CloudFormation creates them."""
    return SecretsManager({arn: json.dumps({"empty": "random text"}) for arn in build_outputs().values()})


def test_certificates_are_issued_once() -> None:
    manager = create_manager()
    version = renew(manager)
    assert set(manager.writes) == set(build_outputs().values())
    stored = dict(manager.secrets)
    assert renew(manager) == version
    assert manager.secrets == stored
    for name in CERTIFICATE_NAMES:
        secret = json.loads(stored[f"arn:{name}"])
        assert secret.keys() == {"certificate", "key", "authorities"}
        assert secret["key"] in json.loads(stored["arn:authorities"])["issued"][name].values()


def test_rotation_replaces_every_certificate() -> None:
    manager = create_manager()
    version = renew(manager)
    before = dict(manager.secrets)
    assert renew(manager, rotate=True) != version
    assert all(manager.secrets[arn] != before[arn] for arn in before)


def test_interrupted_deployment_is_repeated() -> None:
    manager = create_manager()
    initial = manager.secrets["arn:authorities"]
    renew(manager)
    assert manager.writes[-1] == "arn:authorities"
    manager.secrets["arn:authorities"] = initial
    renew(manager)
    trusted = {json.loads(manager.secrets[f"arn:{name}"])["authorities"] for name in CERTIFICATE_NAMES}
    assert len(trusted) == 1


def test_gateway_and_services_receive_their_certificates(templates: "Templates") -> None:
    containers = {each["Name"]: each for each in templates.containers()}
    for name in CERTIFICATE_NAMES:
        secrets = {each["Name"]: json.dumps(each["ValueFrom"]) for each in containers[name]["Secrets"]}
        for setting, key in zip(TLS_SETTINGS, ("certificate", "key", "authorities"), strict=True):
            assert f"{name.capitalize()}CertificateSecret" in secrets[setting]
            assert f":{key}::" in secrets[setting]


def test_new_certificates_replace_the_tasks(templates: "Templates") -> None:
    labels = {each["Name"]: each.get("DockerLabels") for each in templates.containers()}
    expected = {"pulsetrack.certificates": {"Ref": "Certificates"}}
    assert {name for name, found in labels.items() if found == expected} == {"gateway", *TOPOLOGY}


def test_no_task_can_read_the_keys_of_the_authorities(templates: "Templates") -> None:
    assert "AuthoritiesSecret" not in json.dumps(templates.properties("AWS::IAM::Policy"))
