"""Every setting of a service can be set in Compose's .env file."""

import re

import msgspec
import pytest
import yaml

from deploy.topology import TOPOLOGY
from services.common.settings import PREFIX
from tools.local.process import ROOT
from tools.settings import CLASSES

COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")

FIXED = {f"{PREFIX}{name}" for name in ("LISTEN", "AUTH", "PATIENT", "BILLING", "KAFKA", "KAFKA_PASSWORD")}
"""The addresses in Compose's networks with their credentials, and the port, which the image sets."""
OTHER_DEFAULTS = {
    f"{PREFIX}LINGER_SECONDS": "3",  # the gateway needs time to notice
    f"{PREFIX}ADMIN_EMAIL": "admin@pulsetrack.local",
}


@pytest.mark.parametrize("service", TOPOLOGY)
def test_compose_passes_every_setting_with_its_default(service: str) -> None:
    environment = yaml.safe_load(COMPOSE)["services"][service]["environment"]
    for field in msgspec.structs.fields(CLASSES[service]):
        variable = PREFIX + field.name.upper()
        if variable in FIXED or f"{variable}_FILE" in environment:
            continue
        default = OTHER_DEFAULTS.get(variable, str(field.default))
        assert environment.get(variable) in {f"${{{variable}:-{default}}}", f"${{{variable}:+/run/breached-passwords}}"}


def test_example_lists_every_variable_of_compose() -> None:
    used = set(re.findall(rf"\$\{{({PREFIX}\w+)", COMPOSE)) - {f"{PREFIX}REVISION", f"{PREFIX}DATABASE_CA"}
    assert used - set(re.findall(rf"^#({PREFIX}\w+)=", EXAMPLE, re.MULTILINE)) == set()
