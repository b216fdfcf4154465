"""After a leaked signing key is revoked, its tokens are rejected everywhere and users can log in again."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from gen.pulsetrack.billing.v1 import GetBillingAccountRequest
from tests.e2e.sessions import Session
from tests.harness.background import Background
from tests.harness.client import Rejected, attempt, connect
from tests.harness.tokens import Signer
from tests.harness.waiting import eventually
from tests.security.leaked import leaked_signer, reasons
from tools.instance import Instance
from tools.local.process import ROOT

REJECTED = ["TOKEN_INVALID"] * 3


@pytest.fixture(scope="module")
def rotated(expendable: Instance, background: Background) -> tuple[Instance, list[str]]:
    """An instance with a revoked key, and tokens of that key, used and unused."""
    signer = leaked_signer(background, expendable)
    used = [signer.long_lived_token("ADMIN") for _ in range(2)]
    never_used = [signer.long_lived_token("ADMIN") for _ in range(2)]
    eventually(
        lambda: all(is_accepted(expendable, token) for token in used)
    )  # a service may still be fetching its first keys
    rotate_now(expendable.folder)
    return expendable, used + never_used


def is_accepted(instance: Instance, token: str) -> bool:
    """Returns whether a token is accepted over REST and gRPC and at the ports of the services."""
    not_found = ["BILLING_ACCOUNT_NOT_FOUND", "USER_NOT_FOUND"]
    return reasons(instance, token) == ["", "", ""] and other_reasons(instance, token) == not_found


def other_reasons(instance: Instance, token: str) -> list[str]:
    """Returns the reasons of billing at its port and of auth through the gateway."""
    with (
        connect(instance.state().ports["billing"], "billing", token) as billing,
        Session.open(instance, token) as session,
    ):
        response = session.rest.get("/v1/auth/me")
        rejected = attempt(partial(billing.get_billing_account, GetBillingAccountRequest(id=str(uuid4()))))
    assert isinstance(rejected, Rejected)
    return [rejected.reason, response.json()["details"][0]["reason"] if response.is_error else ""]


def rotate_now(folder: Path) -> None:
    """Runs the command behind `make rotate-keys NOW=1`."""
    command = [sys.executable, "-m", "tools.operate", "rotate-keys", "--now"]
    environment = os.environ | {"PULSETRACK_DATA_DIR": str(folder)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=60, capture_output=True)


def test_every_token_of_a_revoked_key_is_rejected(rotated: tuple[Instance, list[str]]) -> None:
    instance, tokens = rotated
    eventually(
        lambda: reasons(instance, tokens[0]) == REJECTED and other_reasons(instance, tokens[0]) == ["TOKEN_INVALID"] * 2
    )
    for token in tokens[1:]:
        assert reasons(instance, token) == REJECTED
        assert other_reasons(instance, token) == ["TOKEN_INVALID"] * 2


def test_users_can_log_in_after_a_key_is_revoked(rotated: tuple[Instance, list[str]], background: Background) -> None:
    instance, _ = rotated
    with Session.log_in(instance, "admin@pulsetrack.local", instance.admin_password) as admin:
        eventually(lambda: admin.rest.get("/v1/patients").is_success)  # the gateway fetches keys every 10 s
    signer: Signer = leaked_signer(background, instance)
    assert reasons(instance, signer.token("USER")) == ["", "", ""]
